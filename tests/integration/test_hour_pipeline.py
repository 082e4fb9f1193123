"""One hour from a real server into a real lake, whatever the server, the file and the lake do."""

from __future__ import annotations

import gc
import gzip
import hashlib
import json
import random
import re
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from etl.archive import documents as cutting
from etl.archive import gzip_stream as inflating
from etl.archive.damage import DamageReason
from etl.archive.known_gaps import known_gap
from etl.errors import DamagedError, NotPublishedError, ShrinkRefusedError, SourceUnreachableError, StoreError
from etl.events import decode as decoding
from etl.events.emails import EmailPolicy
from etl.events.record import rebuild
from etl.hour_pipeline import Outcome
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Status
from etl.source_selection import Completeness
from tests import tools
from tests.integration.archive.server import Answer, Archive, File, Handler, cut, page, status
from tests.integration.events.reading import canonical, parse
from tests.integration.running import (
    COMPANION_PATH,
    ERAS,
    HOUR,
    PATH,
    documents,
    objects,
    packed,
    put,
    quarantined,
    run,
    sound,
    stored_rows,
)

EVENTS = 300
LINES = documents(EVENTS)
SMALL = packed(LINES)
LARGER = packed(documents(EVENTS + 20, seed=1))
OTHER = packed(documents(EVENTS, seed=2))
SMALLER = packed(documents(EVENTS - 1, seed=3))
"""One event less than ``SMALL``."""
LONG_AGO = "Thu, 01 Jan 2015 16:05:00 GMT"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake"))


@pytest.fixture
def served(archive: Archive) -> Archive:
    """The archive with the hour as ``SMALL``, version 1."""
    archive.files[PATH] = File(SMALL)
    return archive


def asked_paths(archive: Archive) -> list[str]:
    return [asked.target for asked in archive.asked]


def replace(archive: Archive, content: bytes, etag: str = '"v2"') -> None:
    archive.files[PATH] = File(content, etag)


# ---- an hour that is there


def test_an_hour_is_stored_and_told(served: Archive, lake: Lake) -> None:
    result = run(lake, served.url)

    assert result.outcome is Outcome.STORED
    assert result.manifest == sound(lake)
    content = result.manifest.content
    assert content is not None
    assert (content.status, content.events, content.documents, content.era) == (Status.COMPLETE, EVENTS, EVENTS, "C")
    assert (content.unreadable, content.repaired, content.damage, content.quarantine_file) == (0, 0, [], None)
    assert content.types == Counter(json.loads(line)["type"] for line in LINES)
    assert list(content.types.values()) == sorted(content.types.values(), reverse=True)
    facts = content.source
    assert (facts.address, facts.etag, facts.bytes) == (served.url + PATH, '"v1"', len(SMALL))
    assert facts.sha256 == hashlib.sha256(SMALL).hexdigest()
    assert (facts.sidecar, facts.interrupted) == (False, False)
    times = sorted(datetime.fromisoformat(json.loads(line)["created_at"]) for line in LINES)
    assert (content.first_created_at, content.last_created_at) == (times[0], times[-1])
    assert result.manifest.attempts == 1
    assert content.duplicates == EVENTS - len({(e["id"], e["type"], e["created_at"]) for e in map(json.loads, LINES)})


def test_a_complete_hour_is_left_alone_without_asking_anybody(served: Archive, lake: Lake) -> None:
    first = run(lake, served.url)
    before, asked = objects(lake), len(served.asked)
    replace(served, LARGER)
    second = run(lake, served.url)

    assert second.outcome is Outcome.UNCHANGED
    assert second.manifest == first.manifest
    assert len(served.asked) == asked
    assert objects(lake) == before


def test_an_hour_made_on_other_terms_is_left_alone_and_told(served: Archive, lake: Lake) -> None:
    run(lake, served.url, emails="keep")
    with capture_logs() as logs:
        assert run(lake, served.url, emails="drop").outcome is Outcome.UNCHANGED

    (log,) = logs
    assert (log["log_level"], log["emails"], log["asked_emails"]) == ("warning", "keep", "drop")
    assert run(lake, served.url, emails="drop", force=True).outcome is Outcome.REPLACED
    content = sound(lake).content
    assert content is not None
    assert content.emails == "drop"


@pytest.mark.parametrize("era", ERAS)
def test_an_hour_of_every_era_comes_out_as_it_went_in(era: str, tmp_path: Path, lake: Lake) -> None:
    hour = ERAS[era]
    lines = documents(400, hour=hour)
    source = put(tmp_path / "archive", packed(lines), hour)
    result = run(lake, source, hour=hour, emails="keep")

    assert result.manifest == sound(lake, hour)
    assert result.manifest.content is not None
    assert result.manifest.content.era == era
    rows = stored_rows(lake, hour)
    assert Counter(canonical(rebuild(row)) for row in rows) == Counter(map(canonical, lines))


