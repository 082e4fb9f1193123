"""The pipelines, blocks and triggers are those that were meant, and each is set up the way it has to be."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from jinja2 import Template

from etl.mage import blocks
from etl.mage.staging import STALE_SECONDS
from tests.unit.mage.snapshot import PROJECT, SNAPSHOT, as_text

PIPELINES: Final = sorted(path.parent.name for path in PROJECT.glob("pipelines/*/metadata.yaml"))
FOLDERS: Final = {"data_loader": "data_loaders", "transformer": "transformers", "data_exporter": "data_exporters"}
BLOCKS: Final = sorted(
    path for folder in FOLDERS.values() for path in (PROJECT / folder).glob("*.py") if path.name != "__init__.py"
)
SCHEDULES: Final = {
    "gharchive_hour": "20 * * * *",
    "gharchive_catch_up": "50 * * * *",
    "gharchive_warehouse": "30 2 * * *",
    "gharchive_all": "20 * * * *",
}


def pipeline(name: str) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((PROJECT / "pipelines" / name / "metadata.yaml").read_text())
    return read


def trigger(name: str) -> dict[str, Any]:
    (only,) = yaml.safe_load((PROJECT / "pipelines" / name / "triggers.yaml").read_text())["triggers"]
    read: dict[str, Any] = only
    return read


def project(**environment: str) -> dict[str, Any]:
    """The project's own settings, as Mage reads them in an environment."""
    text = (PROJECT / "metadata.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(Template(text).render(env_var=environment.get))
    return read


def test_nothing_differs_from_the_snapshot() -> None:
    assert as_text() == SNAPSHOT.read_text(encoding="utf-8"), (
        "the project was changed; if that was meant: python -m tests.unit.mage.snapshot --write"
    )


def test_there_are_the_four_pipelines() -> None:
    assert set(PIPELINES) == set(SCHEDULES)


@pytest.mark.parametrize("name", PIPELINES)
def test_the_blocks_of_a_pipeline_follow_each_other_in_one_line(name: str) -> None:
    definition = pipeline(name)
    assert (definition["uuid"], definition["name"], definition["type"]) == (name, name, "python")
    chain = [block["uuid"] for block in definition["blocks"]]
    for place, block in enumerate(definition["blocks"]):
        assert block["upstream_blocks"] == chain[max(place - 1, 0) : place]
        assert block["downstream_blocks"] == chain[place + 1 : place + 2]
        assert (PROJECT / FOLDERS[block["type"]] / f"{block['uuid']}.py").is_file()
        # A retry waits no longer than Mage lets it: the sum of all waits has to stay below max_delay.
        retry = block["retry_config"] or {"retries": 0, "delay": 0, "max_delay": 1}
        assert retry["retries"] * retry["delay"] < retry["max_delay"]
    assert definition["run_pipeline_in_one_process"] is True
    assert definition["cache_block_output_in_memory"] is False
    assert definition["concurrency_config"]["on_pipeline_run_limit_reached"] == "wait"
    assert (
        definition["concurrency_config"]["pipeline_run_limit_all_triggers"] <= project()["queue_config"]["concurrency"]
    )


def test_the_small_installation_runs_the_three_in_order() -> None:
    one_by_one = [
        block["uuid"]
        for name in ("gharchive_hour", "gharchive_catch_up", "gharchive_warehouse")
        for block in pipeline(name)["blocks"]
    ]
    assert [block["uuid"] for block in pipeline("gharchive_all")["blocks"]] == one_by_one
    variables = [pipeline(name)["variables"] for name in PIPELINES if name != "gharchive_all"]
    assert pipeline("gharchive_all")["variables"] == {key: value for each in variables for key, value in each.items()}


@pytest.mark.parametrize("name", PIPELINES)
def test_a_trigger_fires_by_the_clock_in_production_only(name: str) -> None:
    fires = trigger(name)
    assert fires["schedule_interval"] == SCHEDULES[name]
    assert (fires["schedule_type"], fires["pipeline_uuid"], fires["envs"]) == ("time", name, ["prod"])
    # The small installation's is off: it does what the other three do.
    assert fires["status"] == ("inactive" if name == "gharchive_all" else "active")
    # Left out, so that Mage takes the time of its start, and a start fires nothing.
    assert "last_enabled_at" not in fires
    assert fires["settings"]["create_initial_pipeline_run"] is False
    assert 0 < fires["settings"]["timeout"] < STALE_SECONDS
    assert fires["sla"] > 0
    assert fires["start_time"].tzinfo is None, "Mage takes it for UTC as it stands"


@pytest.mark.parametrize("name", ["gharchive_hour", "gharchive_all"])
def test_a_trigger_takes_the_hour_before_and_a_backfill_its_own(name: str) -> None:
    assert trigger(name)["variables"]["lag_hours"] == 1
    assert pipeline(name)["variables"]["lag_hours"] == 0
    # It gives up waiting before the next hour's run begins.
    assert 20 + trigger(name)["variables"]["wait_minutes"] < 60


@pytest.mark.parametrize("path", BLOCKS, ids=lambda path: path.stem)
def test_a_block_is_a_few_lines_around_one_function(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    kinds = [ast.unparse(function.decorator_list[0]) for function in functions]
    assert FOLDERS[kinds[0]] == path.parent.name
    assert kinds[1:] in ([], ["test"])
    assert functions[0].name == path.stem
    for function in functions:
        _docstring, call = function.body
        assert isinstance(call, ast.Return | ast.Expr)
        assert isinstance(call.value, ast.Call)
        called = ast.unparse(call.value.func)
        assert called.startswith("blocks.")
        assert callable(getattr(blocks, called.removeprefix("blocks.")))


def test_every_block_is_used() -> None:
    assert {path.stem for path in BLOCKS} == {block["uuid"] for name in PIPELINES for block in pipeline(name)["blocks"]}


def test_the_steps_of_an_hour_each_have_a_gate() -> None:
    for uuid in ("fetch_hour", "enforce_schema", "publish_hour", "report_coverage", "build_tables"):
        (path,) = (path for path in BLOCKS if path.stem == uuid)
        assert "@test" in path.read_text(encoding="utf-8")


def test_alerts_go_where_the_environment_says_and_nowhere_else() -> None:
    assert "slack_config" not in project()["notification_config"]
    assert "email_config" not in project()["notification_config"]
    alerted = project(
        MAGE_SLACK_WEBHOOK_URL="https://hooks.example.org/1",
        MAGE_SMTP_HOST="mail.example.org",
        MAGE_ALERT_FROM="mage@example.org",
        MAGE_ALERT_TO="team@example.org",
    )["notification_config"]
    assert alerted["slack_config"] == {"webhook_url": "https://hooks.example.org/1"}
    assert alerted["email_config"]["to_emails"] == ["team@example.org"]
    assert alerted["alert_on"] == ["trigger_failure", "trigger_passed_sla"]


def test_what_is_kept_and_told_is_bounded() -> None:
    settings = project()
    assert settings["variables_retention_period"] == settings["logging_config"]["retention_period"] == "30d"
    assert settings["help_improve_mage"] is False
    assert settings["features"]["display_local_timezone"] is False
    # Mage sets it if it is not there, and would write into the file to do so.
    assert settings["project_uuid"]


def test_a_message_never_has_room_for_what_an_event_holds() -> None:
    messages = project()["notification_config"]["message_templates"]
    named = {name for each in messages.values() for text in each.values() for name in re.findall(r"{(\w+)}", text)}
    assert named == {"pipeline_uuid", "pipeline_schedule_name", "execution_time", "error", "pipeline_run_url"}


def run_snapshot(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.unit.mage.snapshot", *words]
    return subprocess.run(command, cwd=PROJECT.parent, capture_output=True, text=True, check=False)


def test_the_snapshot_is_written_only_where_that_is_asked_for() -> None:
    before = SNAPSHOT.stat().st_mtime_ns
    assert "--write" in run_snapshot("--help").stdout
    assert run_snapshot("--wirte").returncode == 2
    assert (run_snapshot().returncode, run_snapshot().stdout) == (0, "the snapshot is current\n")
    assert SNAPSHOT.stat().st_mtime_ns == before
