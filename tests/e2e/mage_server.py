"""Runs a real Mage server the way ``python etl mage serve`` starts it, and kills it where a test wants that."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from etl.lake.lake import Lake
from etl.mage.client import MageClient
from tests import tools
from tests.e2e.processes import await_end, kill_group
from tests.e2e.running import ROOT, clean_environment
from tests.network import free_port

OWNER: Final = "owner@localhost"
PASSWORD: Final = "a password of these tests"  # noqa: S105
SECONDS: Final = 150.0
"""How long anything of a server may take on a machine that does other things besides."""


def project_copy(folder: Path) -> Path:
    """A copy of the project, so that nothing a server writes gets into the checkout."""
    return shutil.copytree(
        ROOT / "mage_pipeline", folder / "mage_pipeline", ignore=shutil.ignore_patterns("__pycache__", ".*")
    )


def until(look: Callable[[], Any], what: str, *, seconds: float = SECONDS) -> Any:
    """Polls until there is a value, and returns it."""
    end = time.monotonic() + seconds
    while not (seen := look()):
        assert time.monotonic() < end, f"{what} did not come"
        time.sleep(0.5)
    return seen


@dataclass
class Server:
    """A server, and the folders it works with.

    Attributes:
        folder: Where all of it lies.
        sources: Where it fetches from.
        words: What stands behind ``mage serve`` besides.
        env: What stands in its environment besides.
        port: Where it listens.
        process: The program; None while it does not run.
    """

    folder: Path
    sources: str
    words: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None
    _client: MageClient | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def lake(self) -> Lake:
        return Lake.at(str(self.folder / "lake"))

    @property
    def log(self) -> str:
        """What the command printed, and what the server wrote."""
        files = (self.folder / "server.log", self.folder / "server/server.log")
        return "".join(file.read_text(encoding="utf-8", errors="replace") for file in files if file.exists())

    def client(self) -> MageClient:
        """One who is signed in; once for each start, as that takes the server seconds when the machine is busy."""
        self._client = self._client or MageClient(self.address, OWNER, PASSWORD)
        return self._client

    def staged(self) -> list[str]:
        """Returns the names in the staging folder."""
        root = self.folder / "spool"
        return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())

    def start(self) -> None:
        """Starts it, and waits until its owner can sign in."""
        self.port = self.port or free_port()
        self._client = None
        project = self.folder / "mage_pipeline"
        command = [
            *(sys.executable, str(ROOT / "etl"), "mage", "serve", "--port", str(self.port)),
            *("--folder", str(self.folder / "server"), "--project", str(project)),
            *("--source", self.sources, "--lake", str(self.folder / "lake")),
            *("--warehouse", str(self.folder / "warehouse"), *self.words),
        ]
        environment = clean_environment() | {
            "DEFAULT_OWNER_PASSWORD": PASSWORD,
            "GHARCHIVE_SPOOL": str(self.folder / "spool"),
            "PYTHONUNBUFFERED": "1",
            **self.env,
        }
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, process_group=0
            )
        said = f"Mage is at {self.address}"
        before = self.log.count(said)
        until(lambda: self._runs() and self.log.count(said) > before, "the server")

    def kill(self) -> None:
        """Kills all of it with SIGKILL, as when the machine goes down: the program and what it started."""
        assert self.process is not None
        children = tree(self.process.pid)
        kill_group(self.process.pid)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self.process.wait()
        assert await_end(self.process.pid) == []
        until(lambda: not living(children), "the end of the server")
        self.process = None

    def stop(self) -> None:
        """Ends it as Ctrl-C does."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        finally:
            kill_group(self.process.pid)

    def _runs(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, "the server ended: " + self.log[-3000:]
        return True


@contextmanager
def serving(
    folder: Path, sources: str, *words: str, env: Mapping[str, str] | None = None, project: Path | None = None
) -> Iterator[Server]:
    """A running server; skips where Mage is not installed."""
    tools.get("mage")
    if project is None:
        project_copy(folder)
    server = Server(folder, sources, words, dict(env or {}))
    try:
        server.start()
        yield server
    finally:
        server.stop()


def tree(leader: int) -> list[int]:
    """All processes below one, in whatever group."""
    found, waiting = [], [leader]
    while waiting:
        parent = waiting.pop()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):
                if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                    found.append(int(stat.parent.name))
                    waiting.append(found[-1])
    return found


def living(processes: list[int]) -> list[int]:
    """Those of some processes that are there still."""
    return [process for process in processes if Path(f"/proc/{process}/stat").exists()]
