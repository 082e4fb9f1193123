"""Times of every era, read as UTC and written back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.events.times import events_api_text, parse_time, timeline_text

whole_seconds = st.datetimes(datetime(1900, 1, 1), datetime(9999, 12, 30)).map(  # noqa: DTZ001  # given a zone below
    lambda time: time.replace(microsecond=0, tzinfo=UTC)
)


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2015-01-01T15:00:00Z", datetime(2015, 1, 1, 15, tzinfo=UTC)),
        ("2013-02-15T00:00:39-08:00", datetime(2013, 2, 15, 8, 0, 39, tzinfo=UTC)),
        ("2013-07-15T00:00:39-07:00", datetime(2013, 7, 15, 7, 0, 39, tzinfo=UTC)),
        ("2012/03/10 22:36:55 -0800", datetime(2012, 3, 11, 6, 36, 55, tzinfo=UTC)),
        ("2025-12-15T16:00:00.123456Z", datetime(2025, 12, 15, 16, 0, 0, 123456, tzinfo=UTC)),
        ("2025-12-15T16:00:00.5+00:00", datetime(2025, 12, 15, 16, 0, 0, 500000, tzinfo=UTC)),
    ],
)
def test_reads_every_era(text: str, time: datetime) -> None:
    assert parse_time(text) == time
    read = parse_time(text)
    assert read is not None
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "2015-01-01",
        "2015-01-01T15:00:00",
        "2015-01-01 15:00:00Z",
        "2015-13-01T15:00:00Z",
        "2015-01-01T24:00:01Z",
        "2015-01-01T15:00:00+99:00",
        "2015-01-01T15:00:00Z and more",
        "2015-W01-4T15:00:00Z",
        "2012/03/10 22:36:55",
        "0001-01-01T00:00:00+05:00",
        "9999-12-31T23:59:59-08:00",
        "٢٠١٥-01-01T15:00:00Z",
        "2015-01-01T15:00:00Z\n",
    ],
)
def test_what_is_no_time_or_says_no_zone_is_none(text: str) -> None:
    assert parse_time(text) is None


@given(st.text() | st.from_regex(r"\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(Z|[ +-]+\d\d:?\d\d)", fullmatch=True))
def test_any_text_is_a_time_or_none(text: str) -> None:
    time = parse_time(text)
    assert time is None or time.tzinfo is UTC


@given(whole_seconds)
def test_times_are_read_as_they_are_written(time: datetime) -> None:
    assert parse_time(events_api_text(time)) == time
    assert parse_time(timeline_text(time)) == time


def test_the_timeline_is_in_pacific_time_with_its_summer() -> None:
    assert timeline_text(datetime(2013, 2, 15, 8, 0, 39, tzinfo=UTC)) == "2013-02-15T00:00:39-08:00"
    assert timeline_text(datetime(2013, 7, 15, 7, 0, 39, tzinfo=UTC)) == "2013-07-15T00:00:39-07:00"
    # The hour that came twice: each with its own offset, so both are read back.
    assert timeline_text(datetime(2013, 11, 3, 8, 30, tzinfo=UTC)) == "2013-11-03T01:30:00-07:00"
    assert timeline_text(datetime(2013, 11, 3, 9, 30, tzinfo=UTC)) == "2013-11-03T01:30:00-08:00"
