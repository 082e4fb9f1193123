"""The warehouse: a build of a day against a bare copy of its bytes, and one more hour on lakes of growing age.

Usage: ``make bench-warehouse``, or ``python -m benchmarks.warehouse [--quick]``. What is measured, and what must hold,
is in ``README.md`` beside this file, whose results this script writes. It ends with 1 when a "must" is not met.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from benchmarks.measuring import (
    CACHE,
    ETL,
    HERE,
    BenchmarkError,
    Grid,
    Usage,
    hours_from,
    measure,
    medians,
    positive,
    print_grids,
    provide_hours,
    write_page,
)
from etl.archive.fetch import open_sources
from etl.archive.retry import FetchPolicy
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions, run_hour
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.practice.generator import write_archive

_MOST_OF_COPY: Final = 1.5
_MOST_GROWTH: Final = 1.25
"""How much longer one more hour may take on the oldest lake than on the youngest: clocks are no finer here."""
_MODERN_FIRST: Final = Hour.of(2024, 5, 21, 8)
_SMALL_FIRST: Final = Hour.of(2018, 1, 1, 0)
_HOURS_OF_DAY: Final = (0, 6, 12, 18)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        modern_hours: Hours of one day of today, for the build against a bare copy.
        modern_events: Events in each.
        days: Days that the lakes have which get one more hour, four small hours a day.
        small_events: Events in each of those.
    """

    modern_hours: int = 8
    modern_events: int = 300_000
    days: tuple[int, ...] = (1, 30, 365)
    small_events: int = 50


_QUICK: Final = Sizes(modern_hours=2, modern_events=500, days=(1, 2), small_events=20)


def main() -> int:
    """Measures, prints, and writes the page."""
    arguments = _arguments()
    console = Console(stderr=True, markup=False, highlight=False)
    sizes = _QUICK if arguments.quick else Sizes()
    try:
        day, ratio = _against_copy(sizes, arguments.pairs, arguments.cache.resolve(), console)
        growth, grown = _one_more_hour(sizes, arguments.pairs, arguments.cache.resolve(), console)
    except BenchmarkError as error:
        console.print(f"error: {error}")
        return 1
    print_grids((day, growth))
    if arguments.quick:
        print("This was a trial: nothing is judged, and the page stays as it is.")
        return 0
    write_page("the warehouse", f"make bench-warehouse ARGS='--pairs {arguments.pairs}'", (day, growth))
    return int(ratio > _MOST_OF_COPY or grown > _MOST_GROWTH)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure builds of the warehouse.")
    parser.add_argument("--pairs", type=positive, default=3, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny hours, to see that everything works")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="where hours are kept")
    return parser.parse_args()


def _against_copy(sizes: Sizes, pairs: int, cache: Path, console: Console) -> tuple[Grid, float]:
    """Returns the table, and the median ratio of wall times."""
    hours = hours_from(_MODERN_FIRST, sizes.modern_hours)
    archive = provide_hours(hours, sizes.modern_events, cache, console)
    ours, copies = list[Usage](), list[Usage]()
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        place = Path(folder)
        range_ = (str(hours.first), str(hours.last))
        measure([*ETL, "backfill", *range_, "--source", str(archive), "--emails", "keep"], place)
        for number in range(pairs):
            copies.append(_copied(place))
            ours.append(measure([*ETL, "build", "--full"], place))
            shutil.rmtree(place / "warehouse")
            console.print(f"round {number + 1} of {pairs}: {ours[-1].wall:.1f} s, a copy {copies[-1].wall:.1f} s")
    ratio = statistics.median(own.wall / copy.wall for own, copy in zip(ours, copies, strict=True))
    events = sizes.modern_hours * sizes.modern_events
    rows = [
        ("`python etl build`: all tables", *medians(ours), f"{ratio:.2f}", f"{_MOST_OF_COPY:.2f}"),
        ("DuckDB's COPY of the same events", *medians(copies), "", ""),
    ]
    return Grid(
        (f"{events:,} events of a day", "wall", "CPU", "memory", "wall, of the copy's", "at most"), rows, 1
    ), ratio


def _copied(place: Path) -> Usage:
    target = place / "copy.parquet"
    used = measure([sys.executable, str(HERE / "duckdb_copy.py"), str(place / "lake"), str(target)], place)
    target.unlink()
    return used


def _one_more_hour(sizes: Sizes, pairs: int, cache: Path, console: Console) -> tuple[Grid, float]:
    """Returns the table, and how many times as long it took on the oldest lake as on the youngest."""
    rows, medians_of_ages = [], []
    for days in sizes.days:
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            rounds = _added(Path(folder), days, sizes.small_events, pairs)
        medians_of_ages.append(statistics.median(used.wall for used in rounds))
        console.print(f"one more hour on {days:,} days: {medians_of_ages[-1]:.2f} s")
        rows.append((f"{days:,}", f"{days * len(_HOURS_OF_DAY):,}", f"{medians_of_ages[-1]:.2f} s"))
    grown = medians_of_ages[-1] / medians_of_ages[0]
    rows.append(("last to first", "", f"{grown:.2f}, at most {_MOST_GROWTH:.2f}"))
    return Grid(("days in the lake", "hours in it", "a build after one more hour"), rows, left=0), grown


def _added(place: Path, days: int, events: int, rounds: int) -> list[Usage]:
    """Builds a lake of so many days, then measures builds after one more hour each."""
    there = [_SMALL_FIRST + (24 * day + hour) for day in range(days) for hour in _HOURS_OF_DAY]
    more = [there[-1] + step for step in range(1, rounds + 1)]
    write_archive([*there, *more], place / "archive", events=events)
    _run(place, there)
    measure([*ETL, "build"], place)
    used = []
    for hour in more:
        _run(place, [hour])
        used.append(measure([*ETL, "build"], place))
    return used


def _run(place: Path, hours: Sequence[Hour] | HourRange) -> None:
    lake, sources = Lake.at(str(place / "lake")), open_sources([str(place / "archive")], FetchPolicy())
    for hour in hours:
        run_hour(hour, lake=lake, sources=sources, options=RunOptions(emails=EmailPolicy.of("hash")))


if __name__ == "__main__":
    sys.exit(main())
