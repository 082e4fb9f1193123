"""Looks at the processes of a run and kills them; Linux only, since it reads /proc."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

PROC: Final = Path("/proc")
_PATIENCE_SECONDS: Final = 30
_FORKING: Final = b"multiprocessing.forkserver"


class _Process(NamedTuple):
    number: int
    parent: int
    group: int


def group(leader: int) -> list[int]:
    """The living processes of a group; those that are dead and only not buried yet do not count."""
    return sorted(process.number for process in _living() if process.group == leader)


def workers(parent: int) -> list[int]:
    """The processes that do the hours of a run: they are forked from a child of it."""
    living = list(_living())
    forking = {process.number for process in living if process.parent == parent and _forks(process.number)}
    return sorted(process.number for process in living if process.parent in forking)


def kill(process: int) -> bool:
    """Kills one process with SIGKILL; whether it was there."""
    try:
        os.kill(process, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def kill_group(leader: int) -> None:
    """Kills all of a run at once."""
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def await_end(leader: int) -> list[int]:
    """Waits until a process group is empty; returns the processes that remain."""
    until = time.monotonic() + _PATIENCE_SECONDS
    while left := group(leader):
        if time.monotonic() > until:
            return left
        time.sleep(0.02)
    return []


def _living() -> Iterator[_Process]:
    for entry in PROC.iterdir():
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            # The name of the program stands in brackets and may hold anything; behind it: state, parent, group.
            state, parent, its_group = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
            if state not in {"Z", "X"}:
                yield _Process(int(entry.name), int(parent), int(its_group))


def _forks(process: int) -> bool:
    with suppress(OSError):
        return _FORKING in (PROC / str(process) / "cmdline").read_bytes()
    return False
