"""Decompresses the bytes of an hour's file to UTF-8 text, and reports damage.

A file is nearly always gzip; for other formats see ``etl.archive.containers``, for text encodings
``etl.archive.encoding``. Containers of any format may be concatenated and nested.

There are two implementations with the same result. ``inflate`` is fast (ISA-L, two and a half times as fast as zlib)
and accepts valid files, files with several members, and truncated files. For anything else it raises
``BrokenStreamError``, and the caller starts again with ``inflate_damaged``, which is slow, recovers every byte up to
the first that cannot be decompressed, and reports the rest as damage.
"""

from __future__ import annotations

import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import Final

from isal import igzip_lib, isal_zlib

from etl.archive.containers import (
    GZIP_MAGIC,
    BrokenContainerError,
    Form,
    TruncatedContainerError,
    find_start,
    form_of,
    read_text,
    read_zip,
    read_zstd,
    skip_zip_trailer,
    starts_with_json,
)
from etl.archive.damage import Damage, DamageCallback, DamageReason, OffsetBase
from etl.archive.encoding import Transcoder
from etl.archive.peekable import Peekable
from etl.errors import SourceUnreachableError

_STEP: Final = 8 << 20
"""Maximum bytes of text per step, which bounds memory for any compression ratio."""
_RECOVERY_STEP: Final = 64 << 10
_STRIDE: Final = 128 << 10
"""Compressed bytes per step. The resulting text fits into the processor's cache, which is twice as fast as 1 MiB;
smaller steps take the interpreter lock from other threads too often."""
_RECENT_STRIDES: Final = 32
"""Number of strides that are kept to search them for the start of another member."""
_PIECE: Final = 1 << 20
"""Maximum number of broken bytes in one ``Damage``."""
_HEADER: Final = 10
"""Bytes of a gzip header without optional fields, which an overwritten header most likely had."""
_TRAILER: Final = 8
_GZIP: Final = 31
_RAW: Final = -15
_START_REACH: Final = 512
"""Bytes at the end of a window in which a start may be too close to the end to be recognized."""
_NEST_WINDOW: Final = 4096
_MAX_NESTING: Final = 3
"""Maximum nesting of containers; deeper ones are treated as text."""
_HEADER_SEARCH: Final = 64
"""Bytes after the start of a file without a header in which the deflate stream is searched for."""

_MAX_EMPTY_PIECES: Final = 256
"""Maximum number of consecutive chunks without text. An empty member has only 20 bytes, but takes the most time per
byte."""


class BrokenStreamError(Exception):
    """The stream is damaged; ``inflate_damaged`` recovers what is readable."""


def inflate(compressed: Iterable[bytes], report: DamageCallback, *, max_expanded: int) -> Iterator[bytes]:
    """Decompresses a valid file of one or more containers.

    Args:
        compressed: The file, in chunks of any size.
        report: Receives damage: a gzip stream that ends early.
        max_expanded: Maximum bytes of text; more counts as a decompression bomb.

    Yields:
        Chunks of UTF-8 text.

    Raises:
        BrokenStreamError: If anything is damaged, or is neither a container nor JSON.
        SourceUnreachableError: If the text is larger than ``max_expanded``.
    """
    return _in_utf8(_sound_parts(Peekable(compressed), report, _ExpansionLimit(max_expanded), _MAX_NESTING))


_Part = Iterator[bytes]
"""The text of one container, in chunks."""


def _in_utf8(parts: Iterator[_Part]) -> Iterator[bytes]:
    """Converts the text of each container to UTF-8 and joins them."""
    transcoder = Transcoder()
    for part in parts:
        yield from transcoder.begin()
        for piece in part:
            if text := transcoder.feed(piece):
                yield text
    yield from transcoder.finish()


def _sound_parts(source: Peekable, report: DamageCallback, budget: _ExpansionLimit, depth: int) -> Iterator[_Part]:
    # The window has the whole header: ISA-L misreads some headers that are split into several chunks.
    while window := source.peek(_PIECE):
        form = form_of(window)
        if form is None:
            raise BrokenStreamError
        text = _sound_member(source, report) if form is Form.GZIP else _sound_other(source, form)
        nest = partial(_sound_parts, report=_with_inner_offsets(report), budget=budget)
        yield from _nested(_limited(text, budget), nest, depth)


def _sound_other(source: Peekable, form: Form) -> _Part:
    try:
        yield from _READERS[form](source)
    except (BrokenContainerError, TruncatedContainerError) as error:
        raise BrokenStreamError from error


def _limited(text: _Part, budget: _ExpansionLimit) -> _Part:
    return map(budget.spend, text)


def _nested(text: _Part, parts: Callable[..., Iterator[_Part]], depth: int) -> Iterator[_Part]:
    """Yields the text of a container or, if it has nested containers, their texts."""
    held: list[bytes] = []
    for piece in text:
        held.append(piece)
        if sum(map(len, held)) >= _NEST_WINDOW:
            break
    whole = chain(held, text)
    if depth and held and _is_container(b"".join(held)):
        yield from parts(Peekable(whole), depth=depth - 1)
    else:
        yield whole


