"""A worker process: runs one hour after another until it receives no more.

A worker shares nothing with others but the lake. Over its own pipe it gets hours and reports how each one ended,
so that one which is killed at any instant takes nobody else along.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from multiprocessing import parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType
from typing import Final

import structlog
from typing_extensions import override

from etl.archive.fetch import open_sources
from etl.archive.rate_limit import RateLimiter
from etl.archive.source import Source
from etl.backfill.plan import ReprocessMode, is_due
from etl.backfill.summary import HourOutcome, HourReport, report_for_status
from etl.coverage.retry_schedule import RetrySchedule
from etl.errors import ConflictError, EtlError, ExitCode, ShrinkRefusedError, StoreError
from etl.hour_pipeline import Outcome, RunOptions, run_hour
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import manifest_key
from etl.lake.manifest import Manifest, decode
from etl.runtime import logs
from etl.runtime.process_context import STOP_SIGNALS

GRACE_SECONDS: Final = 10.0
"""How long a worker may take to stop."""

_PROGRESS_EVERY_SECONDS: Final = 0.25
_PACKAGE: Final = Path(__file__).resolve().parents[1]
_STORED: Final = {
    Outcome.STORED: HourOutcome.STORED,
    Outcome.REPLACED: HourOutcome.REPLACED,
    Outcome.UNCHANGED: HourOutcome.UNCHANGED,
}

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """The log settings of a worker: its parent's, which writes its lines.

    Attributes:
        format: As the setting ``log_format``.
        level: As the setting ``log_level``.
        scrub: Applied to every text; has to be a function of a module, since it is sent to another process.
        on_terminal: Whether the parent's standard error is a terminal.
    """

    format: logs.Format
    level: logs.Level
    scrub: Callable[[str], str]
    on_terminal: bool


@dataclass(frozen=True, kw_only=True)
class Job:
    """The options of a worker, for all hours.

    Attributes:
        lake: Address of the lake.
        sources: Addresses of the sources, in order of trust.
        options: How to run an hour.
        tries: When an hour is worth another try.
        redo: Whether hours that the lake has are done again.
        rechecks: Stored hours whose sources are asked whether one of them has clearly more.
        max_rate: Bytes a second that one worker may fetch; None for any number.
        log: How to log; None to leave that as it is.
    """

    lake: str
    sources: Sequence[str]
    options: RunOptions
    tries: RetrySchedule
    redo: ReprocessMode = ReprocessMode.NONE
    rechecks: frozenset[Hour] = frozenset()
    max_rate: float | None = None
    log: LogSettings | None = None


@dataclass(frozen=True, slots=True)
class Ready:
    """A worker has started."""


@dataclass(frozen=True, slots=True)
class Logged:
    """A log line of a worker, already formatted."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """The progress of an hour.

    Attributes:
        hour: Which hour.
        received: Compressed bytes so far.
        size: Compressed bytes there are; None when not known.
        events: Events decoded so far.
    """

    hour: Hour
    received: int
    size: int | None
    events: int


Message = Ready | Logged | Progress | HourReport


def work(pipe: Connection, job: Job) -> None:
    """Runs the hours that come through the pipe, until it is closed; what a worker process starts with.

    Ctrl-C reaches all processes of a terminal, so it is left to the parent, which then sends SIGTERM. That ends
    the current hour as an error would, with everything put away. A parent that died does the same.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    threading.Thread(target=_end_with_parent, name="parent", daemon=True).start()
    line = WorkerChannel(pipe)
    if job.log is not None:
        sys.stderr = LogForwarder(line, on_terminal=job.log.on_terminal)
        logs.configure(job.log.format, job.log.level, scrub=job.log.scrub)
    worker = Worker(job, line.say)
    line.say(Ready())
    while (hour := line.next_hour()) is not None:
        line.say(worker.run(hour))


