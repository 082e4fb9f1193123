"""The practice server with faults, asked over real connections: each fault looks to a client as it says it does."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import pytest
import requests

from etl.hours import Hour, HourRange
from etl.practice.faults import KINDS, Counts, FaultPlan, FaultyServer, parse_plan
from etl.practice.generator import generate_hour
from etl.practice.server import Generated

HOURS: Final = HourRange(Hour.of(2015, 1, 1, 3), Hour.of(2015, 1, 1, 6))
HOUR: Final = HOURS.first
EVENTS: Final = 60
LINES: Final = list(generate_hour(HOUR, events=EVENTS))
ROOT: Final = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the hours are kept from one test to the next."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture(scope="module")
def content(made: Path) -> bytes:
    with serving(made, "{}") as server:
        return get(server).content


@contextmanager
def serving(made: Path, plan: str | FaultPlan, *, manifests: bool = True) -> Iterator[FaultyServer]:
    ready = parse_plan(plan) if isinstance(plan, str) else plan
    source = Generated(HOURS, events=EVENTS, folder=made)
    with FaultyServer(source, ready, manifests=manifests) as server:
        yield server


def one(kind: str, **options: object) -> str:
    """A plan of one fault."""
    return f"faults: [{{kind: {kind}{''.join(f', {name}: {value}' for name, value in options.items())}}}]"


def get(server: FaultyServer, name: str = f"{HOUR}.json.gz", **headers: str) -> requests.Response:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    with requests.Session() as session:
        session.trust_env = False
        return session.get(f"{server.address}{name}", headers=fields, timeout=30)


def raw(server: FaultyServer, **headers: str) -> tuple[dict[str, str], bytes, bool]:
    """Headers, the bytes of the body that came until the connection ended, and whether it was reset."""
    port = int(server.address.rstrip("/").rpartition(":")[2])
    fields = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    came, reset = b"", False
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET /{HOUR}.json.gz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{fields}\r\n".encode())
        try:
            while piece := connection.recv(1 << 16):
                came += piece
        except ConnectionResetError:
            reset = True
    head, _, body = came.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")[1:]
    return {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}, body, reset


def wire(server: FaultyServer) -> bytes:
    """All bytes of an answer as they came."""
    port = int(server.address.rstrip("/").rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(f"GET /{HOUR}.json.gz HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def tag(content: bytes) -> str:
    return f'"{sha256(content).hexdigest()[:32]}"'


def counts(server: FaultyServer) -> dict[str, Any]:
    found: dict[str, Any] = get(server, "faults.json").json()
    return found


@pytest.mark.parametrize(
    ("kind", "status", "wait"),
    [
        ("not-found", HTTPStatus.NOT_FOUND, None),
        ("server-error", HTTPStatus.INTERNAL_SERVER_ERROR, None),
        ("unavailable", HTTPStatus.SERVICE_UNAVAILABLE, "3"),
        ("too-many-requests", HTTPStatus.TOO_MANY_REQUESTS, "3"),
    ],
)
def test_a_status_as_often_as_it_says_and_then_the_hour(
    kind: str, status: HTTPStatus, wait: str | None, made: Path, content: bytes
) -> None:
    options = {} if wait is None else {"retry_after": wait}
    with serving(made, one(kind, times=2, **options)) as server:
        answers = [get(server) for _ in range(3)]
        assert counts(server) == {"requests": 3, "faults": {kind: 2}}
    assert [answer.status_code for answer in answers] == [status, status, HTTPStatus.OK]
    assert answers[0].headers.get("Retry-After") == wait
    assert answers[2].content == content


def test_each_hour_has_its_own_count_of_requests(made: Path) -> None:
    with serving(made, one("server-error", skip=1)) as server:
        codes = [[get(server, f"{hour}.json.gz").status_code for hour in HOURS] for _ in range(3)]
        assert server.counts == Counts(requests=12, faults={"server-error": 4})
    assert codes == [[200] * 4, [500] * 4, [200] * 4]


def test_what_is_not_a_request_for_an_hour_meets_no_fault(made: Path) -> None:
    with serving(made, one("server-error", times=100)) as server:
        assert get(server, f"{HOUR}.manifest.json").json()["event_count"] == EVENTS
        assert requests.head(f"{server.address}{HOUR}.json.gz", timeout=30).status_code == HTTPStatus.OK
        assert get(server, "2015-01-01-7.json.gz").status_code == HTTPStatus.NOT_FOUND
        assert counts(server) == {"requests": 0, "faults": {"server-error": 0}}


def test_a_slow_body_comes_whole(made: Path, content: bytes) -> None:
    with serving(made, one("slow", seconds=0.1)) as server:
        assert get(server).content == content


@pytest.mark.parametrize("fault", [("stalled", {"seconds": 0}), ("reset", {})])
def test_a_body_that_ends_early_is_taken_up_where_it_ended(
    fault: tuple[str, dict[str, object]], made: Path, content: bytes
) -> None:
    kind, options = fault
    with serving(made, one(kind, after=0.3, **options)) as server:
        headers, body, reset = raw(server)
        assert int(headers["content-length"]) == len(content)
        assert content.startswith(body)
        assert len(body) < len(content)
        assert reset is (kind == "reset")
        rest = get(server, Range=f"bytes={len(body)}-", If_Range=headers["etag"])
        assert body + rest.content == content


def test_a_stalled_body_does_not_outlive_the_server(made: Path) -> None:
    with serving(made, one("stalled", seconds=3600)) as server, requests.Session() as session:
        session.trust_env = False
        held = session.get(f"{server.address}{HOUR}.json.gz", timeout=30, stream=True)
        first = held.raw.read(100)
    assert len(first) == 100
    with pytest.raises(Exception, match=r"(?i)incomplete|broken|reset|closed"):
        held.raw.read()


def test_a_truncated_file_tells_its_length_truly_and_is_a_version_of_its_own(made: Path, content: bytes) -> None:
    with serving(made, one("truncated", keep=0.5)) as server:
        answer = get(server)
        assert content.startswith(answer.content)
        assert len(answer.content) == int(answer.headers["Content-Length"]) == len(content) // 2
        assert answer.headers["ETag"] == tag(answer.content) != tag(content)
        # A client that continues to read the old version learns that there is another.
        again = get(server, Range="bytes=10-", If_Range=answer.headers["ETag"])
    assert (again.status_code, again.content) == (HTTPStatus.OK, content)


@pytest.mark.parametrize("by", [-100, 100])
def test_a_wrong_length_is_announced(by: int, made: Path, content: bytes) -> None:
    with serving(made, one("wrong-length", by=by)) as server:
        headers, body, reset = raw(server)
    assert int(headers["content-length"]) == len(content) + by
    assert body == content
    assert not reset


def test_corrupt_bytes_come_under_the_files_own_names(made: Path, content: bytes) -> None:
    with serving(made, one("corrupt")) as server:
        answer = get(server)
    assert answer.headers["ETag"] == tag(content)
    assert len(answer.content) == len(content)
    assert 0 < sum(one != other for one, other in zip(answer.content, content, strict=True)) <= 16
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(answer.content)


def test_a_page_is_no_hour(made: Path) -> None:
    with serving(made, one("page")) as server:
        answer = get(server)
    assert (answer.status_code, answer.headers["Content-Type"]) == (HTTPStatus.OK, "text/html; charset=utf-8")
    assert answer.text.startswith("<!doctype html>")


def test_a_redirect_loop_is_one_fault(made: Path, content: bytes) -> None:
    with serving(made, one("redirect-loop")) as server:
        with pytest.raises(requests.TooManyRedirects):
            get(server)
        assert counts(server) == {"requests": 1, "faults": {"redirect-loop": 1}}
        assert get(server).content == content


def test_an_hour_that_shrank_is_sound_and_its_manifest_agrees_until_it_is_back(made: Path, content: bytes) -> None:
    with serving(made, one("shrunk", keep=0.25, skip=1)) as server:
        answers = []
        for _ in range(3):
            answers.append(get(server))
            manifest = get(server, f"{HOUR}.manifest.json").json()
            assert manifest["sha256"] == sha256(answers[-1].content).hexdigest()
            assert manifest["compressed_bytes"] == len(answers[-1].content)
            assert manifest["event_count"] == gzip.decompress(answers[-1].content).count(b"\n")
    assert [answer.content == content for answer in answers] == [True, False, True]
    assert gzip.decompress(answers[1].content) == b"".join(LINES[: EVENTS // 4])
    assert answers[1].headers["ETag"] == tag(answers[1].content)


def test_a_shrunk_hour_has_no_manifest_where_there_are_none(made: Path) -> None:
    with serving(made, one("shrunk", times=2), manifests=False) as server:
        get(server)
        assert get(server, f"{HOUR}.manifest.json").status_code == HTTPStatus.NOT_FOUND


def test_an_hour_that_changed_does_not_go_on_where_it_broke_off(made: Path, content: bytes) -> None:
    with serving(made, one("changed")) as server:
        headers, body, _ = raw(server)
        assert headers["etag"] != tag(content)
        assert 0 < len(body) < int(headers["content-length"])
        rest = get(server, Range=f"bytes={len(body)}-", If_Range=headers["etag"])
    assert (rest.status_code, rest.content) == (HTTPStatus.OK, content)
    assert not content.startswith(body)


def test_an_etag_that_lies_joins_two_versions(made: Path, content: bytes) -> None:
    with serving(made, one("lying-etag")) as server:
        headers, body, _ = raw(server)
        assert headers["etag"] == tag(content)
        assert int(headers["content-length"]) == len(content)
        rest = get(server, Range=f"bytes={len(body)}-", If_Range=headers["etag"])
    assert rest.status_code == HTTPStatus.PARTIAL_CONTENT
    joined = body + rest.content
    assert len(joined) == len(content)
    assert joined != content
    with pytest.raises((zlib.error, gzip.BadGzipFile, EOFError)):
        gzip.decompress(joined)


def test_an_etag_that_is_new_each_time_is_detected_by_the_same_bytes(made: Path, content: bytes) -> None:
    with serving(made, one("lying-etag", lie="new", times=2)) as server:
        answers = [get(server, If_None_Match=tag(content)) for _ in range(2)]
    assert [answer.content for answer in answers] == [content] * 2
    assert len({tag(content), *(answer.headers["ETag"] for answer in answers)}) == 3


def test_a_bomb_is_small_until_it_is_inflated(made: Path) -> None:
    with serving(made, one("bomb", mib=8)) as server:
        answer = get(server)
    assert len(answer.content) < 20_000
    assert len(gzip.decompress(answer.content)) == 8 << 20


_UNSOUND: Final = {"slow", "stalled", "endless", "endless-head", "bad-header"}
"""Kinds that take long, or whose answer is not what HTTP allows."""


@pytest.mark.parametrize(("form", "size"), [("deep", 900_000), ("number", 1_000_000), ("large", 2 << 20)])
def test_a_broken_manifest_stands_beside_the_hour_until_it_is_served_well(
    form: str, size: int, made: Path, content: bytes
) -> None:
    name = f"{HOUR}.manifest.json"
    with serving(made, one("broken-manifest", form=form)) as server:
        assert get(server).content == content
        assert len(get(server, name).content) >= size
        assert get(server).content == content
        assert get(server, name).json()["event_count"] == EVENTS


@pytest.mark.parametrize("what", ["garbage", "members", "zeros"])
def test_an_endless_body_goes_on_behind_the_file_and_announces_nothing(what: str, made: Path, content: bytes) -> None:
    with serving(made, one("endless", what=what, mib=3)) as server:
        answer = get(server)
    assert answer.content.startswith(content)
    assert len(content) + (3 << 20) - 60 <= len(answer.content) <= len(content) + (3 << 20)
    assert "Content-Length" not in answer.headers
    if what == "members":
        # The first thousand of the members, each of 20 bytes and without text.
        assert gzip.decompress(answer.content[: len(content) + 20_000]) == gzip.decompress(content)


@pytest.mark.parametrize(
    ("what", "begin", "again"),
    [
        ("interim", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        ("slow", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
        ("trailers", b"HTTP/1.1 200 OK\r\n", b"X-More: x\r\n"),
    ],
)
def test_an_endless_head_comes_in_pieces(what: str, begin: bytes, again: bytes, made: Path) -> None:
    with serving(made, one("endless-head", what=what, seconds=0, times_sent=5)) as server:
        came = wire(server)
    assert came.startswith(begin)
    assert came.endswith(again * 5)


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("length", b"Content-Length: " + b"9" * 5_000),
        ("lengths", b"Content-Length: 1"),
        ("range", b"Content-Range: bytes 0-" + b"9" * 5_000 + b"/" + b"9" * 5_000),
        ("line", b"no header"),
    ],
)
def test_a_bad_header_is_sent_with_the_file(what: str, line: bytes, made: Path, content: bytes) -> None:
    with serving(made, one("bad-header", what=what)) as server:
        head, _, body = wire(server).partition(b"\r\n\r\n")
    assert line in head.split(b"\r\n")
    assert body == content


def test_an_hour_that_moved_is_at_another_name_and_one_request(made: Path, content: bytes) -> None:
    with serving(made, one("moved")) as server:
        answer = get(server)
        assert counts(server) == {"requests": 1, "faults": {"moved": 1}}
    assert answer.content == content
    assert answer.url.startswith("http://localhost:")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in _UNSOUND])
def test_who_has_the_version_and_who_wants_the_rest_are_answered_too(kind: str, made: Path, content: bytes) -> None:
    """A fault that meets a conditional or a partial request is still an answer that HTTP allows."""
    with serving(made, one(kind, times=3)) as server:
        for headers in ({"If_None_Match": tag(content)}, {"Range": "bytes=50-"}, {"Range": "bytes=99999999-"}):
            told, body, _ = raw(server, **headers)
            assert "content-length" in told or not body
        assert get(server).content == content


def test_what_the_plan_cannot_do_to_a_damaged_file_is_a_500(tmp_path: Path) -> None:
    (tmp_path / f"{HOUR}.json.gz").write_bytes(b"\x1f\x8b rubbish")
    with FaultyServer(tmp_path, parse_plan(one("shrunk"))) as server:
        answer = get(server)
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "damaged" in answer.text


def test_the_command_line_serves_with_faults(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(one("server-error"), encoding="utf-8")
    words = ["practice", "serve", "--port", "0", "--events", "5", "--faults", "plan.yaml"]
    with subprocess.Popen(
        [sys.executable, str(ROOT / "etl"), *words], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            address = process.stdout.readline().split("--source ")[1].strip()
            codes = [requests.get(f"{address}{HOUR}.json.gz", timeout=30).status_code for _ in range(2)]
            told = requests.get(f"{address}faults.json", timeout=30).json()
        finally:
            process.terminate()
    assert codes == [500, 200]
    assert told == {"requests": 2, "faults": {"server-error": 1}}


def test_the_command_line_refuses_what_is_no_plan(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text("faults: [{kind: 404}]", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(ROOT / "etl"), "practice", "serve", "--port", "0", "--faults", "plan.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "error: plan.yaml is no fault plan" in done.stderr
    assert "hint: docs/how-to/practice.md" in done.stderr
    assert "Traceback" not in done.stderr
