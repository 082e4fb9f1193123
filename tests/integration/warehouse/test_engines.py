"""DuckDB and Spark, from the same lake: the same tables, row by row, also when they are built bit by bit."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse.models import models
from etl.warehouse.table_state import Warehouse
from tests.integration.running import ERAS, documents, run
from tests.integration.warehouse.comparing import built, counts, differences, stored
from tests.integration.warehouse.test_build import event
from tests.integration.warehouse.test_rules import RULES

pytestmark = [
    # Spark leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(900),
    # What builds finds the session that was begun.
    pytest.mark.usefixtures("spark"),
]
REAL: Final = ("2011-02-15-0", "2013-02-15-0", "2015-01-01-0", "2015-01-01-4", "2015-01-01-15")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake"))


def both(tmp_path: Path) -> tuple[Warehouse, Warehouse]:
    return Warehouse.at(str(tmp_path / "by-duckdb")), Warehouse.at(str(tmp_path / "by-spark"))


def test_the_real_hours(tmp_path: Path, lake: Lake, real_data: Path) -> None:
    for name in REAL:
        run(lake, real_data / "archive", hour=Hour.parse(name))
    by_duckdb, by_spark = both(tmp_path)
    built(by_duckdb, lake)
    built(by_spark, lake, engine="spark")
    assert counts(by_duckdb)["events"] == 33_412
    assert differences(by_duckdb, by_spark) == {}


def special_records() -> dict[Hour, list[bytes]]:
    """Returns the records of all rules, by hour."""
    hours: dict[Hour, list[bytes]] = {}
    for rule in RULES.values():
        for name, lines in rule.hours.items():
            # Clocks were changed twice a year; two days of six show that the engines agree.
            if not name.startswith(("2013", "2014-03", "2014-11")):
                hours.setdefault(Hour.parse(name), []).extend(lines)
    return hours


def test_every_era_special_records_and_what_comes_after(tmp_path: Path, lake: Lake) -> None:
    hours = special_records()
    for hour in ERAS.values():
        lines = documents(60, hour=hour)
        hours.setdefault(hour, []).extend([*lines, *lines[:5]])
    odd = Hour.of(2019, 1, 2, 4)
    pull = {"action": "closed", "number": 5, "pull_request": {"merged": True, "title": "half \ud83d", "a.b": "\u0000"}}
    hours[odd] = [
        event(101, type="PullRequestEvent", payload=pull),
        event(102, type="PushEvent", payload={"size": 3, "ключ": "п"}),
        event(103, type="PushEvent", payload={}),
        event(104, type="OtherEvent", payload=None, actor=None, repo=None),
        event(105, created_at=None),
        event(106, actor={"login": "nobody"}, repo={"name": "a/b"}),
        event(107, created_at="2019-01-05T00:00:00Z"),
        event(108, payload={"action": {"not": "a text"}, "number": "12"}),
        event(109, payload={"issue": {"number": 9_007_199_254_740_993}}),
        event(110, payload={"issue": "no object", "pull_request": [{"number": 1}], "action": None, "number": 10}),
        event(111, payload={"number": {"deep": 1}, "issue": {"number": None}, "discussion": {"number": 11}}),
        event(112, payload={"other": 1, "twice": 2}).replace(b'"other"', b'"twice"'),
    ]
    for hour, lines in hours.items():
        stored(lake, tmp_path / "archive", hour, lines)
    by_duckdb, by_spark = both(tmp_path)
    built(by_duckdb, lake)
    built(by_spark, lake, engine="spark")
    assert differences(by_duckdb, by_spark) == {}
    assert all(count for name, count in counts(by_spark).items() if name != "orgs"), "nothing was compared"

    renamed = event(120, actor={"id": 7, "login": "anna"}, created_at="2019-01-02T09:00:00Z")
    stored(lake, tmp_path / "archive", odd + 5, [renamed, event(121, created_at="2019-01-05T09:00:00Z")])
    built(by_duckdb, lake)
    done = built(by_spark, lake, engine="spark")
    assert {entry.partition_id for entry in done} == {"2019-01-02", "2019-01-05", "all"}
    assert differences(by_duckdb, by_spark) == {}
    rebuilt = Warehouse.at(str(tmp_path / "again"))
    built(rebuilt, lake)
    assert differences(rebuilt, by_spark) == {}


def test_what_one_engine_built_the_other_goes_on_with(tmp_path: Path, lake: Lake) -> None:
    warehouse, _ = both(tmp_path)
    stored(lake, tmp_path / "archive", ERAS["C"], events=30)
    built(warehouse, lake, engine="spark")
    assert built(warehouse, lake) == []
    stored(lake, tmp_path / "archive", ERAS["C"] + 1, events=30)
    built(warehouse, lake)
    rebuilt = Warehouse.at(str(tmp_path / "again"))
    built(rebuilt, lake)
    assert differences(rebuilt, warehouse) == {}
    assert {model.name for model in models() if model.is_stored} <= set(counts(warehouse))
