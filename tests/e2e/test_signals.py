"""A stop signal ends a command wherever it waits: each of these waits would go on for an hour."""

from __future__ import annotations

import gzip
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from etl.errors import ExitCode
from etl.lake.lake import Lake
from tests.e2e.running import start
from tests.integration.archive.raw import Serve, head, serving
from tests.integration.running import HOUR, documents

FILE: Final = gzip.compress(b"".join(documents(50)), mtime=0)
NOISE: Final = gzip.compress(os.urandom(300_000), mtime=0)
"""A file that is longer than what is read before the first event."""
HOUR_LONG: Final = {
    "GHARCHIVE_CONNECT_TIMEOUT": "3600",
    "GHARCHIVE_READ_TIMEOUT": "3600",
    "GHARCHIVE_ATTEMPTS": "9",
    "GHARCHIVE_BACKOFF_FIRST": "3600",
    "GHARCHIVE_BACKOFF_MAX": "3600",
    "GHARCHIVE_LOCK_PATIENCE": "3600",
}
_PATIENCE_SECONDS: Final = 200


class _Stage:
    """Servers that block at some point; ``reached`` is set when they do."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.over = threading.Event()
        self.served = False

    def stay(self) -> None:
        self.reached.set()
        self.over.wait()

    def silence(self, _: socket.socket) -> None:
        self.stay()

    def in_the_head(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        self.stay()

    def in_the_body(self, connection: socket.socket) -> None:
        connection.sendall(head(f"Content-Length: {len(NOISE)}") + NOISE[:200_000])
        self.stay()

    def in_a_dripping_body(self, connection: socket.socket) -> None:
        connection.sendall(head(f"Content-Length: {len(NOISE)}") + NOISE[:200_000])
        self.reached.set()
        for place in range(200_000, len(NOISE)):
            if self.over.wait(0.2):
                return
            connection.sendall(NOISE[place : place + 1])

    def before_the_next_try(self, connection: socket.socket) -> None:
        connection.sendall(head("Content-Length: 0", line="HTTP/1.1 503 Busy"))
        self.reached.set()

    def before_the_body_goes_on(self, connection: socket.socket) -> None:
        connection.sendall(head(f"Content-Length: {len(NOISE)}") + NOISE[:200_000])
        self.reached.set()

    def in_the_manifest_beside_it(self, connection: socket.socket) -> None:
        if self.served:
            self.stay()
        self.served = True
        connection.sendall(head(f"Content-Length: {len(FILE)}") + FILE)


_WAITS: Final[dict[str, Callable[[_Stage], Serve]]] = {
    "the head": lambda stage: stage.silence,
    "the rest of the head": lambda stage: stage.in_the_head,
    "the body": lambda stage: stage.in_the_body,
    "a body by the byte": lambda stage: stage.in_a_dripping_body,
    "the next try": lambda stage: stage.before_the_next_try,
    "the next try of a body": lambda stage: stage.before_the_body_goes_on,
    "the manifest beside it": lambda stage: stage.in_the_manifest_beside_it,
}
_RUN: Final = ("run", "--at", HOUR)
_BACKFILL: Final = ("backfill", HOUR, HOUR, "--workers", "1")


@pytest.fixture
def stage() -> Iterator[_Stage]:
    found = _Stage()
    yield found
    found.over.set()


@contextmanager
def a_full_queue() -> Iterator[str]:
    """A port of this machine at which connections are neither taken nor refused."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for client in (first, second):
            client.setblocking(False)  # noqa: FBT003 -- the library's
            client.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def stop(folder: Path, words: tuple[object, ...], ready: threading.Event | None, number: signal.Signals) -> None:
    """Starts a command, stops it where it waits, and looks at how it ended."""
    with start(folder, *words, env=HOUR_LONG) as process:
        try:
            if ready is not None:
                assert ready.wait(_PATIENCE_SECONDS)
            # From the server's last byte, or from the start where no server hears of it, to the wait.
            time.sleep(8 if ready is None else 1)
            process.send_signal(number)
            out, err = process.communicate(timeout=_PATIENCE_SECONDS)
        finally:
            process.kill()
    assert process.returncode == ExitCode.INTERRUPTED, err
    assert "error: interrupted" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("wait", _WAITS)
def test_a_signal_ends_a_run_that_waits_for(wait: str, stage: _Stage, tmp_path: Path) -> None:
    with serving(_WAITS[wait](stage)) as url:
        stop(tmp_path, (*_RUN, "--source", url), stage.reached, signal.SIGTERM)


@pytest.mark.parametrize("wait", ["the head", "the body", "the next try"])
def test_a_signal_ends_a_backfill_that_waits_for(wait: str, stage: _Stage, tmp_path: Path) -> None:
    with serving(_WAITS[wait](stage)) as url:
        stop(tmp_path, (*_BACKFILL, "--source", url), stage.reached, signal.SIGTERM)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_search_for_the_newest_hour(number: signal.Signals, stage: _Stage, tmp_path: Path) -> None:
    with serving(stage.silence) as url:
        stop(tmp_path, ("run", "--source", url), stage.reached, number)


@pytest.mark.parametrize("words", [_RUN, _BACKFILL], ids=["run", "backfill"])
def test_a_signal_ends_the_wait_for_a_connection(words: tuple[object, ...], tmp_path: Path) -> None:
    with a_full_queue() as url:
        stop(tmp_path, (*words, "--source", url), None, signal.SIGTERM)


def test_a_signal_ends_the_wait_for_an_hour_that_another_run_has(stage: _Stage, tmp_path: Path) -> None:
    with serving(stage.silence) as url, Lake.at(str(tmp_path / "lake")).lock(HOUR) as held:
        assert held
        stop(tmp_path, (*_BACKFILL, "--source", url), None, signal.SIGTERM)


def test_a_signal_ends_the_wait_of_a_rate_limit(tmp_path: Path) -> None:
    reached = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.sendall(head(f"Content-Length: {len(NOISE)}") + NOISE)
        reached.set()

    with serving(serve) as url:
        stop(tmp_path, (*_BACKFILL, "--max-rate", "1KB", "--source", url), reached, signal.SIGTERM)
