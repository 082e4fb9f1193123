"""The lake: hours are stored completely or not at all.

An hour is published in three steps. The quarantine file is written under a new name, the events file atomically
replaces the old one, and the manifest is written last. The second step is the commit: the Parquet file has its own
``Content``, so a manifest that is missing after a crash can be rebuilt from it. ``recover`` does that; every writer
calls it first, readers do not.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

import msgspec
import pyarrow as pa
import structlog
from tenacity import retry, retry_if_exception_type, stop_after_attempt, wait_random
from typing_extensions import override

from etl.errors import ConflictError, StoreError
from etl.hours import Hour
from etl.lake.integrity import check_hour, inner_problems, read_footer, sha256_of
from etl.lake.layout import events_key, manifest_key, quarantine_key, quarantine_prefix
from etl.lake.manifest import (
    CONTENT_KEY,
    MANIFEST_VERSION,
    Content,
    FileFacts,
    Manifest,
    Replaced,
    SourceAnswer,
    Status,
    decode,
    encode,
    is_of_later_version,
    replaced_by,
)
from etl.runtime import logs
from etl.storage import gcs
from etl.storage.gcs_store import GcsStore
from etl.storage.local_store import FolderStore
from etl.storage.store import ABSENT, ObjectInfo, Store

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

__all__ = ["CONTENT_KEY", "Lake", "Publication", "store_at"]

_HASH_CHUNK_BYTES: Final = 8 << 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger()

retry_on_conflict = retry(
    retry=retry_if_exception_type(ConflictError),
    stop=stop_after_attempt(5),
    wait=wait_random(0, 0.2),
    reraise=True,
)
"""Retries a read-and-write step if another writer was faster."""


def store_at(address: str) -> Store:
    """Returns the store at ``gs://bucket/prefix`` or at the path of a folder.

    Raises:
        UsageError: If the address is malformed, or it is a bucket and google-cloud-storage is not installed.
        StoreError: If it is a bucket and there are no credentials.
    """
    if gcs.is_address(address):
        return GcsStore(*gcs.split(address))
    return FolderStore(Path(address))


class Lake:
    """A lake in a store.

    Args:
        store: The store.
        clock: Returns the current time (aware, UTC).
    """

    def __init__(self, store: Store, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.store = store
        self._clock = clock

    @classmethod
    def at(cls, address: str) -> Lake:
        """Returns the lake at ``gs://bucket/prefix`` or in a folder; see ``store_at`` for the errors."""
        return cls(store_at(address))

    @property
    def address(self) -> str:
        """The address as a user would enter it."""
        return self.store.address

    def manifest(self, hour: Hour) -> Manifest | None:
        """Returns the manifest of an hour without changing anything; None if there is none.

        Raises:
            StoreError: If the lake or the manifest cannot be read.
        """
        content = self.store.read(manifest_key(hour))
        return None if content is None else decode(content, of=hour)

    def lock(self, hour: Hour) -> AbstractContextManager[bool]:
        """Locks an hour during the block, so that no other run does the same work; see ``Store.lock``.

        Yields:
            Whether the lock is held; False if another run holds it.

        Raises:
            StoreError: If the lake cannot be written.
        """
        return self.store.lock(str(hour))

    def recover(self, hour: Hour) -> Manifest | None:
        """Returns the manifest of an hour, after completing a publication that was interrupted before its manifest.

        An unreadable manifest counts as missing, unless a newer version of this program wrote it.

        Raises:
            StoreError: If the lake cannot be read or written, or the manifest is of a later version.
        """
        return self._recovered(hour).manifest

    @contextmanager
    def publish(self, hour: Hour) -> Iterator[Publication]:
        """Starts to create or replace an hour. Nothing changes unless ``Publication.finish`` is called.

        Raises:
            StoreError: If the lake cannot be read or written.
            ConflictError: From ``finish``, if another writer published the hour meanwhile; that version is kept.
        """
        publication = Publication(self.store, hour, self._recovered(hour), self._clock)
        try:
            yield publication
        finally:
            publication.abandon()

    @retry_on_conflict
    def record_sources(self, hour: Hour, sources: Sequence[SourceAnswer], *, asked_at: datetime) -> Manifest | None:
        """Records what sources now offer for a stored hour. Its events and their facts are not changed.

        Args:
            hour: The hour.
            sources: The sources that were asked.
            asked_at: When they were asked (UTC).

        Returns:
            The current manifest; None for an unknown hour.

        Raises:
            StoreError: If the lake cannot be read or written.
        """
        seen = self._recovered(hour)
        if seen.manifest is None or not seen.manifest.status.has_events:
            return seen.manifest
        manifest = msgspec.structs.replace(
            seen.manifest, version=MANIFEST_VERSION, sources=list(sources), asked_at=asked_at
        )
        self.store.write(manifest_key(hour), encode(manifest), if_generation=seen.manifest_generation)
        return manifest

    @retry_on_conflict
    def record(
        self,
        hour: Hour,
        status: Status,
        reason: str | None,
        *,
        started_at: datetime,
        finished_at: datetime,
        sources: Sequence[SourceAnswer] = (),
    ) -> Manifest:
        """Records an attempt that produced no events.

        An hour with events is not changed, and neither is its manifest: a failed attempt does not affect stored events.
        It is visible in the exit code and the log.

        Args:
            hour: The hour.
            status: ``missing``, ``pending`` or ``failed``.
            reason: The reason, as text.
            started_at: When the attempt started (UTC).
            finished_at: When it ended (UTC).
            sources: The sources that were asked.

        Returns:
            The current manifest.

        Raises:
            StoreError: If the lake cannot be read or written.
        """
        if status.has_events:
            raise ValueError(f"an hour without events is not {status}")
        seen = self._recovered(hour)
        if seen.manifest is not None and seen.manifest.status.has_events:
            return seen.manifest
        manifest = Manifest(
            hour=str(hour),
            status=status,
            reason=reason,
            started_at=started_at,
            finished_at=finished_at,
            attempts=seen.attempts + 1,
            sources=list(sources),
        )
        self.store.write(manifest_key(hour), encode(manifest), if_generation=seen.manifest_generation)
        return manifest

    def verify(self, hour: Hour, schema: pa.Schema, *, deep: bool = False) -> list[str]:
        """Compares an hour's files with its manifest, byte for byte.

        Args:
            hour: The hour.
            schema: The required schema of the events file; metadata is not compared.
            deep: Also decode every value of every file.

        Returns:
            The problems, as text; empty if there are none.

        Raises:
            StoreError: If the lake cannot be read.
        """
        return list(check_hour(self.store, hour, schema, deep=deep).problems)

    @retry_on_conflict
    def _recovered(self, hour: Hour) -> HourSnapshot:
        # The generation of each object is looked up before it is read: if the object changes in between, the generation
        # is outdated, and a write that depends on it is rejected.
        manifest_info = self.store.stat(manifest_key(hour))
        manifest = None if manifest_info is None else _readable_manifest(self.store, hour)
        events_info = self.store.stat(events_key(hour))
        seen = HourSnapshot(manifest, _generation(manifest_info), _generation(events_info))
        if events_info is None:
            return seen
        with self.store.open(events_key(hour)) as file:
            footer = read_footer(file, hour)
            if footer is None or footer.agrees_with(manifest):
                return seen
            # A manifest must describe a valid file, so all values are decoded first.
            if inner_problems(file, footer.content):
                return seen
            facts = FileFacts(key=events_key(hour), bytes=footer.file_bytes, rows=footer.rows, sha256=sha256_of(file))
        now = self._clock()
        made = _manifest(
            footer.content, facts, started_at=now, finished_at=now, attempts=seen.attempts + 1, before=manifest
        )
        info = self.store.write(manifest_key(hour), encode(made), if_generation=seen.manifest_generation)
        return HourSnapshot(made, info.generation, seen.events_generation)


