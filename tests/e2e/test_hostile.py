"""Sources, files and disks that do their worst: an exit code of its own, a line a person can act on, no traceback."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from etl.errors import ExitCode
from etl.hours import newest_finished_hour
from etl.practice.faults import FaultyServer, parse_plan
from tests.e2e.running import Done, etl
from tests.integration.archive.server import (
    Answer,
    Archive,
    File,
    cut,
    drop,
    page,
    serving_archive,
    silence,
    stall,
    status,
)
from tests.integration.running import COMPANION_PATH, HOUR, PATH, documents, packed

EVENTS = 200
LINES = documents(EVENTS)
SMALL = packed(LINES)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving_archive() as held:
        yield held


def fetch(folder: Path, source: object, *words: object, **how: Any) -> Done:
    return etl(folder, "--at", HOUR, "--source", source, *words, **how)


def noted(folder: Path, hour: object = HOUR) -> dict[str, Any]:
    """The hour's manifest."""
    (file,) = (folder / "lake/manifests").rglob(f"{hour}.json")
    found: dict[str, Any] = json.loads(file.read_bytes())
    return found


def files(folder: Path) -> dict[str, bytes]:
    """All that a reader finds in the lake."""
    lake = folder / "lake"
    found = (path for path in lake.rglob("*") if path.is_file())
    return {str(path.relative_to(lake)): path.read_bytes() for path in found if ".tmp" not in path.parts}


# ---- nobody has it


def test_an_hour_that_has_just_ended_is_pending(archive: Archive, tmp_path: Path) -> None:
    hour = newest_finished_hour()
    done = etl(tmp_path, "--at", hour, "--source", archive.url)

    assert done.code == ExitCode.NOT_PUBLISHED
    assert f"{hour} is not published yet (404 at {archive.url}/{hour}.json.gz)" in done.error
    assert "try again" in done.hint
    manifest = noted(tmp_path, hour)
    assert (manifest["status"], manifest["attempts"], manifest["content"]) == ("pending", 1, None)
    assert "pending" in etl(tmp_path, "status").out


def test_an_old_hour_is_missing(archive: Archive, tmp_path: Path) -> None:
    for attempt in (1, 2):
        done = fetch(tmp_path, archive.url)
        assert done.code == ExitCode.NOT_PUBLISHED
        assert f"{HOUR} is missing from the archive" in done.error
        assert "--source" in done.hint
        manifest = noted(tmp_path)
        assert (manifest["status"], manifest["attempts"]) == ("missing", attempt)
    archive.files[PATH] = File(SMALL)
    assert fetch(tmp_path, archive.url).code == ExitCode.OK
    assert noted(tmp_path)["status"] == "complete"


# ---- nobody gives it

_DOWN: dict[str, tuple[Answer, str]] = {
    "failing": (status(500), "500"),
    "forbidden": (status(403), "403"),
    "asking to wait": (status(429, Retry_After="0"), "429"),
    "a sign-in page": (page(), "HTML"),
    "hanging up": (drop(), "closed the connection"),
    "breaking off": (cut(3_000), "gave up"),
    "silent": (silence(), "gave up"),
    "stalling": (stall(3_000), "gave up"),
    "going in circles": (status(302, Location=PATH), "redirect"),
}


