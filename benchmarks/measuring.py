"""What the benchmarks share: running whole processes, tables, and the page that results are written to.

The process that measures stays small on purpose: Linux counts the memory of a parent into the peak of the child it
starts.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table

from etl.hours import Hour, HourRange

HERE: Final = Path(__file__).resolve().parent
ROOT: Final = HERE.parent
CACHE: Final = ROOT / "build" / "benchmarks"
ETL: Final = (sys.executable, str(ROOT / "etl"))
"""How our program is started."""
_PAGE: Final = HERE / "README.md"
_MIB: Final = 1 << 20
_PR_SET_CHILD_SUBREAPER: Final = 36


class BenchmarkError(Exception):
    """A run that failed, or a comparison that would not be fair."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process took.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of all its threads and of the processes it started, in programs and in the kernel.
        peak: Most bytes of memory at once, of the largest of these processes.
    """

    wall: float
    cpu: float
    peak: int


@dataclass(frozen=True, slots=True)
class Grid:
    """A table, for a terminal and for a page.

    Attributes:
        header: Names of the columns; all but the first ``left`` of them hold numbers.
        rows: The cells.
        left: How many columns hold text.
    """

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    left: int

    def for_terminal(self) -> Table:
        """Lays it out with rich."""
        table = Table(box=box.SIMPLE_HEAD)
        for number, name in enumerate(self.header):
            table.add_column(name, justify="left" if number < self.left else "right")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """Writes it for a page."""
        marks = tuple("---" if number < self.left else "--:" for number in range(len(self.header)))
        return "".join(f"| {' | '.join(cells)} |\n" for cells in (self.header, marks, *self.rows))


def positive(text: str) -> int:
    """Reads a number from the command line that has to be 1 or more."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("it must be 1 or more")
    return number


def measure(command: Sequence[str], place: Path) -> Usage:
    """Runs a process to its end.

    Args:
        command: What to run.
        place: The folder it runs in.

    Returns:
        What it took.

    Raises:
        BenchmarkError: If it fails.
    """
    _adopt_orphans()
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=place, env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            said = output.read().decode(errors="replace").strip()
            raise BenchmarkError(f"{Path(command[1]).name} ended with {process.returncode}: {said}")
    used = [usage, *_orphans()]
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    cpu = sum(each.ru_utime + each.ru_stime for each in used)
    return Usage(wall, cpu, max(each.ru_maxrss for each in used) * unit)


def _adopt_orphans() -> None:
    """Makes those of a measured process that outlive it by an instant children of this one, to count them, too.

    The process that workers are forked from is waited for by nobody.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _orphans() -> Iterator[resource.struct_rusage]:
    """Waits for them; there are no other children."""
    with suppress(ChildProcessError):
        while True:
            yield os.wait4(-1, 0)[2]


def environment() -> dict[str, str]:
    """This process's environment without settings of ours or of Python, so that everybody measures the defaults.

    One matters a lot: where Python may not cache bytecode, every start compiles all libraries again.
    """
    return {name: value for name, value in os.environ.items() if not name.startswith(("GHARCHIVE_", "PYTHON"))}


def _setting(command: str) -> str:
    """Says when, on what and how; nothing that names a machine or a person."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    programs = ", ".join(
        f"{name} {version(name)}" for name in ("gharchive-etl", "duckdb", "pyarrow", "isal", "msgspec")
    )
    return (
        f"Measured on {datetime.now(UTC):%Y-%m-%d} with `{command}`: {_cpu_model()},"
        f" {os.cpu_count()} cores, {memory:.0f} GiB of memory, {platform.system()}; Python {platform.python_version()},"
        f" {programs}.\n"
    )


def _cpu_model() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.is_file():
        for line in facts.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def print_grids(grids: Sequence[Grid]) -> None:
    """Prints tables for a person, or for a file."""
    out = Console(width=None if sys.stdout.isatty() else 120)
    for grid in grids:
        out.print(grid.for_terminal())


def write_page(section: str, command: str, grids: Sequence[Grid]) -> None:
    """Puts the results of one benchmark between the page's two marks for it.

    Args:
        section: Which benchmark.
        command: How it was run.
        grids: What it found.
    """
    results = "\n".join((_setting(command), *(grid.markdown() for grid in grids)))
    first, last = (f"<!-- results of {section}: {edge} -->\n" for edge in ("begin", "end"))
    page = _PAGE.read_text(encoding="utf-8")
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not begin or not end:
        raise BenchmarkError(f"the page has lost the marks that the results of {section} stand between")
    _PAGE.write_text(f"{before}{begin}\n{results}\n{end}{after}", encoding="utf-8")


def hours_from(first: Hour, count: int) -> HourRange:
    """Returns so many hours from one on."""
    return HourRange(first, first + (count - 1))


def provide_hours(hours: HourRange, events: int, cache: Path, console: Console) -> Path:
    """Returns the folder with hours of so many events; they are made unless they are there already."""
    folder = cache / f"{len(hours)}x{events}"
    console.print(f"{len(hours):,} hours of {events:,} events, made now unless they are there")
    folder.mkdir(parents=True, exist_ok=True)
    made = ("practice", "make", str(hours.first), str(hours.last), "--out", str(folder), "--events", str(events))
    measure([*ETL, *made], cache)
    return folder


def medians(runs: Sequence[Usage]) -> tuple[str, str, str]:
    """Returns wall time, CPU time and memory of some runs as text."""
    return (
        f"{statistics.median(run.wall for run in runs):.1f} s",
        f"{statistics.median(run.cpu for run in runs):.1f} s",
        f"{statistics.median(run.peak for run in runs) / _MIB:,.0f} MiB",
    )
