"""Splits text into JSON documents, skipping damage between them.

An hour nearly always has one JSON document per line. But any sequence of documents is accepted: over several lines, in
an array, without line breaks. ``blocks`` splits the text at the ends of documents, so that valid blocks can be decoded
as a whole; otherwise ``etl.archive.splitting`` separates documents from damage, and ``read_document`` reads one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from typeshed
from typing import Final, NoReturn

import msgspec

from etl.archive.damage import Damage, DamageCallback, DamageReason, OffsetBase
from etl.archive.splitting import Part, Split, Splitter, split

BLOCK_SIZE: Final = 2 << 20
"""Half as much takes a tenth more CPU time for an hour; twice as much takes more time in the kernel."""
MAX_DOCUMENT_BYTES: Final = 64 << 20
"""A longer one is quarantined unread, which bounds memory; the longest known has 211,240 bytes."""
_MAX_RUN_BYTES: Final = 1 << 20
"""Maximum bytes of one ``Damage``."""

_EVENT_KEYS: Final = frozenset({"id", "type", "created_at", "payload", "actor", "repo", "repository"})
_REQUIRED_EVENT_KEYS: Final = frozenset({"type", "created_at"})
_SPACE: Final = b" \t\r\n"
_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]++|\\.)*")|[ \t\r\n]++', re.DOTALL)
_NOT_SPACE_TEXT: Final = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Block:
    """Complete documents, and what is between them.

    Attributes:
        offset: Start of the block in the text, in bytes.
        data: Its bytes; nearly always complete lines.
    """

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object in valid UTF-8 with at least one of an event's keys.

    Attributes:
        offset: Start of the document in the text, in bytes.
        data: Its bytes; for a document of several lines, without white space between values.
        members: Its keys in order with the bytes of their values; keys may be duplicate.
    """

    offset: int
    data: bytes
    members: list[tuple[str, bytes]]


def blocks(
    text: Iterable[bytes],
    report: DamageCallback,
    *,
    split: Splitter = split,
    size: int = BLOCK_SIZE,
    longest: int = MAX_DOCUMENT_BYTES,
) -> Iterator[Block]:
    """Splits text into blocks of complete documents.

    Args:
        text: The text, in chunks of any size.
        report: Receives text without documents, and documents that are too long, each of which counts as one lost
            document.
        split: Finds documents that are not one per line.
        size: Minimum bytes of a block, except for the last one.
        longest: Maximum bytes that are buffered without the end of a document; more are quarantined unread.
    """
    return _Cutter(report, split, size, longest).cut(text)


