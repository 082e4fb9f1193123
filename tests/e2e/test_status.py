"""``python etl status`` as a person types it: what is there, what is not, and the same as a table for other tools."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from etl.coverage.coverage import COVERAGE_SCHEMA
from etl.errors import ExitCode
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.lake.lake import Lake
from etl.lake.layout import index_key
from etl.lake.manifest import Status
from tests.e2e.running import ROOT, clean_environment, etl
from tests.integration.lake.samples import publish

FIRST = Hour.of(2018, 10, 20, 0)
DAYS = ("2018-10-20", "2018-10-22")
HOLE = HourRange(Hour.of(2018, 10, 21, 23), Hour.of(2018, 10, 22, 1))
ASKED = datetime(2025, 6, 1, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a lake of two days: most hours complete, one failed, two missing in a hole, some absent."""
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(47):
        if step not in {5, 6, 7, 30}:
            publish(lake, 3, FIRST + step)
    lake.record(FIRST + 30, Status.FAILED, "the source hung up", started_at=ASKED, finished_at=ASKED)
    for hour in (HOLE.first, HOLE.last):
        lake.record(hour, Status.MISSING, "404 [bold]at every[/bold] source", started_at=ASKED, finished_at=ASKED)
    return tmp_path


def test_a_lake_without_hours(tmp_path: Path) -> None:
    done = etl(tmp_path, "status")
    assert (done.code, done.out, done.err) == (ExitCode.OK, "no hours in the lake lake\n", "")
    assert list(tmp_path.iterdir()) == []
    asked = etl(tmp_path, "status", "2018-10-20", "2018-10-20")
    assert asked.code == ExitCode.OK
    assert asked.out == "no hours in the lake lake\n"


def test_an_empty_range_of_a_lake_that_has_hours(folder: Path) -> None:
    done = etl(folder, "status", "2019-05-01")
    assert (done.code, done.err) == (ExitCode.OK, "")
    range_, lake = "2019-05-01-0..2019-05-01-23", "46 hours from 2018-10-20-0 to 2018-10-22-1"
    assert done.out == f"no hours in {range_}; the lake lake holds {lake}\n"


