"""Servers that answer what no server should: each costs an attempt or the source, never the run, and never for ever."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from structlog.testing import capture_logs

from etl.archive import http_source
from etl.archive.fetch import Download, open_download
from etl.archive.http_source import HttpSource
from etl.archive.http_transport import _interruptible, is_public_address
from etl.archive.retry import FetchPolicy
from etl.errors import SourceUnreachableError
from etl.hours import Hour
from etl.practice.faults import FaultyServer, parse_plan
from tests.integration.archive.raw import Serve, dripping, flooding, head, sending, serving
from tests.integration.archive.server import Archive, File, Handler, status

HOUR: Final = Hour.of(2015, 1, 1, 15)
PATH: Final = f"/{HOUR}.json.gz"
COMPANION_PATH: Final = f"/{HOUR}.manifest.json"
# Random bytes cannot be compressed, so the file is longer than what is read at once.
CONTENT: Final = gzip.compress(random.Random(1).randbytes(300_000), mtime=0)  # noqa: S311 -- not a secret
MALFORMED: Final = "malformed HTTP response"


def policy(**options: Any) -> FetchPolicy:
    known = {"connect_timeout": 5, "read_timeout": 5, "attempts": 2, "backoff_first": 0.001, "backoff_max": 0.002}
    return FetchPolicy(**known | options)


def source_at(url: str, asked: FetchPolicy) -> HttpSource:
    return HttpSource(url.rstrip("/"), connect_timeout=asked.connect_timeout, read_timeout=asked.read_timeout)


def fetch(url: str, **options: Any) -> tuple[bytes, Download]:
    asked = policy(**options)
    download = open_download(source_at(url, asked), HOUR, asked)
    assert download is not None
    with download:
        return b"".join(download), download


# ---- responses that never end

CHUNKED: Final = head("Transfer-Encoding: chunked")
_ENDLESS: Final[dict[str, tuple[bytes, bytes]]] = {
    "interim answers": (b"", head(line="HTTP/1.1 100 Continue")),
    "a header": (b"HTTP/1.1 200 OK\r\nX: ", b"x"),
    "a status line": (b"HTTP/1.1 200 ", b"x"),
    "the size of a chunk": (CHUNKED, b"0"),
    "an extension of a chunk": (CHUNKED + b"5;x=", b"x"),
    "trailers": (CHUNKED + b"5\r\n\x1f\x8b\x08\0\0\r\n0\r\n", b"X: x\r\n"),
    "a body by the byte": (head("Content-Length: 1000000"), b"\x1f"),
}


@pytest.mark.parametrize(
    ("what", "how"),
    [
        *((what, dripping) for what in _ENDLESS),
        *((what, flooding) for what in _ENDLESS if what != "a body by the byte"),
    ],
)
def test_an_answer_without_an_end_is_given_up(what: str, how: Callable[[bytes, bytes], Serve]) -> None:
    begin, again = _ENDLESS[what]
    with serving(how(begin, again)) as url, pytest.raises(SourceUnreachableError, match=r"gave up after \d attempt"):
        fetch(url, read_timeout=0.3)


@pytest.mark.parametrize("what", ["interim answers", "a header"])
def test_asking_whether_an_hour_is_there_ends_too(what: str) -> None:
    with serving(dripping(*_ENDLESS[what])) as url:
        source = source_at(url, policy(read_timeout=0.3))
        with pytest.raises(SourceUnreachableError, match=r"timed out after 0.3 s"):
            source.exists(HOUR)
        with pytest.raises(SourceUnreachableError, match=r"timed out after 0.3 s"):
            source.sidecar(HOUR)


def test_time_that_the_reader_takes_is_not_the_servers(archive: Archive) -> None:
    """A rate limit, or a slow disk, must not look like a source that is slow."""
    archive.files[PATH] = File(CONTENT)
    asked = policy(read_timeout=0.5, attempts=1)
    download = open_download(source_at(archive.url, asked), HOUR, asked)
    assert download is not None
    with download:
        chunks = []
        for chunk in download:
            chunks.append(chunk)
            time.sleep(0.6)
    assert b"".join(chunks) == CONTENT
    assert len(chunks) >= 3
    assert download.attempts == 1


def test_the_body_of_a_redirect_is_not_read(archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    with serving(flooding(head(f"Location: {archive.url}{PATH}", line="HTTP/1.1 302 Found"), bytes(1 << 16))) as url:
        content, download = fetch(url)
    assert content == CONTENT
    assert download.redirected_to == f"{archive.url}{PATH}"


def test_the_wait_for_a_connection_can_be_interrupted() -> None:
    """The lookup of a name cannot, so it is not the main thread that does it; a call elsewhere is a plain one."""
    assert _interruptible(threading.current_thread) is not threading.main_thread()
    others: list[bool] = []
    other = threading.Thread(target=lambda: others.append(_interruptible(threading.current_thread) is other))
    other.start()
    other.join()
    assert others == [True]
    with pytest.raises(ZeroDivisionError):
        _interruptible(lambda: 1 // 0)


# ---- heads that make no sense

_LONG: Final = "9" * 5_000
_HEADS: Final[dict[str, tuple[bytes, str]]] = {
    "a length of 5,000 digits": (head(f"Content-Length: {_LONG}"), "an invalid Content-Length"),
    "a length that is no number": (head("Content-Length: many"), "an invalid Content-Length"),
    "a negative length": (head("Content-Length: -5"), "an invalid Content-Length"),
    "two lengths": (head("Content-Length: 5", "Content-Length: 6"), "conflicting Content-Length headers"),
    "a range of 5,000 digits": (
        head(f"Content-Range: bytes 0-{_LONG}/{_LONG}", line="HTTP/1.1 206 Partial Content"),
        "without a valid Content-Range",
    ),
    "another part": (
        head("Content-Range: bytes 5-9/10", line="HTTP/1.1 206 Partial Content"),
        "requested the whole file, but the response starts at byte 5",
    ),
    "a line that is no header": (head("nonsense", "Content-Length: 5"), MALFORMED),
    "no status": (b"hello\r\n\r\n", MALFORMED),
    "a status of 5,000 digits": (head(line=f"HTTP/1.1 {_LONG} OK"), MALFORMED),
    "a status that is no number": (head(line="HTTP/1.1 two OK"), MALFORMED),
    "a version that is none": (head(line="HTTP/9 200 OK"), MALFORMED),
    "too many headers": (head(*(f"X-{number}: x" for number in range(200))), MALFORMED),
    "a header that is too long": (head("X: " + "x" * 70_000), MALFORMED),
    "a chunk whose size is no number": (CHUNKED + b"zz\r\n", ""),
    "a chunk of 5,000 digits": (CHUNKED + _LONG.encode() + b"\r\n\x1f\x8b", ""),
    "a chunk of a negative size": (CHUNKED + b"-5\r\nhello", ""),
    "nothing": (b"", "the server closed the connection without a response"),
    "a redirect to nonsense": (head("Location: http://[", line="HTTP/1.1 302 Found"), "not http"),
    "a redirect to no host": (head("Location: https:///x", line="HTTP/1.1 302 Found"), "not http"),
    "a redirect to a strange port": (head("Location: http://a:99999/", line="HTTP/1.1 302 Found"), "not http"),
    "a redirect of bytes": (head("Location: http://\xff\xfe/", line="HTTP/1.1 302 Found"), "not http"),
    "a redirect to a long name": (head(f"Location: http://{'x' * 300}/", line="HTTP/1.1 302 Found"), ""),
    "a pause of 5,000 digits": (head(f"Retry-After: {_LONG}", line="HTTP/1.1 503 Busy"), "HTTP 503"),
    "a pause until a strange year": (
        head("Retry-After: Thu, 01 Jan 99999999999 00:00:00 GMT", line="HTTP/1.1 503 Busy"),
        "HTTP 503",
    ),
}


@pytest.mark.parametrize("what", _HEADS)
def test_an_answer_that_makes_no_sense_is_said_in_words(what: str) -> None:
    answer, words = _HEADS[what]
    with serving(sending(answer)) as url, pytest.raises(SourceUnreachableError) as caught:
        fetch(url, retry_after_max=0.01)
    assert words in caught.value.message
    assert caught.value.message.startswith(f"{url}{PATH}: ")
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    "fields",
    [
        (f"Set-Cookie: a=b; Max-Age={_LONG}; expires=Thu, 01-Jan-{_LONG} 00:00:00 GMT",),
        ('ETag: "a"\r\n folded',),
        ("ETag: " + "x" * 60_000, "Last-Modified: \x01\x02"),
        ("Content-Type: ;;;\xff=", "Content-Encoding: gzip, br, zstd, nonsense"),
    ],
)
def test_headers_that_do_not_matter_do_not_matter(fields: tuple[str, ...], recwarn: pytest.WarningsRecorder) -> None:
    answer = head(*fields, f"Content-Length: {len(CONTENT)}")
    asked = policy(attempts=3)

    def serve(connection: socket.socket) -> None:
        connection.sendall(answer + CONTENT[: next(ends, 0)])

    ends = iter((100_000, len(CONTENT), 0))
    with serving(serve) as url:
        download = open_download(source_at(url, asked), HOUR, asked)
        assert download is not None
        with download:
            assert b"".join(download) == CONTENT
        assert download.resumed == 1
    assert not recwarn.list


def test_lengths_that_agree_are_one() -> None:
    length = f"Content-Length: {len(CONTENT)}"
    with serving(sending(head(length, length), CONTENT)) as url:
        content, download = fetch(url)
    assert content == CONTENT
    assert download.size == len(CONTENT)


# ---- bodies that go on


def test_a_file_that_announces_too_much_is_refused_at_once() -> None:
    with serving(sending(head(f"Content-Length: {1 << 50}"), CONTENT)) as url:
        with pytest.raises(SourceUnreachableError, match=r"the file has 1,125,899,906,842,624 bytes") as caught:
            fetch(url)
        assert "max_compressed_gib" in (caught.value.hint or "")


def test_a_file_that_announces_nothing_ends_at_the_bound() -> None:
    with serving(flooding(head(), CONTENT)) as url, pytest.raises(SourceUnreachableError, match="more than 1,000,000"):
        fetch(url, max_bytes=1_000_000)


def test_a_server_without_ranges_cannot_send_the_same_for_ever() -> None:
    """Each answer breaks off a little later than the one before, so that there always is progress."""
    lengths = iter(range(70_000, 1 << 30, 70_000))
    noise = random.Random(2).randbytes(1 << 20)  # noqa: S311 -- not a secret

    def serve(connection: socket.socket) -> None:
        connection.sendall(head(f"Content-Length: {1 << 20}") + noise[: next(lengths)])

    with serving(serve) as url, pytest.raises(SourceUnreachableError, match="most of them repeatedly"):
        fetch(url, max_bytes=1 << 20)


@pytest.mark.parametrize("size", ["said", "not said"])
def test_a_file_of_unknown_size_has_to_yield_text(size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.archive.fetch._MAX_IDLE_BYTES", 100_000)
    fields = (f"Content-Length: {len(CONTENT)}",) if size == "said" else ()
    asked = policy()
    with serving(sending(head(*fields), CONTENT)) as url:
        download = open_download(source_at(url, asked), HOUR, asked)
        assert download is not None
        with download:
            text = download.with_progress_check(b"" for _ in download)
            if size == "said":
                assert not any(text)
            else:
                with pytest.raises(SourceUnreachableError, match="100,000 bytes in a row contain no text"):
                    list(text)
        assert download.received <= len(CONTENT)


# ---- the manifest beside the hour


@pytest.mark.parametrize(
    "content",
    [
        b"[" * (1 << 20),
        b'{"event_count":' * 60_000,
        b'{"x":' + b"[" * 500_000,
        b'{"event_count":' + b"9" * 4_000 + b"}",
        b'{"event_count":' + b"9" * 500_000 + b"}",
        b'{"compressed_bytes": 1e999}',
        b'{"\xff": 1}',
        b"\xef\xbb\xbf{}",
        b"",
        b" " * (2 << 20),
    ],
)
def test_a_manifest_that_cannot_be_read_costs_nothing(content: bytes, archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    archive.files[COMPANION_PATH] = File(content)
    with capture_logs() as logs:
        arrived, download = fetch(archive.url)
    assert arrived == CONTENT
    assert download.sidecar is None
    assert [log["event"] for log in logs if log["log_level"] == "warning"] == [
        "cannot read sidecar manifest" if len(content) > 1 << 20 else "sidecar manifest has an unknown format"
    ]


def test_a_manifest_that_is_compressed_is_not_inflated(archive: Archive) -> None:
    """It was not asked for in that form, and may inflate to anything."""
    archive.files[PATH] = File(CONTENT)
    said = gzip.compress(json.dumps({"sha256": hashlib.sha256(CONTENT).hexdigest()}).encode())

    def encoded(handler: Handler, _: File | None) -> None:
        handler.head(200, {"Content-Encoding": "gzip"}, len(said))
        handler.body(said)

    archive.script[COMPANION_PATH] = [encoded]
    assert fetch(archive.url)[1].sidecar is None


# ---- redirects


def test_where_a_redirected_hour_came_from_is_said_without_secrets(archive: Archive) -> None:
    archive.files["/elsewhere?signature=secret"] = File(CONTENT)
    port = archive.url.rpartition(":")[2]
    target = f"http://user:secret@localhost:{port}/elsewhere?signature=secret"
    archive.script[PATH] = [status(302, Location=target)]
    content, download = fetch(archive.url)
    assert content == CONTENT
    assert download.address == f"{archive.url}{PATH}"
    assert download.redirected_to == f"http://localhost:{port}/elsewhere"


def test_without_a_redirect_there_is_nothing_to_say(archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    assert fetch(archive.url)[1].redirected_to is None
    archive.script[PATH] = [status(302, Location=f"{PATH}?again")]
    archive.files[f"{PATH}?again"] = File(CONTENT)
    assert fetch(archive.url)[1].redirected_to is None


def test_a_password_goes_to_the_same_host_only(archive: Archive) -> None:
    archive.files["/elsewhere"] = File(CONTENT)
    port = archive.url.rpartition(":")[2]
    for target in ("/elsewhere", f"http://localhost:{port}/elsewhere"):
        archive.script[PATH] = [status(302, Location=target)]
        fetch(f"http://user:secret@127.0.0.1:{port}")
    sent = [asked.headers.get("Authorization") is not None for asked in archive.asked if asked.target == "/elsewhere"]
    assert sent == [True, False]


_PRIVATE: Final = [
    "http://127.0.0.2:{port}/",
    "http://127.1:{port}/",
    "http://0x7f000001:{port}/",
    "http://localhost:{port}/",
    "http://localhost.:{port}/",
    "http://[::1]:{port}/",
    "http://[::ffff:127.0.0.1]:{port}/",
    "http://0.0.0.0:{port}/",
    "http://169.254.169.254/latest/meta-data/",
    "http://100.100.100.200/",
    "http://10.0.0.1/",
    "http://192.168.0.1/",
    "http://[fe80::1]/",
    "http://[fd00::1]/",
]


@pytest.mark.parametrize("target", _PRIVATE)
def test_a_public_source_does_not_lead_into_a_private_network(
    target: str, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source here is on this machine; what is tested is what follows when it is not."""
    monkeypatch.setattr(HttpSource, "_is_public", True)
    archive.files["/"] = File(CONTENT)
    port = archive.url.rpartition(":")[2]
    archive.script[PATH] = [status(302, Location=target.format(port=port))]
    with pytest.raises(SourceUnreachableError, match="redirects to an address in a private network"):
        fetch(archive.url)
    assert [asked.target for asked in archive.asked] == [PATH]


