"""Mage's own clock and calendar, with the hour that our blocks make of what they say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from etl.hours import Hour, HourRange
from etl.mage.execution_date import hour_of_run
from tests import tools
from tests.e2e.running import ROOT
from tests.orders import Orders, taking_orders

TRIGGER: dict[str, Any] = yaml.safe_load((ROOT / "mage_pipeline/pipelines/gharchive_hour/triggers.yaml").read_text())[
    "triggers"
][0]


@pytest.fixture(scope="module")
def mage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orders]:
    tools.get("mage")
    folder = tmp_path_factory.mktemp("mage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAGE_DATA_DIR", str(folder))
        patch.setenv("MAGE_REPO_PATH", str(folder / "project"))
        patch.setenv("PYTHONPATH", str(ROOT))
        with taking_orders("tests.integration.mage.mage_clock", folder) as orders:
            yield orders


@pytest.mark.parametrize(
    ("now", "hour"),
    [
        ("2026-10-01T00:20:01", "2026-09-30-23"),
        ("2026-01-01T00:20:01", "2025-12-31-23"),
        ("2024-02-29T00:20:01", "2024-02-28-23"),
        ("2024-03-01T00:20:01", "2024-02-29-23"),
        ("2025-03-01T00:20:01", "2025-02-28-23"),
        # The Pacific changes of 2026, at 10:00 and 09:00 UTC: nothing is left out and nothing comes twice.
        ("2026-03-08T10:20:01", "2026-03-08-9"),
        ("2026-03-08T11:20:01", "2026-03-08-10"),
        ("2026-11-01T09:20:01", "2026-11-01-8"),
        ("2026-11-01T10:20:01", "2026-11-01-9"),
        # A scheduler that looks late in the hour finds the same run.
        ("2026-01-01T01:19:59", "2025-12-31-23"),
    ],
)
def test_the_shipped_trigger_takes_the_hour_before(mage: Orders, now: str, hour: str) -> None:
    date = json.loads(mage.give(["fires", TRIGGER["schedule_interval"], now]))
    assert str(hour_of_run({"execution_date": date, **TRIGGER["variables"]})) == hour


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2015-01-01-0", "2015-01-01-15"),
        ("2015-01-01-5", "2015-01-01-5"),
        ("2018-12-31-22", "2019-01-01-1"),
        ("2024-02-28-23", "2024-03-01-0"),
        ("2026-02-28-23", "2026-03-01-0"),
        ("2026-03-08-8", "2026-03-08-12"),
        ("2026-10-31-23", "2026-11-01-12"),
        ("2012-03-11-0", "2012-03-11-4"),
    ],
)
def test_a_backfill_runs_the_hours_of_its_range_with_both_ends(mage: Orders, first: str, last: str) -> None:
    hours = HourRange(Hour.parse(first), Hour.parse(last))
    ends = [f"{end.start:%Y-%m-%dT%H:%M:%S}" for end in (hours.first, hours.last)]
    runs = json.loads(mage.give(["backfill", *ends]))
    assert [hour_of_run({**run, "lag_hours": 0}) for run in runs] == list(hours)


def test_an_end_in_the_middle_of_an_hour_is_that_hours(mage: Orders) -> None:
    runs = json.loads(mage.give(["backfill", "2015-01-01T00:30:00", "2015-01-01T03:30:00"]))
    first = Hour.parse("2015-01-01-0")
    assert [hour_of_run({**run, "lag_hours": 0}) for run in runs] == [first + step for step in range(4)]