class Publication:
    """A transaction that creates or replaces one hour; see ``Lake.publish``.

    Attributes:
        current: The hour's current manifest; None if there is none.
    """

    def __init__(self, store: Store, hour: Hour, seen: HourSnapshot, clock: Callable[[], datetime]) -> None:
        self.current = seen.manifest
        self._store = store
        self._hour = hour
        self._seen = seen
        self._clock = clock
        # Only quarantine files that exist before this publication may be removed by it: one that appears later belongs
        # to another writer.
        self._old_quarantine = list(store.list(quarantine_prefix(hour)))
        self._quarantined: FileFacts | None = None
        self._writer: AbstractContextManager[BinaryIO] | None = None
        self._tap: _Tap | None = None

    @property
    def events(self) -> BinaryIO:
        """Stream for the Parquet file, opened on first use."""
        if self._tap is None:
            self._writer = self._store.writer(events_key(self._hour), if_generation=self._seen.events_generation)
            self._tap = _Tap(self._writer.__enter__())
        return cast("BinaryIO", self._tap)

    def quarantine(self, file: BinaryIO | Path, rows: int) -> FileFacts:
        """Stores a quarantine file next to the current one, for ``Content.quarantine_file``.

        If the publication is not finished, no manifest refers to the file, and the next publication of the hour
        removes it.

        Args:
            file: The Parquet file, as a path or a seekable stream.
            rows: Number of its rows.

        Raises:
            StoreError: If it cannot be written.
        """
        if isinstance(file, Path):
            with file.open("rb") as opened:
                return self.quarantine(opened, rows)
        sha256 = sha256_of(file)
        key = quarantine_key(self._hour, sha256)
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with self._store.writer(key) as stream:
            shutil.copyfileobj(file, stream, _HASH_CHUNK_BYTES)
        self._quarantined = FileFacts(key=key, bytes=size, rows=rows, sha256=sha256)
        return self._quarantined

    def finish(
        self,
        content: Content,
        *,
        started_at: datetime,
        attempts: int | None = None,
        sources: Sequence[SourceAnswer] = (),
    ) -> Manifest:
        """Commits the events file, then writes the manifest, then removes old quarantine files of the hour.

        Args:
            content: The content of the events file, equal to that in its footer.
            started_at: When the attempt started (UTC).
            attempts: Attempts at this hour so far; None for one more than in the current manifest.
            sources: The sources that were asked.

        Returns:
            The new manifest.

        Raises:
            ConflictError: If another writer published the hour since this publication started; nothing was changed.
            StoreError: If the lake cannot be written.
            ValueError: If ``content`` does not match what was written.
        """
        writer, tap = self._written(content)
        facts = FileFacts(key=events_key(self._hour), bytes=tap.bytes, rows=content.events, sha256=tap.sha256)
        manifest_generation = self._withdraw_lookalike(content, facts)
        self._writer = None
        writer.__exit__(None, None, None)
        manifest = _manifest(
            content,
            facts,
            started_at=started_at,
            finished_at=self._clock(),
            attempts=self._seen.attempts + 1 if attempts is None else attempts,
            before=self.current,
            sources=sources,
        )
        self._put_manifest(manifest, manifest_generation)
        logs.count(
            "hour stored",
            hour=str(self._hour),
            status=content.status.value,
            events=content.events,
            lake=self._store.address,
        )
        if manifest.replaced is not None and manifest.replaced != (self.current and self.current.replaced):
            _log_replacement(manifest.hour, manifest.replaced, content)
        self._remove_old_quarantine(content)
        return manifest

    def abandon(self) -> None:
        """Discards what was written, unless it was finished."""
        writer, self._writer = self._writer, None
        if writer is not None and self._tap is not None:
            self._tap.shut()
            reason = _AbandonedError()
            with suppress(_AbandonedError):
                writer.__exit__(_AbandonedError, reason, None)

    def _written(self, content: Content) -> tuple[AbstractContextManager[BinaryIO], _Tap]:
        if self._writer is None or self._tap is None:
            raise ValueError(f"{self._hour} has no events, or is finished already")
        if content.hour != str(self._hour) or not content.status.has_events:
            raise ValueError(f"cannot publish {self._hour} as {content.hour} with status {content.status}")
        if content.quarantine_file != self._quarantined:
            raise ValueError(f"the content of {self._hour} does not refer to the quarantine file written with it")
        return self._writer, self._tap

    def _withdraw_lookalike(self, content: Content, facts: FileFacts) -> str:
        """Removes the manifest if ``recover`` could not tell from it whether the old or the new file is in place.

        This happens if both files have the same size and ``Content`` but different bytes, for example because different
        library versions wrote them. Returns the generation of the remaining manifest.
        """
        stored = None if self.current is None else self.current.events_file
        if self.current is None or stored is None or self.current.content != content:
            return self._seen.manifest_generation
        if stored.bytes != facts.bytes or stored.sha256 == facts.sha256:
            return self._seen.manifest_generation
        self._store.delete(manifest_key(self._hour), if_generation=self._seen.manifest_generation)
        return ABSENT

    def _put_manifest(self, manifest: Manifest, generation: str) -> None:
        key = manifest_key(self._hour)
        while True:
            try:
                self._store.write(key, encode(manifest), if_generation=generation)
            except ConflictError:
                # Another writer may have recovered the hour between the two steps. If the events file is still ours,
                # overwrite that manifest; otherwise the other writer's version is kept.
                generation = _generation(self._store.stat(key))
                if not self._is_current(manifest):
                    raise
            else:
                return

    def _is_current(self, manifest: Manifest) -> bool:
        with self._store.open(events_key(self._hour)) as file:
            footer = read_footer(file, self._hour)
        return footer is not None and footer.agrees_with(manifest)

    def _remove_old_quarantine(self, content: Content) -> None:
        kept = None if content.quarantine_file is None else content.quarantine_file.key
        for old in self._old_quarantine:
            if old.key != kept:
                with suppress(ConflictError):
                    self._store.delete(old.key, if_generation=old.generation)


