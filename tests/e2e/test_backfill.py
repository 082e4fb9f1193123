"""``backfill`` and ``catch-up`` as a person or a scheduler runs them."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.lake.lake import Lake
from etl.practice.faults import FaultPlan, FaultyServer, NotFound, ServerError, Truncated
from etl.practice.generator import write_archive
from etl.practice.server import Generated
from tests.e2e import processes
from tests.e2e.running import ROOT, Done, clean_environment, etl
from tests.integration.archive.server import Archive, File, Handler, serving_archive, status
from tests.integration.running import backdate, documents, packed

FIRST: Final = Hour.of(2015, 1, 1, 0)
EVENTS: Final = 30


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving_archive() as held:
        yield held


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of six hours in a folder."""
    folder = tmp_path_factory.mktemp("practice")
    write_archive(HourRange(FIRST, FIRST + 5), folder, events=EVENTS)
    return folder


def publish(archive: Archive, hours: HourRange) -> None:
    for hour in hours:
        archive.files[f"/{hour}.json.gz"] = File(packed(documents(EVENTS, hour=hour)))


def lake_of(folder: Path) -> Lake:
    return Lake.at(str(folder / "lake"))


def said(done: Done) -> dict[str, Any]:
    """The summary, as JSON."""
    found: dict[str, Any] = json.loads(done.out)
    return found


def counts(done: Done) -> dict[str, int]:
    return {ending: share["hours"] for ending, share in said(done)["endings"].items()}


def asked(archive: Archive) -> Counter[str]:
    return Counter(ask.target for ask in archive.asked if ask.target.endswith(".json.gz"))


def test_a_range_is_stored_and_a_rerun_does_nothing(tmp_path: Path, practice: Path) -> None:
    words = ("backfill", FIRST, FIRST + 5, "--source", practice, "--workers", 2)
    done = etl(tmp_path, *words)
    assert done.code == ExitCode.OK, done.err
    assert "6 of 6 hours are done" in done.out
    assert [lake_of(tmp_path).verify(hour, ARROW_SCHEMA) for hour in HourRange(FIRST, FIRST + 5)] == [[]] * 6
    again = etl(tmp_path, *words, "--json")
    assert again.code == ExitCode.OK
    assert counts(again) == {"unchanged": 6}


def test_days_are_whole_days_and_what_is_not_there_is_reported(tmp_path: Path, practice: Path) -> None:
    done = etl(tmp_path, "backfill", "2015-01-01", "2015-01-02", "--source", practice, "--json")
    assert done.code == ExitCode.INCOMPLETE
    assert done.error == "error: 42 of 48 hours are not complete: 42 missing"
    assert (said(done)["from"], said(done)["to"]) == ("2015-01-01-0", "2015-01-02-23")
    assert counts(done) == {"stored": 6, "missing": 42}
    assert len(said(done)["told"]) == 42
    table = etl(tmp_path, "backfill", "2015-01-01", "2015-01-02", "--source", practice)
    assert table.code == ExitCode.INCOMPLETE
    assert "and 22 more" in table.out


def test_three_real_hours_of_a_day(tmp_path: Path, real_data: Path) -> None:
    words = ("backfill", "2015-01-01-0", "2015-01-01-23", "--source", real_data / "archive", "--json")
    done = etl(tmp_path, *words)
    assert done.code == ExitCode.INCOMPLETE
    assert counts(done) == {"stored": 3, "missing": 21}
    assert all("404" in told["reason"] for told in said(done)["told"])
    again = etl(tmp_path, *words)
    assert again.code == ExitCode.INCOMPLETE
    assert counts(again) == {"unchanged": 3, "missing": 21}


def test_a_known_hole_leaves_nothing_to_do(tmp_path: Path, practice: Path) -> None:
    done = etl(tmp_path, "backfill", "2016-10-21-18", "2016-10-21-18", "--source", practice, "--json")
    assert done.code == ExitCode.OK, done.err
    assert counts(done) == {"hole": 1}