class _Cutter:
    def __init__(self, report: DamageCallback, split: Splitter, size: int, longest: int) -> None:
        self._report = report
        self._split = split
        self._size = size
        self._longest = longest
        self._held = _LineBuffer()
        self._offset = 0
        self._recovering = False

    def cut(self, text: Iterable[bytes]) -> Iterator[Block]:
        passing = False
        enough = self._size
        for whole in text:
            piece = whole
            if passing and piece:
                # A document may start anywhere in a line, so the rest of the line is skipped as well.
                end = piece.find(b"\n") + 1
                passed, piece = (piece[:end], piece[end:]) if end else (piece, b"")
                passing = not end
                self._quarantine(DamageReason.TOO_LONG, passed)
            self._held.add(piece)
            if self._held.length < enough:
                continue
            block = self._whole_lines() or self._whole_documents()
            if block is not None:
                yield block
            elif self._held.length > self._longest:
                passing = True
                self._quarantine(DamageReason.TOO_LONG, b"".join(self._held.take_pieces()), lost=1)
            # The rest is examined again when its size has doubled, so the work is linear.
            enough = max(self._size, min(2 * self._held.length, self._longest + 1))
        if self._held.length and (last := self._last()).data:
            yield last

    def _whole_lines(self) -> Block | None:
        """Takes complete lines if the last one is an event, so that no document continues after it."""
        if self._recovering or not self._held.whole:
            return None
        found = members(self._held.last_line())
        if found is None or not _REQUIRED_EVENT_KEYS.issubset(key for key, _ in found):
            return None
        return self._block(self._held.take_whole())

    def _whole_documents(self) -> Block | None:
        """Takes everything up to the end of the last complete document; without one, reports what is surely damage."""
        data = b"".join(self._held.take_pieces())
        found = self._split(data, is_last=False, recovering=self._recovering)
        begin = self._report_start(data, found, found.resolved)
        end = max((part.end for part in found.parts if part.reason is None), default=begin)
        self._held.add(data[end:])
        return self._block(data[begin:end]) if end > begin else None

    def _last(self) -> Block:
        data = b"".join(self._held.take_pieces())
        begin = 0
        if self._recovering:
            begin = self._report_start(data, self._split(data, is_last=True, recovering=True), len(data))
        return self._block(data[begin:])

    def _report_start(self, data: bytes, found: Split, resolved: int) -> int:
        """Reports what precedes the first document if it cannot be read without the text before it."""
        first = next((part.begin for part in found.parts if part.reason is None), None)
        if first is not None and not self._recovering:
            return 0
        stop = resolved if first is None else first
        for part in found.parts:
            if part.reason is not None and part.end <= stop:
                report_part(part, data, self._offset, self._report)
        self._offset += stop
        self._recovering = first is None and found.recovering
        return stop

    def _block(self, data: bytes) -> Block:
        block = Block(self._offset, data)
        self._offset += len(data)
        return block

    def _quarantine(self, reason: DamageReason, data: bytes, *, lost: int = 0) -> None:
        report_part(Part(0, len(data), reason, lost), data, self._offset, self._report)
        self._offset += len(data)


def report_part(part: Part, data: bytes, offset: int, report: DamageCallback) -> None:
    """Reports a part that is not a document as damage, in runs of at most 1 MiB.

    Args:
        part: The part.
        data: The text.
        offset: Start of the text within the hour's text.
        report: Receives the runs; the first one has the number of lost documents.
    """
    if part.reason is None:
        raise AssertionError("a document is not damage")  # a bug
    for begin in range(part.begin, part.end, _MAX_RUN_BYTES):
        run = data[begin : min(begin + _MAX_RUN_BYTES, part.end)]
        lost = part.lost if begin == part.begin else 0
        report(Damage(part.reason, OffsetBase.TEXT, offset + begin, run, lost=lost))


class _LineBuffer:
    """Buffers text until its last line is complete.

    Attributes:
        length: Buffered bytes.
        whole: How many of them are complete lines.
    """

    def __init__(self) -> None:
        self.length = 0
        self.whole = 0
        self._pieces: list[bytes] = []
        self._last_end = (0, 0)

    def add(self, piece: bytes) -> None:
        if not piece:
            return
        if end := piece.rfind(b"\n") + 1:
            self.whole = self.length + end
            self._last_end = len(self._pieces), end
        self._pieces.append(piece)
        self.length += len(piece)

    def take_whole(self) -> bytes:
        """Takes the complete lines, and keeps the rest."""
        number, end = self._last_end
        pieces = self.take_pieces()
        for rest in (pieces[number][end:], *pieces[number + 1 :]):
            self.add(rest)
        return b"".join([*pieces[:number], memoryview(pieces[number])[:end]])

    def last_line(self) -> bytes:
        """Returns the last complete line."""
        number, end = self._last_end
        line = self._pieces[number][:end]
        while (start := line.rfind(b"\n", 0, len(line) - 1) + 1) == 0 and number > 0:
            number -= 1
            line = self._pieces[number] + line
        return line[start:]

    def take_pieces(self) -> list[bytes]:
        """Takes everything."""
        pieces, self._pieces = self._pieces, []
        self.length = self.whole = 0
        return pieces


def recover_documents(
    text: bytes, offset: int, report: DamageCallback, *, split: Splitter = split
) -> Iterator[Document]:
    """Reads all documents of a text, even if it is damaged.

    Args:
        text: Any text that does not start within a document.
        offset: Start of the text within the hour's text, in bytes.
        report: Receives all bytes that are not part of a document, and the original of every repaired document.
        split: Finds the documents.
    """
    for part in split(text, is_last=True).parts:
        if part.reason is not None:
            report_part(part, text, offset, report)
        elif (found := read_document(text[part.begin : part.end], offset + part.begin, report)) is not None:
            yield found


