"""Progress of one hour: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog
from typing_extensions import override

from etl import logs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.console import Console
    from rich.progress import Progress, Task, TaskID

    from etl.pipeline import Watch

_LOG_EVERY_SECONDS: Final = 10.0


@contextmanager
def watching(what: str, console: Console) -> Iterator[Watch]:
    """Shows progress while the block runs.

    Args:
        what: What is being done, as a person would call it.
        console: Standard error.
    """
    if not console.is_terminal or logs.writes_json():
        yield LogWatch(what)
        return
    with _bar(console) as bar:
        yield BarWatch(what, bar)


class BarWatch:
    """Moves a progress bar; all methods may be called from any thread."""

    def __init__(self, what: str, bar: Progress) -> None:
        self._what = what
        self._bar = bar
        self._task: TaskID = bar.add_task(f"{what}: asking", total=None, events=0)
        self._lock = threading.Lock()
        self._events = 0

    def source(self, address: str, size: int | None) -> None:
        """Starts the bar anew: a download begins."""
        del address  # It is logged, and would fill the line.
        with self._lock:
            self._events = 0
            self._bar.reset(self._task, total=size, description=self._what, events=0)

    def received(self, count: int) -> None:
        """Notes compressed bytes."""
        self._bar.advance(self._task, count)

    def events(self, count: int) -> None:
        """Notes decoded events."""
        with self._lock:
            self._events += count
            self._bar.update(self._task, events=self._events)


class LogWatch:
    """Logs a line every ten seconds; all methods may be called from any thread.

    Args:
        what: What is being done.
        clock: Seconds that never go back.
        every: Seconds between two lines.
    """

    def __init__(
        self, what: str, *, clock: Callable[[], float] = time.monotonic, every: float = _LOG_EVERY_SECONDS
    ) -> None:
        self._what = what
        self._clock = clock
        self._every = every
        self._lock = threading.Lock()
        self._log = structlog.get_logger(__name__)
        self._begin(None)

    def source(self, address: str, size: int | None) -> None:
        """Begins to count anew: a download begins."""
        with self._lock:
            self._begin(size)
        self._log.info("download begins", hour=self._what, source=address, size=size)

    def received(self, count: int) -> None:
        """Notes compressed bytes."""
        self._note(received=count)

    def events(self, count: int) -> None:
        """Notes decoded events."""
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
        """Counts and rates up to now; ``seconds`` is more than nothing."""
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
        """Events up to now and their rate."""

        @override
        def render(self, task: Task) -> Text:
            events: int = task.fields["events"]
            rate = f", {events / task.elapsed:,.0f}/s" if events and task.elapsed else ""
            return Text(f"{events:,} events{rate}", style="progress.data.speed")

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
