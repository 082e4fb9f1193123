"""Coverage and its index, in a folder and in a bucket: the manifests are what counts, whatever the index holds."""

from __future__ import annotations

import io
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.coverage.coverage import COVERAGE_SCHEMA, STATUSES_WITHOUT_EVENTS, Extent, coverage, extent, late
from etl.coverage.index import FACTS_SCHEMA, facts
from etl.coverage.retry_schedule import DEFAULT_POLICY, next_try
from etl.errors import StoreError
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import index_key, manifest_key
from etl.lake.manifest import Manifest, Status
from etl.storage.store import Store
from tests.integration.lake.samples import HOUR, STARTED, publish

NOW = datetime(2025, 6, 10, 12, tzinfo=UTC)
MONTH = HourRange(Hour.of(2015, 1, 1, 0), Hour.of(2015, 1, 31, 23))


def note(lake: Lake, hour: Hour, status: Status, reason: str = "404 at every source") -> Manifest:
    return lake.record(hour, status, reason, started_at=STARTED, finished_at=STARTED + timedelta(seconds=2))


def told(table: pa.Table) -> dict[str, str]:
    return {row["hour"]: row["status"] for row in table.to_pylist() if row["status"] != "absent"}


class Counting:
    """A store that tells how many objects were read and written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.read_keys: list[str] = []
        self.written: list[str] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def read(self, key: str) -> bytes | None:
        self.read_keys.append(key)
        return self._store.read(key)

    def write(self, key: str, content: bytes) -> object:
        self.written.append(key)
        return self._store.write(key, content)


def looked_at(lake: Lake, hours: HourRange = MONTH, *, rebuild: bool = False) -> tuple[pa.Table, Counting]:
    counting = Counting(lake.store)
    return facts(counting, hours, rebuild=rebuild), counting  # type: ignore[arg-type]


# ---- the table


def test_an_empty_lake_has_an_empty_table_or_only_absent_hours(lake: Lake) -> None:
    nothing = coverage(lake, None, now=NOW)
    assert nothing.schema.equals(COVERAGE_SCHEMA, check_metadata=True)
    assert len(nothing) == 0

    day = coverage(lake, HourRange(Hour.of(2013, 3, 10, 0), Hour.of(2013, 3, 10, 23)), now=NOW)
    assert day.schema.equals(COVERAGE_SCHEMA, check_metadata=True)
    assert set(day["status"].to_pylist()) == {"absent"}
    assert [row["hour"] for row in day.to_pylist() if row["hole"]] == ["2013-03-10-2"]
    # Named in Pacific time: eight hours later in UTC until 2 in the morning, seven from then on.
    tries = [row["next_try"] for row in day.to_pylist()]
    ends = [when - timedelta(hours=place + 1) for place, when in enumerate(tries)]
    assert [end.hour for end in ends] == [8] * 3 + [7] * 21


def test_a_row_says_what_the_manifest_says(lake: Lake) -> None:
    manifest = publish(lake, 4)
    assert manifest.content is not None
    assert manifest.events_file is not None
    (row,) = coverage(lake, None, now=NOW).to_pylist()
    assert row == {
        "hour": str(HOUR),
        "hour_start": HOUR.start,
        "window_start": HOUR.start,
        "status": "complete",
        "reason": None,
        "hole": None,
        "next_try": None,
        "events": 4,
        "documents": 4,
        "unreadable": 0,
        "duplicates": 0,
        "types": '{"PushEvent":4}',
        "era": "C",
        "source": manifest.content.source.address,
        "source_bytes": manifest.content.source.bytes,
        "parquet_bytes": manifest.events_file.bytes,
        "first_created_at": HOUR.start,
        "last_created_at": HOUR.start,
        "emails": "hash",
        "schema_version": 1,
        "attempts": 1,
        "finished_at": manifest.finished_at,
        "seconds": manifest.seconds,
    }


def test_every_hour_between_has_a_row_and_its_next_try(lake: Lake) -> None:
    statuses = {HOUR + 3: Status.MISSING, HOUR + 4: Status.PENDING, HOUR + 9: Status.FAILED}
    manifests = {hour: note(lake, hour, status) for hour, status in statuses.items()}
    manifests[HOUR] = publish(lake, 2)

    table = coverage(lake, None, now=NOW)
    rows = table.to_pylist()
    assert [row["hour"] for row in rows] == [str(HOUR + step) for step in range(10)]
    for step, row in enumerate(rows):
        manifest = manifests.get(HOUR + step)
        assert row["status"] == ("absent" if manifest is None else manifest.status.value)
        assert row["next_try"] == next_try(HOUR + step, manifest, DEFAULT_POLICY, NOW)
        assert row["reason"] == (None if manifest is None else manifest.reason)
    wider = coverage(lake, HourRange(HOUR - 20, HOUR + 20), now=NOW).slice(20, 10)
    assert wider.equals(table)


@pytest.mark.parametrize("columns", [["status"], ["window_start", "hour", "hole", "next_try"], ["events", "seconds"]])
def test_some_columns_are_those_of_the_whole(lake: Lake, columns: list[str]) -> None:
    """From the manifests, from the index, and from one of which a part is old."""
    for step in range(3):
        publish(lake, 2 + step, HOUR + step)
    for change in (lambda: None, lambda: None, lambda: note(lake, HOUR + 5, Status.MISSING)):
        change()
        part = coverage(lake, None, now=NOW, columns=columns)
        whole = coverage(lake, None, now=NOW)
        assert part.column_names == [name for name in COVERAGE_SCHEMA.names if name in columns]
        assert part.equals(whole.select(part.column_names))


def test_a_lake_tells_its_extent(lake: Lake) -> None:
    assert extent(lake, now=NOW) is None
    for hour in (HOUR, HOUR + 3, HOUR + 300):
        publish(lake, 1, hour)
    assert extent(lake, now=NOW) == Extent(3, HourRange(HOUR, HOUR + 300))


@pytest.mark.parametrize("first", [Hour.of(2018, 10, 21, 0), Hour.of(2013, 3, 10, 0)])
def test_late_are_hours_that_ended_early_enough_and_are_not_there(lake: Lake, first: Hour) -> None:
    publish(lake, 1, first)
    note(lake, first + 1, Status.FAILED)
    table = coverage(lake, HourRange(first, first + 26), now=NOW)
    for step in range(27):
        before = (first + step).window[1]
        expected = [
            row["hour"]
            for row in table.to_pylist()
            if row["status"] in STATUSES_WITHOUT_EVENTS
            and row["hole"] is None
            and Hour.parse(row["hour"]).window[1] < before
        ]
        assert late(table, STATUSES_WITHOUT_EVENTS, before=before)["hour"].to_pylist() == expected
    assert late(table, ["failed"], before=NOW)["hour"].to_pylist() == [str(first + 1)]
    assert len(late(table, ["complete"], before=NOW)) == 1


def test_hours_far_apart_are_distinguished(lake: Lake) -> None:
    for hour in (FIRST_HOUR, HOUR, Hour.of(2024, 2, 29, 23)):
        publish(lake, 1, hour)
    table = coverage(lake, None, now=NOW)
    assert len(table) == len(HourRange(FIRST_HOUR, Hour.of(2024, 2, 29, 23)))
    assert list(told(table)) == [str(FIRST_HOUR), str(HOUR), "2024-02-29-23"]


def test_an_unreadable_manifest_is_a_failed_hour(lake: Lake) -> None:
    publish(lake, 2)
    lake.store.write(manifest_key(HOUR + 1), b"{")
    for _ in range(2):
        table = coverage(lake, None, now=NOW)
        assert told(table) == {str(HOUR): "complete", str(HOUR + 1): "failed"}
        assert "cannot read the manifest" in table["reason"][1].as_py()
        assert table["next_try"][1].as_py() <= NOW


# ---- the index


@pytest.mark.parametrize(
    ("first", "last"),
    [("2012-03-09-0", "2012-03-12-23"), ("2013-11-02-0", "2013-11-04-23"), ("2014-12-31-0", "2015-01-01-23")],
)
def test_windows_begin_where_the_hours_say(lake: Lake, first: str, last: str) -> None:
    hours = HourRange(Hour.parse(first), Hour.parse(last))
    rows = coverage(lake, hours, now=NOW)
    assert rows["window_start"].to_pylist() == [hour.window[0] for hour in hours]


def test_what_was_read_once_is_not_read_again(lake: Lake) -> None:
    publish(lake, 2)
    note(lake, HOUR + 1, Status.MISSING)
    first, counting = looked_at(lake)
    assert counting.read_keys[0] == index_key("2015-01")
    assert sorted(counting.read_keys[1:]) == sorted(manifest_key(hour) for hour in (HOUR, HOUR + 1))
    assert counting.written == [index_key("2015-01")]

    second, counting = looked_at(lake)
    assert (counting.read_keys, counting.written) == ([index_key("2015-01")], [])
    assert second.equals(first)
    assert first.schema.equals(FACTS_SCHEMA)


def test_a_changed_a_new_and_a_removed_manifest_are_seen(lake: Lake) -> None:
    for step in range(3):
        note(lake, HOUR + step, Status.PENDING)
    looked_at(lake)
    publish(lake, 5, HOUR + 1)
    note(lake, HOUR + 7, Status.FAILED)
    lake.store.delete(manifest_key(HOUR + 2))

    found, counting = looked_at(lake)
    assert told(found) == {
        str(HOUR): "pending",
        str(HOUR + 1): "complete",
        str(HOUR + 7): "failed",
    }
    assert sorted(counting.read_keys[1:]) == sorted(manifest_key(HOUR + step) for step in (1, 7))
    assert counting.written == [index_key("2015-01")]
    assert looked_at(lake)[1].written == []


def test_a_question_about_a_part_of_a_month_keeps_the_rest_in_the_index(lake: Lake) -> None:
    publish(lake, 2)
    publish(lake, 2, HOUR + 100)
    looked_at(lake)
    publish(lake, 3)
    assert list(told(looked_at(lake, HourRange(HOUR, HOUR))[0])) == [str(HOUR)]
    assert looked_at(lake)[1].read_keys == [index_key("2015-01")]


@pytest.mark.parametrize(
    "lie", [b"", b"PAR1", b"no parquet at all", None], ids=["empty", "cut", "text", "other schema"]
)
def test_an_index_that_cannot_be_used_is_rebuilt(lake: Lake, lie: bytes | None) -> None:
    publish(lake, 2)
    expected, _ = looked_at(lake)
    lake.store.write(index_key("2015-01"), _parquet_of_nothing() if lie is None else lie)
    found, counting = looked_at(lake)
    assert found.equals(expected)
    assert counting.written == [index_key("2015-01")]


def test_an_index_that_lies_is_believed_only_where_the_manifests_are_those_it_was_taken_from(lake: Lake) -> None:
    publish(lake, 2)
    looked_at(lake)
    copied = lake.store.read(index_key("2015-01"))
    publish(lake, 3)
    looked_at(lake)
    assert copied is not None
    lake.store.write(index_key("2015-01"), copied)
    assert looked_at(lake)[0]["events"].to_pylist() == [3]


def test_rebuild_reads_every_manifest(lake: Lake) -> None:
    publish(lake, 2)
    looked_at(lake)
    _, counting = looked_at(lake, rebuild=True)
    assert (counting.read_keys, counting.written) == ([manifest_key(HOUR)], [index_key("2015-01")])


def test_a_lake_that_may_not_be_written_answers_all_the_same(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    publish(lake, 2)
    shutil.rmtree(tmp_path / "lake/.tmp")
    # Where a folder is needed for temporaries there is a file: nobody can write there, not even root.
    (tmp_path / "lake/.tmp").write_bytes(b"")
    for _ in range(2):
        assert told(coverage(lake, None, now=NOW)) == {str(HOUR): "complete"}
    assert not (tmp_path / "lake/index").exists()


def test_a_lake_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "lake").write_bytes(b"")
    with pytest.raises(StoreError):
        coverage(Lake.at(str(tmp_path / "lake")), None, now=NOW)


# ---- suspects


def test_a_suspect_hour_is_reported_whatever_part_of_the_lake_is_asked_for(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    weeks = [HOUR + 168 * week for week in range(9)]
    for week, hour in enumerate(weeks):
        _publish_claiming(lake, hour, 50 if week == 4 else 20_000 + week)
    odd = weeks[4]
    for hours in (None, HourRange(odd, odd), HourRange(odd - 24, odd + 24)):
        table = coverage(lake, hours, now=NOW)
        (row,) = (row for row in table.to_pylist() if row["status"] == "suspect")
        assert row["hour"] == str(odd)
        assert row["reason"].startswith("50 events, 0% of the median 20,003 ")
        assert (row["next_try"], row["events"]) == (None, 50)
    # The manifest depends on the source's bytes alone.
    manifest = lake.manifest(odd)
    assert manifest is not None
    assert manifest.status is Status.COMPLETE


# ---- many at once


def test_generations_are_those_of_stat(store: Store) -> None:
    keys = [f"manifests/date=2015-01-0{day}/hour={hour}/x.json" for day in (1, 2, 4) for hour in (1, 10, 2)]
    for key in keys:
        store.write(key, key.encode())
    store.write("manifests/date=2015-01-01/hour=10/other.json", b"")
    others = ["manifests/date=2015-01-03/hour=1/x.json", "manifests/date=2015-01-04/hour=3/x.json"]
    looked = {key: store.stat(key) for key in keys}
    assert store.generations([*keys[::-1], *others]) == {
        key: info.generation for key, info in looked.items() if info is not None
    }
    assert store.generations([]) == {}
    assert store.generations(others) == {}


def _parquet_of_nothing() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"hour": ["2015-01-01-15"]}), sink)
    return sink.getvalue()


def _publish_claiming(lake: Lake, hour: Hour, events: int) -> None:
    """Writes a manifest by hand: as many events in files would take long to make, and coverage reads none."""
    manifest = publish(lake, 1, hour)
    assert manifest.content is not None
    raw = json.loads(Path(lake.store.url(manifest_key(hour))).read_bytes())
    raw["content"] |= {"events": events, "documents": events, "types": {"PushEvent": events}}
    lake.store.write(manifest_key(hour), json.dumps(raw).encode())