class _AbandonedError(Exception):
    """Leaves a writer's block without committing."""


class _Tap(io.RawIOBase):
    """Counts and hashes the bytes written to a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._shut = False
        self.bytes = 0

    def shut(self) -> None:
        """Ignores further writes: Arrow may flush its buffers after the file is closed."""
        self._shut = True

    @property
    def sha256(self) -> str:
        """Hex digest of the bytes written so far."""
        return self._hash.hexdigest()

    @override
    def writable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self.bytes

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        with memoryview(data) as view:
            if self._shut:
                return view.nbytes
            self._stream.write(view)
            self._hash.update(view)
            self.bytes += view.nbytes
            return view.nbytes


@dataclass(frozen=True, slots=True)
class HourSnapshot:
    """The state of an hour as read by a writer, with the generations its writes depend on."""

    manifest: Manifest | None
    manifest_generation: str
    events_generation: str

    @property
    def attempts(self) -> int:
        return 0 if self.manifest is None else self.manifest.attempts


def _manifest(
    content: Content,
    facts: FileFacts,
    *,
    started_at: datetime,
    finished_at: datetime,
    attempts: int,
    before: Manifest | None,
    sources: Sequence[SourceAnswer] = (),
) -> Manifest:
    return Manifest(
        hour=content.hour,
        status=content.status,
        reason=content.reason,
        content=content,
        events_file=facts,
        started_at=started_at,
        finished_at=finished_at,
        attempts=attempts,
        replaced=replaced_by(before, content),
        sources=list(sources),
    )


def _log_replacement(hour: str, old: Replaced, new: Content) -> None:
    if not structlog.is_configured():  # used as a library: the program owns its output
        return
    _log.info(
        "stored another version of the source's file",
        hour=hour,
        old_etag=old.etag,
        etag=new.source.etag,
        old_bytes=old.bytes,
        bytes=new.source.bytes,
        old_events=old.events,
        events=new.events,
        old_written_at=old.written_at.isoformat(),
    )


def _readable_manifest(store: Store, hour: Hour) -> Manifest | None:
    content = store.read(manifest_key(hour))
    if content is None:
        return None
    try:
        return decode(content, of=hour)
    except StoreError:
        if is_of_later_version(content):
            raise
        return None


def _generation(info: ObjectInfo | None) -> str:
    return ABSENT if info is None else info.generation
