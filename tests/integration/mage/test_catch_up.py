"""What a catch-up brings, and what it says of the lake afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl.archive.sources import source_at
from etl.errors import GateError, NotPublishedError, UsageError
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.lake.lake import Lake
from etl.mage import catch_up
from etl.mage.staging import StagingFolder
from etl.mage.steps import StepOptions
from etl.practice.faults import FaultPlan, FaultyServer, Truncated
from etl.practice.generator import write_archive
from etl.practice.server import PracticeServer
from tests.integration.running import QUICK, backdate, documents, objects, packed, put, run, stored_rows


def options_at(tmp_path: Path, *sources: str) -> StepOptions:
    return StepOptions(
        lake=Lake.at(str(tmp_path / "lake")),
        sources=[source_at(source, connect_timeout=5, read_timeout=5) for source in sources],
        run_options=RunOptions(emails=EmailPolicy.of("hash"), fetch=QUICK),
        staging=StagingFolder(tmp_path / "spool"),
    )


def newest(count: int) -> list[Hour]:
    """The newest hours that are over, the oldest first."""
    last = newest_finished_hour()
    return list(HourRange(last - (count - 1), last))


def test_it_brings_what_is_due_and_tells_the_lake_as_a_page(tmp_path: Path) -> None:
    hours = newest(4)
    write_archive([hours[0], *hours[2:]], tmp_path / "files", events=20)
    with PracticeServer(tmp_path / "files", manifests=True) as server:
        options = options_at(tmp_path, server.address)
        run(options.lake, server.address, hour=hours[0])
        due = catch_up.find_due(options, look_back=4)
        assert due == catch_up.Due(first=str(hours[0]), last=str(hours[3]), hours=[str(hour) for hour in hours[1:]])
        brought = catch_up.bring_due(due, "1", options)
    assert brought.states == {"pending": 1, "stored": 2}
    told = catch_up.report(brought, options, warehouse=str(tmp_path / "warehouse"), late_hours=6)
    assert told.statuses == {"complete": 3, "pending": 1}
    assert told.late == {}
    catch_up.check_report(told)
    page = Path(told.page).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert str(options.lake.address) in page


def test_a_poor_hour_is_replaced_when_another_source_has_more(tmp_path: Path) -> None:
    hours = newest(3)[:2]
    poor, late = tmp_path / "poor", tmp_path / "late"
    write_archive(hours, poor, events=20)
    late.mkdir()
    options = options_at(tmp_path, str(poor), str(late))
    assert catch_up.bring_due(catch_up.find_due(options, look_back=2), "1", options).states == {"stored": 2}
    write_archive(hours[:1], late, events=200)
    assert catch_up.find_due(options, look_back=2).hours == []
    for hour in hours:
        backdate(options.lake, hour)
    due = catch_up.find_due(options, look_back=2)
    assert due.hours == due.rechecks == [str(hour) for hour in hours]
    assert catch_up.bring_due(due, "2", options).states == {"replaced": 1, "unchanged": 1}
    assert [len(stored_rows(options.lake, hour)) for hour in hours] == [200, 20]
    assert catch_up.find_due(options, look_back=2).hours == []


def test_a_failed_hour_is_reported_and_does_not_stop_the_others(tmp_path: Path) -> None:
    hours = newest(3)
    write_archive(hours, tmp_path / "files", events=300)
    plan = FaultPlan(faults=(Truncated(hours=(str(hours[1]),), keep=0.5),))
    with FaultyServer(tmp_path / "files", plan) as server:
        options = options_at(tmp_path, server.address)
        brought = catch_up.bring_due(catch_up.find_due(options, look_back=3), "1", options)
        assert brought.states == {"failed": 1, "stored": 2}
        assert list(brought.failures) == [str(hours[1])]
        assert "truncated" in brought.failures[str(hours[1])]
        # The next one brings it: a failed hour is due at once.
        again = catch_up.find_due(options, look_back=3)
        assert again.hours == [str(hours[1])]
        assert catch_up.bring_due(again, "2", options).states == {"stored": 1}


def test_an_hour_that_is_long_overdue_fails_the_gate(tmp_path: Path) -> None:
    hours = newest(4)
    write_archive(hours[-1:], tmp_path / "files", events=20)
    with PracticeServer(tmp_path / "files") as server:
        options = options_at(tmp_path, server.address)
        brought = catch_up.bring_due(catch_up.find_due(options, look_back=4), "1", options)
    soon = catch_up.report(brought, options, warehouse=str(tmp_path / "warehouse"), late_hours=6)
    catch_up.check_report(soon)
    told = catch_up.report(brought, options, warehouse=str(tmp_path / "warehouse"), late_hours=2)
    assert list(told.late) == [str(hour) for hour in hours[:2]]
    with pytest.raises(GateError, match=f"2 hours are late \\({hours[0]}: 404") as refusal:
        catch_up.check_report(told)
    assert told.page in str(refusal.value.hint)


def test_nothing_is_due_where_all_is_complete(tmp_path: Path) -> None:
    hours = newest(2)
    write_archive(hours, tmp_path / "files", events=20)
    with PracticeServer(tmp_path / "files") as server:
        options = options_at(tmp_path, server.address)
        catch_up.bring_due(catch_up.find_due(options, look_back=2), "1", options)
        before = objects(options.lake)
        due = catch_up.find_due(options, look_back=2)
        assert due.hours == []
        assert catch_up.bring_due(due, "2", options).states == {}
    assert {key: value for key, value in objects(options.lake).items() if not key.startswith("index/")} == {
        key: value for key, value in before.items() if not key.startswith("index/")
    }


def test_an_archive_that_shows_nothing_new_is_reported_at_once(tmp_path: Path) -> None:
    put(tmp_path / "files", packed(documents(5)))
    with pytest.raises(NotPublishedError):
        catch_up.find_due(options_at(tmp_path, str(tmp_path / "files")), look_back=3)


def test_what_comes_back_from_the_store_is_checked() -> None:
    with pytest.raises(UsageError, match="no Due"):
        catch_up.read({"first": 1}, catch_up.Due)
