"""Finding and removing what belongs to no hour, in a folder and in a bucket, and nothing else ever."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.hours import Hour, HourRange
from etl.lake.garbage_collection import Orphan, find_orphans, remove_orphan, take_inventory
from etl.lake.lake import Lake, store_at
from etl.lake.layout import events_key, manifest_key, quarantine_key
from etl.lake.manifest import Status
from tests.integration.lake.conftest import Crasher
from tests.integration.lake.samples import HOUR, SCHEMA, STARTED, Sample, fill, publish

EVENTS = events_key(HOUR)
MANIFEST = manifest_key(HOUR)
STRANGERS = (
    "events/_SUCCESS",
    "events/date=2015-01-01/hour=15/notes.txt",
    f"events/date=2015-01-01/hour=15/{HOUR}.0a1b2c3d4e5f.parquet",
    "manifests/date=2015-01-01/hour=05/2015-01-01-05.json",
    f"quarantine/date=2015-01-01/hour=15/{HOUR}.json",
)
"""Names that this program never gives; the last three resemble its own."""
OUTSIDE = ("index/2015-01.parquet", "notes.txt", "warehouse/table.parquet")


def later() -> datetime:
    return datetime.now(UTC) + timedelta(hours=2)


def orphans(
    lake: Lake, hours: HourRange | None = None, *, unsound: Iterable[Hour] = (), now: datetime | None = None
) -> list[Orphan]:
    return list(find_orphans(lake, take_inventory(lake, hours), set(unsound), now=now or later()))


def keys(found: list[Orphan]) -> list[str]:
    return [orphan.info.key for orphan in found]


def all_keys(lake: Lake) -> set[str]:
    return {info.key for info in lake.store.list("")}


def leave_quarantine(lake: Lake, number: int = 4, hour: Hour = HOUR) -> str:
    """Does what a run does that is killed before its events are in their place."""
    with lake.publish(hour) as publication:
        return publication.quarantine(io.BytesIO(Sample(number, hour).quarantine or b""), 1).key


class TestInventory:
    def test_it_knows_every_file_by_its_hour(self, lake: Lake) -> None:
        with_quarantine = publish(lake, 4)
        publish(lake, 3, HOUR + 1)
        lake.record(HOUR + 2, Status.FAILED, "because", started_at=STARTED, finished_at=STARTED)
        lake.store.write(events_key(HOUR + 3), b"events")
        left = leave_quarantine(lake, 5, HOUR + 4)
        for key in (*STRANGERS, *OUTSIDE):
            lake.store.write(key, b"x")
        found = take_inventory(lake)

        assert found.hours == [HOUR, HOUR + 1, HOUR + 2, HOUR + 3]
        assert set(found.manifests) == {HOUR, HOUR + 1, HOUR + 2}
        assert set(found.events) == {HOUR, HOUR + 1, HOUR + 3}
        assert with_quarantine.content is not None
        assert with_quarantine.content.quarantine_file is not None
        assert {hour: [info.key for info in files] for hour, files in found.quarantine.items()} == {
            HOUR: [with_quarantine.content.quarantine_file.key],
            HOUR + 4: [left],
        }
        assert sorted(info.key for info in found.unknown) == sorted(STRANGERS)

    def test_of_a_range_it_knows_that_range(self, lake: Lake) -> None:
        for step in range(12):
            publish(lake, 4, HOUR + step)
        lake.store.write(STRANGERS[0], b"x")
        found = take_inventory(lake, HourRange(HOUR + 2, HOUR + 10))

        assert found.hours == [HOUR + step for step in range(2, 11)]
        assert set(found.quarantine) == set(found.hours)
        assert found.unknown == []

    def test_an_empty_lake_has_nothing_and_is_not_made(self, tmp_path: Path) -> None:
        lake = Lake.at(str(tmp_path / "lake"))
        assert take_inventory(lake).hours == []
        assert orphans(lake) == []
        assert lake.store.leftovers() == lake.store.sweep() == []
        assert not (tmp_path / "lake").exists()


class TestFinding:
    def test_a_sound_lake_has_none(self, lake: Lake) -> None:
        for step in range(4):
            publish(lake, 3 + step, HOUR + step)
        assert orphans(lake, unsound=[HOUR + step for step in range(4)]) == []

    @pytest.mark.parametrize("before", [None, 5, 3])
    def test_the_quarantine_of_a_killed_run(self, lake: Lake, before: int | None) -> None:
        if before is not None:
            publish(lake, before)
        left = leave_quarantine(lake)
        kept = all_keys(lake) - {left}
        (orphan,) = orphans(lake)

        assert (orphan.info.key, orphan.hour, orphan.reason) == (left, HOUR, "no manifest refers to it")
        assert remove_orphan(lake, orphan)
        assert all_keys(lake) == kept
        assert before is None or lake.verify(HOUR, SCHEMA) == []

    def test_nothing_is_an_orphan_in_its_first_hour(self, lake: Lake) -> None:
        publish(lake, 3)
        leave_quarantine(lake)
        lake.store.write(STRANGERS[0], b"x")
        lake.store.write(events_key(HOUR + 1), b"broken")

        assert orphans(lake, unsound=[HOUR + 1], now=datetime.now(UTC) + timedelta(minutes=50)) == []
        assert len(orphans(lake, unsound=[HOUR + 1])) == 3

    def test_strangers_only_among_the_lakes_own(self, lake: Lake) -> None:
        publish(lake, 3)
        for key in (*STRANGERS, *OUTSIDE):
            lake.store.write(key, b"x")
        found = orphans(lake)

        assert sorted(keys(found)) == sorted(STRANGERS)
        assert all(remove_orphan(lake, orphan) for orphan in found)
        assert all_keys(lake) == {EVENTS, MANIFEST, *OUTSIDE}
        assert lake.verify(HOUR, SCHEMA) == []

    def test_what_the_events_speak_of_is_needed_after_a_crash(self, lake: Lake) -> None:
        publish(lake, 3)
        old = lake.store.read(MANIFEST) or b""
        publish(lake, 4)
        lake.store.write(MANIFEST, old)  # the manifest of the hour before knows of no quarantine
        assert orphans(lake, unsound=[HOUR]) == []
        lake.store.delete(MANIFEST)
        assert orphans(lake, unsound=[HOUR]) == []

        assert lake.recover(HOUR) is not None
        assert lake.verify(HOUR, SCHEMA) == []

    def test_what_an_unreadable_manifest_names_is_not_known(self, lake: Lake) -> None:
        publish(lake, 4)
        lake.store.write(MANIFEST, b"{")
        lake.store.write(EVENTS, b"broken")

        assert orphans(lake, unsound=[HOUR]) == []

    @pytest.mark.parametrize("status", [None, Status.MISSING])
    def test_events_that_nobody_can_read(self, lake: Lake, status: Status | None) -> None:
        if status is not None:
            lake.record(HOUR, status, "because", started_at=STARTED, finished_at=STARTED)
        lake.store.write(EVENTS, b"broken")
        (orphan,) = orphans(lake, unsound=[HOUR])

        assert orphan.info.key == EVENTS
        assert remove_orphan(lake, orphan)
        assert all_keys(lake) == (set() if status is None else {MANIFEST})

    def test_events_that_a_manifest_can_be_made_of_are_none(self, lake: Lake) -> None:
        publish(lake, 4)
        lake.store.delete(MANIFEST)

        assert orphans(lake, unsound=[HOUR]) == []


class TestRemoving:
    def test_not_while_a_run_is_at_the_hour(self, lake: Lake, address: str) -> None:
        left = leave_quarantine(lake)
        (orphan,) = orphans(lake)
        with Lake(store_at(address)).lock(HOUR) as alone:
            assert alone
            assert not remove_orphan(lake, orphan)
        assert lake.store.stat(left) is not None
        assert remove_orphan(lake, orphan)

    def test_not_when_it_is_needed_by_now(self, lake: Lake) -> None:
        leave_quarantine(lake)
        (orphan,) = orphans(lake)
        publish(lake, 4)

        assert not remove_orphan(lake, orphan)
        assert lake.verify(HOUR, SCHEMA) == []

    def test_not_when_it_is_another_file_by_now(self, tmp_path: Path) -> None:
        # In a folder only: the emulator takes no notice of a demand on a deletion.
        lake = Lake.at(str(tmp_path))
        lake.store.write(STRANGERS[0], b"x")
        (orphan,) = orphans(lake)
        lake.store.write(STRANGERS[0], b"new")

        assert not remove_orphan(lake, orphan)
        assert lake.store.read(STRANGERS[0]) == b"new"

    def test_what_is_gone_is_removed(self, lake: Lake) -> None:
        left = leave_quarantine(lake)
        (orphan,) = orphans(lake)
        lake.store.delete(left)
        assert remove_orphan(lake, orphan)


_FILES = st.lists(
    st.tuples(st.sampled_from(["publish", "abandon", "crash", "broken", "stranger"]), st.integers(0, 3)), max_size=10
)


@settings(max_examples=40, deadline=None)
@given(history=_FILES)
def test_whatever_happened_pruning_takes_nothing_that_a_sound_hour_needs(history: list[tuple[str, int]]) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("etl.lake.integrity._MANIFEST_COMES_WITHIN_SECONDS", 0)
        lake = Lake.at(folder)
        for number, (kind, step) in enumerate(history):
            _happen(lake, kind, number, HOUR + step)
        hours = [HOUR + step for step in range(4)]
        sound = [hour for hour in hours if not lake.verify(hour, SCHEMA, deep=True)]
        unsound = set(hours) - set(sound)
        readable = {hour: lake.recover(hour) for hour in unsound if _can_be_recovered(folder, hour)}
        for orphan in orphans(lake, unsound=unsound):
            assert remove_orphan(lake, orphan)

        assert orphans(lake, unsound=unsound) == []
        assert all(lake.verify(hour, SCHEMA, deep=True) == [] for hour in [*sound, *readable])


def _happen(lake: Lake, kind: str, number: int, hour: Hour) -> None:
    if kind == "publish":
        publish(lake, number, hour)
    elif kind == "abandon":
        with lake.publish(hour) as publication:
            fill(publication, Sample(number, hour))
    elif kind == "crash":
        publish(lake, number, hour)
        lake.store.delete(manifest_key(hour))
    elif kind == "broken":
        lake.store.write(events_key(hour), b"broken")
    else:
        lake.store.write(f"events/date={hour.date}/hour={hour.hour}/{number}", b"x")


def _can_be_recovered(folder: str, hour: Hour) -> bool:
    store = store_at(folder)
    return store.stat(events_key(hour)) is not None and store.read(events_key(hour)) != b"broken"


class TestLeftovers:
    def test_of_killed_writers(self, tmp_path: Path, crasher: Crasher) -> None:
        place = str(tmp_path / "lake")
        lake = Lake.at(place)
        publish(lake, 4)
        instant = 1
        while not lake.store.leftovers():
            assert crasher("publish", place, 5, instant=instant), "it was never killed while it wrote"
            instant += 1
        (left,) = lake.store.leftovers()

        assert left.key.startswith(".tmp/")
        assert (tmp_path / "lake" / left.key).is_file(), "listing removes nothing"
        assert lake.store.sweep() == [left]
        assert lake.store.leftovers() == lake.store.sweep() == []
        assert lake.recover(HOUR) is not None

    def test_not_of_a_living_writer(self, address: str) -> None:
        store, other = store_at(address), store_at(address)
        with store.writer(quarantine_key(HOUR, "0" * 64)) as stream:
            stream.write(b"begun, ")
            assert other.leftovers() == other.sweep() == []
            stream.write(b"done")
        assert store.read(quarantine_key(HOUR, "0" * 64)) == b"begun, done"

    def test_a_lock_is_none(self, address: str) -> None:
        lake = Lake.at(address)
        with lake.lock(HOUR) as alone:
            assert alone
            assert Lake.at(address).store.sweep() == []

    def test_without_write_permission_they_are_recognized_by_age(self, tmp_path: Path) -> None:
        temporaries = tmp_path / ".tmp"
        # As little as on a lake that may only be read can the lock be opened here, and that holds for root too.
        (temporaries / "commit.lock").mkdir(parents=True)
        for name, age in (("old", 7200), ("young", 60)):
            path = temporaries / f"{name}.part"
            path.write_bytes(b"x")
            os.utime(path, (path.stat().st_mtime - age,) * 2)

        assert [info.key for info in store_at(str(tmp_path)).leftovers()] == [".tmp/old.part"]
