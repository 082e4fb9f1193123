"""The coverage table: one row for every hour of the archive, including hours that are absent from the lake."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.archive.known_gaps import known_gaps, known_volume_drops
from etl.coverage import arrays
from etl.coverage.anomalies import INPUT_COLUMNS, Thresholds, find_anomalies
from etl.coverage.index import FACTS_SCHEMA, described, facts
from etl.coverage.retry_schedule import DEFAULT_POLICY, RetrySchedule, next_try_for_status
from etl.events import arrow
from etl.hours import FIRST_HOUR, PACIFIC, PACIFIC_HOURS, Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import manifest_keys
from etl.lake.manifest import Status

ABSENT: Final = "absent"
"""Status of an hour that has no manifest in the lake."""

STATUSES_WITHOUT_EVENTS: Final = (ABSENT, Status.PENDING.value, Status.MISSING.value, Status.FAILED.value)
"""Statuses of hours without events in the lake."""

_UTC: Final = pa.timestamp("us", "UTC")
_MICROSECONDS_AN_HOUR: Final = 3_600_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = -1
"""Represents a missing time in arrays of microseconds since the epoch."""

_INTERNAL_COLUMNS: Final = frozenset({"type_names", "type_counts", "asked_at"})
"""Columns of the index that are not part of the table."""

COVERAGE_SCHEMA: Final = pa.schema(
    [
        FACTS_SCHEMA.field("hour"),
        FACTS_SCHEMA.field("hour_start"),
        described(
            "window_start",
            _UTC,
            "Start of the hour that the file covers: file names are in US Pacific time from March 2012 to the end of"
            " 2014, and in UTC otherwise.",
            nullable=False,
        ),
        described(
            "status",
            pa.string(),
            f"Status of the hour: {', '.join(Status)}, or {ABSENT} if the lake has no manifest for it.",
            nullable=False,
        ),
        FACTS_SCHEMA.field("reason"),
        described("hole", pa.string(), "Where it is documented that the archive does not have this hour (known gap)."),
        described("next_try", _UTC, "When to try the hour next; null if there is nothing left to do."),
        *(FACTS_SCHEMA.field(name) for name in FACTS_SCHEMA.names[4:] if name not in _INTERNAL_COLUMNS),
    ]
)
"""Columns of ``coverage``; each field's metadata has its description."""

_INPUT_COLUMNS: Final = frozenset({"hour", "reason", "finished_at", *INPUT_COLUMNS})
"""Columns from which the others are derived."""


def coverage(
    lake: Lake,
    hours: HourRange | None,
    *,
    policy: RetrySchedule = DEFAULT_POLICY,
    thresholds: Thresholds | None = None,
    now: datetime,
    columns: Collection[str] = COVERAGE_SCHEMA.names,
    rebuild: bool = False,
) -> pa.Table:
    """Returns the status of each hour of a range in the lake, and when it should be tried next.

    Args:
        lake: The lake.
        hours: The hours; None for the range from the first to the last hour in the lake.
        policy: The retry schedule.
        thresholds: Thresholds of anomaly detection; None for the defaults.
        now: The current time (aware, UTC).
        columns: Columns to return; fewer columns are faster.
        rebuild: Read every manifest and ignore the index of the lake.

    Returns:
        A table with these columns of ``COVERAGE_SCHEMA``, in schema order, with one row per hour, in
        chronological order.

    Raises:
        StoreError: If the lake cannot be read.
    """
    thresholds = thresholds or Thresholds()
    asked = hours or HourRange(FIRST_HOUR, Hour.containing(now))
    schema = pa.schema([field for field in COVERAGE_SCHEMA if field.name in columns])
    needed = _INPUT_COLUMNS.union(columns)
    found = facts(lake.store, _with_baseline_hours(asked, thresholds), columns=needed, rebuild=rebuild)
    found = _with_anomalies(found, thresholds)
    if hours is None:
        if not len(found):
            return arrow.table([], schema)
        starts = arrays.numbers(found["hour_start"].cast(pa.int64()))
        first, last = (Hour(_EPOCH + timedelta(microseconds=int(starts[end]))) for end in (0, -1))
        hours = HourRange(first, last)
    rows = _row_for_each(hours, found)
    status = rows["status"]
    windows = _window_starts(hours)
    rows = rows.append_column("window_start", windows)
    rows = rows.append_column("hole", _gap_sources(hours, status))
    rows = rows.append_column("next_try", _next_tries(hours, windows, status, rows["finished_at"], policy, now))
    return rows.select(schema.names).cast(schema)


