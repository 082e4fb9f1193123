"""What the blocks do with what Mage gives them: variables, the result of the block before, the environment."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from etl.cli.main import main
from etl.errors import ChecksFailedError, EtlError, GateError, StoreError, UsageError
from etl.hours import newest_finished_hour
from etl.lake.lake import Lake
from etl.mage import blocks, tables
from etl.practice.generator import write_archive
from tests.integration.running import HOUR, documents, packed, put, sound

VARIABLES: dict[str, Any] = {
    "execution_date": datetime(2015, 1, 1, 16, 20),  # noqa: DTZ001 -- as Mage gives it: naive, and UTC
    "lag_hours": 1,
    "wait_minutes": 0,
    "refresh": False,
    "accept_partial": False,
    "look_back_hours": 2,
    "late_hours": 6,
    "engine": "auto",
    "pipeline_run_id": 7,
}


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "files").mkdir()
    for name in ("lake", "warehouse", "spool"):
        monkeypatch.setenv(f"GHARCHIVE_{name.upper()}", str(tmp_path / name))
    monkeypatch.setenv("GHARCHIVE_SOURCES", str(tmp_path / "files"))


@pytest.fixture(autouse=True)
def logging_as_it_was() -> Iterator[None]:
    package = logging.getLogger("etl")
    before = package.handlers[:], package.propagate, package.level
    yield
    package.handlers[:], package.propagate = before[:2]
    package.setLevel(before[2])
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()


def through_the_store(result: dict[str, Any]) -> dict[str, Any]:
    """A result as the next block gets it."""
    read: dict[str, Any] = json.loads(json.dumps(result))
    return read


def test_the_three_blocks_of_an_hour(tmp_path: Path) -> None:
    put(tmp_path / "files", packed(documents(30)))
    fetched = through_the_store(blocks.fetch_hour(VARIABLES))
    assert (fetched["hour"], fetched["run"], fetched["state"]) == (str(HOUR), "7", "fetched")
    blocks.check_fetched(fetched, VARIABLES)
    shaped = through_the_store(blocks.enforce_schema(fetched, VARIABLES))
    blocks.check_shaped(shaped, VARIABLES)
    published = through_the_store(blocks.publish_hour(shaped, VARIABLES))
    blocks.check_published(published, VARIABLES)
    assert (published["state"], published["events"]) == ("stored", 30)
    sound(Lake.at(str(tmp_path / "lake")))


def test_a_gate_speaks_through_the_block(tmp_path: Path) -> None:
    put(tmp_path / "files", packed([*documents(30), b'{"id": "7", "type": "Cut\n']))
    shaped = blocks.enforce_schema(blocks.fetch_hour(VARIABLES), VARIABLES)
    with pytest.raises(GateError, match="partial"):
        blocks.check_shaped(shaped, VARIABLES)


@pytest.mark.parametrize("name", ["execution_date", "lag_hours", "wait_minutes", "refresh", "accept_partial"])
def test_a_variable_that_is_not_set_is_never_guessed(name: str) -> None:
    with pytest.raises(UsageError):
        blocks.fetch_hour({key: value for key, value in VARIABLES.items() if key != name})


def test_the_catch_up_and_its_page(tmp_path: Path) -> None:
    newest = newest_finished_hour()
    write_archive([newest - 1, newest], tmp_path / "files", events=10)
    due = through_the_store(blocks.list_due_hours(VARIABLES))
    assert due["hours"] == [str(newest - 1), str(newest)]
    told = blocks.report_coverage(through_the_store(blocks.bring_due_hours(due, VARIABLES)), VARIABLES)
    blocks.check_report(through_the_store(told))
    assert (told["statuses"], told["brought"]["states"]) == ({"complete": 2}, {"stored": 2})
    assert Path(told["page"]).is_relative_to(tmp_path / "warehouse")


def test_the_tables_of_what_changed(tmp_path: Path) -> None:
    put(tmp_path / "files", packed(documents(30)))
    blocks.publish_hour(blocks.enforce_schema(blocks.fetch_hour(VARIABLES), VARIABLES), VARIABLES)
    touched = through_the_store(blocks.list_touched_days(VARIABLES))
    assert HOUR.date in touched["days"]
    assert not (tmp_path / "warehouse" / "tables").exists()
    built = through_the_store(blocks.build_tables(touched))
    blocks.check_built(built)
    assert built["outcomes"]["built"] >= touched["partitions"]
    assert (tmp_path / "warehouse" / "tables" / "activity_hourly" / f"{HOUR.date}.parquet").is_file()
    # Nothing changed since, so nothing is started.
    again = through_the_store(blocks.list_touched_days(VARIABLES))
    assert again["days"] == []


def test_a_partition_that_broke_a_check_fails_the_run() -> None:
    with pytest.raises(ChecksFailedError, match="2 partitions"):
        blocks.check_built({"engine": "duckdb", "outcomes": {"built": 1, "refused": 2}, "rows": 5})


@pytest.mark.parametrize("engine", ["pandas", "", "None"])
def test_an_engine_that_there_is_not_is_refused(engine: str) -> None:
    with pytest.raises(UsageError, match="no engine"):
        blocks.list_touched_days(VARIABLES | {"engine": engine})


@pytest.mark.parametrize(
    ("engine", "dataset", "words"),
    [
        ("auto", None, [("build", "--engine", "duckdb", "--format", "json")]),
        ("auto", "project.dataset", [("build", "--engine", "bigquery", "--format", "json")]),
        ("duckdb", "project.dataset", [("build", "--engine", "duckdb", "--format", "json")]),
        ("dataproc", None, [("submit", "build")]),
        ("dataproc", "project.dataset", [("submit", "build"), ("load",)]),
    ],
)
def test_the_settings_and_the_engine_say_what_is_run(
    engine: str, dataset: str | None, words: list[tuple[str, ...]]
) -> None:
    assert tables.commands(engine, dataset=dataset) == words


def test_who_has_an_image_for_spark_means_dataproc() -> None:
    assert tables.commands("auto", dataset="project.dataset", spark_image="image") == [("submit", "build"), ("load",)]
    assert tables.commands("bigquery", dataset="project.dataset", spark_image="image")[0][2] == "bigquery"


@pytest.mark.parametrize("engine", tables.ENGINES)
def test_an_engine_is_a_command_that_there_is(engine: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = tables.ENGINES[engine]
    command = [word for word in words if not word.startswith("-")][: 1 if words[0] == "build" else 2]
    assert main([*command, "--help"], prog_name="etl") == 0
    shown = capsys.readouterr().out
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", shown))


def test_a_command_that_fails_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GHARCHIVE_WAREHOUSE", "gs://a bucket that cannot be")
    with pytest.raises(StoreError, match=r"`build .*` ended with exit code \d+: .*error: "):
        tables.find_touched("duckdb", dataset=None)


@pytest.mark.parametrize("value", [None, [], {"hour": "2015-01-01-15"}, "stored"])
def test_what_is_no_result_of_the_block_before_is_refused(value: object) -> None:
    for block in (blocks.enforce_schema, blocks.publish_hour, blocks.bring_due_hours, blocks.report_coverage):
        with pytest.raises(EtlError):
            block(value, VARIABLES)


def test_our_lines_go_to_the_block_and_mages_own_way_stays_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(tmp_path / "files", packed(documents(30)))
    handlers = logging.getLogger().handlers[:]
    blocks.fetch_hour(VARIABLES)
    said = capsys.readouterr().err
    assert f"message=done hour={HOUR} run=7 state=fetched" in said
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger("etl").propagate is False
