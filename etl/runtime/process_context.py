"""How the processes begin that bring many hours.

On Linux they are forked from one that does nothing else than import what they need: that takes most of a second, which
each of them would take for itself. Elsewhere a fork is not safe (macOS), or not to be had, and each is spawned.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from multiprocessing.forkserver import ensure_running
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext, SpawnContext

STOP_SIGNALS: Final = frozenset({signal.SIGINT, signal.SIGTERM})
"""What ends a program that puts its things away first."""

_PRELOADED: Final = "etl.backfill.worker"


@cache
def context() -> ForkServerContext | SpawnContext:
    """Returns what makes such processes, and pipes to them.

    Where they are forked, the one that they are forked from begins with its imports now, beside this process; it ends
    with this one, and its environment is that of now.
    """
    if sys.platform == "linux":
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload([_PRELOADED])
        # Without room for its socket in the folder for temporary files, there is no such process.
        with suppress(OSError), signals_waiting():
            ensure_running()
            return forking
    return multiprocessing.get_context("spawn")


@contextmanager
def signals_waiting() -> Iterator[None]:
    """Lets the signals that stop a program wait; a process that is started meanwhile begins with them waiting.

    Ctrl-C in its first instants would end in a traceback, and one that others are forked from has to outlive it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
