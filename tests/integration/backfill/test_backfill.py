"""Backfills with real worker processes, a real server, and every way in which an hour can go wrong."""

from __future__ import annotations

import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from etl.backfill import worker_pool
from etl.backfill.plan import Plan, ReprocessMode, plan
from etl.backfill.run import RetryPolicy, backfill
from etl.backfill.summary import HourOutcome, HourReport, Summary
from etl.backfill.worker import Job, LogSettings, Worker
from etl.backfill.worker_pool import Progress, StartupFailure, WorkerPool, WorkerPoolError
from etl.coverage.retry_schedule import DEFAULT_POLICY
from etl.errors import ExitCode, SourceUnreachableError
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.lake.manifest import Status
from tests.integration.archive.server import Answer, Archive, File, Handler, status, well
from tests.integration.running import QUICK, documents, packed, put, sound

FIRST: Final = Hour.of(2015, 1, 1, 0)
EVENTS: Final = 20


@dataclass
class Notes:
    """A callback that records its calls, and runs a test's action when an hour ends or begins."""

    begins: list[Hour] = field(default_factory=list)
    ends: list[tuple[HourReport, bool]] = field(default_factory=list)
    at_progress: Callable[[Progress], None] = lambda _: None
    at_begin: Callable[[Hour], None] = lambda _: None
    at_end: Callable[[HourReport], None] = lambda _: None

    def begun(self, hour: Hour) -> None:
        self.begins.append(hour)
        self.at_begin(hour)

    def progressed(self, progress: Progress) -> None:
        self.at_progress(progress)

    def ended(self, report: HourReport, *, again: bool) -> None:
        self.ends.append((report, again))
        self.at_end(report)


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert multiprocessing.active_children() == []


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake"))


def publish(archive: Archive, hours: HourRange, *, events: int = EVENTS) -> None:
    """Returns the archive some hours."""
    for hour in hours:
        archive.files[f"/{hour}.json.gz"] = File(packed(documents(events, hour=hour)))


def first(count: int) -> HourRange:
    return HourRange(FIRST, FIRST + (count - 1))


def job(lake: Lake, source: object, *, redo: ReprocessMode = ReprocessMode.NONE, **options: Any) -> Job:
    chosen = RunOptions(**{"emails": EmailPolicy.of("hash"), "fetch": replace(QUICK, attempts=1), **options})
    return Job(lake=lake.address, sources=(str(source),), options=chosen, tries=DEFAULT_POLICY, redo=redo)


def planned(lake: Lake, hours: HourRange, redo: ReprocessMode = ReprocessMode.NONE) -> Plan:
    return plan(lake, hours, policy=DEFAULT_POLICY, now=datetime.now(UTC), redo=redo)


def run(
    work: Job,
    hours: HourRange,
    *,
    workers: int = 2,
    retries: int = 1,
    lock: float = 0.0,
    watch: Notes | None = None,
) -> Summary:
    """Plans and runs a backfill."""
    todo = planned(Lake.at(work.lake), hours, work.redo)
    retry_policy = RetryPolicy(retries=retries, lock=lock)
    return backfill(todo, work, workers=workers, retry_policy=retry_policy, watch=watch or Notes())


def outcomes(summary: Summary) -> list[HourOutcome]:
    return [report.outcome for report in summary.reports]


def asked(archive: Archive) -> Counter[str]:
    """How often each hour was asked for."""
    return Counter(ask.target for ask in archive.asked if ask.target.endswith(".json.gz"))


def test_an_archive_that_is_down_is_not_asked_for_every_hour(archive: Archive, lake: Lake) -> None:
    hours = first(60)
    publish(archive, hours)
    for hour in HourRange(FIRST + 4, hours.last):
        archive.script[f"/{hour}.json.gz"] = [status(503)] * 9
    summary = run(job(lake, archive.url), hours, workers=1)
    assert isinstance(summary.stopped, SourceUnreachableError)
    assert summary.stopped.message.startswith("20 hours in a row failed with the same cause, the last one with: ")
    assert summary.fetched == 4
    assert outcomes(summary)[:24] == [HourOutcome.STORED] * 4 + [HourOutcome.FAILED] * 20
    assert len(asked(archive)) == 24
    archive.script.clear()
    again = run(job(lake, archive.url), hours)
    assert again.stopped is None
    assert outcomes(again) == [HourOutcome.UNCHANGED] * 4 + [HourOutcome.STORED] * 56


