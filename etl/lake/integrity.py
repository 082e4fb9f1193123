"""Integrity checks of a stored hour: its files are compared with the manifest, or with their own metadata."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import BinaryIO, Final, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random

from etl.errors import ConflictError, StoreError
from etl.hours import Hour
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import CONTENT_KEY, Content, FileFacts, Manifest, Status, decode, decode_content
from etl.plural import plural
from etl.storage.store import Store

_T = TypeVar("_T")
_R = TypeVar("_R")

_HASH_CHUNK_BYTES: Final = 8 << 20
_BATCH_ROWS: Final = 1 << 15
_LOOKS: Final = 5
_MANIFEST_COMES_WITHIN_SECONDS: Final = 0.5
"""A writer stores the manifest right after the events; until then the two do not match, which is not a problem."""
_WAITING_A_WORKER: Final = 4

ERRORS_IN_A_ROW: Final = 4
"""After so many consecutive hours with a store error, the store itself is considered to have failed."""


@dataclass(frozen=True, slots=True)
class Footer:
    """The footer of an events file.

    Attributes:
        content: The content from its metadata.
        rows: Number of rows according to Parquet.
        file_bytes: Size of the file in bytes.
        schema: The schema, including metadata.
    """

    content: Content
    rows: int
    file_bytes: int
    schema: pa.Schema

    def agrees_with(self, manifest: Manifest | None) -> bool:
        """Returns whether the manifest describes this file, as far as content and size tell."""
        if manifest is None or manifest.events_file is None:
            return False
        return manifest.content == self.content and manifest.events_file.bytes == self.file_bytes


@dataclass(frozen=True, slots=True)
class Verdict:
    """Result of checking an hour.

    Attributes:
        hour: The hour.
        problems: The problems, as text; empty if there are none.
        bytes: Total size of the files that the manifest refers to.
        empty: Status of a valid hour without events; None for all other hours.
        error: Why the hour could not be read completely; None if it could.
    """

    hour: Hour
    problems: tuple[str, ...]
    bytes: int
    empty: Status | None = None
    error: StoreError | None = None


def read_footer(file: BinaryIO, hour: Hour) -> Footer | None:
    """Reads the footer of an events file; returns None if it is not an events file of this hour."""
    file_bytes = file.seek(0, os.SEEK_END)
    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError):
        return None
    content = decode_content((parquet.metadata.metadata or {}).get(CONTENT_KEY, b""))
    if content is None or content.hour != str(hour):
        return None
    return Footer(content, parquet.metadata.num_rows, file_bytes, parquet.schema_arrow)


def sha256_of(file: BinaryIO) -> str:
    """Returns the hex digest of a whole file."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(_HASH_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def inner_problems(file: BinaryIO, content: Content) -> list[str]:
    """Decodes every value of an events file, and compares counts and times with its content.

    Args:
        file: The Parquet file.
        content: The expected content.

    Returns:
        The problems, as text that quotes no data of the file; empty if there are none.
    """
    counts = _ActualCounts()
    if not _decodes(file, counts.add):
        return ["cannot be decoded completely"]
    return list(counts.differences(content))


def check_hours(
    store: Store, hours: Iterable[Hour], schema: pa.Schema, *, deep: bool = False, workers: int = 1
) -> Iterator[Verdict]:
    """Checks hours in parallel threads; the verdicts are in the order of the hours.

    An unreadable hour is reported as a problem, since a disk may have a bad sector. Several in a row mean that the lake
    itself cannot be read.

    Args:
        store: The lake's store.
        hours: The hours to check.
        schema: The required schema of events files; metadata is not compared.
        deep: Also decode every value of every file.
        workers: Number of hours checked in parallel.

    Raises:
        StoreError: If the lake cannot be read.
    """

    def check(hour: Hour) -> Verdict:
        try:
            return check_hour(store, hour, schema, deep=deep)
        except StoreError as error:
            return Verdict(hour, (error.message,), 0, error=error)

    in_a_row = 0
    for verdict in _side_by_side(check, hours, workers):
        in_a_row = 0 if verdict.error is None else in_a_row + 1
        if verdict.error is not None and in_a_row >= ERRORS_IN_A_ROW:
            raise verdict.error
        yield verdict


