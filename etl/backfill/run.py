"""Runs a backfill: all due hours once, then retries of failed hours, then hours that another run had locked."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Final, Protocol, Self

import structlog

from etl.backfill.plan import Plan
from etl.backfill.summary import HourOutcome, HourReport, Summary, report_for_status
from etl.backfill.worker import Job
from etl.backfill.worker_pool import Progress, StartupFailure, WorkerEvent, WorkerLost, WorkerPool
from etl.errors import ExitCode, SourceUnreachableError, StoreError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.manifest import Status

_FAILURES_BORNE: Final[Mapping[ExitCode, int]] = {ExitCode.STORE_FAILED: 5, ExitCode.SOURCE_UNREACHABLE: 20}
"""How many hours in a row, in one round and with one cause, may fail before the lake or the archive is to blame."""
_FIRST_LOOK_SECONDS: Final = 0.25
_LONGEST_LOOK_SECONDS: Final = 15.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Executor(Protocol):
    """Processes hours on this machine (``WorkerPool``) or on Spark (``etl.backfill.spark_pool``).

    When its block ends well they are let go after what they do; when it ends in an error they are stopped.
    """

    def __enter__(self) -> Self:
        """Returns the pool itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stops all workers."""

    @property
    def busy(self) -> bool:
        """Returns whether any worker has an hour."""

    @property
    def has_room(self) -> bool:
        """Returns whether an hour can be submitted now."""

    def submit(self, hour: Hour) -> None:
        """Submits an hour; there must be room."""

    def poll(self, timeout: float | None = None) -> Iterator[WorkerEvent]:
        """Waits until a worker reports something or dies, and yields the events.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.
        """


class BackfillProgress(Protocol):
    """Progress callback of a backfill; called from one thread."""

    def begun(self, hour: Hour) -> None:
        """A worker has started an hour."""

    def progressed(self, progress: Progress) -> None:
        """An hour has made progress."""

    def ended(self, report: HourReport, *, again: bool) -> None:
        """An hour has ended; a failed hour may be retried later."""


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often, and for how long.

    Attributes:
        retries: Rounds in which failed hours are tried again.
        pause: Seconds before each of them.
        lock: Seconds to wait at the end for hours that another run is at.
    """

    retries: int = 2
    pause: float = 0.0
    lock: float = 600.0


def backfill(
    todo: Plan,
    job: Job,
    *,
    workers: int,
    retry_policy: RetryPolicy,
    watch: BackfillProgress,
    executors: Callable[[int, Job], Executor] = WorkerPool,
) -> Summary:
    """Processes all due hours. A failed hour does not stop the others.

    Args:
        todo: What is due.
        job: How to do it.
        workers: Hours at once, one process each.
        retry_policy: How often to try again.
        watch: Told of progress.
        executors: Makes those who do it.

    Returns:
        What became of each hour. When many hours in a row of one round failed with the same cause, the rest was
        left, and ``Summary.stopped`` says why.

    Raises:
        WorkerPoolError: If no process can be started.
    """
    return _Backfill(todo, job, workers, retry_policy, watch, executors).run()


class _StoppedError(Exception):
    """The lake or the archive fails."""


