"""Blocks of text in, row groups of the one schema out, and what there is to count on the way.

Every block is first read whole (``etl.events.native.scanner``). One that is not plain through and through is split into
documents, and these are halved until the ones that are not plain stand alone; these are read one by one
(``etl.archive.documents``, ``etl.events.record``). A document over several lines is first put on one.
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
from etl.events.canonical import canonical
from etl.events.columns import to_table
from etl.events.emails import EmailPolicy, spells_addresses
from etl.events.native.scanner import Hidden, load_scanner
from etl.events.record import Row, is_timeline, row_of

ROW_GROUP_ROWS: Final = 100_000
ROW_GROUP_BYTES: Final = 36 << 20
"""A row group is closed at this many rows or bytes, whichever comes first: two of them are in memory at a time."""

_TIMELINE_BEGINS: Final = datetime(2012, 3, 10, 12, tzinfo=UTC)
"""Within the hole between era A's last hour (2012-03-10-8) and era B's first (2012-03-10-22)."""
_TRIM_BEGINS: Final = datetime(2025, 10, 7, tzinfo=UTC)
"""Since this day pushes and pull requests are trimmed: era D."""
_PUSH: Final = f'"{PUSH}"'.encode()


@dataclass
class HourCounts:
    """What was counted in an hour.

    Attributes:
        events: Events by type; an event without one counts under the empty text.
        first: Earliest ``created_at``, None without any.
        last: Latest ``created_at``, None without any.
        eras: Letters of the eras of the documents, as their form and time tell.
    """

    types: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None
    eras: set[str] = field(default_factory=set)
    _keys: list[pa.Array[Any]] = field(default_factory=list)
    _row_keys: array[int] = field(default_factory=lambda: array("q"))

    @property
    def events(self) -> int:
        """How many events there were."""
        return self.types.total()

    @property
    def duplicates(self) -> int:
        """How many events say the same as an earlier one."""
        keys = pa.chunked_array([*self._keys, arrow.int64(self._row_keys)])
        return len(keys) - int(pc.count_distinct(keys).as_py())

    def add_columns(self, part: EventColumns) -> None:
        """Counts plain events."""
        for name, count in part.types:
            self.types[name] += count
        self._see(part.first)
        self._see(part.last)
        self.eras.update((_era(part.first), _era(part.last)))
        self._keys.append(part.keys)

    def add_row(self, row: Row, document: Document) -> None:
        """Counts one event."""
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
    """Events that are written together."""

    parts: list[EventColumns] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    bytes: int = 0

    def __len__(self) -> int:
        return sum(map(len, self.parts)) + len(self.rows)

    @property
    def full(self) -> bool:
        """Whether it should be written now."""
        return len(self) >= ROW_GROUP_ROWS or self.bytes >= ROW_GROUP_BYTES

    def table(self) -> pa.Table:
        """The events as a table of the nineteen columns (``etl.events.columns.PARQUET_SCHEMA``)."""
        return to_table(self.parts, self.rows)


ReadBlock = EventColumns | Block
"""A block as far as it can be read without regard to others: its events, or itself where they are read one by one."""


class Decoder:
    """Reads blocks into row groups, in two steps that two threads may take.

    Attributes:
        counts: What was counted so far.
    """

    def __init__(self, emails: EmailPolicy, report: Callable[[Damage], None]) -> None:
        self.counts = HourCounts()
        self._emails = emails
        self._report = report
        self._group = RowGroup()

    def read(self, block: Block) -> ReadBlock:
        """Takes the first step with a block: parses it. Safe on any thread, as nothing else is touched."""
        events = self._columns(block.data)
        return block if events is None else events

    def add(self, found: ReadBlock) -> RowGroup | None:
        """Takes the second step; gives a row group when enough has come together."""
        self._take(found)
        return self.rest() if self._group.full else None

    def rest(self) -> RowGroup:
        """Returns the row group collected so far, and starts a new one."""
        group, self._group = self._group, RowGroup()
        return group

    def _columns(self, data: bytes) -> EventColumns | None:
        """Reads lines together, if each is plain and none spells an address as escapes, which only ``_treat`` sees."""
        if (scan := load_scanner()) is None:
            return None
        lines, shows_damage = self._emails.scrub_block(data)
        # What was replaced may have been unsound, or an escape: the lines as they stand must be plain too.
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
        """Reads a block that is not plain as a whole."""
        if not block.data.strip(b" \t\r\n"):
            return
        self._read_parts(block, splitter()(block.data, is_last=True).parts)

    def _read_parts(self, block: Block, parts: Sequence[Part]) -> None:
        """Reads documents together where they are plain, and finds the ones that are not by halving."""
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
        """Reads one document, or reports what is none."""
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
            _spell_alike(row)
        self._group.rows.append(row)
        self._group.bytes += len(treated.data)
        self.counts.add_row(row, treated)

    def _treat(self, document: Document) -> Document:
        """Treats every address in a document."""
        data = self._emails.scrub_document(document.data)
        pairs = document.members if data is document.data else members(data)
        if pairs is None:
            raise AssertionError("treating addresses broke a document")  # a defect here
        # Without a type that can be read, it may be a push.
        may_be_push = all(raw == _PUSH for key, raw in pairs if key == "type")
        bare = {"actor_attributes"} | ({"payload"} if may_be_push else set())
        pairs = [(key, self._emails.scrub_bare_fields(raw) if key in bare else raw) for key, raw in pairs]
        # What is left of a cut document may be its actor_attributes alone.
        key_text = b'"email":'
        pairs = [
            (key, self._emails.scrub_bare_fields(key_text + raw)[len(key_text) :] if key == "email" else raw)
            for key, raw in pairs
        ]
        return Document(document.offset, data, pairs)


def _spell_alike(row: Row) -> None:
    """Writes the JSON of a record without an id in its canonical spelling, by which the warehouse finds its copies."""
    for name in ("payload", "other"):
        if row[name] is not None:
            row[name] = canonical(str(row[name]))


def _key(row: Row, fields: Mapping[str, bytes]) -> int:
    """Tells by what two events are the same: by id, type and time, or without an id by all they say."""
    if row["id"] is None:
        return hash(tuple(row.values()))
    # Half a surrogate pair has no bytes of its own in UTF-8.
    id_, type_ = (str(row[name] or "").encode(errors="surrogatepass") for name in ("id", "type"))
    said = (id_, type_, fields.get("created_at", b"")[1:-1])
    scan = load_scanner()
    return hash(said) if scan is None else scan.key(*said)


def splitter() -> Splitter:
    """Returns what splits text: the compiled code, or where that is absent its definition."""
    scan = load_scanner()
    return split if scan is None else scan.split


def _is_timeline(data: bytes) -> bool:
    """Whether a document is of the timeline form, so that its neighbours will be too."""
    found = members(data)
    return found is not None and is_timeline(dict(found))


def _era(created_at: datetime) -> str:
    if created_at < _TIMELINE_BEGINS:
        return "A"
    return "C" if created_at < _TRIM_BEGINS else "D"
