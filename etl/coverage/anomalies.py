"""Which hours hold far too few or far too many events, told by the same hour of the weeks around them.

GitHub's traffic has the rhythm of a week and grows over years; the same hour of the same weekday a few weeks
before and after shares both. Their median is the baseline of an hour, in all and for each large
type. See docs/explanation/coverage.md for what that finds and what it takes for sound.
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
"""The columns by which an hour is judged."""

_Floats: TypeAlias = npt.NDArray[np.float64]
_Flags: TypeAlias = npt.NDArray[np.bool_]
_Numbers: TypeAlias = npt.NDArray[np.int32] | npt.NDArray[np.int64]

_HOURS_A_WEEK: Final = 168
_MICROSECONDS_AN_HOUR: Final = 3_600_000_000
_MIN_NEIGHBOURS: Final = 3
"""Of two hours nobody can tell which is the odd one."""
_MAX_TYPES_SHOWN: Final = 3


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """When an hour's volume is suspect.

    Attributes:
        low: Below this share of the median the hour is suspect.
        high: Above this multiple of the median it is.
        type_low: The same for each type of event, which vary more by themselves.
        type_high: The same.
        weeks: How many weeks before and after the hour count as around it.
        min_events: Smallest median, in events, that is used as a baseline.
    """

    low: float = 0.4
    high: float = 3.0
    type_low: float = 0.2
    type_high: float = 10.0
    weeks: int = 4
    min_events: int = 1000


def find_anomalies(rows: pa.Table, thresholds: Thresholds) -> dict[int, str]:
    """Says which hours are suspect and why.

    Only ``complete`` hours are judged, and only they are a measure for others; those of a known collapse of the
    archive are judged and no measure.

    Args:
        rows: A table with the columns ``INPUT_COLUMNS`` of ``etl.coverage.index.FACTS_SCHEMA``, with the hours
            ``thresholds.weeks`` around those in question as far as the lake has them.
        thresholds: What is far.

    Returns:
        The numbers of the rows that are suspect, each with the reason in figures.
    """
    counted = arrays.flags(rows["type_counts"].is_valid())
    complete = np.flatnonzero(counted & arrays.are(rows["status"], Status.COMPLETE.value))
    if not len(complete):
        return {}
    chosen = rows.select(INPUT_COLUMNS)
    chosen = chosen if len(complete) == len(rows) else chosen.take(arrays.integers(complete))
    return {int(complete[place]): reason for place, reason in AnomalyDetector(chosen, thresholds).reasons()}


@dataclass(frozen=True, slots=True)
class _Anomaly:
    """One hour whose count of something is far from its baseline."""

    place: int
    count: int
    median: float


class AnomalyDetector:
    """Judges complete hours, laid out as a row of whole weeks that begins with the first of them."""

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
        """Yields places in the table with the reason why the hour there is suspect."""
        around = f"the same hour of the {self._thresholds.weeks} weeks around"
        told: set[int] = set()
        events = arrays.numbers(self._hours["events"]).astype(np.float64)
        for odd in self._anomalies_in(events, self._thresholds.low, self._thresholds.high):
            told.add(odd.place)
            share = f"{odd.count / odd.median:.0%} of the" if odd.median else "against a"
            yield odd.place, f"{plural(odd.count, 'event')}, {share} median {odd.median:,.0f} of {around}"
        by_place: dict[int, list[str]] = {}
        for name, counts in self._types():
            for odd in self._anomalies_in(counts, self._thresholds.type_low, self._thresholds.type_high):
                by_place.setdefault(odd.place, []).append(f"{odd.count:,} {name} against {odd.median:,.0f}")
        for place, oddities in by_place.items():
            # When there are too few events, there are too few of each type.
            if place not in told:
                more = f" and {len(oddities) - _MAX_TYPES_SHOWN} more types" if len(oddities) > _MAX_TYPES_SHOWN else ""
                yield place, f"{', '.join(oddities[:_MAX_TYPES_SHOWN])}{more}, the median of {around}"

    def _anomalies_in(self, counts: _Floats, low: float, high: float) -> Iterator[_Anomaly]:
        """Yields the hours whose count is below ``low`` or above ``high`` times the median of their neighbours'.

        Of an even number of neighbours two stand in the middle; what lies between the bounds that these two set is
        taken for neither too few nor too many. So when the level changes for good, and half of the neighbours are
        of the old one and half of the new, nothing is suspect.
        """
        fewest = self._thresholds.min_events
        measure = np.full(self._size, np.nan)
        measure[self._margin + self._cells[self._baseline_rows]] = counts[self._baseline_rows]
        far_above, far_below = np.zeros_like(self._known), np.zeros_like(self._known)
        for neighbour in self._neighbours:
            values = measure[neighbour]
            # NaN, where there is no neighbour, compares as false.
            far_above += (values >= fewest) & (low * values > counts)
            far_below += high * values < counts
        # Rather than to sort all neighbours for the one in the middle, count those on the far side of the bound.
        enough = self._known >= _MIN_NEIGHBOURS
        few = enough & (far_above >= self._known - (self._known - 1) // 2)
        many = enough & (far_below >= self._known // 2 + 1) & (counts > high * fewest)
        for place in np.flatnonzero(few | many):
            values = np.sort([measure[neighbour[place]] for neighbour in self._neighbours])
            middle = (self._known[place] - 1) // 2 if few[place] else self._known[place] // 2
            yield _Anomaly(int(place), int(counts[place]), float(values[middle]))

    def _find_neighbours(self) -> None:
        """Finds for each hour where its neighbours lie in a row of hours with a margin at each end."""
        there = np.zeros(self._size, dtype=np.bool_)
        there[self._margin + self._cells[self._baseline_rows]] = True
        steps = [week * _HOURS_A_WEEK for week in range(-self._thresholds.weeks, self._thresholds.weeks + 1) if week]
        known = np.zeros(self._weeks * _HOURS_A_WEEK, dtype=np.int64)
        places = self._margin + np.arange(len(known))
        for step in steps:
            known += there[places + step]
        # In a collapse that is longer than the weeks looked at, go by the neighbours of the last hour that had some.
        for week in np.flatnonzero(self._in_volume_drop.reshape(-1, _HOURS_A_WEEK).any(axis=1)):
            here = np.arange(week * _HOURS_A_WEEK, (week + 1) * _HOURS_A_WEEK)
            lost = here[self._in_volume_drop[here] & (known[here] < _MIN_NEIGHBOURS)] if week else here[:0]
            places[lost], known[lost] = places[lost - _HOURS_A_WEEK], known[lost - _HOURS_A_WEEK]
        self._known = known[self._cells]
        self._neighbours = [places[self._cells] + step for step in steps]

    def _types(self) -> Iterator[tuple[str, _Floats]]:
        """Yields the counts of each type that is ever large enough to be judged."""
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
        for collapse in known_volume_drops():
            first, last = _span(collapse)
            flags[max(first - base, 0) : None if last is None else max(last - base + 1, 0)] = True
        return flags


def _type_counts(hours: pa.Table) -> tuple[_Numbers, _Numbers, _Numbers, list[str]]:
    """Lays the counts of all types of all hours out in a row.

    Returns:
        For each count the place of its hour, the number of its type and the count; then the types' names.
    """
    rows = hours.select(["type_names", "type_counts"]).combine_chunks()
    # The stubs do not tell kinds of arrays apart.
    counts: Any = rows["type_counts"].chunk(0)
    sets: Any = rows["type_names"].chunk(0).dictionary_encode()
    # Many hours have the same types, so there are few sets of names.
    names: dict[str, int] = {}
    sizes: list[int] = []
    codes_of_sets: list[int] = []
    for lines in sets.dictionary.to_pylist():
        each = lines.split("\n")
        sizes.append(len(each))
        codes_of_sets.extend(names.setdefault(name, len(names)) for name in each)
    first_of_set = np.cumsum([0, *sizes[:-1]], dtype=np.int32)
    lengths = arrays.numbers(counts.value_lengths())
    # There are two million counts of all hours, and pages of memory are a good part of the time.
    places = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    begins = np.cumsum(lengths, dtype=np.int32) - lengths
    nth = np.arange(len(places), dtype=np.int32) - np.repeat(begins, lengths)
    codes = np.array(codes_of_sets, dtype=np.int32)[first_of_set[arrays.numbers(sets.indices)][places] + nth]
    return places, codes, arrays.numbers(counts.flatten()), list(names)


def _span(collapse: VolumeDrop) -> tuple[int, int | None]:
    return _number(collapse.first), None if collapse.last is None else _number(collapse.last)


def _number(hour: Hour) -> int:
    return int(hour.start.timestamp()) // 3600
