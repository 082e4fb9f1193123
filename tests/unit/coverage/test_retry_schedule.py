"""When an hour is tried again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.coverage.retry_schedule import DEFAULT_POLICY, RetrySchedule, next_recheck, next_try
from etl.hours import FIRST_HOUR, Hour
from etl.lake.manifest import Manifest, Status

HOUR = Hour.of(2025, 3, 1, 12)
END = HOUR.window[1]
DAY = timedelta(days=1)
NOW = END + 400 * DAY


def noted(status: Status, finished_at: datetime, hour: Hour = HOUR) -> Manifest:
    return Manifest(hour=str(hour), status=status, started_at=finished_at, finished_at=finished_at, attempts=1)


@pytest.mark.parametrize("status", [Status.COMPLETE, Status.SUSPECT])
def test_what_has_its_events_is_done(status: Status) -> None:
    assert next_try(HOUR, noted(status, END), DEFAULT_POLICY, NOW) is None


@pytest.mark.parametrize("hour", [HOUR, Hour.of(2013, 7, 1, 5)])
def test_an_unknown_hour_is_due_when_it_is_over(hour: Hour) -> None:
    assert next_try(hour, None, DEFAULT_POLICY, NOW) == hour.window[1]


@pytest.mark.parametrize("status", [Status.PENDING, Status.FAILED])
def test_pending_and_failed_are_due_at_once(status: Status) -> None:
    asked = END + timedelta(minutes=5)
    assert next_try(HOUR, noted(status, asked), DEFAULT_POLICY, asked) == asked


def test_an_hour_that_was_asked_for_before_it_ended_is_due_at_its_end() -> None:
    early = END - timedelta(minutes=30)
    assert next_try(HOUR, noted(Status.PENDING, early), DEFAULT_POLICY, early) == END


def test_a_partial_hour_waits_a_day() -> None:
    assert next_try(HOUR, noted(Status.PARTIAL, END), DEFAULT_POLICY, NOW) == END + DAY


@pytest.mark.parametrize(
    ("age", "wait"),
    [(7 * DAY, DAY), (30 * DAY - timedelta(seconds=1), DAY), (30 * DAY, 7 * DAY), (300 * DAY, 7 * DAY)],
)
def test_a_missing_hour_is_asked_for_daily_then_weekly(age: timedelta, wait: timedelta) -> None:
    assert next_try(HOUR, noted(Status.MISSING, END + age), DEFAULT_POLICY, NOW) == END + age + wait


@pytest.mark.parametrize(
    ("asked", "due"),
    [
        (timedelta(minutes=5), timedelta(hours=1)),
        (timedelta(hours=1), timedelta(hours=6)),
        (timedelta(hours=7), DAY),
        (2 * DAY, 7 * DAY),
        (29 * DAY, 30 * DAY),
        (30 * DAY, None),
        (400 * DAY, None),
    ],
)
@pytest.mark.parametrize("suspect", [False, True])
def test_sources_are_asked_about_a_stored_hour_as_it_ages(
    *, asked: timedelta, due: timedelta | None, suspect: bool
) -> None:
    if suspect and due is None:
        due = asked + 30 * DAY
    expected = None if due is None else END + due
    assert next_recheck(HOUR, END + asked, DEFAULT_POLICY, suspect=suspect) == expected


def test_an_hour_that_never_was_is_asked_for_once() -> None:
    never, lost = Hour.parse("2013-03-10-2"), Hour.parse("2016-10-21-18")
    assert next_try(never, None, DEFAULT_POLICY, NOW) is not None
    assert next_try(never, noted(Status.MISSING, NOW - DAY, never), DEFAULT_POLICY, NOW) is None
    assert next_try(lost, noted(Status.MISSING, NOW - DAY, lost), DEFAULT_POLICY, NOW) == NOW + 6 * DAY


_MINUTES = st.integers(0, 60 * 24 * 900)


@given(
    hour=st.integers(0, 137_000).map(lambda step: FIRST_HOUR + step),
    status=st.none() | st.sampled_from(Status),
    asked_after=_MINUTES,
    now_after=_MINUTES,
)
def test_no_try_before_the_hour_is_over_and_none_put_off_for_longer_than_a_week(
    hour: Hour, status: Status | None, asked_after: int, now_after: int
) -> None:
    end = hour.window[1]
    asked, now = (end + timedelta(minutes=minutes - 60) for minutes in (asked_after, now_after))
    manifest = None if status is None else noted(status, asked, hour)
    due = next_try(hour, manifest, DEFAULT_POLICY, now)
    if due is None:
        return
    assert due >= end
    # Whatever the clock said when it was noted: from now on it is a week at most.
    assert due <= max(now, end) + timedelta(days=7)
    later = next_try(hour, manifest, RetrySchedule(weekly_wait=timedelta(days=14)), now)
    assert later is not None
    assert later >= due


def test_a_note_of_the_future_puts_nothing_off() -> None:
    tomorrow = datetime(2026, 1, 1, tzinfo=UTC)
    now = tomorrow - DAY
    assert next_try(HOUR, noted(Status.MISSING, tomorrow), DEFAULT_POLICY, now) == now
