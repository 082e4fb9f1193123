"""Putting hours right, in a folder and in a bucket: from their own file, from the source, or not at all."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.sources import source_at
from etl.backfill.repair import Repair, RepairOutcome, repair_hour
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.hours import Hour
from etl.lake.lake import Lake, store_at
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import MANIFEST_VERSION, Manifest, Status
from tests.integration.archive.server import Archive, File
from tests.integration.running import (
    HOUR,
    PATH,
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

LINES: Final = documents(300)
DAMAGED: Final = packed([*LINES, b'{"id":"1","type":"Cut\n'])
EVENTS: Final = events_key(HOUR)
MANIFEST: Final = manifest_key(HOUR)


@pytest.fixture(params=["folder", "gcs"])
def lake(request: pytest.FixtureRequest, tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake") if request.param == "folder" else request.getfixturevalue("gcs_address"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return put(tmp_path / "archive", DAMAGED)


@pytest.fixture
def made(lake: Lake, source: Path) -> Manifest:
    return run(lake, source).manifest


def repair(lake: Lake, *sources: Path | str, hour: Hour = HOUR, emails: str = "hash", **options: Any) -> Repair:
    ready = [source_at(str(source)) for source in sources]
    policy = EmailPolicy.of(emails)
    return repair_hour(
        hour, lake=lake, sources=ready, options=RunOptions(emails=policy, fetch=QUICK, **options), deep=False
    )


def quarantine_key_of(made: Manifest) -> str:
    assert made.content is not None
    assert made.content.quarantine_file is not None
    return made.content.quarantine_file.key


def flip(lake: Lake, key: str) -> None:
    content = bytearray(lake.store.read(key) or b"")
    content[len(content) // 2] ^= 1
    lake.store.write(key, bytes(content))


_HARMS: Final[dict[str, Callable[[Lake, Manifest], None]]] = {
    "a flipped bit in the events": lambda lake, _: flip(lake, EVENTS),
    "no events": lambda lake, _: lake.store.delete(EVENTS),
    "half of the events": lambda lake, _: put_back_half(lake),
    "a flipped bit in the quarantine": lambda lake, made: flip(lake, quarantine_key_of(made)),
    "no quarantine": lambda lake, made: lake.store.delete(quarantine_key_of(made)),
    "neither a manifest nor a sound file": lambda lake, _: leave_half(lake),
    "a broken manifest and no events": lambda lake, _: break_both(lake),
}


def put_back_half(lake: Lake) -> None:
    content = lake.store.read(EVENTS) or b""
    lake.store.write(EVENTS, content[: len(content) // 2])


def leave_half(lake: Lake) -> None:
    lake.store.delete(MANIFEST)
    put_back_half(lake)


def break_both(lake: Lake) -> None:
    lake.store.delete(EVENTS)
    lake.store.write(MANIFEST, b'{"version": 1')


@pytest.mark.parametrize("harm", _HARMS)
def test_from_the_source_an_hour_becomes_what_it_was(lake: Lake, source: Path, made: Manifest, harm: str) -> None:
    rows, before = stored_rows(lake), objects(lake)
    _HARMS[harm](lake, made)

    assert repair(lake, source).outcome is RepairOutcome.REMADE
    after = sound(lake)
    assert after.content == made.content
    assert stored_rows(lake) == rows
    assert len(quarantined(lake)) == 1
    assert {key: digest for key, digest in objects(lake).items() if key != MANIFEST} == {
        key: digest for key, digest in before.items() if key != MANIFEST
    }


@pytest.mark.parametrize("manifest", [None, b"", b"{", b'{"version": 1}'])
def test_a_manifest_is_made_of_its_file_without_any_source(lake: Lake, made: Manifest, manifest: bytes | None) -> None:
    if manifest is None:
        lake.store.delete(MANIFEST)
    else:
        lake.store.write(MANIFEST, manifest)

    assert repair(lake).outcome is RepairOutcome.RECOVERED
    again = sound(lake)
    assert (again.content, again.events_file) == (made.content, made.events_file)


def test_what_a_crash_left_between_events_and_manifest(lake: Lake, source: Path, tmp_path: Path) -> None:
    run(lake, put(tmp_path / "old", packed(LINES[:100])))
    old = lake.store.read(MANIFEST) or b""
    run(lake, source, force=True)
    lake.store.write(MANIFEST, old)

    assert repair(lake).outcome is RepairOutcome.RECOVERED
    assert len(stored_rows(lake)) == 300
    sound(lake)


@pytest.mark.usefixtures("made")
def test_a_sound_hour_is_not_touched_and_no_source_asked(lake: Lake, archive: Archive) -> None:
    archive.files[PATH] = File(packed(documents(400, seed=1)))
    before = objects(lake)

    assert repair(lake, archive.url) == Repair(HOUR, RepairOutcome.SOUND)
    assert objects(lake) == before
    assert archive.asked == []


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("force", [False, True])
def test_a_source_with_fewer_events_is_not_taken(lake: Lake, tmp_path: Path, *, force: bool) -> None:
    flip(lake, EVENTS)
    before = objects(lake)
    smaller = put(tmp_path / "smaller", packed(LINES[1:]))

    said = repair(lake, smaller, force=force)
    assert said.outcome is RepairOutcome.SHRUNK
    assert "299" in str(said.note)
    assert "300" in str(said.note)
    assert objects(lake) == before


@pytest.mark.usefixtures("made")
def test_a_source_with_more_events_is(lake: Lake, tmp_path: Path) -> None:
    flip(lake, EVENTS)

    assert repair(lake, put(tmp_path / "larger", packed(documents(301)))).outcome is RepairOutcome.REMADE
    assert len(stored_rows(lake)) == 301
    sound(lake)


@pytest.mark.usefixtures("made")
def test_an_unchanged_source_is_fetched_all_the_same(lake: Lake, archive: Archive) -> None:
    # The etag of the stored hour says nothing of the bytes that stand there now.
    archive.files[PATH] = File(DAMAGED)
    run(lake, archive.url, force=True)
    flip(lake, EVENTS)

    assert repair(lake, archive.url).outcome is RepairOutcome.REMADE
    sound(lake)


@pytest.mark.usefixtures("made")
def test_without_its_source_it_stays_as_it_is(lake: Lake, tmp_path: Path) -> None:
    flip(lake, EVENTS)
    before = objects(lake)
    (tmp_path / "empty").mkdir()

    said = repair(lake, tmp_path / "empty")
    assert said.outcome is RepairOutcome.LEFT
    assert "missing" in str(said.note)
    assert objects(lake) == before


def test_a_damaged_source_is_taken_and_told(lake: Lake, source: Path, tmp_path: Path) -> None:
    run(lake, source)
    flip(lake, EVENTS)
    cut = put(tmp_path / "cut", packed([*LINES, *documents(50, seed=2)])[:-4])

    said = repair(lake, cut)
    assert said.outcome is RepairOutcome.REMADE
    assert "partial" in str(said.note)
    assert sound(lake).status is Status.PARTIAL


@pytest.mark.usefixtures("made")
def test_another_policy_on_emails_is_not_slipped_in(lake: Lake, source: Path) -> None:
    flip(lake, EVENTS)
    before = objects(lake)

    said = repair(lake, source, emails="drop")
    assert said.outcome is RepairOutcome.LEFT
    assert "'hash'" in str(said.note)
    assert objects(lake) == before
    assert repair(lake, source, emails="hash").outcome is RepairOutcome.REMADE


@pytest.mark.usefixtures("made")
def test_an_hour_that_another_run_is_at_is_left_to_it(lake: Lake, source: Path) -> None:
    flip(lake, EVENTS)
    with Lake(store_at(lake.address)).lock(HOUR) as alone:
        assert alone
        assert repair(lake, source) == Repair(HOUR, RepairOutcome.LEFT, "another run is at work on it")
    assert repair(lake, source).outcome is RepairOutcome.REMADE


def test_a_manifest_of_a_newer_program_is_left_alone(lake: Lake, source: Path, made: Manifest) -> None:
    lake.store.write(MANIFEST, json.dumps({"version": MANIFEST_VERSION + 1, "hour": "unknown"}).encode())
    before = objects(lake)

    said = repair(lake, source)
    assert said.outcome is RepairOutcome.LEFT
    assert "newer version" in str(said.note)
    assert objects(lake) == before
    assert made.content is not None


def test_a_broken_manifest_of_an_hour_that_never_was(lake: Lake, tmp_path: Path) -> None:
    lake.store.write(MANIFEST, b"{")
    (tmp_path / "empty").mkdir()

    said = repair(lake, tmp_path / "empty")
    assert said.outcome is RepairOutcome.NOTED
    assert "missing" in str(said.note)
    assert sound(lake).status is Status.MISSING


SMALL: Final = packed([*LINES[:12], b'{"id":"1","type":"Cut\n'])


@settings(max_examples=40, deadline=None)
@given(
    which=st.integers(0, 2),
    kind=st.sampled_from(["flip", "cut", "gone", "empty", "other hour"]),
    place=st.floats(0, 1, exclude_max=True),
    bit=st.integers(0, 7),
)
def test_with_its_source_an_hour_survives_any_harm_to_one_of_its_files(
    which: int, kind: str, place: float, bit: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.lake.integrity._MANIFEST_COMES_WITHIN_SECONDS", 0)
        source, lake = put(Path(folder) / "archive", SMALL), Lake.at(f"{folder}/lake")
        made = run(lake, source, max_damage=1).manifest
        rows = stored_rows(lake)
        key = (EVENTS, MANIFEST, quarantine_key_of(made))[which]
        _harm(lake, key, kind, place, bit)

        said = repair(lake, source, max_damage=1)
        if said.outcome is RepairOutcome.LEFT:
            assert "newer version" in str(said.note)
            return
        assert said.outcome.is_sound
        assert sound(lake).content == made.content
        assert stored_rows(lake) == rows


def _harm(lake: Lake, key: str, kind: str, place: float, bit: int) -> None:
    content = lake.store.read(key) or b""
    position = int(place * len(content))
    if kind == "gone":
        lake.store.delete(key)
    elif kind == "other hour":
        lake.store.write(key, content.replace(b"2015-01-01-15", b"2015-01-01-16"))
    else:
        flipped = content[:position] + bytes([content[position] ^ 1 << bit]) + content[position + 1 :]
        lake.store.write(key, {"flip": flipped, "cut": content[:position], "empty": b""}[kind])


def test_a_disk_that_erred_in_what_the_file_says_of_itself(lake: Lake, source: Path, made: Manifest) -> None:
    content = lake.store.read(EVENTS) or b""
    lake.store.write(EVENTS, content.replace(b'"emails":"hash"', b'"emails":"keep"'))

    assert repair(lake, source).outcome is RepairOutcome.REMADE
    assert sound(lake).content == made.content
