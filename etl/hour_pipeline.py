"""One hour, from the archive to the lake.

The way is a line: download, inflate, cut into blocks, decode to the one schema, write parquet, publish. Three
threads share it: one downloads, inflates and parses ahead, one gathers row groups, one writes behind.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Final, Protocol

import pyarrow as pa
import structlog
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt

from etl import __version__
from etl.archive.damage import Damage, DamageReason
from etl.archive.documents import blocks
from etl.archive.fetch import Download, FetchPolicy, open_download
from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_carefully
from etl.archive.known_gaps import HoleKind, known_hole
from etl.archive.source import HourNotFound, Source, SourceChangedError
from etl.errors import DamagedError, NotPublishedError, ShrinkRefusedError, SourceUnreachableError
from etl.events.decode import Decoder, HourCounts, ReadBlock, splitter
from etl.events.emails import EmailPolicy
from etl.events.schema import SCHEMA_VERSION
from etl.hours import Hour
from etl.lake.lake import Lake, Publication
from etl.lake.manifest import Content, DamageCounts, FileFacts, Manifest, SourceFacts, Status
from etl.lake.parquet import EventsWriter, Quarantine
from etl.runtime.prefetch import read_ahead

_SOFTWARE: Final = f"gharchive-etl {__version__}"
_CHANGES_BORNE: Final = 3
"""How often a download is begun again because the file changed under it."""
_BROKEN_STREAM: Final = (DamageReason.TRUNCATED_GZIP, DamageReason.BROKEN_GZIP, DamageReason.WRONG_CHECKSUM)

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Outcome(StrEnum):
    """What a run did."""

    STORED = "stored"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"


class ProgressCallback(Protocol):
    """Progress callback of a run; called from more than one thread."""

    def source(self, address: str, size: int | None) -> None:
        """A download of so many compressed bytes begins, perhaps again."""

    def received(self, count: int) -> None:
        """More compressed bytes have come."""

    def events(self, count: int) -> None:
        """More events were decoded."""


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
    """How to run an hour.

    Attributes:
        emails: What becomes of e-mail addresses.
        max_damage: The part of an hour's documents, 0 to 1, that may be unreadable before it is ``partial``.
        max_expanded: Most bytes of text an hour may inflate to.
        young: How long after an hour a 404 means "not yet"; later it means "missing".
        refresh: Ask the source for a newer version of a complete hour.
        anew: Make a complete hour anew whatever is stored, unless it shrinks.
        force: The same, even if it shrinks.
        fetch: How patient to be with sources.
        pace: Called with the count of each run of bytes that came, to wait as long as it wants; None for no wait.
    """

    emails: EmailPolicy
    max_damage: float = 0.01
    max_expanded: int = 64 << 30
    young: timedelta = timedelta(days=7)
    refresh: bool = False
    anew: bool = False
    force: bool = False
    fetch: FetchPolicy = field(default_factory=FetchPolicy)
    pace: Callable[[int], None] | None = None


@dataclass(frozen=True)
class HourResult:
    """What came of a run.

    Attributes:
        hour: Which hour.
        outcome: What was done.
        manifest: The hour's manifest as it now stands.
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
    watch: ProgressCallback | None = None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> HourResult:
    """Brings one hour into the lake; doing it again is free and safe.

    Args:
        hour: Which hour.
        lake: Where to.
        sources: Where from: the first that has it.
        options: How.
        watch: Told of progress.
        clock: Tells the time (aware, UTC).

    Raises:
        NotPublishedError: If every source says that it is not there; noted in the lake.
        SourceUnreachableError: If no source gave it, and not all of them said 404; noted in the lake.
        ShrinkRefusedError: If it holds fewer events now than the lake has; the lake keeps what it has.
        DamagedError: If it was stored as ``partial``.
        StoreError: If the lake cannot be read or written.
    """
    present = lake.recover(hour)
    if present is not None and present.status.has_events and not (options.refresh or options.anew or options.force):
        _warn_of_other_terms(present, options)
        if present.status is not Status.PARTIAL:
            return HourResult(hour, Outcome.UNCHANGED, present)
    run = _Run(hour, lake, options, watch or _NullProgress(), clock, present)
    result = run.from_first_of(sources)
    if result.manifest.status is Status.PARTIAL:
        raise DamagedError(
            f"{hour} is stored as partial: {result.manifest.reason}",
            hint=f"look at what could not be read with: show {hour} --quarantine 10",
        )
    return result


