"""Decides which sources of an hour to read, and records the answer of each for the manifest.

``etl.archive.availability`` ranks the answers of all sources. This module compares them with what is stored and with
what was read so far. Every source that was asked gets an entry in the hour's manifest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from etl.archive.availability import MARGIN, Answer, clearly_more
from etl.archive.source import Amount, Promise, Source
from etl.events.schema import SCHEMA_VERSION
from etl.hours import Hour
from etl.lake.manifest import Content, Manifest, SourceAnswer, SourceReply, Status

STORED_ALREADY: Final = "the lake has this version"


class Completeness(StrEnum):
    """How to choose among several sources of an hour."""

    FULLEST = "fullest"
    """Use the source that has the most of it."""
    FIRST = "first"
    """Use the first source that has it."""


def asks_before_reading(sources: Sequence[object], completeness: Completeness) -> bool:
    """Returns whether all sources are asked before one is read: only if there is more than one."""
    return completeness is not Completeness.FIRST and len(sources) > 1


class Read(Protocol):
    """An hour as read from a source."""

    @property
    def documents(self) -> int:
        """Number of documents found."""

    @property
    def events(self) -> int:
        """Number of documents that became events."""

    @property
    def received(self) -> int:
        """Compressed bytes received."""

    @property
    def etag(self) -> str | None:
        """The version of the file, as the source names it."""

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes."""

    @property
    def is_sound(self) -> bool:
        """Whether all of it could be read, and agrees with what the source announced."""

    @property
    def is_other_hour(self) -> bool:
        """Whether its events are those of another hour."""


@dataclass(kw_only=True)
class Candidate:
    """One source of an hour.

    Attributes:
        source: The source.
        url: The address of its file.
        reply: Kind of its answer; None if it was not asked.
        promise: What it has according to its answer.
        cause: Why it could not be asked or read.
        read: The hour as read from it.
        taken: Whether the stored hour is from it.
        why: Why it was used, or not.
    """

    source: Source
    url: str
    reply: SourceReply | None = None
    promise: Promise | None = None
    cause: str | None = None
    read: Read | None = None
    taken: bool = False
    why: str = ""

    @classmethod
    def of(cls, source: Source, hour: Hour) -> Candidate:
        """Returns a candidate for a source that was not asked."""
        return cls(source=source, url=source.url(hour))

    @classmethod
    def of_answer(cls, answer: Answer) -> Candidate:
        """Returns a candidate for a source and its answer."""
        reply = SourceReply.PROMISED
        if answer.promise is None:
            reply = SourceReply.ABSENT if answer.is_absent else SourceReply.DOWN
        made = cls(source=answer.source, url=answer.url, reply=reply, promise=answer.promise, cause=answer.cause)
        if reply is SourceReply.ABSENT:
            made.why = "it does not have the hour"
        elif reply is SourceReply.DOWN:
            made.why = "it could not be asked"
        return made

    def failed(self, reply: SourceReply, why: str, cause: str | None = None) -> None:
        """Records that the hour could not be read from it."""
        self.reply, self.why, self.cause = reply, why, cause

    def record(self) -> SourceAnswer | None:
        """Returns the entry for the manifest; None for a source that was not asked."""
        if self.reply is None:
            return None
        promise, read = self.promise or Promise(None), self.read
        sidecar = promise.sidecar
        return SourceAnswer(
            address=self.url,
            answer=self.reply,
            cause=self.cause,
            bytes=promise.bytes if read is None else read.received,
            etag=promise.etag if read is None else read.etag,
            sha256=read.sha256 if read is not None else None if sidecar is None else sidecar.sha256,
            promised_events=promise.amount.events,
            documents=None if read is None else read.documents,
            events=None if read is None else read.events,
            taken=self.taken,
            why=self.why,
        )


@dataclass(frozen=True)
class SourceChoice:
    """The sources of an hour that are read.

    Attributes:
        order: Sources that are worth reading, best first.
        asked: All sources, in the configured order.
        surveyed: Whether all were asked before.
    """

    order: Sequence[Candidate]
    asked: Sequence[Candidate]
    surveyed: bool


def records(candidates: Iterable[Candidate]) -> list[SourceAnswer]:
    """Returns the entries of all sources that were asked."""
    return [record for candidate in candidates if (record := candidate.record()) is not None]


def amount_of(read: Read) -> Amount:
    """Returns how much was read."""
    return Amount(read.documents, read.received)


