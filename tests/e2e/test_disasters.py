"""What the page on disaster recovery says of copies, lost files and lost tables, tried on a lake."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ExitCode
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.practice.generator import provide_hour
from etl.warehouse.duckdb_views import opened
from etl.warehouse.table_state import Warehouse
from tests.e2e.running import etl
from tests.integration.running import objects, sound

HOURS: Final = [Hour.of(2019, 1, 2, 3) + number for number in range(3)]
LOST: Final = HOURS[1]
EVENTS: Final = 40


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an archive of three hours, a lake of them and its tables."""
    folder = tmp_path_factory.mktemp("before")
    (folder / "archive").mkdir()
    for hour in HOURS:
        provide_hour(hour, folder / "archive", events=EVENTS)
    assert etl(folder, "backfill", HOURS[0], HOURS[-1], "--source", "archive", "--workers", "1").code == ExitCode.OK
    assert etl(folder, "build").code == ExitCode.OK
    return folder


@pytest.fixture
def folder(before: Path, tmp_path: Path) -> Path:
    """The same, to be damaged."""
    return Path(shutil.copytree(before, tmp_path / "now"))


def charted(folder: Path) -> list[tuple[Any, ...]]:
    """What a chart shows."""
    with opened(Warehouse.at(str(folder / "warehouse"))) as connection:
        rows: list[tuple[Any, ...]] = connection.execute(
            "SELECT hour, type, events FROM activity_hourly ORDER BY ALL"
        ).fetchall()
    assert rows
    return rows


def test_a_copy_of_the_files_is_a_lake(folder: Path) -> None:
    was = charted(folder)
    shutil.move(folder / "lake", folder / "copy")
    assert etl(folder, "verify", "--lake", "copy").code == ExitCode.OK
    shutil.copytree(folder / "copy", folder / "lake")
    # Files that were restored are known again by their checksums.
    again = etl(folder, "build")
    assert again.code == ExitCode.OK
    assert "up to date" in again.out
    assert charted(folder) == was


@pytest.mark.parametrize("lost", ["events", "manifests"])
def test_files_that_are_gone_come_back_from_the_archive(before: Path, folder: Path, lost: str) -> None:
    """As they were, but for when they were made."""
    (path,) = (folder / "lake" / lost).rglob(f"{LOST}.*")
    path.unlink()
    lake = Lake.at(str(folder / "lake"))
    if lost == "events":
        assert etl(folder, "verify").code == ExitCode.VERIFY_FAILED
        assert etl(folder, "verify", "--repair", "--source", "archive").code == ExitCode.OK
    else:
        words = ("backfill", HOURS[0], HOURS[-1], "--source", "archive", "--workers", "1")
        assert etl(folder, *words).code == ExitCode.OK
    assert etl(folder, "verify").code == ExitCode.OK
    restored, was = sound(lake, LOST), sound(Lake.at(str(before / "lake")), LOST)
    assert restored.content == was.content


def test_hours_that_the_archive_lost_stay_as_they_are(folder: Path) -> None:
    lake = Lake.at(str(folder / "lake"))
    was = objects(lake)
    shutil.rmtree(folder / "archive")
    (folder / "archive").mkdir()
    provide_hour(LOST, folder / "archive", events=EVENTS // 2)
    words = ("backfill", HOURS[0], HOURS[-1], "--refresh", "--source", "archive", "--workers", "1")
    assert etl(folder, *words).code != ExitCode.UNEXPECTED
    kept = objects(lake)
    assert {key: kept.get(key) for key in was if key.startswith("events/")} == {
        key: digest for key, digest in was.items() if key.startswith("events/")
    }


@pytest.mark.parametrize("lost", ["all", "state"])
def test_tables_are_made_of_the_lake_again(folder: Path, lost: str) -> None:
    was = charted(folder)
    shutil.rmtree(folder / "warehouse" if lost == "all" else folder / "warehouse/state")
    assert etl(folder, "build").code == ExitCode.OK
    assert charted(folder) == was
