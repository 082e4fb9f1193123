"""What the pages tell people to type works, on a lake of practice hours."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import duckdb
import pytest

from etl.hours import Hour
from etl.practice.generator import write_archive
from tests import tools

ROOT: Final = Path(__file__).parents[2]
HOURS: Final = ("2015-01-01-15", "2013-02-15-0")
EVENTS: Final = 400
LEAST_JAVA: Final = 17


def blocks(page: str, language: str) -> Iterator[str]:
    """Yields the fenced blocks of a page that are of this language."""
    text = (ROOT / page).read_text(encoding="utf-8")
    yield from re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def command_lines(page: str) -> list[str]:
    """The commands of a page that start the program, without their comments."""
    lines = "".join(blocks(page, "bash")).splitlines()
    return [line.partition("#")[0].strip() for line in lines if line.startswith("python etl")]


def environment(archive: Path) -> dict[str, str]:
    """This process's environment, with practice hours in the place of the archive."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GHARCHIVE_")}
    # Spark starts Python by name, and a machine without a resolvable name of its own still has this address.
    return clean | {"GHARCHIVE_SOURCES": str(archive), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with practice hours."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(map(Hour.parse, HOURS), folder, events=EVENTS)
    return folder


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, archive: Path) -> Path:
    """A folder with a lake in it, made by the README's own commands and one hour of another era."""
    folder = tmp_path_factory.mktemp("place")
    for line in [*command_lines("README.md"), "python etl --at 2013-02-15-0"]:
        done = subprocess.run(
            [sys.executable, str(ROOT / "etl"), *shlex.split(line)[2:]],
            cwd=folder,
            env=environment(archive),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}: {done.stderr}"
        assert done.stdout.strip(), line
    return folder


def run_python(snippet: str, place: Path, archive: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", snippet],
        cwd=place,
        env=environment(archive),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_shows_the_way_of_an_hour() -> None:
    assert [line.split()[2] for line in command_lines("README.md")] == ["--year=2015", "status", "show", "verify"]


SQL_PAGES: Final = ("README.md", "docs/reference/data-dictionary.md")


def statements_of(page: str) -> list[str]:
    """The SQL statements of a page."""
    return [part.strip() for text in blocks(page, "sql") for part in text.split(";\n") if part.strip()]


def macros_of(page: str) -> list[str]:
    return [statement for statement in statements_of(page) if "CREATE OR REPLACE MACRO" in statement]


@pytest.mark.parametrize("page", SQL_PAGES)
def test_the_sql_runs_in_duckdb(page: str, place: Path) -> None:
    queries = 0
    with duckdb.connect() as connection:
        for statement in statements_of(page):
            # DuckDB has no working folder of its own.
            found = connection.execute(statement.replace("'lake/", f"'{place}/lake/")).fetchall()
            if statement in macros_of(page):
                continue
            queries += 1
            if "status <> 'complete'" in statement:
                assert found == []
            else:
                assert found
                assert found[0][-1]
    assert queries


def test_all_pages_have_the_same_macro() -> None:
    assert {tuple(macros_of(page)) for page in SQL_PAGES} == {tuple(macros_of("README.md"))}
    assert len(macros_of("README.md")) == 1


def test_the_folder_names_of_the_readme_are_the_lakes(place: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for kind in ("events", "manifests"):
        (name,) = re.findall(rf"^  ({kind}/\S+)$", text, re.MULTILINE)
        assert (place / "lake" / name).is_file()


def test_the_pandas_snippet_runs(place: Path, archive: Path) -> None:
    (snippet,) = (text for text in blocks("README.md", "python") if "import pandas" in text)
    assert "/" in run_python(snippet, place, archive)


def test_the_spark_snippet_runs(place: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tools.get("java")))
    (snippet,) = (text for text in blocks("README.md", "python") if "import SparkSession" in text)
    assert "repo_name|count" in run_python(snippet, place, archive).replace(" ", "")
