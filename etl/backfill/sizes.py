"""What a plan will cost, roughly: bytes and time, by hours of about that time, or by what is known of the years."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median
from typing import Final

from etl.backfill.plan import Plan, with_known
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.lake import Lake

_BYTES_BY_YEAR: Final = {
    2011: 300_000,
    2012: 900_000,
    2013: 2_000_000,
    2014: 4_000_000,
    2015: 7_000_000,
    2016: 12_000_000,
    2017: 17_000_000,
    2018: 23_000_000,
    2019: 32_000_000,
    2020: 43_000_000,
    2021: 55_000_000,
    2022: 70_000_000,
    2023: 90_000_000,
    2024: 110_000_000,
    2025: 120_000_000,
}
"""Compressed bytes of an hour. Known are 0.3 MB for 2011, 1.2 TB for all hours from 2011 to 2020, and 90 to 150 MB
for 2024 and 2025 (docs/facts.md); the years between are drawn so that they agree with that."""
_AROUND: Final = timedelta(days=7)
_NEIGHBOURS: Final = 12
_SECONDS_A_BYTE: Final = 40e-9
"""What fetching and treating take one worker where nothing is known of this machine: 25 MB a second."""
_SECONDS_AN_HOUR: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a plan will cost.

    Attributes:
        hours: Hours to run.
        source_bytes: Compressed bytes to fetch.
        seconds: How long it will take.
        like_neighbours: How many of the hours were judged by others in the lake, not by their year alone.
    """

    hours: int
    source_bytes: int
    seconds: float
    like_neighbours: int


@dataclass(frozen=True, slots=True)
class _Neighbour:
    hour: Hour
    source_bytes: int
    seconds: float


def estimate(lake: Lake, todo: Plan, *, workers: int, max_rate: float | None = None) -> Estimate:
    """Estimates what a plan will cost; that some hours may not be there is not foreseen.

    Args:
        lake: Whose hours tell how large hours of that time are, and how fast this goes here.
        todo: The plan.
        workers: Hours at once.
        max_rate: Bytes a second that may be fetched; None for any number.

    Raises:
        StoreError: If the lake cannot be read.
    """
    known = list(_known_around(lake, todo.hours)) if todo.due else []
    sizes = [_size_by(_neighbours(known, hour)) for hour in todo.due]
    source_bytes = sum(size or size_by_year(hour) for hour, size in zip(todo.due, sizes, strict=True))
    if known:
        work = source_bytes * median(one.seconds / one.source_bytes for one in known)
    else:
        work = source_bytes * _SECONDS_A_BYTE + len(todo.due) * _SECONDS_AN_HOUR
    seconds = work / max(1, min(workers, len(todo.due)))
    return Estimate(
        hours=len(todo.due),
        source_bytes=source_bytes,
        seconds=seconds if max_rate is None else max(seconds, source_bytes / max_rate),
        like_neighbours=sum(size is not None for size in sizes),
    )


def size_by_year(hour: Hour) -> int:
    """Compressed bytes of an hour of that year, as far as that can be said."""
    return _BYTES_BY_YEAR.get(hour.start.year, _BYTES_BY_YEAR[max(_BYTES_BY_YEAR)])


def _known_around(lake: Lake, hours: HourRange) -> Iterable[_Neighbour]:
    first = max(hours.first.start - _AROUND, FIRST_HOUR.start)
    around = HourRange(Hour(first), Hour(hours.last.start + _AROUND))
    for hour, known in with_known(lake, around):
        if known is not None and known.source_bytes and known.seconds is not None:
            yield _Neighbour(hour, known.source_bytes, known.seconds)


def _neighbours(known: Sequence[_Neighbour], hour: Hour) -> list[_Neighbour]:
    """The known hours next to this one, on both sides, and not too far away."""
    at = bisect_left(known, hour, key=lambda one: one.hour)
    near = known[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
    return [one for one in near if abs(one.hour.start - hour.start) <= _AROUND]


def _size_by(neighbours: Sequence[_Neighbour]) -> int | None:
    return round(median(one.source_bytes for one in neighbours)) if neighbours else None
