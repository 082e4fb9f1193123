"""Starts the worker processes of backfills.

On Linux they are forked from a server process that has imported everything they need, which would take each of them
most of a second. Elsewhere fork is unsafe (macOS) or unavailable, and they are spawned.
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
"""Signals that stop the program after a cleanup."""

_PRELOADED: Final = "etl.backfill.worker"


@cache
def context() -> ForkServerContext | SpawnContext:
    """Returns the multiprocessing context for worker processes and pipes to them.

    If workers are forked, this starts the fork server, which imports in parallel to this process. It ends with this
    process, and its environment is the current one.
    """
    if sys.platform == "linux":
        forking = multiprocessing.get_context("forkserver")
        forking.set_forkserver_preload([_PRELOADED])
        # The fork server cannot start if the folder for temporary files has no space for its socket.
        with suppress(OSError), signals_waiting():
            ensure_running()
            return forking
    return multiprocessing.get_context("spawn")


@contextmanager
def signals_waiting() -> Iterator[None]:
    """Blocks stop signals during the block; a process that is started inside starts with them blocked.

    Ctrl-C during its start would end it with a traceback, and a fork server must survive it.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
