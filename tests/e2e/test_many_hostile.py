"""Many hours on a machine that does its worst: full and read-only disks, killed workers, odd clocks, a lost bucket."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.practice.faults import FaultPlan, FaultyServer, Slow, Stalled
from etl.practice.generator import write_archive
from etl.practice.server import Generated, PracticeServer
from tests.e2e import processes
from tests.e2e.running import Done, etl, start
from tests.storage_emulator import running_emulator

HOURS: Final = HourRange(Hour.of(2015, 1, 1, 0), Hour.of(2015, 1, 1, 11))
EVENTS: Final = 150
_PATIENCE_SECONDS: Final = 120
_OUTAGE_SECONDS: Final = 1

needs_proc = pytest.mark.needs("linux")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Hours as files."""
    folder = tmp_path_factory.mktemp("archive")
    write_archive(HOURS, folder, events=EVENTS)
    return folder


def words(source: object, *more: object) -> list[object]:
    return ["backfill", HOURS.first, HOURS.last, "--workers", 2, "--source", source, *more]


def backfill(folder: Path, source: object, *more: object, **how: Any) -> Done:
    return etl(folder, *words(source, *more), **how)


def statuses(folder: Path) -> dict[str, str]:
    """What the lake says of each hour it knows."""
    found = {}
    for file in (folder / "lake/manifests").rglob("*.json"):
        manifest = json.loads(file.read_bytes())
        found[manifest["hour"]] = manifest["status"]
    return found


def complete(hours: HourRange = HOURS) -> dict[str, str]:
    return {str(hour): "complete" for hour in hours}


def files(folder: Path) -> dict[str, bytes]:
    """All that a reader finds in the lake."""
    lake = folder / "lake"
    found = (path for path in lake.rglob("*") if path.is_file())
    return {str(path.relative_to(lake)): path.read_bytes() for path in found if ".tmp" not in path.parts}


def sound(lake: Lake, hours: HourRange = HOURS) -> bool:
    """Whether every hour that the lake has is whole."""
    return not any(lake.verify(hour, ARROW_SCHEMA) for hour in hours if lake.manifest(hour) is not None)