class Worker:
    """Runs hours and reports each outcome; a failed hour raises nothing.

    Args:
        job: What to do.
        say: Told of progress, from any thread.
    """

    def __init__(self, job: Job, say: Callable[[Message], None]) -> None:
        self._job = job
        self._say = say
        limiter = None if job.max_rate is None else RateLimiter(job.max_rate)
        self._options = replace(job.options, rate_limiter=limiter)

    @cached_property
    def _lake(self) -> Lake:
        return Lake.at(self._job.lake)

    @cached_property
    def _sources(self) -> tuple[Source, ...]:
        return open_sources(self._job.sources, self._job.options.fetch)

    def run(self, hour: Hour) -> HourReport:
        """Processes one hour, unless another run is doing so or has done so; raises no ``Exception``."""
        began = time.monotonic()
        try:
            report = self._run_alone(hour)
        except ConflictError as error:
            report = HourReport(hour=hour, outcome=HourOutcome.LOCKED, reason=error.message, code=error.exit_code)
        except EtlError as error:
            report = _failed(hour, error.message, error.hint, error.exit_code)
        except Exception as error:  # noqa: BLE001 -- one hour must not stop the others, whatever it holds
            _log.debug("unexpected error", hour=str(hour), exc_info=True)
            report = _failed(hour, f"unexpected error: {_where(error)}", "run it alone to look into it")
        return replace(report, seconds=time.monotonic() - began)

    def _run_alone(self, hour: Hour) -> HourReport:
        with self._lake.lock(hour) as held:
            if not held:
                return HourReport(hour=hour, outcome=HourOutcome.LOCKED, reason="another run is working on it")
            # Since the plan was made another run may have been here.
            manifest = self._readable_manifest(hour)
            status, finished_at = (None, None) if manifest is None else (manifest.status, manifest.finished_at)
            now = datetime.now(UTC)
            recheck = hour in self._job.rechecks
            redo = ReprocessMode.STORED if recheck else self._job.redo
            if not is_due(hour, status, finished_at, policy=self._job.tries, now=now, redo=redo):
                return report_for_status(hour, status, None if manifest is None else manifest.reason)
            return self._run_due(hour, now, replace(self._options, recheck=recheck or self._options.recheck))

    def _readable_manifest(self, hour: Hour) -> Manifest | None:
        """Reads the hour's manifest; an unreadable manifest counts as none, since a run fixes it."""
        content = self._lake.store.read(manifest_key(hour))
        try:
            return None if content is None else decode(content, of=hour)
        except StoreError as error:
            _log.warning("a manifest cannot be read; the hour is processed again", hour=str(hour), cause=error.message)
            return None

    def _run_due(self, hour: Hour, now: datetime, options: RunOptions) -> HourReport:
        watch = _Watch(hour, self._say)
        try:
            result = run_hour(hour, lake=self._lake, sources=self._sources, options=options, progress=watch)
        except StoreError:
            raise
        except EtlError as error:
            return self._report_of_error(hour, error, now)
        report = report_for_status(hour, result.manifest.status, result.manifest.reason)
        if report.outcome is HourOutcome.UNCHANGED:
            report = replace(report, outcome=_STORED[result.outcome])
        return _with_counts(report, result.manifest, since=now)

    def _report_of_error(self, hour: Hour, error: EtlError, now: datetime) -> HourReport:
        """Returns the outcome of an attempt that did not complete the hour, mostly from its manifest."""
        manifest = self._lake.manifest(hour)
        if error.exit_code in {ExitCode.SOURCE_UNREACHABLE, ExitCode.USAGE} or manifest is None:
            return _failed(hour, error.message, error.hint, error.exit_code)
        report = report_for_status(hour, manifest.status, manifest.reason)
        if isinstance(error, ShrinkRefusedError):
            outcome = HourOutcome.KEPT if report.outcome is HourOutcome.UNCHANGED else report.outcome
            return replace(report, outcome=outcome, reason=error.message, hint=error.hint, code=error.exit_code)
        report = replace(report, hint=error.hint, code=error.exit_code)
        return _with_counts(report, manifest, since=now)


class _Watch:
    """Passes progress on, not too often; an hour that is done at once says nothing."""

    def __init__(self, hour: Hour, say: Callable[[Message], None]) -> None:
        self._hour = hour
        self._say = say
        self._lock = threading.Lock()
        self._said = time.monotonic()
        self._size: int | None = None
        self._received = 0
        self._events = 0

    def source(self, address: str, size: int | None) -> None:
        """Resets the count when a download starts."""
        with self._lock:
            self._size, self._received, self._events = size, 0, 0
        _log.debug("download begins", hour=str(self._hour), source=address, size=size)

    def received(self, count: int) -> None:
        """Counts compressed bytes."""
        self._note(received=count)

    def events(self, count: int) -> None:
        """Counts decoded events."""
        self._note(events=count)

    def _note(self, *, received: int = 0, events: int = 0) -> None:
        with self._lock:
            self._received += received
            self._events += events
            now = time.monotonic()
            if now - self._said < _PROGRESS_EVERY_SECONDS:
                return
            self._said = now
            progress = Progress(hour=self._hour, received=self._received, size=self._size, events=self._events)
        self._say(progress)


class WorkerChannel:
    """A worker's end of its pipe. Messages to a parent that has ended are dropped."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def say(self, message: Message) -> None:
        """Sends a message; may be called from any thread."""
        try:
            with self._lock:
                self._pipe.send(message)
        except OSError:
            return

    def next_hour(self) -> Hour | None:
        """Waits for the next hour; None when there will be none."""
        try:
            hour: Hour = self._pipe.recv()
        except (EOFError, OSError):
            return None
        return hour


class LogForwarder(io.TextIOBase):
    """Standard error of a worker: the parent writes it, above its progress bars."""

    def __init__(self, line: WorkerChannel, *, on_terminal: bool) -> None:
        self._line = line
        self._on_terminal = on_terminal

    @override
    def isatty(self) -> bool:
        return self._on_terminal

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, text: str, /) -> int:
        self._line.say(Logged(text))
        return len(text)


def _stop(_number: int, _frame: FrameType | None) -> None:
    """Ends the worker as an error would; further signals are ignored."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(128 + signal.SIGTERM)


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is None:
        return
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE_SECONDS)
    os._exit(128 + signal.SIGTERM)


def _with_counts(report: HourReport, manifest: Manifest, *, since: datetime) -> HourReport:
    content, file = manifest.content, manifest.events_file
    if content is None or file is None or manifest.started_at < since:
        return report
    return replace(
        report, fetched=True, events=content.events, source_bytes=content.source.bytes, parquet_bytes=file.bytes
    )


def _failed(hour: Hour, reason: str, hint: str | None, code: ExitCode = ExitCode.UNEXPECTED) -> HourReport:
    return HourReport(hour=hour, outcome=HourOutcome.FAILED, reason=reason, hint=hint, code=code)


def _where(error: Exception) -> str:
    """Names an error and its place; its text may hold a piece of an event."""
    ours = [frame for frame in traceback.extract_tb(error.__traceback__) if _PACKAGE in Path(frame.filename).parents]
    place = f" in {Path(ours[-1].filename).relative_to(_PACKAGE)}, line {ours[-1].lineno}" if ours else ""
    return f"{type(error).__name__}{place}"