def _with_inner_offsets(report: DamageCallback) -> DamageCallback:
    """Marks the offsets of damage in a nested container as such."""
    return lambda damage: report(replace(damage, place=OffsetBase.INNER))


def _is_container(text: bytes) -> bool:
    """Returns whether a container starts here; gzip data must decompress, as its three bytes may match by chance."""
    form = form_of(text)
    if form is Form.GZIP:
        header = _header_length(text)
        return header is not None and not _inflate_start(text[header:])[1]
    return form in {Form.ZSTD, Form.ZIP}


def _sound_member(source: Peekable, report: DamageCallback) -> Iterator[bytes]:
    """Decompresses one gzip member, which may end early but must yield some text."""
    stream = isal_zlib.decompressobj(_GZIP)
    begun = False
    recent: deque[bytes] = deque(maxlen=_RECENT_STRIDES)
    while not stream.eof and (piece := source.peek(_STRIDE if recent else _PIECE)):
        recent.append(piece)
        try:
            text = stream.decompress(piece, _STEP)
        except igzip_lib.error as error:  # type: ignore[misc]  # a class, but its stubs say instance
            raise BrokenStreamError from error
        source.take(len(piece) - len(stream.unused_data or stream.unconsumed_tail))
        begun = begun or bool(text)
        yield text
    if stream.eof:
        return
    # Another member may follow a truncated one, and may have been decompressed as part of it.
    if not begun or b"".join(recent).find(GZIP_MAGIC, 1) >= 0:
        raise BrokenStreamError
    yield stream.flush()
    report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))


def inflate_damaged(compressed: Iterable[bytes], report: DamageCallback, *, max_expanded: int) -> Iterator[bytes]:
    """Decompresses what is readable of a damaged file, and reports the rest byte for byte.

    A missing or overwritten header is skipped. A flipped bit ends a member, and reading continues with the next member
    if there is one.

    Args:
        compressed: The file, in chunks of any size.
        report: Receives damage.
        max_expanded: Maximum bytes of text; more counts as a decompression bomb.

    Yields:
        Chunks of UTF-8 text.

    Raises:
        SourceUnreachableError: If the text is larger than ``max_expanded``.
    """
    return _in_utf8(_recovered_parts(Peekable(compressed), report, _ExpansionLimit(max_expanded), _MAX_NESTING))


def _recovered_parts(source: Peekable, report: DamageCallback, budget: _ExpansionLimit, depth: int) -> Iterator[_Part]:
    begun = lost = False
    while window := source.peek(_RECOVERY_STEP):
        form = form_of(window)
        nest = partial(_recovered_parts, report=_with_inner_offsets(report), budget=budget)
        if form is not None and form in _READERS:
            begun, lost = True, False
            yield from _nested(_limited(_recovered_other(source, form, report), budget), nest, depth)
            continue
        # A start found only by its magic number does not follow an overwritten header, so no guess is made there.
        start = _stream_start(window, guess=not lost)
        lost = start is None
        if start is None:
            # Some disks and tapes pad files with zeros; after a complete stream they are not damage.
            padding = begun and not window.strip(b"\0")
            _skip_to_next_start(source, report, DamageReason.TRAILING_BYTES if padding else DamageReason.BROKEN_GZIP)
            continue
        if start and start != _header_length(window):
            report(Damage(DamageReason.BROKEN_GZIP, OffsetBase.GZIP, source.position, window[:start]))
        begun = True
        source.take(start)
        yield from _nested(_limited(_recovered_member(source, report), budget), nest, depth)


def _recovered_other(source: Peekable, form: Form, report: DamageCallback) -> _Part:
    """Reads a container that is not gzip, and reports damage."""
    begin = source.position
    try:
        yield from _READERS[form](source)
    except TruncatedContainerError:
        if source.position == begin:
            # Even its header is incomplete.
            _skip_to_next_start(source, report, DamageReason.BROKEN_GZIP)
        else:
            report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))
    except BrokenContainerError:
        if source.position == begin or form_of(source.peek(_RECOVERY_STEP)) is None:
            _skip_to_next_start(source, report, DamageReason.BROKEN_GZIP)
        else:
            report(Damage(DamageReason.WRONG_CHECKSUM, OffsetBase.GZIP, source.position, b""))


def _stream_start(window: bytes, *, guess: bool) -> int | None:
    """Returns where a deflate stream starts: after the header or, with ``guess``, where a header seems to have been."""
    # A few bytes can be decompressed from nearly any position by chance. Among broken streams, the longest is right.
    lengths: dict[int, int] = {}
    header = _header_length(window)
    if header is not None:
        text, broken = _inflate_start(window[header:])
        if not broken:
            return header
        lengths[header] = len(text)
    if guess:
        for at in (_HEADER, *range(_HEADER_SEARCH)):
            text, _ = _inflate_start(window[at:])
            lengths.setdefault(at, len(text) if starts_with_json(text) else 0)
    best = max(lengths, key=lengths.__getitem__, default=0)
    return best if lengths.get(best) else None


