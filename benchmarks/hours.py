"""Many hours: a backfill against DuckDB, against its own bare work, and how it grows.

Usage: ``make bench-hours``, or ``python benchmarks/hours.py [--quick]``. What is measured, and what must hold, is in
``README.md`` beside this file, whose results this script writes. It ends with 1 when a "must" is not met.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
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
    environment,
    hours_from,
    measure,
    medians,
    positive,
    print_grids,
    provide_hours,
    write_page,
)
from etl.hours import Hour, HourRange

_WORKERS: Final = 2
_MOST_OF_DUCKDB: Final = 0.55
_MOST_OVERHEAD_MS: Final = 25.0
_SMALL_FIRST: Final = Hour.of(2011, 3, 1, 0)
_MODERN_FIRST: Final = Hour.of(2024, 5, 21, 8)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        modern_hours: Hours of today's size, against DuckDB.
        modern_events: Events in each.
        small_hours: Hours of 2011's size, against the bare work.
        small_events: Events in each.
        growth: How many small hours the backfills have that show how it grows.
    """

    modern_hours: int = 8
    modern_events: int = 300_000
    small_hours: int = 500
    small_events: int = 1_600
    growth: tuple[int, ...] = (1, 10, 100, 1_000)


_QUICK: Final = Sizes(modern_hours=2, modern_events=500, small_hours=4, small_events=50, growth=(1, 3))


def main() -> int:
    """Measures, prints, and writes the page."""
    arguments = _arguments()
    console = Console(stderr=True, markup=False, highlight=False)
    sizes = _QUICK if arguments.quick else Sizes()
    cache: Path = arguments.cache.resolve()
    try:
        modern = provide_hours(hours_from(_MODERN_FIRST, sizes.modern_hours), sizes.modern_events, cache, console)
        small_hours = max(sizes.small_hours, *sizes.growth)
        small = provide_hours(hours_from(_SMALL_FIRST, small_hours), sizes.small_events, cache, console)
        duckdb, ratio = _against_duckdb(modern, sizes.modern_hours, arguments.pairs, cache, console)
        bare, overhead = _against_bare_work(small, sizes.small_hours, arguments.pairs, cache, console)
        growth = _growth(small, sizes.growth, cache, console)
    except BenchmarkError as error:
        console.print(f"error: {error}")
        return 1
    grids = duckdb, bare, growth
    print_grids(grids)
    if arguments.quick:
        print("This was a trial: nothing is judged, and the page stays as it is.")
        return 0
    write_page("many hours", f"make bench-hours ARGS='--pairs {arguments.pairs}'", grids)
    return int(ratio > _MOST_OF_DUCKDB or overhead > _MOST_OVERHEAD_MS)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure many hours against DuckDB and against the bare work.")
    parser.add_argument("--pairs", type=positive, default=3, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny hours, to see that everything works")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="where hours are kept")
    return parser.parse_args()


def _against_duckdb(archive: Path, hours: int, pairs: int, cache: Path, console: Console) -> tuple[Grid, float]:
    """Returns the table, and the median ratio of wall times."""
    names = [f"{hour}.json.gz" for hour in hours_from(_MODERN_FIRST, hours)]
    ours, theirs = list[Usage](), list[Usage]()
    for number in range(pairs):
        with tempfile.TemporaryDirectory(dir=cache) as place:
            command = [sys.executable, str(HERE / "duckdb_hours.py"), place, *(str(archive / name) for name in names)]
            theirs.append(measure(command, Path(place)))
        ours.append(
            _backfill(archive, hours_from(_MODERN_FIRST, hours), cache, "--workers", str(_WORKERS), "--emails", "keep")
        )
        console.print(f"round {number + 1} of {pairs}: {ours[-1].wall:.1f} s, DuckDB {theirs[-1].wall:.1f} s")
    ratio = statistics.median(own.wall / peer.wall for own, peer in zip(ours, theirs, strict=True))
    rows = [
        (f"this, {_WORKERS} workers, e-mails kept", *medians(ours), f"{ratio:.2f}", f"{_MOST_OF_DUCKDB:.2f}"),
        ("DuckDB, one process", *medians(theirs), "", ""),
    ]
    header = (f"{hours} modern hours", "wall", "CPU", "largest process", "wall, of DuckDB's", "must be at most")
    return Grid(header, rows, left=1), ratio


def _against_bare_work(archive: Path, count: int, pairs: int, cache: Path, console: Console) -> tuple[Grid, float]:
    """Returns the table, and the median overhead of an hour in milliseconds."""
    hours = hours_from(_SMALL_FIRST, count)
    bare, ours = list[float](), list[float]()
    for number in range(pairs):
        bare.append(_bare_seconds(archive, hours, cache))
        one = _backfill(archive, hours_from(_SMALL_FIRST, 1), cache, "--workers", "1").wall
        ours.append(_backfill(archive, hours, cache, "--workers", "1").wall - one)
        console.print(f"round {number + 1} of {pairs}: {ours[-1]:.1f} s, bare work {bare[-1]:.1f} s")
    each = [(own - work) / (count - 1) * 1000 for own, work in zip(ours, bare, strict=True)]
    overhead = statistics.median(each)
    row = (
        f"{count} hours of 2011's size, 1 worker",
        f"{statistics.median(ours) / (count - 1) * 1000:.1f} ms",
        f"{statistics.median(bare) / (count - 1) * 1000:.1f} ms",
        f"{overhead:.1f} ms",
        f"{_MOST_OVERHEAD_MS:.0f} ms",
    )
    header = ("an hour, after the first", "backfill", "bare work", "overhead", "must be at most")
    return Grid(header, [row], left=1), overhead


def _bare_seconds(archive: Path, hours: HourRange, cache: Path) -> float:
    with tempfile.TemporaryDirectory(dir=cache) as place:
        arguments = (str(archive), str(Path(place, "lake")), str(hours.first), str(hours.last))
        done = subprocess.run(
            [sys.executable, str(HERE / "bare_hours.py"), *arguments],
            env=environment(),
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        raise BenchmarkError(f"bare_hours.py ended with {done.returncode}: {done.stderr.strip()}")
    return float(done.stdout)


def _growth(archive: Path, counts: Sequence[int], cache: Path, console: Console) -> Grid:
    rows = []
    for count in counts:
        used = _backfill(archive, hours_from(_SMALL_FIRST, count), cache, "--workers", str(_WORKERS))
        console.print(f"{count:,} hours: {used.wall:.1f} s")
        rows.append((f"{count:,}", *medians([used]), f"{used.wall / count * 1000:,.0f} ms"))
    return Grid(
        (f"hours of 2011's size, {_WORKERS} workers", "wall", "CPU", "largest process", "an hour"), rows, left=0
    )


def _backfill(archive: Path, hours: HourRange, cache: Path, *flags: str) -> Usage:
    with tempfile.TemporaryDirectory(dir=cache) as place:
        fixed = ("backfill", str(hours.first), str(hours.last), "--source", str(archive), "--lake", "lake")
        return measure([*ETL, *fixed, *flags], Path(place))


if __name__ == "__main__":
    sys.exit(main())
