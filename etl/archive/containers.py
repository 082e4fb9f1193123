"""Container formats of an hour's file: detection, and readers for all formats except gzip.

The archive publishes gzip. Users also keep plain text, zstd and ZIP files, and concatenations of them. The format is
detected from the first bytes, never from the file name.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from collections.abc import Iterator
from enum import Enum, auto
from typing import Final, cast

import pyarrow as pa

from etl.archive.peekable import Peekable

GZIP_MAGIC: Final = b"\x1f\x8b\x08"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE: Final = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_ZIP_MAGIC: Final = b"PK\x03\x04"
_ZIP_TRAILERS: Final = {
    b"PK\x01\x02": (46, slice(34, 36)),
    b"PK\x05\x06": (22, slice(4, 8)),
    b"PK\x06\x06": (56, slice(16, 24)),
    b"PK\x06\x07": (20, slice(4, 8)),
}
"""Minimum size and position of the disk numbers, which are 0, of each kind of entry (APPNOTE 4.3.12 to 4.3.16)."""
_ZIP_DESCRIPTOR: Final = b"PK\x07\x08"
_ZIP_HEADER: Final = 30
_BLOCK_HEADER: Final = 3
_RESERVED_BLOCK_TYPE: Final = 3
"""The reserved zstd block type, which is invalid."""
_STEP: Final = 1 << 20
_ZSTD_STEP: Final = 1 << 16
"""Small, because a read that reaches the end of a broken frame loses what it has decoded."""
_SAMPLE: Final = 48
"""Bytes used to distinguish text from compressed data, which looks like text by chance once in 10^15 times."""
_JSON_START: Final = re.compile(
    # NULs may surround every character (UTF-16 and UTF-32). All runs are bounded, so the match is too.
    rb'(?:\xef\xbb\xbf|\xff\xfe|\0\0\xfe\xff|\xfe\xff)?[\0 \t\r\n\x1e\[,]{0,4096}\{[\0 \t\r\n]{0,4096}"'
)
_CONTROL_CHARACTERS: Final = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1d\x1f\x7f]")
_WIDE_TEXT: Final = re.compile(rb"(?:\0{0,3}[\t\n\r\x20-\x7e]\0{1,3}){6,}")
"""ASCII in UTF-16 or UTF-32."""
# The start of a container, or of JSON. No two matches share a run of white space, so the search is linear.
_STARTS: Final = re.compile(rb'\x1f\x8b\x08|\x28\xb5\x2f\xfd|PK\x03\x04|\{[\0 \t\r\n]*"|\xff\xfe\{\0|\xfe\xff\0\{')
_CONTAINER_STARTS: Final = re.compile(rb"\x1f\x8b\x08|\x28\xb5\x2f\xfd|PK\x03\x04")
_MAX_HEADER_BYTES: Final = 64


class BrokenContainerError(Exception):
    """The container is broken. Everything before the broken part has been yielded."""


class TruncatedContainerError(Exception):
    """The container ends early. Everything before that has been yielded."""


class Form(Enum):
    """Container formats."""

    GZIP = auto()
    ZSTD = auto()
    ZIP = auto()
    ZIP_TRAILER = auto()
    """The central directory of a ZIP, which follows its members."""
    TEXT = auto()
    """No container: plain text."""


def form_of(window: bytes) -> Form | None:
    """Detects the format that starts here; returns None if it is unknown.

    Args:
        window: The next 64 KiB of a file, or all that are left.
    """
    if window.startswith(GZIP_MAGIC):
        return Form.GZIP
    if _ZSTD_SKIPPABLE.match(window) or (window.startswith(_ZSTD_MAGIC) and _is_plausible_header(window)):
        return Form.ZSTD
    if window.startswith(_ZIP_MAGIC) and len(window) >= _ZIP_HEADER and _is_plausible_header(window):
        return Form.ZIP
    if _is_zip_trailer(window):
        return Form.ZIP_TRAILER
    return Form.TEXT if starts_with_json(window) else None


def _is_zip_trailer(window: bytes) -> bool:
    size, disks = _ZIP_TRAILERS.get(window[:4], (0, slice(0, 0)))
    return 0 < size <= len(window) and not window[disks].strip(b"\0")


def starts_with_json(window: bytes) -> bool:
    """Returns whether JSON objects, or an array of them, start here, in any Unicode encoding."""
    found = _JSON_START.match(window)
    if found is None:
        return False
    sample = window[found.end() : found.end() + _SAMPLE]
    if b"\0" in sample:
        return _WIDE_TEXT.match(sample) is not None
    readable = len(sample.decode(errors="ignore").encode())
    return not _CONTROL_CHARACTERS.search(sample) and readable >= 0.9 * len(sample) - 3


def find_start(window: bytes, at: int) -> int:
    """Returns the position where the next container or JSON may start; -1 if there is none.

    Args:
        window: Bytes of a file.
        at: Position to search from.
    """
    for found in _STARTS.finditer(window, at):
        if found[0].startswith((GZIP_MAGIC, _ZSTD_MAGIC, _ZIP_MAGIC)):
            return found.start()
        if starts_with_json(window[found.start() : found.end() + 4 * _SAMPLE]):
            # In big-endian UTF-16 and UTF-32, NULs precede the brace.
            return found.start()
    return -1


def read_zstd(source: Peekable) -> Iterator[bytes]:
    """Reads one zstd frame.

    Raises:
        TruncatedContainerError: If it ends early.
        BrokenContainerError: If it is broken.
    """
    if not source.peek(4).startswith(_ZSTD_MAGIC):
        yield from _skip_zstd_frame(source)
        return
    frame = _ZstdFrame(source)
    try:
        with pa.CompressedInputStream(pa.PythonFile(cast("io.IOBase", frame), mode="r"), "zstd") as stream:
            while text := stream.read(_ZSTD_STEP):
                yield text
    except OSError as error:
        if frame.truncated:
            raise TruncatedContainerError from error
        raise BrokenContainerError from error
    for _ in iter(lambda: frame.read(_STEP), b""):
        pass
    if frame.truncated:
        raise TruncatedContainerError
    if frame.broken:
        raise BrokenContainerError


def _skip_zstd_frame(source: Peekable) -> Iterator[bytes]:
    """Skips a zstd skippable frame (RFC 8878, section 3.1.2)."""
    left = 8 + int.from_bytes(source.peek(8)[4:], "little")
    while left and (passed := len(source.peek(min(left, _STEP)))):
        source.take(passed)
        left -= passed
    if left:
        raise TruncatedContainerError
    yield from ()


class _ZstdFrame(io.RawIOBase):
    """The bytes of exactly one zstd frame (RFC 8878, section 3.1.1)."""

    def __init__(self, source: Peekable) -> None:
        super().__init__()
        self._source = source
        descriptor = source.peek(5)[4:] or b"\0"
        single = bool(descriptor[0] & 0x20)
        self._checksum = 4 if descriptor[0] & 4 else 0
        size = (1 if single else 0, 2, 4, 8)[descriptor[0] >> 6]
        self._part = 5 + (not single) + (0, 1, 2, 4)[descriptor[0] & 3] + size
        self._last = False
        self._ended = False
        self.truncated = False
        self.broken = False

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Reads up to ``size`` bytes; returns nothing at the end of the frame."""
        pieces: list[bytes] = []
        left = _STEP if size < 0 else size
        while left and not self._ended:
            if not self._part:
                self._begin_part()
                continue
            piece = self._source.peek(min(left, self._part))
            self._source.take(len(piece))
            self._part -= len(piece)
            left -= len(piece)
            pieces.append(piece)
            if not piece:
                self._ended = self.truncated = True
        return b"".join(pieces)

    def _begin_part(self) -> None:
        if self._last:
            self._part, self._checksum = self._checksum, 0
            self._ended = not self._part
            return
        header = self._source.peek(_BLOCK_HEADER)
        value = int.from_bytes(header, "little")
        kind, size = value >> 1 & 3, value >> 3
        self._last = bool(value & 1)
        self._part = _BLOCK_HEADER + (1 if kind == 1 else size)
        if len(header) < _BLOCK_HEADER:
            self._ended = self.truncated = True
        elif kind == _RESERVED_BLOCK_TYPE:
            self._ended = self.broken = True