def compacted(data: bytes) -> bytes:
    """Joins a valid document of several lines to one line, without white space between its values."""
    if b"\n" not in data:
        return data
    try:
        return msgspec.json.format(data, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _STRING_OR_SPACE.sub(lambda found: found[1] or b"", data)


def members(data: bytes) -> list[tuple[str, bytes]] | None:
    """Returns the keys of a JSON object, in order, with the original bytes of their values.

    Duplicate keys are included. Returns None if ``data`` is not exactly one object.
    """
    try:
        quick = _SPLIT.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        quick = None
    if quick is not None:
        compact = 1 + max(len(quick), 1) + sum(len(key) + len(value) + 3 for key, value in quick.items())
        if compact == len(data):
            return [(key, bytes(value)) for key, value in quick.items()]
    try:
        pairs, end = _scan_members(data.decode("latin-1"), 0)
    except (ValueError, RecursionError):
        return None
    return None if data[end:].strip(_SPACE) else pairs


def read_document(data: bytes, offset: int, report: DamageCallback) -> Document | None:
    """Returns the document of an object, repairing invalid UTF-8; reports and returns None if it is not an event.

    Args:
        data: One object, in bytes that may not be valid UTF-8.
        offset: Start of the object in the text, in bytes.
        report: Receives the original object if it is not an event or was repaired.
    """
    sound = data
    try:
        data.decode()
    except UnicodeDecodeError:
        sound = data.decode(errors="replace").encode()
    made = compacted(sound)
    pairs = members(made)
    if pairs is None or not _EVENT_KEYS.intersection(key for key, _ in pairs):
        report_part(Part(0, len(data), DamageReason.NOT_AN_EVENT, 1), data, offset, report)
        return None
    if sound is not data:
        report(Damage(DamageReason.INVALID_UTF8, OffsetBase.TEXT, offset, data, kept=True))
    if len({key for key, _ in pairs}) < len(pairs):
        report(Damage(DamageReason.DUPLICATE_KEYS, OffsetBase.TEXT, offset, data, kept=True))
    return Document(offset, made, pairs)


def _scan_members(text: str, start: int) -> tuple[list[tuple[str, bytes]], int]:
    """Reads an object member by member; ``text`` is bytes as Latin-1. Raises ValueError if it is not an object."""
    pairs: list[tuple[str, bytes]] = []
    at = _expect(text, start, "{")
    if text[_skip_space_text(text, at)] == "}":
        return pairs, _expect(text, at, "}")
    while True:
        key, at = _scan_key(text, _expect(text, at, '"'))
        at = _skip_space_text(text, _expect(text, at, ":"))
        _, end = _JSON.raw_decode(text, at)
        pairs.append((key, text[at:end].encode("latin-1")))
        at = _skip_space_text(text, end)
        if text[at] == "}":
            return pairs, at + 1
        at = _expect(text, at, ",")


def _scan_key(text: str, start: int) -> tuple[str, int]:
    """Reads a key as UTF-8 (``text`` is bytes as Latin-1); invalid bytes become U+FFFD."""
    end = scanstring(text, start, True)[1]  # noqa: FBT003  # positional only
    true = text[start:end].encode("latin-1").decode(errors="replace")
    return scanstring(true, 0, True)[0], end  # noqa: FBT003


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip_space_text(text, at)
    if text[at] != mark:
        raise json.JSONDecodeError(f"Expecting {mark}", text, at)
    return at + 1


def _skip_space_text(text: str, at: int) -> int:
    found = _NOT_SPACE_TEXT.search(text, at)
    if found is None:
        raise json.JSONDecodeError("Unexpected end", text, len(text))
    return found.start()


def _reject_constant(constant: str) -> NoReturn:
    raise ValueError(constant)


# Numbers stay text: they are not used here, and Python does not convert very long ones to int.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_reject_constant)
_SPLIT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
