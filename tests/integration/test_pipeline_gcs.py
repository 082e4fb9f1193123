"""The pipeline into a bucket: the same hour, the same rules, and writers who do not know of each other."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etl.errors import ConflictError, DamagedError, EtlError, ExitCode, ShrinkRefusedError, StoreError
from etl.hour_pipeline import HourResult, Outcome
from etl.lake.lake import Lake
from etl.lake.layout import QUARANTINE, events_key, manifest_key
from etl.lake.manifest import Status
from tests.integration.archive.server import Archive, File
from tests.integration.running import HOUR, PATH, documents, objects, packed, put, quarantined, run, sound, stored_rows

EVENTS = 300
LINES = documents(EVENTS)
SMALL = packed(LINES)
DAMAGED = packed([*LINES, b'{"id":"1","type":"Cut\n'])
OTHERWISE_DAMAGED = packed([*LINES, b"\0\0\0\n", b'{"id":"2","type":"Cut\n'])


@pytest.fixture
def lake(gcs_address: str) -> Lake:
    return Lake.at(gcs_address)


def test_a_bucket_holds_the_bytes_that_a_folder_holds(lake: Lake, tmp_path: Path) -> None:
    source = put(tmp_path / "archive", DAMAGED)
    folder = Lake.at(str(tmp_path / "lake"))
    there, here = run(lake, source), run(folder, source)

    assert there.outcome is Outcome.STORED
    assert there.manifest == sound(lake)
    assert there.manifest.content == here.manifest.content
    ours, theirs = objects(folder), objects(lake)
    assert ours.keys() == theirs.keys()
    assert [key for key, digest in ours.items() if theirs[key] != digest] == [manifest_key(HOUR)]
    assert stored_rows(lake) == stored_rows(folder)
    assert quarantined(lake) == quarantined(folder)


def test_a_bucket_is_a_source_too(lake: Lake, gcs_address: str) -> None:
    archive = Lake.at(f"{gcs_address}-archive")
    with archive.store.writer(PATH.strip("/")) as stream:
        stream.write(SMALL)
    first = run(lake, archive.address)

    assert first.manifest.content is not None
    assert first.manifest.content.source.address == archive.address + PATH
    assert run(lake, archive.address, refresh=True).outcome is Outcome.UNCHANGED
    with archive.store.writer(PATH.strip("/")) as stream:
        stream.write(packed(documents(EVENTS + 1, seed=1)))
    assert run(lake, archive.address, refresh=True).outcome is Outcome.REPLACED
    assert len(stored_rows(lake)) == EVENTS + 1


def test_the_rules_of_replacing_hold_in_a_bucket(archive: Archive, lake: Lake) -> None:
    archive.files[PATH] = File(DAMAGED)
    run(lake, archive.url)
    before, asked = objects(lake), len(archive.asked)
    assert run(lake, archive.url).outcome is Outcome.UNCHANGED
    assert len(archive.asked) == asked
    assert run(lake, archive.url, refresh=True).outcome is Outcome.UNCHANGED

    archive.files[PATH] = File(packed([*LINES[1:], b"\0\n"]), '"v2"')
    with pytest.raises(ShrinkRefusedError):
        run(lake, archive.url, refresh=True)
    assert objects(lake) == before

    assert run(lake, archive.url, force=True).outcome is Outcome.REPLACED
    assert sound(lake).attempts == 2
    assert len(objects(lake)) == 3, "and the quarantine of the first hour is gone"


def test_nothing_but_a_note_stands_in_the_bucket_when_no_hour_came(archive: Archive, lake: Lake) -> None:
    with pytest.raises(EtlError):
        run(lake, archive.url)
    assert list(objects(lake)) == [manifest_key(HOUR)]
    archive.files[PATH] = File(SMALL[: len(SMALL) // 2])
    with pytest.raises(DamagedError):
        run(lake, archive.url)
    assert sound(lake).status is Status.PARTIAL


def test_a_bucket_that_is_not_there_is_said(tmp_path: Path, gcs_address: str) -> None:
    nowhere = Lake.at(gcs_address.replace("gs://", "gs://no-such-"))
    with pytest.raises(StoreError) as error:
        run(nowhere, put(tmp_path / "archive", SMALL))
    assert nowhere.address in error.value.message or "no-such-" in error.value.message
    assert error.value.hint is not None


class _Meeting:
    """Holds each run when it has begun its publication, until the other one has too."""

    def __init__(self, runs: int) -> None:
        self._barrier = threading.Barrier(runs, timeout=60)

    def source(self, _address: str, _size: int | None) -> None:
        self._barrier.wait()

    def received(self, count: int) -> None:
        pass

    def events(self, count: int) -> None:
        pass


@pytest.fixture(params=["bucket", "folder"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a lake can be: the rules for two writers are the same."""
    if request.param == "folder":
        return str(tmp_path / "lake")
    found: str = request.getfixturevalue("gcs_address")
    return found