def read_zip(source: Peekable) -> Iterator[bytes]:
    """Reads one member of a ZIP, stored or deflated (APPNOTE 4.3.7).

    Args:
        source: Starts with the whole fixed part of a header, as ``form_of`` checks.

    Raises:
        TruncatedContainerError: If it ends early.
        BrokenContainerError: If it is broken, encrypted, or compressed with another method.
    """
    header = source.peek(_ZIP_HEADER)
    flags, method = struct.unpack_from("<HH", header, 6)
    checksum, packed, _, name, extra = struct.unpack_from("<IIIHH", header, 14)
    if flags & 1 or method not in {0, 8} or (method == 0 and flags & 8):
        raise BrokenContainerError
    size = _ZIP_HEADER + name + extra
    if len(source.peek(size)) < size:
        raise TruncatedContainerError
    source.take(size)
    found = 0
    for text in _stored(source, packed) if method == 0 else _deflated(source):
        found = zlib.crc32(text, found)
        yield text
    if flags & 8:
        checksum = _take_descriptor(source, found)
    if found != checksum:
        raise BrokenContainerError


def _stored(source: Peekable, size: int) -> Iterator[bytes]:
    while size:
        piece = source.peek(min(size, _STEP))
        if not piece:
            raise TruncatedContainerError
        source.take(len(piece))
        size -= len(piece)
        yield piece


