"""``report`` and ``serve`` as a person starts them."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path

import pytest
import requests

from etl.hours import Hour
from etl.practice.generator import write_hour
from tests.e2e.running import etl, start

HOUR = Hour.of(2024, 5, 14, 5)


def bring(folder: Path, hour: Hour) -> None:
    """Brings a practice hour as far as the warehouse."""
    write_hour(hour, folder / f"archive/{hour}.json.gz", events=50)
    for words in (("--at", hour, "--source", "archive"), ("build",)):
        done = etl(folder, *words)
        assert done.code == 0, done.err


def test_a_report_needs_a_warehouse(tmp_path: Path) -> None:
    done = etl(tmp_path, "report")

    assert done.code == 2
    assert "no events in the warehouse" in done.error
    assert "build" in done.hint
    assert not (tmp_path / "report.html").exists()


def test_links_to_looker_studio(tmp_path: Path) -> None:
    every = etl(tmp_path, "report", "--looker-studio", "my-project.gharchive")
    template = etl(tmp_path, "report", "--looker-studio", "my-project.gharchive", "--template", "0a1b-2c")

    assert (every.code, template.code) == (0, 0)
    assert len(re.findall(r"^https://lookerstudio\.google\.com/reporting/create\?\S+$", every.out, re.MULTILINE)) == 5
    assert re.fullmatch(r"https://\S+c\.reportId=0a1b-2c\S+\n", template.out)
    links = json.loads(etl(tmp_path, "report", "--looker-studio", "my-project.gharchive", "--format", "json").out)
    assert [every.out.index(link) for link in links.values()] == sorted(map(every.out.index, links.values()))


def test_a_report_tells_what_the_warehouse_lacks_of_a_lake(tmp_path: Path) -> None:
    bring(tmp_path, Hour.of(2019, 1, 2, 3))
    same = etl(tmp_path, "report", "--lake", "lake")
    assert (same.code, "behind" in same.out) == (0, False), same.err
    write_hour(Hour.of(2019, 1, 3, 3), tmp_path / "archive/2019-01-03-3.json.gz", events=50)
    assert etl(tmp_path, "--at", "2019-01-03-3", "--source", "archive").code == 0
    assert "behind" not in etl(tmp_path, "report").out
    behind = etl(tmp_path, "report", "--lake", "lake")
    assert "are behind the lake lake; `build` updates them" in behind.out
    told = json.loads(etl(tmp_path, "report", "--lake", "lake", "--format", "json").out)
    assert (told["page"], told["bytes"]) == ("report.html", (tmp_path / "report.html").stat().st_size)
    assert told["partitions_behind"] > 0
    assert json.loads(etl(tmp_path, "report", "--json").out)["partitions_behind"] is None


@pytest.mark.parametrize(
    "words",
    [
        ("--template", "0a1b"),
        ("--looker-studio", "my-project.gharchive", "--out", "x.html"),
        ("--looker-studio", "nonsense"),
        ("2024-02-02", "2024-02-01"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, words: tuple[str, ...]) -> None:
    done = etl(tmp_path, "report", *words)

    assert done.code == 2
    assert done.hint or "ends" in done.error


def test_the_two_pages_link_to_each_other(tmp_path: Path) -> None:
    bring(tmp_path, HOUR)
    (tmp_path / "a b").mkdir()
    done = etl(tmp_path, "report", "--out", "a b/report.html", "--coverage", "coverage.html")
    alone = etl(tmp_path, "report", "--out", "alone.html")

    assert (done.code, alone.code) == (0, 0), done.err
    assert '<a href="../coverage.html">Coverage</a>' in (tmp_path / "a b/report.html").read_text(encoding="utf-8")
    assert '<a href="a%20b/report.html">Dashboard</a>' in (tmp_path / "coverage.html").read_text(encoding="utf-8")
    assert ">Coverage</a>" not in (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert etl(tmp_path, "report", "--out", "x.html", "--coverage", "x.html").code == 2


@pytest.mark.parametrize("missing", ["duckdb", "sqlglot"])
def test_serve_refuses_to_start_without_a_library(tmp_path: Path, missing: str) -> None:
    folder = tmp_path / "libraries"
    folder.mkdir()
    # A module of that name that raises what Python raises where there is none.
    (folder / f"{missing}.py").write_text(f"raise ModuleNotFoundError('no', name='{missing}')\n", encoding="utf-8")

    done = etl(tmp_path, "serve", "--port", "0", env={"PYTHONPATH": str(folder)})

    assert done.code == 2
    assert "http://" not in done.out
    assert "install" in done.hint


def test_pages_are_live(tmp_path: Path) -> None:
    bring(tmp_path, HOUR)
    with start(tmp_path, "serve", "--port", 0) as process:
        assert process.stdout is not None
        (address,) = re.findall(r"at (http://127\.0\.0\.1:\d+/),", process.stdout.readline())
        first = requests.get(address, timeout=60).text
        bring(tmp_path, HOUR + 1)
        second = requests.get(address, timeout=60).text
        coverage = requests.get(f"{address}coverage", timeout=60).text
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0

    (before,), (after,) = (re.findall(r'id="total">(\d+)<', page) for page in (first, second))
    assert 0 < int(before) < int(after)
    assert "2 of 2 hours" in coverage
    assert '<a href="/coverage">Coverage</a>' in second
    assert '<a href="/">Dashboard</a>' in coverage
