"""``build --engine bigquery`` and ``load`` as a person types them, against a server that stands in for BigQuery."""

from __future__ import annotations

import json
import random
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from etl.errors import ExitCode
from etl.hours import Hour
from etl.lake.lake import Lake, store_at
from etl.warehouse.models import models
from tests.e2e.running import Done, etl, start
from tests.integration.warehouse.bigquery_server import BigQuery, serving_bigquery
from tests.integration.warehouse.comparing import stored
from tests.integration.warehouse.test_build import event

HOUR = Hour.of(2019, 1, 2, 3)


@dataclass
class Cloud:
    """A lake in a bucket, and a dataset.

    Attributes:
        google: The server.
        folder: Where the program works.
        lake: The lake.
        env: Environment variables that name them.
    """

    google: BigQuery
    folder: Path
    lake: Lake
    env: dict[str, str]

    def etl(self, *words: object) -> Done:
        return etl(self.folder, *words, env=self.env)

    def rows(self, table: str) -> int:
        ((number,),) = self.google.ask(f"SELECT count(*) FROM {table}")  # noqa: S608 -- a table of ours
        return int(number)


@pytest.fixture
def cloud(tmp_path: Path, gcs_address: str) -> Iterator[Cloud]:
    with serving_bigquery(tmp_path / "google") as google:
        google.create_dataset("gharchive")
        google.create_dataset("gharchive_reporting")
        lake = Lake.at(f"{gcs_address}/lake")
        stored(lake, tmp_path / "archive", HOUR, [event(1), event(2)])
        env = {
            "BIGQUERY_EMULATOR_HOST": google.url,
            "GHARCHIVE_LAKE": lake.address,
            "GHARCHIVE_WAREHOUSE": f"{gcs_address}/warehouse",
            "GHARCHIVE_DATASET": "my-project.gharchive",
            "GHARCHIVE_REPORTING_DATASET": "my-project.gharchive_reporting",
            "GHARCHIVE_LOG_LEVEL": "error",
        }
        yield Cloud(google, tmp_path, lake, env)
        assert google.wrong == []


def test_from_a_plan_to_tables_that_reports_may_read(cloud: Cloud) -> None:
    plan = cloud.etl("build", "--engine", "bigquery", "--dry-run")
    assert (plan.code, "nothing was done" in plan.out) == (ExitCode.OK, True)
    assert cloud.google.names("gharchive") == set()

    done = cloud.etl("build", "--engine", "bigquery")
    assert done.code == ExitCode.OK, done.err
    assert "created my-project.gharchive.events_base" in done.err
    assert "authorised my-project.gharchive_reporting.events in my-project.gharchive" in done.err
    assert "BigQuery bills the queries of this build with 0.000 GB" in done.err
    assert cloud.rows("events") == cloud.rows("gharchive_reporting.events") == 2
    assert cloud.google.names("gharchive") == {model.name for model in models()}

    again = cloud.etl("build", "--engine", "bigquery")
    assert (again.code, again.out) == (ExitCode.OK, "everything in my-project.gharchive is up to date\n")


def test_tables_of_duckdb_are_loaded(cloud: Cloud) -> None:
    assert cloud.etl("build").code == ExitCode.OK
    plan = cloud.etl("load", "--dry-run", "--format", "jsonl")
    planned = {(row["model"], row["partition"]) for row in map(json.loads, plan.out.splitlines())}
    done = cloud.etl("load", "--format", "jsonl")
    assert done.code == ExitCode.OK, done.err
    rows = {(row["model"], row["partition"]): row["rows"] for row in map(json.loads, done.out.splitlines())}
    assert set(rows) == planned
    assert rows["events_base", "2019-01-02"] == cloud.rows("events_base") == 2
    again = cloud.etl("load")
    assert again.out == "0 partitions were loaded or removed; my-project.gharchive is up to date\n"


def test_a_build_that_is_killed_is_finished_by_the_next(cloud: Cloud) -> None:
    began = time.monotonic()
    assert cloud.etl("build", "--engine", "bigquery").code == ExitCode.OK
    whole = time.monotonic() - began
    dice = random.Random(3)  # noqa: S311 -- no secret
    store = store_at(f"{cloud.env['GHARCHIVE_WAREHOUSE']}/bigquery/my-project.gharchive")
    killed = 0
    for number in range(3):
        stored(cloud.lake, cloud.folder / "archive", HOUR, [event(1), event(2), event(3 + number)])
        with start(cloud.folder, "build", "--engine", "bigquery", env=cloud.env) as process:
            time.sleep(whole * dice.uniform(0.2, 0.6))
            process.send_signal(signal.SIGKILL)
        killed += process.returncode == -signal.SIGKILL
        for info in store.list("locks/"):
            # The dead one's lease, which runs out by itself within two minutes.
            store.delete(info.key)
    assert cloud.etl("build", "--engine", "bigquery").code == ExitCode.OK
    assert killed > 0
    assert cloud.google.ask("SELECT count(*), count(DISTINCT event_key) FROM events") == [(3, 3)]
    assert cloud.google.ask("SELECT sum(events) FROM activity_hourly") == [(3,)]
    assert cloud.google.ask("SELECT sum(stars), sum(star_events) FROM repositories") == [(1, 3)]
    again = cloud.etl("build", "--engine", "bigquery")
    assert again.out == "everything in my-project.gharchive is up to date\n"


@pytest.mark.parametrize("words", [("build", "--engine", "bigquery"), ("load",)])
def test_what_is_missing_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = etl(tmp_path, *words)
    assert done.code == ExitCode.USAGE
    assert "a BigQuery dataset is required" in done.error
    wrong = etl(tmp_path, *words, "--dataset", "gharchive")
    assert wrong.code == ExitCode.USAGE
    assert "'gharchive' is not the name of a dataset" in wrong.error
    nearby = etl(tmp_path, *words, "--dataset", "my-project.gharchive")
    assert nearby.code == ExitCode.USAGE
    assert "warehouse is a folder, which BigQuery cannot read" in nearby.error
