"""Spark: the tables of some days, and one more hour of them, against the two jobs this descends from.

Usage: ``make bench-spark``, or ``python -m benchmarks.spark [--quick]``. What is measured is in ``README.md`` beside
this file, whose results this script writes.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
from rich.console import Console

from benchmarks.measuring import (
    CACHE,
    ETL,
    HERE,
    BenchmarkError,
    Grid,
    hours_from,
    measure,
    positive,
    print_grids,
    provide_hours,
    write_page,
)
from etl.hours import Hour, HourRange
from etl.warehouse.duckdb_views import opened
from etl.warehouse.table_state import Warehouse

_FIRST: Final = Hour.of(2024, 5, 20, 18)
"""So that the hour that is added is the first of another day, as it would be of a lake of many."""
_PANDAS: Final = "pandas, windows over all rows: `events` alone"
_PLAIN: Final = "Spark, windows over all rows: `events` alone"
_PEERS: Final = {_PANDAS: "pandas_window.py", _PLAIN: "plain_spark.py"}
_OURS: Final = "`python etl build --engine spark`: all tables, checked"
_ROWS: Final = "SELECT count(*), count(DISTINCT last_actor_login), count(DISTINCT last_repo_name) FROM"


@dataclass(frozen=True, slots=True)
class Turn:
    """What one of them took in one round.

    Attributes:
        what: Which one.
        first: Seconds for all hours.
        more: Seconds for one more.
    """

    what: str
    first: float
    more: float


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured.

    Attributes:
        hours: Hours in the lake, one after the other, before one more is added.
        events: Events in each.
    """

    hours: int = 6
    events: int = 100_000


_QUICK: Final = Sizes(hours=1, events=200)


def main() -> int:
    """Measures, prints, and writes the page."""
    arguments = _arguments()
    console = Console(stderr=True, markup=False, highlight=False)
    sizes = _QUICK if arguments.quick else Sizes()
    cache: Path = arguments.cache.resolve()
    try:
        archive = provide_hours(hours_from(_FIRST, sizes.hours + 1), sizes.events, cache, console)
        rounds = [list(_round(archive, sizes, cache, console)) for _ in range(arguments.pairs)]
    except BenchmarkError as error:
        console.print(f"error: {error}")
        return 1
    grid = _grid(rounds, sizes)
    print_grids([grid])
    if arguments.quick:
        print("This was a trial: the page stays as it is.")
        return 0
    write_page("Spark", f"make bench-spark ARGS='--pairs {arguments.pairs}'", [grid])
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure building with Spark against the jobs it descends from.")
    parser.add_argument("--pairs", type=positive, default=3, metavar="N", help="rounds (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="tiny hours, to see that everything works")
    parser.add_argument("--cache", type=Path, default=CACHE, metavar="DIR", help="where hours are kept")
    return parser.parse_args()


def _round(archive: Path, sizes: Sizes, cache: Path, console: Console) -> Iterator[Turn]:
    """Has everybody make the table of all hours, and again when there is one more."""
    whole = hours_from(_FIRST, sizes.hours)
    with tempfile.TemporaryDirectory(dir=cache) as name:
        place = Path(name)
        (place / "out").mkdir()
        _fill(place, archive, whole)
        found = {what: run(place) for what, run in _jobs()}
        _compare(place)
        _fill(place, archive, HourRange(whole.last + 1, whole.last + 1))
        for what, run in _jobs():
            more = run(place)
            console.print(f"{what}: {found[what]:.1f} s, one more hour {more:.1f} s")
            yield Turn(what, found[what], more)
        _compare(place)


def _fill(place: Path, archive: Path, hours: HourRange) -> None:
    measure([*ETL, "backfill", str(hours.first), str(hours.last), "--source", str(archive)], place)


def _jobs() -> Iterator[tuple[str, Callable[[Path], float]]]:
    yield _OURS, lambda place: measure([*ETL, "build", "--engine", "spark"], place).wall
    for what, script in _PEERS.items():
        command = [sys.executable, str(HERE / script), "out", "lake"]
        yield what, lambda place, command=command: measure(command, place).wall  # type: ignore[misc]


def _compare(place: Path) -> None:
    """Fails where one of them did other work than the others: other rows, or other newest names.

    Raises:
        BenchmarkError: If so.
    """
    with opened(Warehouse.at(str(place / "warehouse"))) as connection:
        answers = {connection.execute(f"{_ROWS} events").fetchone()}
    with duckdb.connect() as connection:
        for files in ("out/events.parquet", "out/events/*/*.parquet"):
            answers.add(connection.execute(f"{_ROWS} read_parquet($files)", {"files": str(place / files)}).fetchone())
    if len(answers) > 1:
        raise BenchmarkError(f"they did not make the same table: {answers}")


def _grid(rounds: Sequence[Sequence[Turn]], sizes: Sizes) -> Grid:
    turns = {what: [turn for found in rounds for turn in found if turn.what == what] for what in (_OURS, *_PEERS)}
    ratios = {
        peer: statistics.median(own.more / other.more for own, other in zip(turns[_OURS], turns[peer], strict=True))
        for peer in _PEERS
    }
    rows = [
        (
            what,
            f"{statistics.median(turn.first for turn in found):.1f} s",
            f"{statistics.median(turn.more for turn in found):.1f} s",
            f"{ratios[what]:.2f}" if what in ratios else "",
        )
        for what, found in turns.items()
    ]
    what = f"{sizes.hours} hours of {sizes.events:,} events"
    header = (what, "all of them", "one more hour", "we, of that")
    return Grid(header, rows, left=1)


if __name__ == "__main__":
    sys.exit(main())
