"""The pool of worker processes, seen from the parent: assign hours, read events, replace dead workers.

Each has a pipe of its own and shares no lock with anybody, so that the death of one, at any instant, is the end
of its pipe and of nothing else.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

from etl.backfill.summary import HourReport
from etl.backfill.worker import GRACE_SECONDS, Job, Logged, Message, Progress, Ready, work
from etl.errors import EtlError
from etl.hours import Hour
from etl.runtime.process_context import context, signals_waiting

__all__ = ["Progress", "StartupFailure", "WorkerEvent", "WorkerLost", "WorkerPool", "WorkerPoolError"]

_MAX_STARTUP_FAILURES: Final = 20
"""Limit of consecutive workers that end before they start."""


class WorkerPoolError(EtlError):
    """Worker processes cannot be started."""


@dataclass(frozen=True, slots=True)
class WorkerLost:
    """A worker died over an hour.

    Attributes:
        hour: Which hour.
        why: How it died, in words.
    """

    hour: Hour
    why: str


@dataclass(frozen=True, slots=True)
class StartupFailure:
    """A worker died before it started its hour."""

    hour: Hour


WorkerEvent = Progress | HourReport | WorkerLost | StartupFailure
"""The events of submitted hours."""


class WorkerPool:
    """Up to so many workers; a context manager that leaves none of them behind.

    When its block ends well they are let go after what they do; when it ends in an error, Ctrl-C for one, they
    are asked to stop, and killed if they do not within a few seconds.

    Args:
        size: Most workers at once; each is started when there is an hour for it.
        job: What they have to know.
    """

    def __init__(self, size: int, job: Job) -> None:
        self._size = size
        self._job = job
        self._workers: list[WorkerProcess] = []
        self._startup_failures = 0

    def __enter__(self) -> Self:
        """Returns the executor itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends all workers."""
        for worker in self._workers:
            worker.let_go(at_once=error is not None)
        for worker in self._workers:
            worker.await_end()

    @property
    def busy(self) -> bool:
        """Returns whether any worker has an hour."""
        return any(worker.hour is not None for worker in self._workers)

    @property
    def has_room(self) -> bool:
        """Returns whether an hour can be submitted now."""
        return len(self._workers) < self._size or any(worker.hour is None for worker in self._workers)

    def submit(self, hour: Hour) -> None:
        """Submits an hour to an idle worker, or to a new one; there must be room."""
        worker = next((worker for worker in self._workers if worker.hour is None), None)
        if worker is None:
            worker = WorkerProcess()
            # Known before it runs, so that it is ended whatever happens next.
            self._workers.append(worker)
            worker.start(self._job)
        worker.submit(hour)

    def poll(self, timeout: float | None = None) -> Iterator[WorkerEvent]:
        """Waits until a worker reports something or dies, and yields the events.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.

        Raises:
            WorkerPoolError: If one worker after the other dies before it has begun.
        """
        pipes = {worker.pipe: worker for worker in self._workers}
        for pipe in wait(list(pipes), timeout):
            if isinstance(pipe, Connection):
                yield from self._handle_events(pipes[pipe])

    def _handle_events(self, worker: WorkerProcess) -> Iterator[WorkerEvent]:
        try:
            message: Message = worker.pipe.recv()
        except (EOFError, OSError):
            yield from self._reap(worker)
            return
        match message:
            case Ready():
                worker.began = True
                self._startup_failures = 0
            case Logged(text):
                sys.stderr.write(text)
                sys.stderr.flush()
            case HourReport():
                worker.hour = None
                yield message
            case Progress():
                yield message

    def _reap(self, worker: WorkerProcess) -> Iterator[WorkerEvent]:
        self._workers.remove(worker)
        # Its pipe has ended, so it is dead, or about to be; a request to stop would change its exit status.
        worker.let_go(at_once=False)
        worker.await_end()
        if not worker.began:
            self._startup_failures += 1
            if self._startup_failures > _MAX_STARTUP_FAILURES:
                raise WorkerPoolError(
                    f"worker processes end as soon as they are started: {worker.exit_reason}",
                    hint="run one hour alone, which needs no other process: run --at HOUR",
                )
        if worker.hour is not None:
            yield WorkerLost(worker.hour, worker.exit_reason) if worker.began else StartupFailure(worker.hour)


class WorkerProcess:
    """One worker process.

    Attributes:
        pipe: To speak with it.
        hour: What it is at; None when it is idle.
        began: Whether it has said a word.
    """

    def __init__(self) -> None:
        self.pipe, self._theirs = context().Pipe()
        self.hour: Hour | None = None
        self.began = False
        self._process: BaseProcess | None = None

    def start(self, job: Job) -> None:
        """Starts the process."""
        # Its signals wait until it can treat them.
        with signals_waiting():
            process = context().Process(target=work, args=(self._theirs, job), name="backfill", daemon=True)
            process.start()
            self._process = process
        self._theirs.close()

    def submit(self, hour: Hour) -> None:
        """Sends it an hour. A worker that has died is detected at the next read."""
        self.hour = hour
        with suppress(OSError):
            self.pipe.send(hour)

    def let_go(self, *, at_once: bool) -> None:
        """Closes its input, and with ``at_once`` also terminates it."""
        # One that has not begun does not hear signals yet, and has nothing to put away.
        began = self.began or self.pipe.poll()
        self._theirs.close()
        self.pipe.close()
        if at_once and self._process is not None:
            if began:
                self._process.terminate()
            else:
                self._process.kill()

    def await_end(self) -> None:
        """Waits for its end, up to a limit."""
        if self._process is None:
            return
        self._process.join(GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def exit_reason(self) -> str:
        """Describes how it ended."""
        code = None if self._process is None else self._process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            return f"its process was killed ({name}); if nobody did it, the machine was short of memory"
        return f"its process was killed ({name})"
