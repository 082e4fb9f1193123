"""Every example of a README can be planned as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.terraform import tables
from tests.integration.terraform.policy import violations
from tests.integration.terraform.terraforming import MODULES, ROOT, copied, name_of, planned, run

EXAMPLE = re.compile(r"^```hcl\n(.*?)^```$", re.MULTILINE | re.DOTALL)
ASIDE = {"bootstrap/modules/ci", "bootstrap/modules/registry", "bootstrap/modules/state"}
"""Parts of bootstrap, which has an example of its own."""


def examples() -> dict[str, str]:
    """The one example of each module's README."""
    found = {}
    for module in MODULES:
        name = module.relative_to(ROOT).as_posix()
        if name not in ASIDE:
            (found[name],) = EXAMPLE.findall((module / "README.md").read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("module", MODULES, ids=name_of)
def test_the_tables_are_current(module: Path) -> None:
    current = (module / "README.md").read_text(encoding="utf-8")
    assert current == tables.updated(module), "make terraform-docs writes them"


def test_a_table_has_every_type_and_default() -> None:
    """Compares the parsed blocks with Terraform's files by other means: counts of their attributes."""
    for module in MODULES:
        source = (module / "variables.tf").read_text(encoding="utf-8")
        found = tables.blocks(module, "variable")
        assert len(found) == len(re.findall(r"^variable ", source, re.MULTILINE))
        assert sum("default" in block.attributes for block in found) == len(
            re.findall(r"^  default +=", source, re.MULTILINE)
        )
        assert all(block.attributes["type"].count("(") == block.attributes["type"].count(")") for block in found)


def test_examples_are_in_the_usual_form(tmp_path: Path) -> None:
    for name, example in examples().items():
        (tmp_path / f"{name.replace('/', '-')}.tf").write_text(example, encoding="utf-8")
    done = run(tmp_path, "fmt", "-check", "-diff", "-no-color")
    assert done.code == 0, done.said


def test_examples_can_be_planned_and_open_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "beside"
    folder.mkdir()
    for name, example in examples().items():
        if name not in {".", "bootstrap"}:
            copied(ROOT / name, folder / name)
            (folder / f"{name.replace('/', '-')}.tf").write_text(example, encoding="utf-8")
    plan = planned(folder, {"email_key": "not-a-secret-in-a-test"})
    planned_modules = {change["module_address"] for change in plan["resource_changes"]}
    assert planned_modules == {
        f"module.{name.rpartition('/')[2]}" for name in examples() if name.startswith("modules/")
    }
    rules_for_one = {breach for breach in violations(plan) if not breach.startswith("everything_has_labels")}
    assert rules_for_one == set()


def test_the_examples_of_the_whole_can_be_planned(tmp_path: Path) -> None:
    folder = tmp_path / "beside"
    copied(ROOT, folder / "terraform")
    for name in (".", "bootstrap"):
        (folder / f"{name_of(ROOT / name).replace('/', '-')}.tf").write_text(examples()[name], encoding="utf-8")
    plan = planned(folder, {})
    assert {change["module_address"].split(".")[1] for change in plan["resource_changes"]} == {"gharchive", "bootstrap"}
    assert violations(plan) == []
