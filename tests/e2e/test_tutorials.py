"""The README and the tutorials work as written: each one's blocks run in one shell, from top to bottom."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest

from etl.hours import Hour, newest_finished_hour
from etl.practice.generator import write_archive
from tests import tools
from tests.e2e.running import clean_environment
from tests.integration.terraform import terraforming
from tests.pages import ROOT, blocks

TUTORIALS: Final = tuple(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/tutorials/[a-z]*.md")))
PLATFORM: Final = "docs/tutorials/platform-engineer.md"
NOT_RUN: Final = {
    "README.md": {"it installs packages": 2},
    "docs/tutorials/analyst.md": {"it installs packages": 1},
    PLATFORM: {
        "OWNER stands for an account on GitHub": 1,
        "it changes a project of Google Cloud": 3,
        "it runs jobs in Google Cloud": 1,
        "it is a query for BigQuery": 1,
    },
    "docs/tutorials/team.md": {"it installs packages": 1},
}
"""How many blocks of each page are not run, by the reason."""

SQL: Final = """\
import sys
import duckdb

rows = duckdb.sql(sys.stdin.read()).fetchall()
assert rows, "the query found nothing"
print(*rows, sep="\\n")
"""
PATIENCE_SECONDS: Final = 280


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Practice hours in the place of the archive: those that the tutorials name, and the newest ones."""
    folder = tmp_path_factory.mktemp("archive")
    newest = newest_finished_hour()
    write_archive((Hour.of(2015, 1, 1, hour) for hour in (12, 13, 14, 15)), folder, events=400)
    write_archive((Hour.of(2015, 1, 1, 0) + hours for hours in range(72) if not 12 <= hours <= 15), folder, events=20)
    write_archive((newest + hours for hours in (-3, -2, -1, 0)), folder, events=20)
    return folder


def script(page: str, folder: Path) -> str:
    """Returns the blocks of a page as one script of bash; those in other languages become files in the folder."""
    lines = ["set -euo pipefail"]
    for number, block in enumerate(blocks(page)):
        if block.reason is not None or not block.language:
            continue
        lines.append(f"echo '== block {number} of {page}'")
        if block.language == "bash":
            lines.append(block.text)
            continue
        file = folder / f"{number}.{block.language}"
        file.write_text(block.text, encoding="utf-8")
        match block.language:
            case "sql":
                lines.append(f"python -c {shlex.quote(SQL)} < {shlex.quote(str(file))}")
            case "python":
                lines.append(f"python {shlex.quote(str(file))}")
            case other:
                pytest.fail(f"{page} has a block in {other}, which nothing here can run")
    return "\n".join(lines)


def run(page: str, folder: Path, env: Mapping[str, str], *, before: str = "") -> str:
    """Runs a page in a folder that looks like a checkout, and returns what it printed."""
    files = folder / "blocks"
    files.mkdir()
    place = folder / "place"
    place.mkdir(exist_ok=True)
    (place / "etl").symlink_to(ROOT / "etl")
    environment = clean_environment() | dict(env)
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment["PATH"]])
    done = subprocess.run(
        ["bash", "-c", f"{before}\n{script(page, files)}"],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )
    assert done.returncode == 0, done.stdout[-5000:]
    return done.stdout


@pytest.mark.parametrize(
    ("page", "last"),
    [
        ("README.md", "lake/events/date=2015-01-01/hour=15/2015-01-01-15.parquet"),
        ("docs/tutorials/analyst.md", "report.html"),
        ("docs/tutorials/team.md", "gharchive/report.html"),
    ],
)
def test_a_page_works_as_written(page: str, last: str, tmp_path: Path, archive: Path) -> None:
    run(page, tmp_path, {"GHARCHIVE_SOURCES": str(archive)})
    assert (tmp_path / "place" / last).is_file()


def test_every_tutorial_is_run() -> None:
    assert set(TUTORIALS) == {"docs/tutorials/analyst.md", "docs/tutorials/team.md", PLATFORM}


@pytest.mark.needs("terraform")
def test_the_platform_engineer_can_plan(tmp_path: Path) -> None:
    (tmp_path / "place").mkdir()
    terraforming.prepared(terraforming.copied(terraforming.ROOT, tmp_path / "place/terraform"))
    shutil.copy(ROOT / "Makefile", tmp_path / "place")
    env = tools.terraform_environment()
    env["PATH"] = os.pathsep.join([str(tools.get("terraform").parent), env["PATH"]])
    # The stand-in for Google's provider is configured, not installed: `init` would look for it in the registry.
    stand_in = 'terraform() { [[ " $* " == *" init "* ]] || command terraform "$@"; }'
    before = stand_in if tools.TERRAFORM_STAND_IN in os.environ else ""
    said = run(PLATFORM, tmp_path, env, before=before)
    assert "The configuration is valid" in said
    assert "terraform -chdir=terraform/bootstrap apply" in said


@pytest.mark.parametrize("page", ["README.md", *TUTORIALS])
def test_only_what_cannot_be_run_is_left_out(page: str) -> None:
    reasons = [block.reason for block in blocks(page) if block.reason is not None]
    assert Counter(reason.partition(";")[0].partition(",")[0] for reason in reasons) == NOT_RUN[page]