def eventually(what: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Waits until something is so, as long as the process that is to make it so lives."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while not what():
        assert time.monotonic() < until, "waited too long"
        assert process is None or process.poll() is None, "the process ended before"
        time.sleep(0.02)


def asked(server: FaultyServer, requests: int) -> bool:
    """Whether there were so many requests for hours."""
    return server.counts.requests >= requests


def struck(server: FaultyServer, faults: int) -> bool:
    """Whether so many faults were injected."""
    return sum(server.counts.faults.values()) >= faults


def ended(process: subprocess.Popen[str]) -> Done:
    out, err = process.communicate(timeout=_PATIENCE_SECONDS)
    assert "Traceback" not in err
    return Done(process.returncode, out, err)


# ---- the disk


@pytest.mark.parametrize("limit", [0, 1])
def test_a_disk_without_room_stops_it_before_it_has_tried_everything(limit: int, archive: Path, tmp_path: Path) -> None:
    """No file may grow beyond so many KiB, which is how a full disk looks."""
    done = backfill(tmp_path, archive, limit=limit)

    assert done.code == ExitCode.STORE_FAILED, done.err
    assert str(tmp_path / "lake") in done.error
    assert done.hint
    assert "complete" not in statuses(tmp_path).values()
    assert not list((tmp_path / "lake").rglob("*.parquet"))
    assert backfill(tmp_path, archive).code == ExitCode.OK
    assert statuses(tmp_path) == complete()


def test_a_disk_that_fills_up_keeps_what_is_whole(tmp_path: Path) -> None:
    small, large = HourRange(HOURS.first, HOURS.first + 3), HourRange(HOURS.first + 4, HOURS.last)
    write_archive(small, tmp_path / "archive", events=10)
    write_archive(large, tmp_path / "archive", events=600)
    # One worker: with two, the fifth failure may come while a slow start still has the first hour under way.
    done = backfill(tmp_path, "archive", "--workers", 1, limit=40)

    assert done.code == ExitCode.STORE_FAILED, done.err
    assert {hour for hour, status in statuses(tmp_path).items() if status == "complete"} == set(map(str, small))
    assert len(list((tmp_path / "lake").rglob("*.parquet"))) == len(small)
    assert sound(Lake.at(str(tmp_path / "lake")))
    before = files(tmp_path)

    assert backfill(tmp_path, "archive").code == ExitCode.OK
    assert statuses(tmp_path) == complete()
    kept = {key: content for key, content in files(tmp_path).items() if key in map(events_key, small)}
    assert len(kept) == len(small)
    assert kept.items() <= before.items()


def mount(*words: object) -> bool:
    """Mounts; whether that is allowed here."""
    try:
        return subprocess.run(["mount", *map(str, words)], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@contextmanager
def read_only(lake: Path) -> Iterator[None]:
    """Lets nobody write to a folder."""
    if os.geteuid() != 0:
        folders = [lake, *(path for path in lake.rglob("*") if path.is_dir())]
        for folder in folders:
            folder.chmod(0o555)
        try:
            yield
        finally:
            for folder in folders:
                folder.chmod(0o755)
    elif mount("--bind", lake, lake):
        try:
            assert mount("-o", "remount,ro,bind", lake)
            yield
        finally:
            subprocess.run(["umount", "--lazy", str(lake)], check=True)
    else:
        # Root may write anywhere, and may not mount here: a file stands in the place of the folder all writers need.
        temporaries = lake / ".tmp"
        temporaries.rename(lake / ".away")
        temporaries.write_bytes(b"")
        try:
            yield
        finally:
            temporaries.unlink()
            (lake / ".away").rename(temporaries)


def test_a_lake_that_may_only_be_read_is_said_and_stays_as_it_is(archive: Path, tmp_path: Path) -> None:
    assert etl(tmp_path, "--at", HOURS.first, "--source", archive).code == ExitCode.OK
    before = files(tmp_path)
    with read_only(tmp_path / "lake"):
        done = backfill(tmp_path, archive)
        assert done.code == ExitCode.STORE_FAILED, done.err
        assert str(tmp_path / "lake") in done.error
        assert done.hint
        planned = backfill(tmp_path, archive, "--dry-run")
        assert planned.code == ExitCode.OK, planned.err
    assert files(tmp_path) == before
    assert backfill(tmp_path, archive).code == ExitCode.OK
    assert statuses(tmp_path) == complete()


def test_a_complete_lake_need_not_be_written(archive: Path, tmp_path: Path) -> None:
    assert backfill(tmp_path, archive).code == ExitCode.OK
    before = files(tmp_path)
    with read_only(tmp_path / "lake"):
        done = backfill(tmp_path, archive)
    assert done.code == ExitCode.OK, done.err
    assert files(tmp_path) == before


# ---- the memory


@needs_proc
def test_a_worker_that_is_killed_costs_nobody_an_hour(archive: Path, tmp_path: Path) -> None:
    """SIGKILL to one process is what the system does when memory runs out."""
    with FaultyServer(archive, FaultPlan(faults=(Slow(seconds=0.5),))) as server:
        process = start(tmp_path, *words(server.address))
        for requests in (2, 5):
            eventually(partial(asked, server, requests), process)
            assert processes.kill(processes.workers(process.pid)[0])
        done = ended(process)

    assert done.code == ExitCode.OK, done.err
    assert statuses(tmp_path) == complete()
    assert sound(Lake.at(str(tmp_path / "lake")))


@needs_proc
def test_an_hour_that_kills_every_worker_is_the_only_one_to_fail(archive: Path, tmp_path: Path) -> None:
    deadly = HOURS.first + 3
    plan = FaultPlan(faults=(Stalled(hours=(str(deadly),), times=100, seconds=600),))
    others = {hour: status for hour, status in complete().items() if hour != str(deadly)}
    with FaultyServer(archive, plan) as server:
        process = start(tmp_path, *words(server.address), env={"GHARCHIVE_BACKFILL_RETRIES": "1"})
        for attempt in (1, 2):
            eventually(partial(struck, server, attempt), process)
            eventually(lambda: others.items() <= statuses(tmp_path).items(), process)
            for worker in processes.workers(process.pid):
                processes.kill(worker)
        done = ended(process)

    assert done.code == ExitCode.INCOMPLETE, done.err
    assert "1 of 12 hours" in done.error
    assert statuses(tmp_path) == others | {str(deadly): "failed"}
    assert str(deadly) in done.out
    assert "killed" in done.out
    assert backfill(tmp_path, archive).code == ExitCode.OK
    assert statuses(tmp_path) == complete()


# ---- the clock


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Asia/Kolkata", "America/St_Johns"])
def test_the_machines_time_zone_changes_nothing(zone: str, archive: Path, tmp_path: Path) -> None:
    hours = HourRange(HOURS.first, HOURS.first + 1)
    for name, env in (("utc", {"TZ": "UTC"}), ("there", {"TZ": zone})):
        (tmp_path / name).mkdir()
        done = etl(tmp_path / name, "backfill", hours.first, hours.last, "--source", archive, env=env)
        assert done.code == ExitCode.OK, done.err
    for hour in hours:
        here, there = (tmp_path / name / "lake" / events_key(hour) for name in ("utc", "there"))
        assert here.read_bytes() == there.read_bytes()


@pytest.mark.parametrize("command", [("backfill", "--last", "2h"), ("catch-up", "--hours", "2")])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Asia/Kolkata"])
def test_the_newest_hours_are_those_of_utc(zone: str, command: tuple[str, ...], tmp_path: Path) -> None:
    before = newest_finished_hour()
    with PracticeServer(Generated(HourRange(before - 5, before + 2), events=10)) as server:
        done = etl(tmp_path, *command, "--source", server.address, env={"TZ": zone})
    assert done.code == ExitCode.OK, done.err
    # The clock may strike while the command runs.
    newest = {before, newest_finished_hour()}
    assert statuses(tmp_path) in [complete(HourRange(hour - 1, hour)) for hour in newest]


# ---- the bucket


def test_a_bucket_that_goes_away_and_comes_back(archive: Path, tmp_path: Path) -> None:
    with running_emulator("lasting", tmp_path / "bucket") as emulator:
        lake = "gs://lasting/lake"
        env = {"STORAGE_EMULATOR_HOST": emulator.endpoint}
        with FaultyServer(archive, FaultPlan(faults=(Slow(seconds=0.5),))) as server:
            process = start(tmp_path, *words(server.address, "--lake", lake), env=env)
            eventually(partial(asked, server, 5), process)
            emulator.kill()
            time.sleep(_OUTAGE_SECONDS)
            emulator.start()
            done = ended(process)
        assert done.code in {ExitCode.OK, ExitCode.INCOMPLETE, ExitCode.STORE_FAILED}, done.err

        again = backfill(tmp_path, archive, "--lake", lake, env=env)
        assert again.code == ExitCode.OK, again.err
        verified = etl(tmp_path, "verify", HOURS.first, HOURS.last, "--lake", lake, env=env)
        assert verified.code == ExitCode.OK, verified.out
