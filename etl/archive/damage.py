"""What cannot be read as it stands, kept byte for byte.

The kinds were all met in published hours: ``docs/explanation/facts.md`` lists them with their hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class DamageReason(StrEnum):
    """Why some bytes could not be read as they stood."""

    BROKEN_GZIP = "broken gzip"
    """Compressed bytes that cannot be inflated: a header written over, a flipped bit and all behind it."""
    TRUNCATED_GZIP = "truncated gzip"
    """The compressed stream ended before its end; marks the place and holds no bytes."""
    WRONG_CHECKSUM = "wrong gzip checksum"
    """The stream inflates, but its CRC-32 or length differs; marks the place and holds the trailer."""
    TRAILING_BYTES = "bytes after the gzip stream"
    NUL_BYTES = "NUL bytes"
    CUT_DOCUMENT = "cut document"
    """Bytes that begin or end no complete JSON document."""
    NOT_AN_EVENT = "not an event"
    """Sound JSON that is no object or has none of an event's keys."""
    INVALID_UTF8 = "invalid UTF-8"
    """The event was kept with U+FFFD in the place of each bad sequence; this is how it stood."""
    TOO_LONG = "line too long"
    TOO_DEEP = "nested too deeply"
    DUPLICATE_KEYS = "duplicate keys"
    """The event was kept with the last value of each key, as JSON parsers do; this is how it stood."""


class OffsetBase(StrEnum):
    """What an offset counts."""

    GZIP = "gzip"
    """Bytes of the file as downloaded."""
    INNER = "inner"
    """Bytes of a container that is packed in another container, from the beginning of the inner one."""
    TEXT = "text"
    """Bytes of the inflated text."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A run of bytes that could not be read as it stood.

    Attributes:
        reason: Why.
        place: What ``offset`` counts.
        offset: Where the run begins, in bytes.
        data: The very bytes.
        kept: Whether an event was made of them all the same (it is mended, not lost).
        lost: Documents lost with them; 0 where no document can have stood.
    """

    reason: DamageReason
    place: OffsetBase
    offset: int
    data: bytes
    kept: bool = False
    lost: int = 0


DamageCallback = Callable[[Damage], None]
"""Takes what is damaged, as it is met."""
