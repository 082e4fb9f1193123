"""The three steps leave the lake as one run of the pipeline does, and as it was wherever they do not get through."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest

from etl.archive.sources import source_at
from etl.errors import DamagedError, GateError, SourceUnreachableError
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.hours import Hour, newest_finished_hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.lake.manifest import Manifest, Status
from etl.mage import quality_checks
from etl.mage.staging import StagingFolder
from etl.mage.steps import StepOptions, check_shaped, fetch, process, publish, shape
from etl.mage.task_payload import State, TaskPayload, read_task_payload
from etl.practice.faults import FaultPlan, FaultyServer, Stalled, Truncated
from etl.practice.generator import write_hour
from etl.practice.server import PracticeServer
from tests.integration.running import (
    ERAS,
    HOUR,
    QUICK,
    documents,
    objects,
    packed,
    put,
    quarantined,
    run,
    sound,
    stored_rows,
)

HOLE = Hour.of(2016, 10, 21, 18)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def place(tmp_path: Path) -> Callable[..., StepOptions]:
    """Makes options: a lake and a staging folder of the test's own."""

    def make(*sources: str | Path, lake: str = "lake", **options: Any) -> StepOptions:
        accept = options.pop("accept_partial", False)
        return StepOptions(
            lake=Lake.at(str(tmp_path / lake)),
            sources=[source_at(str(source), connect_timeout=5, read_timeout=5) for source in sources],
            run_options=RunOptions(emails=EmailPolicy.of("hash"), fetch=QUICK, **options),
            staging=StagingFolder(tmp_path / "spool"),
            accept_partial=accept,
        )

    return make


def left_in(staging: StagingFolder) -> list[str]:
    return [str(path.relative_to(staging.root)) for path in staging.root.rglob("*")] if staging.root.exists() else []


def timeless(manifest: Manifest | None) -> Manifest:
    """A manifest without what two runs need not share: times, and how the same rows were packed."""
    assert manifest is not None
    assert manifest.events_file is not None
    file = msgspec.structs.replace(manifest.events_file, bytes=0, sha256="")
    return msgspec.structs.replace(manifest, started_at=EPOCH, finished_at=EPOCH, events_file=file)


def same_hour(one: Lake, other: Lake, hour: Hour) -> None:
    assert timeless(sound(one, hour)) == timeless(sound(other, hour))
    assert stored_rows(one, hour) == stored_rows(other, hour)
    assert quarantined(one, hour) == quarantined(other, hour)


@pytest.mark.parametrize("hour", ERAS.values(), ids=ERAS)
def test_the_steps_leave_what_the_pipeline_leaves(
    place: Callable[..., StepOptions], tmp_path: Path, hour: Hour
) -> None:
    write_hour(hour, tmp_path / "files" / f"{hour}.json.gz", events=300)
    with PracticeServer(tmp_path / "files", manifests=True) as server:
        options = place(server.address)
        payload = process(hour, "1", options)
        once = Lake.at(str(tmp_path / "once"))
        run(once, server.address, hour=hour)
    assert (payload.state, payload.events) == (State.STORED, 300)
    same_hour(options.lake, once, hour)
    assert left_in(options.staging) == []


def test_what_is_handed_on_is_small_and_never_the_events(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(2_000))))
    payload = fetch(HOUR, "1", options)
    assert payload.state is State.FETCHED
    assert len(msgspec.json.encode(payload)) < 1_000
    shaped = shape(read_task_payload(payload.as_dict()), options)
    assert len(msgspec.json.encode(shaped)) < 1_000
    assert objects(options.lake) == {}
    assert publish(read_task_payload(shaped.as_dict()), options).state is State.STORED


