"""Runs Terraform on a copy of a module, with Google's provider or, where its registry is out of reach, a stand-in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import pytest

CHECKOUT: Final = Path(__file__).parents[3]
ROOT: Final = CHECKOUT / "terraform"
STAND_IN: Final = CHECKOUT / "../shared/terraform/check"
_HOW_TO_GET_IT: Final = "https://developer.hashicorp.com/terraform/install (1.11 or newer), or make terraform"
_GO_BIN: Final = Path.home() / "go/bin"
_LEFT_BEHIND: Final = shutil.ignore_patterns(
    ".terraform*", "*.tfstate*", "backend.tf", "*.auto.tfvars", "terraform.tfvars"
)
_PATIENCE_SECONDS: Final = 280

MODULES: Final = (
    ROOT,
    ROOT / "bootstrap",
    *sorted(folder for folder in (ROOT / "modules").iterdir() if folder.is_dir()),
    *sorted(folder for folder in (ROOT / "bootstrap/modules").iterdir() if folder.is_dir()),
)
"""Every root and module."""


@dataclass(frozen=True)
class Done:
    """What Terraform said.

    Attributes:
        code: Its exit code.
        said: Both its outputs.
    """

    code: int
    said: str


def name_of(module: Path) -> str:
    """How a module is called in a list of tests."""
    return module.relative_to(CHECKOUT).as_posix()


def copied(module: Path, folder: Path) -> Path:
    """Copies a module without what Terraform left in it, and gives the copy."""
    shutil.copytree(module, folder, ignore=_LEFT_BEHIND)
    return folder


def run(folder: Path, *words: str) -> Done:
    """Runs Terraform in a folder that ``prepared`` has seen, or that needs nothing prepared."""
    done = subprocess.run(
        ["terraform", f"-chdir={folder}", *words],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        timeout=_PATIENCE_SECONDS,
    )
    return Done(done.returncode, done.stdout + done.stderr)


def prepared(folder: Path) -> Path:
    """Gets the folder's modules and provider, and gives the folder."""
    if not STAND_IN.is_file():
        words: tuple[str, ...] = ("init", "-backend=false", "-input=false")
    elif any('module "' in file.read_text(encoding="utf-8") for file in folder.glob("*.tf")):
        words = ("get",)
    else:
        return folder
    done = run(folder, *words, "-no-color")
    assert done.code == 0, done.said
    return folder


def planned(folder: Path, variables: Mapping[str, object], *, var_file: str | None = None) -> dict[str, Any]:
    """Plans a root that nothing of exists yet, with a token that opens nothing, and gives the plan."""
    prepared(folder)
    words = [f"-var-file={var_file}"] if var_file else []
    words += [f"-var={name}={_hcl(value)}" for name, value in variables.items()]
    done = run(folder, "plan", "-input=false", "-no-color", "-lock=false", "-out=plan.out", *words)
    assert done.code == 0, done.said
    shown = run(folder, "show", "-json", "plan.out")
    assert shown.code == 0, shown.said
    plan: dict[str, Any] = json.loads(next(line for line in shown.said.splitlines() if line.startswith('{"format')))
    return plan


def resources(plan: Mapping[str, Any], kind: str | None = None) -> dict[str, dict[str, Any]]:
    """Gives what a plan would make: the address of each resource, and what is known of it."""
    found = {}
    for change in plan["resource_changes"]:
        if change["mode"] == "managed" and kind in {None, change["type"]}:
            found[change["address"]] = dict(change["change"]["after"])
    return found


def texts(value: object) -> Iterator[str]:
    """Yields every text inside a value, those of JSON inside texts included."""
    match value:
        case str():
            yield value
            if value[:1] in {"{", "["}:
                try:
                    yield from texts(json.loads(value))
                except json.JSONDecodeError:
                    return
        case Mapping():
            for part in value.values():
                yield from texts(part)
        case Sequence():
            for part in value:
                yield from texts(part)
        case _:  # A number, a truth, nothing.
            return


@cache
def skip_without_terraform() -> None:
    """Skips where Terraform, or what it needs without a registry, is not installed."""
    if shutil.which("terraform", path=_environment()["PATH"]) is None:
        pytest.skip(f"terraform is not installed; get it from {_HOW_TO_GET_IT}")
    if STAND_IN.is_file() and not _stand_in_built():
        pytest.skip("the stand-in for Google's provider cannot be built: install Go 1.24 or newer")


def _stand_in_built() -> bool:
    """Lets the stand-in's own script check a module, which builds it the first time."""
    done = subprocess.run(
        [STAND_IN.resolve(), ROOT / "modules/services", "validate"],
        capture_output=True,
        text=True,
        check=False,
        env=_environment(),
        timeout=_PATIENCE_SECONDS,
    )
    if done.returncode != 0 and shutil.which("go") is None:
        return False
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def _environment() -> dict[str, str]:
    theirs = ("TF_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    environment["PATH"] = f"{environment.get('PATH', os.defpath)}{os.pathsep}{_GO_BIN}"
    environment |= {"CHECKPOINT_DISABLE": "1", "TF_IN_AUTOMATION": "1", "GOOGLE_OAUTH_ACCESS_TOKEN": "opens-nothing"}
    if STAND_IN.is_file():
        cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        environment["TF_CLI_CONFIG_FILE"] = str(cache_folder / "terraform-google-stand-in/terraformrc")
    return environment


def _hcl(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