def test_hours_that_fail_in_every_round_are_no_outage(archive: Archive, lake: Lake) -> None:
    hours = first(16)
    publish(archive, first(6))
    failing = [f"/{hour}.json.gz" for hour in HourRange(FIRST + 6, hours.last)]
    for path in failing:
        archive.script[path] = [status(503)] * 9
    summary = run(job(lake, archive.url), hours, retries=2)
    assert summary.stopped is None
    assert outcomes(summary) == [HourOutcome.STORED] * 6 + [HourOutcome.FAILED] * 10
    assert {asked(archive)[path] for path in failing} == {3}


def test_failures_of_two_causes_in_turn_are_no_outage(archive: Archive, lake: Lake) -> None:
    hours = first(44)
    for number, hour in enumerate(hours):
        archive.script[f"/{hour}.json.gz"] = [status(503 if number % 2 else 500)] * 9
    summary = run(job(lake, archive.url), hours, workers=1, retries=0)
    assert summary.stopped is None
    assert outcomes(summary) == [HourOutcome.FAILED] * 44


def test_all_hours_of_a_range_come_and_a_second_run_asks_nobody(archive: Archive, lake: Lake) -> None:
    hours = first(7)
    publish(archive, first(5))
    summary = run(job(lake, archive.url), hours)
    assert outcomes(summary) == [HourOutcome.STORED] * 5 + [HourOutcome.MISSING] * 2
    assert [sound(lake, hour).status for hour in first(5)] == [Status.COMPLETE] * 5
    assert [report.events for report in summary.reports] == [EVENTS] * 5 + [0] * 2
    assert set(asked(archive).values()) == {1}
    archive.asked.clear()
    again = run(job(lake, archive.url), hours)
    assert outcomes(again) == [HourOutcome.UNCHANGED] * 5 + [HourOutcome.MISSING] * 2
    assert archive.asked == []


def test_an_hour_that_fails_stops_no_other_and_is_tried_again(archive: Archive, lake: Lake) -> None:
    publish(archive, first(4))
    archive.script[f"/{FIRST}.json.gz"] = [status(503)]
    notes = Notes()
    summary = run(job(lake, archive.url), first(4), watch=notes)
    assert outcomes(summary) == [HourOutcome.STORED] * 4
    assert [(report.hour, again) for report, again in notes.ends if report.outcome is HourOutcome.FAILED] == [
        (FIRST, True)
    ]
    assert notes.begins[-1] == FIRST


@pytest.mark.parametrize("retries", [0, 2])
def test_an_hour_that_fails_to_the_end_is_reported_with_its_reason(archive: Archive, lake: Lake, retries: int) -> None:
    publish(archive, first(3))
    archive.script[f"/{FIRST}.json.gz"] = [status(500)] * 10
    summary = run(job(lake, archive.url), first(3), retries=retries)
    assert outcomes(summary) == [HourOutcome.FAILED, HourOutcome.STORED, HourOutcome.STORED]
    (left,) = summary.left
    assert "500" in (left.reason or "")
    assert left.code is ExitCode.SOURCE_UNREACHABLE
    assert asked(archive)[f"/{FIRST}.json.gz"] == 1 + retries


def _killing(*, then: Answer | None = None, times: int = 1) -> Answer:
    """Kills the worker that asks, the first so many times."""
    left = [times]

    def answer(handler: Handler, file: File | None) -> None:
        if left[0]:
            left[0] -= 1
            for child in multiprocessing.active_children():
                os.kill(child.pid or 0, signal.SIGKILL)
            handler.hang_up(reset=False)
        else:
            (then or well())(handler, file)

    return answer


