"""The processes that bring hours, as their parent sees them: given hours, listened to, replaced when they die.

Each has a pipe of its own and shares no lock with anybody, so that the death of one, at any instant, is the end
of its pipe and of nothing else.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Final, Self

from etl.backfill.summary import HourReport
from etl.backfill.worker import GRACE_SECONDS, Job, Logged, Message, Progress, Ready, work
from etl.errors import EtlError
from etl.hours import Hour
from etl.runtime.process_context import context, signals_waiting

__all__ = ["Crew", "CrewError", "Heard", "Lost", "Progress", "Unbegun"]

_STILLBORN_BORNE: Final = 20
"""So many workers in a row may end before they began."""


class CrewError(EtlError):
    """Worker processes cannot be started."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker died over an hour.

    Attributes:
        hour: Which hour.
        why: How it died, in words.
    """

    hour: Hour
    why: str


@dataclass(frozen=True, slots=True)
class Unbegun:
    """A worker died before it could begin the hour it was given."""

    hour: Hour


Heard = Progress | HourReport | Lost | Unbegun
"""What may be heard of hours that were given."""


class Crew:
    """Up to so many workers; a context manager that leaves none of them behind.

    When its block ends well they are let go after what they do; when it ends in an error, Ctrl-C for one, they
    are told to stop, and killed if they do not within a few seconds.

    Args:
        size: Most workers at once; each is started when there is an hour for it.
        job: What they have to know.
    """

    def __init__(self, size: int, job: Job) -> None:
        self._size = size
        self._job = job
        self._hands: list[_Hand] = []
        self._stillborn = 0

    def __enter__(self) -> Self:
        """Gives the crew itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Ends all workers."""
        for hand in self._hands:
            hand.let_go(at_once=error is not None)
        for hand in self._hands:
            hand.await_end()

    @property
    def busy(self) -> bool:
        """Whether any worker has an hour."""
        return any(hand.hour is not None for hand in self._hands)

    @property
    def has_room(self) -> bool:
        """Whether an hour can be given now."""
        return len(self._hands) < self._size or any(hand.hour is None for hand in self._hands)

    def give(self, hour: Hour) -> None:
        """Gives an hour to an idle worker, or to a new one; there has to be room."""
        hand = next((hand for hand in self._hands if hand.hour is None), None)
        if hand is None:
            hand = _Hand()
            # Known before it runs, so that it is ended whatever happens next.
            self._hands.append(hand)
            hand.start(self._job)
        hand.give(hour)

    def listen(self, timeout: float | None = None) -> Iterator[Heard]:
        """Waits until a worker says something or dies, and yields what there is.

        Args:
            timeout: For how many seconds at most; None for as long as it takes.

        Raises:
            CrewError: If one worker after the other dies before it has begun.
        """
        pipes = {hand.pipe: hand for hand in self._hands}
        for pipe in wait(list(pipes), timeout):
            if isinstance(pipe, Connection):
                yield from self._hear(pipes[pipe])

    def _hear(self, hand: _Hand) -> Iterator[Heard]:
        try:
            message: Message = hand.pipe.recv()
        except (EOFError, OSError):
            yield from self._bury(hand)
            return
        match message:
            case Ready():
                hand.began = True
                self._stillborn = 0
            case Logged(text):
                sys.stderr.write(text)
                sys.stderr.flush()
            case HourReport():
                hand.hour = None
                yield message
            case Progress():
                yield message

    def _bury(self, hand: _Hand) -> Iterator[Heard]:
        self._hands.remove(hand)
        # Its pipe has ended, so it is dead, or about to be; to be told to stop would change how it ended.
        hand.let_go(at_once=False)
        hand.await_end()
        if not hand.began:
            self._stillborn += 1
            if self._stillborn > _STILLBORN_BORNE:
                raise CrewError(
                    f"worker processes end as soon as they are started: {hand.fate}",
                    hint="run one hour alone, which needs no other process: run --at HOUR",
                )
        if hand.hour is not None:
            yield Lost(hand.hour, hand.fate) if hand.began else Unbegun(hand.hour)


class _Hand:
    """One worker process.

    Attributes:
        pipe: To speak with it.
        hour: What it is at; None when it is idle.
        began: Whether it has said a word.
    """

    def __init__(self) -> None:
        self.pipe, self._theirs = context().Pipe()
        self.hour: Hour | None = None
        self.began = False
        self._process: BaseProcess | None = None

    def start(self, job: Job) -> None:
        """Starts the process."""
        # Its signals wait until it can treat them.
        with signals_waiting():
            process = context().Process(target=work, args=(self._theirs, job), name="backfill", daemon=True)
            process.start()
            self._process = process
        self._theirs.close()

    def give(self, hour: Hour) -> None:
        """Sends it an hour. That it has died is heard when it is listened to."""
        self.hour = hour
        with suppress(OSError):
            self.pipe.send(hour)

    def let_go(self, *, at_once: bool) -> None:
        """Tells it that there is nothing more to do, or to stop what it does."""
        # One that has not begun does not hear signals yet, and has nothing to put away.
        began = self.began or self.pipe.poll()
        self._theirs.close()
        self.pipe.close()
        if at_once and self._process is not None:
            if began:
                self._process.terminate()
            else:
                self._process.kill()

    def await_end(self) -> None:
        """Waits for its end, not too long."""
        if self._process is None:
            return
        self._process.join(GRACE_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()

    @property
    def fate(self) -> str:
        """How it ended, in words."""
        code = None if self._process is None else self._process.exitcode
        if code is None or code >= 0:
            return f"its process ended with exit code {code}"
        name = signal.Signals(-code).name
        if -code == signal.SIGKILL:
            return f"its process was killed ({name}); if nobody did it, the machine was short of memory"
        return f"its process was killed ({name})"
