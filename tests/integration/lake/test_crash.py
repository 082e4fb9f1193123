"""A process killed at any instant leaves the old hour or the new one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.lake.lake import Lake, store_at
from etl.lake.layout import events_key
from etl.lake.manifest import Manifest
from etl.storage.store import Store
from tests.integration.lake.conftest import Crasher
from tests.integration.lake.samples import HOUR, SCHEMA, publish

OLD, NEW = 4, 5  # Both with a quarantine file.


@pytest.fixture
def places(address: str) -> Iterator[str]:
    """Empty lakes, one after the other."""
    return (f"{address}/{number}" for number in count())


def _events(manifest: Manifest | None) -> int | None:
    return None if manifest is None or manifest.content is None else manifest.content.events


def _assert_whole(lake: Lake, *allowed: int | None) -> None:
    """After recovery the hour is one of those allowed, in all its files, and a new publication goes through."""
    recovered = lake.recover(HOUR)
    assert _events(recovered) in allowed
    if recovered is not None:
        assert lake.verify(HOUR, SCHEMA) == []
        assert lake.manifest(HOUR) == recovered
    assert lake.store.stat(events_key(HOUR)) is None or recovered is not None


@pytest.mark.parametrize("before", [None, OLD], ids=["first", "replacing"])
def test_killed_while_publishing(places: Iterator[str], crasher: Crasher, before: int | None) -> None:
    outcomes = []
    for instant in count(1):
        place = next(places)
        lake = Lake.at(place)
        if before is not None:
            publish(lake, before)
        killed = crasher("publish", place, NEW, instant=instant)
        readable = lake.manifest(HOUR)
        assert _events(readable) in (before, NEW)
        _assert_whole(lake, before, NEW)
        outcomes.append(_events(lake.manifest(HOUR)))
        publish(lake, OLD + 3)
        assert lake.verify(HOUR, SCHEMA) == []
        if not killed:
            break
    assert outcomes[-1] == NEW
    turn = outcomes.index(NEW)
    assert 0 < turn < len(outcomes) - 2, "it was killed before the events were in their place, and after"
    assert outcomes == [before] * turn + [NEW] * (len(outcomes) - turn)


def test_killed_while_recovering(places: Iterator[str], crasher: Crasher) -> None:
    for instant in count(1):
        place = next(places)
        lake = Lake.at(place)
        publish(lake, OLD)
        lake.store.delete(f"manifests/date={HOUR.date}/hour={HOUR.hour}/{HOUR}.json")
        killed = crasher("recover", place, instant=instant)
        _assert_whole(lake, OLD)
        if not killed:
            break


def test_what_killed_writers_left_is_swept_up(tmp_path: Path, crasher: Crasher) -> None:
    place = str(tmp_path / "lake")
    lake = Lake.at(place)
    publish(lake, OLD)
    temporaries = tmp_path / "lake/.tmp"
    untouched = sorted(path.name for path in temporaries.iterdir())
    most = 0
    for instant in count(1):
        if not crasher("publish", place, NEW, instant=instant):
            break
        most = max(most, len(list(temporaries.iterdir())))
    assert most > len(untouched)
    publish(lake, OLD)
    assert sorted(path.name for path in temporaries.iterdir()) == untouched
    assert lake.verify(HOUR, SCHEMA) == []


def test_a_living_writer_keeps_its_temporary(tmp_path: Path, crasher: Crasher) -> None:
    place = str(tmp_path / "lake")
    store: Store = store_at(place)
    with store.writer("slow") as stream:
        stream.write(b"begun, ")
        assert not crasher("publish", place, NEW)
        stream.write(b"done")
    assert store.read("slow") == b"begun, done"


_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["publish", "abort", "recover"]),
        st.integers(min_value=0, max_value=5),
        st.one_of(st.just(-1), st.integers(min_value=1, max_value=90)),
    ),
    max_size=6,
)


@settings(max_examples=40, deadline=None)
@given(steps=_STEPS)
def test_any_history_leaves_file_and_manifest_agreeing(crasher: Crasher, steps: list[tuple[str, int, int]]) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        lake = Lake.at(str(folder / "lake"))
        present: int | None = None
        for kind, number, instant in steps:
            killed = crasher(kind, str(folder / "lake"), number, instant=instant)
            new = number if kind == "publish" else present
            allowed = {present, new} if killed else {new}
            _assert_whole(lake, *allowed)
            present = _events(lake.manifest(HOUR))
    finally:
        shutil.rmtree(folder)
