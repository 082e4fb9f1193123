"""Publishing, recording and verifying hours, in a folder and in a bucket."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import cast

import pyarrow as pa
import pytest

from etl.errors import ConflictError, StoreError
from etl.hours import Hour
from etl.lake.lake import Lake, store_at
from etl.lake.layout import events_key, manifest_key, quarantine_key, quarantine_prefix
from etl.lake.manifest import MANIFEST_VERSION, Manifest, Status, encode
from etl.plural import plural
from etl.storage.store import Store
from tests.integration.lake.samples import HOUR, SCHEMA, STARTED, Sample, fill, publish

EVENTS = events_key(HOUR)
MANIFEST = manifest_key(HOUR)


def _keys(lake: Lake) -> list[str]:
    return [info.key for info in lake.store.list("")]


def _record(lake: Lake, status: Status = Status.FAILED, hour: Hour = HOUR) -> Manifest:
    return lake.record(hour, status, "because", started_at=STARTED, finished_at=STARTED + timedelta(seconds=5))


class TestPublishing:
    def test_an_hour_comes_to_be(self, lake: Lake) -> None:
        assert lake.manifest(HOUR) is None
        made = publish(lake, 4)
        assert lake.manifest(HOUR) == made
        assert made.content is not None
        assert made.content.quarantine_file is not None
        assert made.events_file is not None
        assert (made.status, made.attempts, made.events_file.rows) == (Status.COMPLETE, 1, 4)
        assert made.started_at == STARTED < made.finished_at
        assert _keys(lake) == sorted([EVENTS, MANIFEST, made.content.quarantine_file.key])
        assert lake.verify(HOUR, SCHEMA) == []
        assert lake.recover(HOUR) == made

    def test_an_hour_is_replaced_with_its_quarantine(self, lake: Lake) -> None:
        old, new = publish(lake, 4), publish(lake, 5)
        assert old.content is not None
        assert new.content is not None
        assert new.content.quarantine_file is not None
        assert _keys(lake) == sorted([EVENTS, MANIFEST, new.content.quarantine_file.key])
        assert new.attempts == 2
        assert publish(lake, 6).attempts == 3
        assert _keys(lake) == [EVENTS, MANIFEST]
        assert lake.verify(HOUR, SCHEMA) == []

    def test_the_same_hour_again_keeps_its_quarantine(self, lake: Lake) -> None:
        first, again = publish(lake, 4), publish(lake, 4)
        assert again.content == first.content
        assert lake.verify(HOUR, SCHEMA) == []

    def test_the_quarantine_comes_from_a_path_as_well(self, lake: Lake, tmp_path: Path) -> None:
        path = tmp_path / "quarantine"
        path.write_bytes(b"bytes")
        with lake.publish(HOUR) as publication:
            by_path = publication.quarantine(path, 1)
            assert by_path == publication.quarantine(io.BytesIO(b"bytes"), 1)
        assert lake.store.read(by_path.key) == b"bytes"
        assert by_path.key == quarantine_key(HOUR, by_path.sha256)

    def test_attempts_can_be_recorded(self, lake: Lake) -> None:
        with lake.publish(HOUR) as publication:
            made = publication.finish(fill(publication, Sample(3)), started_at=STARTED, attempts=7)
        assert made.attempts == 7

    @pytest.mark.parametrize("before", [None, 4])
    def test_without_a_finish_nothing_changes(self, lake: Lake, before: int | None) -> None:
        old = None if before is None else publish(lake, before)
        with lake.publish(HOUR) as publication:
            assert publication.current == old
            fill(publication, Sample(3))
        assert lake.recover(HOUR) == old
        assert lake.store.stat(EVENTS) is None or lake.verify(HOUR, SCHEMA) == []
        assert len(_keys(lake)) == (0 if before is None else 3)

    def test_an_error_in_the_block_changes_nothing(self, lake: Lake) -> None:
        old = publish(lake, 4)
        with pytest.raises(ZeroDivisionError), lake.publish(HOUR) as publication:
            fill(publication, Sample(5))
            raise ZeroDivisionError
        assert lake.recover(HOUR) == old
        assert lake.verify(HOUR, SCHEMA) == []

    def test_what_an_abandoned_hour_left_in_quarantine_goes_with_the_next(self, lake: Lake) -> None:
        with lake.publish(HOUR) as publication:
            fill(publication, Sample(4))
        assert len(list(lake.store.list(quarantine_prefix(HOUR)))) == 1
        publish(lake, 3)
        assert _keys(lake) == [EVENTS, MANIFEST]

    def test_a_look_does_not_make_the_lake(self, tmp_path: Path) -> None:
        lake = Lake.at(str(tmp_path / "lake"))
        with lake.publish(HOUR) as publication:
            assert publication.current is None
        assert lake.recover(HOUR) is None
        assert lake.manifest(HOUR) is None
        assert lake.verify(HOUR, SCHEMA) == [f"{HOUR} has no manifest"]
        assert not (tmp_path / "lake").exists()

    def test_content_that_was_not_written_is_refused(self, lake: Lake) -> None:
        with lake.publish(HOUR) as publication:
            with pytest.raises(ValueError, match="no events"):
                publication.finish(Sample(3).content(None), started_at=STARTED)
            fill(publication, Sample(4))
            with pytest.raises(ValueError, match="quarantine"):
                publication.finish(Sample(4).content(None), started_at=STARTED)
            with pytest.raises(ValueError, match="cannot publish"):
                publication.finish(Sample(3, HOUR + 1).content(None), started_at=STARTED)
        assert lake.manifest(HOUR) is None


@pytest.mark.preconditions
class TestTwoWriters:
    def test_the_second_to_finish_is_turned_away(self, lake: Lake, address: str) -> None:
        other = Lake(store_at(address))
        publish(lake, 7)
        with pytest.raises(ConflictError, match="another writer"), lake.publish(HOUR) as slow:
            content = fill(slow, Sample(4))
            first = publish(other, 5)
            slow.finish(content, started_at=STARTED)
        assert lake.recover(HOUR) == first
        assert lake.verify(HOUR, SCHEMA) == []

    def test_the_same_damage_in_both_survives(self, lake: Lake, address: str) -> None:
        other = Lake(store_at(address))
        with pytest.raises(ConflictError), lake.publish(HOUR) as slow:
            content = fill(slow, Sample(4))
            with other.publish(HOUR) as fast:
                fast.finish(fill(fast, Sample(4)), started_at=STARTED)
            slow.finish(content, started_at=STARTED)
        assert lake.verify(HOUR, SCHEMA) == []

    def test_a_quarantine_file_that_came_later_is_not_removed(self, tmp_path: Path) -> None:
        # In a folder only: the emulator takes no notice of a demand on a deletion.
        lake = Lake.at(str(tmp_path))
        publish(lake, 4)
        with lake.publish(HOUR) as first:
            content = fill(first, Sample(3))
            with lake.publish(HOUR) as later:
                again = later.quarantine(io.BytesIO(Sample(4).quarantine or b""), 1)
                first.finish(content, started_at=STARTED)
                assert lake.store.stat(again.key) is not None

    def test_a_recovery_between_the_steps_does_no_harm(self, address: str) -> None:
        store = _Interrupted(store_at(address))
        lake = store.lake
        publish(lake, 4)
        store.before_manifest = lambda: Lake(store.inner).recover(HOUR)
        made = publish(lake, 5)
        assert lake.manifest(HOUR) == made
        assert made.attempts == 2
        assert lake.verify(HOUR, SCHEMA) == []

    def test_an_hour_replaced_between_the_steps_is_a_conflict(self, address: str) -> None:
        store = _Interrupted(store_at(address))
        lake = store.lake
        publish(lake, 4)
        store.before_manifest = lambda: publish(Lake(store.inner), 7)
        with pytest.raises(ConflictError):
            publish(lake, 5)
        now = lake.manifest(HOUR)
        assert now is not None
        assert now.content is not None
        assert now.content.events == 7
        assert lake.verify(HOUR, SCHEMA) == []


class _Interrupted:
    """A store in which somebody else does something just before a manifest is written."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.before_manifest: Callable[[], object] | None = None

    @property
    def lake(self) -> Lake:
        return Lake(cast("Store", self))

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> object:
        action, self.before_manifest = self.before_manifest, None
        if action is not None:
            action()
        return self.inner.write(key, content, if_generation=if_generation)


