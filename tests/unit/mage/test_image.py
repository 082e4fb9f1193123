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
from etl.settings import ENV_PREFIX, Settings
from tests.e2e.images import Stage, stages

ROOT: Final = Path(__file__).parents[3]
DOCKERFILE: Final = ROOT / "mage_pipeline/Dockerfile"
BY_DIGEST: Final = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
SECRETS: Final = {"PGPASSWORD", "POSTGRES_PASSWORD", "DEFAULT_OWNER_PASSWORD", "JWT_SECRET"}


@pytest.fixture(scope="module")
def image() -> dict[str, Stage]:
    return stages(DOCKERFILE)


@pytest.fixture(scope="module")
def composed() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
    return read


def test_what_it_is_made_of_is_pinned(image: dict[str, Stage]) -> None:
    bases = {stage.base for stage in image.values()} - set(image)
    assert all(BY_DIGEST.fullmatch(base) for base in bases)
    assert bases == {base for base in (each.base for each in stages(ROOT / "Dockerfile").values()) if "3.11" in base}
    installs = " ".join(image["mage-install"].values("RUN"))
    assert installs.count("--require-hashes --only-binary :all:") == 1
    assert "requirements/mage.txt" in installs


def test_the_server_is_not_root_and_holds_no_installer_and_no_secret(image: dict[str, Stage]) -> None:
    last = image["mage"]
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
    assert set(given) == named - {"GHARCHIVE_EMAILS"}
    assert {given[name] for name in ("POSTGRES_PASSWORD", "OWNER_PASSWORD", "JWT_SECRET")} == {""}


def test_only_settings_that_there_are_stand_in_the_composition(composed: dict[str, Any]) -> None:
    ours = [name for name in composed["services"]["mage"]["environment"] if name.startswith(ENV_PREFIX)]
    assert ours
    assert {name.removeprefix(ENV_PREFIX).lower() for name in ours} <= set(Settings.model_fields)
