"""Damaged data in an hour, kept byte for byte.

Every kind was found in published hours; ``docs/explanation/facts.md`` lists them with their hours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum


class DamageReason(StrEnum):
    """Why some bytes could not be read as they are."""

    BROKEN_GZIP = "broken gzip"
    """Compressed bytes that cannot be decompressed: an overwritten header, or a flipped bit and everything after it."""
    TRUNCATED_GZIP = "truncated gzip"
    """The compressed stream ends early. The record marks the position and has no bytes."""
    WRONG_CHECKSUM = "wrong gzip checksum"
    """The stream can be decompressed, but its CRC-32 or length differs. The record has the trailer's bytes."""
    TRAILING_BYTES = "bytes after the gzip stream"
    NUL_BYTES = "NUL bytes"
    CUT_DOCUMENT = "cut document"
    """Part of a JSON document whose beginning or end is missing."""
    NOT_AN_EVENT = "not an event"
    """Valid JSON that is not an object or has none of an event's keys."""
    INVALID_UTF8 = "invalid UTF-8"
    """The event was kept, with U+FFFD in place of each invalid sequence. These are the original bytes."""
    TOO_LONG = "line too long"
    TOO_DEEP = "nested too deeply"
    DUPLICATE_KEYS = "duplicate keys"
    """The event was kept with the last value of each key, as JSON parsers do. These are the original bytes."""


class OffsetBase(StrEnum):
    """What an offset is relative to."""

    GZIP = "gzip"
    """Bytes of the file as downloaded."""
    INNER = "inner"
    """Bytes of a container inside another container, from the start of the inner one."""
    TEXT = "text"
    """Bytes of the decompressed text."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A run of bytes that could not be read as it is.

    Attributes:
        reason: Why it could not be read.
        place: What ``offset`` is relative to.
        offset: Start of the run, in bytes.
        data: The original bytes.
        kept: Whether they were repaired and kept as an event.
        lost: Number of documents lost with them; 0 if they cannot have contained one.
    """

    reason: DamageReason
    place: OffsetBase
    offset: int
    data: bytes
    kept: bool = False
    lost: int = 0


DamageCallback = Callable[[Damage], None]
"""Callback that receives each piece of damage as it is found."""