class _Run:
    """One run of one hour."""

    def __init__(
        self,
        hour: Hour,
        lake: Lake,
        options: RunOptions,
        watch: ProgressCallback,
        clock: Callable[[], datetime],
        present: Manifest | None,
    ) -> None:
        self._hour = hour
        self._lake = lake
        self._options = options
        self._watch = watch
        self._clock = clock
        self._present = present
        self._started_at = clock()

    def from_first_of(self, sources: Sequence[Source]) -> HourResult:
        """Takes the hour from the first source that has it, and notes it when none has."""
        absent: list[str] = []
        unreachable: list[SourceUnreachableError] = []
        for source in sources:
            try:
                return self._from(source)
            except HourNotFound:
                absent.append(source.url(self._hour))
            except SourceUnreachableError as error:
                _log.warning("source given up", hour=str(self._hour), source=source.address, cause=error.message)
                unreachable.append(error)
        if unreachable:
            reason = "; ".join(error.message for error in unreachable)
            self._note(Status.FAILED, reason)
            raise SourceUnreachableError(
                f"{self._hour} could not be fetched: {reason}",
                hint=unreachable[-1].hint or "run it again later, or name another --source",
            )
        raise self._not_published(absent)

    def _from(self, source: Source) -> HourResult:
        again = Retrying(
            retry=retry_if_exception_type(SourceChangedError),
            stop=stop_after_attempt(_CHANGES_BORNE),
            reraise=True,
        )
        try:
            return again(self._download, source, careful=False)
        except BrokenStreamError:
            _log.warning("gzip is broken, reading what can be read", hour=str(self._hour), source=source.address)
            return again(self._download, source, careful=True)

    def _download(self, source: Source, *, careful: bool) -> HourResult:
        download = open_download(source, self._hour, self._options.fetch, unless_etag=self._known_etag(source))
        if download is None:
            if self._present is None:
                raise SourceUnreachableError(f"{source.url(self._hour)} says 304 to a plain request")
            return HourResult(self._hour, Outcome.UNCHANGED, self._present)
        with download, self._lake.publish(self._hour) as publication, _collector_off(), _memory_kept():
            self._watch.source(download.address, download.size)
            manifest = self._store(download, publication, careful=careful)
        stored = self._present is None or not self._present.status.has_events
        return HourResult(self._hour, Outcome.STORED if stored else Outcome.REPLACED, manifest)

    def _known_etag(self, source: Source) -> str | None:
        """The version in the lake, if it came from this very address, on the same terms, and need not be made anew."""
        content = None if self._present is None else self._present.content
        if content is None or self._options.anew or self._options.force:
            return None
        # What broke off may have been broken on its way, under the etag of the sound file; a companion would tell.
        if content.source.interrupted and not content.source.companion:
            return None
        if not _on_same_terms(content, self._options):
            return None
        return content.source.etag if content.source.address == source.url(self._hour) else None

    def _store(self, download: Download, publication: Publication, *, careful: bool) -> Manifest:
        """Decodes a download into a publication, and finishes it if it may replace what is there."""
        with (
            closing(Quarantine(self._options.emails)) as quarantine,
            closing(EventsWriter(publication.events)) as writer,
        ):
            tally = self._decode(download, quarantine, writer, careful=careful)
            self._refuse_shrinking(publication, tally)
            unreadable = quarantine.finish()
            kept = None if unreadable is None else publication.quarantine(unreadable, quarantine.rows)
            content = self._content(download, tally, quarantine, kept)
            writer.finish(content)
        return publication.finish(content, started_at=self._started_at)

    def _decode(self, download: Download, quarantine: Quarantine, writer: EventsWriter, *, careful: bool) -> HourCounts:
        """Takes all of a download in, and counts it."""
        decoder = Decoder(self._options.emails, quarantine.add)
        for found in read_ahead(partial(self._read, download, decoder, careful=careful)):
            if isinstance(found, Damage):
                quarantine.add(found)
                continue
            before = decoder.tally.events
            group = decoder.add(found)
            self._watch.events(decoder.tally.events - before)
            if group is not None:
                writer.write(group)
        if len(rest := decoder.rest()):
            writer.write(rest)
        return decoder.tally

    def _read(
        self,
        download: Download,
        decoder: Decoder,
        put: Callable[[ReadBlock | Damage], None],
        *,
        careful: bool,
    ) -> None:
        """Runs ahead: downloads, inflates, cuts and parses; damage goes the way of the blocks, in its place."""
        way = inflate_carefully if careful else inflate
        text = way(self._received(download), put, max_expanded=self._options.max_expanded)
        for block in blocks(download.watching(text), put, split=splitter()):
            put(decoder.read(block))

    def _received(self, download: Download) -> Iterator[bytes]:
        for chunk in download:
            self._watch.received(len(chunk))
            if self._options.pace is not None:
                self._options.pace(len(chunk))
            yield chunk

    def _refuse_shrinking(self, publication: Publication, tally: HourCounts) -> None:
        content = None if publication.current is None else publication.current.content
        if content is None or tally.events >= content.events or self._options.force:
            return
        raise ShrinkRefusedError(
            f"{self._hour} now holds {tally.events:,} events at its source, the lake has {content.events:,}; "
            "the lake keeps its own",
            hint="to take the smaller one all the same, run it with --force",
        )

    def _content(
        self, download: Download, tally: HourCounts, quarantine: Quarantine, kept: FileFacts | None
    ) -> Content:
        broken = [reason for reason in _BROKEN_STREAM if quarantine.count[reason]]
        documents = tally.events + quarantine.unreadable
        status, reason = self._judge(documents, quarantine, broken, download)
        return Content(
            hour=str(self._hour),
            status=status,
            reason=reason,
            era="".join(sorted(tally.eras)),
            source=SourceFacts(
                address=download.address,
                etag=download.etag,
                last_modified=download.last_modified,
                bytes=download.received,
                sha256=download.sha256,
                companion=download.companion is not None,
                interrupted=bool(broken),
                redirected_to=download.redirected_to,
            ),
            documents=documents,
            events=tally.events,
            unreadable=quarantine.unreadable,
            repaired=quarantine.repaired,
            duplicates=tally.duplicates,
            types=dict(sorted(tally.types.items(), key=lambda item: (-item[1], item[0]))),
            first_created_at=tally.first,
            last_created_at=tally.last,
            damage=[
                DamageCounts(reason=str(reason), count=count, bytes=quarantine.bytes[reason])
                for reason, count in sorted(quarantine.count.items())
            ],
            quarantine_file=kept,
            schema_version=SCHEMA_VERSION,
            emails=self._options.emails.name,
            software=_SOFTWARE,
        )

    def _judge(
        self, documents: int, quarantine: Quarantine, broken: list[DamageReason], download: Download
    ) -> tuple[Status, str | None]:
        """Returns whether the hour is whole, and if not, why."""
        if broken:
            return Status.PARTIAL, "; ".join(broken)
        announced = None if download.companion is None else download.companion.event_count
        if announced not in {None, documents}:
            return Status.PARTIAL, f"the source announces {announced:,} events, {documents:,} were found"
        if quarantine.unreadable > self._options.max_damage * documents:
            return Status.PARTIAL, f"{quarantine.unreadable:,} of {documents:,} documents could not be read"
        if documents == 0:
            return Status.SUSPECT, "the file holds no events"
        return Status.COMPLETE, None

    def _not_published(self, absent: Sequence[str]) -> NotPublishedError:
        """Notes that every source says 404, and says what that means at the hour's age."""
        _, end = self._hour.window
        where = ", ".join(absent)
        if (hole := known_hole(self._hour)) is not None:
            self._note(Status.MISSING, hole.reason)
            return NotPublishedError(
                f"{self._hour} is missing: {hole.reason} (404 at {where})",
                hint="another --source may have it" if hole.kind is not HoleKind.NEVER else None,
            )
        if self._clock() < end + self._options.young:
            self._note(Status.PENDING, "404 at every source")
            return NotPublishedError(
                f"{self._hour} is not published yet (404 at {where})",
                hint="an hour appears a few minutes after it ends, sometimes days later; run it again then",
            )
        self._note(Status.MISSING, "404 at every source")
        return NotPublishedError(
            f"{self._hour} is missing from the archive (404 at {where})",
            hint="it is too old to come by itself; another --source may have it",
        )

    def _note(self, status: Status, reason: str) -> None:
        self._lake.record(self._hour, status, reason, started_at=self._started_at, finished_at=self._clock())


