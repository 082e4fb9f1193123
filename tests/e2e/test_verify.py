"""``verify`` as a person types it: over ranges, deeply, repairing and pruning."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Status
from tests.e2e.running import Done, etl
from tests.integration.running import documents, objects, packed, put, run

HOURS: Final = [Hour.of(2015, 1, 1, hour) for hour in (3, 4, 5)]
ONE, TWO, THREE = HOURS
LINES: Final = {hour: documents(60 + number, hour=hour) for number, hour in enumerate(HOURS)}
Verify = Callable[..., Done]


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for hour, lines in LINES.items():
        put(folder, packed([*lines, b'{"id":"1","type":"Cut\n']), hour)
    return folder


@pytest.fixture(scope="module")
def stored(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stored") / "lake"
    for hour in HOURS:
        run(Lake.at(str(folder)), sources, hour=hour, max_damage=1)
    return folder


@pytest.fixture
def lake(stored: Path, tmp_path: Path) -> Lake:
    shutil.copytree(stored, tmp_path / "lake")
    return Lake.at(str(tmp_path / "lake"))


@pytest.fixture
def verify(lake: Lake, tmp_path: Path) -> Verify:
    assert lake.address == str(tmp_path / "lake")
    return lambda *words: etl(tmp_path, "verify", *words)


def flip(lake: Lake, hour: Hour) -> None:
    path = Path(lake.store.url(events_key(hour)))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def lay(lake: Lake, key: str, *, age: float = 7200) -> Path:
    """Puts a file into the lake's folder that has been there for some seconds."""
    path = Path(lake.address) / key
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    os.utime(path, (time.time() - age,) * 2)
    return path


def all_files(lake: Lake) -> dict[Path, tuple[int, int]]:
    found = ((path, path.stat()) for path in Path(lake.address).rglob("*") if path.is_file())
    return {path: (facts.st_mtime_ns, facts.st_ino) for path, facts in found if path.suffix != ".lock"}


@pytest.mark.parametrize(
    ("words", "out"),
    [
        ((), r"3 hours verified, [\d.]+ kB: 3 sound"),
        (("--deep", "--workers", 2), r"3 hours verified, [\d.]+ kB: 3 sound"),
        (("2015-01-01",), r"3 hours verified, [\d.]+ kB: 3 sound; 21 of the range are not in the lake"),
        ((ONE, TWO), r"2 hours verified, [\d.]+ kB: 2 sound"),
        (("2014-12-31", TWO), r"2 hours verified, [\d.]+ kB: 2 sound; 27 of the range are not in the lake"),
        ((TWO,), f"{TWO}: sound"),
    ],
)
def test_a_sound_lake(lake: Lake, verify: Verify, words: tuple[object, ...], out: str) -> None:
    before = all_files(lake)
    done = verify(*words)

    assert (done.code, done.err) == (ExitCode.OK, "")
    assert re.fullmatch(f"{out}\n", done.out)
    assert all_files(lake) == before


