"""Unpacking an hour: the bytes of a file in, text in UTF-8 out, and what is broken set aside.

A file is gzip nearly always; ``etl.archive.containers`` has what else it may be, ``etl.archive.encoding`` what its text
may be written in. Containers of all kinds may follow each other, and one may stand in another.

Two ways of the same result. ``inflate`` is fast (ISA-L, two and a half times zlib) and takes sound files,
files of several members, and files that end too early. On anything else it raises
``BrokenStreamError``, and the caller starts again with ``inflate_damaged``, which is slow, keeps
every byte that can be inflated up to the very one that cannot, and hands the rest over as damage.
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
"""Most bytes of text made at once: bounds memory whatever the ratio."""
_RECOVERY_STEP: Final = 64 << 10
_STRIDE: Final = 128 << 10
"""Compressed bytes inflated at once. What this makes of text stays in the processor's cache: twice as fast as 1 MiB;
less than this takes the interpreter's lock from the other threads too often."""
_RECENT_STRIDES: Final = 32
"""How many strides are remembered, to look for the begin of a member in them."""
_PIECE: Final = 1 << 20
"""Longest run of broken bytes in one ``Damage``."""
_HEADER: Final = 10
"""Bytes of a gzip header without optional fields; one written over most likely had none."""
_TRAILER: Final = 8
_GZIP: Final = 31
_RAW: Final = -15
_START_REACH: Final = 512
"""Bytes at the end of a window in which a start may be too near the end to be known as one."""
_NEST_WINDOW: Final = 4096
_MAX_NESTING: Final = 3
"""How many containers may stand in each other; what is deeper is set aside as it is."""
_HEADER_SEARCH: Final = 64
"""How far behind the start of a file without a header the deflate stream is looked for."""

_MAX_EMPTY_PIECES: Final = 256
"""So many pieces in a row may hold no text. Members without text cost 20 bytes each, and more time than any others."""


class BrokenStreamError(Exception):
    """The stream is not sound all the way; ``inflate_damaged`` reads what can be read."""


def inflate(compressed: Iterable[bytes], report: DamageCallback, *, max_expanded: int) -> Iterator[bytes]:
    """Unpacks a sound file of one or more containers, quickly.

    Args:
        compressed: The file in pieces of any size.
        report: Told of a gzip stream that ends too early.
        max_expanded: Most bytes of text before the file counts as a decompression bomb.

    Yields:
        Pieces of text in UTF-8.

    Raises:
        BrokenStreamError: If anything is met that cannot be read, or that begins like no container and no JSON.
        SourceUnreachableError: If the text grows beyond ``max_expanded``.
    """
    return _in_utf8(_sound_parts(Peekable(compressed), report, _ExpansionLimit(max_expanded), _MAX_NESTING))


_Part = Iterator[bytes]
"""The text of one container, in pieces."""


def _in_utf8(parts: Iterator[_Part]) -> Iterator[bytes]:
    """Joins the texts of containers, each made UTF-8."""
    transcoder = Transcoder()
    for part in parts:
        yield from transcoder.begin()
        for piece in part:
            if text := transcoder.feed(piece):
                yield text
    yield from transcoder.finish()


def _sound_parts(source: Peekable, report: DamageCallback, budget: _ExpansionLimit, depth: int) -> Iterator[_Part]:
    # The window holds the whole header: ISA-L misreads some that come in several pieces.
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
    """Returns the text of a container, or, where it holds containers again, their texts."""
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
    """Makes reports of a container that is packed in another one say so."""
    return lambda damage: report(replace(damage, place=OffsetBase.INNER))


def _is_container(text: bytes) -> bool:
    """Whether a container begins with this text; three bytes of gzip's may be there by chance, so more is asked."""
    form = form_of(text)
    if form is Form.GZIP:
        header = _header_length(text)
        return header is not None and not _inflate_start(text[header:])[1]
    return form in {Form.ZSTD, Form.ZIP}


def _sound_member(source: Peekable, report: DamageCallback) -> Iterator[bytes]:
    """Inflates one gzip member, which may end too early but must have begun."""
    stream = isal_zlib.decompressobj(_GZIP)
    begun = False
    recent: deque[bytes] = deque(maxlen=_RECENT_STRIDES)
    while not stream.eof and (piece := source.peek(_STRIDE if recent else _PIECE)):
        recent.append(piece)
        try:
            text = stream.decompress(piece, _STEP)
        except igzip_lib.error as error:  # type: ignore[misc]  # a class, which its stubs take for an instance
            raise BrokenStreamError from error
        source.take(len(piece) - len(stream.unused_data or stream.unconsumed_tail))
        begun = begun or bool(text)
        yield text
    if stream.eof:
        return
    # Behind a member that lacks its end another one may have come, and gone into this one's text as rubbish.
    if not begun or b"".join(recent).find(GZIP_MAGIC, 1) >= 0:
        raise BrokenStreamError
    yield stream.flush()
    report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))


