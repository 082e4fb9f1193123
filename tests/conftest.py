"""What tests of several rooms share: the GCS emulator, and the real data beside the checkout."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
import requests

_CHECKOUT = Path(__file__).parents[1]
_REAL_DATA = _CHECKOUT / "../shared/data"
_EMULATOR = "fake-gcs-server"
_HOW_TO_GET_IT = "go install github.com/fsouza/fake-gcs-server@v1.56.1"


@dataclass(frozen=True)
class GcsEmulator:
    """A running GCS emulator with one bucket.

    Attributes:
        endpoint: ``http://127.0.0.1:PORT``; also in STORAGE_EMULATOR_HOST.
        bucket: Name of the bucket.
    """

    endpoint: str
    bucket: str


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[GcsEmulator]:
    """The emulator, running; skips where it is not installed."""
    program = _find_emulator()
    if program is None:
        pytest.skip(f"{_EMULATOR} is not installed; get it with: {_HOW_TO_GET_IT}")
    pytest.importorskip("google.cloud.storage", reason="google-cloud-storage: pip install 'gharchive-etl[gcp]'")
    address = f"127.0.0.1:{_free_port()}"
    host, _, port = address.partition(":")
    process = subprocess.Popen(
        [program, "-scheme", "http", "-host", host, "-port", port, "-public-host", address, "-backend", "memory"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    endpoint = f"http://{address}"
    try:
        _await(f"{endpoint}/_internal/healthcheck", process)
        bucket = f"test-{uuid4().hex}"
        made = requests.post(f"{endpoint}/storage/v1/b", params={"project": "test"}, json={"name": bucket}, timeout=10)
        made.raise_for_status()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORAGE_EMULATOR_HOST", endpoint)
            yield GcsEmulator(endpoint, bucket)
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def gcs_address(gcs_emulator: GcsEmulator) -> str:
    """An empty place in the emulator's bucket: ``gs://bucket/prefix``, another one for each test."""
    return f"gs://{gcs_emulator.bucket}/{uuid4().hex}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real hours of the archive; skips where there is none. It holds e-mails: print nothing of it."""
    if not _REAL_DATA.is_dir():
        pytest.skip("no real data: put hours of https://www.gharchive.org into ../shared/data/archive")
    return _REAL_DATA.resolve()


def _find_emulator() -> str | None:
    named = os.environ.get("FAKE_GCS_SERVER")
    if named:
        return named
    return shutil.which(_EMULATOR) or shutil.which(_EMULATOR, path=Path.home() / "go/bin")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _await(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(500):
        if process.poll() is not None:
            pytest.fail(f"{_EMULATOR} ended with code {process.returncode}")
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.02)
    pytest.fail(f"{_EMULATOR} does not answer at {url}")