def check_hour(store: Store, hour: Hour, schema: pa.Schema, *, deep: bool = False) -> Verdict:
    """Compares an hour's files with its manifest, byte for byte.

    An hour that is replaced meanwhile is checked again.

    Args:
        store: The lake's store.
        hour: The hour.
        schema: The required schema of the events file; metadata is not compared.
        deep: Also decode every value of every file.

    Raises:
        StoreError: If the lake cannot be read, or the hour keeps changing.
    """
    again = Retrying(
        retry=retry_if_exception_type(ConflictError),
        stop=stop_after_attempt(_LOOKS),
        wait=wait_random(0, 0.2),
        reraise=True,
    )
    return again(_Check(store, hour, schema, deep=deep).verdict)


class _Check:
    """The check of one hour."""

    def __init__(self, store: Store, hour: Hour, schema: pa.Schema, *, deep: bool) -> None:
        self._store = store
        self._hour = hour
        self._schema = schema
        self._deep = deep

    def verdict(self) -> Verdict:
        before = self._generations()
        try:
            found = self._look()
        except StoreError:
            self._demand(before)
            raise
        if not found.problems:
            return found
        if self._may_be_half_way():
            time.sleep(_MANIFEST_COMES_WITHIN_SECONDS)
        self._demand(before)
        return found

    def _demand(self, before: list[str | None]) -> None:
        if self._generations() != before:
            raise ConflictError(f"another run is changing {self._hour}", hint="verify it again later")

    def _generations(self) -> list[str | None]:
        found = (self._store.stat(key) for key in (manifest_key(self._hour), events_key(self._hour)))
        return [None if info is None else info.generation for info in found]

    def _may_be_half_way(self) -> bool:
        """Returns whether a writer may have stored the events but not yet the manifest."""
        events = self._store.stat(events_key(self._hour))
        if events is None:
            return False
        with self._store.open(events_key(self._hour)) as file:
            footer = read_footer(file, self._hour)
        return footer is not None and not footer.agrees_with(self._manifest())

    def _manifest(self) -> Manifest | None:
        content = self._store.read(manifest_key(self._hour))
        try:
            return None if content is None else decode(content, of=self._hour)
        except StoreError:
            return None

    def _look(self) -> Verdict:
        content = self._store.read(manifest_key(self._hour))
        if content is None:
            events = self._store.stat(events_key(self._hour)) is not None
            return Verdict(self._hour, (f"{self._hour} has {'events but ' * events}no manifest",), 0)
        try:
            manifest = decode(content, of=self._hour)
        except StoreError as error:
            return Verdict(self._hour, (error.message,), 0)
        files = [manifest.events_file, None if manifest.content is None else manifest.content.quarantine_file]
        named = sum(facts.bytes for facts in files if facts is not None)
        problems = tuple(self._problems(manifest))
        empty = None if problems or manifest.status.has_events else manifest.status
        return Verdict(self._hour, problems, named, empty)

    def _problems(self, manifest: Manifest) -> Iterator[str]:
        content, facts = manifest.content, manifest.events_file
        key = events_key(self._hour)
        if content is None or facts is None or not manifest.status.has_events:
            if (content, facts) != (None, None) or manifest.status.has_events:
                yield f"the manifest is inconsistent: its status is {manifest.status}, which does not match its files"
            if self._store.stat(key) is not None:
                yield f"{self._store.url(key)} exists although the hour is {manifest.status}"
            return
        if (facts.key, content.hour, content.status) != (key, str(self._hour), manifest.status):
            yield "the manifest is inconsistent: its content has another hour or status"
        yield from self._file_problems(facts, lambda file: self._events_problems(file, content, facts))
        if (quarantine := content.quarantine_file) is not None:
            yield from self._file_problems(quarantine, lambda file: self._quarantine_problems(file, quarantine))

    def _file_problems(self, facts: FileFacts, more: Callable[[BinaryIO], Iterable[str]]) -> Iterator[str]:
        """Compares size and checksum, then checks the content."""
        url = self._store.url(facts.key)
        info = self._store.stat(facts.key)
        if info is None:
            yield f"{url} is missing"
            return
        with self._store.open(facts.key) as file:
            if info.size != facts.bytes:
                yield f"{url} has {plural(info.size, 'byte')}, not {facts.bytes:,}"
            elif sha256_of(file) != facts.sha256:
                yield f"{url} has been modified: its SHA-256 differs"
            for problem in more(file):
                yield f"{url} {problem}"

    def _events_problems(self, file: BinaryIO, content: Content, facts: FileFacts) -> Iterator[str]:
        footer = read_footer(file, self._hour)
        if footer is None:
            yield f"is not an events file of {self._hour}: its footer cannot be read"
            return
        if not footer.rows == facts.rows == content.events:
            events = plural(content.events, "event")
            yield f"has {plural(footer.rows, 'row')}, but the manifest says {facts.rows:,} rows and {events}"
        if footer.content != content:
            yield "has other metadata than the manifest"
        if not footer.schema.equals(self._schema):
            yield f"has another schema: {_difference(footer.schema, self._schema)}"
        if self._deep:
            yield from inner_problems(file, footer.content)

    def _quarantine_problems(self, file: BinaryIO, facts: FileFacts) -> Iterator[str]:
        rows = Counter[str]()
        if not self._deep:
            return
        if not _decodes(file, lambda batch: rows.update(rows=batch.num_rows)):
            yield "cannot be decoded completely"
        elif rows["rows"] != facts.rows:
            yield f"has {plural(rows['rows'], 'row')}, not {facts.rows:,}"


