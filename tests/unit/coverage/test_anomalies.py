"""Anomaly detection on synthetic years with realistic patterns and incidents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from statistics import median_high, median_low
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.coverage.anomalies import Thresholds, find_anomalies
from etl.coverage.index import FACTS_SCHEMA, type_columns
from etl.hours import Hour

START = Hour.of(2018, 1, 1, 0)
DEFAULTS = Thresholds()
WEEK = 168


def rhythm(step: int) -> float:
    """Traffic by the hour: twice as much by day as by night, less at weekends, and half as much again in a year."""
    day = 1 + 0.35 * np.sin(2 * np.pi * (step % 24 - 8) / 24)
    weekend = 0.65 if step // 24 % 7 in {5, 6} else 1.0
    return float(40_000 * day * weekend * 1.5 ** (step / 8760))


def years(
    hours: int,
    change: Callable[[int, float], float] = lambda _, events: events,
    *,
    start: Hour = START,
    types: Callable[[int, int], Mapping[str, int]] = lambda _, events: {"PushEvent": events},
) -> pa.Table:
    rows = []
    noise = np.random.default_rng(7).normal(1, 0.03, hours)
    for step in range(hours):
        events = int(change(step, rhythm(step) * noise[step]))
        hour = start + step
        rows.append(
            {
                "hour": str(hour),
                "hour_start": hour.start,
                "status": "complete",
                "events": events,
                **type_columns(types(step, events)),
            }
        )
    return pa.Table.from_pylist(rows, schema=FACTS_SCHEMA)


def found(table: pa.Table, thresholds: Thresholds = DEFAULTS) -> dict[int, str]:
    return dict(sorted(find_anomalies(table, thresholds).items()))


def test_two_normal_years_have_no_anomalies() -> None:
    assert found(years(2 * 8760)) == {}


def test_the_reason_states_the_counts() -> None:
    told = found(years(3000, lambda step, events: 100 if step == 1500 else events))
    assert list(told) == [1500]
    assert told[1500].startswith("100 events, 0% of the median ")
    assert "the same hour in the 4 weeks before and after" in told[1500]


def test_an_hour_with_far_too_many_events_is_detected() -> None:
    told = found(years(3000, lambda step, events: 4 * events if step == 1500 else events))
    assert list(told) == [1500]
    assert "% of the median" in told[1500]


def test_ordinary_variation_is_not_an_anomaly() -> None:
    def holidays(step: int, events: float) -> float:
        return 0.6 * events if step // 24 in {40, 41, 42} else events

    def summer_time(step: int, _: float) -> float:
        return rhythm(step + (step > 1500))

    def campaign(step: int, events: float) -> float:
        return 2.5 * events if 1500 <= step < 1510 else events

    def new_level(step: int, events: float) -> float:
        return 5 * events if step >= 1500 else events

    for accident in (holidays, summer_time, campaign, new_level):
        assert found(years(3000, accident)) == {}, accident.__name__


@pytest.mark.parametrize("days", [1, 6, 20])
def test_a_volume_drop_is_detected_for_its_whole_duration(days: int) -> None:
    collapsed = set(range(1512, 1512 + 24 * days))
    assert set(found(years(4000, lambda step, events: 0.1 * events if step in collapsed else events))) == collapsed


def test_a_known_volume_drop_is_compared_with_the_time_before_it() -> None:
    first = Hour.of(2026, 8, 16, 0)
    table = years(200 * 24, lambda step, events: 0.02 * events if step >= 1512 else events, start=first - 1512)
    assert set(found(table)) == set(range(1512, 200 * 24))


def test_a_missing_type_is_detected_even_if_the_total_is_normal() -> None:
    def types(step: int, events: int) -> dict[str, int]:
        watch = 0 if step == 1500 else events // 8
        return {"PushEvent": events - watch} | ({"WatchEvent": watch} if watch else {})

    told = found(years(3000, types=types))
    assert list(told) == [1500]
    assert told[1500].startswith("0 WatchEvent against ")


def test_an_introduced_or_retired_type_is_not_an_anomaly() -> None:
    def types(step: int, events: int) -> dict[str, int]:
        return {"PushEvent": events - events // 5, "NewEvent" if step >= 1500 else "OldEvent": events // 5}

    assert found(years(3000, types=types)) == {}


def test_many_anomalous_types_are_counted_instead_of_listed() -> None:
    def types(step: int, events: int) -> dict[str, int]:
        return {"PushEvent": events} | ({} if step == 1500 else {f"{letter}Event": 5000 for letter in "ABCDE"})

    assert "and 2 more types" in found(years(3000, types=types))[1500]


def test_hours_with_few_events_or_neighbours_are_not_checked() -> None:
    emptied = years(3000, lambda step, events: 0 if step == 1500 else events / 100)
    assert found(emptied) == {}
    assert list(found(emptied, replace(DEFAULTS, min_events=10))) == [1500]
    two_weeks = years(2 * WEEK, lambda step, events: 0 if step == 200 else events)
    assert found(two_weeks) == {}


def test_only_complete_hours_are_checked_and_used_for_baselines() -> None:
    table = years(3000, lambda step, events: 10 if step in {1500, *range(1600 - 4 * WEEK, 1600, WEEK)} else events)
    statuses = ["partial" if step == 1500 or step % WEEK == 1600 % WEEK else "complete" for step in range(3000)]
    table = table.set_column(table.schema.get_field_index("status"), "status", pa.array(statuses))
    assert found(table) == {}
    assert found(table.slice(0, 0)) == {}


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(0, 60_000), min_size=1, max_size=14),
    weeks=st.integers(2, 5),
    fewest=st.integers(1, 20_000),
)
def test_the_baseline_is_the_median_of_the_neighbours(counts: list[int], weeks: int, fewest: int) -> None:
    rows: list[dict[str, Any]] = [
        {
            "hour": str(START + week * WEEK),
            "hour_start": (START + week * WEEK).start,
            "status": "complete",
            "events": count,
            **type_columns({}),
        }
        for week, count in enumerate(counts)
    ]
    table = pa.Table.from_pylist(rows, schema=FACTS_SCHEMA)
    limits = Thresholds(weeks=weeks, min_events=fewest)
    expected = set()
    for week, count in enumerate(counts):
        around = counts[max(week - weeks, 0) : week] + counts[week + 1 : week + 1 + weeks]
        if len(around) < 3:
            continue
        low, high = median_low(around), median_high(around)
        if (low >= fewest and count < limits.low * low) or count > limits.high * max(high, fewest):
            expected.add(week)
    assert set(found(table, limits)) == expected
