"""Converts text in any Unicode encoding to UTF-8.

The archive writes UTF-8. Some tools write UTF-16 or UTF-32, or start UTF-8 with a byte order mark. Each container may
have its own encoding, or continue the text of the previous one.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Final

_BYTE_ORDER_MARKS: Final = (
    # UTF-32 first: its mark starts with that of UTF-16.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ASCII_CHARACTER: Final = rb"[\t\n\r\x1e\x20-\x7e]"
# JSON starts with ASCII characters (RFC 4627, section 3): the positions of NULs show the encoding.
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
"""Start of an object in UTF-16 or UTF-32."""
_ASCII_RUN: Final = re.compile(rb"[\t\n\r\x20-\x7e]+")
_HIGH_SURROGATES: Final = range(0xD8, 0xDC)
"""High bytes of high surrogates, the first half of a character beyond 16 bits."""
_SNIFF_SIZE: Final = 8
_STEP: Final = 4096
"""Bytes whose alignment is checked together."""
_SAMPLE_SIZE: Final = 64


class Transcoder:
    """Converts chunks of text to UTF-8."""

    def __init__(self) -> None:
        self._encoding = "utf-8"
        self._pending = b""
        self._at_start = True

    def begin(self) -> Iterator[bytes]:
        """Starts a new container, which may have another encoding; yields the pending text of the previous one."""
        yield from self.finish()
        self._at_start = True

    def feed(self, piece: bytes) -> bytes:
        """Returns the text of a chunk, with the pending bytes before it, in UTF-8."""
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
        """Yields the pending text at the end of a container."""
        data, self._pending = self._pending, b""
        if self._at_start and data:
            data = self._sniff(data)
        if data and self._encoding != "utf-8":
            data = data.decode(self._encoding, errors="replace").encode()
        if data:
            yield data

    def _sniff(self, data: bytes) -> bytes:
        """Detects the encoding of a container from its first bytes; returns the data without a byte order mark."""
        self._at_start = False
        for mark, encoding in _BYTE_ORDER_MARKS:
            # JSON continues with two ASCII characters. Otherwise these bytes are not a mark but damage.
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
        """Splits UTF-8 from text in another encoding that starts in the middle of it."""
        # Text in other encodings always has a NUL, and searching for one is a hundred times as fast.
        found = _WIDE_STARTS.search(data) if b"\0" in data else None
        if found is None:
            return data, b""
        rest = self._sniff(data[found.start() :])
        return data[: found.start()], rest

    def _decode(self, data: bytes) -> tuple[bytes, bytes]:
        """Decodes complete characters of UTF-16 or UTF-32; the rest stays pending, or starts another encoding."""
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
                    # A byte was lost or inserted: replace one character, and realign the following ones.
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
        """Returns the number of bytes in a step that form complete characters."""
        width = 4 if "32" in self._encoding else 2
        size = len(step) - len(step) % width
        if width > 2:  # noqa: PLR2004 -- UTF-32 has no pairs
            return size
        high = step[size - 1 if self._encoding.endswith("le") else size - 2]
        return size - 2 if high in _HIGH_SURROGATES else size

    def _shift(self, step: bytes) -> int:
        """Returns the number of bytes by which characters are misaligned; 0 if they are aligned."""
        width = 4 if "32" in self._encoding else 2
        zeros = [step[place::width].count(0) for place in range(width)]
        expected = 0 if self._encoding.endswith("le") else width - 1
        actual = min(range(width), key=zeros.__getitem__)
        # Characters beyond ASCII have few zeros or none, so the alignment is only known if most are ASCII.
        if zeros[expected] * width <= len(step) // 2 or zeros[actual] * width * 4 > len(step):
            return 0
        return (actual - expected) % width


def _decode_leniently(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, errors="surrogatepass")
    except UnicodeDecodeError:
        return data.decode(encoding, errors="replace")
