"""Detects hours with far too few or far too many events, compared with the same hour of the surrounding weeks.

GitHub's traffic has a weekly pattern and grows over the years. The same hour of the same weekday, a few weeks before
and after, has the same pattern and a similar level. The baseline of an hour is the median of these hours, for all
events and for each large type. See docs/explanation/coverage.md for what this detects and what it does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from etl.archive.known_gaps import VolumeDrop, known_volume_drops
from etl.coverage import arrays
from etl.hours import Hour
from etl.lake.manifest import Status
from etl.plural import plural

INPUT_COLUMNS: Final = ("hour_start", "status", "events", "type_names", "type_counts")
"""Columns needed to detect anomalies."""

_Floats: TypeAlias = npt.NDArray[np.float64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_Numbers: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.int64]

_HOURS_A_WEEK: Final = 168
_MICROSECONDS_AN_HOUR: Final = 3_600_000_000
_MIN_NEIGHBOURS: Final = 3
"""With fewer, it is unclear which hour is the anomaly."""
_MAX_TYPES_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """Thresholds of anomaly detection.

    Attributes:
        low: An hour is suspect below this share of the median.
        high: An hour is suspect above this multiple of the median.
        type_low: Like ``low``, for each event type; single types vary more.
        type_high: Like ``high``, for each event type.
        weeks: Number of weeks before and after an hour that form its baseline.
        min_events: Smallest median, in events, that is used as a baseline.
    """

    low: float = 0.4
    high: float = 3.0
    type_low: float = 0.2
    type_high: float = 10.0
    weeks: int = 4
    min_events: int = 1000


def find_anomalies(rows: pa.Table, thresholds: Thresholds) -> dict[int, str]:
    """Returns the suspect hours and the reasons.

    Only ``complete`` hours are checked and used for baselines. Hours in a known volume drop of the archive are checked
    but not used for baselines.

    Args:
        rows: A table with the columns ``INPUT_COLUMNS`` of ``etl.coverage.index.FACTS_SCHEMA``. It includes the hours
            ``thresholds.weeks`` before and after those of interest, as far as the lake has them.
        thresholds: Thresholds of anomaly detection.

    Returns:
        The row numbers of suspect hours, each with a reason that states the numbers.
    """
    counted = arrays.flags(rows["type_counts"].is_valid())
    complete = np.flatnonzero(counted & arrays.equals(rows["status"], Status.COMPLETE.value))
    if not len(complete):
        return {}
    chosen = rows.select(INPUT_COLUMNS)
    chosen = chosen if len(complete) == len(rows) else chosen.take(arrays.integers(complete))
    return {int(complete[row]): reason for row, reason in AnomalyDetector(chosen, thresholds).reasons()}


@dataclass(frozen=True, slots=True)
class _Anomaly:
    """An hour whose count is far from its baseline."""

    row: int
    count: int
    median: float


class AnomalyDetector:
    """Detects anomalies in complete hours, arranged on a timeline of whole weeks that starts with the first hour."""

    def __init__(self, hours: pa.Table, thresholds: Thresholds) -> None:
        self._hours = hours
        self._thresholds = thresholds
        numbers: _Numbers = arrays.numbers(hours["hour_start"].cast(pa.int64())) // _MICROSECONDS_AN_HOUR
        base = int(numbers.min())
        self._cells = numbers - base
        self._weeks = int(self._cells.max()) // _HOURS_A_WEEK + 1
        self._margin = thresholds.weeks * _HOURS_A_WEEK
        self._size = self._weeks * _HOURS_A_WEEK + 2 * self._margin
        self._in_volume_drop = self._volume_drop_flags(base)
        self._baseline_rows = np.flatnonzero(~self._in_volume_drop[self._cells])
        self._find_neighbours()

    def reasons(self) -> Iterator[tuple[int, str]]:
        """Yields the row number of each suspect hour with the reason."""
        baseline = f"the same hour in the {self._thresholds.weeks} weeks before and after"
        reported: set[int] = set()
        events = arrays.numbers(self._hours["events"]).astype(np.float64)
        for odd in self._anomalies_in(events, self._thresholds.low, self._thresholds.high):
            reported.add(odd.row)
            share = f"{odd.count / odd.median:.0%} of the" if odd.median else "against a"
            yield odd.row, f"{plural(odd.count, 'event')}, {share} median {odd.median:,.0f} of {baseline}"
        by_row: dict[int, list[str]] = {}
        for name, counts in self._types():
            for odd in self._anomalies_in(counts, self._thresholds.type_low, self._thresholds.type_high):
                by_row.setdefault(odd.row, []).append(f"{odd.count:,} {name} against {odd.median:,.0f}")
        for row, types in by_row.items():
            # If there are too few events in total, there are too few of each type.
            if row not in reported:
                more = f" and {len(types) - _MAX_TYPES_SHOWN} more types" if len(types) > _MAX_TYPES_SHOWN else ""
                yield row, f"{', '.join(types[:_MAX_TYPES_SHOWN])}{more}, the median of {baseline}"

    def _anomalies_in(self, counts: _Floats, low: float, high: float) -> Iterator[_Anomaly]:
        """Yields the hours whose count is below ``low`` or above ``high`` times the median of their neighbours.

        With an even number of neighbours, the lower middle value sets the lower bound and the upper one the upper
        bound. So nothing is suspect when the level changes permanently and half of the neighbours have the old level
        and half the new one.
        """
        fewest = self._thresholds.min_events
        measure = np.full(self._size, np.nan)
        measure[self._margin + self._cells[self._baseline_rows]] = counts[self._baseline_rows]
        far_above, far_below = np.zeros_like(self._known), np.zeros_like(self._known)
        for neighbour in self._neighbours:
            values = measure[neighbour]
            # A missing neighbour is NaN, which compares as false.
            far_above += (values >= fewest) & (low * values > counts)
            far_below += high * values < counts
        # Instead of sorting all neighbours to find the median, count those beyond the bound.
        enough = self._known >= _MIN_NEIGHBOURS
        few = enough & (far_above >= self._known - (self._known - 1) // 2)
        many = enough & (far_below >= self._known // 2 + 1) & (counts > high * fewest)
        for row in np.flatnonzero(few | many):
            values = np.sort([measure[neighbour[row]] for neighbour in self._neighbours])
            middle = (self._known[row] - 1) // 2 if few[row] else self._known[row] // 2
            yield _Anomaly(int(row), int(counts[row]), float(values[middle]))

    def _find_neighbours(self) -> None:
        """Computes the positions of each hour's neighbours on the timeline, which has a margin at each end."""
        there = np.zeros(self._size, dtype=np.bool_)
        there[self._margin + self._cells[self._baseline_rows]] = True
        steps = [week * _HOURS_A_WEEK for week in range(-self._thresholds.weeks, self._thresholds.weeks + 1) if week]
        known = np.zeros(self._weeks * _HOURS_A_WEEK, dtype=np.int64)
        places = self._margin + np.arange(len(known))
        for step in steps:
            known += there[places + step]
        # In a volume drop longer than the baseline's weeks, use the neighbours of the last hour that had enough.
        for week in np.flatnonzero(self._in_volume_drop.reshape(-1, _HOURS_A_WEEK).any(axis=1)):
            here = np.arange(week * _HOURS_A_WEEK, (week + 1) * _HOURS_A_WEEK)
            lost = here[self._in_volume_drop[here] & (known[here] < _MIN_NEIGHBOURS)] if week else here[:0]
            places[lost], known[lost] = places[lost - _HOURS_A_WEEK], known[lost - _HOURS_A_WEEK]
        self._known = known[self._cells]
        self._neighbours = [places[self._cells] + step for step in steps]

    def _types(self) -> Iterator[tuple[str, _Floats]]:
        """Yields the counts of each type that is large enough to be checked in at least one hour."""
        places, codes, counts, names = _type_counts(self._hours)
        largest = np.zeros(len(names), dtype=np.int64)
        np.maximum.at(largest, codes, counts)
        for code in np.flatnonzero(largest >= self._thresholds.min_events):
            of_type = codes == code
            each = np.zeros(len(self._hours))
            each[places[of_type]] = counts[of_type]
            yield names[code] or "events without a type", each

    def _volume_drop_flags(self, base: int) -> _Flags:
        flags = np.zeros(self._weeks * _HOURS_A_WEEK, dtype=np.bool_)
        for drop in known_volume_drops():
            first, last = _span(drop)
            flags[max(first - base, 0) : None if last is None else max(last - base + 1, 0)] = True
        return flags


