"""The queries that pages show run on a lake of practice hours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import duckdb
import pytest

from etl.hours import Hour
from etl.practice.generator import write_archive
from tests import tools
from tests.e2e.running import etl
from tests.pages import QUERY_PAGE, ROOT, SQL_PAGES, macro, queries, texts

HOURS: Final = ("2015-01-01-15", "2013-02-15-0")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a lake of two hours of different eras."""
    folder = tmp_path_factory.mktemp("place")
    write_archive(map(Hour.parse, HOURS), folder / "archive", events=400)
    for hour in HOURS:
        assert etl(folder, "run", "--at", hour, "--source", "archive").code == 0
    return folder


def run_python(snippet: str, place: Path) -> str:
    # Spark starts Python by name, and a machine without a resolvable name of its own still has this address.
    spark = {"SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, "-c", snippet], cwd=place, env=os.environ | spark, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("page", SQL_PAGES)
def test_the_sql_runs_in_duckdb(page: str, place: Path) -> None:
    assert queries(page)
    with duckdb.connect() as connection:
        connection.execute(macro())
        for query in queries(page):
            # DuckDB has no working folder of its own.
            found = connection.execute(query.replace("'lake/", f"'{place}/lake/")).fetchall()
            if "status <> 'complete'" in query:
                assert found == []
            else:
                assert found
                assert found[0][-1]


def test_the_names_of_files_are_the_lakes(place: Path) -> None:
    text = (ROOT / QUERY_PAGE).read_text(encoding="utf-8")
    for kind in ("events", "manifests"):
        (name,) = re.findall(rf"^  ({kind}/\S+)$", text, re.MULTILINE)
        assert (place / "lake" / name).is_file()


def test_the_pandas_snippet_runs(place: Path) -> None:
    (snippet,) = (text for text in texts(QUERY_PAGE, "python") if "import pandas" in text)
    assert "/" in run_python(snippet, place)


def test_the_spark_snippet_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tools.get("java")))
    (snippet,) = (text for text in texts(QUERY_PAGE, "python") if "import SparkSession" in text)
    assert "repo_name|count" in run_python(snippet, place).replace(" ", "")
