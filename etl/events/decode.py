"""Decodes blocks of text to row groups, and counts events.

A block is first read as a whole (``etl.events.native.scanner``). If it is not entirely plain, it is split into
documents, and their list is halved repeatedly to isolate the documents that are not plain, which are read one by one
(``etl.archive.documents``, ``etl.events.record``). Documents of several lines are first joined to one line.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.archive.damage import Damage
from etl.archive.documents import Block, Document, compacted, members, read_document, report_part
from etl.archive.splitting import Part, Splitter, split
from etl.events import arrow
from etl.events.batch import PUSH, EventColumns
from etl.events.columns import to_table
from etl.events.emails import EmailPolicy, spells_addresses
from etl.events.native.scanner import Hidden, load_scanner
from etl.events.record import Row, canonical_row, comparison_key, is_timeline, row_of

ROW_GROUP_ROWS: Final = 100_000
ROW_GROUP_BYTES: Final = 36 << 20
"""A row group is closed at this many rows or bytes, whichever comes first. Up to two are in memory at a time."""

_TIMELINE_BEGINS: Final = datetime(2012, 3, 10, 12, tzinfo=UTC)
"""In the gap between the last hour of era A (2012-03-10-8) and the first of era B (2012-03-10-22)."""
_TRIM_BEGINS: Final = datetime(2025, 10, 7, tzinfo=UTC)
"""Start of era D, in which pushes and pull requests are trimmed."""
_PUSH: Final = f'"{PUSH}"'.encode()


@dataclass
class HourCounts:
    """Counts of an hour's events.

    Attributes:
        types: Number of events by type; events without a type are counted under the empty string.
        first: Earliest ``created_at``; None without any.
        last: Latest ``created_at``; None without any.
        eras: Letters of the eras of the documents, detected from their format and time.
    """

    types: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    eras: set[str] = field(default_factory=set)
    _keys: list[pa.Array[Any]] = field(default_factory=list)
    _row_keys: array[int] = field(default_factory=lambda: array("q"))

    @property
    def events(self) -> int:
        """Number of events."""
        return self.types.total()

    @property
    def duplicates(self) -> int:
        """Number of events that duplicate an earlier one."""
        keys = pa.chunked_array([*self._keys, arrow.int64(self._row_keys)])
        return len(keys) - int(pc.count_distinct(keys).as_py())

    def add_columns(self, part: EventColumns) -> None:
        """Adds plain events."""
        for name, count in part.types:
            self.types[name] += count
        self._see(part.first)
        self._see(part.last)
        self.eras.update((_era(part.first), _era(part.last)))
        self._keys.append(part.keys)

    def add_row(self, row: Row, document: Document) -> None:
        """Adds one event."""
        fields = dict(document.members)
        self.types[str(row["type"] or "")] += 1
        created_at = row["created_at"]
        if isinstance(created_at, datetime):
            self._see(created_at)
        if is_timeline(fields):
            self.eras.add("B")
        elif isinstance(created_at, datetime):
            self.eras.add(_era(created_at))
        self._row_keys.append(_key(row, fields))

    def _see(self, time: datetime) -> None:
        self.first = time if self.first is None else min(self.first, time)
        self.last = time if self.last is None else max(self.last, time)


@dataclass
class RowGroup:
    """Events that form a row group."""

    parts: list[EventColumns] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    bytes: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.parts)) + len(self.rows)

    @property
    def full(self) -> bool:
        """Whether it is large enough to be written."""
        return len(self) >= ROW_GROUP_ROWS or self.bytes >= ROW_GROUP_BYTES

    def table(self) -> pa.Table:
        """Returns the events as a table (``etl.events.columns.PARQUET_SCHEMA``)."""
        return to_table(self.parts, self.rows)


ReadBlock = EventColumns | Block
"""Result of parsing a block: its events, or the block itself if they must be read one by one."""


class Decoder:
    """Decodes blocks to row groups, in two steps that can run in two threads.

    Attributes:
        counts: Counts so far.
    """

    def __init__(self, emails: EmailPolicy, report: Callable[[Damage], None]) -> None:
        self.counts = HourCounts()
        self._emails = emails
        self._report = report
        self._group = RowGroup()

    def read(self, block: Block) -> ReadBlock:
        """First step: parses a block. It is thread-safe, since it changes no state."""
        events = self._columns(block.data)
        return block if events is None else events

    def add(self, found: ReadBlock) -> RowGroup | None:
        """Second step: adds a parsed block; returns a row group when it is full."""
        self._take(found)
        return self.rest() if self._group.full else None

    def rest(self) -> RowGroup:
        """Returns the current row group, and starts a new one."""
        group, self._group = self._group, RowGroup()
        return group

    def _columns(self, data: bytes) -> EventColumns | None:
        """Reads lines together; returns None if one is not plain or has an address as escapes (see ``_treat``)."""
        if (scan := load_scanner()) is None:
            return None
        lines, shows_damage = self._emails.scrub_block(data)
        # What was replaced may have been invalid, or an escape, so the original lines must be plain too.
        if not shows_damage and (spells_addresses(data) or not scan.is_plain(data)):
            return None
        events = scan.read(lines)
        if events is not None and not self._emails.keeps and (hidden := scan.hidden(lines)):
            if Hidden.ESCAPED in hidden and spells_addresses(lines):
                return None
            treated = self._emails.scrub_encoded(lines) if Hidden.ENCODED in hidden else lines
            events = events if treated is lines else scan.read(treated)
        if events is not None:
            events.scrub_bare_fields(self._emails)
        return events

    def _take(self, found: ReadBlock) -> None:
        if isinstance(found, Block):
            self._read_by_halves(found)
            return
        self._group.parts.append(found)
        self._group.bytes += found.bytes
        self.counts.add_columns(found)

    def _read_by_halves(self, block: Block) -> None:
        """Reads a block that is not entirely plain."""
        if not block.data.strip(b" \t\r\n"):
            return
        self._read_parts(block, splitter()(block.data, is_last=True).parts)

    def _read_parts(self, block: Block, parts: Sequence[Part]) -> None:
        """Reads documents together if they are plain; otherwise isolates those that are not by halving."""
        documents = [block.data[part.begin : part.end] for part in parts if part.reason is None]
        if not documents or _is_timeline(documents[0]):
            for part in parts:
                self._read_part(block, part)
            return
        lines = b"".join([compacted(document) + b"\n" for document in documents])
        events = None if lines == block.data else self._columns(lines)
        if events is not None:
            self._take(events)
            for part in parts:
                if part.reason is not None:
                    self._read_part(block, part)
            return
        if len(parts) == 1:
            self._read_part(block, parts[0])
            return
        middle = len(parts) // 2
        self._read_parts(block, parts[:middle])
        self._read_parts(block, parts[middle:])

    def _read_part(self, block: Block, part: Part) -> None:
        """Reads one document, or reports damage."""
        if part.reason is not None:
            report_part(part, block.data, block.offset, self._report)
            return
        data = block.data[part.begin : part.end]
        found = read_document(data, block.offset + part.begin, self._report)
        if found is not None:
            self._add_row(found)

    def _add_row(self, document: Document) -> None:
        treated = self._treat(document)
        row = row_of(treated)
        if row["id"] is None:
            row = canonical_row(row, treated)
        self._group.rows.append(row)
        self._group.bytes += len(treated.data)
        self.counts.add_row(row, treated)

    def _treat(self, document: Document) -> Document:
        """Treats all e-mail addresses in a document."""
        data = self._emails.scrub_document(document.data)
        pairs = document.members if data is document.data else members(data)
        if pairs is None:
            raise AssertionError("treating addresses broke a document")  # a bug
        # Without a readable type, it may be a push.
        may_be_push = all(raw == _PUSH for key, raw in pairs if key == "type")
        scrubbers: dict[str, Callable[[bytes], bytes]] = {"actor_attributes": self._emails.scrub_bare_fields}
        if may_be_push:
            scrubbers["payload"] = self._emails.scrub_bare_fields
        # A document may be all that is left of the actor_attributes of a cut one.
        scrubbers["email"] = self._emails.scrub_bare_value
        pairs = [(key, scrubbers[key](raw) if key in scrubbers else raw) for key, raw in pairs]
        return Document(document.offset, data, pairs)


def _key(row: Row, fields: Mapping[str, bytes]) -> int:
    """Returns a hash that duplicates have in common: of id, type and time, or without an id of the whole record."""
    if row["id"] is None:
        return hash(comparison_key(row))
    # A lone surrogate has no encoding in UTF-8.
    id_, type_ = (str(row[name] or "").encode(errors="surrogatepass") for name in ("id", "type"))
    key = (id_, type_, fields.get("created_at", b"")[1:-1])
    scan = load_scanner()
    return hash(key) if scan is None else scan.key(*key)


def splitter() -> Splitter:
    """Returns the compiled splitter, or the Python implementation if it is not compiled."""
    scan = load_scanner()
    return split if scan is None else scan.split


def _is_timeline(data: bytes) -> bool:
    """Returns whether a document has the timeline format, in which case its neighbours have it too."""
    found = members(data)
    return found is not None and is_timeline(dict(found))


def _era(created_at: datetime) -> str:
    if created_at < _TIMELINE_BEGINS:
        return "A"
    return "C" if created_at < _TRIM_BEGINS else "D"