@dataclass(frozen=True, slots=True)
class Extent:
    """The range of hours in a lake.

    Attributes:
        count: Number of hours that have a manifest.
        hours: Range from the first to the last of them.
    """

    count: int
    hours: HourRange


def extent(lake: Lake, *, now: datetime) -> Extent | None:
    """Returns the range of hours in a lake; None if it has no hours.

    Raises:
        StoreError: If the lake cannot be read.
    """
    names = facts(lake.store, HourRange(FIRST_HOUR, Hour.containing(now)), columns={"hour"})["hour"]
    if not len(names):
        return None
    return Extent(len(names), HourRange(*(Hour.parse(names[end].as_py()) for end in (0, -1))))


def suspect_hours(lake: Lake, hours: HourRange) -> frozenset[Hour]:
    """Returns the hours of a range whose volume is far from that of their neighbours.

    Raises:
        StoreError: If the lake cannot be read.
    """
    thresholds = Thresholds()
    found = facts(lake.store, _with_baseline_hours(hours, thresholds), columns=_INPUT_COLUMNS)
    suspicious = find_anomalies(found, thresholds)
    names = found["hour"].take(arrays.integers(np.array(sorted(suspicious), dtype=np.int64))).to_pylist()
    found_hours = (Hour.parse(str(name)) for name in names)
    return frozenset(hour for hour in found_hours if hours.first <= hour <= hours.last)


def late(table: pa.Table, statuses: Collection[str], *, before: datetime) -> pa.Table:
    """Returns the hours that should be in the lake by now but are not.

    Args:
        table: A table with the columns ``window_start``, ``status`` and ``hole`` of ``COVERAGE_SCHEMA``.
        statuses: Statuses that count as late.
        before: Only hours that ended before this instant (aware, UTC) are late.

    Returns:
        The rows of late hours, without known gaps in the archive.
    """
    latest_start = int((before - timedelta(hours=1)).timestamp() * 1_000_000)
    chosen = np.zeros(len(table), dtype=np.bool_)
    for status in statuses:
        chosen |= arrays.equals(table["status"], status)
    chosen &= arrays.flags(pc.is_null(table["hole"]))
    chosen &= arrays.numbers(table["window_start"].cast(pa.int64())) < latest_start
    return table.take(arrays.integers(np.flatnonzero(chosen)))


def _with_baseline_hours(hours: HourRange, thresholds: Thresholds) -> HourRange:
    """Extends a range by the hours that its baseline is computed from."""
    first = hours.first
    for drop in known_volume_drops():
        # The baseline of a known volume drop is the time before it.
        first = min(first, drop.first) if drop.touches(hours.first, hours.last) else first
    around = timedelta(weeks=thresholds.weeks)
    return HourRange(Hour(max(first.start - around, FIRST_HOUR.start)), Hour(hours.last.start + around))


def _with_anomalies(found: pa.Table, thresholds: Thresholds) -> pa.Table:
    suspicious = find_anomalies(found, thresholds)
    if not suspicious:
        return found
    status, reason = found["status"].to_pylist(), found["reason"].to_pylist()
    for place, why in suspicious.items():
        status[place], reason[place] = Status.SUSPECT.value, why
    judged = pa.schema([(name, pa.string()) for name in ("status", "reason")])
    rows = [{"status": of, "reason": why} for of, why in zip(status, reason, strict=True)]
    columns = arrow.table(rows, judged)
    for name in judged.names:
        found = found.set_column(found.schema.get_field_index(name), name, columns[name])
    return found


