"""Soaks a backfill: faults at the source and kills of its processes, until all that can be complete is.

Run it as ``python -m tests.e2e.soak --seed 7 --hours 200 --minutes 10``. The same hours are backfilled twice: by an
undisturbed run, and by runs that meet a fault plan drawn from the seed and that are killed again and again: all
processes at once, one worker, or only the parent. Then ``--refresh`` runs until a whole round met no fault. At the
end every hour of the second lake must hold what the first holds, row by row and in every column.

What a seed decides: the hours, the plan, when whom a kill is to hit. How far a run is by then is the machine's matter,
so two soaks of one seed are alike, not equal.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour, HourRange
from etl.lake.garbage_collection import find_orphans, remove_orphan, take_inventory
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.lake.manifest import Status
from etl.practice import eras
from etl.practice.faults import (
    AnyFault,
    BadHeader,
    Bomb,
    BrokenManifest,
    BrokenOff,
    Changed,
    Corrupt,
    Endless,
    EndlessHead,
    FaultPlan,
    FaultyServer,
    LyingEtag,
    Moved,
    NotFound,
    Page,
    RedirectLoop,
    ServerError,
    Shrunk,
    Slow,
    Stalled,
    TooManyRequests,
    Truncated,
    Unavailable,
    WrongLength,
)
from etl.practice.generator import write_archive
from etl.practice.server import PracticeServer
from tests.e2e import processes
from tests.e2e.running import ROOT, clean_environment

EVENTS: Final = 60
WORKERS: Final = 2
_MIDDLES: Final = (
    Hour.of(2012, 3, 10, 16),  # era A ends, thirteen hours never were, era B begins
    Hour.of(2025, 10, 7, 0),  # era C ends, era D begins
)
_SETTINGS: Final = {
    # A 404 is never final here, so that who meets one asks again.
    "GHARCHIVE_YOUNG_HOURS": "1000000",
    "GHARCHIVE_READ_TIMEOUT": "1",
    "GHARCHIVE_MAX_COMPRESSED_GIB": "0.02",
    "GHARCHIVE_MAX_EXPANDED_GIB": "0.02",
    "GHARCHIVE_BACKFILL_RETRIES": "3",
}
_GOOD: Final = frozenset({ExitCode.OK, ExitCode.INCOMPLETE})
_DUE: Final = frozenset({None, Status.PENDING, Status.FAILED})
"""What a backfill does by itself; a partial hour waits a day, unless `--refresh` is set."""
_VICTIMS: Final = ("all", "all", "worker", "worker", "parent")
_CALM_ROUNDS: Final = 40
_PATIENCE_SECONDS: Final = 600


class SoakError(AssertionError):
    """Something that must not happen has happened."""


@dataclass
class Report:
    """What a soak did.

    Attributes:
        seed: Where its chance came from.
        hours: Hours that were asked for.
        there: How many of them the archive has.
        faults: Faults injected, by kind.
        kills: Kills, by whom they hit.
        runs: How often the program was started against the faulty archive.
        left: Files that killed runs left and that were removed at the end.
        rows: Rows that were compared.
        seconds: How long all took.
    """

    seed: int
    hours: int = 0
    there: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    left: int = 0
    rows: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        faults = ", ".join(f"{kind} {count}" for kind, count in sorted(self.faults.items()))
        kills = ", ".join(f"{whom} {count}" for whom, count in sorted(self.kills.items()))
        return (
            f"soak: {self.hours} hours ({self.there} in the archive), {sum(self.faults.values())} faults ({faults}), "
            f"{self.kills.total()} kills ({kills}), {self.runs} runs, {self.left} files left behind, "
            f"{self.rows:,} rows compared and equal, {self.seconds:.0f} s, seed {self.seed}"
        )


def draw_plan(dice: random.Random) -> FaultPlan:
    """Draws a plan in which every kind of fault strikes some hours."""

    def share(most: float) -> float:
        return dice.uniform(most / 2, most)

    faults: list[AnyFault] = [
        NotFound(share=share(0.15), times=dice.randint(1, 3)),
        ServerError(share=share(0.15), times=dice.randint(1, 3)),
        Unavailable(share=share(0.08), retry_after=dice.randint(0, 1)),
        TooManyRequests(share=share(0.08), retry_after=dice.randint(0, 1)),
        Slow(share=share(0.06), seconds=dice.uniform(0.2, 0.8)),
        Stalled(share=share(0.04), after=dice.uniform(0, 0.9), seconds=10),
        BrokenOff(share=share(0.15), after=dice.uniform(0, 0.9), times=dice.randint(1, 3)),
        Truncated(share=share(0.12), keep=dice.uniform(0, 0.9), times=dice.randint(1, 2)),
        WrongLength(share=share(0.08), by=-dice.randint(1, 500)),
        WrongLength(share=share(0.08), by=dice.randint(1, 500)),
        Corrupt(share=share(0.12), after=dice.uniform(0, 0.9)),
        Page(share=share(0.12), times=dice.randint(1, 2)),
        RedirectLoop(share=share(0.06)),
        Shrunk(share=share(0.12), keep=dice.uniform(0, 0.9), skip=dice.randint(0, 1)),
        Changed(share=share(0.12), after=dice.uniform(0.1, 0.9), times=dice.randint(1, 4)),
        LyingEtag(share=share(0.08), lie="same"),
        LyingEtag(share=share(0.08), lie="new"),
        Bomb(share=share(0.06), mib=48),
        BrokenManifest(share=share(0.08), form=dice.choice(("deep", "number", "large"))),
        Endless(share=share(0.06), what=dice.choice(("garbage", "members", "zeros")), mib=48),
        EndlessHead(share=share(0.06), what=dice.choice(("interim", "slow", "trailers"))),
        BadHeader(share=share(0.08), what=dice.choice(("length", "lengths", "range", "line"))),
        Moved(share=share(0.08)),
    ]
    return FaultPlan(seed=dice.getrandbits(32), order="shuffled", faults=tuple(faults))


def draw_hours(count: int) -> list[HourRange]:
    """Returns so many hours, in ranges over the places where the archive's forms change."""
    share, more = divmod(count, len(_MIDDLES))
    lengths = [share + (place < more) for place in range(len(_MIDDLES))]
    return [
        HourRange(middle - length // 2, middle - length // 2 + (length - 1))
        for middle, length in zip(_MIDDLES, lengths, strict=True)
        if length
    ]


class Soak:
    """One soak.

    Args:
        folder: Where it works; empty at first.
        seed: Where its chance comes from.
        hours: How many hours.
        kills: How many kills at least.
        seconds: How long to go on with kills at least.
    """

    def __init__(self, folder: Path, *, seed: int, hours: int, kills: int, seconds: float = 0.0) -> None:
        self.report = Report(seed)
        self._folder = folder
        self._dice = random.Random(seed)  # noqa: S311 -- not a secret
        self._ranges = draw_hours(hours)
        self._kills = kills
        self._seconds = seconds
        self._victims: list[str] = []
        self._servers: dict[HourRange, FaultyServer] = {}
        self._running: subprocess.Popen[bytes] | None = None
        self._wanted = [hour for hours_ in self._ranges for hour in hours_ if eras.existed(hour)]

    def run(self) -> Report:
        """Does it all.

        Raises:
            SoakError: If a run ends as none should, or the lakes differ.
        """
        try:
            return self._run()
        finally:
            # Of a run that is given up nothing may go on; it is in a group that no Ctrl-C reaches.
            if self._running is not None and self._running.poll() is None:
                processes.kill_group(self._running.pid)
                self._running.wait()

    def _run(self) -> Report:
        began = time.monotonic()
        archive = self._folder / "archive"
        self.report.hours = sum(map(len, self._ranges))
        self.report.there = len(write_archive((hour for each in self._ranges for hour in each), archive, events=EVENTS))
        calm, soaked = Lake.at(str(self._folder / "calm")), Lake.at(str(self._folder / "soaked"))
        with PracticeServer(archive) as server:
            self._undisturbed(server.address, calm)
        plan = draw_plan(self._dice)
        with ExitStack() as stack:
            for place, hours in enumerate(self._ranges):
                # With a manifest beside each hour as at the mirror, or without as at the archive.
                server = FaultyServer(archive, plan, manifests=place % 2 == self.report.seed % 2)
                self._servers[hours] = stack.enter_context(server)
            self._disturbed(soaked, began + self._seconds)
            for hours in self._ranges:
                self._settle(hours, soaked)
            injected = (Counter(server.counts.faults) for server in self._servers.values())
            self.report.faults = dict(sum(injected, Counter[str]()))
        self._clear(soaked)
        self._compare(calm, soaked)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _undisturbed(self, source: str, lake: Lake) -> None:
        """Fills the lake that is right."""
        for hours in self._ranges:
            code = self._finish(self._start(hours, source, lake))
            if code is not ExitCode.OK:
                raise SoakError(f"an undisturbed run of {hours} ended with {code!r}; {self._said()}")
        if any(self._incomplete(lake, hours) for hours in self._ranges):
            raise SoakError("an undisturbed run left hours that are not complete")

    def _disturbed(self, lake: Lake, until: float) -> None:
        """Runs and kills until there were enough kills and enough time has passed."""
        turn = 0
        while self.report.kills.total() < self._kills or time.monotonic() < until:
            hours = self._ranges[turn % len(self._ranges)]
            due = sum(self._status(lake, hour) in _DUE for hour in self._incomplete(lake, hours))
            flags = () if due else (self._dice.choice(("--refresh", "--force")),)
            server = self._servers[hours]
            after = server.counts.requests + self._dice.randint(0, due or len(hours))
            process = self._start(hours, server.address, lake, *flags)
            self.report.runs += 1
            if self._comes_to(process, server, after):
                self._disturb(process)
            turn += 1

    def _comes_to(self, process: subprocess.Popen[bytes], server: FaultyServer, requests: int) -> bool:
        """Waits until a run has asked the archive so often, which is a measure that no slow machine changes."""
        while process.poll() is None:
            if server.counts.requests >= requests:
                # Not always just behind a request: also while files are written, and before there are workers.
                time.sleep(self._dice.uniform(0, 0.2))
                return True
            time.sleep(0.01)
        self._check(process.returncode)
        return False

    def _disturb(self, process: subprocess.Popen[bytes]) -> None:
        """Kills some or all of a run."""
        if not self._victims:
            self._victims = self._dice.sample(_VICTIMS, len(_VICTIMS))
        whom = self._victims[-1]
        if whom == "worker":
            self._kill_worker(process)
            return
        self._count_kill()
        if whom == "all":
            processes.kill_group(process.pid)
        else:
            process.kill()
        process.wait()
        if left := processes.await_end(process.pid):
            processes.kill_group(process.pid)
            raise SoakError(f"{len(left)} processes live on after their parent was killed")

    def _kill_worker(self, process: subprocess.Popen[bytes]) -> None:
        """Kills one worker as soon as there is one; the run has to get over it."""
        while process.poll() is None:
            if (found := processes.workers(process.pid)) and processes.kill(self._dice.choice(found)):
                self._count_kill()
                break
            time.sleep(0.02)
        self._check(self._finish(process))

    def _count_kill(self) -> None:
        self.report.kills[self._victims.pop()] += 1

    def _settle(self, hours: HourRange, lake: Lake) -> None:
        """Asks for every hour of a range once more until nothing is wrong any more."""
        server = self._servers[hours]
        for _ in range(_CALM_ROUNDS):
            before = server.counts
            code = self._calmly(hours, server, lake, "--refresh")
            left = self._incomplete(lake, hours)
            quiet = server.counts.faults == before.faults
            if quiet and code is ExitCode.OK and not left:
                return
        states = [f"{hour} {self._status(lake, hour)}" for hour in self._incomplete(lake, hours)]
        raise SoakError(f"after {_CALM_ROUNDS} rounds these are not complete: {states}; {self._said()}")

    def _calmly(self, hours: HourRange, server: FaultyServer, lake: Lake, flag: str) -> ExitCode:
        """Runs hours to the end."""
        self.report.runs += 1
        return self._check(self._finish(self._start(hours, server.address, lake, flag)))

    def _clear(self, lake: Lake) -> None:
        """Removes what killed runs left, as ``verify --prune`` does once it is old enough; none of it is needed."""
        later = datetime.now(UTC) + timedelta(days=1)
        for orphan in find_orphans(lake, take_inventory(lake), (), now=later):
            self.report.left += 1
            if not remove_orphan(lake, orphan):
                raise SoakError(f"{orphan.info.key} was said to be an orphan, and then not removed")
        self.report.left += len(lake.store.sweep())
        if any(find_orphans(lake, take_inventory(lake), (), now=later)) or lake.store.leftovers():
            raise SoakError("what killed runs left cannot be removed")

    def _compare(self, calm: Lake, soaked: Lake) -> None:
        """Holds each hour of the one lake against the other, and all of the soaked one against its manifests."""
        for hour in self._wanted:
            if problems := soaked.verify(hour, ARROW_SCHEMA):
                raise SoakError(f"{hour} is not sound: {problems}")
            with calm.store.open(events_key(hour)) as file, soaked.store.open(events_key(hour)) as other:
                expected, found = pq.ParquetFile(file).read(), pq.ParquetFile(other).read()
            if not found.equals(expected):
                raise SoakError(f"{hour} holds {len(found)} rows that are not the {len(expected)} of the calm lake")
            self.report.rows += len(found)

    def _incomplete(self, lake: Lake, hours: HourRange) -> list[Hour]:
        wanted = (hour for hour in self._wanted if hour in hours)
        return [hour for hour in wanted if self._status(lake, hour) is not Status.COMPLETE]

    def _status(self, lake: Lake, hour: Hour) -> Status | None:
        manifest = lake.manifest(hour)
        return None if manifest is None else manifest.status

    def _start(self, hours: HourRange, source: str, lake: Lake, *flags: str) -> subprocess.Popen[bytes]:
        """Starts a backfill in a process group of its own; output goes to a file, since a full pipe would block it."""
        words = ["backfill", str(hours.first), str(hours.last), "--workers", str(WORKERS)]
        words += ["--source", source, "--lake", lake.address, "--log-format", "plain", *flags]
        with (self._folder / "said").open("wb") as said:
            self._running = subprocess.Popen(
                [sys.executable, str(ROOT / "etl"), *words],
                cwd=self._folder,
                env=clean_environment() | _SETTINGS,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._running

    def _finish(self, process: subprocess.Popen[bytes]) -> ExitCode:
        try:
            return ExitCode(process.wait(_PATIENCE_SECONDS))
        except subprocess.TimeoutExpired:
            processes.kill_group(process.pid)
            process.wait()
            raise SoakError(f"a run did not end; {self._said()}") from None

    def _check(self, code: int) -> ExitCode:
        if code not in _GOOD:
            raise SoakError(f"a run ended with exit code {code}; {self._said()}")
        if b"Traceback" in (self._folder / "said").read_bytes():
            raise SoakError("a run showed a traceback")
        return ExitCode(code)

    def _said(self) -> str:
        lines = (self._folder / "said").read_text(encoding="utf-8").splitlines()
        return "its last words: " + " | ".join(lines[-5:])


def main(words: Sequence[str] | None = None) -> int:
    """Runs a soak as the command line says; its last line says what it did."""
    parser = argparse.ArgumentParser(description="Backfill under faults and kills; then compare every row.")
    parser.add_argument("--seed", type=int, default=None, help="where chance comes from; a new one if left out")
    parser.add_argument("--hours", type=int, default=200, help="how many hours (200)")
    parser.add_argument("--kills", type=int, default=24, help="how many kills at least (24)")
    parser.add_argument("--minutes", type=float, default=0.0, help="how long to go on killing at least (0)")
    given = parser.parse_args(words)
    seed = int.from_bytes(os.urandom(4), "big") if given.seed is None else given.seed
    sys.stdout.write(f"soak: seed {seed}\n")
    sys.stdout.flush()
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        soak = Soak(Path(folder), seed=seed, hours=given.hours, kills=given.kills, seconds=given.minutes * 60)
        try:
            report = soak.run()
        except SoakError as error:
            sys.stderr.write(f"soak: failed with seed {seed}: {error}\n")
            return ExitCode.UNEXPECTED
        except KeyboardInterrupt:
            sys.stderr.write(f"soak: stopped with seed {seed}: {soak.report}\n")
            return ExitCode.INTERRUPTED
    sys.stdout.write(f"{report}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
