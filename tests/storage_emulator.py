"""The emulator of Google Cloud Storage (fake-gcs-server), in memory or on disk."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from tests import tools
from tests.network import free_port, wait_until_healthy


@dataclass(frozen=True)
class GcsEmulator:
    """A running emulator with one bucket.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``, for STORAGE_EMULATOR_HOST.
        bucket: Name of the bucket.
    """

    endpoint: str
    bucket: str


class EmulatorProcess:
    """The emulator on a port of its own; it can be killed and started again.

    Args:
        folder: Where it keeps its objects; in memory when None.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        port = free_port()
        address = f"127.0.0.1:{port}"
        self.endpoint = f"http://{address}"
        backend = ["memory"] if folder is None else ["filesystem", "-filesystem-root", str(folder)]
        program = str(tools.get("fake-gcs-server"))
        self._command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-public-host", address]
        self._command += ["-backend", *backend]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Starts it and returns when it answers."""
        quiet = subprocess.DEVNULL
        self._process = subprocess.Popen(self._command, stdout=quiet, stderr=quiet)
        wait_until_healthy(f"{self.endpoint}/_internal/healthcheck", self._process)

    def kill(self) -> None:
        """Kills it; objects on disk stay."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@contextmanager
def running_emulator(bucket: str, folder: Path | None = None) -> Iterator[EmulatorProcess]:
    """Runs an emulator with an empty bucket; skips where it is not installed.

    Args:
        bucket: Name of the bucket.
        folder: Where it keeps its objects; in memory when None.
    """
    emulator = EmulatorProcess(folder)
    emulator.start()
    try:
        made = requests.post(
            f"{emulator.endpoint}/storage/v1/b", params={"project": "test"}, json={"name": bucket}, timeout=10
        )
        made.raise_for_status()
        yield emulator
    finally:
        emulator.kill()