def _row_for_each(hours: HourRange, found: pa.Table) -> pa.Table:
    """Returns one row for every hour of a range; the other columns of an absent hour are null."""
    starts = _starts(hours)
    places = arrays.numbers(found["hour_start"].cast(pa.int64())) // _MICROSECONDS_AN_HOUR - starts[0]
    within = np.flatnonzero((places >= 0) & (places < len(starts)))
    row_of = np.full(len(starts), -1, dtype=np.int64)
    row_of[places[within]] = within
    absent = row_of < 0
    # Copying 70 MB takes a large part of the time, and it is not needed for the most common query: all hours there are.
    if not absent.any() and len(within) == len(found):
        return found
    rows = found.take(arrays.integers(row_of, absent=absent))
    known: dict[str, Any] = {name: rows[name] for name in rows.column_names}
    known["hour"] = arrow.text(list(manifest_keys(hours)))
    known["hour_start"] = arrays.integers(starts * _MICROSECONDS_AN_HOUR).cast(_UTC)
    known["status"] = pc.fill_null(rows["status"], arrow.text([ABSENT])[0])
    return pa.table(known)


def _gap_sources(hours: HourRange, status: arrays.Column) -> pa.Array[Any]:
    """Returns the source of each hour's known gap; null for hours outside of gaps or with events."""
    gaps = list(known_gaps())
    gap_of = np.full(len(hours), -1, dtype=np.int64)
    base = hours.first.start
    for index, gap in enumerate(gaps):
        first, last = ((hour.start - base) // timedelta(hours=1) for hour in (gap.first, gap.last))
        if last >= 0:
            gap_of[max(first, 0) : last + 1] = index
    for each in Status:
        if each.has_events:
            gap_of[arrays.equals(status, each.value)] = -1
    outside = gap_of < 0
    if outside.all():
        return pa.nulls(len(gap_of), pa.string())
    return arrow.text([gap.source for gap in gaps]).take(arrays.integers(gap_of, absent=outside))


def _window_starts(hours: HourRange) -> pa.Array[Any]:
    """Returns the start of ``Hour.window`` for all hours, vectorized."""
    starts = _starts(hours)
    named: Any = arrays.integers(starts * _MICROSECONDS_AN_HOUR).cast(pa.timestamp("us"))
    as_pacific = pc.assume_timezone(named, PACIFIC.key, ambiguous="earliest", nonexistent="latest")
    windows: pa.Array[Any] = pc.if_else(arrays.booleans(_are_pacific(starts)), as_pacific.cast(_UTC), named.cast(_UTC))
    return windows


def _are_pacific(starts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Returns which hours are named in Pacific time."""
    first, last = (int(hour.start.timestamp()) // 3600 for hour in (PACIFIC_HOURS.first, PACIFIC_HOURS.last))
    return (starts >= first) & (starts <= last)


def _next_tries(
    hours: HourRange,
    windows: pa.Array[Any],
    status: arrays.Column,
    finished_at: pa.ChunkedArray[Any],
    policy: RetrySchedule,
    now: datetime,
) -> pa.Array[Any]:
    # An absent hour is due as soon as it has ended. There are too many of them to compute this one by one.
    tries = arrays.numbers(windows.cast(pa.int64())) + _MICROSECONDS_AN_HOUR
    settled = arrays.equals(status, Status.COMPLETE.value) | arrays.equals(status, Status.SUSPECT.value)
    if settled.all():
        return pa.nulls(len(settled), _UTC)
    ends = arrays.counts(finished_at.cast(pa.int64()), absent=_NEVER)
    for place in map(int, np.flatnonzero(~settled & ~arrays.equals(status, ABSENT))):
        known = Status(status[place].as_py())
        end = None if ends[place] == _NEVER else _EPOCH + timedelta(microseconds=int(ends[place]))
        due = next_try_for_status(hours.first + place, known, end, policy, now)
        settled[place] = due is None
        tries[place] = 0 if due is None else int(due.timestamp()) * 1_000_000
    return arrays.integers(tries, absent=settled).cast(_UTC)


def _starts(hours: HourRange) -> npt.NDArray[np.int64]:
    """Returns the start of each hour, in hours since 1970."""
    first = int(hours.first.start.timestamp()) // 3600
    return np.arange(first, first + len(hours), dtype=np.int64)
