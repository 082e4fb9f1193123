"""Downloads from real servers that do to a download what the wire does."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import socket
import ssl
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from etl.archive.fetch import Download, newest_published, open_download, open_sources
from etl.archive.retry import FetchPolicy
from etl.archive.source import HourNotFound, Source, SourceChangedError, TransientSourceError
from etl.archive.sources import source_at
from etl.errors import NotPublishedError, SourceUnreachableError
from etl.hours import FIRST_HOUR, Hour
from tests.integration.archive.server import (
    HTML,
    Answer,
    Archive,
    File,
    Handler,
    cut,
    drop,
    encoded,
    page,
    serving,
    serving_archive,
    serving_proxy,
    silence,
    stall,
    status,
    well,
)

HOUR = Hour.of(2015, 1, 1, 15)
PATH = f"/{HOUR}.json.gz"
COMPANION_PATH = f"/{HOUR}.manifest.json"
# Random bytes cannot be compressed, so the file spans several stretches and more than one chunk.
CONTENT = gzip.compress(random.Random(1).randbytes(2_500_000), mtime=0)  # noqa: S311 -- not a secret
OTHER = gzip.compress(random.Random(2).randbytes(2_500_000), mtime=0)  # noqa: S311
DATE = "Thu, 01 Jan 2015 16:05:00 GMT"
LATER = "Thu, 01 Jan 2015 17:05:00 GMT"
QUICK = FetchPolicy(
    connect_timeout=5, read_timeout=5, attempts=3, backoff_first=0.001, backoff_max=0.002, retry_after_max=0.05
)


def fetch(source: Source, policy: FetchPolicy = QUICK) -> tuple[bytes, Download]:
    download = open_download(source, HOUR, policy)
    assert download is not None
    with download:
        return b"".join(download), download


@pytest.fixture
def source(archive: Archive) -> Source:
    archive.files[PATH] = File(CONTENT)
    return source_at(archive.url, connect_timeout=QUICK.connect_timeout, read_timeout=QUICK.read_timeout)


def test_a_whole_hour_arrives_in_chunks(archive: Archive, source: Source) -> None:
    download = open_download(source, HOUR, QUICK)
    assert download is not None
    with download:
        chunks = list(download)
    assert b"".join(chunks) == CONTENT
    assert max(map(len, chunks)) < 1_200_000
    assert download.address == archive.url + PATH
    assert (download.etag, download.size, download.received) == ('"v1"', len(CONTENT), len(CONTENT))
    assert (download.attempts, download.resumed, download.sidecar) == (1, 0, None)
    assert download.sha256 == hashlib.sha256(CONTENT).hexdigest()
    assert archive.asked[0].headers["User-Agent"].startswith("gharchive-etl/")
    assert archive.asked[0].headers["Accept-Encoding"] == "identity"


def test_bytes_are_never_decoded_on_the_way(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [encoded()]
    assert fetch(source)[0] == CONTENT


def test_404_is_not_found_and_is_not_tried_again(archive: Archive, source: Source) -> None:
    archive.files.clear()
    with pytest.raises(HourNotFound, match=r"2015-01-01-15\.json\.gz does not exist"):
        open_download(source, HOUR, QUICK)
    assert len(archive.asked) == 1


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_what_may_pass_is_tried_again(archive: Archive, source: Source, code: int) -> None:
    archive.script[PATH] = [status(code)]
    content, download = fetch(source)
    assert content == CONTENT
    assert (download.attempts, download.resumed) == (2, 0)


@pytest.mark.parametrize("code", [400, 401, 403, 405, 416, 451])
def test_what_stays_is_not_tried_again(archive: Archive, source: Source, code: int) -> None:
    archive.script[PATH] = [status(code)]
    with pytest.raises(SourceUnreachableError, match=f"HTTP {code}"):
        open_download(source, HOUR, QUICK)
    assert len(archive.asked) == 1


def test_a_source_is_given_up_after_so_many_attempts(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [status(503)] * 9
    with pytest.raises(SourceUnreachableError) as caught:
        open_download(source, HOUR, QUICK)
    assert caught.value.message == f"{archive.url}{PATH}: HTTP 503; gave up after 3 attempts"
    assert len(archive.asked) == 3


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize(
    ("make_header", "least"),
    [
        (lambda: "0", 0.0),
        (lambda: "3600", QUICK.retry_after_max),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True), QUICK.retry_after_max),
        (lambda: DATE, 0.0),
        (lambda: "soon", 0.0),
    ],
    ids=["zero", "seconds", "date", "date in the past", "nonsense"],
)
def test_retry_after_is_honoured_up_to_a_limit(
    archive: Archive, source: Source, code: int, make_header: Callable[[], str], least: float
) -> None:
    archive.script[PATH] = [status(code, Retry_After=make_header())]
    with capture_logs() as logs:
        assert fetch(source)[0] == CONTENT
    (entry,) = logs
    assert entry["log_level"] == "warning"
    assert (entry["url"], entry["attempt"], entry["cause"]) == (archive.url + PATH, 1, f"HTTP {code}")
    assert least <= entry["wait"] <= QUICK.retry_after_max


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
def test_a_broken_body_goes_on_where_it_stopped(archive: Archive, source: Source, reset: bool) -> None:  # noqa: FBT001
    archive.script[PATH] = [cut(300_000, reset=reset)]
    content, download = fetch(source)
    assert content == CONTENT
    assert (download.attempts, download.resumed) == (2, 1)
    again = archive.asked[1].headers
    start = int(again["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < start <= 300_000  # what the server had not got rid of when it reset, is lost
    assert reset or start == 300_000
    assert again["If-Range"] == '"v1"'
    assert download.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_a_stalled_body_goes_on_where_it_stopped(archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    archive.script[PATH] = [stall(100_000)]
    impatient = source_at(archive.url, read_timeout=0.2)
    with capture_logs() as logs:
        assert fetch(impatient)[0] == CONTENT
    assert logs[0]["cause"] == "timed out after 0.2 s"
    assert archive.ranges() == [None, "bytes=100000-"]


def test_a_server_that_never_answers_is_given_up(archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    archive.script[PATH] = [silence()] * 3
    with pytest.raises(SourceUnreachableError, match=r"timed out after 0\.1 s; gave up after 3 attempts"):
        open_download(source_at(archive.url, read_timeout=0.1), HOUR, QUICK)


def test_a_server_that_hangs_up_is_tried_again(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [drop(), drop()]
    assert fetch(source)[0] == CONTENT


def test_a_broken_chunked_body_is_noticed(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(5000, chunked=True)]
    content, download = fetch(source)
    assert content == CONTENT
    assert download.resumed == 1


def test_progress_starts_the_count_of_attempts_again(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(100_000)] * 20
    content, download = fetch(source)
    assert content == CONTENT
    assert download.resumed == 20 > QUICK.attempts


def test_no_progress_is_given_up_and_what_arrived_is_handed_on(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(100_000), *[cut(0)] * 9]
    download = open_download(source, HOUR, QUICK)
    assert download is not None
    arrived = b""
    with (
        download,
        pytest.raises(SourceUnreachableError, match=r"ended 2400\d{3} bytes early; gave up after 3") as caught,
    ):
        for chunk in download:
            arrived += chunk
    assert arrived == CONTENT[:100_000]
    assert download.sha256 == hashlib.sha256(arrived).hexdigest()
    assert "0x" not in caught.value.message


def test_ranges_are_not_needed(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(300_000), well(knows_ranges=False)]
    content, download = fetch(source)
    assert content == CONTENT
    assert download.resumed == 1


@pytest.mark.parametrize("etag", ['W/"v1"', None], ids=["weak etag", "no etag"])
def test_without_a_strong_etag_the_date_tells_the_version(archive: Archive, source: Source, etag: str | None) -> None:
    archive.files[PATH] = File(CONTENT, etag=etag, last_modified=DATE)
    archive.script[PATH] = [cut(300_000)]
    content, download = fetch(source)
    assert content == CONTENT
    assert archive.asked[1].headers["If-Range"] == DATE
    assert (download.etag, download.last_modified) == (etag, DATE)


def test_without_any_validator_the_bytes_tell_the_version(archive: Archive, source: Source) -> None:
    archive.files[PATH] = File(CONTENT, etag=None)
    archive.script[PATH] = [cut(300_000), well(knows_ranges=False)]
    assert fetch(source)[0] == CONTENT
    assert "If-Range" not in archive.asked[1].headers


def replaced(by: File, **kinds: bool) -> Answer:
    """Puts another file in the place before it answers."""

    def answer(handler: Handler, _: File | None) -> None:
        handler.archive.files[PATH] = by
        well(**kinds)(handler, by)

    return answer


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (File(CONTENT), replaced(File(OTHER, etag='"v2"'))),
        (File(CONTENT), replaced(File(OTHER, etag='"v2"'), knows_if_range=False)),
        (File(CONTENT, etag=None, last_modified=DATE), replaced(File(OTHER, etag=None, last_modified=LATER))),
        (
            File(CONTENT, etag=None, last_modified=DATE),
            replaced(File(OTHER, etag=None, last_modified=LATER), knows_if_range=False),
        ),
        (File(CONTENT, etag=None), replaced(File(OTHER + b"more", etag=None))),
        (File(CONTENT, etag=None), replaced(File(OTHER, etag=None), knows_ranges=False)),
        (File(CONTENT), replaced(File(OTHER), knows_ranges=False)),
        (File(CONTENT), status(412)),
        (File(CONTENT), status(416)),
        (File(CONTENT), status(404)),
    ],
    ids=[
        "etag",
        "etag, server without If-Range",
        "date",
        "date, server without If-Range",
        "size",
        "bytes",
        "bytes under the same etag",
        "412",
        "416",
        "gone",
    ],
)
def test_a_file_that_is_replaced_meanwhile_is_noticed(
    archive: Archive, source: Source, first: File, then: Answer
) -> None:
    archive.files[PATH] = first
    archive.script[PATH] = [cut(300_000), then]
    download = open_download(source, HOUR, QUICK)
    assert download is not None
    with download, pytest.raises(SourceChangedError, match=r"2015-01-01-15\.json\.gz (was|no longer)"):
        list(download)


def test_a_changed_file_can_be_fetched_again(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(300_000), replaced(File(OTHER, etag='"v2"'))]
    with pytest.raises(SourceChangedError):
        fetch(source)
    content, download = fetch(source)
    assert (content, download.etag) == (OTHER, '"v2"')


def test_the_wrong_part_is_refused(archive: Archive, source: Source) -> None:
    def wrong(handler: Handler, _: File | None) -> None:
        handler.head(206, {"ETag": '"v1"', "Content-Range": f"bytes 7-{len(CONTENT) - 1}/{len(CONTENT)}"}, 0)

    archive.script[PATH] = [cut(300_000), wrong]
    with pytest.raises(SourceUnreachableError, match="from byte 300000, but the response starts at byte 7"):
        fetch(source)


def test_a_shorter_file_of_unknown_size_is_noticed(archive: Archive, source: Source) -> None:
    def shorter(handler: Handler, _: File | None) -> None:
        handler.head(200, {"Connection": "close"}, None)
        handler.body(CONTENT[:200_000])
        handler.hang_up(reset=False)

    archive.script[PATH] = [cut(300_000), shorter]
    with pytest.raises(SourceChangedError, match="now ends before byte 300000"):
        fetch(source)


def test_a_part_that_does_not_say_which_is_refused(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [cut(300_000), status(206)]
    with pytest.raises(SourceUnreachableError, match="without a valid Content-Range"):
        fetch(source)


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(0, 400_000), max_size=12), resets=st.randoms(use_true_random=False))
def test_however_it_breaks_the_bytes_are_the_file(cuts: list[int], resets: random.Random) -> None:
    with serving_archive() as archive:
        archive.files[PATH] = File(CONTENT)
        archive.script[PATH] = [cut(after, reset=resets.random() < 0.5) for after in cuts]
        patient = FetchPolicy(attempts=len(cuts) + 1, backoff_first=0, backoff_max=0)
        content, download = fetch(source_at(archive.url), patient)
    assert content == CONTENT
    assert download.received == len(CONTENT)


@pytest.mark.parametrize(
    "answer",
    [page(), page("application/gzip"), page("text/html", b"Service unavailable"), page("text/plain", b"\n <?xml ?>")],
    ids=["page", "page said to be gzip", "words said to be a page", "XML"],
)
def test_a_page_is_not_an_hour(archive: Archive, source: Source, answer: Answer) -> None:
    archive.script[PATH] = [answer]
    with pytest.raises(SourceUnreachableError, match="HTML page instead of an hour"):
        open_download(source, HOUR, QUICK)
    assert len(archive.asked) == 1


def test_an_hour_said_to_be_a_page_is_an_hour(archive: Archive, source: Source) -> None:
    archive.files[PATH] = File(CONTENT, content_type="text/html")
    assert fetch(source)[0] == CONTENT


def test_a_damaged_gzip_header_is_not_this_modules_business(archive: Archive, source: Source) -> None:
    archive.files[PATH] = File(b"\0\0" + CONTENT[2:])
    assert fetch(source)[0] == b"\0\0" + CONTENT[2:]


def test_an_empty_file_is_not_an_hour(archive: Archive, source: Source) -> None:
    archive.files[PATH] = File(b"")
    with pytest.raises(SourceUnreachableError, match="is empty"):
        open_download(source, HOUR, QUICK)


def test_a_redirect_is_followed(archive: Archive, source: Source) -> None:
    archive.files["/elsewhere"] = File(CONTENT)
    archive.script[PATH] = [status(302, Location="/elsewhere")]
    assert fetch(source)[0] == CONTENT


@pytest.mark.parametrize(("location", "words"), [(PATH, "too many redirects"), ("ftp://example.invalid/", "not http")])
def test_a_redirect_to_nowhere_is_refused(archive: Archive, source: Source, location: str, words: str) -> None:
    archive.script[PATH] = [status(302, Location=location)] * 99
    with capture_logs() as logs, pytest.raises(SourceUnreachableError, match=words):
        open_download(source, HOUR, QUICK)
    assert not logs


def test_304_means_there_is_nothing_to_do(archive: Archive, source: Source) -> None:
    assert open_download(source, HOUR, QUICK, unless_etag='"v1"') is None
    assert archive.asked[0].headers["If-None-Match"] == '"v1"'
    newer = open_download(source, HOUR, QUICK, unless_etag='"v0"')
    assert newer is not None
    newer.close()


def test_the_manifest_beside_the_hour_is_checked_and_handed_on(archive: Archive, source: Source) -> None:
    said = {
        "event_count": 7,
        "compressed_bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest().upper(),
        "minutes": {"0": 1},
    }
    archive.files[COMPANION_PATH] = File(json.dumps(said).encode())
    _, download = fetch(source)
    assert download.sidecar is not None
    assert download.sidecar.event_count == 7
    assert download.sidecar.sha256 == download.sha256


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"compressed_bytes": 12}, f"received {len(CONTENT)} bytes, but its sidecar manifest says 12"),
        ({"sha256": "0" * 64}, f"{hashlib.sha256(CONTENT).hexdigest()}, but its sidecar manifest says {'0' * 64}"),
    ],
)
def test_a_manifest_that_disagrees_says_both_numbers(
    archive: Archive, source: Source, said: dict[str, object], words: str
) -> None:
    archive.files[COMPANION_PATH] = File(json.dumps(said).encode())
    with pytest.raises(SourceUnreachableError, match=words):
        fetch(source)


@pytest.mark.parametrize(
    "answers",
    [[status(403)], [status(410)], [status(500)] * 9, [page()], [page("application/json", b"x" * (1 << 21))]],
    ids=["403", "410", "500", "page", "too large"],
)
def test_a_manifest_that_cannot_be_had_does_not_spoil_the_hour(
    archive: Archive, source: Source, answers: list[Answer]
) -> None:
    archive.script[COMPANION_PATH] = answers
    content, download = fetch(source)
    assert content == CONTENT
    assert download.sidecar is None


def test_a_manifest_is_asked_for_again_after_a_failure(archive: Archive, source: Source) -> None:
    archive.files[COMPANION_PATH] = File(b'{"event_count": 3}')
    archive.script[COMPANION_PATH] = [status(503)]
    _, download = fetch(source)
    assert download.sidecar is not None


def test_a_refused_connection_is_said_in_words() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: the port is refused and nobody else gets it
        url = f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}"
        with capture_logs() as logs, pytest.raises(SourceUnreachableError) as caught:
            open_download(source_at(url), HOUR, QUICK)
    assert caught.value.message.endswith(f"{PATH}: connection refused; gave up after 3 attempts")
    assert "hunter2" not in caught.value.message + str(logs)
    assert [entry["attempt"] for entry in logs] == [1, 2]


def test_credentials_are_sent_and_never_shown(archive: Archive) -> None:
    archive.files[PATH] = File(CONTENT)
    _, download = fetch(source_at(archive.url.replace("://", "://user:hunter2@")))
    assert archive.asked[0].headers["Authorization"].startswith("Basic ")
    assert download.address == archive.url.replace("://", "://***@") + PATH


@pytest.mark.parametrize(("allowed", "tries"), [(1, "1 attempt"), (2, "2 attempts"), (6, "2 attempts")])
def test_an_unknown_host_is_tried_twice_and_said_in_words(allowed: int, tries: str) -> None:
    policy = replace(QUICK, attempts=allowed)
    with pytest.raises(SourceUnreachableError, match=rf"host name not found; gave up after {tries}$"):
        open_download(source_at("http://archive.invalid"), HOUR, policy)


def test_the_proxy_of_the_environment_is_used(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    archive.files[PATH] = File(CONTENT)
    passed: list[str] = []
    with serving_proxy({"archive.invalid": archive.url}, passed) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        assert fetch(source_at("http://archive.invalid"))[0] == CONTENT
    assert f"http://archive.invalid{PATH}" in passed


def test_a_proxy_that_is_down_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("http_proxy", f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(SourceUnreachableError, match="proxy: connection refused; gave up") as caught:
            open_download(source_at("http://archive.invalid"), HOUR, QUICK)
    assert "hunter2" not in caught.value.message


def _self_signed(folder: Path) -> tuple[Path, Path]:
    """Writes a key, and a certificate for 127.0.0.1 that no authority signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    start = datetime.now(UTC) - timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), start, start + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    paths = folder / "key.pem", folder / "certificate.pem"
    paths[0].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    paths[1].write_bytes(certificate.public_bytes(pem))
    return paths