def test_a_dry_run_asks_nobody_and_writes_nothing(tmp_path: Path, archive: Archive) -> None:
    publish(archive, HourRange(FIRST, FIRST + 2))
    words = ("backfill", FIRST, FIRST + 3, "--source", archive.url)
    plain = etl(tmp_path, *words, "--dry-run")
    assert plain.code == ExitCode.OK
    assert "Nothing was done" in plain.out
    assert re.search(r"^Time: .* to .* with \d+ worker", plain.out, re.MULTILINE)
    assert re.search(r"^Disk: about .* needed, .* free", plain.out, re.MULTILINE)
    assert "warning" not in plain.err
    assert archive.asked == []
    assert not (tmp_path / "lake").exists()
    assert etl(tmp_path, "backfill", FIRST, FIRST, "--source", archive.url).code == ExitCode.OK
    planned = said(etl(tmp_path, *words, "--dry-run", "--json", "--workers", 2))
    size = len(archive.files[f"/{FIRST}.json.gz"].content)
    assert (planned["hours"], planned["due"], planned["not_due"]) == (4, 3, {"unchanged": 1})
    assert planned["estimate"]["source_bytes"] == 3 * size
    assert planned["estimate"]["hours_judged_by_neighbours"] == 3
    assert planned["estimate"]["seconds_at_least"] <= planned["estimate"]["seconds_at_most"]
    years = etl(tmp_path, "backfill", "2015-01-01", "2026-01-01", "--dry-run")
    room = re.search(r"^Disk: about ([\d.]+) TB needed", years.out, re.MULTILINE)
    assert room is not None
    needed = float(room[1]) * 1e12
    assert ("not enough disk space" in years.err) is (needed > shutil.disk_usage(tmp_path).free)


def test_failures_of_several_kinds_are_no_outage(tmp_path: Path) -> None:
    day = HourRange(FIRST, FIRST + 23)
    faults = (
        NotFound(hours=(f"{FIRST}..{FIRST + 1}",), times=99),
        Truncated(hours=(f"{FIRST + 3}..{FIRST + 7}",), times=99),
        ServerError(hours=(f"{FIRST + 12}..{FIRST + 15}",), times=99),
    )
    with FaultyServer(Generated(day, events=EVENTS), FaultPlan(faults=faults), manifests=True) as server:
        done = etl(tmp_path, "backfill", day.first, day.last, "--source", server.address, "--json")
    assert done.code == ExitCode.INCOMPLETE
    assert done.error == "error: 11 of 24 hours are not complete: 2 missing, 9 failed"
    assert counts(done) == {"stored": 13, "missing": 2, "failed": 9}
    assert said(done)["stopped"] is None


@pytest.mark.parametrize(("good", "code"), [(0, ExitCode.SOURCE_UNREACHABLE), (2, ExitCode.INCOMPLETE)])
def test_an_outage_ends_it_and_hides_no_hour_that_came(
    tmp_path: Path, archive: Archive, good: int, code: ExitCode
) -> None:
    hours = HourRange(FIRST, FIRST + 29)
    publish(archive, HourRange(FIRST, FIRST + (good - 1)) if good else HourRange(FIRST - 1, FIRST - 1))
    for hour in HourRange(FIRST + good, hours.last):
        archive.script[f"/{hour}.json.gz"] = [status(503)] * 99
    done = etl(tmp_path, "backfill", hours.first, hours.last, "--source", archive.url, "--workers", 1, "--json")
    assert done.code == code
    assert f"{30 - good} of 30 hours are not complete: {10 - good} pending, 20 failed" in done.error
    assert "20 hours in a row failed with the same cause" in done.error
    assert counts(done).get("stored", 0) == good


def test_a_mixed_email_policy_is_reported_by_every_command(tmp_path: Path, practice: Path) -> None:
    def bring(*words: object) -> Done:
        return etl(tmp_path, "backfill", *words, "--source", practice)

    assert bring(FIRST, FIRST + 1).code == ExitCode.OK
    mixed = "than the configured one (keep): 2 hash"
    for words in ((), ("--dry-run",)):
        done = bring(FIRST, FIRST + 2, "--emails", "keep", *words)
        assert done.code == ExitCode.OK
        assert mixed in done.err
        assert "--force" in done.err
    assert mixed in etl(tmp_path, "status", "--emails", "keep").out
    assert "(hash): 1 keep" in etl(tmp_path, "status").out
    doctor = etl(tmp_path, "doctor", "lake", env={"GHARCHIVE_EMAILS": "drop"})
    assert doctor.code == ExitCode.OK
    assert "stored e-mails" in doctor.out
    forced = bring(FIRST, FIRST + 2, "--emails", "keep", "--force")
    assert (forced.code, "e-mail policy" in forced.err) == (ExitCode.OK, False)
    assert "e-mail policy" not in etl(tmp_path, "status", "--emails", "keep").out


def test_two_at_once_do_each_hour_once(tmp_path: Path, archive: Archive) -> None:
    hours = HourRange(FIRST, FIRST + 9)
    publish(archive, hours)
    words = ("backfill", hours.first, hours.last, "--source", archive.url, "--workers", 2, "--json")
    dones: list[Done] = []
    other = threading.Thread(target=lambda: dones.append(etl(tmp_path, *words)))
    other.start()
    dones.append(etl(tmp_path, *words))
    other.join()
    assert [done.code for done in dones] == [ExitCode.OK, ExitCode.OK], [done.err for done in dones]
    assert asked(archive) == Counter(f"/{hour}.json.gz" for hour in hours)
    assert sum(counts(done).get("stored", 0) for done in dones) == len(hours)


