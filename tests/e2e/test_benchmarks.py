"""The benchmark works from end to end; what it measures is not looked at here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import duckdb
import pytest

BENCHMARKS: Final = Path(__file__).parents[2] / "benchmarks"
SECTIONS: Final = ("one hour", "many hours", "the warehouse", "Spark")


def test_a_quick_round_measures_everybody_and_leaves_the_page_alone(tmp_path: Path) -> None:
    page = (BENCHMARKS / "README.md").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.hour", "--quick", "--cache", str(tmp_path)],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in ("this, e-mails kept", "DuckDB", "this, e-mails hashed", "this, the large hour"):
        assert name in done.stdout
    assert (BENCHMARKS / "README.md").read_bytes() == page
    assert sorted(path.name for path in tmp_path.iterdir()) == ["2000", "6000"]


@pytest.mark.parametrize(
    ("rows", "payload", "said"),
    [(100, '{"a": 2}', "values of payload"), (99, '{"a": 1}', "100 rows and 99")],
    ids=["other values", "fewer rows"],
)
def test_files_that_differ_are_not_compared(tmp_path: Path, rows: int, payload: str, said: str) -> None:
    ours, peer = tmp_path / "ours.parquet", tmp_path / "peer.parquet"
    write(ours, 100, '{"a": 1}')
    write(peer, rows, payload)
    done = compare(ours, peer)
    assert done.returncode == 1
    assert said in done.stderr


def test_json_is_compared_by_what_it_says(tmp_path: Path) -> None:
    ours, peer = tmp_path / "ours.parquet", tmp_path / "peer.parquet"
    write(ours, 100, '{"a": "\\u003e"}')
    write(peer, 100, '{"a":">"}')
    done = compare(ours, peer)
    assert done.returncode == 0, done.stderr


def write(path: Path, rows: int, payload: str) -> None:
    """Writes a small file with the columns that comparing needs."""
    with duckdb.connect() as connection:
        connection.execute(
            "CREATE TABLE made AS SELECT i::VARCHAR AS id, $payload AS payload, NULL::VARCHAR AS other"
            " FROM range($rows) AS r(i)",
            {"payload": payload, "rows": rows},
        )
        connection.table("made").write_parquet(str(path))


def compare(ours: Path, peer: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(BENCHMARKS / "same_rows.py"), str(ours), str(peer)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("section", SECTIONS)
def test_the_page_has_the_marks_that_results_are_written_between(section: str) -> None:
    page = (BENCHMARKS / "README.md").read_text(encoding="utf-8")
    for edge in ("begin", "end"):
        assert page.count(f"\n<!-- results of {section}: {edge} -->\n") == 1
    assert any(f'write_page("{section}"' in script.read_text(encoding="utf-8") for script in BENCHMARKS.glob("*.py"))


@pytest.mark.parametrize(
    ("script", "names"),
    [
        ("hours", ("DuckDB, one process", "overhead", "hours of 2011's size, 2 workers")),
        ("warehouse", ("all tables", "DuckDB's COPY of the same events", "last to first")),
    ],
)
def test_a_quick_look_measures_everything(tmp_path: Path, script: str, names: tuple[str, ...]) -> None:
    page = (BENCHMARKS / "README.md").read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{script}", "--quick", "--pairs", "1", "--cache", str(tmp_path)],
        cwd=BENCHMARKS.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in names)
    assert (BENCHMARKS / "README.md").read_bytes() == page
