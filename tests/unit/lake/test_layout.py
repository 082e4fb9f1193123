from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake import layout

_HOURS = st.integers(min_value=0, max_value=120_000).map(lambda step: Hour(FIRST_HOUR.start + timedelta(hours=step)))
_SHA256 = "0a1b2c3d4e5f" + "0" * 52


def test_the_keys_are_those_of_the_contract() -> None:
    hour = Hour.of(2015, 1, 1, 4)
    assert layout.events_key(hour) == "events/date=2015-01-01/hour=4/2015-01-01-4.parquet"
    assert layout.manifest_key(hour) == "manifests/date=2015-01-01/hour=4/2015-01-01-4.json"
    assert layout.quarantine_key(hour, _SHA256) == "quarantine/date=2015-01-01/hour=4/2015-01-01-4.0a1b2c3d4e5f.parquet"


@given(hour=_HOURS)
def test_every_key_tells_its_hour(hour: Hour) -> None:
    for key in (layout.events_key(hour), layout.manifest_key(hour), layout.quarantine_key(hour, _SHA256)):
        assert layout.hour_of_key(key) == hour


@given(one=_HOURS, other=_HOURS)
def test_quarantine_of_one_hour_is_not_taken_for_anothers(one: Hour, other: Hour) -> None:
    key = layout.quarantine_key(one, _SHA256)
    assert key.startswith(layout.quarantine_prefix(other)) == (one == other)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "events/",
        "events/date=2015-01-01/hour=4/2015-01-01-5.parquet",
        "events/date=2015-01-02/hour=4/2015-01-01-4.parquet",
        "events/date=2015-13-01/hour=4/2015-13-01-4.parquet",
        "events/date=2015-01-01/hour=24/2015-01-01-24.parquet",
        "other/date=2015-01-01/hour=4/2015-01-01-4.parquet",
        "lake/events/date=2015-01-01/hour=4/2015-01-01-4.parquet",
    ],
)
def test_what_is_no_key_has_no_hour(key: str) -> None:
    assert layout.hour_of_key(key) is None


@given(st.integers(0, 137_000), st.integers(0, 60))
def test_many_manifest_keys_are_those_of_each_hour(first: int, more: int) -> None:
    hours = HourRange(FIRST_HOUR + first, FIRST_HOUR + first + more)
    assert list(layout.manifest_keys(hours).items()) == [(str(hour), layout.manifest_key(hour)) for hour in hours]


def test_an_index_key_is_of_its_month() -> None:
    assert layout.index_key("2015-01") == "index/2015-01.parquet"


def test_names_of_many_hours_are_those_of_each() -> None:
    hours = HourRange(Hour.of(2015, 1, 1, 22), Hour.of(2015, 1, 3, 1))
    assert layout.manifest_keys(hours) == {str(hour): layout.manifest_key(hour) for hour in hours}
    assert list(layout.manifest_keys(hours)) == [str(hour) for hour in hours]
    one = HourRange(Hour.of(2015, 1, 1, 7), Hour.of(2015, 1, 1, 7))
    assert list(layout.manifest_keys(one)) == ["2015-01-01-7"]


def test_names_of_days_that_are_not_there_are_left_out() -> None:
    hours = HourRange(Hour.of(2015, 1, 1, 22), Hour.of(2015, 1, 3, 1))
    assert list(layout.manifest_keys(hours, within={"date=2015-01-03"})) == ["2015-01-03-0", "2015-01-03-1"]
    assert layout.manifest_keys(hours, within=()) == {}