def test_a_public_name_of_a_private_address_is_found_out_by_the_connection(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name can resolve to anything, and to something else a moment later: the peer's address decides."""
    monkeypatch.setattr(HttpSource, "_is_public", True)
    resolve = socket.getaddrinfo

    def resolving(host: Any, *args: Any, **kwargs: Any) -> Any:
        return resolve("127.0.0.1" if host == "public.example" else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", resolving)
    monkeypatch.setattr(http_source, "_is_private_literal", lambda _: False)
    port = archive.url.rpartition(":")[2]
    archive.script[PATH] = [status(302, Location=f"http://public.example:{port}/")]
    with pytest.raises(SourceUnreachableError, match="redirects to an address in a private network"):
        fetch(archive.url)
    assert [asked.target for asked in archive.asked] == [PATH]


def test_a_source_of_this_machine_may_lead_to_this_machine(archive: Archive) -> None:
    assert not source_at(archive.url, policy())._is_public
    assert source_at("http://93.184.215.14", policy())._is_public


def test_encryption_is_not_given_up() -> None:
    def redirect(location: str) -> str:
        response = requests.Response()
        response.headers["Location"] = location
        return http_source._redirect_target("shown", "https://a.example/x", response)

    assert redirect("/y") == redirect("//a.example/y") == "https://a.example/y"
    with pytest.raises(SourceUnreachableError, match="redirects from https to http"):
        redirect("http://a.example/x")


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:4700:4700::1111", True),
        ("::ffff:93.184.215.14", True),
        ("::ffff:10.0.0.1", False),
        ("127.0.0.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("224.0.0.1", False),
        ("::1", False),
        ("fe80::1%eth0", False),
        ("a.example", False),
    ],
)
def test_which_addresses_are_public(address: str, public: bool) -> None:  # noqa: FBT001
    assert is_public_address(address) is public


# ---- the practice server's faults


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ("{kind: endless-head, what: interim, times: 9}", "timed out after 0.3 s"),
        ("{kind: endless-head, what: slow, times: 9}", "timed out after 0.3 s"),
        ("{kind: endless-head, what: trailers, times: 9}", "timed out after 0.3 s"),
        ("{kind: endless, times: 9}", "the file has more than 5,000,000 bytes"),
        ("{kind: endless, what: members, times: 9}", "the file has more than 5,000,000 bytes"),
        ("{kind: bad-header}", "an invalid Content-Length"),
        ("{kind: bad-header, what: lengths}", "conflicting Content-Length headers"),
        ("{kind: bad-header, what: range}", "without a valid Content-Range"),
        ("{kind: bad-header, what: line, times: 9}", MALFORMED),
    ],
)
def test_a_fault_of_the_practice_server_is_said_in_words(plan: str, words: str, tmp_path: Path) -> None:
    (tmp_path / f"{HOUR}.json.gz").write_bytes(CONTENT)
    with FaultyServer(tmp_path, parse_plan(f"faults: [{plan}]")) as server:
        with pytest.raises(SourceUnreachableError) as caught:
            fetch(server.address, read_timeout=0.3, max_bytes=5_000_000)
        assert words in caught.value.message


