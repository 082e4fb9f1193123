"""The image and the composition: what can be said of them without Docker."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from click.testing import CliRunner

from etl.cli.main import front
from etl.mage.guard import ALLOWED_HOSTS
from etl.settings import ENV_PREFIX, Settings
from tests.e2e.images import Stage, stages

ROOT: Final = Path(__file__).parents[3]
BY_DIGEST: Final = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
SECRETS: Final = {"PGPASSWORD", "POSTGRES_PASSWORD", "DEFAULT_OWNER_PASSWORD", "JWT_SECRET"}


@pytest.fixture(scope="module")
def image() -> dict[str, Stage]:
    return stages(ROOT / "Dockerfile")


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


def test_what_it_is_made_of_is_pinned(image: dict[str, Stage]) -> None:
    installs = " ".join(image["mage-install"].values("RUN"))
    assert installs.count("--require-hashes --only-binary :all:") == 1
    assert "requirements/mage.txt" in installs


def test_the_server_is_not_root_and_holds_no_installer_and_no_secret(image: dict[str, Stage]) -> None:
    last = image["mage"]
    assert last.base == "service"
    assert last.values("USER") == ["10001"]
    assert not any("pip" in command or "uv" in command for command in last.values("RUN"))
    kept = " ".join((*last.values("ENV"), *last.values("ARG"), *last.values("LABEL")))
    assert not re.search("password|secret|token|key=", kept, re.IGNORECASE)


def test_what_it_starts_is_a_command_that_there_is(image: dict[str, Stage]) -> None:
    (program,) = json.loads(image["mage"].values("ENTRYPOINT")[0])
    words = json.loads(image["mage"].values("CMD")[0])
    assert program == "gharchive-etl"
    shown = CliRunner().invoke(front, [*words[:2], "--help"], env={"COLUMNS": "200"}).output
    assert {word for word in words if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", shown))
    assert (
        words[words.index("--project") + 1]
        == dict(argument.split("=") for argument in image["mage"].values("ARG") if "=" in argument)["PROJECT"]
    )


def test_its_health_is_asked_for_by_what_is_in_it(image: dict[str, Stage]) -> None:
    (check,) = image["mage"].values("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[:2] == ["python", "-c"]
    compile(command[2], "health", "exec")
    assert "127.0.0.1:6789/api/status" in command[2]
    assert shlex.split(check.partition("CMD ")[0])


def test_the_composition_opens_nothing_to_others(composed: dict[str, Any]) -> None:
    ports = [port for service in composed["services"].values() for port in service.get("ports", [])]
    assert ports == ["127.0.0.1:6789:6789"]
    for service in composed["services"].values():
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service["mem_limit"]
        assert "privileged" not in service
    assert BY_DIGEST.fullmatch(composed["services"]["database"]["image"])
    assert composed["services"]["mage"]["cap_drop"] == ["ALL"]


def test_the_composition_has_no_secret_and_does_not_start_without_one(composed: dict[str, Any]) -> None:
    told = {
        name: value
        for service in composed["services"].values()
        for name, value in service["environment"].items()
        if name in SECRETS
    }
    assert set(told) == SECRETS
    assert all(re.fullmatch(r"\$\{[A-Z_]+:\?see compose\.example\.env}", value) for value in told.values())
    assert "@" not in composed["services"]["mage"]["environment"]["MAGE_DATABASE_CONNECTION_URL"].partition("@")[2]
    named = set(re.findall(r"\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    example = (ROOT / "compose.example.env").read_text(encoding="utf-8")
    given = dict(line.split("=", 1) for line in example.splitlines() if not line.startswith("#"))
    assert set(given) == named
    assert {given[name] for name in ("POSTGRES_PASSWORD", "OWNER_PASSWORD", "JWT_SECRET")} == {""}


def test_the_composition_passes_on_every_setting_and_every_variable_of_the_alerts(composed: dict[str, Any]) -> None:
    given = composed["services"]["mage"]["environment"]
    settings = {ENV_PREFIX + name.upper() for name in Settings.model_fields}
    alerts = set(re.findall(r"env_var\('(\w+)'", (ROOT / "mage_pipeline/metadata.yaml").read_text(encoding="utf-8")))

    assert {name for name in given if name.startswith(ENV_PREFIX)} == settings
    assert alerts | {ALLOWED_HOSTS} <= set(given)
    # Those that are not fixed here have no value: an empty one would be refused as a setting.
    fixed = {name for name in settings | alerts if given[name] is not None}
    assert fixed == {"GHARCHIVE_LAKE", "GHARCHIVE_WAREHOUSE", "GHARCHIVE_SPOOL"}


def test_the_example_offers_only_what_is_passed_on(composed: dict[str, Any]) -> None:
    given = composed["services"]["mage"]["environment"]
    example = (ROOT / "compose.example.env").read_text(encoding="utf-8")
    offered = set(re.findall(r"^# ([A-Z_]+)=", example, re.MULTILINE))

    assert {name for name in offered if given[name] is not None} == set()
    assert {"GHARCHIVE_EMAIL_KEY", "GHARCHIVE_SOURCES", "MAGE_SMTP_PASSWORD"} <= offered
