"""The ranges, the locks and the exceptions to the audit say the same thing."""

from __future__ import annotations

import importlib.metadata
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from pydantic import ValidationError

import etl
from etl.settings import Settings
from tests import tools

ROOT: Final = Path(__file__).parents[2]
ALL_LOCKS: Final = (
    "requirements.txt",
    *(f"requirements/{name}.txt" for name in ("core", "dev", "docs", "mage", "spark")),
)
WITHOUT_MAGE: Final = ("requirements/core.txt", "requirements/dev.txt", "requirements/spark.txt")
EXTRAS_OF: Final = {
    "requirements.txt": {"gcp", "spark", "mage", "dev"},
    "requirements/core.txt": {"gcp"},
    "requirements/dev.txt": {"gcp", "spark", "dev"},
    "requirements/docs.txt": {"warehouse", "docs"},
    "requirements/mage.txt": {"gcp", "mage"},
    "requirements/spark.txt": {"gcp", "spark"},
}
PYTHON_OF: Final = {
    "requirements.txt": ("3.11", "3.12", "3.13"),
    "requirements/core.txt": ("3.11", "3.12", "3.13"),
    "requirements/dev.txt": ("3.11", "3.12", "3.13"),
    "requirements/docs.txt": ("3.11", "3.12", "3.13"),
    "requirements/mage.txt": ("3.11", "3.12"),
    "requirements/spark.txt": ("3.12",),
}
MAGE_PYTHON: Final = "3.11"


def applies(requirement: Requirement, python: str) -> bool:
    """Returns whether a requirement is meant for this Python on Linux."""
    if requirement.marker is None:
        return True
    environment: dict[str, str] = {
        "extra": "",
        "implementation_name": "cpython",
        "os_name": "posix",
        "platform_machine": "x86_64",
        "platform_python_implementation": "CPython",
        "platform_system": "Linux",
        "python_full_version": f"{python}.9",
        "python_version": python,
        "sys_platform": "linux",
    }
    return requirement.marker.evaluate(environment)


