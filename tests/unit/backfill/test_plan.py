"""What a backfill finds to do, and what it says it will cost."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.backfill.estimate import estimate, size_by_year
from etl.backfill.plan import Plan, ReprocessMode, plan
from etl.backfill.summary import HourOutcome
from etl.coverage.retry_schedule import DEFAULT_POLICY
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import manifest_key
from etl.lake.manifest import Content, FileFacts, Manifest, SourceFacts, Status, encode

FIRST = Hour.of(2015, 1, 1, 0)
DAY = HourRange(FIRST, FIRST + 23)
NOW = datetime(2026, 1, 1, tzinfo=UTC)
SECONDS_BEFORE = timedelta(seconds=10)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path))


def put(
    lake: Lake,
    hour: Hour,
    status: Status,
    *,
    source_bytes: int = 1000,
    ago: timedelta = SECONDS_BEFORE,
    events: int = 1,
) -> None:
    """Writes a manifest as a run that ended some time ago would have left it."""
    content = _content(hour, status, source_bytes, events) if status.has_events else None
    file = FileFacts(key="k", bytes=500, rows=1, sha256="0" * 64) if status.has_events else None
    manifest = Manifest(
        hour=str(hour),
        status=status,
        reason=None if status is Status.COMPLETE else "for some reason",
        content=content,
        events_file=file,
        started_at=NOW - ago - timedelta(seconds=2),
        finished_at=NOW - ago,
        attempts=1,
    )
    lake.store.write(manifest_key(hour), encode(manifest))


def _content(hour: Hour, status: Status, source_bytes: int, events: int) -> Content:
    source = SourceFacts(
        address="a",
        etag=None,
        last_modified=None,
        bytes=source_bytes,
        sha256="0" * 64,
        sidecar=False,
        interrupted=False,
    )
    return Content(
        hour=str(hour),
        status=status,
        reason=None,
        era="C",
        source=source,
        documents=events,
        events=events,
        unreadable=0,
        repaired=0,
        duplicates=0,
        types={"PushEvent": events},
        first_created_at=None,
        last_created_at=None,
        damage=[],
        quarantine_file=None,
        schema_version=1,
        emails="hash",
        software="test",
    )


def due(
    lake: Lake, hours: HourRange = DAY, *, redo: ReprocessMode = ReprocessMode.NONE, now: datetime = NOW
) -> list[Hour]:
    return list(plan(lake, hours, policy=DEFAULT_POLICY, now=now, redo=redo).due)


def test_of_an_empty_lake_all_is_due(lake: Lake) -> None:
    assert due(lake) == list(DAY)


@settings(deadline=None, max_examples=30)
@given(statuses=st.lists(st.none() | st.sampled_from(Status), min_size=24, max_size=24))
def test_every_hour_is_either_due_or_settled(
    tmp_path_factory: pytest.TempPathFactory, statuses: list[Status | None]
) -> None:
    lake = Lake.at(str(tmp_path_factory.mktemp("lake")))
    for hour, status in zip(DAY, statuses, strict=True):
        if status is not None:
            put(lake, hour, status)
    found = plan(lake, DAY, policy=DEFAULT_POLICY, now=NOW)
    assert sorted([*found.due, *(report.hour for report in found.settled)]) == list(DAY)
    by_hour = dict(zip(DAY, statuses, strict=True))
    assert [by_hour[hour] for hour in found.due if by_hour[hour] in {Status.COMPLETE, Status.SUSPECT}] == []
    assert {by_hour[hour] for hour in found.due} <= {None, Status.PENDING, Status.FAILED}


def test_what_is_missing_is_asked_for_again_in_time(lake: Lake) -> None:
    put(lake, FIRST, Status.MISSING, ago=timedelta(days=6))
    put(lake, FIRST + 1, Status.MISSING, ago=timedelta(days=8))
    put(lake, FIRST + 2, Status.PARTIAL, ago=timedelta(hours=23))
    put(lake, FIRST + 3, Status.PARTIAL, ago=timedelta(hours=25))
    assert due(lake, HourRange(FIRST, FIRST + 3)) == [FIRST + 1, FIRST + 3]


def test_sources_are_asked_again_about_young_hours_and_suspect_ones(lake: Lake) -> None:
    young = Hour(NOW - timedelta(hours=9))
    put(lake, young, Status.COMPLETE, ago=timedelta(hours=7))
    put(lake, young + 1, Status.COMPLETE, ago=timedelta(hours=1))
    for week in range(-8, 9):
        put(lake, FIRST + 24 * 7 * (10 + week), Status.COMPLETE, events=10_000, ago=timedelta(days=40))
    poor, old = FIRST + 24 * 7 * 10, FIRST + 24 * 7 * 9
    put(lake, poor, Status.COMPLETE, events=100, ago=timedelta(days=40))

    def found(first: Hour, last: Hour) -> Plan:
        return plan(lake, HourRange(first, last), policy=DEFAULT_POLICY, now=NOW, recheck=True)

    assert found(young, young + 1).due == [young]
    assert found(young, young + 1).rechecks == {young}
    assert poor in found(old, poor).due
    assert old not in found(old, poor).due
    assert found(poor, poor).rechecks == {poor}
    put(lake, poor, Status.COMPLETE, events=100, ago=timedelta(days=20))
    assert found(poor, poor).due == []
    assert due(lake, HourRange(young, young + 1)) == []


def test_an_hour_that_is_not_over_is_never_due(lake: Lake) -> None:
    for redo in ReprocessMode:
        found = due(lake, DAY, redo=redo, now=datetime(2015, 1, 1, 2, 30, tzinfo=UTC))
        assert found == [FIRST, FIRST + 1]


def test_what_there_is_can_be_done_again(lake: Lake) -> None:
    put(lake, FIRST, Status.COMPLETE)
    put(lake, FIRST + 1, Status.PARTIAL)
    put(lake, FIRST + 2, Status.MISSING)
    hours = HourRange(FIRST, FIRST + 3)
    assert due(lake, hours) == [FIRST + 3]
    assert due(lake, hours, redo=ReprocessMode.STORED) == [FIRST, FIRST + 1, FIRST + 3]
    assert due(lake, hours, redo=ReprocessMode.ALL) == list(hours)


def test_a_known_hole_is_no_missing_hour(lake: Lake) -> None:
    hole = Hour.of(2016, 10, 21, 18)
    put(lake, hole, Status.MISSING)
    put(lake, hole + 1, Status.MISSING)
    settled = plan(lake, HourRange(hole, hole + 1), policy=DEFAULT_POLICY, now=NOW).settled
    assert [report.outcome for report in settled] == [HourOutcome.KNOWN_GAP, HourOutcome.MISSING]


def test_a_manifest_that_cannot_be_read_is_processed_again(lake: Lake) -> None:
    put(lake, FIRST, Status.COMPLETE)
    lake.store.write(manifest_key(FIRST + 1), b"{")
    assert due(lake, HourRange(FIRST, FIRST + 1)) == [FIRST + 1]


def test_the_years_agree_with_what_is_known_of_the_archive() -> None:
    def total(first: int, last: int) -> float:
        return sum(size_by_year(Hour.of(year, 6, 1, 0)) * 365.25 * 24 for year in range(first, last + 1))

    assert size_by_year(FIRST_HOUR) == 300_000
    assert total(2011, 2020) == pytest.approx(1.2e12, rel=0.1)
    assert all(90e6 <= size_by_year(Hour.of(year, 6, 1, 0)) <= 150e6 for year in (2024, 2025))
    assert size_by_year(Hour(datetime(2031, 1, 1, tzinfo=UTC))) == size_by_year(Hour.of(2025, 1, 1, 0))


def test_a_cost_is_judged_by_neighbours_where_there_are_some(lake: Lake) -> None:
    for hour in HourRange(FIRST, FIRST + 4):
        put(lake, hour, Status.COMPLETE, source_bytes=50)
    far = FIRST + 24 * 30
    found = plan(lake, HourRange(FIRST, far), policy=DEFAULT_POLICY, now=NOW)
    cost = estimate(lake, found, workers=2)
    near = 24 * 7  # From FIRST + 5 to a week after FIRST + 4.
    assert cost.hours == len(found.due) == 24 * 30 - 4
    assert cost.like_neighbours == near
    assert cost.source_bytes == near * 50 + (cost.hours - near) * size_by_year(FIRST)
    assert cost.parquet_bytes == near * 500 + (cost.hours - near) * size_by_year(FIRST)


def test_measured_hours_take_what_they_took_over_the_workers_or_one_after_the_other(lake: Lake) -> None:
    put(lake, FIRST, Status.COMPLETE)
    cost = estimate(lake, plan(lake, DAY, policy=DEFAULT_POLICY, now=NOW), workers=4)
    assert (cost.hours, cost.like_neighbours) == (23, 23)
    assert cost.fastest == pytest.approx(23 * 2 / 4)
    assert cost.slowest == pytest.approx(23 * 2)


@pytest.mark.parametrize("year", [2011, 2013, 2015, 2024, 2026])
@given(workers=st.integers(1, 64), processors=st.integers(1, 64), hours=st.integers(1, 500))
@settings(deadline=None, max_examples=20)
def test_without_measured_hours_the_processors_and_the_network_bound_the_time(
    tmp_path_factory: pytest.TempPathFactory, year: int, workers: int, processors: int, hours: int
) -> None:
    lake = Lake.at(str(tmp_path_factory.mktemp("lake")))
    first = Hour.of(year, 6, 1, 0)
    found = Plan(HourRange(first, first + (hours - 1)), [first + step for step in range(hours)], [])
    cost = estimate(lake, found, workers=workers, processors=processors)
    assert cost.fastest <= cost.slowest
    assert cost.slowest >= cost.source_bytes * 8 / 100e6
    # The benchmark's rate of one processor, which no number of workers makes better.
    assert cost.fastest >= cost.source_bytes * 67e-9 / processors
    alone = estimate(lake, found, workers=1)
    assert alone.fastest >= cost.fastest


def test_room_is_compared_with_what_is_free(lake: Lake) -> None:
    year = Plan(DAY, [FIRST], [])
    cost = estimate(lake, year, workers=1)
    assert cost.free_bytes is not None
    assert cost.fits
    assert not replace(cost, free_bytes=cost.parquet_bytes - 1).fits
    assert replace(cost, free_bytes=None).fits
    assert estimate(Lake.at(str(Path(lake.address) / "not" / "there")), year, workers=1).free_bytes is not None


def test_a_rate_bounds_the_time_from_below(lake: Lake) -> None:
    found = plan(lake, DAY, policy=DEFAULT_POLICY, now=NOW)
    free, bound = estimate(lake, found, workers=4), estimate(lake, found, workers=4, max_rate=1000)
    assert bound.source_bytes == free.source_bytes
    assert bound.fastest == bound.slowest == pytest.approx(free.source_bytes / 1000)
    assert free.slowest < bound.fastest
    assert estimate(lake, found, workers=1).fastest == pytest.approx(free.fastest * 4)


def test_nothing_costs_nothing(lake: Lake) -> None:
    put(lake, FIRST, Status.COMPLETE)
    cost = estimate(lake, plan(lake, HourRange(FIRST, FIRST), policy=DEFAULT_POLICY, now=NOW), workers=2)
    assert (cost.hours, cost.source_bytes, cost.parquet_bytes, cost.fastest, cost.slowest) == (0, 0, 0, 0, 0)
