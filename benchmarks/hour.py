"""One modern hour from gzip to parquet: this against DuckDB, as whole processes, in turn.

Usage: ``make bench``, or ``python -m benchmarks.hour [--pairs N] [--quick]``. What is measured, and what must hold,
is in ``README.md`` beside this file, whose results this script writes. It ends with 1 when a "must" is not met.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    measure,
    positive,
    print_grids,
    write_page,
)

_HOUR: Final = "2024-05-21-15"
_EVENTS: Final = 300_000
_BIG_EVENTS: Final = 1_000_000
_QUICK_EVENTS: Final = (2_000, 6_000)
_LEAST_PAIRS: Final = 5
_OURS: Final = "this, e-mails kept"
_HASHED: Final = "this, e-mails hashed"
_PEER: Final = "DuckDB"
_BIG: Final = "this, the large hour"
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Run:
    """What one process took (seconds and bytes), and the bytes of the parquet file it made."""

    wall: float
    cpu: float
    peak: int
    file: int


Measure = Callable[[Run], float]
_MEASURES: Final[dict[str, Measure]] = {
    "wall": lambda run: run.wall,
    "CPU": lambda run: run.cpu,
    "peak memory": lambda run: run.peak,
    "file": lambda run: run.file,
}


@dataclass(frozen=True, slots=True)
class Ratio:
    """One measure of a contender over that of a peer, round by round.

    Attributes:
        contender: Who.
        peer: Against whom.
        measure: Which measure.
        values: One ratio a round.
        must: The most that the median may be; None where nothing is promised.
    """

    contender: str
    peer: str
    measure: str
    values: list[float]
    must: float | None

    @property
    def median(self) -> float:
        """The ratio that counts."""
        return statistics.median(self.values)

    @property
    def met(self) -> bool:
        """Whether what must hold does."""
        return self.must is None or self.median <= self.must


_MUSTS: Final[Sequence[tuple[str, str, str, float | None]]] = (
    (_OURS, _PEER, "wall", 0.75),
    (_OURS, _PEER, "CPU", None),
    (_OURS, _PEER, "peak memory", 0.25),
    (_OURS, _PEER, "file", 1.05),
    (_HASHED, _PEER, "wall", None),
    (_HASHED, _PEER, "CPU", None),
    (_HASHED, _PEER, "peak memory", None),
    (_HASHED, _PEER, "file", None),
    (_BIG, _OURS, "peak memory", 1.2),
)


@dataclass(frozen=True, slots=True)
class Contender:
    """A program and the hour it is given.

    Attributes:
        name: What it is called in the tables.
        command: Makes its command line, given an empty folder for what it writes.
    """

    name: str
    command: Callable[[Path], list[str]]


def main() -> int:
    """Measures, prints, and writes the page."""
    arguments = _arguments()
    console = Console(stderr=True, markup=False, highlight=False)
    quick: bool = arguments.quick
    events, big_events = _QUICK_EVENTS if quick else (arguments.events, _BIG_EVENTS)
    cache: Path = arguments.cache.resolve()
    try:
        contenders = _contenders(_provide(events, cache, console), _provide(big_events, cache, console))
        _check_same(contenders, cache, console)
        rounds = list(_rounds(contenders, 1 if quick else arguments.pairs, cache, console))
    except BenchmarkError as error:
        console.print(f"error: {error}")
        return 1
    ratios = [_ratio(rounds, *must) for must in _MUSTS]
    grids = _runs_grid(rounds, events, big_events), _ratios_grid(ratios)
    print_grids(grids)
    if quick or events != _EVENTS or len(rounds) < _LEAST_PAIRS:
        print("This was a trial: nothing is judged, and the page stays as it is.")
        return 0
    write_page("one hour", f"make bench ARGS='--pairs {len(rounds)}'", grids)
    return int(not all(ratio.met for ratio in ratios))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure one hour against DuckDB.")
    parser.add_argument(
        "--pairs", type=positive, default=_LEAST_PAIRS, metavar="N", help="rounds after the warm-up (%(default)s)"
    )
    parser.add_argument(
        "--events", type=positive, default=_EVENTS, metavar="N", help="events of the hour (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help="one round of tiny hours, to see that everything works")
    parser.add_argument(
        "--cache", type=Path, default=CACHE, metavar="DIR", help="where hours are kept (build/benchmarks)"
    )
    return parser.parse_args()


def _provide(events: int, cache: Path, console: Console) -> Path:
    """Returns the folder with the hour of so many events; it is made unless it is there already."""
    folder = cache / str(events)
    console.print(f"the hour of {events:,} events, made now unless it is there")
    made = ("practice", "make", _HOUR, _HOUR, "--out", str(folder), "--events", str(events))
    folder.mkdir(parents=True, exist_ok=True)
    measure([*ETL, *made], cache)
    return folder


def _contenders(archive: Path, big_archive: Path) -> list[Contender]:
    def ours(source: Path, emails: str) -> Callable[[Path], list[str]]:
        fixed = ("run", "--at", _HOUR, "--source", str(source), "--emails", emails, "--force")
        return lambda place: [*ETL, *fixed, "--lake", str(place)]

    def duckdb(place: Path) -> list[str]:
        hour = archive / f"{_HOUR}.json.gz"
        return [sys.executable, str(HERE / "duckdb_hours.py"), str(place), str(hour)]

    return [
        Contender(_OURS, ours(archive, "keep")),
        Contender(_PEER, duckdb),
        Contender(_HASHED, ours(archive, "hash")),
        Contender(_BIG, ours(big_archive, "keep")),
    ]


def _check_same(contenders: Sequence[Contender], cache: Path, console: Console) -> None:
    """Warms up, and refuses to compare programs that do not do the same work."""
    console.print("warm-up: each once, then the rows of both are compared")
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        files: dict[str, Path] = {}
        for number, contender in enumerate(contenders):
            place = Path(folder, str(number))
            place.mkdir()
            measure(contender.command(place), place)
            files[contender.name] = _parquet_in(place)
        measure([sys.executable, str(HERE / "same_rows.py"), str(files[_OURS]), str(files[_PEER])], Path(folder))


def _rounds(contenders: Sequence[Contender], pairs: int, cache: Path, console: Console) -> Iterator[Mapping[str, Run]]:
    """Yields what every contender took, round by round; every other round goes the other way about."""
    for number in range(pairs):
        runs: dict[str, Run] = {}
        for contender in contenders[:: -1 if number % 2 else 1]:
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                used = measure(contender.command(Path(folder)), Path(folder))
                size = _parquet_in(Path(folder)).stat().st_size
            runs[contender.name] = Run(used.wall, used.cpu, used.peak, size)
            console.print(f"round {number + 1} of {pairs}: {contender.name}: {used.wall:.2f} s")
        yield runs


def _parquet_in(folder: Path) -> Path:
    found = [path for path in folder.rglob("*.parquet") if "quarantine" not in path.parts]
    if len(found) != 1:
        raise BenchmarkError(f"{len(found)} parquet files were made, not one")
    return found[0]


def _ratio(rounds: Sequence[Mapping[str, Run]], contender: str, peer: str, measure: str, must: float | None) -> Ratio:
    take = _MEASURES[measure]
    return Ratio(contender, peer, measure, [take(runs[contender]) / take(runs[peer]) for runs in rounds], must)


def _runs_grid(rounds: Sequence[Mapping[str, Run]], events: int, big_events: int) -> Grid:
    rows = []
    for name in rounds[0]:
        runs = [of_round[name] for of_round in rounds]
        median = {measure: statistics.median(map(take, runs)) for measure, take in _MEASURES.items()}
        rows.append(
            (
                name,
                f"{big_events if name == _BIG else events:,}",
                f"{median['wall']:.2f} s",
                f"{median['CPU']:.2f} s",
                f"{median['peak memory'] / _MIB:,.0f} MiB",
                f"{median['file'] / 1e6:,.1f} MB",
            )
        )
    return Grid(("median of all rounds", "events", *_MEASURES), rows, left=1)


def _ratios_grid(ratios: Sequence[Ratio]) -> Grid:
    rows = [
        (
            f"{ratio.contender} : {ratio.peer}",
            ratio.measure,
            f"{ratio.median:.2f}",
            f"{min(ratio.values):.2f}",
            f"{max(ratio.values):.2f}",
            "" if ratio.must is None else f"{ratio.must:.2f}",
            "" if ratio.must is None else ("yes" if ratio.met else "NO"),
        )
        for ratio in ratios
    ]
    return Grid(("ratio, round by round", "of", "median", "least", "most", "must be at most", "met"), rows, left=2)


if __name__ == "__main__":
    sys.exit(main())