def _on_same_terms(content: Content, options: RunOptions) -> bool:
    return (content.emails, content.schema_version) == (options.emails.name, SCHEMA_VERSION)


def _warn_of_other_terms(present: Manifest, options: RunOptions) -> None:
    """Says so when a stored hour is not what a run with these options would make."""
    content = present.content
    if content is not None and not _on_same_terms(content, options):
        _log.warning(
            "the stored hour was made on other terms; --force makes it anew",
            hour=present.hour,
            emails=content.emails,
            asked_emails=options.emails.name,
            schema_version=content.schema_version,
        )


@contextmanager
def _collector_off() -> Iterator[None]:
    """Stops the cyclic garbage collector, which would look at millions of objects that form no cycle."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def _memory_kept() -> Iterator[None]:
    """Has Arrow take its memory by jemalloc, which keeps what a row group gave back for the next one.

    Its own choice, mimalloc, gives pages back to the system and takes them anew: measured on an hour of 300,000 events
    (Arrow 25), that is twice the time in the kernel, and a peak a tenth higher. Whoever chose another is left in peace.
    """
    before = pa.default_memory_pool()
    if before.backend_name != "mimalloc" or "jemalloc" not in pa.supported_memory_backends():
        yield
        return
    pa.set_memory_pool(pa.jemalloc_memory_pool())
    try:
        yield
    finally:
        pa.set_memory_pool(before)