def entries(lock: str) -> Iterator[tuple[Requirement, list[str]]]:
    """Yields every pinned package of a lock with its hashes."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if line[:1].isalnum():
            requirement, *hashes = re.split(r"\s+--hash=", line.strip())
            yield Requirement(requirement), hashes


def locked(lock: str, python: str) -> dict[str, Version]:
    """Reads which version of each package a lock installs on this Python."""
    return {
        canonicalize_name(requirement.name): Version(str(requirement.specifier).removeprefix("=="))
        for requirement, _ in entries(lock)
        if applies(requirement, python)
    }


def project() -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return table


def ranges(extras: set[str]) -> list[Requirement]:
    table = project()
    chosen = [table["dependencies"], *(table["optional-dependencies"][extra] for extra in sorted(extras))]
    return [Requirement(text) for group in chosen for text in group]


def demanded_by_mage() -> dict[str, Requirement]:
    """Reads what Mage itself asks for, without its extras."""
    tools.get("mage")
    texts = importlib.metadata.requires("mage-ai") or []
    asked = [requirement for requirement in map(Requirement, texts) if applies(requirement, MAGE_PYTHON)]
    return {canonicalize_name(requirement.name): requirement for requirement in asked}


def exceptions() -> dict[str, str]:
    """Reads the packages that the audit excuses, each with its reason."""
    lines = (ROOT / "requirements/audit-exceptions.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split(maxsplit=1) for line in lines if line and not line.startswith("#"))
    return {pair[0]: pair[1] if len(pair) > 1 else "" for pair in pairs}


@pytest.mark.parametrize("lock", ALL_LOCKS)
def test_a_lock_is_within_the_ranges_and_misses_nothing(lock: str) -> None:
    for python in PYTHON_OF[lock]:
        versions = locked(lock, python)
        wrong = [
            f"{requirement} is {versions.get(canonicalize_name(requirement.name))} on Python {python}"
            for requirement in ranges(EXTRAS_OF[lock])
            if applies(requirement, python)
            and not requirement.specifier.contains(versions.get(canonicalize_name(requirement.name), Version("0")))
        ]
        assert wrong == []


@pytest.mark.parametrize("lock", [*ALL_LOCKS, "requirements/bootstrap.txt", "requirements/build.txt"])
def test_every_package_of_a_lock_is_pinned_with_hashes(lock: str) -> None:
    unpinned = [
        str(requirement)
        for requirement, hashes in entries(lock)
        if not str(requirement.specifier).startswith("==") or not all(text.startswith("sha256:") for text in hashes)
    ]
    without_hashes = [str(requirement) for requirement, hashes in entries(lock) if not hashes]
    assert unpinned == without_hashes == []


@pytest.mark.parametrize("lock", [*ALL_LOCKS, "requirements/bootstrap.txt", "requirements/build.txt"])
def test_a_lock_names_no_server_and_no_folder(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links|@ file|^-e .*", text, flags=re.MULTILINE) == []


def test_the_images_without_mage_install_what_the_tests_without_mage_ran_on() -> None:
    tested = locked("requirements/dev.txt", "3.12")
    for lock in ("requirements/core.txt", "requirements/spark.txt"):
        assert {name: tested.get(name) for name in locked(lock, "3.12")} == locked(lock, "3.12")


def test_the_mage_image_installs_what_the_tests_ran_on() -> None:
    tested = locked("requirements.txt", MAGE_PYTHON)
    shipped = locked("requirements/mage.txt", MAGE_PYTHON)
    assert {name: tested.get(name) for name in shipped} == shipped


@pytest.mark.parametrize("lock", WITHOUT_MAGE)
def test_nothing_without_mage_inherits_a_version_that_the_audit_excuses(lock: str) -> None:
    with_mage = locked("requirements/mage.txt", MAGE_PYTHON)
    without = locked(lock, PYTHON_OF[lock][0])
    assert "mage-ai" not in without
    inherited = [name for name in exceptions() if name in without and without[name] <= with_mage[name]]
    assert inherited == []


@pytest.mark.parametrize("lock", WITHOUT_MAGE)
def test_nothing_without_mage_inherits_its_exact_pins(lock: str) -> None:
    without = locked(lock, PYTHON_OF[lock][0])
    exact = {name: asked for name, asked in demanded_by_mage().items() if str(asked.specifier).startswith("==")}
    inherited = [name for name, asked in exact.items() if name in without and asked.specifier.contains(without[name])]
    assert inherited == []


def test_where_mage_cannot_be_installed_its_pins_are_gone() -> None:
    on_313 = locked("requirements.txt", "3.13")
    today = locked("requirements/dev.txt", "3.13")
    assert "mage-ai" not in on_313
    assert {name: on_313.get(name) for name in today} == today


def test_every_audit_exception_has_a_reason_and_is_mages_doing() -> None:
    demands = demanded_by_mage()
    shipped = locked("requirements/mage.txt", MAGE_PYTHON)
    assert exceptions()
    for name, reason in exceptions().items():
        assert name in shipped
        specifier = str(demands[name].specifier)
        assert specifier.startswith(("==", "~="))
        assert reason.startswith(f"{specifier} in Mage."), f"{name}: the reason names another version than Mage demands"
        assert len(reason.split()) >= 8, f"{name}: that is not a reason"


def test_uv_is_the_same_in_the_lock_and_in_what_installs_it() -> None:
    assert locked("requirements/bootstrap.txt", "3.11")["uv"] == locked("requirements.txt", "3.11")["uv"]


def test_the_installed_project_has_the_version_of_the_code() -> None:
    assert importlib.metadata.version("gharchive-etl") == etl.__version__


def test_the_console_script_is_declared() -> None:
    assert project()["scripts"] == {"gharchive-etl": "etl.cli.main:main"}


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "etl/py.typed").is_file()


def test_the_example_of_secrets_has_the_form_of_the_settings_and_is_no_secret_itself() -> None:
    example = json.loads((ROOT / "secrets.example.json").read_text(encoding="utf-8"))
    secrets = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert set(example) == secrets
    with pytest.raises(ValidationError, match="the public placeholder"):
        Settings(**example)
