"""What the tests of reading are made of: gzip members of any form, bytes in pieces, events of all eras, damage."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from hypothesis import strategies as st

from etl.archive.damage import Damage
from etl.hours import Hour
from etl.practice.generator import generate_hour

EVENTS: Final = tuple(
    line.rstrip(b"\n")
    for hour in ("2011-02-15-0", "2013-02-15-0", "2024-05-21-15", "2025-12-15-0")
    for line in generate_hour(Hour.parse(hour), events=40)
    if len(line) < 4_000
)
"""Made-up events in the forms of the four eras, without line ends."""

LINES: Final = tuple(event + b"\n" for event in EVENTS)

events = st.sampled_from(EVENTS)
lines = st.sampled_from(LINES)


def deflate(text: bytes, level: int = 6) -> bytes:
    """Makes a raw deflate stream."""
    stream = zlib.compressobj(level, wbits=-15)
    return stream.compress(text) + stream.flush()


def member(
    text: bytes,
    *,
    level: int = 6,
    extra: bytes | None = None,
    name: bytes | None = None,
    comment: bytes | None = None,
    header_checksum: bool = False,
) -> bytes:
    """Makes one gzip member (RFC 1952), with the optional fields that are given."""
    fields = b"" if extra is None else struct.pack("<H", len(extra)) + extra
    fields += b"".join(field + b"\0" for field in (name, comment) if field is not None)
    flags = 4 * (extra is not None) | 8 * (name is not None) | 16 * (comment is not None) | 2 * header_checksum
    header = b"\x1f\x8b\x08" + bytes((flags, 0, 0, 0, 0, 0, 3)) + fields
    if header_checksum:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    return header + deflate(text, level) + struct.pack("<II", zlib.crc32(text), len(text))


def inflatable(compressed: bytes) -> bytes:
    """What zlib inflates of the beginning of a gzip file, up to where it breaks or ends."""
    text = bytearray()
    stream = zlib.decompressobj(31)
    for at in range(len(compressed)):
        if stream.eof:
            stream = zlib.decompressobj(31)
        try:
            text += stream.decompress(compressed[at : at + 1])
        except zlib.error:
            break
    return bytes(text)


def split(data: bytes, places: Sequence[int]) -> list[bytes]:
    """Cuts at places, each of which is taken modulo the length; equal places make empty pieces."""
    cuts = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in pairwise([0, *cuts, len(data)])]


def in_pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


splits = st.one_of(
    st.lists(st.integers(0, 1 << 20), max_size=8),
    st.just(range(1 << 12)),  # every byte, or the first 4,096 of them, for itself
)


@st.composite
def mutations(draw: st.DrawFn, data: bytes, *, most: int = 3) -> tuple[bytes, int]:
    """Damages data: flips, cuts out, writes over, puts in. Gives it with the place of the first difference."""
    broken, first = data, len(data)
    for _ in range(draw(st.integers(1, most))):
        at = draw(st.integers(0, len(broken)))
        size = draw(st.integers(0, 40))
        put = draw(st.one_of(st.binary(max_size=30), st.integers(0, 30).map(bytes), st.just(b"\x1f\x8b\x08")))
        broken = broken[:at] + put + broken[at + size :]
        first = min(first, at)
    return broken, first


def is_in_order(damage: Sequence[Damage]) -> bool:
    """Whether no two runs overlap, and each comes behind those before it."""
    return all(before.offset + len(before.data) <= after.offset for before, after in pairwise(damage))
