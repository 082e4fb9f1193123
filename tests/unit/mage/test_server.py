"""How a server is started: with secrets of its own, a login, one address, and nothing of the checkout changed."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from etl.errors import StoreError, UsageError
from etl.mage import server
from etl.mage.server import OWNER, ServerOptions, find_project, prepare


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ServerOptions:
    program = tmp_path / "bin" / "mage"
    program.parent.mkdir()
    program.touch()
    monkeypatch.setattr("sys.executable", str(program.with_name("python")))
    return ServerOptions(project=find_project(), folder=tmp_path / "server", port=free_port(), spool=tmp_path / "spool")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def test_what_makes_it_safe_cannot_be_turned_round(plan: ServerOptions) -> None:
    given = {
        "REQUIRE_USER_AUTHENTICATION": "0",
        "TZ": "Europe/Berlin",
        "ENV": "dev",
        "DISABLE_NOTEBOOK_EDIT_ACCESS": "0",
    }
    ready = prepare(replace(plan, schedules=True), given)
    told = {name: ready.environment[name] for name in given}
    assert told == {"REQUIRE_USER_AUTHENTICATION": "1", "TZ": "UTC", "ENV": "prod", "DISABLE_NOTEBOOK_EDIT_ACCESS": "1"}
    assert ready.command[1:] == [
        *(
            "-m",
            "etl.mage.queue_patch",
            "start",
            str(plan.folder / "mage_pipeline"),
            "--host",
            "127.0.0.1",
            "--port",
            str(plan.port),
        ),
    ]


def test_without_schedules_pipelines_can_be_edited_in_place_and_no_trigger_fires(plan: ServerOptions) -> None:
    ready = prepare(plan, {})
    assert ready.environment["ENV"] == "dev"
    assert "DISABLE_NOTEBOOK_EDIT_ACCESS" not in ready.environment
    assert prepare(plan, {"DISABLE_TERMINAL": "0"}).environment["DISABLE_TERMINAL"] == "1"
    assert ready.command[4] == str(plan.project)


def test_the_secrets_are_made_once_and_kept_from_others(plan: ServerOptions) -> None:
    first, second = prepare(plan, {}), prepare(plan, {})
    assert first.environment["JWT_SECRET"] == second.environment["JWT_SECRET"]
    assert len(first.environment["JWT_SECRET"]) >= 32
    assert stat.S_IMODE((plan.folder / "jwt-secret").stat().st_mode) == 0o600
    assert stat.S_IMODE(plan.folder.stat().st_mode) == 0o700
    other = prepare(replace(plan, folder=plan.folder.with_name("other")), {})
    assert other.environment["JWT_SECRET"] != first.environment["JWT_SECRET"]


def test_a_password_is_made_until_there_is_an_owner_and_mages_own_never_used(plan: ServerOptions) -> None:
    first, second = prepare(plan, {}), prepare(plan, {})
    assert first.new_password is not None
    assert first.new_password == first.environment["DEFAULT_OWNER_PASSWORD"]
    assert second.new_password not in {None, first.new_password}
    with closing(sqlite3.connect(plan.folder / "mage.db")) as database:
        database.execute('CREATE TABLE "user" (id INTEGER)')
        database.execute('INSERT INTO "user" VALUES (1)')
        database.commit()
    third = prepare(plan, {})
    assert third.new_password is None
    assert third.environment["DEFAULT_OWNER_PASSWORD"] not in {"", "admin"}


def test_secrets_of_the_environment_win(plan: ServerOptions) -> None:
    given = {"JWT_SECRET": "theirs", "DEFAULT_OWNER_PASSWORD": "theirs", "MAGE_PUBLIC_HOST": "https://mage.example.org"}
    ready = prepare(plan, given)
    assert {name: ready.environment[name] for name in given} == given
    assert ready.new_password is None
    assert ready.environment["DEFAULT_OWNER_EMAIL"] == OWNER


def test_another_database_wants_the_password_from_the_environment(plan: ServerOptions) -> None:
    given = {"MAGE_DATABASE_CONNECTION_URL": "postgresql+psycopg2://mage@db/mage"}
    with pytest.raises(UsageError, match="DEFAULT_OWNER_PASSWORD is not set"):
        prepare(plan, given)
    ready = prepare(plan, given | {"DEFAULT_OWNER_PASSWORD": "theirs"})
    assert ready.environment["MAGE_DATABASE_CONNECTION_URL"] == given["MAGE_DATABASE_CONNECTION_URL"]


def test_in_production_the_project_is_a_fresh_copy(plan: ServerOptions) -> None:
    prepare(replace(plan, schedules=True), {})
    copy = plan.folder / "mage_pipeline"
    (copy / "metadata.yaml").write_text("edited: true")
    (copy / "pipelines" / "mine").mkdir()
    prepare(replace(plan, schedules=True), {})
    assert (copy / "metadata.yaml").read_bytes() == (plan.project / "metadata.yaml").read_bytes()
    assert not (copy / "pipelines" / "mine").exists()


def test_a_start_empties_the_staging_folder(plan: ServerOptions) -> None:
    left = plan.spool / "7" / "2015-01-01-15" / "2015-01-01-15.json.gz"
    left.parent.mkdir(parents=True)
    left.touch()
    prepare(plan, {})
    assert list(plan.spool.iterdir()) == []


def test_a_taken_port_is_refused(plan: ServerOptions) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", plan.port))
        other.listen()
        with pytest.raises(UsageError, match=f"port {plan.port} "):
            prepare(plan, {})


def test_without_mage_it_says_how_to_get_it(plan: ServerOptions, tmp_path: Path) -> None:
    (tmp_path / "bin" / "mage").unlink()
    with pytest.raises(UsageError, match="Mage is not installed") as refusal:
        prepare(plan, {})
    assert ".[mage]" in str(refusal.value.hint)


def test_two_servers_never_work_with_one_folder(plan: ServerOptions, tmp_path: Path) -> None:
    # In the place of Python with Mage, something that stays.
    program = tmp_path / "bin" / "python"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    with server.serving(plan, {}) as (_ready, process):
        left = plan.spool / "7" / "2015-01-01-15"
        left.mkdir(parents=True)
        other = replace(plan, port=free_port())
        with pytest.raises(UsageError, match="already"), server.serving(other, {}):
            pytest.fail("it was not refused")
        assert process.poll() is None
        assert left.is_dir(), "it belongs to the server that runs"
    assert process.poll() is not None


def test_a_variable_that_is_set_to_nothing_is_not_set(plan: ServerOptions) -> None:
    ready = prepare(plan, {"JWT_SECRET": "", "MAGE_DATABASE_CONNECTION_URL": "", "MAGE_SLACK_WEBHOOK_URL": ""})
    assert len(ready.environment["JWT_SECRET"]) >= 32
    assert ready.environment["MAGE_DATABASE_CONNECTION_URL"].startswith("sqlite:///")
    assert ready.environment["MAGE_SLACK_WEBHOOK_URL"] == ""


def test_a_folder_that_cannot_be_is_reported(plan: ServerOptions, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(StoreError, match="cannot be written"),
        server.serving(replace(plan, folder=tmp_path / "file" / "server"), {}),
    ):
        pytest.fail("it was not refused")


def test_the_log_keeps_the_noise_and_its_end_is_reported(plan: ServerOptions, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "python"
    program.write_text("#!/bin/sh\nseq 1000\necho the reason >&2\nexit 3\n")
    program.chmod(0o755)
    logged = replace(plan, log=plan.folder / "server.log")
    for _ in range(2):
        with server.serving(logged, {}) as (_ready, process), pytest.raises(StoreError, match="code 3") as ended:
            process.wait(30)
            server.await_health(logged, process)
        hint = str(ended.value.hint)
        assert str(logged.log) in hint
        assert hint.endswith("\n1000\nthe reason")
        assert len(hint.splitlines()) == 21
    assert stat.S_IMODE((plan.folder / "server.log").stat().st_mode) == 0o600
    assert (plan.folder / "server.log.before").exists()


def test_a_folder_that_is_no_project_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_project() == Path(server.__file__).parents[2] / "mage_pipeline"


def test_logs_and_outputs_of_old_runs_go_and_those_of_a_running_backfill_stay(plan: ServerOptions) -> None:
    prepare(plan, {})
    data = plan.folder / "data" / "mage_pipeline" / "pipelines" / "gharchive_hour"
    # Both are named by the hour they are for; only one of them was written long ago.
    for kind in (".logs", ".variables"):
        for name in ("20150101T000000", "20150101T010000"):
            (data / kind / "7" / name / "fetch_hour").mkdir(parents=True)
            (data / kind / "7" / name / "fetch_hour" / "output").touch()
        for path in (data / kind / "7" / "20150101T000000", *(data / kind / "7" / "20150101T000000").rglob("*")):
            os.utime(path, (0, 0))
    assert server.clean(plan) == 2
    assert sorted(path.name for path in data.glob("*/7/*")) == ["20150101T010000"] * 2
    assert server.RETENTION_SECONDS == 30 * 86_400