def test_hours_without_events_are_not_called_sound(lake: Lake, verify: Verify, tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for hour, status in ((THREE + 1, Status.FAILED), (THREE + 2, Status.FAILED), (THREE + 3, Status.MISSING)):
        lake.record(hour, status, "the source hung up", started_at=now, finished_at=now)
    one, all_of_them = verify(THREE + 1), verify()
    assert (one.code, all_of_them.code) == (ExitCode.OK, ExitCode.OK)
    assert one.out.startswith(f"{THREE + 1}: no events are stored, as its manifest says: it is failed")
    assert all_of_them.out.endswith("3 sound, 3 without events (2 failed, 1 missing)\n")
    shown = etl(tmp_path, "show", THREE + 1, "--events", 5, "--quarantine", 5)
    assert shown.code == ExitCode.OK
    assert "none are stored" in shown.out
    assert f"no events are stored: {THREE + 1} is failed" in shown.out
    assert f"nothing of {THREE + 1} is in quarantine" in shown.out


def test_bad_hours_are_reported_one_a_line(lake: Lake, verify: Verify) -> None:
    flip(lake, ONE)
    lake.store.delete(manifest_key(TWO))
    before = all_files(lake)
    done = verify()

    assert done.code == ExitCode.VERIFY_FAILED
    first, second, summary = done.out.splitlines()
    assert first.startswith(f"{ONE}: ")
    assert "SHA-256 differs" in first
    assert second == f"{TWO}: {TWO} has events but no manifest"
    assert summary.startswith("3 hours verified, ")
    assert summary.endswith(": 1 sound, 2 bad")
    assert done.error == "error: 2 of 3 hours do not match their manifests"
    assert "--repair" in done.hint
    assert all_files(lake) == before
    assert verify(THREE).out == f"{THREE}: sound\n"
    as_json = verify("--format", "json")
    assert as_json.code == ExitCode.VERIFY_FAILED
    assert as_json.error == done.error
    told = json.loads(as_json.out)
    assert [bad["hour"] for bad in told["bad"]] == [str(ONE), str(TWO)]
    assert "SHA-256 differs" in told["bad"][0]["problems"][0]
    assert (told["checked"], told["sound"], told["repairs"], told["orphans"]) == (3, 1, [], [])


def test_a_program_can_read_what_was_repaired_and_removed(lake: Lake, verify: Verify, sources: Path) -> None:
    flip(lake, ONE)
    lay(lake, "events/_SUCCESS")
    done = verify("--repair", "--prune", "--source", sources, "--json")
    told = json.loads(done.out)
    assert (told["from"], told["to"], told["not_in_lake"]) == (None, None, 0)
    assert [(each["key"], each["removed"]) for each in told["orphans"]] == [("events/_SUCCESS", True)]
    assert (told["repaired"], told["bad"]) == (1, [])
    assert [(each["hour"], each["outcome"]) for each in told["repairs"]] == [(str(ONE), "downloaded again")]


def test_repair_puts_all_right_that_can_be(lake: Lake, verify: Verify, sources: Path) -> None:
    before = objects(lake)
    flip(lake, ONE)
    lake.store.delete(manifest_key(TWO))
    lake.store.delete(events_key(THREE))
    done = verify("--repair", "--source", sources, "--max-damage", "100%")

    assert done.code == ExitCode.OK, done.error
    assert done.out.splitlines()[3:6] == [f"{ONE}: downloaded again", f"{TWO}: recovered", f"{THREE}: downloaded again"]
    assert done.out.splitlines()[6].endswith(": 3 sound (3 of them put right)")
    assert all(lake.verify(hour, ARROW_SCHEMA, deep=True) == [] for hour in HOURS)
    after = objects(lake)
    assert after.keys() == before.keys()
    assert all(after[key] == before[key] for key in after if not key.startswith("manifests/"))


def test_an_hour_that_cannot_be_read_keeps_nobody_from_the_others(lake: Lake, verify: Verify, sources: Path) -> None:
    spot = Path(lake.address) / manifest_key(ONE)
    spot.unlink()
    spot.mkdir()
    lake.store.delete(events_key(THREE))
    done = verify("--repair", "--source", sources, "--max-damage", "100%")

    assert done.code == ExitCode.VERIFY_FAILED
    assert f"{ONE}: left: cannot read " in done.out
    assert f"{THREE}: downloaded again\n" in done.out
    assert done.error == "error: 1 of 3 hours does not match its manifest"


def test_repair_does_not_take_fewer_events(lake: Lake, verify: Verify, tmp_path: Path, sources: Path) -> None:
    flip(lake, ONE)
    flip(lake, TWO)
    before = objects(lake)
    smaller = put(tmp_path / "smaller", packed(LINES[ONE][1:]), ONE)
    refused = verify(ONE, "--repair", "--source", smaller)

    assert refused.code == ExitCode.SHRINK_REFUSED
    assert f"{ONE}: kept: " in refused.out
    assert "--force" in refused.hint
    assert objects(lake) == before

    mixed = verify("--repair", "--source", smaller)
    assert mixed.code == ExitCode.VERIFY_FAILED
    assert f"{TWO}: left: " in mixed.out
    assert mixed.error == "error: 2 of 3 hours do not match their manifests"
    assert verify("--repair", "--source", sources, "--max-damage", "100%").code == ExitCode.OK


def test_orphans_are_listed_and_pruned_on_request_only(lake: Lake, verify: Verify) -> None:
    old = [
        lay(lake, f"quarantine/date=2015-01-01/hour=3/{ONE}.0a1b2c3d4e5f.parquet"),
        lay(lake, "events/_SUCCESS"),
        lay(lake, ".tmp/0123.part"),
    ]
    young = lay(lake, "events/young", age=60)
    outside = lay(lake, "mine/file")
    before = all_files(lake)
    listed = verify()

    assert listed.code == ExitCode.OK
    assert listed.out.count("orphan: ") == 3
    assert "files that belong to no hour: 3 left, 3 bytes (--prune removes them)" in listed.out
    assert all_files(lake) == before

    pruned = verify("--prune")
    assert pruned.code == ExitCode.OK
    assert pruned.out.count("removed: ") == 3
    assert before.keys() - all_files(lake).keys() == set(old)
    assert young.exists()
    assert outside.exists()
    assert verify().out.count("\n") == 1


def test_pruning_is_repairing_where_only_an_unreadable_file_is_in_the_way(lake: Lake, verify: Verify) -> None:
    (Path(lake.address) / manifest_key(ONE)).unlink()
    lay(lake, events_key(ONE))

    assert verify().code == ExitCode.VERIFY_FAILED
    done = verify("--prune")
    assert done.code == ExitCode.OK
    assert f"removed: lake/{events_key(ONE)} (1 byte): no manifest refers to it" in done.out


def test_a_folder_that_is_no_lake_keeps_its_files(tmp_path: Path) -> None:
    path = lay(Lake.at(str(tmp_path / "lake")), "events/diary.txt")
    done = etl(tmp_path, "verify", "--prune")

    assert done.code == ExitCode.VERIFY_FAILED
    assert done.error == "error: there is nothing to verify: no hour is in the lake lake"
    assert "orphan: lake/events/diary.txt" in done.out
    assert path.exists()


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("2016-01-01-1",), "2016-01-01-1 is not in the lake lake"),
        (("2016-01-01",), "no hour of 2016-01-01-0..2016-01-01-23 is in the lake lake"),
    ],
)
def test_nothing_to_verify_is_not_sound(verify: Verify, words: tuple[str, ...], error: str) -> None:
    done = verify(*words)
    assert done.code == ExitCode.VERIFY_FAILED
    assert done.error == f"error: there is nothing to verify: {error}"


