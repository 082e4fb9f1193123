"""Estimates the cost of a plan: bytes, disk space and time.

Hours of the lake of about the same time tell it where there are some; else the years do, and rates that were measured
elsewhere (benchmarks/README.md). Nobody knows the network and the machine before, so the time is a range.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Final

from etl.backfill.plan import Plan, with_known
from etl.hours import FIRST_HOUR, PACIFIC_HOURS, Hour, HourRange
from etl.lake.lake import Lake
from etl.storage import gcs
from etl.storage.local_store import free_bytes

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
for 2024 and 2025 (docs/explanation/facts.md); the years between are drawn so that they agree with that."""
_AROUND: Final = timedelta(days=7)
_NEIGHBOURS: Final = 12
_PARQUET_A_BYTE: Final = 1.0
"""Bytes of parquet for a compressed byte; 0.79 to 1.08 were measured on practice hours of 2011 to 2026."""
_MODERN_SECONDS_A_BYTE: Final = (67e-9, 110e-9)
_TIMELINE_SECONDS_A_BYTE: Final = (2.1e-6, 2.1e-6)
_FIRST_SECONDS_A_BYTE: Final = (260e-9, 260e-9)
"""Seconds of one processor for a compressed byte, e-mails hashed. For hours from 2015 on the first figure is the
benchmark's on a quiet machine, the second was measured on a busy one; the others were measured on a busy one."""
_SECONDS_AN_HOUR: Final = 0.06
_DOWNLOAD_BYTES_A_SECOND: Final = 12_500_000
"""100 Mbit/s, which a download is assumed to have at least where nothing is known of the network."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """The estimated cost of a plan.

    Attributes:
        hours: Hours to fetch.
        source_bytes: Compressed bytes to fetch.
        parquet_bytes: Bytes to store.
        free_bytes: Bytes that are free where the lake is; None in a bucket.
        fastest: Seconds it takes if so many workers are so many times as fast as one.
        slowest: Seconds it takes if several workers are no faster than one in the lake, and if the download has no more
            than 100 Mbit/s for hours of which the lake knows nothing.
        like_neighbours: How many of the hours were judged by others in the lake, not by their year alone.
    """

    hours: int
    source_bytes: int
    parquet_bytes: int
    free_bytes: int | None
    fastest: float
    slowest: float
    like_neighbours: int

    @property
    def fits(self) -> bool:
        """Returns whether the disk of the lake has enough space; True if its free space is unknown."""
        return self.free_bytes is None or self.parquet_bytes <= self.free_bytes


@dataclass(frozen=True, slots=True)
class _Neighbour:
    hour: Hour
    source_bytes: int
    parquet_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Cost:
    """The cost of one hour; seconds of a worker, or of a processor if not measured."""

    source_bytes: int
    parquet_bytes: int
    fastest: float
    slowest: float
    measured: bool


def estimate(
    lake: Lake, todo: Plan, *, workers: int, processors: int | None = None, max_rate: float | None = None
) -> Estimate:
    """Estimates what a plan will cost; it ignores that some hours may not exist.

    Args:
        lake: Whose hours tell how large hours of that time are, and how fast this goes here.
        todo: The plan.
        workers: Hours at once.
        processors: Processors that they share; one each when None.
        max_rate: Bytes a second that may be fetched; None for any number.

    Raises:
        StoreError: If the lake cannot be read.
    """
    known = list(_known_around(lake, todo.hours)) if todo.due else []
    # A recheck downloads nothing as a rule.
    costs = [_cost(hour, _neighbours(known, hour)) for hour in todo.due if hour not in todo.rechecks]
    measured = [cost for cost in costs if cost.measured]
    others = [cost for cost in costs if not cost.measured]
    workers = max(1, min(workers, len(costs)))
    at_once = min(workers, processors or workers)
    download = sum(cost.source_bytes for cost in others) / _DOWNLOAD_BYTES_A_SECOND
    fastest = sum(cost.fastest for cost in measured) / workers + sum(cost.fastest for cost in others) / at_once
    slowest = sum(cost.slowest for cost in measured) + max(sum(cost.slowest for cost in others) / at_once, download)
    source_bytes = sum(cost.source_bytes for cost in costs)
    least = 0 if max_rate is None else source_bytes / max_rate
    return Estimate(
        hours=len(costs),
        source_bytes=source_bytes,
        parquet_bytes=sum(cost.parquet_bytes for cost in costs),
        free_bytes=None if gcs.is_address(lake.address) else free_bytes(Path(lake.address)),
        fastest=max(fastest, least),
        slowest=max(slowest, least),
        like_neighbours=len(measured),
    )


def _cost(hour: Hour, neighbours: Sequence[_Neighbour]) -> _Cost:
    """Estimates an hour from its neighbours in the lake, or from its year if there are none."""
    if not neighbours:
        size = size_by_year(hour)
        fastest, slowest = (size * seconds + _SECONDS_AN_HOUR for seconds in _seconds_a_byte(hour))
        return _Cost(size, round(size * _PARQUET_A_BYTE), fastest, slowest, measured=False)
    seconds = sorted(one.seconds for one in neighbours)
    return _Cost(
        round(median(one.source_bytes for one in neighbours)),
        round(median(one.parquet_bytes for one in neighbours)),
        seconds[len(seconds) // 4],
        seconds[3 * len(seconds) // 4],
        measured=True,
    )


def _seconds_a_byte(hour: Hour) -> tuple[float, float]:
    if hour < PACIFIC_HOURS.first:
        return _FIRST_SECONDS_A_BYTE
    return _TIMELINE_SECONDS_A_BYTE if hour <= PACIFIC_HOURS.last else _MODERN_SECONDS_A_BYTE


def size_by_year(hour: Hour) -> int:
    """Returns the typical number of compressed bytes of an hour of that year."""
    return _BYTES_BY_YEAR.get(hour.start.year, _BYTES_BY_YEAR[max(_BYTES_BY_YEAR)])


def _known_around(lake: Lake, hours: HourRange) -> Iterable[_Neighbour]:
    first = max(hours.first.start - _AROUND, FIRST_HOUR.start)
    around = HourRange(Hour(first), Hour(hours.last.start + _AROUND))
    for hour, known in with_known(lake, around):
        if known is not None and known.source_bytes and known.parquet_bytes and known.seconds is not None:
            yield _Neighbour(hour, known.source_bytes, known.parquet_bytes, known.seconds)


def _neighbours(known: Sequence[_Neighbour], hour: Hour) -> list[_Neighbour]:
    """Returns the nearest known hours on both sides, within a limit."""
    at = bisect_left(known, hour, key=lambda one: one.hour)
    near = known[max(0, at - _NEIGHBOURS) : at + _NEIGHBOURS]
    return [one for one in near if abs(one.hour.start - hour.start) <= _AROUND]
