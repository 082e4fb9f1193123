"""Which sources of an hour to read, and what to say of each of them afterwards.

``etl.archive.availability`` puts the answers of all sources in order; here they are compared with what is stored and
with what has been read so far. Every source leaves an entry in the hour's manifest, read or not.
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
    """The source that has the most of it."""
    FIRST = "first"
    """The first that has it."""


def asks_before_reading(sources: Sequence[object], completeness: Completeness) -> bool:
    """Returns whether sources are asked what they have before one is read: only where there is a choice to make."""
    return completeness is not Completeness.FIRST and len(sources) > 1


class Read(Protocol):
    """What was read from a source."""

    @property
    def documents(self) -> int:
        """Documents that were found."""

    @property
    def events(self) -> int:
        """Documents that became events."""

    @property
    def received(self) -> int:
        """Compressed bytes."""

    @property
    def etag(self) -> str | None:
        """The source's name for this version."""

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes."""

    @property
    def is_sound(self) -> bool:
        """Whether all of it could be read, as far as the source's own words go."""

    @property
    def is_other_hour(self) -> bool:
        """Whether its events are those of another hour."""


@dataclass(kw_only=True)
class Candidate:
    """One source of an hour.

    Attributes:
        source: The source.
        url: The address of its file.
        reply: What it said; None as long as it was not asked.
        promise: What it has, as far as it said so.
        cause: Why it could not be asked or read.
        read: What was read from it.
        taken: Whether the stored hour is from it.
        why: Why it was taken, or not.
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
        """Returns a source that was not asked."""
        return cls(source=source, url=source.url(hour))

    @classmethod
    def of_answer(cls, answer: Answer) -> Candidate:
        """Returns a source as it answered."""
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
        """Notes that it did not give the hour."""
        self.reply, self.why, self.cause = reply, why, cause

    def record(self) -> SourceAnswer | None:
        """Returns the entry of the manifest; None for a source that was not asked."""
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
    """Which sources of an hour are to be read.

    Attributes:
        order: Those that are worth it, the first choice first.
        asked: All sources, in the configured order.
        surveyed: Whether they were asked before.
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
    """Returns how much of an hour is stored, comparable with promises."""
    return Amount(content.documents, content.source.bytes)


def may_be_fuller(candidate: Candidate, best: Read) -> bool:
    """Returns whether a source is worth a download although something was read already.

    After a sound reading only a source that promises clearly more is; after a damaged one every source is that does
    not promise clearly less.
    """
    promised = (candidate.promise or Promise(None)).amount
    if best.is_other_hour:
        return True
    if best.is_sound:
        return clearly_more(promised, amount_of(best)) is True
    return clearly_more(amount_of(best), promised) is not True


def is_better(one: Read, other: Read) -> bool:
    """Returns whether a later reading is to be kept in place of an earlier one: clearly more events, else soundness.

    A reading of another hour is only kept if there is nothing else.
    """
    if one.is_other_hour or other.is_other_hour:
        return other.is_other_hour and not one.is_other_hour
    if one.events > MARGIN * other.events:
        return True
    return other.events <= MARGIN * one.events and one.is_sound and not other.is_sound


class Stored:
    """What the lake has of an hour, to compare with what sources promise.

    Args:
        manifest: The manifest of an hour with events.
        content: Its content.
        emails: The e-mail policy that is set now.
    """

    def __init__(self, manifest: Manifest, content: Content, emails: str) -> None:
        self._content = content
        self._amount = stored_amount(content)
        self._known = {answer.address: answer for answer in manifest.sources}
        self._same_terms = (content.emails, content.schema_version) == (emails, SCHEMA_VERSION)

    def worth_reading(self, candidate: Candidate, *, own_changes: bool) -> bool:
        """Returns whether a source may have more than what is stored, or has another version of it.

        Args:
            candidate: A source that was asked.
            own_changes: Whether another version of the stored file counts if it is not clearly smaller.
        """
        promise = candidate.promise
        if promise is None:
            return False
        if self._same_terms and self._was_read(candidate, promise):
            candidate.why = STORED_ALREADY if candidate.url == self._content.source.address else "it was read before"
            return False
        if self._content.status is Status.PARTIAL:
            return clearly_more(self._amount, promise.amount) is not True
        if own_changes and candidate.url == self._content.source.address:
            return clearly_more(self._amount, promise.amount) is not True
        return clearly_more(promise.amount, self._amount) is True

    def _was_read(self, candidate: Candidate, promise: Promise) -> bool:
        """Whether this version was read to its end before."""
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
    """Says of each source why it was taken or not, where that is not said yet.

    Args:
        asked: All sources.
        taken: The one that the hour is stored from.
        first_choice: Whether it was the first to be read.
        by_size: Whether promises decided, and not the configured order.
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