@pytest.mark.parametrize("plan", ["{kind: moved}", "{kind: broken-manifest}", "{kind: broken-manifest, form: large}"])
def test_a_fault_that_costs_nothing(plan: str, tmp_path: Path) -> None:
    (tmp_path / f"{HOUR}.json.gz").write_bytes(CONTENT)
    with FaultyServer(tmp_path, parse_plan(f"faults: [{plan}]"), manifests=True) as server:
        assert fetch(server.address)[0] == CONTENT


# ---- sound answers with something wrong

_SOUND: Final = [
    head(f"Content-Length: {len(CONTENT)}", 'ETag: "a"', "Content-Type: application/gzip") + CONTENT,
    CHUNKED + b"%x;a=b\r\n" % len(CONTENT) + CONTENT + b"\r\n0\r\nX: y\r\n\r\n",
    head(f"Content-Range: bytes 0-4/{len(CONTENT)}", line="HTTP/1.1 206 Partial Content") + CONTENT,
    head("Location: http://127.0.0.1:9/x", line="HTTP/1.1 302 Found"),
    head("Retry-After: 0", "Set-Cookie: a=b; Max-Age=5", line="HTTP/1.1 503 Busy"),
]
_WRONG: Final = [b"\r\n", b"\n", b":", b"\0", b"\xff", b"9" * 5_000, b"-", b",", head(line="HTTP/1.1 100 Continue")]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_wrong_with_an_answer_is_said_in_words(seed: int) -> None:
    dice = random.Random(seed)  # noqa: S311 -- not a secret
    answer = bytearray(dice.choice(_SOUND))
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(100)
        answer[place : place + dice.randint(0, 6)] = dice.choice(_WRONG)
    # Any other error than the project's own fails the test.
    with serving(sending(bytes(answer))) as url, suppress(SourceUnreachableError):
        fetch(url, read_timeout=2, attempts=1)