class _Backfill:
    """One backfill."""

    def __init__(
        self,
        todo: Plan,
        job: Job,
        workers: int,
        retry_policy: RetryPolicy,
        watch: BackfillProgress,
        executors: Callable[[int, Job], Executor],
    ) -> None:
        self._todo = todo
        self._job = job
        self._workers = max(1, min(workers, len(todo.due)))
        self._retry_policy = retry_policy
        self._watch = watch
        self._executors = executors
        self._waiting: deque[Hour] = deque()
        self._reports = {report.hour: report for report in todo.settled}
        self._in_a_row: tuple[str | None, int] = None, 0
        self._stopped: StoreError | SourceUnreachableError | None = None

    def run(self) -> Summary:
        """Runs the whole backfill."""
        began, began_at = time.monotonic(), datetime.now(UTC)
        try:
            with self._executors(self._workers, self._job) as executor:
                self._do_all(executor)
        except _StoppedError:
            _log.error("the rest is left", cause=self._stopped and self._stopped.message)
        else:
            self._record_failures(began_at)
        for hour in self._todo.due:
            self._reports.setdefault(hour, report_for_status(hour, None))
        return Summary(
            hours=self._todo.hours,
            reports=[self._reports[hour] for hour in sorted(self._reports)],
            seconds=time.monotonic() - began,
            workers=self._workers,
            stopped=self._stopped,
        )

    def _do_all(self, executor: Executor) -> None:
        self._do(executor, self._todo.due, again=self._retry_policy.retries > 0)
        for round_ in range(1, self._retry_policy.retries + 1):
            failed = self._with_outcome(HourOutcome.FAILED)
            if not failed:
                break
            _log.info("failed hours are tried again", hours=len(failed), round=round_, pause=self._retry_policy.pause)
            self._rest(executor, self._retry_policy.pause)
            self._do(executor, failed, again=round_ < self._retry_policy.retries)
        self._do_locked(executor)

    def _do_locked(self, executor: Executor) -> None:
        """Retries the hours that other runs had locked, until those runs finish."""
        until = time.monotonic() + self._retry_policy.lock
        pause = _FIRST_LOOK_SECONDS
        while (locked := self._with_outcome(HourOutcome.LOCKED)) and (left := until - time.monotonic()) > 0:
            self._rest(executor, min(pause, left))
            self._do(executor, locked, again=True)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    def _do(self, executor: Executor, hours: Iterable[Hour], *, again: bool) -> None:
        """Runs hours, each once.

        Args:
            executor: Who does it.
            hours: Which hours.
            again: Whether those that fail will have another chance.
        """
        # An hour that fails in every round tells nothing of other hours.
        self._in_a_row = None, 0
        self._waiting.extend(hours)
        while self._waiting or executor.busy:
            while self._waiting and executor.has_room:
                hour = self._waiting.popleft()
                executor.submit(hour)
                self._watch.begun(hour)
            self._handle_events(executor, None, again=again)

    def _rest(self, executor: Executor, seconds: float) -> None:
        """Waits; idle workers may die meanwhile."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._handle_events(executor, left, again=True)

    def _handle_events(self, executor: Executor, timeout: float | None, *, again: bool) -> None:
        for heard in executor.poll(timeout):
            match heard:
                case Progress():
                    self._watch.progressed(heard)
                case HourReport():
                    self._end(heard, again=again)
                case WorkerLost(hour, why):
                    self._end(HourReport(hour=hour, outcome=HourOutcome.FAILED, reason=why, code=_LOST), again=again)
                case StartupFailure(hour):
                    self._waiting.appendleft(hour)

    def _end(self, report: HourReport, *, again: bool) -> None:
        self._reports[report.hour] = report
        comes_again = report.outcome is HourOutcome.LOCKED or (again and report.outcome is HourOutcome.FAILED)
        self._watch.ended(report, again=comes_again)
        if report.outcome is HourOutcome.LOCKED:
            return
        self._count_in_a_row(report)

    def _count_in_a_row(self, report: HourReport) -> None:
        """Stops the run when too many hours in a row failed for the same cause."""
        last, times = self._in_a_row
        cause = report.cause
        self._in_a_row = cause, times + 1 if cause == last else 1
        if cause is None or self._in_a_row[1] < _FAILURES_BORNE.get(report.code, sys.maxsize):
            return
        kind = StoreError if report.code is ExitCode.STORE_FAILED else SourceUnreachableError
        self._stopped = kind(
            f"{self._in_a_row[1]} hours in a row failed with the same cause, the last one with: {report.reason}",
            hint=report.hint,
        )
        raise _StoppedError

    def _with_outcome(self, outcome: HourOutcome) -> list[Hour]:
        return [hour for hour in self._todo.due if self._reports[hour].outcome is outcome]

    def _record_failures(self, began_at: datetime) -> None:
        """Records failures in the lake that workers could not record: they died, or met a defect."""
        unrecorded = [
            report for report in self._reports.values() if report.code is _LOST and not report.outcome.is_fine
        ]
        if not unrecorded:
            return
        lake = Lake.at(self._job.lake)
        now = datetime.now(UTC)
        for report in unrecorded:
            try:
                lake.record(report.hour, Status.FAILED, report.reason, started_at=began_at, finished_at=now)
            except StoreError as error:
                _log.warning("a failure could not be noted", hour=str(report.hour), cause=error.message)


_LOST: Final = ExitCode.UNEXPECTED