def inflate_damaged(compressed: Iterable[bytes], report: DamageCallback, *, max_expanded: int) -> Iterator[bytes]:
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
        # At a place that was only found by its magic number, what fails is no stream whose header was written over.
        start = _stream_start(window, guess=not lost)
        lost = start is None
        if start is None:
            # Zeros fill up what some disks and tapes hold; behind a whole stream they are no sign of harm.
            padding = begun and not window.strip(b"\0")
            _skip_to_next_start(source, report, DamageReason.TRAILING_BYTES if padding else DamageReason.BROKEN_GZIP)
            continue
        if start and start != _header_length(window):
            report(Damage(DamageReason.BROKEN_GZIP, OffsetBase.GZIP, source.position, window[:start]))
        begun = True
        source.take(start)
        yield from _nested(_limited(_recovered_member(source, report), budget), nest, depth)


def _recovered_other(source: Peekable, form: Form, report: DamageCallback) -> _Part:
    """Reads a container that is not gzip; what cannot be read is reported."""
    begin = source.position
    try:
        yield from _READERS[form](source)
    except TruncatedContainerError:
        if source.position == begin:
            # Not even its header is whole.
            _skip_to_next_start(source, report, DamageReason.BROKEN_GZIP)
        else:
            report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))
    except BrokenContainerError:
        if source.position == begin or form_of(source.peek(_RECOVERY_STEP)) is None:
            _skip_to_next_start(source, report, DamageReason.BROKEN_GZIP)
        else:
            report(Damage(DamageReason.WRONG_CHECKSUM, OffsetBase.GZIP, source.position, b""))


def _stream_start(window: bytes, *, guess: bool) -> int | None:
    """Finds where a deflate stream begins: behind the header, or, if asked, where a header seems to have been."""
    # By chance a few bytes inflate from nearly anywhere: of streams that break, the one that goes furthest is true.
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
    """Whether surely a gzip member of an hour begins here."""
    header = _header_length(window)
    if header is None:
        return False
    text, broken = _inflate_start(window[header:])
    return not broken and starts_with_json(text)


def _recovered_member(source: Peekable, report: DamageCallback) -> Iterator[bytes]:
    """Inflates one raw deflate stream and checks the eight bytes of trailer behind it."""
    stream = zlib.decompressobj(_RAW)
    checksum = 0
    length = 0
    while not stream.eof:
        piece = source.peek(_RECOVERY_STEP)
        if not piece or (piece.startswith(GZIP_MAGIC) and _is_member(piece)):
            report(Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, source.position, b""))
            return
        # Up to what may be the next member: this one may lack its end, and would go on into it.
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
    """Feeds byte after byte until the one that breaks; gives how many went in, and their text."""
    text = bytearray()
    for good, value in enumerate(piece):
        try:
            text += stream.decompress(bytes((value,)))
        except zlib.error:
            return good, bytes(text)
    return len(piece), bytes(text)


def _skip_to_next_start(source: Peekable, report: DamageCallback, reason: DamageReason) -> None:
    """Reports everything up to where the next container or JSON may begin, but at least one byte, as broken."""
    start = 1
    while window := source.peek(_PIECE):
        found = find_start(window, start)
        size = found
        if found < 0:
            # A start may begin in the last bytes and go on in the next window.
            size = len(window) if len(window) < _PIECE else len(window) - _START_REACH
        if size:
            report(Damage(reason, OffsetBase.GZIP, source.position, window[:size]))
        source.take(size)
        if found >= 0:
            return
        start = 0


def _inflate_start(compressed: bytes) -> tuple[bytes, bool]:
    """Inflates the first bytes of what may be a deflate stream; says if it breaks or makes nothing."""
    stream = zlib.decompressobj(_RAW)
    try:
        text = stream.decompress(compressed, _RECOVERY_STEP)
    except zlib.error:
        return _inflate_bytewise(zlib.decompressobj(_RAW), compressed)[1], True
    return text, not (text or stream.eof)


def _header_length(data: bytes) -> int | None:
    """Length of the gzip header (RFC 1952, section 2.3) that ``data`` begins with; None without one."""
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
    """Counts text against the limit that stops a decompression bomb."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._left = limit
        self._empty = 0

    def spend(self, text: bytes) -> bytes:
        self._left -= len(text)
        self._empty = 0 if text else self._empty + 1
        if self._empty > _MAX_EMPTY_PIECES:
            raise SourceUnreachableError("the file goes on without text and was not read further")
        if self._left < 0:
            raise SourceUnreachableError(
                f"the file inflates to more than {self._limit:,} bytes and was not read further",
                hint="if the hour is really that large, raise max_expanded_gib",
            )
        return text


_READERS: Final[dict[Form, Callable[[Peekable], _Part]]] = {
    Form.ZSTD: read_zstd,
    Form.ZIP: read_zip,
    Form.ZIP_TRAILER: skip_zip_trailer,
    Form.TEXT: read_text,
}
