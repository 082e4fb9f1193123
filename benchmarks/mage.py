"""What a Mage server adds to an hour: run by run against the bare command, and a modern hour's memory.

Usage: ``python -m benchmarks.mage [--hours N] [--events N] [--rounds N]``. It starts a real server on made-up hours
that lie in a folder, so that no network is measured. The memory is that of all the server's processes together, shared
pages counted once (PSS). It ends with 1 when the modern hour takes 2 GB or more.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import ETL, Grid, environment, measure, positive, print_grids
from etl.hours import Hour, HourRange
from etl.mage import server
from etl.mage.client import MageClient
from etl.practice.generator import write_archive

_FIRST: Final = Hour.parse("2011-04-05-0")
_MODERN: Final = Hour.parse("2024-05-21-0")
_SMALL_EVENTS: Final = 1_600
_MOST_BYTES: Final = 2 * 10**9
_AT_ONCE: Final = 4
_SAMPLE_SECONDS: Final = 0.1


class _Memory(threading.Thread):
    """Watches what a process and all below it have in memory."""

    def __init__(self, leader: int) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._leader = leader
        self._ending = threading.Event()

    def run(self) -> None:
        while not self._ending.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, sum(map(_pss, _tree(self._leader))))

    def end(self) -> None:
        """Stops watching."""
        self._ending.set()
        self.join()


@contextmanager
def _watching(leader: int) -> Iterator[_Memory]:
    memory = _Memory(leader)
    memory.start()
    try:
        yield memory
    finally:
        memory.end()


def _tree(leader: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents.setdefault(int(stat.read_text().rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, waiting = [leader], [leader]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def _pss(process: int) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) << 10
    return 0


def _backfill(client: MageClient, hours: HourRange) -> tuple[float, list[float]]:
    """Seconds from the request to the end of all runs, and of each run by itself."""
    began = time.perf_counter()
    number = client.start_backfill(hours)
    counts = client.follow(number, lambda _: None, every=0.1)
    wall = time.perf_counter() - began
    if counts.statuses != {"completed": len(hours)}:
        sys.exit(f"not all runs ended well: {counts.statuses}")
    return wall, [_seconds(run) for run in client.runs(number)]


def _seconds(run: dict[str, Any]) -> float:
    started, ended = (datetime.fromisoformat(str(run[name])) for name in ("started_at", "completed_at"))
    return (ended - started).total_seconds()


def _bare(folder: Path, name: str, *words: object) -> tuple[float, int]:
    """Seconds and peak memory of the command without Mage."""
    lake = folder / f"bare-{name}"
    used = measure([*ETL, *map(str, words), "--source", str(folder / "files"), "--lake", str(lake)], folder)
    return used.wall, used.peak


def main() -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=positive, default=24, help="Small hours to backfill.")
    parser.add_argument("--events", type=positive, default=300_000, help="Events of the modern hour.")
    parser.add_argument("--rounds", type=positive, default=5, help="How often one small hour is run.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        singles = HourRange(_FIRST + options.hours, _FIRST + (options.hours + options.rounds - 1))
        many = HourRange(_FIRST, _FIRST + (options.hours - 1))
        write_archive([*many, *singles], folder / "files", events=_SMALL_EVENTS)
        write_archive([_MODERN, _MODERN + 1], folder / "files", events=options.events)
        rows, peak = _measured(folder, many, singles)
        print_grids([Grid(("what", "the command", "Mage", "Mage, each run by itself"), rows, 1)])
        print(f"peak of the server's processes together in the modern hour: {peak / 1e6:,.0f} MB")
    return int(peak >= _MOST_BYTES)


def _measured(folder: Path, many: HourRange, singles: HourRange) -> tuple[list[tuple[str, ...]], int]:
    alone = [_bare(folder, str(hour), "run", "--at", hour)[0] for hour in singles]
    all_of_them = _bare(folder, "many", "backfill", many.first, many.last, "--workers", _AT_ONCE)[0]
    modern, modern_peak = _bare(folder, "modern", "run", "--at", _MODERN)
    plan = server.ServerOptions(
        project=server.find_project(),
        folder=folder / "server",
        port=16_799,
        schedules=True,
        spool=folder / "spool",
        log=folder / "log",
    )
    given = environment() | {
        "GHARCHIVE_SOURCES": str(folder / "files"),
        "GHARCHIVE_LAKE": str(folder / "lake"),
        "GHARCHIVE_WAREHOUSE": str(folder / "warehouse"),
        "DEFAULT_OWNER_PASSWORD": "of this measurement",
    }
    with server.serving(plan, given) as (_, process):
        server.await_health(plan, process)
        client = MageClient(plan.address, server.OWNER, given["DEFAULT_OWNER_PASSWORD"])
        by_mage = [_backfill(client, HourRange(hour, hour)) for hour in singles]
        whole, each = _backfill(client, many)
        modern_wall, modern_runs = _backfill(client, HourRange(_MODERN, _MODERN))
        # Another hour: to look at the memory so closely costs time.
        with _watching(process.pid) as memory:
            _backfill(client, HourRange(_MODERN + 1, _MODERN + 1))
    return [
        (
            "one small hour, from asking to the end, s",
            f"{statistics.median(alone):.1f}",
            f"{statistics.median(wall for wall, _ in by_mage):.1f}",
            f"{statistics.median(run for _, runs in by_mage for run in runs):.1f}",
        ),
        (f"{len(many)} small hours, {_AT_ONCE} at once, s", f"{all_of_them:.1f}", f"{whole:.1f}", _span(each)),
        ("a modern hour, s", f"{modern:.1f}", f"{modern_wall:.1f}", f"{modern_runs[0]:.1f}"),
        ("its memory, MB", f"{modern_peak / 1e6:,.0f}", f"{memory.peak / 1e6:,.0f}", ""),
    ], memory.peak


def _span(seconds: list[float]) -> str:
    return f"{min(seconds):.1f} to {max(seconds):.1f}"


if __name__ == "__main__":
    sys.exit(main())