def test_a_complete_hour_is_left_alone_and_no_source_is_asked(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place(put(tmp_path / "files", packed(documents(20))))
    process(HOUR, "1", options)
    before = objects(options.lake)
    (tmp_path / "files" / f"{HOUR}.json.gz").unlink()
    assert process(HOUR, "2", options).state is State.UNCHANGED
    assert objects(options.lake) == before


@pytest.mark.parametrize(
    ("hour", "state", "status"),
    [(HOLE, State.MISSING, Status.MISSING), (HOUR, State.MISSING, Status.MISSING)],
    ids=["known gap", "old"],
)
def test_an_hour_that_nobody_has_is_noted_as_the_command_notes_it(
    place: Callable[..., StepOptions], tmp_path: Path, hour: Hour, state: State, status: Status
) -> None:
    (tmp_path / "files").mkdir()
    options = place(tmp_path / "files")
    payload = process(hour, "1", options)
    assert payload.state is state
    manifest = options.lake.manifest(hour)
    assert manifest is not None
    assert (manifest.status, payload.reason is not None) == (status, True)
    assert left_in(options.staging) == []


def test_a_young_hour_that_nobody_has_is_pending_and_is_waited_for(
    place: Callable[..., StepOptions], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "files").mkdir()
    hour, options = newest_finished_hour(), place(tmp_path / "files")
    assert fetch(hour, "1", options).state is State.PENDING

    # It is published while the step waits.
    monkeypatch.setattr("time.sleep", lambda _: put(tmp_path / "files", packed(documents(5, hour=hour)), hour))
    assert fetch(hour, "2", options, wait_seconds=30).state is State.FETCHED


def test_a_source_that_is_down_fails_the_step_and_the_next_one_is_asked(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place("http://127.0.0.1:9/")
    with pytest.raises(SourceUnreachableError):
        fetch(HOUR, "1", options)
    manifest = options.lake.manifest(HOUR)
    assert manifest is not None
    assert manifest.status is Status.FAILED
    both = place("http://127.0.0.1:9/", put(tmp_path / "files", packed(documents(5))))
    assert process(HOUR, "2", both).state is State.STORED
    assert left_in(options.staging) == []


def damaged(count: int = 30) -> bytes:
    return packed([*documents(count), b'{"id": "7", "type": "Cut\n'])


def test_the_gate_turns_a_damaged_hour_away_and_the_lake_says_why(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place(put(tmp_path / "files", damaged()))
    with pytest.raises(GateError, match="is partial: 1 of 31 documents could not be read") as refusal:
        process(HOUR, "1", options)
    assert "accept_partial" in str(refusal.value.hint)
    assert [key for key in objects(options.lake) if not key.startswith("manifests/")] == []
    manifest = options.lake.manifest(HOUR)
    assert manifest is not None
    assert manifest.status is Status.FAILED
    assert "partial" in str(manifest.reason)
    assert left_in(options.staging) == []


def test_a_damaged_hour_may_be_accepted_with_its_quarantine(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", damaged()), accept_partial=True)
    payload = process(HOUR, "1", options)
    assert (payload.state, payload.status, payload.unreadable) == (State.STORED, "partial", 1)
    once = Lake.at(str(tmp_path / "once"))
    with pytest.raises(DamagedError):
        run(once, tmp_path / "files")
    same_hour(options.lake, once, HOUR)


def test_an_hour_without_events_is_turned_away(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", gzip.compress(b"")))
    with pytest.raises(GateError, match="is suspect"):
        process(HOUR, "1", options)


def test_a_stored_hour_stays_byte_for_byte_where_a_worse_one_is_turned_away(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    process(HOUR, "1", options)
    before = objects(options.lake)
    put(tmp_path / "files", damaged(50))
    with pytest.raises(GateError):
        process(HOUR, "2", replace(options, run_options=replace(options.run_options, refresh=True)))
    assert objects(options.lake) == before


def test_a_smaller_version_is_not_taken(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    process(HOUR, "1", options)
    before = objects(options.lake)
    put(tmp_path / "files", packed(documents(39)))
    payload = process(HOUR, "2", replace(options, run_options=replace(options.run_options, refresh=True)))
    assert payload.state is State.KEPT
    assert "39 events at its source now, the lake has 40" in str(payload.reason)
    assert objects(options.lake) == before


def test_a_larger_version_replaces_and_the_same_changes_nothing(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))), refresh=True)
    process(HOUR, "1", options)
    before = objects(options.lake)
    assert process(HOUR, "2", options).state is State.UNCHANGED
    assert objects(options.lake) == before
    put(tmp_path / "files", packed(documents(41)))
    assert process(HOUR, "3", options).state is State.REPLACED
    manifest = sound(options.lake)
    assert manifest.content is not None
    assert (manifest.content.events, manifest.attempts) == (41, 2)


@pytest.mark.parametrize("emptied_before", ["shape", "publish"])
def test_a_step_whose_staging_was_emptied_fetches_again(
    place: Callable[..., StepOptions], tmp_path: Path, emptied_before: str
) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    payload = fetch(HOUR, "1", options)
    if emptied_before == "shape":
        options.staging.sweep(older_than=0)
    payload = shape(payload, options)
    if emptied_before == "publish":
        options.staging.sweep(older_than=0)
    assert publish(payload, options).state is State.STORED
    sound(options.lake)
    assert left_in(options.staging) == []


def test_a_file_that_changed_in_staging_is_fetched_again(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    payload = fetch(HOUR, "1", options)
    options.staging.file(payload).write_bytes(packed(documents(3)))
    assert shape(payload, options).events == 40


def test_the_gates_see_what_is_not_as_it_was_written(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    payload = fetch(HOUR, "1", options)
    file = options.staging.file(payload)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    with pytest.raises(GateError, match="staging folder has"):
        quality_checks.check_fetched(payload, options.staging)
    file.write_bytes(whole)
    shaped = shape(payload, options)
    events = options.staging.lake(shaped) / events_key(HOUR)
    content = bytearray(events.read_bytes())
    content[len(content) // 2] ^= 1
    events.write_bytes(content)
    with pytest.raises(GateError, match="not written as it should be"):
        check_shaped(shaped, options)
    assert left_in(options.staging) == []


def test_the_last_gate_sees_that_the_lake_has_lost_what_was_published(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    payload = process(HOUR, "1", options)
    (tmp_path / "lake" / events_key(HOUR)).unlink()
    with pytest.raises(GateError, match="does not have it"):
        quality_checks.check_published(payload, options.lake)


def test_an_hour_that_another_run_holds_is_left_to_it(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    shaped = shape(fetch(HOUR, "1", options), options)
    with options.lake.lock(HOUR) as alone:
        assert alone
        assert publish(shaped, options).state is State.LOCKED
    assert left_in(options.staging) == []


def test_what_killed_runs_left_is_swept_once_it_is_old(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    killed, living = fetch(HOUR, "killed", options), fetch(HOUR, "living", options)
    for path in options.staging.folder(killed).parent.rglob("*"):
        os.utime(path, (0, 0))
    fetch(HOUR, "next", options)
    assert not options.staging.folder(killed).exists()
    assert options.staging.file(living).exists()


def test_a_truncated_file_is_turned_away_and_a_second_try_gets_it_whole(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    write_hour(HOUR, tmp_path / "files" / f"{HOUR}.json.gz", events=300)
    with FaultyServer(tmp_path / "files", FaultPlan(faults=(Truncated(keep=0.6),))) as server:
        options = place(server.address)
        with pytest.raises(GateError, match="truncated"):
            process(HOUR, "1", options)
        assert process(HOUR, "1", options).events == 300
    assert left_in(options.staging) == []


def test_a_download_that_stalls_leaves_nothing_behind(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    write_hour(HOUR, tmp_path / "files" / f"{HOUR}.json.gz", events=3_000)
    stall = FaultPlan(faults=(Stalled(after=0.9, seconds=60, times=50),))
    with FaultyServer(tmp_path / "files", stall) as server:
        options = place(server.address)
        source = source_at(server.address, connect_timeout=1, read_timeout=0.05)
        with pytest.raises(SourceUnreachableError):
            fetch(HOUR, "1", replace(options, sources=[source]))
    assert left_in(options.staging) == []


def test_steps_of_a_parcel_that_is_through_do_nothing(place: Callable[..., StepOptions], tmp_path: Path) -> None:
    options = place(put(tmp_path / "files", packed(documents(40))))
    process(HOUR, "1", options)
    payload: TaskPayload = fetch(HOUR, "2", options)
    assert payload.state is State.UNCHANGED
    check_shaped(payload, options)
    assert publish(shape(payload, options), options) == payload


# ---- several sources


def test_the_fullest_source_is_taken_and_its_manifest_tells_of_all(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    lines = documents(200)
    poor, full = put(tmp_path / "poor", packed(lines[:5])), put(tmp_path / "full", packed(lines))
    options = place(poor, full)
    assert process(HOUR, "1", options).state is State.STORED
    other = Lake.at(str(tmp_path / "other"))
    run(other, poor, full)
    same_hour(options.lake, other, HOUR)
    assert [(each.events, each.taken) for each in sound(options.lake).sources] == [(None, False), (200, True)]
    assert left_in(options.staging) == []


def test_a_damaged_file_in_staging_is_replaced_by_a_sound_one(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    lines = documents(200)
    cut = put(tmp_path / "cut", packed(lines)[:-20])
    options = place(cut, put(tmp_path / "sound", packed(lines)))
    assert process(HOUR, "1", options).state is State.STORED
    assert sound(options.lake).status is Status.COMPLETE
    assert [each.taken for each in sound(options.lake).sources] == [False, True]


def test_a_recheck_brings_a_fuller_hour_and_leaves_a_poorer_one(
    place: Callable[..., StepOptions], tmp_path: Path
) -> None:
    lines = documents(200)
    first, late = put(tmp_path / "first", packed(lines[:100])), tmp_path / "late"
    late.mkdir()
    options = place(first, late, recheck=True)
    assert process(HOUR, "1", options).state is State.STORED
    assert process(HOUR, "2", options).state is State.UNCHANGED
    put(late, packed(lines[:50]))
    assert process(HOUR, "3", options).state is State.UNCHANGED
    assert sound(options.lake).asked_at is not None
    put(late, packed(lines))
    assert process(HOUR, "4", options).state is State.REPLACED
    assert len(stored_rows(options.lake)) == 200
