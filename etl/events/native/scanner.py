"""Python interface of the compiled reader (``scanner.c``), which reads blocks of plain events into columns.

It releases the interpreter lock. Without it, every line is read on its own like irregular lines, with the same result
but in ten times the time.
"""

from __future__ import annotations

import ctypes
import secrets
from collections.abc import Collection
from ctypes import POINTER, c_bool, c_char_p, c_int32, c_int64, c_uint32, c_uint64, c_void_p
from datetime import UTC, datetime, timedelta
from enum import IntFlag
from functools import cache
from typing import Any, Final

import pyarrow as pa
import structlog

from etl.archive.splitting import KINDS, Part, Split
from etl.events import arrow
from etl.events.batch import EventColumns
from etl.events.native.build import library
from etl.events.schema import ARROW_SCHEMA

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_TYPES: Final = 64
_MAX_BYTES: Final = 1 << 30
"""Offsets of Arrow strings have 31 bits."""
_TEXTS: Final[tuple[pa.DataType, ...]] = (pa.string(), pa.binary(), pa.binary(), pa.binary(), pa.string())
"""ID, actor, repository, organization, payload."""

_MEMBERS: Final = ("id", "login", "display_login", "gravatar_id", "url", "avatar_url", "name")
_ENTITY_BYTES: Final = 72
"""Size of the C structure of an entity."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class _Span(ctypes.Structure):
    _fields_ = (("at", c_uint32), ("size", c_uint32))


class _Type(ctypes.Structure):
    _fields_ = (("name", _Span), ("events", c_int64), ("next", c_int64))


class _Summary(ctypes.Structure):
    _fields_ = (("types", c_int64), ("first", c_int64), ("last", c_int64), ("bytes", c_int64 * len(_TEXTS)))


class _Part(ctypes.Structure):
    _fields_ = (("begin", c_int64), ("end", c_int64), ("kind", c_int32), ("lost", c_int32))


class Hidden(IntFlag):
    """Ways in which a text may hide the ``@`` of an address."""

    ESCAPED = 1
    """A character of an address, or of its key, is written as a JSON escape."""
    ENCODED = 2
    """An ``@`` is written with URL or HTML encoding."""


class Scanner:
    """Reads blocks. It is thread-safe.

    Args:
        path: The compiled ``scanner.c``.

    Raises:
        OSError: If it cannot be loaded.
    """

    def __init__(self, path: str) -> None:
        code = ctypes.CDLL(path)
        self._scan: Any = code.scan
        self._scan.argtypes = (c_char_p, c_int64, c_uint64, c_void_p, c_void_p, POINTER(_Summary))
        self._scan.restype = c_int64
        self._lay_out: Any = code.lay_out
        self._lay_out.argtypes = (c_char_p, c_void_p, c_int64, c_void_p, POINTER(_Summary), *(c_void_p,) * 7)
        self._lay_out.restype = None
        self._scan_entities: Any = code.scan_entities
        self._scan_entities.argtypes = (c_void_p, c_void_p, c_int64, c_uint32, c_void_p, *(POINTER(c_int64),) * 2)
        self._scan_entities.restype = c_int64
        self._lay_out_member: Any = code.lay_out_member
        self._lay_out_member.argtypes = (c_void_p, c_void_p, c_int64, c_uint32, *(c_void_p,) * 4)
        self._lay_out_member.restype = None
        self._hash_of: Any = code.hash_of
        self._hash_of.argtypes = (*(c_char_p, c_int64) * 3, c_uint64)
        self._hash_of.restype = c_int64
        self._split: Any = code.split
        self._split.argtypes = (c_char_p, c_int64, c_bool, c_void_p, c_int64, POINTER(c_int64), POINTER(c_bool))
        self._split.restype = c_int64
        self._hidden: Any = code.hidden
        self._hidden.argtypes = (c_char_p, c_int64)
        self._hidden.restype = c_int32
        self._seed = secrets.randbits(64)

    def read(self, lines: bytes) -> EventColumns | None:
        """Reads lines in the Events API format.

        Args:
            lines: One or more complete lines.

        Returns:
            The events; None if anything in the lines is not plain.
        """
        if not 0 < len(lines) < _MAX_BYTES:
            return None
        count, events, types, summary = self._scanned(lines)
        return None if count < 0 else self._laid_out(lines, events, count, types, summary)

    def split(self, text: bytes, *, is_last: bool, recovering: bool = False) -> Split:
        """Splits text; see ``etl.archive.splitting.split``."""
        # Two parts have at least nine bytes, since one of them is a document of at least eight. Unused memory is free.
        most = len(text) // 4 + 16
        room, resolved, state = pa.allocate_buffer(most * ctypes.sizeof(_Part)), c_int64(), c_bool(recovering)
        count = self._split(text, len(text), is_last, room.address, most, resolved, state)
        found = (_Part * count).from_address(room.address)
        parts = [Part(part.begin, part.end, KINDS[part.kind], part.lost) for part in found]
        return Split(parts, resolved.value, state.value)

    def is_plain(self, lines: bytes) -> bool:
        """Returns whether ``read`` accepts the lines.

        Args:
            lines: One or more complete lines.
        """
        return 0 < len(lines) < _MAX_BYTES and self._scanned(lines)[0] >= 0

    def hidden(self, text: bytes) -> Hidden:
        """Returns the ways in which a text may hide addresses; other ways are ruled out."""
        return Hidden(self._hidden(text, len(text)))

    def entities(self, raws: pa.Array[Any], members: Collection[str]) -> dict[str, pa.Array[Any]] | None:
        """Reads actors, repositories or organizations.

        Args:
            raws: The bytes of each (binary), without nulls.
            members: The members they may have: ``id``, a number, and strings.

        Returns:
            A column for each member, null where it is absent; None if a value has any other member.
        """
        buffers: list[Any] = raws.buffers()
        _, ends, data = buffers
        count, start = len(raws), ends.address + 4 * raws.offset
        allowed = sum(1 << _MEMBERS.index(member) for member in members)
        found = pa.allocate_buffer(_ENTITY_BYTES * count)
        having, sizes = (c_int64 * len(_MEMBERS))(), (c_int64 * len(_MEMBERS))()
        if self._scan_entities(data.address, start, count, allowed, found.address, having, sizes) < 0:
            return None

        def column(member: str) -> pa.Array[Any]:
            number = _MEMBERS.index(member)
            has, ids, offsets = (pa.allocate_buffer(size) for size in (count, 8 * count, 4 * (count + 1)))
            texts = pa.allocate_buffer(sizes[number])
            places = (each.address for each in (has, ids, offsets, texts))
            self._lay_out_member(data.address, found.address, count, number, *places)
            valid = None if having[number] == count else arrow.bits(memoryview(has))
            if member == "id":
                return pa.Array.from_buffers(pa.int64(), count, [valid, ids])
            return pa.Array.from_buffers(pa.string(), count, [valid, offsets, texts])

        return {member: column(member) for member in members}

    def key(self, id_: bytes, type_: bytes, created_at: bytes) -> int:
        """Returns the key of an event, as in ``EventColumns.keys``."""
        return int(self._hash_of(id_, len(id_), type_, len(type_), created_at, len(created_at), self._seed))

    def _scanned(self, lines: bytes) -> tuple[int, pa.Buffer, ctypes.Array[_Type], _Summary]:
        events, types, summary = pa.allocate_buffer(len(lines)), (_Type * _MAX_TYPES)(), _Summary()
        count: int = self._scan(lines, len(lines), self._seed, events.address, types, summary)
        return count, events, types, summary

    def _laid_out(
        self,
        lines: bytes,
        events: pa.Buffer,
        count: int,
        types: ctypes.Array[_Type],
        summary: _Summary,
    ) -> EventColumns:
        order = (ctypes.c_uint8 * _MAX_TYPES)()
        rows, times, keys = (pa.allocate_buffer(size * count) for size in (4, 8, 8))
        public, offsets = pa.allocate_buffer(count), pa.allocate_buffer(len(_TEXTS) * 4 * (count + 1))
        data = pa.allocate_buffer(sum(summary.bytes))
        self._lay_out(
            *(lines, events.address, count, types, summary, order, rows.address),
            *(each.address for each in (times, keys, public, offsets, data)),
        )
        texts = _texts(count, summary, offsets, data)
        names = [(types[place].name, types[place].events) for place in order[: summary.types]]
        return EventColumns(
            types=[(lines[name.at : name.at + name.size].decode(), size) for name, size in names],
            keys=_fixed(pa.int64(), count, keys),
            first=_EPOCH + timedelta(microseconds=summary.first),
            last=_EPOCH + timedelta(microseconds=summary.last),
            ids=texts[0],
            payload=texts[-1],
            public=arrow.boolean(memoryview(public)),
            created_at=_fixed(ARROW_SCHEMA.field("created_at").type, count, times),
            entities=dict(zip(("actor", "repo", "org"), texts[1:-1], strict=True)),
        )


@cache
def load_scanner() -> Scanner | None:
    """Returns the compiled reader; None, with one warning, if it is not compiled."""
    path = library()
    try:
        return Scanner(str(path))
    except OSError:
        _log.warning(
            "the compiled reader is missing, an hour takes ten times as long; run `make setup`", path=path.name
        )
        return None


def _fixed(kind: pa.DataType, count: int, values: pa.Buffer) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, count, [None, values])


def _texts(count: int, summary: _Summary, offsets: pa.Buffer, data: pa.Buffer) -> list[pa.Array[Any]]:
    """Returns an array for each text column; the columns are contiguous in the buffers."""
    found, start, size = [], 0, 4 * (count + 1)
    for number, (kind, length) in enumerate(zip(_TEXTS, summary.bytes, strict=True)):
        buffers = [None, offsets.slice(number * size, size), data.slice(start, length)]
        found.append(pa.Array.from_buffers(kind, count, buffers))
        start += length
    return found
