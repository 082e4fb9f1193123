"""The hour: reading, printing, counting, and what the archive's names meant in era B."""

from __future__ import annotations

import copy
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.hours import FIRST_HOUR, Hour, HourRange, newest_finished_hour

PACIFIC = ZoneInfo("America/Los_Angeles")
LAST = Hour.of(2025, 12, 31, 23)
"""The last hour of these tests, not of the archive."""
ERA_B = HourRange(Hour.of(2012, 3, 10, 22), Hour.of(2014, 12, 31, 23))

hours = st.integers(0, len(HourRange(FIRST_HOUR, LAST)) - 1).map(lambda count: FIRST_HOUR + count)
era_b_hours = st.integers(0, len(ERA_B) - 1).map(lambda count: ERA_B.first + count)
zones = st.one_of(
    st.integers(-23, 23).map(lambda offset: timezone(timedelta(hours=offset, minutes=30))), st.just(PACIFIC)
)


def everything_said(error: UsageError) -> str:
    return f"{error.message}; {error.hint}"


# ---------------------------------------------------------------------------------------------------- reading, printing
@settings(deadline=None)
@given(hour=hours)
def test_what_is_printed_is_read_back(hour: Hour) -> None:
    assert Hour.parse(str(hour)) == hour
    assert Hour.of(hour.start.year, hour.start.month, hour.start.day, hour.hour) == hour


@settings(deadline=None)
@given(hour=hours)
def test_iso_8601_is_read(hour: Hour) -> None:
    iso = f"{hour.date}T{hour.hour:02}"
    for text in (iso, f"{iso}:00", f"{iso}Z", f"{iso}:00Z", f"{iso}:00:00Z", f"{iso}:00:00.000Z", f"{iso}:00:00+00:00"):
        assert Hour.parse(text) == hour
    assert Hour.parse(hour.start.isoformat()) == hour
    assert Hour.parse(f" {hour.start}\n") == hour


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("2015-01-01-15", "2015-01-01-15"),
        ("2015-01-01-04", "2015-01-01-4"),
        ("2015-1-1-4", "2015-01-01-4"),
        ("2015-01-01 04:00", "2015-01-01-4"),
        ("2015-12-31T23:00:00Z", "2015-12-31-23"),
    ],
)
def test_there_is_one_printed_form(text: str, printed: str) -> None:
    assert str(Hour.parse(text)) == printed


def test_parts() -> None:
    hour = Hour.parse("2015-01-01-4")
    assert (hour.date, hour.hour) == ("2015-01-01", 4)
    assert hour.start == datetime(2015, 1, 1, 4, tzinfo=UTC)
    assert hour.start.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2015",
        "2015-01-01",
        "2015-01-01-",
        "2015-01-01-015",
        "15-01-01-4",
        "2015/01/01/4",
        "2015-01-01-15.json.gz",
        "2015-01-01T15:30:00Z",
        "2015-01-01T15:00:01Z",
        "2015-01-01T15:00:00+01:00",
        "2015-01-01T15:00:00-08:00",
        "-2015-01-01-15",
        "٢٠١٥-٠١-٠١-١٥",  # noqa: RUF001  # digits to str.isdigit, not to the archive
        "yesterday",
    ],
)
def test_what_is_no_hour_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="is not an hour") as caught:
        Hour.parse(text)
    assert repr(text) in caught.value.message
    assert "2015-01-01-15" in everything_said(caught.value)


@settings(deadline=None)
@given(text=st.text(alphabet="0123456789-T :Z+.", max_size=25))
def test_text_is_an_hour_or_refused(text: str) -> None:
    try:
        hour = Hour.parse(text)
    except UsageError as error:
        said = everything_said(error)
    else:
        said = "2015-01-01-15"
        assert Hour.parse(str(hour)) == hour
    assert "2015-01-01-15" in said or str(FIRST_HOUR) in said


# ---------------------------------------------------------------------------------------------------- refusals
@pytest.mark.parametrize(
    "text",
    [
        "2015-02-29-0",
        "2100-02-29-0",
        "2015-04-31-0",
        "2015-00-01-0",
        "2015-13-01-0",
        "2015-01-00-0",
        "2015-01-32-0",
        "2015-01-01-24",
        "0000-01-01-0",
    ],
)
def test_an_hour_that_is_in_no_calendar_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(UsageError, match="invalid hour") as caught:
        Hour.parse(text)
    assert str(FIRST_HOUR) in everything_said(caught.value)
    assert "hour 0..23" in everything_said(caught.value)


@pytest.mark.parametrize("text", ["2011-02-11-23", "2010-12-31-0", "0001-01-01-0"])
def test_an_hour_before_the_archive_is_refused_with_the_range(text: str) -> None:
    with pytest.raises(UsageError, match="before the archive's first hour") as caught:
        Hour.parse(text)
    assert "2011-02-12-0" in everything_said(caught.value)


def test_the_first_hour_has_none_before_it() -> None:
    assert str(FIRST_HOUR) == "2011-02-12-0"
    assert Hour.parse("2011-02-12-0") == FIRST_HOUR
    with pytest.raises(UsageError, match="before the archive's first hour"):
        FIRST_HOUR - 1