def _at_once(*runs: Callable[[], HourResult]) -> tuple[list[HourResult], list[EtlError]]:
    """Makes runs at the same time; gives the results of those that went well, and the errors of the others."""
    done, failed = [], []
    with ThreadPoolExecutor(len(runs)) as pool:
        for future in [pool.submit(run) for run in runs]:
            try:
                done.append(future.result())
            except EtlError as error:
                failed.append(error)
    return done, failed


@pytest.mark.preconditions
@pytest.mark.parametrize("before", ["nothing", "an hour"])
def test_of_two_runs_at_once_one_wins(before: str, place: str, tmp_path: Path) -> None:
    sources = [put(tmp_path / "one", DAMAGED), put(tmp_path / "two", OTHERWISE_DAMAGED)]
    if before == "an hour":
        run(Lake.at(place), put(tmp_path / "before", SMALL))
    meeting = _Meeting(2)
    done, failed = _at_once(
        *(lambda source=source: run(Lake.at(place), source, force=True, watch=meeting) for source in sources)
    )

    ((winner,), (loser,)) = done, failed
    assert isinstance(loser, ConflictError)
    assert loser.exit_code is ExitCode.STORE_FAILED
    assert loser.hint is not None
    lake = Lake.at(place)
    manifest = sound(lake)
    assert manifest == winner.manifest
    assert len(stored_rows(lake)) == EVENTS
    # What the loser left is named by nothing, and goes with the next publication.
    assert run(lake, *sources).outcome is Outcome.UNCHANGED
    assert run(lake, sources[0], force=True).outcome is Outcome.REPLACED
    assert len([key for key in objects(lake) if key.startswith(QUARANTINE)]) == 1
    sound(lake)


def test_many_runs_at_once_leave_the_lake_whole(place: str, tmp_path: Path) -> None:
    source = put(tmp_path / "one", DAMAGED)
    for attempt in range(3):
        done, failed = _at_once(*[lambda: run(Lake.at(place), source, force=True)] * 4)
        assert done, f"round {attempt}: somebody wins"
        assert all(isinstance(error, ConflictError) for error in failed)
        sound(Lake.at(place))
    keys = set(objects(Lake.at(place)))
    assert {events_key(HOUR), manifest_key(HOUR)} < keys
    assert len(keys) == 3


def test_of_two_processes_at_once_one_wins(place: str, tmp_path: Path) -> None:
    source = put(tmp_path / "archive", SMALL)
    etl = Path(__file__).parents[2] / "etl"
    words = [sys.executable, str(etl), "--at", str(HOUR), "--source", str(source), "--lake", place]
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GHARCHIVE_")}
    processes = [
        subprocess.Popen(words, cwd=tmp_path, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=120) for process in processes]
    codes = sorted(process.returncode for process in processes)

    assert codes in ([ExitCode.OK, ExitCode.OK], [ExitCode.OK, ExitCode.STORE_FAILED]), said
    assert not any("Traceback" in err for _, err in said)
    verified = subprocess.run(
        [sys.executable, str(etl), "verify", str(HOUR), "--lake", place],
        cwd=tmp_path,
        env=clean,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stdout) == (ExitCode.OK, f"{HOUR}: sound\n"), verified.stderr
