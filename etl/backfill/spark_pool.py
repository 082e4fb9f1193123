"""Hours brought by the machines of a Spark cluster, each through the same pipeline, to the same lake.

Each hour is a Spark job of one task, so that hours end one by one and one that fails, by whatever, stops no other; the
course of things (which hours, rounds, patience) is that of a backfill on one machine. A task that Spark does again, its
machine having died, finds the hour done or its lease left behind: nothing is done twice, and what was locked is looked
at again at the end.
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
from etl.backfill.worker_pool import Heard, Lost
from etl.hours import Hour
from etl.runtime import logs
from etl.spark import session

if TYPE_CHECKING:
    from pyspark import SparkConf, SparkContext

MOST_AT_ONCE: Final = 512
"""Hours in the hands of Spark, each of which is a thread here."""


@contextmanager
def spark_hands(job: Job) -> Iterator[tuple[Callable[[int, Job], SparkHands], int]]:
    """Gives what makes hands of the Spark session that was begun, or of one of this machine's own.

    Args:
        job: What they will do.

    Gives:
        What ``backfill`` asks for hands, and how many hours Spark may have at once.

    Raises:
        UsageError: If Spark is not installed, or its machines do not see the lake or a source.
    """
    with session.opened({}, little=True) as spark:
        if not session.is_local(spark):
            session.refuse_folders((job.lake, *job.sources))
        context = spark.sparkContext
        yield lambda size, work: SparkHands(context, size, work), places(context.getConf(), context.defaultParallelism)


class SparkHands:
    """Up to so many hours in the hands of Spark; see ``etl.backfill.run.Hands``.

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
        self._heard: SimpleQueue[HourReport | Lost] = SimpleQueue()

    def __enter__(self) -> Self:
        """Gives the hands themselves."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Lets them go; after an error what they do is given up."""
        if error is not None:
            self._threads.shutdown(wait=False, cancel_futures=True)
            self._context.cancelJobGroup(self._group)
        self._threads.shutdown(wait=True)

    @property
    def busy(self) -> bool:
        """Whether Spark has any hour."""
        return bool(self._given)

    @property
    def has_room(self) -> bool:
        """Whether an hour can be given now."""
        return len(self._given) < self._size

    def give(self, hour: Hour) -> None:
        """Gives an hour; there has to be room."""
        self._given.add(hour)
        self._threads.submit(self._bring, hour)

    def listen(self, timeout: float | None = None) -> Iterator[Heard]:
        """Waits until an hour has ended, and yields all that have.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.
        """
        try:
            heard = self._heard.get(timeout=timeout)
        except Empty:
            return
        while True:
            self._given.discard(heard.hour)
            yield heard
            if self._heard.empty():
                return
            heard = self._heard.get()

    def _bring(self, hour: Hour) -> None:
        """Has Spark bring an hour, in a thread of its own."""
        job = self._job
        try:
            self._context.setJobGroup(self._group, str(hour), interruptOnCancel=True)
            (report,) = self._context.parallelize([hour], 1).map(lambda each: _brought(job, each)).collect()
        except Exception as error:  # noqa: BLE001 -- whatever Spark raises ends an hour, not the thread that hears of it
            # Not its message: it may hold a piece of an event.
            self._heard.put(Lost(hour, f"Spark gave it up ({type(error).__name__}); the executors' logs tell why"))
        else:
            self._heard.put(report)


def _brought(packed: bytes, hour: Hour) -> HourReport:
    """Brings an hour; what a task does, in a process of Spark's."""
    return _worker(packed).run(hour)


@cache
def _worker(packed: bytes) -> Worker:
    """Makes the worker of this process, which serves one task after another."""
    job: Job = pickle.loads(packed)  # noqa: S301 -- packed above
    if job.log is not None:
        logs.configure(job.log.format, job.log.level, scrub=job.log.scrub)
    return Worker(job, lambda _: None)


def places(settings: SparkConf, parallelism: int) -> int:
    """How many tasks Spark can do at once, or could once it has grown as far as it may.

    Args:
        settings: How the session was begun.
        parallelism: How many it can do at once now.
    """
    if settings.get("spark.dynamicAllocation.enabled", "false") != "true":
        return max(1, min(parallelism, MOST_AT_ONCE))
    cores = int(str(settings.get("spark.executor.cores", "1")))
    executors = int(str(settings.get("spark.dynamicAllocation.maxExecutors", str(MOST_AT_ONCE))))
    return max(1, min(cores * executors, MOST_AT_ONCE))
