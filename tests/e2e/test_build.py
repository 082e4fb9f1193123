"""``build`` as a person types it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from etl.errors import ExitCode, UsageError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.practice.generator import provide_hour
from etl.warehouse.duckdb_views import opened
from etl.warehouse.table_state import Warehouse
from tests.e2e.running import ROOT, Done, clean_environment, etl

HOUR = Hour.of(2019, 1, 2, 3)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake of two practice hours."""
    for hour in (HOUR, HOUR + 24):
        archive = tmp_path / "archive"
        archive.mkdir(exist_ok=True)
        provide_hour(hour, archive, events=50)
        assert etl(tmp_path, "run", "--at", hour, "--source", archive).code == ExitCode.OK
    return tmp_path


def rows_of(done: Done) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(done.out)
    return rows


def test_from_the_plan_to_the_tables(folder: Path) -> None:
    plan = etl(folder, "build", "--dry-run")
    assert plan.code == ExitCode.OK
    assert "2019-01-02 to 2019-01-03" in plan.out
    assert "nothing was done" in plan.out
    assert not (folder / "warehouse").exists()

    planned = rows_of(etl(folder, "build", "--dry-run", "--format", "json"))
    as_lines = etl(folder, "build", "--dry-run", "--format", "jsonl")
    assert [json.loads(line) for line in as_lines.out.splitlines()] == planned
    done = etl(folder, "build", "--json")
    assert done.code == ExitCode.OK
    assert [(row["model"], row["partition"]) for row in planned] == [
        (row["model"], row["partition_id"]) for row in rows_of(done)
    ]
    with opened(Warehouse.at(str(folder / "warehouse"))) as connection:
        (found,) = connection.execute("SELECT sum(events - duplicates) FROM coverage").fetchall()
        (built,) = connection.execute("SELECT count(*) FROM events").fetchall()
    assert found == built

    again = etl(folder, "build")
    assert (again.code, again.out) == (ExitCode.OK, "everything in warehouse is up to date\n")
    assert etl(folder, "build", "--dry-run").out == "everything is up to date\n"
    assert etl(folder, "build", "--format", "json").out == "[]\n"
    assert etl(folder, "build", "--format", "jsonl").out == ""


def test_some_days_into_another_place(folder: Path) -> None:
    done = etl(folder, "build", "2019-01-03", "2019-01-03", "--warehouse", "elsewhere", "--log-level", "error")
    assert done.code == ExitCode.OK
    assert sorted(path.name for path in (folder / "elsewhere/tables/events_base").iterdir()) == ["2019-01-03.parquet"]
    full = etl(folder, "build", "--full", "--format", "jsonl", "--warehouse", "elsewhere")
    assert {json.loads(line)["reason"] for line in full.out.splitlines()} <= {"full", "new", "changed"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2019-01-03", "2019-01-02"), "the range ends (2019-01-02) before it starts (2019-01-03)"),
        (("2019-02-30",), "2019-02-30 is not a valid date"),
        (("2019-01-02-3",), "'2019-01-02-3' is not a day"),
    ],
)
def test_days_that_cannot_be(folder: Path, words: tuple[str, ...], said: str) -> None:
    done = etl(folder, "build", *words)
    assert done.code == ExitCode.USAGE
    assert said in done.error


def test_an_empty_lake_is_no_error(tmp_path: Path) -> None:
    done = etl(tmp_path, "build")
    assert (done.code, done.out) == (ExitCode.OK, "everything in warehouse is up to date\n")


def test_a_full_disk_leaves_what_there_was(folder: Path) -> None:
    assert etl(folder, "build").code == ExitCode.OK
    done = etl(folder, "build", "--full", limit=8)
    assert done.code == ExitCode.STORE_FAILED
    assert "up to date" not in done.out
    assert "free some space on that disk" in done.hint
    assert etl(folder, "build").code == ExitCode.OK
    assert Lake.at(str(folder / "lake")).manifest(HOUR) is not None


def test_the_example_for_analysts_runs_as_it_stands_on_the_page(folder: Path) -> None:
    assert etl(folder, "build", "-q").code == ExitCode.OK
    page = (ROOT / "docs/how-to/warehouse.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", example],
        cwd=folder,
        env=clean_environment() | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "PushEvent" in done.stdout


def test_a_warehouse_is_opened_by_its_folder(folder: Path) -> None:
    assert etl(folder, "build", "-q").code == ExitCode.OK
    for place in (folder / "warehouse", str(folder / "warehouse"), Warehouse.at(str(folder / "warehouse"))):
        with opened(place) as connection:
            ((events,),) = connection.execute("SELECT count(*) FROM events").fetchall()
            assert 0 < events <= 100  # each hour has some copies of events
    with pytest.raises(UsageError, match="there is no warehouse in the folder"), opened(folder / "werehouse"):
        pass
    with pytest.raises(UsageError, match="is in a bucket"), opened("gs://my-bucket/warehouse"):
        pass


def test_quiet_is_quiet_and_verbose_tells_more(folder: Path) -> None:
    quiet = etl(folder, "build", "--quiet")
    assert (quiet.code, quiet.err) == (ExitCode.OK, "")
    assert etl(folder, "run", "--at", HOUR + 1, "--source", "nowhere", "-q").error.startswith("error: ")
    loud = etl(folder, "status", "-v", env={"GHARCHIVE_LOG_LEVEL": "error"})
    assert loud.code == ExitCode.OK
    for words, said in (
        (("-q", "-v"), "cannot be used together"),
        (("-q", "--log-level", "debug"), "--log-level cannot be combined with --quiet"),
    ):
        done = etl(folder, "status", *words)
        assert done.code == ExitCode.USAGE
        assert said in done.error