@pytest.mark.parametrize("how", _DOWN)
def test_a_source_that_does_not_give_it_is_noted(how: str, archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(SMALL)
    archive.otherwise, word = _DOWN[how]
    done = fetch(tmp_path, archive.url, env={"GHARCHIVE_READ_TIMEOUT": "0.3"})

    assert done.code == ExitCode.SOURCE_UNREACHABLE
    assert f"{HOUR} could not be fetched" in done.error
    assert word in done.error
    assert done.hint
    manifest = noted(tmp_path)
    assert (manifest["status"], manifest["events_file"]) == ("failed", None)
    assert word in manifest["reason"]
    assert list(files(tmp_path)) == [f"manifests/date={HOUR.date}/hour={HOUR.hour}/{HOUR}.json"]


def test_a_source_that_is_down_costs_no_hour_that_is_there(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(SMALL)
    assert fetch(tmp_path, archive.url).code == ExitCode.OK
    before = files(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for flag in ("--refresh", "--force"):
        done = fetch(tmp_path, f"http://127.0.0.1:{port}", flag)
        assert done.code == ExitCode.SOURCE_UNREACHABLE
        assert "refused" in done.error
    assert files(tmp_path) == before


def test_the_next_source_is_asked(archive: Archive, tmp_path: Path) -> None:
    archive.otherwise = status(500)
    second = tmp_path / "second"
    second.mkdir()
    (second / PATH.strip("/")).write_bytes(SMALL)
    done = fetch(tmp_path, archive.url, "--source", second, "--json")

    assert done.code == ExitCode.OK
    assert json.loads(done.out)["content"]["source"]["address"] == str(second / PATH.strip("/"))


_SLOW = "{kind: endless-head, what: %s, seconds: 0.1, times: 99}"
_FAULTS = {
    "interim answers without end": (_SLOW % "interim", "timed out after 0.5 s"),
    "a header by the byte": (_SLOW % "slow", "timed out after 0.5 s"),
    "trailers without end": (_SLOW % "trailers", "timed out after 0.5 s"),
    "garbage without end": ("{kind: endless, times: 99}", "the file has more than 10,737,418 bytes"),
    "empty members without end": ("{kind: endless, what: members, times: 99}", "empty parts in a row"),
    "zeros without end": ("{kind: endless, what: zeros, times: 99}", "the file has more than 10,737,418 bytes"),
    "a length of 5,000 digits": ("{kind: bad-header, times: 99}", "an invalid Content-Length"),
    "lengths that differ": ("{kind: bad-header, what: lengths, times: 99}", "conflicting Content-Length headers"),
    "a range of 5,000 digits": ("{kind: bad-header, what: range, times: 99}", "without a valid Content-Range"),
    "a line that is no header": ("{kind: bad-header, what: line, times: 99}", "malformed HTTP response"),
}


@pytest.mark.parametrize("what", _FAULTS)
def test_a_hostile_server_costs_its_turn_and_the_next_source_is_asked(what: str, tmp_path: Path) -> None:
    plan, words = _FAULTS[what]
    (tmp_path / "second").mkdir()
    (tmp_path / "second" / PATH.strip("/")).write_bytes(SMALL)
    patience = {"GHARCHIVE_READ_TIMEOUT": "0.5", "GHARCHIVE_MAX_COMPRESSED_GIB": "0.01"}
    with FaultyServer(tmp_path / "second", parse_plan(f"faults: [{plan}]")) as server:
        alone = fetch(tmp_path, server.address, env=patience)
        both = fetch(tmp_path, server.address, "--source", "second", "--json", env=patience)

    assert alone.code == ExitCode.SOURCE_UNREACHABLE
    assert words in alone.error
    assert both.code == ExitCode.OK, both.err
    assert json.loads(both.out)["content"]["source"]["address"] == f"second{PATH}"


@pytest.mark.parametrize("form", ["deep", "number", "large"])
def test_a_manifest_that_cannot_be_read_costs_nothing(form: str, tmp_path: Path) -> None:
    (tmp_path / PATH.strip("/")).write_bytes(SMALL)
    plan = parse_plan(f"faults: [{{kind: broken-manifest, form: {form}, times: 99}}]")
    with FaultyServer(tmp_path, plan, manifests=True) as server:
        done = fetch(tmp_path, server.address)
    assert done.code == ExitCode.OK, done.err
    assert "sidecar manifest" in done.err
    assert noted(tmp_path)["content"]["source"]["companion"] is False


def test_where_an_hour_came_from_and_what_it_replaced_is_said(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(SMALL)
    assert "replaced" not in fetch(tmp_path, archive.url).out
    elsewhere = f"http://localhost:{archive.url.rpartition(':')[2]}/elsewhere"
    archive.files["/elsewhere"] = File(packed(documents(EVENTS + 5)), '"v2"')
    archive.script[PATH] = [status(302, Location=elsewhere)]
    done = fetch(tmp_path, archive.url, "--refresh")

    assert done.code == ExitCode.OK, done.err
    assert re.search(rf"^redirected to +{elsewhere} *$", done.out, re.MULTILINE)
    assert re.search(rf'^replaced +a version with {EVENTS} events \(.*, etag "v1"\), stored ', done.out, re.MULTILINE)
    assert "stored another version of the source's file" in done.err
    assert noted(tmp_path)["replaced"]["events"] == EVENTS


# ---- what it gives is harmful


def test_damage_beyond_the_limit_is_partial_and_kept_to_the_byte(archive: Archive, tmp_path: Path) -> None:
    lines = [*LINES[:-10], *(line[: len(line) // 2] + b"\n" for line in LINES[-10:])]
    archive.files[PATH] = File(packed(lines))
    done = fetch(tmp_path, archive.url, "--emails", "keep", "--max-damage", "4.9%")

    assert done.code == ExitCode.DAMAGED
    assert f"10 of {EVENTS} documents could not be read" in done.error
    assert f"show {HOUR} --quarantine" in done.hint
    assert done.out.startswith(f"{HOUR} is partial: {EVENTS - 10} events")
    assert noted(tmp_path)["status"] == "partial"
    (file,) = (tmp_path / "lake/quarantine").rglob("*.parquet")
    text = b"".join(lines)
    rows = pq.ParquetFile(file).read().to_pylist()
    # Neighbouring damage is one row.
    assert len(rows) == 1
    assert b"".join(row["bytes"] for row in rows) == b"".join(lines[-10:]).rstrip()
    assert all(text[row["offset"] : row["offset"] + row["length"]] == row["bytes"] for row in rows)

    tolerant = fetch(tmp_path, archive.url, "--emails", "keep", "--max-damage", "5%", "--force")
    assert tolerant.code == ExitCode.OK
    assert noted(tmp_path)["status"] == "complete"


def test_a_smaller_hour_does_not_take_the_place(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(SMALL)
    assert fetch(tmp_path, archive.url).code == ExitCode.OK
    before = files(tmp_path)
    archive.files[PATH] = File(packed(LINES[:-1]), '"v2"')
    done = fetch(tmp_path, archive.url, "--refresh")

    assert done.code == ExitCode.SHRINK_REFUSED
    assert f"{EVENTS - 1} events" in done.error
    assert "--force" in done.hint
    assert files(tmp_path) == before
    assert fetch(tmp_path, archive.url, "--force").code == ExitCode.OK
    assert noted(tmp_path)["content"]["events"] == EVENTS - 1


def test_a_bomb_is_not_read_to_its_end(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(gzip.compress(b"\n" * (40 << 20)))
    done = fetch(tmp_path, archive.url, env={"GHARCHIVE_MAX_EXPANDED_GIB": "0.01"})

    assert done.code == ExitCode.SOURCE_UNREACHABLE
    assert "decompresses to more than 10,737,418 bytes" in done.error
    assert "max_expanded_gib" in done.hint
    assert noted(tmp_path)["status"] == "failed"


def test_a_flood_of_empty_lines_goes_by(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(gzip.compress(b"\n" * (20 << 20) + b"".join(LINES) + b" \r\n" * (4 << 20)))
    done = fetch(tmp_path, archive.url)

    assert done.code == ExitCode.OK
    assert noted(tmp_path)["content"]["events"] == EVENTS


@pytest.mark.parametrize("content", [b"", b"\x1f\x8b", b"rubbish, no gzip", bytes(5_000)])
def test_a_file_that_is_no_hour_is_said_to_be_none(content: bytes, archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(content)
    done = fetch(tmp_path, archive.url)

    assert done.code in {ExitCode.SOURCE_UNREACHABLE, ExitCode.DAMAGED}
    assert done.error
    assert noted(tmp_path)["status"] in {"failed", "partial"}


_EVENT = json.loads(next(line for line in LINES if json.loads(line)["type"] == "WatchEvent"))
_ESCAPE = "\x1b[2J\x1b]0;owned\x07\u202e[bold]\x9b31m"


def _changed(**members: object) -> bytes:
    return json.dumps(_EVENT | members, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n"


def _spliced(name: str, raw: bytes) -> bytes:
    """The event with bytes of any kind as the value of a member."""
    return _changed(**{name: "@@"}).replace(b'"@@"', raw)


_HOSTILE = {
    "ids of any size": [
        _spliced("id", raw)
        for raw in (b"1" * 400, b"-1", b"1e400", b'"1e400"', b"null", b"[]", b'"' + b"9" * 4000 + b'"')
    ],
    "entity ids of any size": [
        _spliced("actor", b'{"id":' + raw + b',"login":"a"}')
        for raw in (
            b"9223372036854775807",
            b"9223372036854775808",
            b"-9223372036854775809",
            b"1.5",
            b"1e3",
            b'"7"',
            b"true",
        )
    ],
    "times of any kind": [
        _spliced("created_at", raw)
        for raw in (
            b'"2015-13-01T00:00:00Z"',
            b'"0000-00-00T00:00:00Z"',
            b'"9999-12-31T23:59:60Z"',
            b'"2015-01-01T15:00:00"',
            b'"0001-01-01T00:00:00+23:59"',
            b"1420124400",
            b'""',
            b"null",
            b"{}",
        )
    ],
    "types of any kind": [
        _spliced("type", raw) for raw in (b"null", b"7", b'""', b'"' + b"T" * 70_000 + b'"', b"[[]]")
    ],
    "lone surrogates": [
        _spliced("type", rb'"\ud800Event"'),
        _spliced("payload", rb'{"x":"\udfff"}'),
        _spliced("actor", rb'{"id":1,"login":"\ud800"}'),
        _changed(x="y").replace(b'"x"', rb'"\ud800"'),
    ],
    "control characters": [
        _spliced("type", rb'"\u0000\u001b[31mEvent"'),
        _spliced("repo", rb'{"id":1,"name":"a/\u0000\u001b]0;x\u0007"}'),
        _changed(type=_ESCAPE),
        _changed(actor={"id": 1, "login": _ESCAPE}, repo={"id": 2, "name": _ESCAPE}),
    ],
    "deep nesting": [_spliced("payload", b"[" * depth + b"]" * depth) for depth in (500, 5_000, 200_000)],
    "keys twice": [b'{"type":"A","type":"B",' + _changed().lstrip(b"{"), _spliced("actor", b'{"id":1,"id":2}')],
    "unknown members": [_changed(__proto__={}, **{"": 1, "a b": None, "\n": [], "é": 1e300})],
    "other forms": [
        b"\xef\xbb\xbf" + _changed(),
        _changed().strip() + b"\r\n",
        b"\t" + _changed(),
        _changed().strip() * 3,
    ],
    "numbers of any kind": [_spliced("payload", raw) for raw in (b"-0.0", b"1e999", b"1" * 5_000, b"true", b'"text"')],
}


@pytest.mark.parametrize("kind", _HOSTILE)
def test_no_event_breaks_the_hour(kind: str, archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(packed([*LINES[:100], *_HOSTILE[kind], *LINES[100:]]))
    done = fetch(tmp_path, archive.url, "--emails", "keep", "--max-damage", "100%")

    assert done.code == ExitCode.OK, done.error
    content = noted(tmp_path)["content"]
    assert content["events"] >= EVENTS
    assert content["documents"] >= EVENTS + len(_HOSTILE[kind])
    verified = etl(tmp_path, "verify", HOUR)
    assert verified.out == f"{HOUR}: sound\n"
    shown = etl(tmp_path, "show", HOUR, "--events", "300", "--quarantine", "300")
    assert shown.code == ExitCode.OK
    for said in (done.out + done.err, shown.out + shown.err, etl(tmp_path, "status").out):
        assert not [mark for mark in said if mark < " " and mark != "\n"], "nothing may speak to the terminal"
        assert not set(said) & {"\x9b", "\x7f", "\u202e"}


def test_what_the_source_says_of_itself_does_not_speak_to_the_terminal(archive: Archive, tmp_path: Path) -> None:
    archive.files[PATH] = File(SMALL, etag='"\x9b31m[bold]"', last_modified="\x9b2J")
    archive.files[COMPANION_PATH] = File(b'{"event_count": 7, "sha256": "\\u001b[2J"}' + b"[" * 10, None)
    done = fetch(tmp_path, archive.url, "--log-level", "debug")
    assert done.code == ExitCode.OK, done.error
    for said in (done, etl(tmp_path, "show", HOUR), etl(tmp_path, "status")):
        assert not set(said.out + said.err) & {"\x1b", "\x9b", "\x07"}


# ---- the disk


@pytest.mark.parametrize("limit", [0, 1, 20])
def test_a_full_disk_is_said_and_costs_nothing(limit: int, archive: Archive, tmp_path: Path) -> None:
    """No file may grow beyond so many KiB, so that the lake's cannot be written."""
    archive.files[PATH] = File(SMALL)
    assert fetch(tmp_path, archive.url).code == ExitCode.OK
    before = files(tmp_path)
    archive.files[PATH] = File(packed(documents(EVENTS * 2)), '"v2"')
    done = fetch(tmp_path, archive.url, "--refresh", limit=limit)

    assert done.code == ExitCode.STORE_FAILED
    assert str(tmp_path / "lake") in done.error
    assert done.hint
    assert files(tmp_path) == before
    assert fetch(tmp_path, archive.url, "--refresh").code == ExitCode.OK
    assert not [path for path in (tmp_path / "lake/.tmp").iterdir() if path.suffix != ".lock"]


def test_a_full_disk_is_said_when_it_is_the_quarantine_that_does_not_fit(archive: Archive, tmp_path: Path) -> None:
    noise = b"".join(b"no document %d\n" % (number**5) for number in range(4_000))
    archive.files[PATH] = File(packed([*LINES[:3], noise]))
    done = fetch(tmp_path, archive.url, limit=4)
    assert done.code == ExitCode.STORE_FAILED
    assert done.hint


@pytest.mark.parametrize("lake", ["/proc/lake", "/dev/null/lake", "gs://", "archive-file/lake"])
def test_a_lake_that_cannot_be_is_said(lake: str, archive: Archive, tmp_path: Path) -> None:
    (tmp_path / "archive-file").write_bytes(b"")
    archive.files[PATH] = File(SMALL)
    done = fetch(tmp_path, archive.url, "--lake", lake)

    assert done.code == (ExitCode.USAGE if lake == "gs://" else ExitCode.STORE_FAILED)
    assert lake in done.error
    assert done.hint
