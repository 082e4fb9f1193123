"""What each source promises of an hour, and in which order to fetch from them.

The archive at times publishes a hundredth of an hour that a mirror has whole, so the first source that has an hour is
not always the one to take. Before a download every source is asked at once, by one short request as a rule
(``Source.describe``). A source that does not answer in time costs that time and nothing else: it goes to the end of the
order.

**The rule.** All promises of an hour are compared in one unit, because comparing each pair in the unit that this pair
shares can lead round in a circle:

* events, if every source that has the hour says how many (a manifest beside the file);
* else compressed bytes, if every one of them says how many. They do not depend on events alone: one source may compress
  better than another. Where that decides wrongly, two files of about the same size were compared, and little is lost;
* else events, estimated where only bytes are known: by the bytes per event of the sources that say both, or
  ``BYTES_AN_EVENT``. An estimate may be wrong by ``ESTIMATE_FACTOR`` either way, so it decides only beyond that.

A promise that is over 5 % larger (``MARGIN``) wins; within 5 % the configured order decides. Behind the promises come
sources that have the hour and do not say how large it is, then those that could not be asked, then those that do not
have it.
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
"""A source has clearly more than another if it has more than so many times as much."""
BYTES_AN_EVENT: Final = 600
"""Compressed bytes of an event. GH Archive's hours of 2024 and 2025 have 577 to 600 (90 to 150 MB, 150 to 260 thousand
events), the mirror's 2026-09-09-15 has 578."""
ESTIMATE_FACTOR: Final = 2.0
"""An estimated number of events may be wrong by this factor: a pull request has many times the bytes of a star."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answer:
    """What one source said when it was asked for an hour.

    Attributes:
        source: The source.
        url: The address of its file.
        promise: What it has; None if it does not have the hour or could not be asked.
        cause: Why it could not be asked; None if it answered.
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
    """Asks all sources at once what they have of an hour; makes one attempt at each, and never fails.

    Args:
        sources: The sources.
        hour: Which hour.
        timeout: Seconds after which a source that has not answered counts as down.

    Returns:
        An answer of each source, in their order.
    """
    heard: SimpleQueue[tuple[int, Answer]] = SimpleQueue()
    deadline = time.monotonic() + timeout
    for place, source in enumerate(sources):
        # Not a pool: its threads are waited for at exit, and looking up a host name cannot be given up.
        threading.Thread(
            target=lambda place=place, source=source: heard.put((place, _ask(source, hour, timeout))),
            name="survey",
            daemon=True,
        ).start()
    answers = {
        place: Answer(source, source.url(hour), cause=f"no answer within {timeout:g} s")
        for place, source in enumerate(sources)
    }
    for _ in sources:
        try:
            place, answer = heard.get(timeout=max(0.0, deadline - time.monotonic()))
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
    """Puts answers into the order in which to fetch; see the module for the rule.

    Args:
        answers: Of all sources, in the configured order.
    """
    answers = list(answers)
    sized = [answer for answer in answers if answer.promise is not None and answer.promise.amount.is_known]
    unsized = [answer for answer in answers if answer.promise is not None and answer not in sized]
    down = [answer for answer in answers if answer.cause is not None]
    absent = [answer for answer in answers if answer.is_absent]
    return [*_by_size(sized), *unsized, *down, *absent]


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
        # Two estimates by one ratio are as sure as the bytes they were made of.
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
