"""The soak test, with a fixed seed; and that it would see what it is there to see."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.practice import eras
from etl.practice.faults import KINDS
from etl.practice.generator import write_archive
from tests.e2e.running import ROOT
from tests.e2e.soak import EVENTS, Soak, SoakError, draw_hours
from tests.integration.running import run

SEED: Final = 4
HOURS: Final = 200

pytestmark = pytest.mark.needs("linux")


@pytest.mark.timeout(900)
def test_a_backfill_under_faults_and_kills_ends_with_what_an_undisturbed_one_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Soak(tmp_path, seed=SEED, hours=HOURS, kills=12).run()
    with capsys.disabled():
        sys.stdout.write(f"\n{report}\n")

    assert report.hours == HOURS
    assert report.rows == EVENTS * report.there
    assert report.faults.keys() == KINDS.keys()
    assert all(report.faults.values()), "every kind of fault has struck"
    assert report.kills.keys() == {"all", "parent", "worker"}


def test_by_hand_it_ends_with_a_line_that_says_what_it_did() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.soak", "--seed", "11", "--hours", "8", "--kills", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(
        r"soak: 8 hours \(\d+ in the archive\), \d+ faults \([a-z-]+ \d+, .*\), \d+ kills \(.*\), \d+ runs, "
        r"\d+ files left behind, [\d,]+ rows compared and equal, \d+ s, seed 11",
        done.stdout.splitlines()[-1],
    )


def test_the_hours_lie_where_the_forms_change() -> None:
    for count in (1, 7):
        assert sum(map(len, draw_hours(count))) == count
    drawn = [hour for hours in draw_hours(HOURS) for hour in hours]
    assert len(drawn) == len(set(drawn)) == HOURS
    found = {eras.era_of(hour) for hour in drawn if eras.existed(hour)}
    assert found == set(eras.Era)
    assert not all(map(eras.existed, drawn))


@pytest.mark.parametrize("wrong", ["rows", "values", "file"])
def test_a_lake_that_differs_is_seen(wrong: str, tmp_path: Path) -> None:
    soak = Soak(tmp_path, seed=1, hours=4, kills=0)
    hours = HourRange(Hour.of(2015, 1, 1, 0), Hour.of(2015, 1, 1, 1))
    soak._wanted = list(hours)
    lakes = [Lake.at(str(tmp_path / name)) for name in ("calm", "soaked")]
    for lake in lakes:
        for hour in hours:
            write_archive([hour], tmp_path / "archive", events=20)
            run(lake, tmp_path / "archive", hour=hour)
    soak._compare(*lakes)
    assert soak.report.rows == 40

    if wrong == "file":
        (file,) = (tmp_path / "soaked").rglob(f"{hours.last}.parquet")
        file.write_bytes(file.read_bytes()[:-1] + b"\0")
    else:
        seed, events = (0, 19) if wrong == "rows" else (1, 20)
        write_archive([hours.last], tmp_path / "other", events=events, seed=seed)
        run(lakes[1], tmp_path / "other", hour=hours.last, force=True)
    with pytest.raises(SoakError, match=str(hours.last)):
        soak._compare(*lakes)