def test_progress_is_reported_to_the_last_byte_and_event(served: Archive, lake: Lake) -> None:
    class Watching:
        def __init__(self) -> None:
            self.sources: list[tuple[str, int | None]] = []
            self.bytes = self.counted = 0

        def source(self, address: str, size: int | None) -> None:
            self.sources.append((address, size))

        def received(self, count: int) -> None:
            self.bytes += count

        def events(self, count: int) -> None:
            self.counted += count

    watch = Watching()
    run(lake, served.url, watch=watch)

    assert watch.sources == [(served.url + PATH, len(SMALL))]
    assert (watch.bytes, watch.counted) == (len(SMALL), EVENTS)


# ---- an hour that may have changed


def test_a_refresh_asks_by_the_version_it_has(served: Archive, lake: Lake) -> None:
    first = run(lake, served.url)
    before = objects(lake)
    served.asked.clear()
    second = run(lake, served.url, refresh=True)

    assert second.outcome is Outcome.UNCHANGED
    assert second.manifest == first.manifest
    assert objects(lake) == before
    assert [(asked.target, asked.headers.get("If-None-Match")) for asked in served.asked] == [(PATH, '"v1"')]


def test_the_version_that_was_replaced_is_on_record(served: Archive, lake: Lake) -> None:
    first = run(lake, served.url)
    assert first.manifest.replaced is None
    replace(served, LARGER)
    with capture_logs() as logs:
        second = run(lake, served.url, refresh=True)
    (log,) = (log for log in logs if log["event"] == "stored another version of the source's file")

    replaced = sound(lake).replaced
    assert replaced is not None
    assert (replaced.address, replaced.etag, replaced.bytes) == (f"{served.url}{PATH}", '"v1"', len(SMALL))
    assert (replaced.sha256, replaced.events) == (hashlib.sha256(SMALL).hexdigest(), EVENTS)
    assert (replaced.status, replaced.written_at) == (Status.COMPLETE, first.manifest.finished_at)
    assert (log["old_etag"], log["etag"]) == ('"v1"', '"v2"')
    assert (log["old_bytes"], log["bytes"]) == (len(SMALL), len(LARGER))
    assert (log["old_events"], log["events"]) == (EVENTS, EVENTS + 20)
    assert log["old_written_at"] == first.manifest.finished_at.isoformat()

    with capture_logs() as logs:
        third = run(lake, served.url, force=True)
    assert third.manifest.replaced == second.manifest.replaced, "the same bytes are no new version"
    assert not [log for log in logs if log["event"] == "stored another version of the source's file"]


