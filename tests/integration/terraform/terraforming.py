"""Runs Terraform on a copy of a module, with Google's provider or a stand-in for it (tests/tools.py)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests import tools

CHECKOUT: Final = Path(__file__).parents[3]
ROOT: Final = CHECKOUT / "terraform"
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
    """Copies a module without Terraform's own files; returns the copy."""
    shutil.copytree(module, folder, ignore=_LEFT_BEHIND)
    return folder


def run(folder: Path, *words: str) -> Done:
    """Runs Terraform in a folder that ``prepared`` has seen, or that needs none of it; skips without Terraform."""
    done = subprocess.run(
        [tools.get("terraform"), f"-chdir={folder}", *words],
        capture_output=True,
        text=True,
        check=False,
        env=tools.terraform_environment(),
        timeout=_PATIENCE_SECONDS,
    )
    return Done(done.returncode, done.stdout + done.stderr)


def prepared(folder: Path) -> Path:
    """Gets the folder's modules and provider; returns the folder."""
    if tools.TERRAFORM_STAND_IN not in os.environ:
        words: tuple[str, ...] = ("init", "-backend=false", "-input=false")
    elif any('module "' in file.read_text(encoding="utf-8") for file in folder.glob("*.tf")):
        words = ("get",)
    else:
        return folder
    done = run(folder, *words, "-no-color")
    assert done.code == 0, done.said
    return folder


def planned(folder: Path, variables: Mapping[str, object], *, var_file: str | None = None) -> dict[str, Any]:
    """Plans a root that nothing of exists yet, with a token that grants nothing; returns the plan."""
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
    """Returns what a plan would make: the address of each resource, and what is known of it."""
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


def _hcl(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value)