def test_ranges_of_absent_hours_between_few_hours_are_only_counted(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(8):
        publish(lake, 1, FIRST + 100 * step)
    lake.record(FIRST + 50, Status.FAILED, "the source hung up", started_at=ASKED, finished_at=ASKED)
    done = etl(tmp_path, "status")
    assert "692 hours are absent, from 2018-10-20-1 to 2018-11-18-3; `status --only absent` lists them" in done.out
    assert "the source hung up" in done.out
    assert len(done.out.splitlines()) < 25
    listed = etl(tmp_path, "status", "--only", "absent")
    assert "2018-10-20-1 to 2018-10-21-22" in listed.out  # the next one is a known gap
    assert listed.out.endswith("692 hours of 701 are absent\n")


def test_a_whole_lake_is_looked_at_without_pandas(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(30):
        publish(lake, 3, FIRST + 4 * step)  # into a known gap, with absent hours between
    etl(tmp_path, "status")
    assert "pyarrow" in _imported(tmp_path)
    assert "pandas" not in _imported(tmp_path)


def test_status_of_an_empty_lake_does_not_import_pandas(tmp_path: Path) -> None:
    assert "pandas" not in _imported(tmp_path)


def _imported(folder: Path) -> set[str]:
    """Returns the modules that ``status`` imports. Arrow imports pandas for some operations where it is installed."""
    asked = [sys.executable, "-X", "importtime", str(ROOT / "etl"), "status"]
    done = subprocess.run(asked, cwd=folder, env=clean_environment(), capture_output=True, text=True, check=True)
    return {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}


def test_a_few_hours_are_listed_one_by_one(tmp_path: Path) -> None:
    publish(Lake.at(str(tmp_path / "lake")), 60, FIRST)
    done = etl(tmp_path, "status", DAYS[0], DAYS[0])
    assert done.code == ExitCode.OK
    assert f"{FIRST}" in done.out
    assert "1 hour in lake (1 complete): 60 events" in done.out
    assert "23 of the 24 hours" in done.out
    elsewhere = etl(tmp_path, "status", "2018-10-21")
    assert f"{FIRST} " not in elsewhere.out


def test_totals_a_calendar_and_what_is_not_complete(folder: Path) -> None:
    done = etl(folder, "status", *DAYS)
    assert (done.code, done.err) == (ExitCode.OK, "")
    lines = {tuple(line.split()[:4]) for line in done.out.splitlines()}
    assert ("complete", "43", "59.7%", "129") in lines
    assert ("absent", "26", "36.1%", "0") in lines
    month = next(line for line in done.out.splitlines() if line.startswith("2018-10"))
    assert month.split()[1:] == ["▓▓", "▓▓", "░░"]
    assert "2018-10-20-5 to 2018-10-20-7" in done.out
    assert "the source hung up" in done.out
    # What looks like markup is shown, not followed.
    assert "404 [bold]at every[/bold] source" in done.out
    assert "46 hours in lake (43 complete, 2 missing, 1 failed): 129 events" in done.out


def test_many_reasons_are_cut_short_and_counted(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(50):
        lake.record(FIRST + step, Status.FAILED, f"reason {step}", started_at=ASKED, finished_at=ASKED)
    done = etl(tmp_path, "status")
    assert "reason 29" in done.out
    assert "reason 30" not in done.out
    assert "and 20 more hours" in done.out


def test_years_are_a_calendar_of_months(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(30):
        publish(lake, 1, Hour.of(2012, 1, 1, 0) + step * 24 * 100)
    done = etl(tmp_path, "status")
    assert [line.split()[0] for line in done.out.splitlines() if line[:2] == "20" and "░" in line] == [
        str(year) for year in range(2012, 2020)
    ]


def test_every_format_holds_the_same_rows(folder: Path) -> None:
    rows = json.loads(etl(folder, "status", *DAYS, "--format", "json").out)
    assert json.loads(etl(folder, "status", *DAYS, "--json").out) == rows
    assert [json.loads(line) for line in etl(folder, "status", *DAYS, "--format", "jsonl").out.splitlines()] == rows
    assert [list(row) for row in rows] == [COVERAGE_SCHEMA.names] * 72
    assert rows[0]["types"] == {"PushEvent": 3}
    assert rows[0]["hour_start"] == "2018-10-20T00:00:00Z"
    assert [row["hour"] for row in rows if row["hole"]] == [str(hour) for hour in HOLE]
    failed = rows[30]
    assert (failed["status"], failed["reason"]) == ("failed", "the source hung up")

    table = list(csv.DictReader(io.StringIO(etl(folder, "status", *DAYS, "--format", "csv").out)))
    assert [(row["hour"], row["status"], row["events"]) for row in table] == [
        (row["hour"], row["status"], "" if row["events"] is None else str(row["events"])) for row in rows
    ]

    command = [sys.executable, str(ROOT / "etl"), "status", *DAYS, "--format", "parquet"]
    piped = subprocess.run(command, cwd=folder, env=clean_environment(), capture_output=True, check=True)
    written = etl(folder, "status", *DAYS, "--out", "coverage.parquet")
    assert (written.code, written.out) == (ExitCode.OK, "72 hours are in coverage.parquet\n")
    for source in (io.BytesIO(piped.stdout), folder / "coverage.parquet"):
        read = pq.read_table(source)
        assert read.schema.equals(COVERAGE_SCHEMA, check_metadata=True)
        assert [row["hour"] for row in read.to_pylist()] == [row["hour"] for row in rows]


def test_a_page_is_written(folder: Path) -> None:
    done = etl(folder, "status", *DAYS, "--html", "coverage.html")
    assert (done.code, done.out) == (ExitCode.OK, "72 hours are in coverage.html\n")
    assert (folder / "coverage.html").read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--out", "coverage.txt"), "cannot be written as a txt"),
        (("--out", "coverage"), "does not tell in which format"),
        (("--out", "coverage.csv", "--format", "table"), "cannot be written as a table"),
        (("--out", "no/such/folder/coverage.csv"), "cannot write"),
        (("--html", "no/such/folder/coverage.html"), "cannot write"),
        (("2018-10-21", "2018-10-20"), "the range ends"),
        (("--only", "failed,lost"), "'lost' is not a status"),
        (("--fail-if-late", "6"), "not a length of time"),
        (("--fail-if-late", "6h", "--only", "complete"), "a complete hour is never late"),
        (("--json", "--format", "csv"), "--json is short for --format json"),
    ],
)
def test_what_cannot_be_is_refused(folder: Path, words: tuple[str, ...], why: str) -> None:
    done = etl(folder, "status", *words)
    assert done.code == ExitCode.USAGE
    assert why in done.error
    assert {path.name for path in folder.iterdir()} == {"lake"}


def test_the_index_is_made_by_the_first_question_and_again_on_demand(folder: Path) -> None:
    before = etl(folder, "status", "--format", "json").out
    index = folder / "lake" / index_key("2018-10")
    made = index.stat().st_mtime_ns
    assert etl(folder, "status", "--format", "json").out == before
    assert index.stat().st_mtime_ns == made
    assert etl(folder, "status", "--rebuild", "--format", "json").out == before
    assert index.stat().st_mtime_ns > made


def test_settings_say_what_is_suspect(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for week in range(9):
        publish(lake, 5 if week == 4 else 40, FIRST + 168 * week)
    odd = FIRST + 168 * 4
    assert "suspect" not in etl(tmp_path, "status").out
    told = etl(tmp_path, "status", env={"GHARCHIVE_SUSPECT_MIN_EVENTS": "30"})
    assert "(8 complete, 1 suspect)" in told.out
    assert f"{odd}" in told.out
    assert "5 events, 12% of the median 40" in told.out


def test_what_was_done_a_moment_ago_is_there(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    hour = Hour.containing(datetime.now(UTC) - timedelta(hours=2))
    publish(lake, 2, hour)
    assert "1 hour in lake (1 complete): 2 events" in etl(tmp_path, "status").out


def test_where_hours_came_from_is_reported(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for step in range(26):
        publish(lake, 2, FIRST + step)
    done = etl(tmp_path, "status")
    assert ("https://data.gharchive.org", "26", "2018-10-21-1") in {
        tuple(line.split()) for line in done.out.splitlines()
    }
    few = etl(tmp_path, "status", FIRST)
    assert f"https://data.gharchive.org/{FIRST}.json.gz" in few.out


def test_only_hours_of_some_statuses(folder: Path) -> None:
    done = etl(folder, "status", *DAYS, "--only", "failed,missing")
    assert done.code == ExitCode.OK
    assert "the source hung up" in done.out
    assert "absent" not in done.out
    assert done.out.endswith("3 hours of 72 are failed or missing\n")
    rows = json.loads(etl(folder, "status", *DAYS, "--only", "failed, missing", "--format", "json").out)
    assert [row["status"] for row in rows] == ["failed", "missing", "missing"]


def recent(folder: Path, *steps: int) -> Lake:
    """A lake of complete hours that ended so many hours ago."""
    lake = Lake.at(str(folder / "lake"))
    for step in steps:
        publish(lake, 1, newest_finished_hour() - step)
    return lake


def test_a_lake_that_is_up_to_date_is_not_late(tmp_path: Path) -> None:
    # The clock may go on to the next hour meanwhile; both are early enough.
    recent(tmp_path, *range(12))
    for words in ((), ("--only", "failed,missing"), ("--last", "12h"), ("--format", "json")):
        done = etl(tmp_path, "status", "--fail-if-late", "6h", *words)
        assert (done.code, done.err) == (ExitCode.OK, "")


def test_an_hour_that_does_not_come_is_late(tmp_path: Path) -> None:
    recent(tmp_path, *range(10, 100))
    done = etl(tmp_path, "status", "--fail-if-late", "6h")
    assert done.code == ExitCode.INCOMPLETE
    assert "hours are late, 6 hours or more after the end:" in done.error
    assert f"{newest_finished_hour() - 9} (absent)" in done.error
    assert "catch-up" in done.hint
    assert etl(tmp_path, "status", "--fail-if-late", "12h").code == ExitCode.OK
    assert etl(tmp_path, "status").code == ExitCode.OK


def test_statuses_that_are_named_are_those_that_are_late(tmp_path: Path) -> None:
    lake = recent(tmp_path, *range(3), *range(4, 20))
    when = datetime.now(UTC)
    lake.record(newest_finished_hour() - 12, Status.FAILED, "gone", started_at=when, finished_at=when)
    failed = newest_finished_hour() - 30
    lake.record(failed, Status.FAILED, "the source hung up", started_at=when, finished_at=when)
    for words, code in (
        (("--only", "failed"), ExitCode.INCOMPLETE),
        (("--only", "pending"), ExitCode.OK),
        (("--only", "failed", "--last", "20h"), ExitCode.OK),
        (("--only", "complete"), ExitCode.USAGE),
    ):
        assert etl(tmp_path, "status", "--fail-if-late", "24h", *words).code == code, words


def test_an_empty_lake_is_late(tmp_path: Path) -> None:
    done = etl(tmp_path, "status", "--fail-if-late", "2d")
    assert done.code == ExitCode.INCOMPLETE
    assert "(absent)" in done.error


def test_a_known_hole_is_never_late(folder: Path) -> None:
    done = etl(folder, "status", HOLE.first, HOLE.last, "--fail-if-late", "1h")
    assert done.code == ExitCode.OK
