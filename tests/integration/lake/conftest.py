"""The two kinds of store, and the program that crashes on order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.lake.lake import Lake, store_at
from etl.lake.store import Store


@pytest.fixture(params=["folder", "gcs"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty lake's address: a folder that does not exist yet, or a prefix in the emulator."""
    if request.param == "folder":
        return str(tmp_path / "lake")
    found: str = request.getfixturevalue("gcs_address")
    return found


@pytest.fixture
def store(address: str) -> Store:
    return store_at(address)


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake(store)


class Crasher:
    """Speaks with ``crasher.py``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def __call__(self, kind: str, address: str, number: int = 0, *, instant: int = -1) -> bool:
        """Gives an order; whether its process was killed before it was through."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        order = [kind, address, number, instant, os.environ.get("STORAGE_EMULATOR_HOST")]
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline().strip()
        assert answer in {"killed", "done"}, answer
        return answer == "killed"


@pytest.fixture(scope="module")
def crasher(request: pytest.FixtureRequest) -> Iterator[Crasher]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.integration.lake.crasher"],
        cwd=request.config.rootpath,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield Crasher(process)
        process.kill()
