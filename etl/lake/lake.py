"""The lake: hours that are there whole or not at all.

An hour is published in three steps: its quarantine file under a name that nothing refers to yet, its events
over the old ones in one atomic step, its manifest. The second step is the one that counts: the parquet
file carries its own ``Content``, so that a manifest which a crash kept from being written is made again from
the file. ``recover`` does that, and every writer begins with it; readers only read.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

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
    Content,
    FileFacts,
    Manifest,
    Replaced,
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
"""For steps that decide by what is there: when another writer was faster, decide again."""


def store_at(address: str) -> Store:
    """Returns the store at ``gs://bucket/prefix`` or at the path of a folder.

    Raises:
        UsageError: If the address is malformed, or of a bucket and google-cloud-storage is not installed.
        StoreError: If there are no credentials for a bucket.
    """
    if gcs.is_address(address):
        return GcsStore(*gcs.split(address))
    return FolderStore(Path(address))


class Lake:
    """The hours in a store.

    Args:
        store: Where they lie.
        clock: Tells the time (aware, UTC).
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
        """What a person would type to name this lake."""
        return self.store.address

    def manifest(self, hour: Hour) -> Manifest | None:
        """Reads what is known of an hour, and changes nothing; None when nothing is.

        Raises:
            StoreError: If the lake or the manifest cannot be read.
        """
        content = self.store.read(manifest_key(hour))
        return None if content is None else decode(content, of=hour)

    def lock(self, hour: Hour) -> AbstractContextManager[bool]:
        """Holds an hour alone during the block, so that no other run does the same work; see ``Store.lock``.

        Yields:
            Whether it is held; False where another run is at it.

        Raises:
            StoreError: If the lake cannot be written.
        """
        return self.store.lock(str(hour))

    def recover(self, hour: Hour) -> Manifest | None:
        """Reads what is known of an hour, after completing a publication that was cut off before its manifest.

        A manifest that cannot be read counts as none, unless a newer program wrote it.

        Raises:
            StoreError: If the lake cannot be read or written, or the manifest is of a later version.
        """
        return self._recovered(hour).manifest

    @contextmanager
    def publish(self, hour: Hour) -> Iterator[Publication]:
        """Begins to replace an hour, or to make it, by ``Publication.finish``; without that nothing changes.

        Raises:
            StoreError: If the lake cannot be read or written.
            ConflictError: From ``finish``, if another writer published the hour meanwhile; it stays as that one
                made it.
        """
        publication = Publication(self.store, hour, self._recovered(hour), self._clock)
        try:
            yield publication
        finally:
            publication.abandon()

    @retry_on_conflict
    def record(
        self, hour: Hour, status: Status, reason: str | None, *, started_at: datetime, finished_at: datetime
    ) -> Manifest:
        """Notes that an attempt gave no events.

        An hour that has events stays as it is, manifest included: what is known of stored events does not
        change because a later attempt failed. That attempt shows in the exit code and the log.

        Args:
            hour: The hour.
            status: ``missing``, ``pending`` or ``failed``.
            reason: Why, in words.
            started_at: When the attempt began (UTC).
            finished_at: When it ended (UTC).

        Returns:
            The manifest that now stands.

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
        )
        self.store.write(manifest_key(hour), encode(manifest), if_generation=seen.manifest_generation)
        return manifest

    def verify(self, hour: Hour, schema: pa.Schema, *, deep: bool = False) -> list[str]:
        """Holds an hour's files against its manifest, byte for byte.

        Args:
            hour: The hour.
            schema: What the events file's schema has to be; metadata is not compared.
            deep: Also decode every value of every file.

        Returns:
            What is wrong, in words; nothing when all is well.

        Raises:
            StoreError: If the lake cannot be read.
        """
        return list(check_hour(self.store, hour, schema, deep=deep).problems)

    @retry_on_conflict
    def _recovered(self, hour: Hour) -> HourSnapshot:
        # Each object is looked at before it is read: if it changes in between, the generation is the older
        # one, and what is written on the strength of it is refused.
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
            # A manifest vouches for the bytes it is made from, so they are read first.
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
    """The making of one hour, from ``Lake.publish``.

    Attributes:
        current: The manifest of what the hour holds now; None when nothing is known of it.
    """

    def __init__(self, store: Store, hour: Hour, seen: HourSnapshot, clock: Callable[[], datetime]) -> None:
        self.current = seen.manifest
        self._store = store
        self._hour = hour
        self._seen = seen
        self._clock = clock
        # Only what is there before this publication began is its to remove: a quarantine file that comes
        # later belongs to another writer.
        self._old_quarantine = list(store.list(quarantine_prefix(hour)))
        self._quarantined: FileFacts | None = None
        self._writer: AbstractContextManager[BinaryIO] | None = None
        self._tap: _Tap | None = None

    @property
    def events(self) -> BinaryIO:
        """The stream to write the parquet file to; the first use opens it."""
        if self._tap is None:
            self._writer = self._store.writer(events_key(self._hour), if_generation=self._seen.events_generation)
            self._tap = _Tap(self._writer.__enter__())
        return cast("BinaryIO", self._tap)

    def quarantine(self, file: BinaryIO | Path, rows: int) -> FileFacts:
        """Stores a finished quarantine file beside the present one, to be named in ``Content.quarantine_file``.

        Should the hour not be finished, the file stays unnamed; the next publication of the hour removes it.

        Args:
            file: The parquet file, as a path or a seekable stream.
            rows: How many rows it has.

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

    def finish(self, content: Content, *, started_at: datetime, attempts: int | None = None) -> Manifest:
        """Puts the events in their place, then the manifest; then removes quarantine files of the hour before.

        Args:
            content: What the events file holds; the same stands in its footer.
            started_at: When the attempt began (UTC).
            attempts: Attempts at this hour so far; None for one more than the manifest counted.

        Returns:
            The manifest that now stands.

        Raises:
            ConflictError: If another writer published the hour since this publication began; nothing was changed.
            StoreError: If the lake cannot be written.
            ValueError: If ``content`` is not about what was written here.
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
        """Lets go of what was written, unless it was finished."""
        writer, self._writer = self._writer, None
        if writer is not None and self._tap is not None:
            self._tap.shut()
            reason = _AbandonedError()
            with suppress(_AbandonedError):
                writer.__exit__(_AbandonedError, reason, None)

    def _written(self, content: Content) -> tuple[AbstractContextManager[BinaryIO], _Tap]:
        if self._writer is None or self._tap is None:
            raise ValueError(f"{self._hour} has no events to finish, or was finished before")
        if content.hour != str(self._hour) or not content.status.has_events:
            raise ValueError(f"{self._hour} cannot become {content.hour} with status {content.status}")
        if content.quarantine_file != self._quarantined:
            raise ValueError(f"the content of {self._hour} does not name the quarantine file written with it")
        return self._writer, self._tap

    def _withdraw_lookalike(self, content: Content, facts: FileFacts) -> str:
        """Removes the manifest when ``recover`` could not tell by it whether the old file or the new one is there.

        That takes two files of one size and content whose bytes differ, as two versions of a library write
        them. Returns the generation of the manifest that is left.
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
                # Another writer may have recovered the hour between the two steps. As long as the events are
                # these, so is the manifest; once they are others, the other writer has the last word.
                generation = _generation(self._store.stat(key))
                if not self._stands(manifest):
                    raise
            else:
                return

    def _stands(self, manifest: Manifest) -> bool:
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
    """Ends a writer's block without a word from it."""


class _Tap(io.RawIOBase):
    """Counts and hashes what passes into a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._hash = hashlib.sha256()
        self._shut = False
        self.bytes = 0

    def shut(self) -> None:
        """Lets fall what still comes: Arrow empties its buffers late, when the file is closed already."""
        self._shut = True

    @property
    def sha256(self) -> str:
        """Hex digest of what has passed so far."""
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
    """An hour as a writer found it: what it goes by when it writes."""

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
    )


def _log_replacement(hour: str, old: Replaced, new: Content) -> None:
    if not structlog.is_configured():  # in a program of somebody else's, whose output is theirs
        return
    _log.info(
        "another version of the source's file was stored",
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