def _deflated(source: Peekable) -> Iterator[bytes]:
    stream = zlib.decompressobj(-15)
    while not stream.eof:
        piece = source.peek(_STEP // 8)
        if not piece:
            raise TruncatedContainerError
        try:
            text = stream.decompress(piece, _STEP)
        except zlib.error as error:
            raise BrokenContainerError from error
        source.take(len(piece) - len(stream.unused_data or stream.unconsumed_tail))
        yield text


def _take_descriptor(source: Peekable, found: int) -> int:
    """Skips the data descriptor after a member whose header has no sizes; returns its checksum."""
    window = source.peek(28)
    signed = 4 if window.startswith(_ZIP_DESCRIPTOR) else 0
    for size in (12, 20):
        if window[signed + size :].startswith(b"PK"):
            source.take(signed + size)
            return int.from_bytes(window[signed : signed + 4], "little")
    return found


def skip_zip_trailer(source: Peekable) -> Iterator[bytes]:
    """Skips one entry of the structures that follow the members of a ZIP (APPNOTE 4.3.12 to 4.3.16)."""
    entry = source.peek(46).ljust(46, b"\0")
    if entry.startswith(b"PK\x01\x02"):
        size = 46 + sum(struct.unpack_from("<HHH", entry, 28))
    elif entry.startswith(b"PK\x05\x06"):
        size = 22 + int.from_bytes(entry[20:22], "little")
    elif entry.startswith(b"PK\x06\x07"):
        size = 20
    else:
        size = 12 + min(int.from_bytes(entry[4:12], "little"), _STEP)
    source.take(len(source.peek(size)))
    yield from ()


def read_text(source: Peekable) -> Iterator[bytes]:
    """Reads plain text up to where a container seems to start."""
    while window := source.peek(_STEP):
        end = _find_container(window)
        found = end >= 0
        if not found:
            # A container may start in the last bytes of the window.
            end = len(window) if len(window) < _STEP else len(window) - _MAX_HEADER_BYTES
        source.take(end)
        yield window[:end]
        if found:
            return


def _find_container(window: bytes) -> int:
    for found in _CONTAINER_STARTS.finditer(window, 1):
        if _is_plausible_header(window[found.start() : found.start() + _MAX_HEADER_BYTES]):
            return found.start()
    return -1


def _is_plausible_header(header: bytes) -> bool:
    """Returns whether a header found within text has valid values."""
    if header.startswith(GZIP_MAGIC):
        flags = header[3:4]
        return bool(flags) and not flags[0] & 0xE0 and (flags != b"\0" or _inflates(header[10:]))
    if header.startswith(_ZIP_MAGIC):
        flags, method = header[6:8], header[8:10]
        return method in {b"\0\0", b"\x08\0"} and bool(flags) and not flags[0] & 1
    return bool(header[4:]) and not header[4] & 0x18


def _inflates(start: bytes) -> bool:
    try:
        zlib.decompressobj(-15).decompress(start)
    except zlib.error:
        return False
    return True
