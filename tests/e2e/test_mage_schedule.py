"""A real Mage server with its schedules on: the hour before comes by the clock, once, and after a kill as well."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from etl.errors import UsageError
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.lake.layout import events_key
from etl.mage.catch_up import PAGE_KEY
from etl.mage.client import hour_of
from etl.practice.faults import FaultPlan, FaultyServer, Stalled
from etl.practice.server import Generated
from tests.e2e.mage_server import Server, project_copy, serving, until
from tests.integration.running import objects, sound

KILLED: Final = Hour.parse("2019-06-01-7")
EVENTS: Final = 2_000


@pytest.fixture(scope="module")
def archive() -> Iterator[FaultyServer]:
    """An archive of all hours, in which one stalls half-way, once."""
    plan = FaultPlan(faults=(Stalled(hours=(str(KILLED),), after=0.5, seconds=300),))
    with FaultyServer(Generated(HourRange(KILLED, newest_finished_hour() + 1), events=EVENTS), plan) as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, archive: FaultyServer) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("mage")
    pipelines = project_copy(folder) / "pipelines"
    # The schedules alone are others; all else of the triggers is as it is shipped. None fires before it is wanted.
    later = datetime.now(UTC) + timedelta(hours=12)
    for name in ("gharchive_hour", "gharchive_catch_up", "gharchive_warehouse"):
        reschedule(pipelines, name, f"{later.minute} {later.hour} * * *")
    with serving(folder, archive.address, "--schedules", env={"GHARCHIVE_READ_TIMEOUT": "200"}, project=folder) as run:
        yield run


def reschedule(pipelines: Path, name: str, schedule: str) -> None:
    """Returns a pipeline's trigger another schedule, at once or not at all."""
    path = pipelines / name / "triggers.yaml"
    definition = yaml.safe_load(path.read_text(encoding="utf-8"))
    definition["triggers"][0]["schedule_interval"] = schedule
    unfinished = path.with_suffix(".part")
    unfinished.write_text(yaml.safe_dump(definition), encoding="utf-8")
    unfinished.replace(path)