def _type_counts(hours: pa.Table) -> tuple[_Numbers, _Numbers, _Numbers, list[str]]:
    """Flattens the counts by type of all hours.

    Returns:
        The row of the hour, the code of the type and the count, for each count; then the names of the types by code.
    """
    rows = hours.select(["type_names", "type_counts"]).combine_chunks()
    # The stubs do not tell kinds of arrays apart.
    counts: Any = rows["type_counts"].chunk(0)
    sets: Any = rows["type_names"].chunk(0).dictionary_encode()
    # Many hours have the same types, so there are few distinct lists of names.
    names: dict[str, int] = {}
    sizes: list[int] = []
    codes_of_sets: list[int] = []
    for lines in sets.dictionary.to_pylist():
        each = lines.split("\n")
        sizes.append(len(each))
        codes_of_sets.extend(names.setdefault(name, len(names)) for name in each)
    first_of_set = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
    lengths = arrays.numbers(counts.value_lengths())
    # All hours together have two million counts; int32 saves memory pages, which take a large part of the time.
    places = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    begins = np.cumsum(lengths, dtype=np.int32) - lengths
    nth = np.arange(len(places), dtype=np.int32) - np.repeat(begins, lengths)
    codes = np.array(codes_of_sets, dtype=np.int32)[first_of_set[arrays.numbers(sets.indices)][places] + nth]
    return places, codes, arrays.numbers(counts.flatten()), list(names)


def _span(drop: VolumeDrop) -> tuple[int, int | None]:
    return _number(drop.first), None if drop.last is None else _number(drop.last)


def _number(hour: Hour) -> int:
    return int(hour.start.timestamp()) // 3600