def test_an_hour_in_the_future_is_refused_with_the_range() -> None:
    ahead = newest_finished_hour() + 3
    for text in (str(ahead), "9999-12-31-23"):
        with pytest.raises(UsageError, match="in the future") as caught:
            Hour.parse(text)
        said = everything_said(caught.value)
        assert str(FIRST_HOUR) in said
        assert any(str(newest) in said for newest in (ahead - 3, ahead - 2)), "the clock may strike meanwhile"


def test_the_running_hour_is_an_hour() -> None:
    running = newest_finished_hour() + 1
    assert Hour.parse(str(running)) == running


@settings(deadline=None)
@given(numbers=st.tuples(*[st.one_of(st.integers(-1, 32), st.integers(2009, 2030), st.integers())] * 4))
@example(numbers=(10**20, 1, 1, 1))
@example(numbers=(2015, 1, 1, -1))
def test_four_numbers_are_an_hour_or_refused(numbers: tuple[int, int, int, int]) -> None:
    year, month, day, hour = numbers
    try:
        made = Hour.of(year, month, day, hour)
    except UsageError as error:
        said = everything_said(error)
    else:
        said = str(FIRST_HOUR)
        assert str(made) == f"{year:04}-{month:02}-{day:02}-{hour}"
    assert str(FIRST_HOUR) in said


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (datetime(2015, 1, 1, 15), "an hour must be in UTC"),  # noqa: DTZ001  # it is what is refused
        (datetime(2015, 1, 1, 15, tzinfo=PACIFIC), "an hour must be in UTC"),
        (datetime(2015, 1, 1, 15, tzinfo=timezone(timedelta(hours=1))), "an hour must be in UTC"),
        (datetime(2015, 1, 1, 15, 1, tzinfo=UTC), "not a full hour"),
        (datetime(2015, 1, 1, 15, 0, 0, 1, tzinfo=UTC), "not a full hour"),
        (datetime(2011, 2, 11, 23, tzinfo=UTC), "before the archive's first hour"),
    ],
)
def test_an_hour_starts_on_a_full_hour_of_utc(start: datetime, problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Hour(start)


# ---------------------------------------------------------------------------------------------------- counting
@settings(deadline=None)
@given(hour=hours, count=st.integers(-200_000, 200_000))
def test_steps_forth_and_back_lead_home(hour: Hour, count: int) -> None:
    assume((hour.start + timedelta(hours=count)) >= FIRST_HOUR.start)
    assert (hour + count) - count == hour
    assert (hour + count).start - hour.start == timedelta(hours=count)
    assert hour + count == hour - -count


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("2015-01-01-23", "2015-01-02-0"),
        ("2015-01-31-23", "2015-02-01-0"),
        ("2015-02-28-23", "2015-03-01-0"),
        ("2016-02-28-23", "2016-02-29-0"),
        ("2016-02-29-23", "2016-03-01-0"),
        ("2014-12-31-23", "2015-01-01-0"),
        # Names are counted as UTC, also where they mean Pacific time.
        ("2013-03-10-1", "2013-03-10-2"),
        ("2013-11-03-1", "2013-11-03-2"),
    ],
)
def test_the_next_hour(before: str, after: str) -> None:
    assert Hour.parse(before) + 1 == Hour.parse(after)
    assert Hour.parse(after) - 1 == Hour.parse(before)
    assert Hour.parse(before) < Hour.parse(after)


@pytest.mark.parametrize("count", [10**8, 10**13, 10**30, -(10**8), -(10**30)])
def test_steps_out_of_every_calendar_are_refused(count: int) -> None:
    with pytest.raises(UsageError):
        LAST + count


@settings(deadline=None)
@given(pair=st.tuples(hours, hours))
def test_hours_are_ordered_by_time(pair: tuple[Hour, Hour]) -> None:
    one, other = pair
    assert (one < other) == (one.start < other.start)
    assert (one == other) == (str(one) == str(other))
    assert len({one, other}) == 2 - (one == other)


@settings(deadline=None)
@given(hour=hours)
def test_an_hour_survives_the_way_to_another_process(hour: Hour) -> None:
    for twin in (pickle.loads(pickle.dumps(hour)), copy.deepcopy(hour)):  # noqa: S301  # its own
        assert twin == hour
        assert twin + 1 == hour + 1
        assert hash(twin) == hash(hour)


# ---------------------------------------------------------------------------------------------------- ranges
@settings(deadline=None)
@given(first=hours, count=st.integers(0, 100))
def test_a_range_holds_both_its_ends_and_all_between(first: Hour, count: int) -> None:
    span = HourRange(first, first + count)
    found = list(span)
    assert len(found) == len(span) == count + 1
    assert found[0] == span.first
    assert found[-1] == span.last
    assert all(before + 1 == after for before, after in pairwise(found))
    assert all(hour in span for hour in found)
    assert found[-1] + 1 not in span
    assert first == FIRST_HOUR or first - 1 not in span
    assert list(span) == found, "it can be gone through again"