@pytest.mark.parametrize(
    "words",
    [("2015-01-02", "2015-01-01"), ("2015-13-01",), ("yesterday",), ("--repair", "--source", "nowhere")],
)
def test_what_cannot_be_meant(lake: Lake, verify: Verify, words: tuple[str, ...]) -> None:
    flip(lake, ONE)
    done = verify(*words)
    assert done.code == ExitCode.USAGE
    assert done.out == "", "nothing is read before it is clear what is wanted"


def test_a_lake_in_a_bucket(gcs_address: str, sources: Path, tmp_path: Path) -> None:
    lake = Lake.at(gcs_address)
    for hour in HOURS:
        run(lake, sources, hour=hour, max_damage=1)
    lake.store.delete(events_key(ONE))
    lake.store.delete(manifest_key(TWO))
    lake.store.write("events/young", b"x")
    where = ("--lake", gcs_address)

    bad = etl(tmp_path, "verify", *where)
    assert bad.code == ExitCode.VERIFY_FAILED, bad.err
    assert f"{ONE}: {gcs_address}/{events_key(ONE)} is missing\n" in bad.out
    repaired = etl(tmp_path, "verify", "--repair", "--prune", "--source", sources, "--max-damage", "100%", *where)
    assert repaired.code == ExitCode.OK, repaired.err
    assert f"{ONE}: downloaded again\n{TWO}: recovered\n" in repaired.out
    assert etl(tmp_path, "verify", "--deep", "2015-01-01-3", "2015-01-01-5", *where).out.endswith(": 3 sound\n")
    assert lake.store.stat("events/young") is not None, "what is new may be somebody's who is at work"
