"""Checking many hours, deeply, and beside writers; in a folder and in a bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import pytest

from etl.errors import StoreError
from etl.hours import Hour
from etl.lake import integrity
from etl.lake.integrity import check_hour, check_hours
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import FileFacts, Manifest, encode
from etl.storage.store import Store
from tests.integration.lake.samples import HOUR, SCHEMA, publish

EVENTS = events_key(HOUR)
MANIFEST = manifest_key(HOUR)


def _facts(lake: Lake, facts: FileFacts) -> FileFacts:
    """What a manifest would say of a file as it is now."""
    with lake.store.open(facts.key) as file:
        sha256 = integrity.sha256_of(file)
        size = file.seek(0, 2)
    return msgspec.structs.replace(facts, sha256=sha256, bytes=size)


def _size(manifest: Manifest) -> int:
    files = (manifest.events_file, None if manifest.content is None else manifest.content.quarantine_file)
    return sum(facts.bytes for facts in files if facts is not None)


def test_hours_are_judged_in_their_order(lake: Lake) -> None:
    hours = [HOUR + step for step in range(9)]
    made = [publish(lake, step, hour) for step, hour in enumerate(hours)]
    lake.store.delete(events_key(hours[3]))
    lake.store.write(manifest_key(hours[5]), b"{")

    verdicts = list(check_hours(lake.store, [*hours, HOUR + 20], SCHEMA, workers=3))

    assert [verdict.hour for verdict in verdicts] == [*hours, HOUR + 20]
    assert [verdict.hour for verdict in verdicts if verdict.problems] == [hours[3], hours[5], HOUR + 20]
    sizes = [_size(one) for one in made]
    assert [verdict.bytes for verdict in verdicts] == [*sizes[:5], 0, *sizes[6:], 0]
    assert lake.verify(HOUR + 20, SCHEMA) == [f"{HOUR + 20} has no manifest"]


class _Failing:
    """A store that cannot read the manifests of some hours."""

    def __init__(self, inner: Store, hours: list[Hour]) -> None:
        self._inner = inner
        self._keys = {manifest_key(hour) for hour in hours}

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def read(self, key: str) -> bytes | None:
        if key in self._keys:
            raise StoreError(f"cannot read {key}: Input/output error")
        return self._inner.read(key)


class TestFailing:
    def test_some_hours_that_cannot_be_read_are_bad_ones(self, lake: Lake) -> None:
        hours = [HOUR + step for step in range(8)]
        for hour in hours:
            publish(lake, 3, hour)
        failing = [hours[0], hours[1], hours[2], hours[4], hours[7]]
        verdicts = list(check_hours(cast("Store", _Failing(lake.store, failing)), hours, SCHEMA, workers=3))

        assert [verdict.hour for verdict in verdicts if verdict.problems] == failing
        assert all("Input/output error" in verdicts[step].problems[0] for step in (0, 1, 2, 4, 7))

    def test_many_in_a_row_are_a_lake_that_cannot_be_read(self, tmp_path: Path) -> None:
        hours = [HOUR + step for step in range(10)]
        store = cast("Store", _Failing(Lake.at(str(tmp_path)).store, hours))
        with pytest.raises(StoreError, match="Input/output error"):
            list(check_hours(store, hours, SCHEMA, workers=3))


class TestDeep:
    @pytest.fixture
    def made(self, lake: Lake) -> Manifest:
        return publish(lake, 4)

    @pytest.mark.usefixtures("made")
    def test_a_sound_hour_is_deeply_sound(self, lake: Lake) -> None:
        assert lake.verify(HOUR, SCHEMA, deep=True) == []

    def test_pages_that_were_written_broken(self, lake: Lake, made: Manifest) -> None:
        content = lake.store.read(EVENTS) or b""
        lake.store.write(EVENTS, content[:4] + b"\xff" * 60 + content[64:])
        assert made.events_file is not None
        vouching = msgspec.structs.replace(made, events_file=_facts(lake, made.events_file))
        lake.store.write(MANIFEST, encode(vouching))

        assert lake.verify(HOUR, SCHEMA) == []
        assert lake.verify(HOUR, SCHEMA, deep=True) == [f"{lake.store.url(EVENTS)} cannot be decoded completely"]

    @pytest.mark.parametrize("harm", ["rows", "bytes"])
    def test_a_quarantine_that_was_written_broken(self, lake: Lake, made: Manifest, harm: str) -> None:
        assert made.content is not None
        facts = made.content.quarantine_file
        assert facts is not None
        if harm == "bytes":
            lake.store.write(facts.key, b"no parquet")
            facts = _facts(lake, facts)
        else:
            facts = msgspec.structs.replace(facts, rows=7)
        content = msgspec.structs.replace(made.content, quarantine_file=facts)
        lake.store.write(MANIFEST, encode(msgspec.structs.replace(made, content=content)))

        problems = lake.verify(HOUR, SCHEMA, deep=True)
        url = lake.store.url(facts.key)
        wrong = "cannot be decoded completely" if harm == "bytes" else "has 1 row, not 7"
        assert f"{url} {wrong}" in problems
        assert len(problems) == 1 + len(lake.verify(HOUR, SCHEMA))

    def test_a_broken_file_makes_no_manifest(self, lake: Lake, made: Manifest) -> None:
        content = lake.store.read(EVENTS) or b""
        lake.store.write(EVENTS, content[:4] + b"\xff" * 60 + content[64:])
        lake.store.delete(MANIFEST)

        assert made.events_file is not None
        assert lake.recover(HOUR) is None
        assert lake.manifest(HOUR) is None
        assert lake.verify(HOUR, SCHEMA) == [f"{HOUR} has events but no manifest"]


class _Busy:
    """A store in which somebody else does something at a chosen look at the hour."""

    def __init__(self, inner: Store, action: Callable[[], object], *, look: int) -> None:
        self._inner = inner
        self._action = action
        self._left = look

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def _count(self) -> None:
        self._left -= 1
        if self._left == 0:
            self._action()

    def read(self, key: str) -> bytes | None:
        self._count()
        return self._inner.read(key)

    def stat(self, key: str) -> object:
        self._count()
        return self._inner.stat(key)

    def open(self, key: str) -> object:
        self._count()
        return self._inner.open(key)


class TestBesideWriters:
    @pytest.mark.parametrize("look", range(1, 10))
    def test_an_hour_replaced_at_any_moment_is_sound(self, lake: Lake, look: int) -> None:
        publish(lake, 4)
        busy = cast("Store", _Busy(lake.store, lambda: publish(lake, 5), look=look))

        assert check_hour(busy, HOUR, SCHEMA, deep=True).problems == ()

    def test_the_moment_between_events_and_manifest_is_waited_for(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        publish(lake, 4)
        old = lake.store.read(MANIFEST) or b""
        publish(lake, 5)
        new = lake.store.read(MANIFEST) or b""
        lake.store.write(MANIFEST, old)
        writer = threading.Event()

        def arrives(seconds: float) -> None:
            assert seconds > 0
            lake.store.write(MANIFEST, new)
            writer.set()

        monkeypatch.setattr("etl.lake.integrity.time.sleep", arrives)
        assert check_hour(lake.store, HOUR, SCHEMA).problems == ()
        assert writer.is_set()

    def test_a_crash_between_the_two_is_reported(self, lake: Lake) -> None:
        publish(lake, 4)
        old = lake.store.read(MANIFEST) or b""
        publish(lake, 5)
        lake.store.write(MANIFEST, old)

        assert "has other metadata" in " ".join(lake.verify(HOUR, SCHEMA))

    def test_another_hour_beside_it_changes_nothing(self, lake: Lake) -> None:
        publish(lake, 4)
        other: Hour = HOUR + 1
        busy = cast("Store", _Busy(lake.store, lambda: publish(lake, 5, other), look=3))

        assert check_hour(busy, HOUR, SCHEMA).problems == ()