def test_a_killed_worker_costs_its_hour_a_try(archive: Archive, lake: Lake) -> None:
    publish(archive, first(6))
    archive.script[f"/{FIRST + 2}.json.gz"] = [_killing()]
    notes = Notes()
    summary = run(job(lake, archive.url), first(6), workers=1, watch=notes)
    assert outcomes(summary) == [HourOutcome.STORED] * 6
    (lost,) = (report for report, again in notes.ends if again)
    assert lost.hour == FIRST + 2
    assert "SIGKILL" in (lost.reason or "")


def test_an_hour_that_kills_every_worker_is_failed_and_noted(archive: Archive, lake: Lake) -> None:
    publish(archive, first(3))
    archive.script[f"/{FIRST}.json.gz"] = [_killing(times=9)] * 9
    summary = run(job(lake, archive.url), first(3), workers=1)
    assert outcomes(summary) == [HourOutcome.FAILED, HourOutcome.STORED, HourOutcome.STORED]
    manifest = lake.manifest(FIRST)
    assert manifest is not None
    assert manifest.status is Status.FAILED
    assert "SIGKILL" in (manifest.reason or "")


def test_a_worker_killed_before_it_began_costs_its_hour_nothing(
    archive: Archive, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is sent names a module that takes long to import, for anybody but the parent."""
    module = tmp_path / "slow_for_workers.py"
    wait = f"import os, time\ntime.sleep(60 * (os.getpid() != {os.getpid()}))\n"
    module.write_text(f"{wait}def scrub(text):\n    return text\n")
    monkeypatch.syspath_prepend(tmp_path)
    scrub = importlib.import_module("slow_for_workers").scrub
    log = LogSettings(format="plain", level="info", scrub=scrub, on_terminal=False)
    publish(archive, first(1))
    with WorkerPool(1, replace(job(lake, archive.url), log=log)) as executors:
        executors.submit(FIRST)
        (child,) = multiprocessing.active_children()
        os.kill(child.pid or 0, signal.SIGKILL)
        (heard,) = executors.poll()
    assert heard == StartupFailure(FIRST)


def test_workers_that_cannot_begin_are_no_endless_loop(
    archive: Archive, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What they are sent names a module that is there for the parent alone."""
    module = tmp_path / "gone_by_then.py"
    module.write_text("def scrub(text):\n    return text\n")
    monkeypatch.syspath_prepend(tmp_path)
    scrub = importlib.import_module("gone_by_then").scrub
    module.unlink()
    monkeypatch.setattr(worker_pool, "_MAX_STARTUP_FAILURES", 1)
    log = LogSettings(format="plain", level="info", scrub=scrub, on_terminal=False)
    with pytest.raises(WorkerPoolError, match="exit code 1"):
        run(replace(job(lake, archive.url), log=log), first(3), workers=1)


def test_an_hour_that_another_run_has_is_waited_for_and_not_done_twice(archive: Archive, lake: Lake) -> None:
    publish(archive, first(3))
    with ExitStack() as other:
        assert other.enter_context(lake.lock(FIRST))

        def finish_as_the_other(report: HourReport) -> None:
            if report.outcome is HourOutcome.LOCKED and lake.manifest(FIRST) is None:
                alone = Worker(job(Lake.at(str(elsewhere)), archive.url), lambda _: None)
                assert alone.run(FIRST).outcome is HourOutcome.STORED
                for name in ("events", "manifests"):
                    for path in (elsewhere / name).rglob("*.*"):
                        if path.is_file():
                            target = Path(lake.address) / path.relative_to(elsewhere)
                            target.parent.mkdir(parents=True, exist_ok=True)
                            path.rename(target)
                other.close()

        elsewhere = Path(lake.address).with_name("elsewhere")
        notes = Notes(at_end=finish_as_the_other)
        summary = run(job(lake, archive.url), first(3), lock=60, watch=notes)
    assert outcomes(summary) == [HourOutcome.UNCHANGED, HourOutcome.STORED, HourOutcome.STORED]
    assert set(asked(archive).values()) == {1}


def test_an_hour_that_another_run_keeps_is_reported(archive: Archive, lake: Lake) -> None:
    publish(archive, first(2))
    with lake.lock(FIRST):
        summary = run(job(lake, archive.url), first(2))
    assert outcomes(summary) == [HourOutcome.LOCKED, HourOutcome.STORED]
    assert "another run" in (summary.left[0].reason or "")


def test_two_backfills_of_one_range_do_each_hour_once(archive: Archive, lake: Lake) -> None:
    hours = first(12)
    publish(archive, first(10))
    todo = planned(lake, hours)
    summaries: list[Summary] = []

    def fill() -> None:
        retry_policy = RetryPolicy(retries=0, lock=60)
        summaries.append(backfill(todo, job(lake, archive.url), workers=2, retry_policy=retry_policy, watch=Notes()))

    other = threading.Thread(target=fill)
    other.start()
    fill()
    other.join()
    assert set(asked(archive).values()) == {1}
    assert len(asked(archive)) == 12
    done = Counter(report.hour for summary in summaries for report in summary.reports if report.fetched)
    assert done == Counter(first(10))
    assert all(len(summary.left) == 2 for summary in summaries)


@pytest.mark.parametrize("in_the_way", ["events", "."])
def test_a_lake_that_cannot_be_written_stops_it_soon(archive: Archive, lake: Lake, in_the_way: str) -> None:
    publish(archive, first(40))
    todo = planned(lake, first(40))
    way = Path(lake.address) / in_the_way
    way.parent.mkdir(parents=True, exist_ok=True)
    way.touch()
    retry_policy = RetryPolicy(retries=2, lock=60)
    summary = backfill(todo, job(lake, archive.url), workers=2, retry_policy=retry_policy, watch=Notes())
    assert summary.stopped is not None
    assert "a file is in the place of a folder" in (summary.stopped.hint or "")
    assert summary.stopped.exit_code is ExitCode.STORE_FAILED
    assert len(summary.reports) == 40
    assert 5 <= outcomes(summary).count(HourOutcome.FAILED) <= 8


def test_single_failures_of_the_lake_stop_nothing(archive: Archive, lake: Lake) -> None:
    hours = first(12)
    publish(archive, hours)
    for number in (1, 4, 7, 10):
        in_the_way = (Path(lake.address) / events_key(FIRST + number)).parent
        in_the_way.parent.mkdir(parents=True, exist_ok=True)
        in_the_way.touch()
    summary = run(job(lake, archive.url), hours, workers=1, retries=0)
    assert summary.stopped is None
    assert [report.hour.hour for report in summary.left] == [1, 4, 7, 10]


class _EnoughError(Exception):
    pass


@pytest.mark.parametrize("error", [KeyboardInterrupt, _EnoughError])
def test_interrupted_it_leaves_neither_processes_nor_halves(
    archive: Archive, lake: Lake, error: type[BaseException]
) -> None:
    hours = first(8)
    publish(archive, hours, events=3000)
    arrived = threading.Event()

    def trickle(handler: Handler, file: File | None) -> None:
        assert file is not None
        handler.head(200, file.headers, len(file.content))
        handler.body(file.content[: len(file.content) // 2])
        arrived.set()
        handler.archive.stopping.wait()
        handler.hang_up(reset=False)

    archive.otherwise = trickle
    archive.script[f"/{FIRST}.json.gz"] = [well()]

    def enough(hour: Hour) -> None:
        if hour == FIRST + 2:
            arrived.wait()
            raise error

    with pytest.raises(error):
        run(job(lake, archive.url), hours, watch=Notes(at_begin=enough))
    assert multiprocessing.active_children() == []
    assert {path.name for path in (Path(lake.address) / ".tmp").rglob("*")} == {"commit.lock", "locks"}
    archive.otherwise = None
    assert sum(not report.outcome.is_fine for report in run(job(lake, archive.url), hours).reports) == 0
    assert [sound(lake, hour).status for hour in hours] == [Status.COMPLETE] * 8


def test_a_shrunken_hour_is_kept_and_told(archive: Archive, lake: Lake) -> None:
    publish(archive, first(2))
    run(job(lake, archive.url), first(2))
    before = sound(lake, FIRST)
    archive.files[f"/{FIRST}.json.gz"] = File(packed(documents(EVENTS - 5, hour=FIRST)), etag='"v2"')
    summary = run(job(lake, archive.url, redo=ReprocessMode.STORED, refresh=True), first(2))
    assert outcomes(summary) == [HourOutcome.KEPT, HourOutcome.UNCHANGED]
    assert summary.left == []
    (told,) = summary.told
    assert "--force" in (told.hint or "")
    assert sound(lake, FIRST) == before
    forced = run(job(lake, archive.url, redo=ReprocessMode.ALL, force=True), first(2))
    assert outcomes(forced) == [HourOutcome.REPLACED] * 2
    assert sound(lake, FIRST).content.events == EVENTS - 5  # type: ignore[union-attr]


def test_damage_and_youth_are_reported(archive: Archive, lake: Lake) -> None:
    whole = packed(documents(400, hour=FIRST))
    archive.files[f"/{FIRST}.json.gz"] = File(whole[: len(whole) // 2])
    archive.files[f"/{FIRST + 1}.json.gz"] = File(packed([]))
    summary = run(job(lake, archive.url), first(2))
    assert outcomes(summary) == [HourOutcome.PARTIAL, HourOutcome.SUSPECT]
    assert 0 < summary.reports[0].events < 400
    young = Hour.containing(datetime.now(UTC)) - 2
    assert outcomes(run(job(lake, archive.url), HourRange(young, young))) == [HourOutcome.PENDING]


def test_a_defect_is_one_hours_failure_and_tells_no_content(archive: Archive, lake: Lake) -> None:
    secret = "someone" + "@" + "example.com"

    def explode(_: object) -> None:
        raise ZeroDivisionError(secret)

    publish(archive, first(1))
    options = replace(job(lake, archive.url).options, rate_limiter=explode)
    worker = Worker(job(lake, archive.url), lambda _: None)
    worker._options = options
    report = worker.run(FIRST)
    assert report.outcome is HourOutcome.FAILED
    assert "ZeroDivisionError" in (report.reason or "")
    assert secret not in repr(report)
    with lake.lock(FIRST) as held:
        assert held


def test_a_rate_is_kept_over_the_hours_of_a_worker(archive: Archive, lake: Lake) -> None:
    """Hours too small to be slowed one by one are slowed together; the worker's own clock says by how much."""
    publish(archive, first(3), events=200)
    sizes = [len(archive.files[f"/{hour}.json.gz"].content) for hour in first(3)]
    rate = sum(sizes)
    summary = run(replace(job(lake, archive.url), max_rate=rate), first(3), workers=1)
    assert outcomes(summary) == [HourOutcome.STORED] * 3
    assert sum(report.seconds for report in summary.reports) >= 0.5 - 0.01  # A second's worth, less the burst.


def test_a_folder_is_as_good_a_source(tmp_path: Path, lake: Lake) -> None:
    for hour in first(3):
        put(tmp_path / "source", packed(documents(EVENTS, hour=hour)), hour)
    assert outcomes(run(job(lake, tmp_path / "source"), first(3))) == [HourOutcome.STORED] * 3


def test_a_bucket_is_as_good_a_lake(archive: Archive, gcs_address: str) -> None:
    # The process that workers are forked from may have begun before the emulator, of which the environment tells.
    multiprocessing.forkserver._forkserver._stop()  # type: ignore[attr-defined]  # what Python's own tests do
    lake = Lake.at(gcs_address)
    publish(archive, first(3))
    with lake.lock(FIRST + 1):
        summary = run(job(lake, archive.url), first(4))
    assert outcomes(summary) == [HourOutcome.STORED, HourOutcome.LOCKED, HourOutcome.STORED, HourOutcome.MISSING]
    summary = run(job(lake, archive.url), first(4))
    assert outcomes(summary) == [HourOutcome.UNCHANGED, HourOutcome.STORED, HourOutcome.UNCHANGED, HourOutcome.MISSING]
    assert set(asked(archive).values()) == {1}
    assert list(lake.store.list("locks/")) == []