@settings(deadline=None)
@given(first=hours, count=st.integers(1, 100))
def test_a_range_that_ends_before_it_begins_is_refused(first: Hour, count: int) -> None:
    with pytest.raises(UsageError, match="before it starts") as caught:
        HourRange(first + count, first)
    assert str(first) in caught.value.message
    assert str(first + count) in caught.value.message


@pytest.mark.parametrize(
    ("first", "last", "count"),
    [
        ("2015-01-01-0", "2015-12-31-23", 365 * 24),
        ("2016-01-01-0", "2016-12-31-23", 366 * 24),
        ("2013-03-10-0", "2013-03-10-23", 24),
        ("2015-01-01-15", "2015-01-01-15", 1),
    ],
)
def test_the_length_of_a_range(first: str, last: str, count: int) -> None:
    span = HourRange(Hour.parse(first), Hour.parse(last))
    assert len(span) == count
    assert str(span) == f"{first}..{last}"


# ---------------------------------------------------------------------------------------------------- instants
@settings(deadline=None)
@given(hour=hours, within=st.timedeltas(timedelta(0), timedelta(hours=1, microseconds=-1)), zone=zones)
def test_an_instant_lies_in_one_hour_in_any_zone(hour: Hour, within: timedelta, zone: timezone | ZoneInfo) -> None:
    assert Hour.containing((hour.start + within).astimezone(zone)) == hour


@settings(deadline=None)
@given(hour=hours, within=st.timedeltas(timedelta(0), timedelta(hours=1, microseconds=-1)))
def test_the_running_hour_is_not_finished(hour: Hour, within: timedelta) -> None:
    assert newest_finished_hour(hour.start + timedelta(hours=1) + within) == hour


def test_an_instant_without_a_zone_is_refused() -> None:
    naive = datetime(2015, 1, 1, 15)  # noqa: DTZ001
    with pytest.raises(UsageError, match="no time zone"):
        Hour.containing(naive)
    with pytest.raises(UsageError, match="no time zone"):
        newest_finished_hour(naive)


# ---------------------------------------------------------------------------------------------------- Pacific names
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("2012-03-10-8", "2012-03-10T08"),  # the last of era A
        ("2012-03-10-21", "2012-03-10T21"),  # one that never was
        ("2012-03-10-22", "2012-03-11T06"),  # the first of era B
        ("2013-02-15-0", "2013-02-15T08"),  # measured: its events are of 08:00:34 to 09:00:34 UTC
        ("2013-07-01-0", "2013-07-01T07"),  # summer
        ("2013-03-10-1", "2013-03-10T09"),  # before the clocks were put forward
        ("2013-03-10-3", "2013-03-10T10"),  # and the very next hour
        ("2013-11-03-0", "2013-11-03T07"),  # before they were put back
        ("2013-11-03-1", "2013-11-03T08"),
        ("2013-11-03-2", "2013-11-03T10"),  # the hour between has no name of its own and is lost
        ("2014-12-31-23", "2015-01-01T07"),  # the last of era B
        ("2015-01-01-0", "2015-01-01T00"),  # the first of era C, which overlaps it
        ("2015-01-01-7", "2015-01-01T07"),
        ("2024-07-01-0", "2024-07-01T00"),
    ],
)
def test_the_hour_that_a_name_stands_for(name: str, start: str) -> None:
    begin, end = Hour.parse(name).window
    assert begin == datetime.fromisoformat(f"{start}:00+00:00")
    assert end - begin == timedelta(hours=1)


@pytest.mark.parametrize("day", [date(2012, 3, 11), date(2013, 3, 10), date(2014, 3, 9)])
def test_the_hour_that_the_clocks_leave_out_stands_for_the_next(day: date) -> None:
    skipped, following = Hour.of(day.year, day.month, day.day, 2), Hour.of(day.year, day.month, day.day, 3)
    assert skipped.window == following.window


@settings(deadline=None)
@given(hour=hours)
def test_names_are_pacific_in_era_b_alone(hour: Hour) -> None:
    assert hour.named_in_pacific_time == (hour in ERA_B)
    if hour not in ERA_B:
        assert hour.window == (hour.start, hour.start + timedelta(hours=1))


@settings(deadline=None)
@given(hour=era_b_hours)
@example(hour=Hour.of(2013, 3, 10, 2))
@example(hour=Hour.of(2014, 11, 2, 1))
def test_in_era_b_the_name_is_the_pacific_clock_at_the_start(hour: Hour) -> None:
    begin, end = hour.window
    clock = begin.astimezone(PACIFIC).replace(tzinfo=UTC)
    assert clock in (hour.start, hour.start + timedelta(hours=1)), "an hour later where the clocks leave it out"
    assert begin.tzinfo is UTC
    assert end.tzinfo is UTC
    assert end - begin == timedelta(hours=1)


@settings(deadline=None)
@given(hour=era_b_hours)
def test_in_era_b_windows_follow_each_other(hour: Hour) -> None:
    assume(hour < ERA_B.last)
    gap = (hour + 1).window[0] - hour.window[0]
    assert gap in (timedelta(0), timedelta(hours=1), timedelta(hours=2))
