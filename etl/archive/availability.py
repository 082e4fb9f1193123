"""Asks all sources how much they have of an hour, and ranks them.

The archive sometimes publishes a hundredth of an hour that a mirror has completely, so the first source that has an
hour is not always the best one. Before a download all sources are asked in parallel, usually by one short request
(``Source.describe``). A source that does not answer within the timeout is ranked last.

**The rule.** All answers for an hour are compared in one unit. If each pair were compared in its own unit, the order
could be circular. The unit is

* events, if every source that has the hour states their number (in a sidecar manifest);
* otherwise compressed bytes, if every one of them states the size. One source may compress better than another, so this
  can be wrong, but only if the two files are of about the same size;
* otherwise events, estimated from bytes where only these are known: by the bytes per event of the sources that state
  both, or ``BYTES_AN_EVENT``. An estimate may be wrong by ``ESTIMATE_FACTOR`` in both directions, so smaller
  differences are ignored.

An answer that is over 5 % larger (``MARGIN``) ranks higher; within 5 % the configured order decides. Then follow
sources that have the hour but do not state its size, then those that did not answer, then those that do not have it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from statistics import median
from typing import Final

import structlog

from etl.archive.source import Amount, Promise, Source
from etl.errors import EtlError
from etl.hours import Hour

MARGIN: Final = 1.05
"""A source has clearly more than another if it has more than this multiple."""
BYTES_AN_EVENT: Final = 600
"""Compressed bytes of an event. GH Archive's hours of 2024 and 2025 have 577 to 600 (90 to 150 MB, 150 to 260 thousand
events), the mirror's 2026-09-09-15 has 578."""
ESTIMATE_FACTOR: Final = 2.0
"""An estimated number of events may be wrong by this factor: a pull request is many times as large as a star."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of one source about an hour.

    Attributes:
        source: The source.
        url: The address of its file.
        promise: What it has; None if it does not have the hour or could not be asked.
        cause: Why there is no answer; None if there is one.
    """

    source: Source
    url: str
    promise: Promise | None = None
    cause: str | None = None

    @property
    def is_absent(self) -> bool:
        """Whether the source says that it does not have the hour."""
        return self.promise is None and self.cause is None


def survey(sources: Sequence[Source], hour: Hour, *, timeout: float) -> list[Answer]:
    """Asks all sources in parallel what they have of an hour. Each is asked once; errors become answers.

    Args:
        sources: The sources.
        hour: Which hour.
        timeout: Seconds after which a source without an answer counts as down.

    Returns:
        One answer per source, in the same order.
    """
    replies: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
    deadline = time.monotonic() + timeout
    for place, source in enumerate(sources):
        # Not a pool: Python waits for its threads at exit, and a name lookup cannot be cancelled.
        threading.Thread(
            target=lambda place=place, source=source: replies.put((place, _ask(source, hour, timeout))),
            name="survey",
            daemon=True,
        ).start()
    answers = {
        place: Answer(source, source.url(hour), cause=f"no answer within {timeout:g} s")
        for place, source in enumerate(sources)
    }
    for _ in sources:
        try:
            place, answer = replies.get(timeout=max(0.0, deadline - time.monotonic()))
        except Empty:
            break
        answers[place] = answer
    for answer in answers.values():
        if answer.cause is not None:
            _log.warning("source does not answer", hour=str(hour), source=answer.source.address, cause=answer.cause)
    return list(answers.values())


def _ask(source: Source, hour: Hour, timeout: float) -> Answer:
    url = source.url(hour)
    try:
        return Answer(source, url, promise=source.describe(hour, timeout=timeout))
    except EtlError as error:
        return Answer(source, url, cause=error.message)
    except Exception as error:  # noqa: BLE001 -- asking must not end a run; a download will show what is wrong
        return Answer(source, url, cause=f"unexpected {type(error).__name__}")


def ranked(answers: Iterable[Answer]) -> list[Answer]:
    """Returns answers in the order in which to fetch; the module docstring has the rule.

    Args:
        answers: The answers of all sources, in the configured order.
    """
    answers = list(answers)
    sized = [answer for answer in answers if answer.promise is not None and answer.promise.amount.is_known]
    unsized = [answer for answer in answers if answer.promise is not None and answer not in sized]
    down = [answer for answer in answers if answer.cause is not None]
    absent = [answer for answer in answers if answer.is_absent]
    return [*_by_size(sized), *unsized, *down, *absent]


def sizes(answers: Sequence[Answer]) -> list[float]:
    """Returns how much each source has of an hour, in the unit that the ranking compares; 0 if that is not known."""
    known = [answer for answer in answers if answer.promise is not None and answer.promise.amount.is_known]
    size_of = {id(measured.answer): measured.size for measured in _measured(known)}
    return [size_of.get(id(answer), 0) for answer in answers]


def clearly_more(one: Amount, other: Amount) -> bool | None:
    """Returns whether one amount is over 5 % larger than another; None if they have no unit in common."""
    if one.events is not None and other.events is not None:
        return one.events > MARGIN * other.events
    if one.bytes is not None and other.bytes is not None:
        return one.bytes > MARGIN * other.bytes
    return None


@dataclass(frozen=True, slots=True)
class _Measured:
    """An answer with its amount in the unit that is common to all."""

    answer: Answer
    size: float
    estimated: bool

    def clearly_exceeds(self, other: _Measured) -> bool:
        # Two estimates with the same ratio are as reliable as the bytes they are computed from.
        sure = self.estimated == other.estimated
        return self.size > other.size * (MARGIN if sure else ESTIMATE_FACTOR)


def _by_size(answers: Sequence[Answer]) -> list[Answer]:
    """Takes again and again the first in order that none of the others clearly exceeds; the largest never is."""
    left = _measured(answers)
    ordered = []
    while left:
        chosen = next(one for one in left if not any(other.clearly_exceeds(one) for other in left))
        left.remove(chosen)
        ordered.append(chosen.answer)
    return ordered


def _measured(answers: Sequence[Answer]) -> list[_Measured]:
    pairs = [(answer, answer.promise.amount) for answer in answers if answer.promise is not None]
    for unit in ("events", "bytes"):
        sizes = [getattr(amount, unit) for _, amount in pairs]
        if None not in sizes:
            return [_Measured(answer, size, estimated=False) for (answer, _), size in zip(pairs, sizes, strict=True)]
    both = [amount.bytes / amount.events for _, amount in pairs if amount.bytes and amount.events]
    ratio = median(both) if both else BYTES_AN_EVENT
    return [
        _Measured(
            answer, (amount.bytes or 0) / ratio if amount.events is None else amount.events, amount.events is None
        )
        for answer, amount in pairs
    ]
