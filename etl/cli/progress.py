"""Progress of one hour, of many hours and of counted work: bars on a terminal, periodic log lines elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog
from typing_extensions import override

from etl.plural import plural
from etl.runtime import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress, Task, TaskID

    from etl.backfill.run import BackfillProgress
    from etl.backfill.summary import HourReport
    from etl.backfill.worker_pool import Progress as HourProgress
    from etl.hour_pipeline import ProgressCallback
    from etl.hours import Hour

LOG_EVERY_SECONDS: Final = 10.0
_SPEED_SECONDS: Final = 600.0
"""Window for estimating the speed of a backfill; a modern hour takes a minute."""
_EXPECTED: Final = frozenset({"pending", "locked"})
"""Outcomes of incomplete hours that need no attention."""


def shows_bars(console: Console) -> bool:
    """Returns whether to show progress bars; otherwise progress is logged periodically."""
    return console.is_terminal and not console.quiet and not logs.writes_json()


@contextmanager
def watching(what: str, console: Console) -> Iterator[ProgressCallback]:
    """Shows the progress of one hour while the block runs.

    Args:
        what: Label of the work.
        console: Standard error.
    """
    if not shows_bars(console):
        yield LogWatch(what)
        return
    with _bar(console) as bar:
        yield BarWatch(what, bar)


@contextmanager
def watching_many(what: str, total: int, console: Console) -> Iterator[BackfillProgress]:
    """Shows the progress of a backfill while the block runs.

    Args:
        what: Label of the range.
        total: Number of hours to run.
        console: Standard error.
    """
    if not shows_bars(console):
        yield LogManyWatch(what, total)
        return
    from rich.console import Group
    from rich.live import Live

    whole, hours = _count_bar(console, "hours"), _bar(console)
    with Live(Group(hours, whole), console=console, transient=True, refresh_per_second=4):
        yield BarsWatch(what, total, whole, hours)


@contextmanager
def counting(unit: str, err: Console, *, out: Console) -> Iterator[CountBar | CountLog]:
    """Shows the progress of counted work while the block runs.

    Args:
        unit: Name of what is counted, in the plural.
        err: Standard error.
        out: Standard output; if it is a terminal, its lines appear above the bar.
    """
    if not shows_bars(err):
        yield CountLog(unit)
        return
    with _count_bar(err, unit, redirect_stdout=out.is_terminal) as bar:
        yield CountBar(bar)


class CountBar:
    """Updates a progress bar of counted work."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("", total=None, size="")
        self._bytes = 0

    def begin(self, what: str, total: int) -> None:
        """Resets the bar for new work."""
        self._bytes = 0
        self._bar.reset(self._task, total=total, description=what, size="")

    def advance(self, size: int | None = None) -> None:
        """Counts one more, and its bytes where they are known."""
        from rich.filesize import decimal

        self._bytes += size or 0
        self._bar.update(self._task, advance=1, size="" if size is None else decimal(self._bytes))


class CountLog:
    """Logs the progress of counted work every ten seconds.

    Args:
        unit: Name of what is counted, in the plural.
        clock: Monotonic clock in seconds.
        every: Seconds between two lines.
    """

    def __init__(
        self, unit: str, *, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY_SECONDS
    ) -> None:
        self._unit = unit
        self._clock = clock
        self._every = every
        self._log = structlog.get_logger(__name__)
        self._said = clock()
        self.begin("", 0)

    def begin(self, what: str, total: int) -> None:
        """Resets the count for new work."""
        self._what, self._total, self._done, self._bytes = what, total, 0, 0

    def advance(self, size: int | None = None) -> None:
        """Counts one more, and its bytes where they are known."""
        self._done += 1
        self._bytes += size or 0
        now = self._clock()
        if now - self._said < self._every:
            return
        self._said = now
        facts = {self._unit: self._done, "of": self._total} | ({} if size is None else {"bytes": self._bytes})
        self._log.info("progress", what=self._what, **facts)


class BarsWatch:
    """Updates one bar for the range and one for each running hour."""

    def __init__(self, what: str, total: int, whole: Progress, hours: Progress) -> None:
        self._whole = whole
        self._hours = hours
        self._task = whole.add_task(what, total=total, size="")
        self._running: dict[Hour, TaskID] = {}

    def begun(self, hour: Hour) -> None:
        """Adds a bar for the hour."""
        self.ended_line(hour)
        self._running[hour] = self._hours.add_task(str(hour), total=None, events=0)

    def progressed(self, progress: HourProgress) -> None:
        """Updates the hour's bar."""
        if (task := self._running.get(progress.hour)) is not None:
            self._hours.update(task, total=progress.size, completed=progress.received, events=progress.events)

    def ended(self, report: HourReport, *, again: bool) -> None:
        """Removes the hour's bar, and advances the range unless the hour will be retried."""
        self.ended_line(report.hour)
        _log_ended(report, again=again)
        if not again:
            self._whole.advance(self._task)

    def ended_line(self, hour: Hour) -> None:
        """Removes the hour's bar if there is one."""
        if (task := self._running.pop(hour, None)) is not None:
            self._hours.remove_task(task)