class TestRecovering:
    def test_a_manifest_is_made_again_from_its_file(self, lake: Lake) -> None:
        made = publish(lake, 4)
        lake.store.delete(MANIFEST)
        again = lake.recover(HOUR)
        assert again is not None
        assert (again.content, again.events_file) == (made.content, made.events_file)
        assert lake.manifest(HOUR) == again
        assert lake.verify(HOUR, SCHEMA) == []

    @pytest.mark.parametrize("other", [b"", b"{", b'{"version": 1}', b"\xff\x00"])
    def test_a_broken_manifest_is_made_again(self, lake: Lake, other: bytes) -> None:
        made = publish(lake, 4)
        lake.store.write(MANIFEST, other)
        with pytest.raises(StoreError, match="cannot read the manifest"):
            lake.manifest(HOUR)
        again = lake.recover(HOUR)
        assert again is not None
        assert again.content == made.content
        assert lake.verify(HOUR, SCHEMA) == []

    def test_a_broken_manifest_without_a_file_is_replaced(self, lake: Lake) -> None:
        lake.store.write(MANIFEST, b"{")
        assert lake.recover(HOUR) is None
        assert publish(lake, 4) == lake.manifest(HOUR)

    def test_a_manifest_of_a_newer_program_is_left_alone(self, lake: Lake) -> None:
        made = publish(lake, 4)
        newer = json.loads(encode(made)) | {"version": MANIFEST_VERSION + 1, "more": True}
        lake.store.write(MANIFEST, json.dumps(newer).encode())
        with pytest.raises(StoreError):
            lake.recover(HOUR)
        with pytest.raises(StoreError):
            publish(lake, 5)
        assert json.loads(lake.store.read(MANIFEST) or b"") == newer

    def test_a_foreign_file_is_no_hour_and_is_replaced(self, lake: Lake) -> None:
        lake.store.write(EVENTS, b"PAR1 not ours PAR1")
        assert lake.recover(HOUR) is None
        publish(lake, 4)
        assert lake.verify(HOUR, SCHEMA) == []

    def test_the_file_of_another_hour_is_no_hour(self, lake: Lake) -> None:
        publish(lake, 4, HOUR + 1)
        lake.store.write(EVENTS, lake.store.read(events_key(HOUR + 1)) or b"")
        assert lake.recover(HOUR) is None

    def test_files_that_only_differ_in_bytes_are_distinguished(self, address: str) -> None:
        store = _Interrupted(store_at(address))
        lake = store.lake
        publish(lake, 3)
        with pytest.raises(_PowerCutError), lake.publish(HOUR) as publication:
            content = Sample(3).content(None)
            # Another release of the library that writes parquet puts another version into the file's footer.
            events = Sample(3).events(content)
            lookalike = events.replace(f"version {pa.__version__}".encode(), b"version " + b"9" * len(pa.__version__))
            assert (len(lookalike), lookalike != events) == (len(events), True)
            publication.events.write(lookalike)
            store.before_manifest = _cut_the_power
            publication.finish(content, started_at=STARTED)
        assert lake.recover(HOUR) is not None
        assert lake.verify(HOUR, SCHEMA) == []