class _ActualCounts:
    """Counts the rows of an events file, and their types and times."""

    def __init__(self) -> None:
        self._rows = 0
        self._types: Counter[str] = Counter()
        self._counted_types = False
        self._times: list[datetime] = []

    def add(self, batch: pa.RecordBatch) -> None:
        """Adds rows."""
        self._rows += batch.num_rows
        if "type" in batch.schema.names:
            self._counted_types = True
            for count in pc.value_counts(batch.column("type")):
                self._types[count["values"].as_py() or ""] += count["counts"].as_py()
        if "created_at" in batch.schema.names:
            found = pc.min_max(batch.column("created_at")).values()
            self._times = _ends([*self._times, *(end.as_py() for end in found if end.is_valid)])

    def differences(self, content: Content) -> Iterator[str]:
        """Yields differences from the content."""
        if self._rows != content.events:
            yield f"has {plural(self._rows, 'row')}, not {content.events:,}"
        if self._counted_types and self._types != content.types:
            yield "has other counts by type than its metadata says"
        expected = [end for end in (content.first_created_at, content.last_created_at) if end is not None]
        if self._times and self._times != expected:
            yield "has events outside of the times that its metadata says"


def _ends(times: list[datetime]) -> list[datetime]:
    return [min(times), max(times)] if times else []


def _decodes(file: BinaryIO, take: Callable[[pa.RecordBatch], object]) -> bool:
    """Decodes every column of every page and passes on the rows; returns False if the file is not valid Parquet."""
    try:
        with closing(pq.ParquetFile(file)) as parquet:
            for batch in parquet.iter_batches(batch_size=_BATCH_ROWS):
                batch.validate(full=True)
                take(batch)
    except (pa.ArrowException, OSError):
        return False
    return True


def _difference(found: pa.Schema, expected: pa.Schema) -> str:
    if found.names != expected.names:
        return f"columns {', '.join(found.names)} instead of {', '.join(expected.names)}"
    pairs = zip(found, expected, strict=True)
    return ", ".join(f"{ours.name} is {ours.type}, not {theirs.type}" for ours, theirs in pairs if ours != theirs)


def _side_by_side(work: Callable[[_T], _R], items: Iterable[_T], workers: int) -> Iterator[_R]:
    """Maps items in parallel threads, in order, with a bounded number of items in progress."""
    waiting: deque[Future[_R]] = deque()
    pool = ThreadPoolExecutor(workers, thread_name_prefix="check")
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= workers * _WAITING_A_WORKER:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
