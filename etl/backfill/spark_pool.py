"""Backfills on a Spark cluster: the same pipeline and the same lake, one task an hour.

Each hour is a Spark job of one task, so hours finish one by one and a failed hour does not stop the others. Which hours
are due, and how often they are retried, is decided as on one machine. When Spark retries a task because its machine
died, the task finds the hour stored, or the lease of the dead task. So nothing is done twice, and locked hours are
tried again at the end.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from uuid import uuid4

from etl.backfill.summary import HourReport
from etl.backfill.worker import Job, Worker
from etl.backfill.worker_pool import WorkerEvent, WorkerLost
from etl.hours import Hour
from etl.runtime import logs
from etl.spark import session

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

MOST_AT_ONCE: Final = 512
"""Hours in progress on Spark, each of which is a thread here."""


@contextmanager
def spark_executor(job: Job) -> Iterator[tuple[Callable[[int, Job], SparkExecutor], int]]:
    """Yields a factory of executors on the active Spark session, or on a local one.

    Args:
        job: What they will do.

    Yields:
        What ``backfill`` asks for executors, and how many hours Spark may have at once.

    Raises:
        UsageError: If Spark is not installed, or its machines do not see the lake or a source.
    """
    with session.opened({}, little=True) as spark:
        if not session.is_local(spark):
            session.refuse_folders((job.lake, *job.sources))
        context = spark.sparkContext
        yield (
            lambda size, work: SparkExecutor(context, size, work),
            places(context.getConf(), context.defaultParallelism),
        )


class SparkExecutor:
    """Runs up to a given number of hours at once on Spark; see ``etl.backfill.run.Executor``.

    Args:
        context: Spark.
        size: Most hours at once. There may be more than tasks that Spark can do at once: that others wait is what makes
            a cluster grow.
        job: What they have to know.
    """

    def __init__(self, context: SparkContext, size: int, job: Job) -> None:
        self._context = context
        self._size = size
        # Logs of executors are Spark's to collect; no terminal is near.
        log = None if job.log is None else replace(job.log, on_terminal=False)
        self._job = pickle.dumps(replace(job, log=log))
        self._group = f"backfill-{uuid4().hex}"
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="backfill")
        self._given: set[Hour] = set()
        self._events: SimpleQueue[HourReport | WorkerLost] = SimpleQueue()

    def __enter__(self) -> Self:
        """Returns the pool itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends the pool; after an error it cancels running hours."""
        if error is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._context.cancelJobGroup(self._group)
        self._threads.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        """Returns whether Spark has any hour."""
        return bool(self._given)

    @property
    def has_room(self) -> bool:
        """Returns whether an hour can be submitted now."""
        return len(self._given) < self._size

    def submit(self, hour: Hour) -> None:
        """Submits an hour; there must be room."""
        self._given.add(hour)
        self._threads.submit(self._bring, hour)

    def poll(self, timeout: float | None = None) -> Iterator[WorkerEvent]:
        """Waits until an hour has ended, and yields all that have.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.
        """
        try:
            heard = self._events.get(timeout=timeout)
        except Empty:
            return
        while True:
            self._given.discard(heard.hour)
            yield heard
            if self._events.empty():
                return
            heard = self._events.get()

    def _bring(self, hour: Hour) -> None:
        """Starts a Spark job for an hour, in its own thread."""
        job = self._job
        try:
            self._context.setJobGroup(self._group, str(hour), interruptOnCancel=True)
            (report,) = self._context.parallelize([hour], 1).map(lambda each: _brought(job, each)).collect()
        except Exception as error:  # noqa: BLE001 -- whatever Spark raises ends an hour, not the thread that hears of it
            # Not its message: it may hold a piece of an event.
            self._events.put(
                WorkerLost(hour, f"Spark gave it up ({type(error).__name__}); the executors' logs tell why")
            )
        else:
            self._events.put(report)


def _brought(packed: bytes, hour: Hour) -> HourReport:
    """Processes an hour in a Python process of a Spark executor."""
    return _worker(packed).run(hour)


@cache
def _worker(packed: bytes) -> Worker:
    """Creates the worker of this process, which serves one task after another."""
    job: Job = pickle.loads(packed)  # noqa: S301 -- packed above
    if job.log is not None:
        logs.configure(job.log.format, job.log.level, scrub=job.log.scrub)
    return Worker(job, lambda _: None)


def places(settings: SparkConf, parallelism: int) -> int:
    """Returns how many tasks Spark can run at once when it has scaled up to its limit.

    Args:
        settings: How the session was begun.
        parallelism: How many it can do at once now.
    """
    if settings.get("spark.dynamicAllocation.enabled", "false") != "true":
        return max(1, min(parallelism, MOST_AT_ONCE))
    cores = int(str(settings.get("spark.executor.cores", "1")))
    executors = int(str(settings.get("spark.dynamicAllocation.maxExecutors", str(MOST_AT_ONCE))))
    return max(1, min(cores * executors, MOST_AT_ONCE))