def stored_amount(content: Content) -> Amount:
    """Returns how much of an hour is stored, in the units of the answers."""
    return Amount(content.documents, content.source.bytes)


def may_be_fuller(candidate: Candidate, best: Read) -> bool:
    """Returns whether to read a source although another one was read already.

    After an undamaged reading, only a source that announces clearly more is read. After a damaged one, every source is
    read that does not announce clearly less.
    """
    promised = (candidate.promise or Promise(None)).amount
    if best.is_other_hour:
        return True
    if best.is_sound:
        return clearly_more(promised, amount_of(best)) is True
    return clearly_more(amount_of(best), promised) is not True


def is_better(one: Read, other: Read) -> bool:
    """Returns whether a later reading replaces an earlier one: if it has clearly more events, or is the undamaged one.

    A reading of another hour is only used if there is no other.
    """
    if one.is_other_hour or other.is_other_hour:
        return other.is_other_hour and not one.is_other_hour
    if one.events > MARGIN * other.events:
        return True
    return other.events <= MARGIN * one.events and one.is_sound and not other.is_sound


class Stored:
    """The stored version of an hour, which answers are compared with.

    Args:
        manifest: The manifest of an hour with events.
        content: Its content.
        emails: The current e-mail policy.
    """

    def __init__(self, manifest: Manifest, content: Content, emails: str) -> None:
        self._content = content
        self._amount = stored_amount(content)
        self._known = {answer.address: answer for answer in manifest.sources}
        self._same_settings = (content.emails, content.schema_version) == (emails, SCHEMA_VERSION)

    def worth_reading(self, candidate: Candidate, *, own_changes: bool) -> bool:
        """Returns whether a source may have more than what is stored, or another version of it.

        Args:
            candidate: A source that was asked.
            own_changes: Whether to read another version of the stored file if it is not clearly smaller.
        """
        promise = candidate.promise
        if promise is None:
            return False
        if self._same_settings and self._was_read(candidate, promise):
            candidate.why = STORED_ALREADY if candidate.url == self._content.source.address else "it was read before"
            return False
        if self._content.status is Status.PARTIAL:
            return clearly_more(self._amount, promise.amount) is not True
        if own_changes and candidate.url == self._content.source.address:
            return clearly_more(self._amount, promise.amount) is not True
        return clearly_more(promise.amount, self._amount) is True

    def _was_read(self, candidate: Candidate, promise: Promise) -> bool:
        """Whether this version was read completely before."""
        source = self._content.source
        if candidate.url == source.address:
            # A truncated file may have been damaged in transit; a sidecar would show it.
            sound = not source.interrupted or source.sidecar
            return sound and _same_version(promise, source.etag, source.sha256)
        known = self._known.get(candidate.url)
        if known is None or known.documents is None:
            return False
        return _same_version(promise, known.etag, known.sha256)


def _same_version(promise: Promise, etag: str | None, sha256: str | None) -> bool:
    if promise.sidecar is not None and promise.sidecar.sha256 is not None:
        return promise.sidecar.sha256 == sha256
    return promise.etag is not None and promise.etag == etag


def explain_choice(asked: Sequence[Candidate], taken: Candidate, *, first_choice: bool, by_size: bool) -> None:
    """Sets the reason for each source that has none yet: why it was used, or not.

    Args:
        asked: All sources.
        taken: The source that the hour is stored from.
        first_choice: Whether it was the best of the ranking.
        by_size: Whether the sources' answers decided, and not the configured order.
    """
    taken.taken = True
    others = [each for each in asked if each is not taken and each.promise is not None]
    if not by_size:
        taken.why = "it is the first source that has the hour" if len(asked) > 1 else "it is the only source"
    elif not first_choice:
        taken.why = "it is the best of what could be read"
    elif not others:
        taken.why = "no other source has the hour"
    elif all(clearly_more(_promised(taken), _promised(each)) for each in others):
        taken.why = "it promises clearly more than the others"
    else:
        taken.why = "it comes first of those that promise about as much"
    for each in others:
        if each.why:
            continue
        if each.read is not None and taken.read is not None:
            each.why = f"{each.read.events:,} events could be read, and {taken.read.events:,} of the one taken"
        else:
            each.why = "it promises no more"


def _promised(candidate: Candidate) -> Amount:
    return (candidate.promise or Promise(None)).amount
