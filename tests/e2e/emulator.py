"""A GCS emulator that keeps its objects on disk, so that it can be killed and started again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
import requests

from tests.conftest import _await, _find_emulator, _free_port

_BUCKET: Final = "lasting"


class LastingEmulator:
    """The emulator on a port and a folder of its own.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``, for STORAGE_EMULATOR_HOST.
        bucket: Name of its bucket.
    """

    def __init__(self, program: str, folder: Path) -> None:
        port = _free_port()
        address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{address}"
        self.bucket = _BUCKET
        self._command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
        self._command += ["-backend", "filesystem", "-filesystem-root", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it, and comes back when it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        _await(f"{self.endpoint}/_internal/healthcheck", self._process)

    def kill(self) -> None:
        """Kills it; its objects stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def lasting_emulator(folder: Path) -> Iterator[LastingEmulator]:
    """Runs one with an empty bucket; skips where it is not installed."""
    program = _find_emulator()
    if program is None:
        pytest.skip(
            "fake-gcs-server is not installed; get it with: go install github.com/fsouza/fake-gcs-server@v1.56.1"
        )
    emulator = LastingEmulator(program, folder)
    emulator.start()
    try:
        made = requests.post(
            f"{emulator.endpoint}/storage/v1/b", params={"project": "test"}, json={"name": _BUCKET}, timeout=10
        )
        made.raise_for_status()
        yield emulator
    finally:
        emulator.kill()