def test_the_version_that_was_replaced_outlives_a_crash_before_the_manifest(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    manifest = lake.store.read(manifest_key(HOUR))
    assert manifest is not None
    replace(served, LARGER)
    expected = run(lake, served.url, refresh=True).manifest.replaced
    lake.store.delete(manifest_key(HOUR))
    lake.store.write(manifest_key(HOUR), manifest)

    recovered = lake.recover(HOUR)
    assert recovered is not None
    assert recovered.replaced == expected is not None


def test_where_a_redirect_led_is_on_record(served: Archive, lake: Lake) -> None:
    port = served.url.rpartition(":")[2]
    served.files["/elsewhere"] = File(SMALL)
    served.script[PATH] = [status(302, Location=f"http://localhost:{port}/elsewhere")]
    content = run(lake, served.url).manifest.content
    assert content is not None
    assert content.source.address == f"{served.url}{PATH}"
    assert content.source.redirected_to == f"http://localhost:{port}/elsewhere"
    assert sound(lake).content == content


@pytest.mark.parametrize("force", [False, True], ids=["refresh", "force"])
@pytest.mark.parametrize("content", [OTHER, LARGER], ids=["equal", "larger"])
def test_an_hour_is_replaced_by_one_with_no_fewer_events(
    *, force: bool, content: bytes, served: Archive, lake: Lake
) -> None:
    run(lake, served.url)
    replace(served, content)
    result = run(lake, served.url, refresh=True, force=force)

    assert result.outcome is Outcome.REPLACED
    assert result.manifest == sound(lake)
    assert result.manifest.attempts == 2
    assert result.manifest.content is not None
    assert result.manifest.content.source.sha256 == hashlib.sha256(content).hexdigest()
    ids = Counter(row["id"] for row in stored_rows(lake))
    assert ids == Counter(json.loads(line)["id"] for line in gzip.decompress(content).splitlines())


def test_an_hour_does_not_give_way_to_a_smaller_one(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    before = objects(lake)
    replace(served, SMALLER)
    with pytest.raises(ShrinkRefusedError, match=f"{EVENTS - 1} events .* {EVENTS}") as refused:
        run(lake, served.url, refresh=True)

    assert refused.value.hint is not None
    assert "--force" in refused.value.hint
    assert objects(lake) == before
    forced = run(lake, served.url, force=True)
    assert forced.outcome is Outcome.REPLACED
    assert len(stored_rows(lake)) == EVENTS - 1


def test_a_smaller_hour_leaves_no_quarantine_behind(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    before = objects(lake)
    replace(served, packed([*LINES[:-5], b"no document\n"]))
    with pytest.raises(ShrinkRefusedError):
        run(lake, served.url, refresh=True)
    assert objects(lake) == before


def test_force_does_not_ask_whether_it_changed(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    served.asked.clear()
    assert run(lake, served.url, force=True).outcome is Outcome.REPLACED
    assert {asked.headers.get("If-None-Match") for asked in served.asked} == {None}


def test_the_version_of_one_source_says_nothing_to_another(served: Archive, lake: Lake, tmp_path: Path) -> None:
    elsewhere = put(tmp_path / "elsewhere", LARGER)
    run(lake, elsewhere)
    served.asked.clear()
    with pytest.raises(ShrinkRefusedError):
        run(lake, served.url, refresh=True)
    assert {asked.headers.get("If-None-Match") for asked in served.asked} == {None}


def test_a_failed_refresh_leaves_the_hour_and_its_manifest(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    before = objects(lake)
    for answer in (status(404), status(500), page()):
        served.otherwise = answer
        for force in (False, True):
            with pytest.raises((NotPublishedError, SourceUnreachableError)):
                run(lake, served.url, refresh=True, force=force)
            assert objects(lake) == before


def test_a_partial_hour_is_asked_for_again_until_it_is_whole(served: Archive, lake: Lake) -> None:
    replace(served, SMALL[: len(SMALL) // 2], '"half"')
    with pytest.raises(DamagedError, match="partial"):
        run(lake, served.url)
    half = sound(lake)
    assert half.status is Status.PARTIAL

    with pytest.raises(DamagedError, match="partial"):
        run(lake, served.url)
    # It may have been damaged in transit, so the etag of the sound file does not keep it.
    assert "If-None-Match" not in served.asked[-1].headers
    assert sound(lake).content == half.content

    replace(served, SMALL)
    assert run(lake, served.url).outcome is Outcome.REPLACED
    whole = sound(lake)
    assert whole.status is Status.COMPLETE
    assert list(objects(lake)) == [events_key(HOUR), manifest_key(HOUR)], "the quarantine of the half hour is gone"


# ---- several sources


def test_the_next_source_is_asked_when_the_first_has_it_not(served: Archive, lake: Lake, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = run(lake, empty, served.url)

    assert result.manifest.content is not None
    assert result.manifest.content.source.address == served.url + PATH


@pytest.mark.parametrize(
    "answer", [status(500), status(403), page(), cut(3000)], ids=["failing", "forbidden", "page", "breaking off"]
)
def test_the_next_source_is_asked_when_the_first_cannot_give_it(
    answer: Answer, served: Archive, lake: Lake, tmp_path: Path
) -> None:
    second = put(tmp_path / "second", OTHER)
    served.otherwise = answer
    with capture_logs() as logs:
        result = run(lake, served.url, second)

    assert any(log["log_level"] == "warning" and log.get("source") == served.url for log in logs)
    assert result.outcome is Outcome.STORED
    content = sound(lake).content
    assert content is not None
    assert content.source.address == str(second / f"{HOUR}.json.gz")
    assert content.source.sha256 == hashlib.sha256(OTHER).hexdigest()
    assert content.events == EVENTS


def test_the_second_source_is_left_alone_when_the_first_has_it(served: Archive, lake: Lake, tmp_path: Path) -> None:
    run(lake, put(tmp_path / "first", SMALL), served.url, completeness=Completeness.FIRST)
    assert served.asked == []


def at(age: timedelta) -> Callable[[], datetime]:
    """A clock that stands so long after the end of the hour."""
    return lambda: HOUR.window[1] + age


@pytest.mark.parametrize(
    ("age", "words", "noted"),
    [
        (timedelta(0), "not published yet", Status.PENDING),
        (timedelta(days=7, seconds=-1), "not published yet", Status.PENDING),
        (timedelta(days=7), "missing from the archive", Status.MISSING),
        (timedelta(days=3000), "missing from the archive", Status.MISSING),
    ],
)
def test_an_hour_nobody_has_is_noted_by_its_age(
    age: timedelta, words: str, noted: Status, archive: Archive, lake: Lake, tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotPublishedError, match=words) as error:
        run(lake, archive.url, empty, clock=at(age))

    assert archive.url + PATH in error.value.message
    assert str(empty) in error.value.message
    manifest = sound(lake)
    assert (manifest.status, manifest.content, manifest.events_file) == (noted, None, None)
    assert manifest.finished_at == at(age)()


def test_an_hour_that_comes_late_is_stored(archive: Archive, lake: Lake) -> None:
    for age in (timedelta(0), timedelta(days=8)):
        with pytest.raises(NotPublishedError):
            run(lake, archive.url, clock=at(age))
    replace(archive, SMALL)
    result = run(lake, archive.url)

    assert result.outcome is Outcome.STORED
    assert sound(lake).attempts == 3


def test_one_404_does_not_make_an_hour_missing(archive: Archive, lake: Lake, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    archive.otherwise = status(503)
    for order in ((archive.url, empty), (empty, archive.url)):
        with pytest.raises(SourceUnreachableError, match="503"):
            run(lake, *order)
        manifest = sound(lake)
        assert manifest.status is Status.FAILED
        assert manifest.reason is not None
        assert "503" in manifest.reason


# ---- the manifest beside the hour


def announce(archive: Archive, **fields: object) -> None:
    archive.files[COMPANION_PATH] = File(json.dumps(fields).encode(), None, None, "application/json")


def test_a_manifest_beside_the_hour_that_agrees_is_recorded(served: Archive, lake: Lake) -> None:
    announce(served, event_count=EVENTS, compressed_bytes=len(SMALL), sha256=hashlib.sha256(SMALL).hexdigest())
    content = run(lake, served.url).manifest.content
    assert content is not None
    assert content.source.sidecar


@pytest.mark.parametrize("fields", [{"sha256": "0" * 64}, {"compressed_bytes": 7}], ids=["sha256", "bytes"])
def test_bytes_that_are_not_those_announced_are_not_stored(
    fields: dict[str, object], served: Archive, lake: Lake, tmp_path: Path
) -> None:
    announce(served, **fields)
    with pytest.raises(SourceUnreachableError):
        run(lake, served.url)
    assert sound(lake).status is Status.FAILED
    assert list(objects(lake)) == [manifest_key(HOUR)]

    run(lake, served.url, put(tmp_path / "second", SMALL))
    assert sound(lake).status is Status.COMPLETE


@pytest.mark.parametrize("announced", [EVENTS + 1, EVENTS - 1, 0])
def test_another_number_of_events_than_announced_makes_it_partial(announced: int, served: Archive, lake: Lake) -> None:
    announce(served, event_count=announced)
    with pytest.raises(DamagedError, match=f"announces {announced} events, but {EVENTS} were found"):
        run(lake, served.url)
    manifest = sound(lake)
    assert manifest.status is Status.PARTIAL
    assert len(stored_rows(lake)) == EVENTS


def test_unreadable_documents_count_among_those_announced(served: Archive, lake: Lake) -> None:
    replace(served, packed([*LINES, b'{"id":"1","type":"Push\n']))
    announce(served, event_count=EVENTS + 1)
    manifest = run(lake, served.url).manifest
    assert manifest.content is not None
    assert (manifest.status, manifest.content.unreadable) == (Status.COMPLETE, 1)


# ---- what the wire does


def swap(content: bytes, etag: str, before: Answer) -> Answer:
    """Answers, and then the file is another one."""

    def answer(handler: Handler, file: File | None) -> None:
        before(handler, file)
        replace(handler.archive, content, etag)

    return answer


def test_a_file_that_changes_meanwhile_is_begun_again(served: Archive, lake: Lake) -> None:
    served.script[PATH] = [swap(OTHER, '"v2"', cut(2000))]
    result = run(lake, served.url)

    content = sound(lake).content
    assert content is not None
    assert content == result.manifest.content
    assert (content.source.etag, content.events) == ('"v2"', EVENTS)
    assert content.source.sha256 == hashlib.sha256(OTHER).hexdigest()
    wanted = Counter(json.loads(line)["id"] for line in gzip.decompress(OTHER).splitlines())
    assert Counter(row["id"] for row in stored_rows(lake)) == wanted


def test_a_file_that_never_stops_changing_is_given_up(served: Archive, lake: Lake) -> None:
    versions = iter(range(1000))

    def change(handler: Handler, file: File | None) -> None:
        cut(2000)(handler, file)
        replace(handler.archive, OTHER, f'"c{next(versions)}"')

    served.otherwise = change
    with pytest.raises(SourceUnreachableError):
        run(lake, served.url)
    assert sound(lake).status is Status.FAILED
    assert next(versions) <= 12


def test_breaks_on_the_way_change_nothing(archive: Archive, tmp_path: Path) -> None:
    content = packed(documents(1500))
    replace(archive, content)
    whole, broken = Lake.at(str(tmp_path / "whole")), Lake.at(str(tmp_path / "broken"))
    run(whole, archive.url)
    archive.script[PATH] = [cut(70_000, reset=number % 2 == 0) for number in range(len(content) // 70_000)]
    run(broken, archive.url)

    assert len([found for found in archive.ranges() if found is not None]) >= 3
    assert objects(broken)[events_key(HOUR)] == objects(whole)[events_key(HOUR)]


# ---- what the file holds


def exact(lake: Lake, compressed: bytes, text: bytes) -> list[dict[str, Any]]:
    """Returns the quarantine, each row of which is the very bytes of its place."""
    rows = quarantined(lake)
    for row in rows:
        there = (compressed if row["place"] == "gzip" else text)[row["offset"] : row["offset"] + row["length"]]
        assert there == row["bytes"], "other bytes than at their place"
    return rows


def test_broken_compression_costs_what_comes_behind_it(served: Archive, lake: Lake) -> None:
    stream = zlib.compressobj(wbits=31)
    good = stream.compress(b"".join(LINES[:150])) + stream.flush(zlib.Z_FULL_FLUSH)
    lost = stream.compress(b"".join(LINES[150:])) + stream.flush()
    # The last two bits of a deflate block's first three are its type, and there is no type 3.
    lost = bytes((lost[0] | 0b110,)) + lost[1:]
    replace(served, good + lost)
    with pytest.raises(DamagedError, match="broken gzip"):
        run(lake, served.url, emails="keep")

    content = sound(lake).content
    assert content is not None
    assert content.source.interrupted
    assert content.source.sha256 == hashlib.sha256(good + lost).hexdigest()
    stored = Counter(canonical(rebuild(row)) for row in stored_rows(lake))
    assert stored == Counter(map(canonical, LINES[:150]))
    aside = exact(lake, good + lost, b"".join(LINES))
    assert b"".join(row["bytes"] for row in aside).endswith(lost[1:])
    assert {row["place"] for row in aside} == {"gzip"}


def test_members_behind_a_broken_one_are_read(served: Archive, lake: Lake) -> None:
    thirds = [packed(LINES[start : start + 100]) for start in (0, 100, 200)]
    broken = bytearray(thirds[1])
    broken[200:] = bytes(random.Random(5).randbytes(len(broken) - 200))  # noqa: S311 -- not a secret
    replace(served, thirds[0] + bytes(broken) + thirds[2])
    with pytest.raises(DamagedError):
        run(lake, served.url, emails="keep")

    stored = Counter(canonical(rebuild(row)) for row in stored_rows(lake))
    assert not (Counter(map(canonical, LINES[:100] + LINES[200:])) - stored).total()


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_a_truncated_file_gives_what_it_has(share: float, served: Archive, lake: Lake) -> None:
    content = SMALL[: int(len(SMALL) * share)]
    replace(served, content)
    with pytest.raises(DamagedError, match="truncated gzip"):
        run(lake, served.url, emails="keep")

    stored = Counter(canonical(rebuild(row)) for row in stored_rows(lake))
    assert not (stored - Counter(map(canonical, LINES))).total()
    text = gzip.decompress(SMALL)
    for row in exact(lake, content, text):
        assert row["place"] == "text"


def test_a_bomb_is_not_read_to_its_end(served: Archive, lake: Lake) -> None:
    replace(served, gzip.compress(bytes(64 << 20)))
    with pytest.raises(SourceUnreachableError, match="decompresses to more than 1,048,576 bytes") as error:
        run(lake, served.url, max_expanded=1 << 20)

    assert error.value.hint is not None
    assert "max_expanded" in error.value.hint
    assert sound(lake).status is Status.FAILED
    assert list(objects(lake)) == [manifest_key(HOUR)]


def test_a_file_without_events_is_suspect(served: Archive, lake: Lake) -> None:
    for content in (gzip.compress(b""), gzip.compress(b"\n\n \r\n")):
        replace(served, content, f'"{len(content)}"')
        result = run(lake, served.url, force=True)
        assert (result.manifest.status, result.manifest.reason) == (Status.SUSPECT, "the file contains no events")
        assert result.manifest == sound(lake)
        assert stored_rows(lake) == []
    asked = len(served.asked)
    assert run(lake, served.url).outcome is Outcome.UNCHANGED
    assert len(served.asked) == asked

    replace(served, SMALL)
    assert run(lake, served.url, refresh=True).manifest.status is Status.COMPLETE


@pytest.mark.parametrize("content", [b"", b"rubbish that is no gzip" * 50], ids=["empty", "rubbish"])
def test_a_file_that_is_no_hour_never_replaces_one(content: bytes, served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    before = objects(lake)
    replace(served, content)
    with pytest.raises((SourceUnreachableError, ShrinkRefusedError)):
        run(lake, served.url, refresh=True)
    assert objects(lake) == before


def test_damage_within_the_limit_is_kept_aside_and_the_hour_complete(served: Archive, lake: Lake) -> None:
    broken = [*LINES[:50], LINES[50][:100] + b"\n", *LINES[51:]]
    replace(served, packed(broken))
    manifest = run(lake, served.url, emails="keep", max_damage=1 / EVENTS).manifest

    content = sound(lake).content
    assert content is not None
    assert content == manifest.content
    assert (content.status, content.events, content.documents) == (Status.COMPLETE, EVENTS - 1, EVENTS)
    assert [(damage.reason, damage.count) for damage in content.damage] == [(DamageReason.CUT_DOCUMENT, 1)]
    (row,) = exact(lake, b"", b"".join(broken))
    assert row["bytes"].strip() == LINES[50][:100].strip()


def test_damage_beyond_the_limit_makes_it_partial(served: Archive, lake: Lake) -> None:
    broken = [*LINES[:-2], LINES[-2][:100] + b"\n", LINES[-1][:90] + b"\n"]
    replace(served, packed(broken))
    with pytest.raises(DamagedError, match=f"2 of {EVENTS} documents could not be read") as error:
        run(lake, served.url, emails="keep", max_damage=1.99 / EVENTS)

    assert error.value.hint is not None
    assert "--quarantine" in error.value.hint
    assert sound(lake).status is Status.PARTIAL
    assert len(stored_rows(lake)) == EVENTS - 2
    # Neighbours are one row.
    (row,) = exact(lake, b"", b"".join(broken))
    assert row["bytes"] == b"".join(broken[-2:]).strip()


def _glued(pair: tuple[bytes, bytes]) -> bytes:
    return pair[0].strip() + pair[1]


SOUND_LINES = st.sampled_from([line for hour in ERAS.values() for line in documents(30, hour=hour) if len(line) < 3000])
ODD_LINES = st.one_of(
    st.tuples(SOUND_LINES, SOUND_LINES).map(_glued),
    SOUND_LINES.map(lambda line: b"\0\0\0" + line),
    SOUND_LINES.map(lambda line: b"  { " + line[1:].strip() + b" \r\n"),
    st.just(b"\n"),
    st.tuples(SOUND_LINES, st.integers(2, 60)).map(lambda cut: cut[0][: -cut[1]] + b"\n"),
    st.tuples(SOUND_LINES, st.integers(2, 60), SOUND_LINES).map(lambda cut: cut[0][: -cut[1]] + cut[2]),
    st.sampled_from([b"[]\n", b"null\n", b'"text"\n', b"{}\n", b"12\n", b"\xff\xfe\n", b'{"no":"event"}\n']),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(lines=[b"\xff\xfe\n"])
@example(lines=[b"\xff\xfe\n", b"\0\0\0" + documents(1, hour=ERAS["A"])[0]])
@example(lines=[b"\xff\xfe\n", documents(1, hour=ERAS["A"])[0]])
@given(lines=st.lists(st.one_of(SOUND_LINES, SOUND_LINES, ODD_LINES), min_size=1, max_size=12))
def test_every_byte_is_in_an_event_or_in_quarantine(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    folder = tmp_path_factory.mktemp("odd")
    lake = Lake.at(str(folder / "lake"))
    text = b"".join(lines)
    manifest = run(lake, put(folder / "archive", packed(lines)), emails="keep", max_damage=1.0).manifest

    content = sound(lake).content
    assert content is not None
    assert content == manifest.content
    rows = stored_rows(lake)
    assert content.events == len(rows)
    assert content.documents == content.events + content.unreadable
    left = bytearray(text)
    aside = exact(lake, b"", text)
    for row in aside:
        if not row["event_kept"]:
            left[row["offset"] : row["offset"] + row["length"]] = b" " * row["length"]
    # What is not in quarantine is nothing but documents, and these are the events.
    remaining = list(_objects_of(left.decode()))
    assert Counter(canonical(rebuild(row)) for row in rows) == Counter(map(canonical, remaining))
    assert sum(damage.count for damage in content.damage) == len(aside)
    assert sum(damage.bytes for damage in content.damage) == sum(row["length"] for row in aside)


def _objects_of(text: str) -> Iterable[str]:
    at = 0
    decoder = json.JSONDecoder()
    while (start := re.compile(r"[ \t\r\n\[\],]*").match(text, at)) and start.end() < len(text):
        _, at = decoder.raw_decode(text, start.end())
        yield text[start.end() : at]


# ---- how the file is laid out


@pytest.fixture
def small_groups(monkeypatch: pytest.MonkeyPatch) -> int:
    """Shrinks pieces, blocks and row groups so that a practice hour has many; gives the rows a group is closed at."""
    rows = 300
    monkeypatch.setattr(inflating, "_STEP", 100_000)
    monkeypatch.setitem(cutting.blocks.__kwdefaults__ or {}, "size", 60_000)
    monkeypatch.setattr(decoding, "ROW_GROUP_ROWS", rows)
    return rows


def _groups(lake: Lake, hour: Hour) -> list[list[Any]]:
    """The types of the events of each row group, in order."""
    with lake.store.open(events_key(hour)) as file:
        parquet = pq.ParquetFile(file)
        groups = range(parquet.metadata.num_row_groups)
        return [parquet.read_row_group(group, columns=["type"])["type"].to_pylist() for group in groups]


@pytest.mark.parametrize("odd", [False, True], ids=["sound", "with odd lines"])
@pytest.mark.parametrize("era", ERAS)
def test_row_groups_change_nothing_but_the_order(
    *, era: str, odd: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    hour = ERAS[era]
    lines = documents(1800, hour=hour)
    if odd:
        lines = [b"{ " + line[1:] if number % 97 == 0 else line for number, line in enumerate(lines)]
    source = put(tmp_path / "archive", packed(lines), hour)
    one, many = Lake.at(str(tmp_path / "one")), Lake.at(str(tmp_path / "many"))
    run(one, source, hour=hour)
    most = request.getfixturevalue("small_groups")
    run(many, source, hour=hour)

    assert len(_groups(one, hour)) == 1
    groups = _groups(many, hour)
    assert len(groups) > 3
    longest_block = max(len(list(found)) for _, found in groupby(_block_numbers(lines)))
    assert all(most <= len(group) < most + longest_block for group in groups[:-1])
    assert all(group == sorted(group) for group in groups)
    whole, parted = stored_rows(one, hour), stored_rows(many, hour)
    assert Counter(map(_key, whole)) == Counter(map(_key, parted))
    _, _ = sound(one, hour), sound(many, hour)
    ours, theirs = one.manifest(hour), many.manifest(hour)
    assert ours is not None
    assert theirs is not None
    assert ours.content == theirs.content


def _block_numbers(lines: list[bytes]) -> Iterable[int]:
    """Which piece of 160,000 bytes a line begins in: no block is longer."""
    at = 0
    for line in lines:
        yield at // 160_000
        at += len(line)


def _key(row: dict[str, Any]) -> str:
    return json.dumps(row, default=str)


def test_within_a_type_events_stand_in_order_of_arrival(served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    events = [json.loads(line) for line in LINES]
    by_type = sorted(events, key=lambda event: str(event["type"]))
    assert [row["id"] for row in stored_rows(lake)] == [event["id"] for event in by_type]


@pytest.mark.parametrize("emails", ["hash", "drop", "keep"])
@pytest.mark.parametrize("era", ERAS)
def test_the_same_hour_gives_the_same_bytes(era: str, emails: str, tmp_path: Path) -> None:
    hour = ERAS[era]
    lines = documents(400, hour=hour)
    lines[100] = lines[100][:-40] + b"\n"
    lines[200] = b"\0\0" + lines[200].strip() + lines[201]
    source = put(tmp_path / "archive", packed(lines), hour)
    lakes = [Lake.at(str(tmp_path / name)) for name in ("one", "two")]
    for number, lake in enumerate(lakes):
        run(lake, source, hour=hour, emails=emails, clock=partial(datetime, 2026, 1, 1 + number, tzinfo=UTC))

    ours, theirs = map(objects, lakes)
    assert len(ours) == 3
    assert ours.pop(manifest_key(hour)) != theirs.pop(manifest_key(hour)), "the manifest alone knows the clock"
    assert ours == theirs


# ---- what is left behind


def _workers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(("read-ahead", "parquet"))]


def _left_running() -> list[threading.Thread]:
    """Threads of a run that do not end by themselves; the one that reads ahead is not waited for by the run."""
    for thread in _workers():
        thread.join(timeout=20)
    return _workers()


class _Spying:
    """Watches the collector."""

    def __init__(self) -> None:
        self.seen: set[bool] = set()

    def source(self, address: str, size: int | None) -> None:
        pass

    def received(self, count: int) -> None:
        pass

    def events(self, count: int) -> None:
        if count:
            self.seen.add(gc.isenabled())


def _full_disk(lake: Lake) -> Lake:
    """A lake whose events cannot be put in their place: a folder lies there."""
    (Path(lake.address) / events_key(HOUR) / "in the way").mkdir(parents=True)
    return lake


@pytest.mark.parametrize("collecting", [True, False])
@pytest.mark.parametrize("how", ["well", "refused", "unreachable", "bomb", "page", "unwritable", "interrupted"])
def test_a_run_leaves_nothing_behind(*, how: str, collecting: bool, served: Archive, lake: Lake) -> None:
    assert _left_running() == []
    spy = _Spying()
    options: dict[str, Any] = {"watch": spy}
    if how == "refused":
        run(lake, put(Path(lake.address).parent / "larger", LARGER))
        options["refresh"] = True
    elif how == "unreachable":
        served.script[PATH] = [cut(len(SMALL) // 2)]
        served.otherwise = status(500)
    elif how == "bomb":
        options["max_expanded"] = 1 << 16
    elif how == "page":
        served.otherwise = page()
    elif how == "unwritable":
        _full_disk(lake)
    elif how == "interrupted":

        def interrupt(count: int) -> None:
            raise KeyboardInterrupt(count)

        spy.events = interrupt  # type: ignore[method-assign]
    if not collecting:
        gc.disable()
    try:
        if how == "well":
            run(lake, served.url, **options)
        else:
            with pytest.raises((ShrinkRefusedError, SourceUnreachableError, StoreError, KeyboardInterrupt)):
                run(lake, served.url, **options)
        assert gc.isenabled() is collecting
    finally:
        gc.enable()
    assert spy.seen <= {False}
    assert _left_running() == []
    assert not [path for path in (Path(lake.address) / ".tmp").glob("*") if path.suffix != ".lock"]


@pytest.mark.parametrize("ending", ["refused", "unreachable"])
def test_a_large_quarantine_of_a_failed_run_is_let_go_of(ending: str, served: Archive, lake: Lake) -> None:
    run(lake, served.url)
    junk = b"no document, only noise" * (1 << 19) + b"\n"  # more than is held in memory
    replace(served, gzip.compress(junk + b"".join(LINES[:10]) + b"\n" * (20 << 20), 1))
    refused = ending == "refused"
    options: dict[str, Any] = {"refresh": True} if refused else {"force": True, "max_expanded": len(junk) + (9 << 20)}
    before = sorted(_open_files())
    with pytest.raises((ShrinkRefusedError, SourceUnreachableError)):
        run(lake, served.url, **options)
    assert _left_running() == []
    assert sorted(_open_files()) == before


def _open_files() -> list[str]:
    """The files this process holds open, where the system lists them."""
    folder = tools.get("linux") / "self/fd"
    found = []
    for link in folder.iterdir():
        try:
            target = str(link.readlink())
        except FileNotFoundError:
            continue
        if target.startswith("/") and not target.startswith(("/proc", "/dev")):
            found.append(target)
    return found


def test_addresses_are_treated_by_the_policy_asked_for(tmp_path: Path) -> None:
    hour = ERAS["B"]
    source = put(tmp_path / "archive", packed(documents(200, hour=hour)), hour)
    words = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
    found = {}
    for name, policy in {
        "keep": EmailPolicy.of("keep"),
        "hash": EmailPolicy.of("hash"),
        "keyed": EmailPolicy.of("hash", b"sixteen bytes or more"),
        "drop": EmailPolicy.of("drop"),
    }.items():
        lake = Lake.at(str(tmp_path / name))
        content = run(lake, source, hour=hour, emails=policy).manifest.content
        assert content is not None
        assert content.emails == policy.name
        texts = [text for row in stored_rows(lake, hour) for text in _texts(row)]
        found[name] = {word for text in texts for word in words.findall(text) if not word.startswith("git@")}
    assert found["keep"]
    assert found["drop"] == set()
    official = {
        hashlib.sha1(local.encode(), usedforsecurity=False).hexdigest() + "@" + domain
        for local, _, domain in (word.partition("@") for word in found["keep"])
    }
    assert found["hash"] == official
    assert len(found["keyed"]) == len(official)
    assert not found["keyed"] & (official | found["keep"])


def _texts(value: Any) -> Iterable[str]:
    """Every text in a row, also inside its columns of JSON."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _texts(parse(part) if key in {"payload", "other"} and isinstance(part, str) else part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize(
    ("name", "hint"), [("2016-10-21-18", "another --source may have it"), ("2013-03-10-2", None)], ids=["lost", "never"]
)
def test_a_404_in_a_known_hole_is_missing_at_once(archive: Archive, lake: Lake, name: str, hint: str | None) -> None:
    hour = Hour.parse(name)
    hole = known_gap(hour)
    assert hole is not None
    with pytest.raises(NotPublishedError, match="known gap in the archive") as error:
        run(lake, archive.url, hour=hour, pending_period=timedelta(days=9000))
    assert error.value.hint == hint
    manifest = lake.manifest(hour)
    assert manifest is not None
    assert (manifest.status, manifest.reason) == (Status.MISSING, hole.reason)