class LogManyWatch:
    """Logs the progress of a backfill every ten seconds, and each hour that is not complete.

    Args:
        what: Label of the range.
        total: Number of hours to run.
        clock: Monotonic clock in seconds.
        every: Seconds between two lines.
    """

    def __init__(
        self, what: str, total: int, *, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY_SECONDS
    ) -> None:
        self._what = what
        self._total = total
        self._clock = clock
        self._every = every
        self._started = self._said = clock()
        self._done = 0
        self._events = 0
        self._running: set[Hour] = set()
        self._log = structlog.get_logger(__name__)
        if total:
            self._log.info("backfill begins", range=what, hours=total)

    def begun(self, hour: Hour) -> None:
        """Adds the hour to the running hours."""
        self._running.add(hour)

    def progressed(self, progress: HourProgress) -> None:
        """Logs the progress of the range if it is time."""
        del progress  # Only the range is logged.
        self._say()

    def ended(self, report: HourReport, *, again: bool) -> None:
        """Counts the hour, and logs it if it is not complete."""
        self._running.discard(report.hour)
        self._done += not again
        self._events += report.events
        _log_ended(report, again=again)
        self._say()

    def _say(self) -> None:
        now = self._clock()
        if now - self._said < self._every:
            return
        self._said = now
        seconds = now - self._started
        self._log.info(
            "progress",
            range=self._what,
            done=self._done,
            hours=self._total,
            running=",".join(map(str, sorted(self._running))),
            events=self._events,
            eta_seconds=round(seconds * (self._total - self._done) / self._done) if self._done else None,
        )


def _log_ended(report: HourReport, *, again: bool) -> None:
    """Logs the outcome of an hour, as a warning only if it needs attention."""
    log = structlog.get_logger(__name__)
    if report.outcome.is_fine:
        log.debug("hour done", hour=str(report.hour), outcome=report.outcome.value, seconds=round(report.seconds, 3))
        return
    tell = log.info if again or report.outcome.value in _EXPECTED else log.warning
    tell(
        "hour not complete", hour=str(report.hour), outcome=report.outcome.value, cause=report.reason, tried_again=again
    )


class BarWatch:
    """Updates the progress bar of one hour; thread-safe."""

    def __init__(self, what: str, bar: Progress) -> None:
        self._what = what
        self._bar = bar
        self._task: TaskID = bar.add_task(f"{what}: connecting", total=None, events=0)
        self._lock = threading.Lock()
        self._events = 0

    def source(self, address: str, size: int | None) -> None:
        """Resets the bar for a new download."""
        del address  # Too long for the bar; it is logged.
        with self._lock:
            self._events = 0
            self._bar.reset(self._task, total=size, description=self._what, events=0)

    def received(self, count: int) -> None:
        """Adds compressed bytes."""
        self._bar.advance(self._task, count)

    def events(self, count: int) -> None:
        """Adds decoded events."""
        with self._lock:
            self._events += count
            self._bar.update(self._task, events=self._events)


class LogWatch:
    """Logs the progress of one hour every ten seconds; thread-safe.

    Args:
        what: Label of the work.
        clock: Monotonic clock in seconds.
        every: Seconds between two lines.
    """

    def __init__(
        self, what: str, *, clock: Callable[[], float] = time.monotonic, every: float = LOG_EVERY_SECONDS
    ) -> None:
        self._what = what
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._log = structlog.get_logger(__name__)
        self._begin(None)

    def source(self, address: str, size: int | None) -> None:
        """Resets the counts for a new download."""
        with self._lock:
            self._begin(size)
        self._log.info("download begins", hour=self._what, source=address, size=size)

    def received(self, count: int) -> None:
        """Adds compressed bytes."""
        self._note(received=count)

    def events(self, count: int) -> None:
        """Adds decoded events."""
        self._note(events=count)

    def _begin(self, size: int | None) -> None:
        self._started = self._said = self._clock()
        self._size, self._received, self._events = size, 0, 0

    def _note(self, *, received: int = 0, events: int = 0) -> None:
        with self._lock:
            self._received += received
            self._events += events
            now = self._clock()
            if now - self._said < self._every:
                return
            self._said = now
            facts = self._facts(now - self._started)
        self._log.info("progress", hour=self._what, **facts)

    def _facts(self, seconds: float) -> dict[str, int | None]:
        """Returns the counts and rates so far; ``seconds`` is positive."""
        eta = None
        if self._size is not None and self._received:
            eta = round(seconds * max(0, self._size - self._received) / self._received)
        return {
            "received": self._received,
            "size": self._size,
            "events": self._events,
            "events_per_second": round(self._events / seconds) if seconds else None,
            "eta_seconds": eta,
        }


def _bar(console: Console) -> Progress:
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        ProgressColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.table import Column
    from rich.text import Text

    class EventsColumn(ProgressColumn):
        """Events so far and their rate."""

        @override
        def render(self, task: Task) -> Text:
            events: int = task.fields["events"]
            rate = f", {events / task.elapsed:,.0f}/s" if events and task.elapsed else ""
            return Text(f"{plural(events, 'event')}{rate}", style="progress.data.speed")

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        EventsColumn(table_column=Column(no_wrap=True)),
        TextColumn("ETA", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


def _count_bar(console: Console, unit: str, *, redirect_stdout: bool = True) -> Progress:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TextColumn("{task.fields[size]}", markup=False),
        TimeElapsedColumn(),
        TextColumn("ETA", markup=False),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        redirect_stdout=redirect_stdout,
        speed_estimate_period=_SPEED_SECONDS,
    )