def test_the_newest_hours_are_caught_up_from_the_oldest_on(tmp_path: Path, archive: Archive) -> None:
    newest = newest_finished_hour() - 1
    publish(archive, HourRange(newest - 3, newest))
    done = etl(tmp_path, "catch-up", "--hours", 3, "--source", archive.url, "--workers", 1, "--json")
    assert done.code == ExitCode.OK, done.err
    assert (said(done)["from"], said(done)["to"]) == (str(newest - 2), str(newest))
    fetched = [ask.target for ask in archive.asked if ask.method == "GET" and ask.target.endswith(".json.gz")]
    assert fetched == [f"/{hour}.json.gz" for hour in HourRange(newest - 2, newest)]
    archive.asked.clear()
    again = etl(tmp_path, "catch-up", "--hours", 3, "--source", archive.url)
    assert again.code == ExitCode.OK
    assert [ask for ask in archive.asked if ask.method == "GET"] == []


def test_catching_up_tells_monitoring_how_many_hours_are_not_complete(tmp_path: Path, archive: Archive) -> None:
    newest = newest_finished_hour() - 1
    publish(archive, HourRange(newest, newest))
    words = ("catch-up", "--hours", 3, "--source", archive.url, "--workers", 1)
    done = etl(tmp_path, *words, env={"GHARCHIVE_LOG_FORMAT": "json"})
    assert done.code == ExitCode.INCOMPLETE, done.err
    (counted,) = (line for line in map(json.loads, done.err.splitlines()) if line["message"] == "hours looked at")
    assert (counted["severity"], counted["hours"], counted["not_complete"]) == ("INFO", 3, 2)


def test_the_last_hours_end_with_the_newest_that_is_over(tmp_path: Path, practice: Path) -> None:
    done = etl(tmp_path, "backfill", "--last", "2d", "--source", practice, "--dry-run", "--json")
    newest = newest_finished_hour(datetime.now(UTC))
    assert said(done)["hours"] == said(done)["due"] == 48
    assert said(done)["to"] in {str(newest), str(newest - 1)}


def test_an_unwritable_lake_is_the_lakes_failure(tmp_path: Path, practice: Path) -> None:
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake" / "events").touch()
    done = etl(tmp_path, "backfill", FIRST, FIRST + 5, "--source", practice)
    assert done.code == ExitCode.STORE_FAILED
    assert "a file is in the place of a folder" in done.hint


@pytest.mark.parametrize(
    ("words", "part"),
    [
        ((), "a range of hours is required"),
        (("yesterday",), "neither an hour nor a day"),
        (("2015-01-02", "2015-01-01"), "before it starts"),
        (("2015-01-01", "2015-01-02", "--last", "3h"), "--last cannot be combined"),
        (("--last", "3"), "not a length of time"),
        (("--last", "0h"), "not a length of time"),
        (("2015-01-01", "2015-01-02", "--max-rate", "fast"), "not a rate"),
        (("2015-01-01", "2015-01-02", "--max-rate", "10"), "not a rate"),
        (("2015-01-01", "2015-01-02", "--workers", "0"), "--workers"),
        (("2010-01-01", "2015-01-02"), "before the archive's first hour"),
        (("2015-13-01", "2015-01-02"), "2015-13-01 is not a valid date"),
        (("2015-01-01", "2015-01-02", "--source", "no/such/folder"), "not an existing folder"),
    ],
)
def test_what_cannot_be_meant_is_refused(tmp_path: Path, words: tuple[str, ...], part: str) -> None:
    done = etl(tmp_path, "backfill", *words)
    assert done.code == ExitCode.USAGE
    assert part in done.error


