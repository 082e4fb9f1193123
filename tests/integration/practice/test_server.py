"""The practice server, asked over real connections as a client of the archive would ask."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path

import pytest
import requests
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from etl.errors import StoreError, UsageError
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.practice.generator import generate_hour, write_archive
from etl.practice.server import Generated, PracticeServer, Request, Response

_RANGE = HourRange(Hour.parse("2015-01-01-3"), Hour.parse("2015-01-01-12"))
_EVENTS = 20


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def server() -> Iterator[PracticeServer]:
    with PracticeServer(Generated(_RANGE, events=_EVENTS), manifests=True) as running:
        yield running


@pytest.fixture(scope="module")
def content(server: PracticeServer) -> bytes:
    return _get(server, "2015-01-01-3.json.gz").content


def _get(server: PracticeServer, name: str, **headers: str) -> requests.Response:
    fields = {key.replace("_", "-"): value for key, value in headers.items()}
    with requests.Session() as session:
        session.trust_env = False
        # requests would undo the compression only of a Content-Encoding; the archive sends none.
        return session.get(f"{server.address}{name}", headers=fields, timeout=30)


def test_an_hour_is_served_whole(server: PracticeServer, content: bytes) -> None:
    answer = _get(server, "2015-01-01-3.json.gz")
    assert answer.status_code == HTTPStatus.OK
    assert gzip.decompress(content) == b"".join(generate_hour(Hour.parse("2015-01-01-3"), events=_EVENTS))
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["Content-Type"] == "application/gzip"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["ETag"].strip('"') == sha256(content).hexdigest()[:32]
    modified = datetime.strptime(answer.headers["Last-Modified"], "%a, %d %b %Y %H:%M:%S GMT").replace(tzinfo=UTC)
    assert modified <= datetime.now(UTC)


def test_head_tells_the_same_without_the_body(server: PracticeServer, content: bytes) -> None:
    answer = requests.head(f"{server.address}2015-01-01-3.json.gz", timeout=30)
    assert (answer.status_code, answer.content) == (HTTPStatus.OK, b"")
    assert answer.headers["Content-Length"] == str(len(content))
    assert answer.headers["ETag"] == _get(server, "2015-01-01-3.json.gz").headers["ETag"]


@pytest.mark.parametrize(
    "name",
    [
        "2015-01-01-03.json.gz",  # padded, as the archive's are not
        "2015-1-01-3.json.gz",
        "2015-01-01-2.json.gz",  # before the first
        "2015-01-01-13.json.gz",  # after the last
        "2015-01-01-24.json.gz",
        "2015-02-30-3.json.gz",
        "1999-01-01-3.json.gz",
        "2015-01-01-3.json",
        "2015-01-01-3",
        "x/2015-01-01-3.json.gz",
        "2015-01-01-13.manifest.json",
        "",
    ],
)
def test_what_the_archive_has_not_is_404(server: PracticeServer, name: str) -> None:
    assert _get(server, name).status_code == HTTPStatus.NOT_FOUND


def test_hours_that_never_were_are_404() -> None:
    hours = HourRange(Hour.parse("2013-03-10-1"), Hour.parse("2013-03-10-3"))
    with PracticeServer(Generated(hours, events=1)) as server:
        found = [_get(server, f"2013-03-10-{hour}.json.gz").status_code for hour in (1, 2, 3)]
    assert found == [HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.OK]


def test_a_running_hour_is_404(tmp_path: Path) -> None:
    last = newest_finished_hour()
    hours = HourRange(last - 1, last + 3)
    with PracticeServer(Generated(hours, events=1, folder=tmp_path)) as server:
        assert _get(server, f"{last - 1}.json.gz").ok
        assert _get(server, f"{last + 3}.json.gz").status_code == HTTPStatus.NOT_FOUND
    write_archive([last + 3], tmp_path, events=1)
    with PracticeServer(tmp_path) as server:
        assert _get(server, f"{last + 3}.json.gz").status_code == HTTPStatus.NOT_FOUND


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 5000), st.integers(0, 5000) | st.none())
def test_ranges_are_slices(server: PracticeServer, content: bytes, start: int, last: int | None) -> None:
    wanted = f"bytes={start}-{'' if last is None else last}"
    stop = len(content) if last is None else min(last + 1, len(content))
    answer = _get(server, "2015-01-01-3.json.gz", Range=wanted)
    if start < stop:
        assert answer.status_code == HTTPStatus.PARTIAL_CONTENT
        assert answer.content == content[start:stop]
        assert answer.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    else:
        assert answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
        assert answer.headers["Content-Range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize(("wanted", "length"), [("bytes=-7", 7), ("bytes=-999999999", None)])
def test_the_end_can_be_asked_for(server: PracticeServer, content: bytes, wanted: str, length: int | None) -> None:
    answer = _get(server, "2015-01-01-3.json.gz", Range=wanted)
    assert answer.status_code == HTTPStatus.PARTIAL_CONTENT
    assert answer.content == content[-(length or len(content)) :]


@pytest.mark.parametrize("wanted", ["bytes=-0", "bytes=999999999-"])
def test_no_such_range(server: PracticeServer, wanted: str) -> None:
    answer = _get(server, "2015-01-01-3.json.gz", Range=wanted)
    assert answer.status_code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE


@pytest.mark.parametrize("wanted", ["lines=1-2", "bytes=1-2,4-5", "bytes=a-b", f"bytes={'9' * 5000}-"])
def test_a_range_that_is_none_is_ignored(server: PracticeServer, content: bytes, wanted: str) -> None:
    answer = _get(server, "2015-01-01-3.json.gz", Range=wanted)
    assert (answer.status_code, answer.content) == (HTTPStatus.OK, content)


@pytest.mark.parametrize("validator", ["ETag", "Last-Modified"])
def test_if_range_joins_only_the_same_file(server: PracticeServer, content: bytes, validator: str) -> None:
    known = _get(server, "2015-01-01-3.json.gz").headers[validator]
    same = _get(server, "2015-01-01-3.json.gz", Range="bytes=5-", If_Range=known)
    assert (same.status_code, same.content) == (HTTPStatus.PARTIAL_CONTENT, content[5:])
    other = _get(server, "2015-01-01-3.json.gz", Range="bytes=5-", If_Range='"another"')
    assert (other.status_code, other.content) == (HTTPStatus.OK, content)


@pytest.mark.parametrize("form", ["{}", "W/{}", '"x", {}', "*"])
def test_what_is_known_is_not_sent_again(server: PracticeServer, form: str) -> None:
    tag = _get(server, "2015-01-01-3.json.gz").headers["ETag"]
    answer = _get(server, "2015-01-01-3.json.gz", If_None_Match=form.format(tag))
    assert (answer.status_code, answer.content) == (HTTPStatus.NOT_MODIFIED, b"")
    assert answer.headers["ETag"] == tag
    assert _get(server, "2015-01-01-3.json.gz", If_None_Match='"another"').status_code == HTTPStatus.OK


def test_a_connection_serves_one_hour_after_the_other(server: PracticeServer) -> None:
    with requests.Session() as session:
        session.trust_env = False
        for hour in _RANGE:
            assert session.get(f"{server.address}{hour}.json.gz?again", timeout=30).ok
            assert session.head(f"{server.address}{hour}.json.gz", timeout=30).ok
            assert session.get(f"{server.address}{hour}.json", timeout=30).status_code == HTTPStatus.NOT_FOUND


def test_many_ask_for_a_new_hour_at_once() -> None:
    with (
        PracticeServer(Generated(HourRange(_RANGE.first, _RANGE.first), events=300)) as server,
        ThreadPoolExecutor(8) as pool,
    ):
        answers = list(pool.map(lambda _: _get(server, f"{_RANGE.first}.json.gz").content, range(8)))
    assert len(set(answers)) == 1


def test_a_manifest_describes_the_file(server: PracticeServer, content: bytes) -> None:
    manifest = _get(server, "2015-01-01-3.manifest.json").json()
    assert manifest == {
        "event_count": _EVENTS,
        "compressed_bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }


def test_manifests_are_only_for_those_who_asked(tmp_path: Path) -> None:
    write_archive([_RANGE.first], tmp_path, events=1)
    with PracticeServer(tmp_path) as server:
        assert _get(server, f"{_RANGE.first}.manifest.json").status_code == HTTPStatus.NOT_FOUND


def test_a_folder_of_any_files_is_served_and_described(tmp_path: Path) -> None:
    (tmp_path / "2015-01-01-3.json.gz").write_bytes(gzip.compress(b'{"a":1}\n\n{"b":2}'))
    (tmp_path / "2015-01-01-4.json.gz").write_bytes(b"\x1f\x8b rubbish")
    (tmp_path / "secret.txt").write_bytes(b"not an hour")
    with PracticeServer(tmp_path, manifests=True) as server:
        assert gzip.decompress(_get(server, "2015-01-01-3.json.gz").content) == b'{"a":1}\n\n{"b":2}'
        assert _get(server, "2015-01-01-3.manifest.json").json()["event_count"] == 2
        assert _get(server, "2015-01-01-4.json.gz").content == b"\x1f\x8b rubbish"
        assert _get(server, "2015-01-01-4.manifest.json").status_code == HTTPStatus.NOT_FOUND
        assert _get(server, "secret.txt").status_code == HTTPStatus.NOT_FOUND


def test_a_replaced_file_gets_another_etag(tmp_path: Path) -> None:
    with PracticeServer(tmp_path) as server:
        tags = []
        for events in (1, 2):
            write_archive([_RANGE.first], tmp_path, events=events)
            tags.append(_get(server, f"{_RANGE.first}.json.gz").headers["ETag"])
    assert tags[0] != tags[1]


def test_made_hours_stay_in_a_given_folder(tmp_path: Path) -> None:
    for _ in range(2):
        with PracticeServer(Generated(_RANGE, events=1, folder=tmp_path)) as server:
            assert _get(server, f"{_RANGE.first}.json.gz").ok
        assert sorted(path.name for path in tmp_path.iterdir()) == [
            f"{_RANGE.first}.json.gz",
            f"{_RANGE.first}.manifest.json",
        ]


def test_an_error_is_a_500_that_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with PracticeServer(Generated(_RANGE, events=1, folder=tmp_path / "file")) as server:
        answer = _get(server, f"{_RANGE.first}.json.gz")
    assert answer.status_code == HTTPStatus.INTERNAL_SERVER_ERROR
    assert "cannot write" in answer.text


def test_faults_can_be_put_in_front() -> None:
    class Shortened(PracticeServer):
        @override
        def respond(self, request: Request) -> Response:
            if request.target.endswith("-4.json.gz"):
                raise StoreError("no luck")
            answer = super().respond(request)
            return Response(answer.status, answer.headers, iter([next(answer.body)[:10]]), answer.close)

    with Shortened(Generated(_RANGE, events=1)) as server:
        assert _get(server, "2015-01-01-4.json.gz").status_code == HTTPStatus.INTERNAL_SERVER_ERROR
        with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
            _get(server, "2015-01-01-3.json.gz")


def test_a_taken_port_and_an_absent_folder_are_errors_for_people(server: PracticeServer, tmp_path: Path) -> None:
    taken = int(server.address.rstrip("/").rpartition(":")[2])
    with pytest.raises(UsageError, match=str(taken)):
        PracticeServer(tmp_path, port=taken)
    with pytest.raises(UsageError, match="not an existing folder"):
        PracticeServer(tmp_path / "absent")


def test_serve_blocks_until_interrupted() -> None:
    program = (
        "from etl.hours import Hour, HourRange; from etl.practice.server import Generated, serve;"
        "hour = Hour.parse('2015-01-01-3');"
        "serve(Generated(HourRange(hour, hour), events=3), port=0, ready=lambda it: print(it.address, flush=True));"
        "print('closed')"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        content = requests.get(f"{address}2015-01-01-3.json.gz", timeout=30).content
        assert [json.loads(line)["public"] for line in gzip.decompress(content).splitlines()] == [True] * 3
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "closed\n"
    assert process.returncode == 0