class _PowerCutError(Exception):
    pass


def _cut_the_power() -> None:
    raise _PowerCutError


class TestRecording:
    def test_attempts_are_counted(self, lake: Lake) -> None:
        assert [_record(lake).attempts for _ in range(3)] == [1, 2, 3]
        last = _record(lake, Status.MISSING)
        assert lake.manifest(HOUR) == last
        assert (last.status, last.reason, last.attempts, last.seconds) == (Status.MISSING, "because", 4, 5.0)
        assert publish(lake, 4).attempts == 5
        assert lake.verify(HOUR, SCHEMA) == []

    def test_an_hour_with_events_stays(self, lake: Lake) -> None:
        made = publish(lake, 4)
        assert _record(lake) == made == lake.manifest(HOUR)

    def test_a_crashed_publication_counts_as_events(self, lake: Lake) -> None:
        made = publish(lake, 4)
        lake.store.delete(MANIFEST)
        assert _record(lake).content == made.content

    def test_it_is_not_for_events(self, lake: Lake) -> None:
        with pytest.raises(ValueError, match="complete"):
            _record(lake, Status.COMPLETE)

    def test_another_writer_is_taken_into_account(self, address: str) -> None:
        store = _Interrupted(store_at(address))
        store.before_manifest = lambda: publish(Lake(store.inner), 4)
        recorded = _record(store.lake)
        assert recorded.status is Status.COMPLETE
        assert store.lake.manifest(HOUR) == recorded