def _begin(folder: Path, archive: Archive, hours: HourRange) -> subprocess.Popen[str]:
    """Starts a backfill in a group of its own, against an archive that stops in the middle of every hour but one."""
    reached = threading.Event()

    def stop_half_way(handler: Handler, file: File | None) -> None:
        assert file is not None
        handler.head(200, file.headers, len(file.content))
        handler.body(file.content[: len(file.content) // 2])
        reached.set()
        handler.archive.stopping.wait()
        handler.hang_up(reset=False)

    publish(archive, hours)
    archive.otherwise = stop_half_way
    words = ("backfill", hours.first, hours.last, "--source", archive.url, "--workers", 2)
    # Where tests run in the background of a shell SIGINT is ignored, and a child would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "etl"), *map(str, words)],
        cwd=folder,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    signal.signal(signal.SIGINT, before)
    assert reached.wait(200)
    return process


def _to_parent(number: signal.Signals) -> Callable[[int], None]:
    return lambda leader: os.kill(leader, number)


def _to_group(number: signal.Signals) -> Callable[[int], None]:
    return lambda leader: os.killpg(leader, number)


@pytest.mark.needs("linux")
@pytest.mark.parametrize(
    "send",
    [
        pytest.param(_to_group(signal.SIGINT), id="Ctrl-C"),
        pytest.param(_to_parent(signal.SIGTERM), id="SIGTERM"),
        pytest.param(_to_group(signal.SIGTERM), id="SIGTERM for all"),
    ],
)
def test_stopped_it_ends_at_once_and_goes_on_when_run_again(
    tmp_path: Path, archive: Archive, send: Callable[[int], None]
) -> None:
    hours = HourRange(FIRST, FIRST + 3)
    with _begin(tmp_path, archive, hours) as process:
        send(process.pid)
        out, err = process.communicate(timeout=100)
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "Traceback" not in out + err
    assert "error: interrupted" in err
    assert processes.await_end(process.pid) == []
    assert {path.name for path in (tmp_path / "lake/.tmp").rglob("*")} <= {"commit.lock", "locks"}
    archive.otherwise = None
    again = etl(tmp_path, "backfill", hours.first, hours.last, "--source", archive.url, "--json")
    assert again.code == ExitCode.OK, again.err
    assert counts(again) == {"stored": 4}


@pytest.mark.needs("linux")
def test_its_workers_end_with_it_when_it_is_killed(tmp_path: Path, archive: Archive) -> None:
    hours = HourRange(FIRST, FIRST + 3)
    with _begin(tmp_path, archive, hours) as process:
        process.kill()
        process.communicate(timeout=100)
    assert processes.await_end(process.pid) == []
    archive.otherwise = None
    again = etl(tmp_path, "backfill", hours.first, hours.last, "--source", archive.url, "--json")
    assert again.code == ExitCode.OK, again.err


def test_a_recheck_replaces_poor_hours_from_a_fuller_source(tmp_path: Path) -> None:
    hours = [Hour.of(2015, 1, 1, hour) for hour in (14, 15)]
    for folder, events in (("poor", 20), ("full", 200)):
        write_archive(HourRange(*hours), tmp_path / folder, events=events)
    words = ("backfill", *hours, "--source", "poor")
    assert etl(tmp_path, *words).code == ExitCode.OK
    assert etl(tmp_path, *words, "--source", "full").code == ExitCode.OK
    assert _events(tmp_path, hours) == [20, 20]
    done = etl(tmp_path, *words, "--source", "full", "--recheck", "--json")
    assert done.code == ExitCode.OK, done.err
    assert _events(tmp_path, hours) == [200, 200]
    again = etl(tmp_path, "run", "--at", hours[0], "--source", "poor", "--source", "full", "--recheck")
    assert again.code == ExitCode.OK
    assert "nothing was done" in again.out


def test_catching_up_replaces_a_poor_hour_when_another_source_has_more(tmp_path: Path) -> None:
    newest = newest_finished_hour() - 1
    hours = [newest - 1, newest]
    write_archive(HourRange(*hours), tmp_path / "poor", events=20)
    (tmp_path / "late").mkdir()
    words = ("catch-up", "--hours", 2, "--source", "poor", "--source", "late", "--json")
    assert etl(tmp_path, *words).code == ExitCode.OK
    assert _events(tmp_path, hours) == [20, 20]
    write_archive(HourRange(*hours), tmp_path / "late", events=200)
    assert etl(tmp_path, *words).code == ExitCode.OK
    assert _events(tmp_path, hours) == [20, 20], "asked before the schedule says so"

    for hour in hours:
        backdate(lake_of(tmp_path), hour)
    plan = said(etl(tmp_path, *words, "--dry-run"))
    assert (plan["due"], plan["rechecks"]) == (0, 2)
    done = etl(tmp_path, *words)
    assert done.code == ExitCode.OK, done.err
    assert counts(done) == {"replaced": 2}
    assert _events(tmp_path, hours) == [200, 200]
    assert counts(etl(tmp_path, *words)) == {"unchanged": 2}


def _events(folder: Path, hours: list[Hour]) -> list[int]:
    lake = Lake.at(str(folder / "lake"))
    contents = [manifest.content for hour in hours if (manifest := lake.manifest(hour)) is not None]
    return [content.events for content in contents if content is not None]
