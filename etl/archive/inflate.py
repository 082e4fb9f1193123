"""Inflating an hour: gzip bytes in, text out, and what is broken set aside.

Two ways of the same result. ``inflate`` is fast (ISA-L, two and a half times zlib) and takes sound files,
files of several gzip members, and files that end too early. On anything else it raises
``BrokenStreamError``, and the caller starts again with ``inflate_carefully``, which is slow, keeps
every byte that can be inflated up to the very one that cannot, and hands the rest over as damage.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from isal import igzip_lib, isal_zlib

from etl.archive.damage import Damage, Place, Reason
from etl.errors import SourceUnreachableError

_STEP: Final = 8 << 20
"""Most bytes of text made at once: bounds memory whatever the ratio."""
_CAREFUL_STEP: Final = 64 << 10
_PIECE: Final = 1 << 20
"""Longest run of broken bytes in one ``Damage``."""
_MAGIC: Final = b"\x1f\x8b\x08"
_GZIP: Final = 31
_RAW: Final = -15
_HEADER_SEARCH: Final = 64
"""How far behind the start of a file without a header the deflate stream is looked for."""

Report = Callable[[Damage], None]
"""Takes what is broken, as it is met."""


class BrokenStreamError(Exception):
    """The stream is not plain gzip all the way; ``inflate_carefully`` reads what can be read."""


def inflate(compressed: Iterable[bytes], report: Report, *, max_expanded: int) -> Iterator[bytes]:
    """Inflates a sound gzip file of one or more members, quickly.

    Args:
        compressed: The file in pieces of any size.
        report: Told of a stream that ends too early.
        max_expanded: Most bytes of text before the file counts as a decompression bomb.

    Yields:
        Pieces of text of at most 8 MiB.

    Raises:
        BrokenStreamError: If anything but plain gzip members is met.
        SourceUnreachableError: If the text grows beyond ``max_expanded``.
    """
    member = isal_zlib.decompressobj(_GZIP)
    budget = _Budget(max_expanded)
    position = 0
    begun = False
    for piece in compressed:
        position += len(piece)
        waiting = piece
        while waiting:
            if member.eof:
                member = isal_zlib.decompressobj(_GZIP)
            try:
                text = member.decompress(waiting, _STEP)
            except igzip_lib.error as error:
                raise BrokenStreamError from error
            begun = True
            if text:
                yield budget.spend(text)
            waiting = member.unused_data if member.eof else member.unconsumed_tail
    if not begun or member.eof:
        return
    yield budget.spend(member.flush())
    report(Damage(Reason.TRUNCATED_GZIP, Place.GZIP, position, b""))


def inflate_carefully(compressed: Iterable[bytes], report: Report, *, max_expanded: int) -> Iterator[bytes]:
    """Inflates whatever can be inflated of a broken file and reports the rest, byte for byte.

    A header that is missing or written over is passed by, a flipped bit ends a member, and reading goes on
    with the next member if there is one.

    Args:
        compressed: The file in pieces of any size.
        report: Takes what is broken.
        max_expanded: Most bytes of text before the file counts as a decompression bomb.

    Yields:
        Pieces of text.

    Raises:
        SourceUnreachableError: If the text grows beyond ``max_expanded``.
    """
    source = _Peekable(compressed)
    budget = _Budget(max_expanded)
    while source.peek(1):
        window = source.peek(_CAREFUL_STEP)
        header = _header_length(window)
        if header is None or not _inflates(window[header:], to_events=False):
            guesses = (10, *range(_HEADER_SEARCH))
            start = next((guess for guess in guesses if _inflates(window[guess:], to_events=True)), None)
            if start is None:
                _skip_to_next_member(source, report)
                continue
            if start:
                report(Damage(Reason.BROKEN_GZIP, Place.GZIP, source.position, window[:start]))
        else:
            start = header
        source.take(start)
        yield from map(budget.spend, _member(source, report))


def _member(source: _Peekable, report: Report) -> Iterator[bytes]:
    """Inflates one raw deflate stream and checks the eight bytes of trailer behind it."""
    stream = zlib.decompressobj(_RAW)
    checksum = 0
    length = 0
    while not stream.eof:
        piece = source.peek(_CAREFUL_STEP)
        if not piece:
            report(Damage(Reason.TRUNCATED_GZIP, Place.GZIP, source.position, b""))
            return
        before = stream.copy()
        try:
            text = stream.decompress(piece)
        except zlib.error:
            good, text = _inflate_to_the_last_byte(before, piece)
            source.take(good)
            yield text
            _skip_to_next_member(source, report)
            return
        source.take(len(piece) - len(stream.unused_data))
        checksum = zlib.crc32(text, checksum)
        length += len(text)
        yield text
    trailer = source.peek(8)
    if trailer != struct.pack("<II", checksum, length & 0xFFFFFFFF):
        report(Damage(Reason.WRONG_CHECKSUM, Place.GZIP, source.position, trailer))
    source.take(len(trailer))


def _inflate_to_the_last_byte(stream: zlib._Decompress, piece: bytes) -> tuple[int, bytes]:
    """Feeds byte after byte until the one that breaks; gives how many went in, and their text."""
    text = bytearray()
    for good, value in enumerate(piece):
        try:
            text += stream.decompress(bytes((value,)))
        except zlib.error:
            return good, bytes(text)
    return len(piece), bytes(text)


def _skip_to_next_member(source: _Peekable, report: Report) -> None:
    """Hands everything up to the next gzip member over as broken."""
    first = True
    reason = Reason.TRAILING_BYTES if not source.peek(_PIECE).strip(b"\0") else Reason.BROKEN_GZIP
    while window := source.peek(_PIECE):
        found = window.find(_MAGIC, 1 if first else 0)
        size = found if found >= 0 else max(len(window) - len(_MAGIC) + 1, 1)
        if len(window) < len(_MAGIC):
            size = len(window)
        report(Damage(reason, Place.GZIP, source.position, window[:size]))
        source.take(size)
        if found >= 0:
            return
        first = False


def _inflates(compressed: bytes, *, to_events: bool) -> bool:
    """Whether a deflate stream begins here: one that makes text, and, if asked, text like an hour's."""
    stream = zlib.decompressobj(_RAW)
    try:
        text = stream.decompress(compressed, _CAREFUL_STEP)
    except zlib.error:
        # A few good bytes may be followed by the break within this window; a stream has begun all the same.
        stream = zlib.decompressobj(_RAW)
        _, text = _inflate_to_the_last_byte(stream, compressed)
    if to_events:
        return text.lstrip(b"\0 \t\r\n\xef\xbb\xbf").startswith(b"{")
    return bool(text) or stream.eof


def _header_length(data: bytes) -> int | None:
    """Length of the gzip header (RFC 1952, section 2.3) that ``data`` begins with; None without one."""
    if not data.startswith(_MAGIC) or len(data) < 10:
        return None
    flags, at = data[3], 10
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    return at + 2 if flags & 2 else at


class _Budget:
    """Counts text against the limit that stops a decompression bomb."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit

    def spend(self, text: bytes) -> bytes:
        self._left -= len(text)
        if self._left < 0:
            raise SourceUnreachableError(
                f"the file inflates to more than {self._limit:,} bytes and was not read further",
                hint="if the hour is really that large, raise max_expanded_gib",
            )
        return text


class _Peekable:
    """Bytes that can be looked at before they are taken."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = b""
        self.position = 0

    def peek(self, size: int) -> bytes:
        while len(self._held) < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        return self._held[:size]

    def take(self, size: int) -> None:
        self._held = self._held[size:]
        self.position += size
