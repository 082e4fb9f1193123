"""Processes one hour, from the archive to the lake.

The stages: download, decompress, split into blocks, decode to the common schema, write Parquet, publish. They run in
three threads: one downloads, decompresses and parses ahead, one collects row groups, one writes them.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from etl import __version__
from etl.archive.availability import ranked, survey
from etl.archive.damage import Damage, DamageReason
from etl.archive.documents import blocks
from etl.archive.fetch import Download, open_download
from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_damaged
from etl.archive.known_gaps import GapKind, known_gap
from etl.archive.retry import FetchPolicy
from etl.archive.source import HourNotFound, Source, SourceChangedError
from etl.errors import DamagedError, NotPublishedError, ShrinkRefusedError, SourceUnreachableError
from etl.events.decode import Decoder, HourCounts, ReadBlock, splitter
from etl.events.emails import EmailPolicy
from etl.events.schema import SCHEMA_VERSION
from etl.hours import Hour
from etl.lake.lake import Lake, Publication
from etl.lake.manifest import Content, DamageCounts, FileFacts, Manifest, SourceFacts, SourceReply, Status
from etl.lake.parquet import EventsWriter, Quarantine
from etl.runtime.prefetch import read_ahead
from etl.source_selection import (
    STORED_ALREADY,
    Candidate,
    Completeness,
    SourceChoice,
    Stored,
    asks_before_reading,
    explain_choice,
    is_better,
    may_be_fuller,
    records,
)

_SOFTWARE: Final = f"gharchive-etl {__version__}"
_MAX_DOWNLOAD_ATTEMPTS: Final = 3
"""Attempts at a download whose file is replaced while it is read."""
_BROKEN_STREAM: Final = (DamageReason.TRUNCATED_GZIP, DamageReason.BROKEN_GZIP, DamageReason.WRONG_CHECKSUM)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Outcome(StrEnum):
    """Result of a run that succeeded."""

    STORED = "stored"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


class ProgressCallback(Protocol):
    """Progress callback of a run. It is called from more than one thread."""

    def source(self, address: str, size: int | None) -> None:
        """Reports that a download starts or restarts; ``size`` is in compressed bytes."""

    def received(self, count: int) -> None:
        """Reports ``count`` more compressed bytes."""

    def events(self, count: int) -> None:
        """Reports ``count`` more decoded events."""


class _NullProgress:
    """Ignores progress."""

    def source(self, address: str, size: int | None) -> None:
        pass

    def received(self, count: int) -> None:
        pass

    def events(self, count: int) -> None:
        pass


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options for processing an hour.

    Attributes:
        emails: How e-mail addresses are handled.
        max_damage: Share of an hour's documents, 0 to 1, that may be unreadable before the hour is ``partial``.
        max_expanded: Maximum size of the decompressed text, in bytes.
        pending_period: How long after the end of an hour a 404 means ``pending``; after that it means ``missing``.
        completeness: How to choose among several sources.
        refresh: Check the source for a newer version of a complete hour.
        recheck: Ask whether another source has clearly more of a complete hour, and fetch it from there if so.
        reprocess: Process a complete hour again regardless of what is stored, unless it would shrink.
        force: Like ``reprocess``, but also store an hour that shrinks.
        fetch: Timeouts, retries and limits of downloads.
        rate_limiter: Called with the number of bytes after each chunk; it blocks as long as needed. None for no limit.
    """

    emails: EmailPolicy
    max_damage: float = 0.01
    max_expanded: int = 64 << 30
    pending_period: timedelta = timedelta(days=7)
    completeness: Completeness = Completeness.FULLEST
    refresh: bool = False
    recheck: bool = False
    reprocess: bool = False
    force: bool = False
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    rate_limiter: Callable[[int], None] | None = None


@dataclass(frozen=True)
class HourResult:
    """Result of processing an hour.

    Attributes:
        hour: The hour.
        outcome: What the run did.
        manifest: The hour's current manifest.
    """

    hour: Hour
    outcome: Outcome
    manifest: Manifest


