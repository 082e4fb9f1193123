"""Ports of this machine, and servers that start on them."""

from __future__ import annotations

import socket
import subprocess
import time
from typing import Final

import pytest
import requests

_ATTEMPTS: Final = 500
_PAUSE_SECONDS: Final = 0.02


def free_port() -> int:
    """Returns a port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_until_healthy(url: str, process: subprocess.Popen[bytes]) -> None:
    """Waits until a server answers; fails the test if its process ends or it never does."""
    for _ in range(_ATTEMPTS):
        if process.poll() is not None:
            pytest.fail(f"the server at {url} ended with code {process.returncode}")
        try:
            if requests.get(url, timeout=1).ok:
                return
        except requests.ConnectionError:
            time.sleep(_PAUSE_SECONDS)
    pytest.fail(f"nothing answers at {url}")
