"""The hour of a run is its execution date less the lag that is given: across every border a calendar has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.hours import FIRST_HOUR, Hour
from etl.mage.execution_date import hour_of_run, whole_number, yes_or_no

STARTS = st.datetimes(
    min_value=datetime(2011, 3, 1),  # noqa: DTZ001 -- the strategy adds the zone
    max_value=datetime(2026, 11, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)


@pytest.mark.parametrize(
    ("fired_at", "hour"),
    [
        ("2026-10-01T00:20:00", "2026-09-30-23"),
        ("2026-01-01T00:20:00", "2025-12-31-23"),
        ("2024-02-29T00:20:00", "2024-02-28-23"),
        ("2024-03-01T00:20:00", "2024-02-29-23"),
        ("2025-03-01T00:20:00", "2025-02-28-23"),
        # US Pacific time springs forward and falls back; UTC does not, and a run is in UTC.
        ("2026-03-08T10:20:00", "2026-03-08-9"),
        ("2026-03-08T11:20:00", "2026-03-08-10"),
        ("2026-11-01T09:20:00", "2026-11-01-8"),
        ("2026-11-01T10:20:00", "2026-11-01-9"),
    ],
)
def test_a_trigger_at_minute_20_takes_the_hour_before(fired_at: str, hour: str) -> None:
    naive = datetime.fromisoformat(fired_at)
    for date in (naive, naive.replace(tzinfo=UTC), fired_at, f"{fired_at}+00:00"):
        assert str(hour_of_run({"execution_date": date, "lag_hours": 1, "interval_seconds": 3600.0})) == hour


@given(STARTS, st.integers(0, 300))
def test_the_hour_lies_so_many_hours_before_the_one_that_the_run_began_in(at: datetime, lag: int) -> None:
    hour = hour_of_run({"execution_date": at, "lag_hours": lag})
    assert timedelta(hours=lag) <= at - hour.start < timedelta(hours=lag + 1)


@given(STARTS)
def test_the_zone_of_the_date_does_not_matter(at: datetime) -> None:
    zones = (ZoneInfo("America/Los_Angeles"), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-11)))
    hours = {hour_of_run({"execution_date": at.astimezone(zone), "lag_hours": 0}) for zone in zones}
    assert hours == {Hour.containing(at)}


@given(STARTS.map(lambda at: at.replace(minute=0, second=0, microsecond=0)), st.integers(1, 60))
def test_a_backfills_runs_are_its_hours_each_once(start: datetime, count: int) -> None:
    dates = [start + timedelta(hours=step) for step in range(count)]
    hours = [hour_of_run({"execution_date": date, "lag_hours": 0, "interval_seconds": 3600.0}) for date in dates]
    assert hours == [Hour.containing(start) + step for step in range(count)]


@pytest.mark.parametrize("seconds", [60, 86_400, 604_800])
def test_a_backfill_by_another_interval_is_refused(seconds: int) -> None:
    with pytest.raises(UsageError, match=f"by {seconds} seconds") as refusal:
        hour_of_run({"execution_date": "2015-01-01T00:00:00", "lag_hours": 0, "interval_seconds": seconds})
    assert "interval type hour" in str(refusal.value.hint)


@pytest.mark.parametrize(
    "variables",
    [
        {"execution_date": "2015-01-01T00:00:00"},
        {"execution_date": "2015-01-01T00:00:00", "lag_hours": None},
        {"execution_date": "2015-01-01T00:00:00", "lag_hours": -1},
        {"execution_date": "2015-01-01T00:00:00", "lag_hours": "soon"},
        {"execution_date": "2015-01-01T00:00:00", "lag_hours": True},
        {"execution_date": "2015-01-01T00:00:00", "lag_hours": 1.5},
        {"execution_date": "yesterday", "lag_hours": 1},
        {"execution_date": None, "lag_hours": 1},
        {"execution_date": 7, "lag_hours": 1},
        {"lag_hours": 1},
        {"execution_date": FIRST_HOUR.start, "lag_hours": 1},
    ],
)
def test_what_makes_no_sense_is_refused_and_never_guessed(variables: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        hour_of_run(variables)


def test_numbers_and_answers_may_come_as_texts() -> None:
    assert whole_number({"lag_hours": "1"}, "lag_hours", least=0, most=5) == 1
    assert yes_or_no({"refresh": "True"}, "refresh")
    assert not yes_or_no({"refresh": False}, "refresh")


@pytest.mark.parametrize("value", [None, "", "maybe", 1])
def test_what_is_neither_true_nor_false_is_refused(value: object) -> None:
    with pytest.raises(UsageError, match="refresh"):
        yes_or_no({"refresh": value}, "refresh")