def test_a_certificate_nobody_signed_is_final(tmp_path: Path) -> None:
    key, certificate = _self_signed(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    with serving(Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        address = f"https://127.0.0.1:{server.server_port}"
        with (
            capture_logs() as logs,
            pytest.raises(SourceUnreachableError, match="cannot verify the server's TLS certificate"),
        ):
            open_download(source_at(address), HOUR, QUICK)
    assert not logs


def test_a_certificate_file_that_is_not_there_is_final(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
    with pytest.raises(SourceUnreachableError, match="cannot read the CA certificate file") as caught:
        open_download(source_at("https://127.0.0.1"), HOUR, QUICK)
    assert "REQUESTS_CA_BUNDLE" in (caught.value.hint or "")


def test_a_proxy_address_that_is_none_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://")
    with pytest.raises(SourceUnreachableError, match="proxy address is not a valid URL"):
        open_download(source_at("http://archive.invalid"), HOUR, QUICK)


def test_https_to_a_server_without_tls_is_final(archive: Archive) -> None:
    with pytest.raises(SourceUnreachableError, match="TLS handshake failed"):
        open_download(source_at(archive.url.replace("http:", "https:")), HOUR, QUICK)


def ask_while_another_error_is_handled(source: Source) -> None:
    with ExitStack() as stack:
        stack.push(lambda *_: source.open(HOUR) is None)
        raise ssl.SSLCertVerificationError


def test_an_error_being_handled_does_not_colour_the_next_one(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [drop()]
    with pytest.raises(TransientSourceError, match="the server closed the connection without a response"):
        ask_while_another_error_is_handled(source)


NOW = datetime(2015, 1, 1, 16, 3, tzinfo=UTC)


def publish(archive: Archive, *hours: Hour) -> None:
    archive.files |= {f"/{hour}.json.gz": File(CONTENT) for hour in hours}


def test_the_newest_published_hour_is_found(archive: Archive, source: Source) -> None:
    archive.files.clear()
    publish(archive, HOUR + 1, HOUR - 2, HOUR - 3)  # the first of them is still running
    assert newest_published([source], QUICK, now=NOW) == HOUR - 2
    assert {asked.method for asked in archive.asked} == {"HEAD"}


def test_the_newest_hour_of_any_source_counts(archive: Archive, source: Source, tmp_path: Path) -> None:
    archive.files.clear()
    publish(archive, HOUR - 3)
    (tmp_path / f"{HOUR - 1}.json.gz").write_bytes(CONTENT)
    assert newest_published([source, source_at(str(tmp_path))], QUICK, now=NOW) == HOUR - 1


def test_nothing_published_is_said(archive: Archive, source: Source) -> None:
    archive.files.clear()
    publish(archive, HOUR - 3)
    with pytest.raises(NotPublishedError, match=f"no source has an hour from {HOUR - 2} to {HOUR}"):
        newest_published([source], QUICK, now=NOW, look_back=3)
    assert len(archive.asked) == 3


def test_hours_before_the_archive_are_not_asked_for(archive: Archive, source: Source) -> None:
    with pytest.raises(NotPublishedError, match=f"from {FIRST_HOUR} to {FIRST_HOUR + 1}"):
        newest_published([source], QUICK, now=(FIRST_HOUR + 2).start)
    assert len(archive.asked) == 2


def test_a_source_that_is_down_is_left_out(archive: Archive, source: Source) -> None:
    publish(archive, HOUR - 2)
    del archive.files[PATH]
    with serving_archive() as broken:
        broken.otherwise = status(500)
        sources = [*open_sources([broken.url], QUICK), source]
        assert newest_published(sources, QUICK, now=NOW) == HOUR - 2
        assert len(broken.asked) == QUICK.attempts
        with pytest.raises(SourceUnreachableError, match="HTTP 500"):
            newest_published(sources, QUICK, now=NOW, look_back=1)
        with pytest.raises(SourceUnreachableError, match="HTTP 500"):
            newest_published(sources[:1], QUICK, now=NOW)


def test_a_server_without_head_is_asked_with_get(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [status(405)]
    assert newest_published([source], QUICK, now=NOW) == HOUR
    assert [asked.method for asked in archive.asked] == ["HEAD", "GET"]


def test_a_page_does_not_make_an_hour_published(archive: Archive, source: Source) -> None:
    archive.script[PATH] = [page()]
    with pytest.raises(SourceUnreachableError, match="HTML page"):
        newest_published([source], QUICK, now=NOW)


def test_a_folder_is_fetched_like_a_server(tmp_path: Path) -> None:
    (tmp_path / PATH[1:]).write_bytes(CONTENT)
    (tmp_path / COMPANION_PATH[1:]).write_bytes(json.dumps({"compressed_bytes": len(CONTENT)}).encode())
    folder = source_at(str(tmp_path))
    content, download = fetch(folder)
    assert content == CONTENT
    assert download.sidecar is not None
    assert open_download(folder, HOUR, QUICK, unless_etag=download.etag) is None
    with pytest.raises(HourNotFound):
        open_download(folder, HOUR + 1, QUICK)


def test_a_folder_holding_a_page_is_noticed(tmp_path: Path) -> None:
    (tmp_path / PATH[1:]).write_bytes(HTML)
    with pytest.raises(SourceUnreachableError, match="HTML page"):
        open_download(source_at(str(tmp_path)), HOUR, QUICK)


def test_a_file_that_grows_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / PATH[1:]
    path.write_bytes(CONTENT)
    download = open_download(source_at(str(tmp_path)), HOUR, QUICK)
    assert download is not None
    with path.open("ab") as file:
        file.write(b"more")
    with download, pytest.raises(SourceUnreachableError, match=f"of {len(CONTENT)} bytes"):
        list(download)


def test_a_file_that_shrinks_meanwhile_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / PATH[1:]
    path.write_bytes(CONTENT)
    download = open_download(source_at(str(tmp_path)), HOUR, QUICK)
    assert download is not None
    os.truncate(path, 1_000_000)
    with download, pytest.raises(SourceChangedError, match="was replaced during the download"):
        list(download)


def test_real_hours_arrive_unchanged(archive: Archive, real_data: Path) -> None:
    hours = {path.name: path.read_bytes() for path in (real_data / "archive").glob("*.json.gz")}
    archive.files |= {f"/{name}": File(content) for name, content in hours.items()}
    archive.script |= {f"/{name}": [cut(len(content) // 2)] for name, content in hours.items()}
    for name, content in hours.items():
        download = open_download(source_at(archive.url), Hour.parse(name.removesuffix(".json.gz")), QUICK)
        assert download is not None
        with download:
            assert hashlib.sha256(b"".join(download)).digest() == hashlib.sha256(content).digest()


def put(address: str, name: str, content: bytes) -> None:
    from etl.storage import gcs  # noqa: PLC0415 -- only where the emulator is

    bucket, prefix = gcs.split(address)
    gcs.client().bucket(bucket).blob(f"{prefix}/{name}").upload_from_string(content, content_type="application/gzip")


def test_a_bucket_is_fetched_like_a_server(gcs_address: str) -> None:
    put(gcs_address, PATH[1:], CONTENT)
    put(gcs_address, COMPANION_PATH[1:], json.dumps({"sha256": hashlib.sha256(CONTENT).hexdigest()}).encode())
    bucket = source_at(gcs_address)
    content, download = fetch(bucket)
    assert content == CONTENT
    assert download.address == gcs_address + PATH
    assert download.sidecar is not None
    assert open_download(bucket, HOUR, QUICK, unless_etag=download.etag) is None
    with pytest.raises(HourNotFound):
        open_download(bucket, HOUR + 1, QUICK)
    assert newest_published([bucket], QUICK, now=NOW + timedelta(hours=5)) == HOUR


def test_a_part_of_an_object_can_be_had(gcs_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("etl.archive.gcs_source._WINDOW", 100_000)
    put(gcs_address, PATH[1:], CONTENT)
    with source_at(gcs_address).open(HOUR, start=1_000_000) as body:
        assert (body.start, body.size) == (1_000_000, len(CONTENT))
        assert b"".join(iter(lambda: body.read(7777), b"")) == CONTENT[1_000_000:]


def test_another_generation_is_another_version(gcs_address: str) -> None:
    put(gcs_address, PATH[1:], CONTENT)
    bucket = source_at(gcs_address)
    with bucket.open(HOUR) as first:
        put(gcs_address, PATH[1:], OTHER)
        with bucket.open(HOUR, start=10, etag=first.etag) as second:
            assert first.etag != second.etag


def test_a_bucket_that_answers_errors_is_tried_again(gcs_address: str, archive: Archive) -> None:
    archive.otherwise = status(503)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", archive.url)
        bucket = source_at(gcs_address)
    with pytest.raises(SourceUnreachableError, match="HTTP 503; gave up after 3 attempts"):
        open_download(bucket, HOUR, QUICK)
    archive.otherwise = status(403)
    with pytest.raises(SourceUnreachableError, match=r"HTTP 403$") as caught:
        open_download(bucket, HOUR, QUICK)
    assert "objectViewer" in (caught.value.hint or "")


def test_a_bucket_that_is_down_is_tried_again(gcs_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(SourceUnreachableError, match="connection failed; gave up after 3 attempts"):
            open_download(source_at(gcs_address), HOUR, QUICK)


def test_closing_a_download_ends_the_thread_that_waits_for_bytes(archive: Archive) -> None:
    """With a timeout of an hour: whoever closes must neither wait for the thread nor leave it asking again."""
    archive.files[PATH] = File(CONTENT)
    archive.script[PATH] = [stall(100_000)]
    patient = FetchPolicy(connect_timeout=5, read_timeout=3600, attempts=3)
    source = source_at(archive.url, connect_timeout=5, read_timeout=3600)
    download = open_download(source, HOUR, patient)
    assert download is not None
    errors: list[Exception] = []

    def read_all() -> None:
        try:
            list(download)
        except SourceUnreachableError as error:
            errors.append(error)

    reader = threading.Thread(target=read_all, daemon=True)
    reader.start()
    while download.received < 100_000:
        time.sleep(0.001)
    download.close()
    reader.join(60)
    assert not reader.is_alive()
    assert [str(error) for error in errors] == [f"{download.address}: the download was cancelled"]
    assert len(archive.ranges()) == 1