def _is_member(window: bytes) -> bool:
    """Returns whether a gzip member with JSON certainly starts here."""
    header = _header_length(window)
    if header is None:
        return False
    text, broken = _inflate_start(window[header:])
    return not broken and starts_with_json(text)


def _recovered_member(source: Peekable, report: DamageCallback) -> Iterator[bytes]:
    """Decompresses one raw deflate stream and checks the eight-byte trailer after it."""
    stream = zlib.decompressobj(_RAW)
    checksum = 0
    length = 0
    while not stream.eof:
        piece = source.peek(_RECOVERY_STEP)
        if not piece or (piece.startswith(GZIP_MAGIC) and _is_member(piece)):
            report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))
            return
        # Stop at what may be the next member: this one may be truncated, and would run into it.
        piece = piece[: found if (found := piece.find(GZIP_MAGIC, 1)) > 0 else len(piece)]
        before = stream.copy()
        try:
            text = stream.decompress(piece)
        except zlib.error:
            good, text = _inflate_bytewise(before, piece)
            source.take(good)
            yield text
            _skip_to_next_start(source, report, DamageReason.BROKEN_GZIP)
            return
        source.take(len(piece) - len(stream.unused_data))
        checksum = zlib.crc32(text, checksum)
        length += len(text)
        yield text
    trailer = source.peek(_TRAILER)
    if len(trailer) < _TRAILER:
        report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position + len(trailer), b""))
    elif trailer != struct.pack("<II", checksum, length & 0xFFFFFFFF):
        report(Damage(DamageReason.WRONG_CHECKSUM, OffsetBase.GZIP, source.position, trailer))
    source.take(len(trailer))


def _inflate_bytewise(stream: zlib._Decompress, piece: bytes) -> tuple[int, bytes]:
    """Decompresses byte by byte until one fails; returns the number of good bytes and their text."""
    text = bytearray()
    for good, value in enumerate(piece):
        try:
            text += stream.decompress(bytes((value,)))
        except zlib.error:
            return good, bytes(text)
    return len(piece), bytes(text)


def _skip_to_next_start(source: Peekable, report: DamageCallback, reason: DamageReason) -> None:
    """Reports everything up to the next possible start of a container or JSON as damage, but at least one byte."""
    start = 1
    while window := source.peek(_PIECE):
        found = find_start(window, start)
        size = found
        if found < 0:
            # A start may be split between this window and the next one.
            size = len(window) if len(window) < _PIECE else len(window) - _START_REACH
        if size:
            report(Damage(reason, OffsetBase.GZIP, source.position, window[:size]))
        source.take(size)
        if found >= 0:
            return
        start = 0


def _inflate_start(compressed: bytes) -> tuple[bytes, bool]:
    """Decompresses the start of a possible deflate stream; returns the text, and whether it is broken or empty."""
    stream = zlib.decompressobj(_RAW)
    try:
        text = stream.decompress(compressed, _RECOVERY_STEP)
    except zlib.error:
        return _inflate_bytewise(zlib.decompressobj(_RAW), compressed)[1], True
    return text, not (text or stream.eof)


def _header_length(data: bytes) -> int | None:
    """Returns the length of the gzip header (RFC 1952, section 2.3) at the start of ``data``; None without one."""
    if not data.startswith(GZIP_MAGIC) or len(data) < _HEADER:
        return None
    flags, at = data[3], _HEADER
    if flags & 4:
        at += 2 + int.from_bytes(data[at : at + 2], "little")
    for flag in (8, 16):
        if flags & flag:
            at = data.find(b"\0", at) + 1
            if not at:
                return None
    return at + 2 if flags & 2 else at


class _ExpansionLimit:
    """Limits the amount of text, as a protection against decompression bombs."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._empty = 0

    def spend(self, text: bytes) -> bytes:
        self._left -= len(text)
        self._empty = 0 if text else self._empty + 1
        if self._empty > _MAX_EMPTY_PIECES:
            raise SourceUnreachableError(f"the file has more than {_MAX_EMPTY_PIECES} empty parts in a row")
        if self._left < 0:
            raise SourceUnreachableError(
                f"the file decompresses to more than {self._limit:,} bytes",
                hint="if the hour is really that large, increase max_expanded_gib",
            )
        return text


_READERS: Final[dict[Form, Callable[[Peekable], _Part]]] = {
    Form.ZSTD: read_zstd,
    Form.ZIP: read_zip,
    Form.ZIP_TRAILER: skip_zip_trailer,
    Form.TEXT: read_text,
}
