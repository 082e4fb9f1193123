"""Text in any Unicode encoding, made UTF-8.

The archive writes UTF-8. Some tools write UTF-16 or UTF-32, or put a byte order mark before UTF-8. Each container may
hold another encoding than the one before, or go on in the middle of its text.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

_BYTE_ORDER_MARKS: Final = (
    # UTF-32 first: its mark begins with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ASCII_CHARACTER: Final = rb"[\t\n\r\x1e\x20-\x7e]"
# JSON begins with characters of ASCII (RFC 4627, section 3): where their NULs are tells the encoding.
_ASCII: Final = {
    "utf-32-le": rb"%s\0\0\0" % _ASCII_CHARACTER,
    "utf-32-be": rb"\0\0\0%s" % _ASCII_CHARACTER,
    "utf-16-le": rb"%s\0" % _ASCII_CHARACTER,
    "utf-16-be": rb"\0%s" % _ASCII_CHARACTER,
}
_ENCODING_PATTERNS: Final = tuple(
    (re.compile(rb"(?:%s){2}" % character), encoding) for encoding, character in _ASCII.items()
)
_PATTERN_BY_ENCODING: Final = {"utf-8": re.compile(b"")} | {encoding: form for form, encoding in _ENCODING_PATTERNS}
_WIDE_STARTS: Final = re.compile(
    rb"(?:\xff\xfe)?\{\0[\t\n\r \"]\0|(?:\xfe\xff)?\0\{\0[\t\n\r \"]"
    rb"|(?:\xff\xfe\0\0)?\{\0\0\0[\t\n\r \"]\0\0\0|(?:\0\0\xfe\xff)?\0\0\0\{\0\0\0[\t\n\r \"]"
)
"""How an object begins in UTF-16 or UTF-32."""
_ASCII_RUN: Final = re.compile(rb"[\t\n\r\x20-\x7e]+")
_HIGH_SURROGATES: Final = range(0xD8, 0xDC)
"""The high byte of the first half of a character beyond 16 bits."""
_SNIFF_SIZE: Final = 8
_STEP: Final = 4096
"""Bytes whose alignment is looked at together."""
_SAMPLE_SIZE: Final = 64


class Transcoder:
    """Makes UTF-8 of pieces of text."""

    def __init__(self) -> None:
        self._encoding = "utf-8"
        self._pending = b""
        self._at_start = True

    def begin(self) -> Iterator[bytes]:
        """Says that a container begins, which may hold another encoding; yields what was still held."""
        yield from self.finish()
        self._at_start = True

    def feed(self, piece: bytes) -> bytes:
        """Returns the text of a piece, and of what was held back before, in UTF-8."""
        if not self._at_start and self._encoding == "utf-8" and b"\0" not in piece:
            return piece
        data = self._pending + piece
        self._pending = b""
        if self._at_start:
            if len(data) < _SNIFF_SIZE:
                self._pending = data
                return b""
            data = self._sniff(data)
        texts = []
        while data:
            text, data = self._split_utf8(data) if self._encoding == "utf-8" else self._decode(data)
            texts.append(text)
        return b"".join(texts)

    def finish(self) -> Iterator[bytes]:
        """Yields what was held back, at the end of a container."""
        data, self._pending = self._pending, b""
        if self._at_start and data:
            data = self._sniff(data)
        if data and self._encoding != "utf-8":
            data = data.decode(self._encoding, errors="replace").encode()
        if data:
            yield data

    def _sniff(self, data: bytes) -> bytes:
        """Finds the encoding of a container by its first bytes; returns the data without a byte order mark."""
        self._at_start = False
        for mark, encoding in _BYTE_ORDER_MARKS:
            # JSON goes on with two characters of ASCII. Without them, these bytes are no mark but damage.
            if data.startswith(mark) and _PATTERN_BY_ENCODING[encoding].match(data, len(mark)):
                self._encoding = encoding
                return data[len(mark) :]
        for form, encoding in _ENCODING_PATTERNS:
            if form.match(data):
                self._encoding = encoding
                return data
        if b"\0" not in data[:_SNIFF_SIZE]:
            self._encoding = "utf-8"
        return data

    def _split_utf8(self, data: bytes) -> tuple[bytes, bytes]:
        """Splits UTF-8 from text in another encoding that begins in the middle of it."""
        # No text in another encoding is without a NUL, and to look for one is a hundred times as fast.
        found = _WIDE_STARTS.search(data) if b"\0" in data else None
        if found is None:
            return data, b""
        rest = self._sniff(data[found.start() :])
        return data[: found.start()], rest

    def _decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Decodes whole characters of UTF-16 or UTF-32; the rest is held back, or begins another encoding."""
        texts: list[str] = []
        at = 0
        while len(data) - at >= 2 * _SAMPLE_SIZE and self._encoding != "utf-8":
            step = data[at : at + _STEP]
            if 0 not in step[:_SAMPLE_SIZE] and _ASCII_RUN.fullmatch(step, 0, _SAMPLE_SIZE):
                self._encoding = "utf-8"
                continue
            if self._shift(step) or 0 not in step[-_SAMPLE_SIZE:]:
                step = step[:_SAMPLE_SIZE]
                if shift := self._shift(step):
                    # A byte was lost or put in before: one character is, and the next ones are read again.
                    texts.append("\ufffd")
                    at += shift
                    continue
            size = self._complete_size(step)
            texts.append(_decode_leniently(step[:size], self._encoding))
            at += size
        rest = data[at:]
        if self._encoding != "utf-8":
            self._pending, rest = rest, b""
        return "".join(texts).encode(errors="surrogatepass"), rest

    def _complete_size(self, step: bytes) -> int:
        """Tells how many bytes of a step hold whole characters."""
        width = 4 if "32" in self._encoding else 2
        size = len(step) - len(step) % width
        if width > 2:  # noqa: PLR2004 -- UTF-32 has no pairs
            return size
        high = step[size - 1 if self._encoding.endswith("le") else size - 2]
        return size - 2 if high in _HIGH_SURROGATES else size

    def _shift(self, step: bytes) -> int:
        """Tells by how many bytes characters begin later than they should; 0 when they are in their places."""
        width = 4 if "32" in self._encoding else 2
        zeros = [step[place::width].count(0) for place in range(width)]
        expected = 0 if self._encoding.endswith("le") else width - 1
        said = min(range(width), key=zeros.__getitem__)
        # A character beyond ASCII has few zeros or none: only where most are ASCII, their places tell.
        if zeros[expected] * width <= len(step) // 2 or zeros[said] * width * 4 > len(step):
            return 0
        return (said - expected) % width


def _decode_leniently(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(encoding, errors="replace")