def runs_of(server: Server, pipeline: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.client()._ask("GET", "pipeline_runs", pipeline_uuid=pipeline, _limit=100)[
        "pipeline_runs"
    ]
    return found


def test_a_start_fires_nothing_and_a_kill_in_the_middle_of_a_block_costs_nothing(
    server: Server, archive: FaultyServer
) -> None:
    # All triggers of the three pipelines are on, each is due once an hour or a day, and none has fired.
    schedules = server.client()._ask("GET", "pipeline_schedules")["pipeline_schedules"]
    assert sorted((each["pipeline_uuid"], each["status"]) for each in schedules) == [
        ("gharchive_all", "inactive"),
        ("gharchive_catch_up", "active"),
        ("gharchive_hour", "active"),
        ("gharchive_warehouse", "active"),
    ]
    assert [run for each in schedules for run in runs_of(server, each["pipeline_uuid"])] == []

    number = server.client().start_backfill(HourRange(KILLED, KILLED))
    until(lambda: archive.counts.faults == {"stalled": 1}, "the stalled download")
    until(lambda: any(KILLED.date in name for name in server.staged()), "the file in staging")
    server.kill()
    assert server.staged() != []
    assert [key for key in objects(server.lake) if str(KILLED) in key] == []

    server.start()
    client = server.client()
    until(lambda: client.counts(number).is_through, "the run that was killed")
    assert client.counts(number).statuses == {"completed": 1}
    manifest = sound(server.lake, KILLED)
    assert manifest.content is not None
    assert (manifest.content.events, manifest.attempts) == (EVENTS, 1)
    assert server.staged() == []


def test_the_trigger_fires_by_the_clock_and_loads_the_previous_hour_once(server: Server) -> None:
    minute = fired(server)
    (run,) = runs_of_trigger(server)
    fired_at = datetime.fromisoformat(str(run["execution_date"])).replace(tzinfo=UTC)
    assert (fired_at.minute, fired_at.second) == (minute, 0)
    hour = hour_of(run) - 1
    until(lambda: runs_of_trigger(server)[0]["status"] == "completed", "its end")
    manifest = sound(server.lake, hour)
    assert manifest.content is not None
    assert (manifest.content.events, manifest.attempts) == (EVENTS, 1)
    # It was fetched in the hour after, which is what the lag says, and nothing else was.
    assert hour == Hour.containing(fired_at) - 1
    stored = {key for key in objects(server.lake) if key.startswith("events/") and str(KILLED) not in key}
    assert stored == {events_key(hour)}
    assert len(runs_of_trigger(server)) == 1


def test_the_pipeline_of_a_small_installation_does_all_three(server: Server) -> None:
    client = server.client()
    made = client._ask("POST", "pipelines/gharchive_all/pipeline_schedules", {"pipeline_schedule": {"name": "once"}})
    once = made["pipeline_schedule"]["id"]
    terms = {
        "schedule_interval": "@once",
        "schedule_type": "time",
        "variables": {"lag_hours": 1, "look_back_hours": 2},
        "status": "active",
    }
    client._ask("PUT", f"pipeline_schedules/{once}", {"pipeline_schedule": terms})

    def ended() -> list[dict[str, Any]]:
        runs = [run for run in runs_of(server, "gharchive_all") if run["pipeline_schedule_name"] == "once"]
        return [run for run in runs if run["status"] in {"completed", "failed", "cancelled"}]

    (run,) = until(ended, "the run of all blocks", seconds=280)
    assert run["status"] == "completed"
    assert {block["status"] for block in run["block_runs"]} == {"completed"}
    newest = hour_of(run) - 1
    for hour in (newest - 1, newest):
        sound(server.lake, hour)
    # The tables are built, and the page that shows the lake lies beside them.
    assert list((server.folder / "warehouse" / "tables" / "activity_hourly").glob(f"{newest.date}.parquet"))
    page = (server.folder / "warehouse" / PAGE_KEY).read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>")
    assert server.staged() == []


def fired(server: Server) -> int:
    """Has the trigger fire at the next minute but one, which it gives; a machine that is slow gets another chance."""
    for _ in range(2):
        at = (datetime.now(UTC) + timedelta(seconds=90)).replace(second=0, microsecond=0)
        # Mage takes a schedule that is changed while it runs, and fires nothing for what lies before.
        reschedule(server.folder / "server" / "mage_pipeline" / "pipelines", "gharchive_hour", f"{at.minute} * * * *")
        while datetime.now(UTC) < at + timedelta(seconds=45):
            if runs_of_trigger(server):
                return at.minute
            time.sleep(1)
    pytest.fail("the trigger did not fire")


def runs_of_trigger(server: Server) -> list[dict[str, Any]]:
    return [run for run in runs_of(server, "gharchive_hour") if run["pipeline_schedule_name"] == "hour"]


def test_in_production_nothing_can_be_edited(server: Server) -> None:
    client = server.client()
    for method, path, body in (
        ("POST", "pipelines", {"pipeline": {"name": "mine"}}),
        ("POST", "pipelines/gharchive_hour/blocks", {"block": {"name": "mine", "type": "data_loader"}}),
        ("PUT", "pipelines/gharchive_hour/blocks/fetch_hour", {"block": {"content": "1"}}),
        ("POST", "files", {"file": {"name": "mine.py", "dir_path": "mage_pipeline/utils", "content": "1"}}),
        ("PUT", "file_contents/data_loaders%2Ffetch_hour.py", {"file_content": {"content": "1"}}),
    ):
        with pytest.raises(UsageError, match="says no"):
            client._ask(method, path, body)


def test_the_project_that_was_served_is_as_it_was(server: Server) -> None:
    triggers = server.folder / "mage_pipeline" / "pipelines" / "gharchive_catch_up" / "triggers.yaml"
    assert "last_enabled_at" not in yaml.safe_load(triggers.read_text())["triggers"][0]
    copied = Path(server.folder, "server", "mage_pipeline", "pipelines", "gharchive_catch_up", "triggers.yaml")
    assert yaml.safe_load(copied.read_text())["triggers"][0]["last_enabled_at"] is not None
