"""Starts the program in a process of its own, as a person or a scheduler does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
_PATIENCE_SECONDS: Final = 250


@dataclass(frozen=True)
class Done:
    """A process that has ended.

    Attributes:
        code: Its exit code; negative for the signal that ended it.
        out: What it wrote to standard output.
        err: What it wrote to standard error.
    """

    code: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """Its one last word, which begins with ``error:``."""
        (line,) = (line for line in self.err.splitlines() if line.startswith("error: "))
        return line

    @property
    def hint(self) -> str:
        """What it tells to do; empty where it says nothing."""
        return "".join(line for line in self.err.splitlines() if line.startswith("hint: "))


def clean_environment() -> dict[str, str]:
    """The environment without settings and proxies, and with little patience for sources."""
    theirs = ("GHARCHIVE_", "COLUMNS", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
    ours = {name: value for name, value in os.environ.items() if not name.upper().startswith(theirs)}
    patience = {"ATTEMPTS": "2", "BACKOFF_FIRST": "0.01", "BACKOFF_MAX": "0.01", "READ_TIMEOUT": "20"}
    return ours | {f"GHARCHIVE_{name}": value for name, value in patience.items()}


def start(
    folder: Path, *words: object, env: Mapping[str, str] | None = None, limit: int | None = None
) -> subprocess.Popen[str]:
    """Starts ``python etl`` in a folder and does not wait.

    Args:
        folder: Where it works.
        words: What stands behind ``python etl``.
        env: What stands in its environment besides.
        limit: KiB that no file it writes may exceed, which simulates a full disk.
    """
    command = [sys.executable, str(ROOT / "etl"), *map(str, words)]
    if limit is not None:
        command = ["bash", "-c", f'ulimit -f {limit} && exec "$@"', "bash", *command]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=clean_environment() | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def etl(folder: Path, *words: object, env: Mapping[str, str] | None = None, limit: int | None = None) -> Done:
    """Runs ``python etl`` in a folder to its end; it never ends with a traceback."""
    with start(folder, *words, env=env, limit=limit) as process:
        out, err = process.communicate(timeout=_PATIENCE_SECONDS)
    assert "Traceback" not in err, "a traceback; not shown, since it may hold content of the archive"
    return Done(process.returncode, out, err)
