"""The course of a backfill: all due hours once, those that failed again, and those that another run had, last."""

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
from etl.backfill.summary import Ending, HourReport, Summary, standing
from etl.backfill.worker import Job
from etl.backfill.worker_pool import Crew, Heard, Lost, Progress, Unbegun
from etl.errors import ExitCode, SourceUnreachableError, StoreError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.manifest import Status

_FAILURES_BORNE: Final[Mapping[ExitCode, int]] = {ExitCode.STORE_FAILED: 5, ExitCode.SOURCE_UNREACHABLE: 20}
"""How many hours in a row, in one round and with one cause, may fail before the lake or the archive is to blame."""
_FIRST_LOOK_SECONDS: Final = 0.25
_LONGEST_LOOK_SECONDS: Final = 15.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Hands(Protocol):
    """Who brings hours: processes of this machine (``Crew``), or Spark's (``etl.backfill.spark_pool``).

    When its block ends well they are let go after what they do; when it ends in an error they are told to stop.
    """

    def __enter__(self) -> Self:
        """Gives the hands themselves."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Lets all of them go."""

    @property
    def busy(self) -> bool:
        """Whether any of them has an hour."""

    @property
    def has_room(self) -> bool:
        """Whether an hour can be given now."""

    def give(self, hour: Hour) -> None:
        """Gives an hour; there has to be room."""

    def listen(self, timeout: float | None = None) -> Iterator[Heard]:
        """Waits until one of them says something or dies, and yields what there is.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.
        """


class BackfillWatch(Protocol):
    """Someone who watches a backfill; called from one thread."""

    def begun(self, hour: Hour) -> None:
        """A worker has an hour."""

    def progressed(self, progress: Progress) -> None:
        """It has come so far."""

    def ended(self, report: HourReport, *, again: bool) -> None:
        """It is done with, for now if it will be tried again."""


@dataclass(frozen=True, kw_only=True)
class Patience:
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
    patience: Patience,
    watch: BackfillWatch,
    hands: Callable[[int, Job], Hands] = Crew,
) -> Summary:
    """Does what is due; an hour that fails stops no other.

    Args:
        todo: What is due.
        job: How to do it.
        workers: Hours at once, one process each.
        patience: How often to try again.
        watch: Told of progress.
        hands: Makes those who do it.

    Returns:
        What became of each hour. When many hours in a row of one round failed with the same cause, the rest was
        left, and ``Summary.stopped`` says why.

    Raises:
        CrewError: If no process can be started.
    """
    return _Backfill(todo, job, workers, patience, watch, hands).run()


class _StoppedError(Exception):
    """The lake fails, or the archive is down."""


class _Backfill:
    """One backfill."""

    def __init__(
        self,
        todo: Plan,
        job: Job,
        workers: int,
        patience: Patience,
        watch: BackfillWatch,
        hands: Callable[[int, Job], Hands],
    ) -> None:
        self._todo = todo
        self._job = job
        self._workers = max(1, min(workers, len(todo.due)))
        self._patience = patience
        self._watch = watch
        self._hands = hands
        self._waiting: deque[Hour] = deque()
        self._reports = {report.hour: report for report in todo.settled}
        self._in_a_row: tuple[str | None, int] = None, 0
        self._stopped: StoreError | SourceUnreachableError | None = None

    def run(self) -> Summary:
        """Does it all."""
        began, began_at = time.monotonic(), datetime.now(UTC)
        try:
            with self._hands(self._workers, self._job) as crew:
                self._do_all(crew)
        except _StoppedError:
            _log.error("the rest is left", cause=self._stopped and self._stopped.message)
        else:
            self._note_unnoted(began_at)
        for hour in self._todo.due:
            self._reports.setdefault(hour, standing(hour, None))
        return Summary(
            hours=self._todo.hours,
            reports=[self._reports[hour] for hour in sorted(self._reports)],
            seconds=time.monotonic() - began,
            workers=self._workers,
            stopped=self._stopped,
        )

    def _do_all(self, crew: Hands) -> None:
        self._do(crew, self._todo.due, again=self._patience.retries > 0)
        for round_ in range(1, self._patience.retries + 1):
            failed = self._with_ending(Ending.FAILED)
            if not failed:
                break
            _log.info("failed hours are tried again", hours=len(failed), round=round_, pause=self._patience.pause)
            self._rest(crew, self._patience.pause)
            self._do(crew, failed, again=round_ < self._patience.retries)
        self._do_locked(crew)

    def _do_locked(self, crew: Hands) -> None:
        """Looks again at what other runs had, until they are through with it."""
        until = time.monotonic() + self._patience.lock
        pause = _FIRST_LOOK_SECONDS
        while (locked := self._with_ending(Ending.LOCKED)) and (left := until - time.monotonic()) > 0:
            self._rest(crew, min(pause, left))
            self._do(crew, locked, again=True)
            pause = min(2 * pause, _LONGEST_LOOK_SECONDS)

    def _do(self, crew: Hands, hours: Iterable[Hour], *, again: bool) -> None:
        """Runs hours, each once.

        Args:
            crew: Who does it.
            hours: Which hours.
            again: Whether those that fail will have another chance.
        """
        # An hour that fails in every round tells nothing of other hours.
        self._in_a_row = None, 0
        self._waiting.extend(hours)
        while self._waiting or crew.busy:
            while self._waiting and crew.has_room:
                hour = self._waiting.popleft()
                crew.give(hour)
                self._watch.begun(hour)
            self._hear(crew, None, again=again)

    def _rest(self, crew: Hands, seconds: float) -> None:
        """Waits, while idle workers may die."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._hear(crew, left, again=True)

    def _hear(self, crew: Hands, timeout: float | None, *, again: bool) -> None:
        for heard in crew.listen(timeout):
            match heard:
                case Progress():
                    self._watch.progressed(heard)
                case HourReport():
                    self._end(heard, again=again)
                case Lost(hour, why):
                    self._end(HourReport(hour=hour, ending=Ending.FAILED, reason=why, code=_LOST), again=again)
                case Unbegun(hour):
                    self._waiting.appendleft(hour)

    def _end(self, report: HourReport, *, again: bool) -> None:
        self._reports[report.hour] = report
        comes_again = report.ending is Ending.LOCKED or (again and report.ending is Ending.FAILED)
        self._watch.ended(report, again=comes_again)
        if report.ending is Ending.LOCKED:
            return
        self._count_in_a_row(report)

    def _count_in_a_row(self, report: HourReport) -> None:
        """Gives up the rest when too many hours in a row failed with the same cause."""
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

    def _with_ending(self, ending: Ending) -> list[Hour]:
        return [hour for hour in self._todo.due if self._reports[hour].ending is ending]

    def _note_unnoted(self, began_at: datetime) -> None:
        """Notes in the lake what those who failed could not note themselves: they died, or met a defect."""
        unnoted = [report for report in self._reports.values() if report.code is _LOST and not report.ending.is_fine]
        if not unnoted:
            return
        lake = Lake.at(self._job.lake)
        now = datetime.now(UTC)
        for report in unnoted:
            try:
                lake.record(report.hour, Status.FAILED, report.reason, started_at=began_at, finished_at=now)
            except StoreError as error:
                _log.warning("a failure could not be noted", hour=str(report.hour), cause=error.message)


_LOST: Final = ExitCode.UNEXPECTED