def _flip(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


class TestVerifying:
    @pytest.fixture
    def made(self, lake: Lake) -> Manifest:
        return publish(lake, 4)

    @pytest.fixture
    def events(self, lake: Lake, made: Manifest) -> bytes:
        assert made.events_file is not None
        return lake.store.read(EVENTS) or b""

    @pytest.fixture
    def broken(self, lake: Lake) -> Callable[[bytes], list[str]]:
        def replace(content: bytes) -> list[str]:
            lake.store.write(EVENTS, content)
            return lake.verify(HOUR, SCHEMA)

        return replace

    def test_a_flipped_bit_anywhere(self, events: bytes, broken: Callable[[bytes], list[str]]) -> None:
        for position in range(0, len(events), len(events) // 20):
            assert any("SHA-256" in problem for problem in broken(_flip(events, position)))
        assert any("footer cannot be read" in problem for problem in broken(_flip(events, len(events) - 1)))

    def test_a_shorter_file(self, events: bytes, broken: Callable[[bytes], list[str]]) -> None:
        for length in (0, 1, len(events) // 2, len(events) - 1):
            assert any(f"has {plural(length, 'byte')}" in problem for problem in broken(events[:length]))

    @pytest.mark.usefixtures("made")
    def test_no_file(self, lake: Lake) -> None:
        lake.store.delete(EVENTS)
        assert lake.verify(HOUR, SCHEMA) == [f"{lake.store.url(EVENTS)} is missing"]

    def test_the_file_of_another_publication(self, lake: Lake, made: Manifest) -> None:
        publish(lake, 7)
        lake.store.write(MANIFEST, encode(made))
        problems = " / ".join(lake.verify(HOUR, SCHEMA))
        assert "7 rows, but the manifest says 4" in problems
        assert "has other metadata" in problems

    @pytest.mark.usefixtures("made")
    def test_another_schema(self, lake: Lake) -> None:
        columns: dict[str, pa.DataType] = {"id": pa.int64(), "payload": pa.string()}
        assert "id is string, not int64" in " ".join(lake.verify(HOUR, pa.schema(columns)))
        assert "columns id, payload instead of id" in " ".join(lake.verify(HOUR, pa.schema([("id", pa.string())])))

    @pytest.mark.parametrize("harm", ["gone", "other"])
    def test_the_quarantine(self, lake: Lake, made: Manifest, harm: str) -> None:
        assert made.content is not None
        assert made.content.quarantine_file is not None
        key = made.content.quarantine_file.key
        if harm == "gone":
            lake.store.delete(key)
        else:
            lake.store.write(key, _flip(lake.store.read(key) or b"", 50))
        (problem,) = lake.verify(HOUR, SCHEMA)
        assert lake.store.url(key) in problem

    @pytest.mark.usefixtures("made")
    def test_a_foreign_manifest(self, lake: Lake) -> None:
        publish(lake, 5, HOUR + 1)
        lake.store.write(MANIFEST, lake.store.read(manifest_key(HOUR + 1)) or b"")
        assert lake.verify(HOUR, SCHEMA) == [
            f"the manifest of {HOUR} has hour {HOUR + 1} and version {MANIFEST_VERSION}"
        ]

    def test_events_that_no_manifest_speaks_of(self, lake: Lake, events: bytes) -> None:
        lake.store.delete(EVENTS)
        lake.store.delete(MANIFEST)
        _record(lake)
        lake.store.write(EVENTS, events)
        assert "although the hour is failed" in " ".join(lake.verify(HOUR, SCHEMA))
