"""The counts of the dashboard, from a warehouse that was built."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import msgspec
import pytest

from etl.errors import UsageError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.report import aggregates as cubes
from etl.report.aggregates import Cube, read
from etl.warehouse.duckdb_views import opened
from etl.warehouse.table_state import Warehouse
from tests.integration.warehouse.comparing import built, stored

HOURS = (Hour.of(2019, 1, 2, 3), Hour.of(2019, 1, 2, 4), Hour.of(2019, 1, 4, 5))


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    folder = tmp_path_factory.mktemp("cube")
    lake = Lake.at(str(folder / "lake"))
    for hour in HOURS:
        stored(lake, folder / "source", hour, events=200)
    warehouse = Warehouse.at(str(folder / "warehouse"))
    built(warehouse, lake)
    return warehouse


def total(warehouse: Warehouse, where: str = "true") -> int:
    with opened(warehouse) as connection:
        ((count,),) = connection.execute(f"SELECT COUNT(*) FROM events WHERE {where}").fetchall()  # noqa: S608
    return int(count)


def sums(cube: Cube, *by: str) -> dict[tuple[object, ...], int]:
    grouped = cube.events.group_by(list(by)).aggregate([("events", "sum")]).to_pylist()
    return {tuple(row[name] for name in by): row["events_sum"] for row in grouped}


def test_all_events_are_counted_once(warehouse: Warehouse) -> None:
    cube = read(warehouse)

    assert cube.total == total(warehouse)
    assert (cube.first, cube.last) == (date(2019, 1, 2), date(2019, 1, 4))


def test_days_are_chosen_with_both_ends(warehouse: Warehouse) -> None:
    cube = read(warehouse, date(2019, 1, 1), date(2019, 1, 3))

    assert cube.total == total(warehouse, "created_at < TIMESTAMPTZ '2019-01-04 00:00:00+00'")
    assert cube.coverage.num_rows == 3 * 24


def test_late_events_add_no_days_before_the_first_stored_hour(tmp_path: Path) -> None:
    # Since May 2025 a file also holds events of the hours before its own.
    lake, warehouse = Lake.at(str(tmp_path / "lake")), Warehouse.at(str(tmp_path / "warehouse"))
    day = [Hour.of(2026, 9, 7, hour) for hour in range(24)]
    for hour in day:
        stored(lake, tmp_path / "source", hour, lines=[line_of(hour, 0), line_of(hour - 1, 1), line_of(hour - 30, 2)])
    built(warehouse, lake)

    cube = read(warehouse)

    assert (cube.first, cube.last) == (date(2026, 9, 7), date(2026, 9, 7))
    assert (cube.complete, cube.coverage.num_rows) == (24, 24)
    assert cube.total == total(warehouse, "created_at >= TIMESTAMPTZ '2026-09-07 00:00:00+00'") == 24 + 23
    assert total(warehouse) == 3 * 24
    # Who asks for the day before sees its late events, and that none of its hours is stored.
    before = read(warehouse, date(2026, 9, 6), date(2026, 9, 6))
    assert (before.total, before.complete, before.coverage.num_rows) == (1 + 18, 0, 24)


def line_of(hour: Hour, number: int) -> bytes:
    """A record of an event that happened in an hour."""
    event = {
        "id": f"{int(hour.start.timestamp()) * 10 + number}",
        "type": "WatchEvent",
        "actor": {"id": 1, "login": "ann"},
        "repo": {"id": 2, "name": "ann/tool"},
        "payload": {"action": "started"},
        "public": True,
        "created_at": hour.start.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return msgspec.json.encode(event) + b"\n"


def test_hours_of_which_nothing_is_known_are_absent(warehouse: Warehouse) -> None:
    cube = read(warehouse)

    assert cube.coverage.num_rows == 3 * 24
    assert cube.complete == len(HOURS)
    assert cube.coverage["status"].to_pylist().count("absent") == 3 * 24 - len(HOURS)


def test_those_that_did_little_are_counted_together(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = read(warehouse)
    monkeypatch.setattr(cubes, "FEWEST_LISTED", 1)

    small = read(warehouse, max_rows=everything.events.num_rows - 20)

    assert small.events.num_rows <= everything.events.num_rows - 20
    assert small.total == everything.total
    assert small.actors.of == everything.actors.of > small.actors.listed
    for by in ("hour", "type", "action", "outcome", "is_bot"):
        assert sums(small, by) == sums(everything, by)
    assert sums(small, "actor").items() - {((None,), sums(small, "actor")[None,])} <= sums(everything, "actor").items()


def test_too_much_for_a_page_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="more to count than fits") as raised:
        read(warehouse, max_rows=3)
    assert "fewer days" in (raised.value.hint or "")


def test_days_without_events_are_refused(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="no events from 2018") as raised:
        read(warehouse, date(2018, 1, 1), date(2018, 2, 1))
    assert raised.value.hint == "it holds days from 2019-01-02 to 2019-01-04"


def test_a_warehouse_that_was_not_built_is_reported(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no events in the warehouse") as raised:
        read(Warehouse.at(str(tmp_path)))
    assert raised.value.hint == "run `python etl build` first"


def test_merges_are_those_of_the_mart(warehouse: Warehouse) -> None:
    with opened(warehouse) as connection:
        ((merged, unknown),) = connection.execute(
            "SELECT SUM(pull_requests_merged), SUM(pull_requests_closed_unknown) FROM repositories"
        ).fetchall()
    outcomes = sums(read(warehouse), "outcome")

    assert (outcomes.get(("merged",), 0), outcomes.get(("unknown",), 0)) == (merged, unknown)
