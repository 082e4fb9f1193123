"""How processes begin: once, and somehow even where the server that forks them cannot."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from etl.runtime.process_context import STOP_SIGNALS, context, signals_waiting


def test_it_is_the_same_for_all() -> None:
    assert context() is context()


def test_signals_wait_within_and_not_afterwards() -> None:
    with signals_waiting():
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) >= STOP_SIGNALS
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & STOP_SIGNALS


@pytest.mark.needs("linux")  # elsewhere workers are spawned in any case
@pytest.mark.parametrize(("limit", "method"), [("unlimited", "forkserver"), ("0", "spawn")])
def test_without_room_for_a_socket_they_are_spawned(limit: str, method: str) -> None:
    """Python finds no folder for temporary files where no file may have a byte."""
    says = "import sys; from etl.runtime.process_context import context; sys.stderr.write(context().get_start_method())"
    # Compiled modules and coverage data are files, too.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    done = subprocess.run(
        ["bash", "-c", f'ulimit -f {limit}; exec "$0" -c "$1"', sys.executable, says],
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stderr == method
