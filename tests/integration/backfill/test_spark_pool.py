"""Hours on a real Spark on this machine, when things go wrong; ``test_spark_jobs`` has the rest."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from etl.backfill.plan import ReprocessMode, plan
from etl.backfill.run import RetryPolicy, backfill
from etl.backfill.spark_pool import SparkExecutor, spark_executor
from etl.backfill.summary import HourOutcome
from etl.backfill.worker import Job, LogSettings
from etl.coverage.retry_schedule import DEFAULT_POLICY
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.manifest import Status
from tests.integration.archive.server import Archive, File
from tests.integration.running import QUICK, documents, packed, put

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    # Spark leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.usefixtures("spark"),
]
HOURS: Final = HourRange(Hour.of(2019, 1, 2, 3), Hour.of(2019, 1, 2, 5))


class Nobody:
    """Watches nothing."""

    def begun(self, hour: Hour) -> None:
        pass

    def progressed(self, progress: Any) -> None:
        pass

    def ended(self, report: Any, *, again: bool) -> None:
        pass


class Deadly:
    """Ends the process that reads it."""

    def __reduce__(self) -> tuple[Any, tuple[int]]:
        return os._exit, (3,)

    def __call__(self, text: str) -> str:
        return text


def job(lake: Path, *sources: object) -> Job:
    options = RunOptions(emails=EmailPolicy.of("hash"), fetch=QUICK)
    return Job(
        lake=str(lake), sources=tuple(map(str, sources)), options=options, tries=DEFAULT_POLICY, redo=ReprocessMode.NONE
    )


def test_a_task_that_always_dies_is_a_failed_hour_that_the_lake_knows_of(tmp_path: Path) -> None:
    work = replace(
        job(tmp_path / "lake", tmp_path / "archive"),
        log=LogSettings(format="plain", level="error", scrub=Deadly(), on_terminal=False),
    )
    lake = Lake.at(work.lake)
    todo = plan(lake, HOURS, policy=work.tries, now=datetime.now(UTC))
    with spark_executor(work) as (executors, places):
        summary = backfill(
            todo, work, workers=places, retry_policy=RetryPolicy(retries=1), watch=Nobody(), executors=executors
        )
    assert [report.outcome for report in summary.reports] == [HourOutcome.FAILED] * 3
    assert summary.stopped is None
    assert {report.reason for report in summary.reports} == {
        "Spark gave it up (Py4JJavaError); the executors' logs tell why"
    }
    manifest = lake.manifest(HOURS.first)
    assert manifest is not None
    assert manifest.status is Status.FAILED


def test_an_hour_that_fails_stops_no_other(tmp_path: Path) -> None:
    archive = tmp_path / "archive"
    put(archive, packed(documents(20, hour=HOURS.first)), HOURS.first)
    put(archive, b"no gzip at all", HOURS.first + 1)
    put(archive, packed(documents(20, hour=HOURS.last)), HOURS.last)
    work = job(tmp_path / "lake", archive)
    todo = plan(Lake.at(work.lake), HOURS, policy=work.tries, now=datetime.now(UTC))
    with spark_executor(work) as (executors, places):
        summary = backfill(
            todo, work, workers=places, retry_policy=RetryPolicy(retries=0), watch=Nobody(), executors=executors
        )
    outcomes = [report.outcome for report in summary.reports]
    assert outcomes[::2] == [HourOutcome.STORED] * 2
    assert not outcomes[1].is_fine


def test_stopping_ends_what_is_in_the_hands_of_spark(spark: SparkSession, archive: Archive, tmp_path: Path) -> None:
    path = f"/{HOURS.first}.json.gz"
    archive.files[path] = File(packed(documents(200, hour=HOURS.first)))
    context = spark.sparkContext
    began = time.monotonic()
    # At such a rate it would take some ten minutes.
    executors = SparkExecutor(context, 2, replace(job(tmp_path / "lake", archive.url), max_rate=100.0))
    with pytest.raises(KeyboardInterrupt), executors:
        executors.submit(HOURS.first)
        while not archive.asked:
            time.sleep(0.02)
        raise KeyboardInterrupt
    assert time.monotonic() - began < 200, "it waited for the hour"
    assert list(context.statusTracker().getActiveJobsIds()) == []
    assert Lake.at(str(tmp_path / "lake")).manifest(HOURS.first) is None