def run_hour(
    hour: Hour,
    *,
    lake: Lake,
    sources: Sequence[Source],
    options: RunOptions,
    progress: ProgressCallback | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> HourResult:
    """Stores one hour in the lake. It is idempotent: running it again for a complete hour does nothing.

    Args:
        hour: The hour to process.
        lake: The lake to write to.
        sources: The sources, in order of trust; ``options.completeness`` decides among them.
        options: Options of the run.
        progress: Progress callback.
        clock: Returns the current time (aware, UTC).

    Raises:
        NotPublishedError: If every source answers that it does not have the hour. Recorded in the lake.
        SourceUnreachableError: If no source delivered it and at least one did not answer 404. Recorded in the lake.
        ShrinkRefusedError: If the source has fewer events than the lake; the lake keeps its version.
        DamagedError: If the hour was stored as ``partial``.
        StoreError: If the lake cannot be read or written.
    """
    present = lake.recover(hour)
    if (
        present is not None
        and present.status.has_events
        and not (options.refresh or options.reprocess or options.force)
    ):
        _warn_if_processed_differently(present, options)
        asks_others = options.recheck and asks_before_reading(sources, options.completeness)
        if present.status is not Status.PARTIAL and not asks_others:
            return HourResult(hour, Outcome.UNCHANGED, present)
    result = _HourRun(hour, lake, options, progress or _NullProgress(), clock, present).fetch(sources)
    if result.manifest.status is Status.PARTIAL:
        raise DamagedError(
            f"{hour} was stored as partial: {result.manifest.reason}",
            hint=f"inspect the unreadable data with `show {hour} --quarantine 10`",
        )
    return result


def choose_sources(
    hour: Hour, sources: Sequence[Source], options: RunOptions, present: Manifest | None
) -> SourceChoice:
    """Decides which sources of an hour to read, and in which order; asks them first if there is a choice.

    Args:
        hour: The hour.
        sources: The sources, in the configured order.
        options: Options of the run.
        present: The hour's current manifest; None if there is none.
    """
    if not asks_before_reading(sources, options.completeness):
        candidates = [Candidate.of(source, hour) for source in sources]
        return SourceChoice(candidates, candidates, surveyed=False)
    answers = survey(sources, hour, timeout=options.fetch.ask_timeout)
    candidate_of = {id(answer): Candidate.of_answer(answer) for answer in answers}
    asked = list(candidate_of.values())
    order = [candidate_of[id(answer)] for answer in ranked(answers)]
    content = None if present is None else present.content
    if present is None or content is None or options.reprocess or options.force:
        return SourceChoice(order, asked, surveyed=True)
    promising = [candidate for candidate in order if candidate.promise is not None]
    if not promising and not options.recheck:
        # No source answered, so all are tried with the full number of attempts, as for an hour that is not stored.
        return SourceChoice(order, asked, surveyed=True)
    stored = Stored(present, content, options.emails.name)
    worth = [each for each in promising if stored.worth_reading(each, own_changes=options.refresh)]
    return SourceChoice(worth, asked, surveyed=True)


def record_absence(
    hour: Hour,
    asked: Sequence[Candidate],
    errors: Sequence[SourceUnreachableError],
    *,
    lake: Lake,
    options: RunOptions,
    started_at: datetime,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> NotPublishedError | SourceUnreachableError:
    """Records in the lake why no source delivered an hour, and returns the error to raise.

    An hour that has events in the lake stays as it is.

    Args:
        hour: The hour.
        asked: All sources, in the configured order.
        errors: The errors of the sources that did not answer 404.
        lake: The lake to write to.
        options: Options of the run; ``pending_period`` separates ``pending`` from ``missing``.
        started_at: When the run started (aware, UTC).
        clock: Returns the current time (aware, UTC).

    Raises:
        StoreError: If the lake cannot be read or written.
    """
    error: NotPublishedError | SourceUnreachableError
    status, reason = Status.MISSING, "404 at every source"
    where = ", ".join(candidate.url for candidate in asked)
    if errors:
        status, reason = Status.FAILED, "; ".join(each.message for each in errors)
        error = SourceUnreachableError(
            f"{hour} could not be fetched: {reason}",
            hint=errors[-1].hint or "try again later, or use another --source",
        )
    elif (gap := known_gap(hour)) is not None:
        reason = gap.reason
        error = NotPublishedError(
            f"{hour} is missing: {reason} (404 at {where})",
            hint="another --source may have it" if gap.kind is not GapKind.NEVER else None,
        )
    elif clock() < hour.window[1] + options.pending_period:
        status = Status.PENDING
        error = NotPublishedError(
            f"{hour} is not published yet (404 at {where})",
            hint="hours are published a few minutes after they end, sometimes days later; try again then",
        )
    else:
        error = NotPublishedError(
            f"{hour} is missing from the archive (404 at {where})",
            hint="it is too old to be published later; another --source may have it",
        )
    lake.record(hour, status, reason, started_at=started_at, finished_at=clock(), sources=records(asked))
    return error


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """An hour as read from one source: completely staged, not published."""

    download: Download
    counts: HourCounts
    quarantine: Quarantine
    writer: EventsWriter
    publication: Publication
    interrupted: bool
    is_other_hour: bool
    status: Status
    reason: str | None
    close: Callable[[], None]

    @property
    def documents(self) -> int:
        return self.counts.events + self.quarantine.unreadable

    @property
    def events(self) -> int:
        return self.counts.events

    @property
    def received(self) -> int:
        return self.download.received

    @property
    def etag(self) -> str | None:
        return self.download.etag

    @property
    def sha256(self) -> str:
        return self.download.sha256

    @property
    def is_sound(self) -> bool:
        return self.status is Status.COMPLETE


class _HourRun:
    """One run of one hour."""

    def __init__(
        self,
        hour: Hour,
        lake: Lake,
        options: RunOptions,
        progress: ProgressCallback,
        clock: Callable[[], datetime],
        present: Manifest | None,
    ) -> None:
        self._hour = hour
        self._lake = lake
        self._options = options
        self._progress = progress
        self._clock = clock
        self._present = present
        self._started_at = clock()
        self._was_surveyed = False
        self._errors: list[SourceUnreachableError] = []

    def fetch(self, sources: Sequence[Source]) -> HourResult:
        """Stores the hour from the source that is chosen; records the failure if none has it."""
        choice = choose_sources(self._hour, sources, self._options, self._present)
        self._was_surveyed = choice.surveyed
        return self._store_best(choice.order, choice.asked)

    def _store_best(self, order: Sequence[Candidate], asked: Sequence[Candidate]) -> HourResult:
        """Reads sources in order and stores the best reading.

        Args:
            order: The sources that are worth reading.
            asked: All sources, in the configured order.
        """
        best: tuple[Candidate, _Reading] | None = None
        with ExitStack() as staged:
            for candidate in order:
                if best is not None and not (self._was_surveyed and may_be_fuller(candidate, best[1])):
                    continue
                reading = self._try(candidate)
                if reading is None:
                    if candidate.why == STORED_ALREADY and not self._was_surveyed:
                        break
                    continue
                staged.callback(reading.close)
                if best is not None and not is_better(reading, best[1]):
                    reading.close()
                    continue
                if best is not None:
                    best[1].close()
                best = candidate, reading
            if best is not None:
                return self._publish(*best, order, asked)
        nothing_new = (self._was_surveyed and not order) or any(each.why == STORED_ALREADY for each in order)
        if nothing_new or (self._options.recheck and self._present is not None):
            return self._unchanged(asked)
        raise self._not_stored(asked)

    def _try(self, candidate: Candidate) -> _Reading | None:
        """Reads an hour from a source; returns None if that fails or the lake has this version."""
        if candidate.reply is SourceReply.ABSENT:
            return None
        try:
            reading = self._read_from(candidate)
        except HourNotFound:
            candidate.failed(SourceReply.ABSENT, "it does not have the hour")
            return None
        except SourceUnreachableError as error:
            _log.warning("source failed", hour=str(self._hour), source=candidate.source.address, cause=error.message)
            candidate.failed(SourceReply.DOWN, "it could not be read", error.message)
            self._errors.append(error)
            return None
        candidate.reply, candidate.read = SourceReply.PROMISED, reading
        return reading

    def _unchanged(self, asked: Sequence[Candidate]) -> HourResult:
        """Leaves the hour as it is, and records what its sources answered."""
        manifest = self._record_sources(asked) or self._present
        if manifest is None:
            raise AssertionError("only a stored hour can be unchanged")
        return HourResult(self._hour, Outcome.UNCHANGED, manifest)

    def _record_sources(self, asked: Sequence[Candidate]) -> Manifest | None:
        if not self._was_surveyed:
            return None
        return self._lake.record_sources(self._hour, records(asked), asked_at=self._clock())

    def _not_stored(self, asked: Sequence[Candidate]) -> SourceUnreachableError | NotPublishedError:
        """Records that no source delivered the hour, and returns the error to raise."""
        return record_absence(
            self._hour,
            asked,
            self._errors,
            lake=self._lake,
            options=self._options,
            started_at=self._started_at,
            clock=self._clock,
        )

    def _read_from(self, candidate: Candidate) -> _Reading | None:
        """Reads an hour from one source into staging; returns None if the lake has this version."""
        again = Retrying(
            retry=retry_if_exception_type(SourceChangedError),
            stop=stop_after_attempt(_MAX_DOWNLOAD_ATTEMPTS),
            reraise=True,
        )
        try:
            return again(self._stage, candidate, tolerant=False)
        except BrokenStreamError:
            address = candidate.source.address
            _log.warning("corrupt gzip stream, recovering data", hour=str(self._hour), source=address)
            return again(self._stage, candidate, tolerant=True)

    def _stage(self, candidate: Candidate, *, tolerant: bool) -> _Reading | None:
        source, etag = candidate.source, self._known_etag(candidate.source)
        download = open_download(source, self._hour, self._options.fetch, unless_etag=etag, promise=candidate.promise)
        if download is None:
            if self._present is None:
                raise SourceUnreachableError(f"{source.url(self._hour)}: HTTP 304 for an unconditional request")
            candidate.why = STORED_ALREADY
            return None
        with download, _garbage_collector_disabled(), ExitStack() as stack:
            publication = stack.enter_context(self._lake.publish(self._hour))
            self._progress.source(download.address, download.size)
            quarantine = stack.enter_context(closing(Quarantine(self._options.emails)))
            writer = stack.enter_context(closing(EventsWriter(publication.events)))
            counts = self._decode(download, quarantine, writer, tolerant=tolerant)
            broken = [reason for reason in _BROKEN_STREAM if quarantine.count[reason]]
            other_hour = _other_hour(self._hour, counts)
            status, reason = self._assess(counts, quarantine, broken, download, other_hour)
            return _Reading(
                download=download,
                counts=counts,
                quarantine=quarantine,
                writer=writer,
                publication=publication,
                interrupted=bool(broken),
                is_other_hour=other_hour is not None,
                status=status,
                reason=reason,
                close=stack.pop_all().close,
            )

    def _publish(
        self, taken: Candidate, reading: _Reading, order: Sequence[Candidate], asked: Sequence[Candidate]
    ) -> HourResult:
        """Commits a reading to the lake, unless the hour would shrink."""
        explain_choice(asked, taken, first_choice=taken is order[0], by_size=self._was_surveyed)
        publication, quarantine = reading.publication, reading.quarantine
        try:
            self._refuse_shrinking(publication, reading.counts)
        except ShrinkRefusedError:
            taken.taken, taken.why = False, "it holds fewer events than the lake"
            self._record_sources(asked)
            raise
        with _garbage_collector_disabled():
            unreadable = quarantine.finish()
            kept = None if unreadable is None else publication.quarantine(unreadable, quarantine.rows)
            content = self._content(reading, kept)
            reading.writer.finish(content)
            manifest = publication.finish(content, started_at=self._started_at, sources=records(asked))
        stored = self._present is None or not self._present.status.has_events
        return HourResult(self._hour, Outcome.STORED if stored else Outcome.REPLACED, manifest)

    def _known_etag(self, source: Source) -> str | None:
        """Returns the ETag of the stored hour if this source's unchanged file would give the same result; else None."""
        content = None if self._present is None else self._present.content
        if content is None or self._options.reprocess or self._options.force:
            return None
        # A stream that ended early may have been damaged in transit, with the ETag of an intact file. Only a sidecar
        # manifest rules that out.
        if content.source.interrupted and not content.source.sidecar:
            return None
        if not _is_processed_alike(content, self._options):
            return None
        return content.source.etag if content.source.address == source.url(self._hour) else None

    def _decode(
        self, download: Download, quarantine: Quarantine, writer: EventsWriter, *, tolerant: bool
    ) -> HourCounts:
        """Decodes a whole download and returns its counts."""
        decoder = Decoder(self._options.emails, quarantine.add)
        for found in read_ahead(partial(self._read, download, decoder, tolerant=tolerant)):
            if isinstance(found, Damage):
                quarantine.add(found)
                continue
            before = decoder.counts.events
            group = decoder.add(found)
            self._progress.events(decoder.counts.events - before)
            if group is not None:
                writer.write(group)
        if len(rest := decoder.rest()):
            writer.write(rest)
        return decoder.counts

    def _read(
        self,
        download: Download,
        decoder: Decoder,
        put: Callable[[ReadBlock | Damage], None],
        *,
        tolerant: bool,
    ) -> None:
        """Downloads, decompresses, splits and parses ahead; damage is put between the blocks in file order."""
        decompress = inflate_damaged if tolerant else inflate
        text = decompress(self._received(download), put, max_expanded=self._options.max_expanded)
        for block in blocks(download.with_progress_check(text), put, split=splitter()):
            put(decoder.read(block))

    def _received(self, download: Download) -> Iterator[bytes]:
        for chunk in download:
            self._progress.received(len(chunk))
            if self._options.rate_limiter is not None:
                self._options.rate_limiter(len(chunk))
            yield chunk

    def _refuse_shrinking(self, publication: Publication, counts: HourCounts) -> None:
        content = None if publication.current is None else publication.current.content
        if content is None or counts.events >= content.events or self._options.force:
            return
        raise ShrinkRefusedError(
            f"{self._hour} has {counts.events:,} events at the source but {content.events:,} in the lake; "
            "the lake was not changed",
            hint="use --force to store the smaller version",
        )

    def _content(self, reading: _Reading, kept: FileFacts | None) -> Content:
        download, counts, quarantine = reading.download, reading.counts, reading.quarantine
        return Content(
            hour=str(self._hour),
            status=reading.status,
            reason=reading.reason,
            era="".join(sorted(counts.eras)),
            source=SourceFacts(
                address=download.address,
                etag=download.etag,
                last_modified=download.last_modified,
                bytes=download.received,
                sha256=download.sha256,
                sidecar=download.sidecar is not None,
                interrupted=reading.interrupted,
                redirected_to=download.redirected_to,
            ),
            documents=reading.documents,
            events=counts.events,
            unreadable=quarantine.unreadable,
            repaired=quarantine.repaired,
            duplicates=counts.duplicates,
            types=dict(sorted(counts.types.items(), key=lambda item: (-item[1], item[0]))),
            first_created_at=counts.first,
            last_created_at=counts.last,
            damage=[
                DamageCounts(reason=str(reason), count=count, bytes=quarantine.bytes[reason])
                for reason, count in sorted(quarantine.count.items())
            ],
            quarantine_file=kept,
            schema_version=SCHEMA_VERSION,
            emails=self._options.emails.name,
            software=_SOFTWARE,
        )

    def _assess(
        self,
        counts: HourCounts,
        quarantine: Quarantine,
        broken: list[DamageReason],
        download: Download,
        other_hour: str | None,
    ) -> tuple[Status, str | None]:
        """Returns the status of the hour, and the reason if it is not complete."""
        documents = counts.events + quarantine.unreadable
        if broken:
            return Status.PARTIAL, "; ".join(broken)
        announced = None if download.sidecar is None else download.sidecar.event_count
        if announced not in {None, documents}:
            return Status.PARTIAL, f"the sidecar manifest announces {announced:,} events, but {documents:,} were found"
        if quarantine.unreadable > self._options.max_damage * documents:
            return Status.PARTIAL, f"{quarantine.unreadable:,} of {documents:,} documents could not be read"
        if documents == 0:
            return Status.SUSPECT, "the file contains no events"
        if other_hour is not None:
            return Status.SUSPECT, other_hour
        return Status.COMPLETE, None


def _other_hour(hour: Hour, counts: HourCounts) -> str | None:
    """Returns why a file seems to be that of another hour; None if it does not.

    A file holds the events that were crawled in its hour (docs/explanation/facts.md). Some may be days older, but the
    newest is not older than the hour, and the oldest not newer.
    """
    start, end = hour.window
    if counts.first is None or counts.last is None or (counts.first < end and counts.last >= start):
        return None
    return f"its events are from {counts.first:%Y-%m-%d %H:%M} to {counts.last:%Y-%m-%d %H:%M}: it may be another hour"


def _is_processed_alike(content: Content, options: RunOptions) -> bool:
    return (content.emails, content.schema_version) == (options.emails.name, SCHEMA_VERSION)


def _warn_if_processed_differently(present: Manifest, options: RunOptions) -> None:
    """Logs a warning if a run with these options would produce something else than the stored hour."""
    content = present.content
    if content is not None and not _is_processed_alike(content, options):
        _log.warning(
            "the stored hour was processed with other settings; use --force to process it again",
            hour=present.hour,
            emails=content.emails,
            asked_emails=options.emails.name,
            schema_version=content.schema_version,
        )


@contextmanager
def _garbage_collector_disabled() -> Iterator[None]:
    """Disables the cyclic garbage collector, which would scan millions of objects that form no cycles."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
