"""Every module passes its own tests, says what it is for, and refuses what it says it refuses."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.integration.terraform.terraforming import MODULES, ROOT, copied, name_of, prepared, run

EACH_MODULE = pytest.mark.parametrize("module", MODULES, ids=name_of)


@EACH_MODULE
def test_a_module_is_valid_and_passes_its_tests(module: Path, tmp_path: Path) -> None:
    folder = prepared(copied(module, tmp_path / "module"))
    valid = run(folder, "validate", "-no-color")
    assert valid.code == 0, valid.said
    done = run(folder, "test", "-no-color")
    assert done.code == 0, done.said
    assert re.search(r"Success! [1-9]\d* passed, 0 failed", done.said)


def test_everything_is_in_the_usual_form() -> None:
    done = run(ROOT, "fmt", "-check", "-diff", "-recursive", "-no-color")
    assert done.code == 0, done.said


@EACH_MODULE
def test_what_is_refused_is_tested(module: Path) -> None:
    refusals = set(re.findall(r"expect_failures = \[var\.(\w+)\]", _tests(module)))
    validated = {
        name
        for name, body in re.findall(
            r'^variable "(\w+)" \{(.*?)^\}', _source(module, "variables.tf"), re.MULTILINE | re.DOTALL
        )
        if "validation {" in body
    }
    assert validated - refusals == set()


@EACH_MODULE
def test_every_variable_and_output_is_described(module: Path) -> None:
    for kind in ("variable", "output"):
        source = _source(module, f"{kind}s.tf")
        blocks = re.findall(rf'^{kind} "(\w+)" \{{(.*?)^\}}', source, re.MULTILINE | re.DOTALL)
        assert blocks
        assert [name for name, body in blocks if not re.search(r'^  description = ".*\S\.', body, re.MULTILINE)] == []


@EACH_MODULE
def test_a_module_demands_the_same_terraform_and_provider(module: Path) -> None:
    assert _source(module, "versions.tf") == (ROOT / "versions.tf").read_text(encoding="utf-8")


@EACH_MODULE
def test_a_module_says_enough(module: Path) -> None:
    assertions = _tests(module).count("assert {") + _tests(module).count("expect_failures")
    assert assertions >= 3, f"{assertions} assertions and refusals"


def _source(module: Path, name: str) -> str:
    return (module / name).read_text(encoding="utf-8")


def _tests(module: Path) -> str:
    return "".join(path.read_text(encoding="utf-8") for path in sorted(module.glob("tests/*.tftest.hcl")))
