"""From text to documents, through whatever stands between them.

An hour is one JSON document a line, nearly always. But any sequence of documents is one: over several lines, in an
array, without line ends. ``blocks`` cuts the text behind documents, so that sound blocks can be decoded whole;
``etl.archive.splitting`` tells documents from damage where that is not so, and ``read_document`` reads one.
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
"""Half of it takes a tenth more CPU time for an hour, in more steps; twice as much takes more time in the kernel."""
MAX_DOCUMENT_BYTES: Final = 64 << 20
"""A longer one is set aside unread, so that memory stays bounded; the longest known has 211,240 bytes."""
_MAX_RUN_BYTES: Final = 1 << 20
"""Most bytes of one report."""

_EVENT_KEYS: Final = frozenset({"id", "type", "created_at", "payload", "actor", "repo", "repository"})
_REQUIRED_EVENT_KEYS: Final = frozenset({"type", "created_at"})
_SPACE: Final = b" \t\r\n"
_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]++|\\.)*")|[ \t\r\n]++', re.DOTALL)
_NOT_SPACE_TEXT: Final = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True, slots=True)
class Block:
    """Whole documents, and what stands between them.

    Attributes:
        offset: Where the block begins in the text, in bytes.
        data: Its bytes; nearly always whole lines.
    """

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object in valid UTF-8 with at least one of an event's keys.

    Attributes:
        offset: Where it begins in the text, in bytes.
        data: Its bytes; one that stood on several lines is without the white space between its values.
        members: Its keys in order with the bytes of their values; a key may come twice.
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
    """Cuts text into blocks of whole documents, of ``size`` bytes and what the last document needs more.

    Args:
        text: Pieces of any size.
        report: Told of stretches that hold no document, and of documents that are too long, the first piece of which
            counts as a lost document.
        split: What finds documents where lines do not show them.
        size: Least bytes of a block, the last one aside.
        longest: What is held, in bytes, when so much has come without an end of a document is set aside unread.
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
                # Nothing says where in a line a document begins, so the rest of the line is passed by as well.
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
            # What is left is looked at again when it has doubled: so the work is linear.
            enough = max(self._size, min(2 * self._held.length, self._longest + 1))
        if self._held.length and (last := self._last()).data:
            yield last

    def _whole_lines(self) -> Block | None:
        """Takes whole lines, the last of which is an event: so no document goes on behind it."""
        if self._recovering or not self._held.whole:
            return None
        found = members(self._held.last_line())
        if found is None or not _REQUIRED_EVENT_KEYS.issubset(key for key, _ in found):
            return None
        return self._block(self._held.take_whole())

    def _whole_documents(self) -> Block | None:
        """Takes all up to the end of the last whole document; where there is none, reports what cannot become one."""
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
        """Reports what stands before the first document, if it cannot be read without what came before it."""
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
    """Reports a part of a text that is no document, in runs of at most 1 MiB.

    Args:
        part: The part.
        data: The text.
        offset: Where the text begins in the hour's.
        report: Takes the runs; the first one has the part's lost documents.
    """
    if part.reason is None:
        raise AssertionError("a document is no damage")  # a defect here
    for begin in range(part.begin, part.end, _MAX_RUN_BYTES):
        run = data[begin : min(begin + _MAX_RUN_BYTES, part.end)]
        lost = part.lost if begin == part.begin else 0
        report(Damage(part.reason, OffsetBase.TEXT, offset + begin, run, lost=lost))


class _LineBuffer:
    """Text that waits for the end of its last line.

    Attributes:
        length: How many bytes wait.
        whole: How many of them are whole lines.
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
        """Takes the whole lines, and keeps the rest."""
        number, end = self._last_end
        pieces = self.take_pieces()
        for rest in (pieces[number][end:], *pieces[number + 1 :]):
            self.add(rest)
        return b"".join([*pieces[:number], memoryview(pieces[number])[:end]])

    def last_line(self) -> bytes:
        """Returns the last of the whole lines."""
        number, end = self._last_end
        line = self._pieces[number][:end]
        while (start := line.rfind(b"\n", 0, len(line) - 1) + 1) == 0 and number > 0:
            number -= 1
            line = self._pieces[number] + line
        return line[start:]

    def take_pieces(self) -> list[bytes]:
        """Takes all there is."""
        pieces, self._pieces = self._pieces, []
        self.length = self.whole = 0
        return pieces


def recover_documents(
    text: bytes, offset: int, report: DamageCallback, *, split: Splitter = split
) -> Iterator[Document]:
    """Reads all documents of a text, whatever state it is in.

    Args:
        text: Any text that begins with no part of a document that began before it.
        offset: Where it begins in the hour's text, in bytes.
        report: Takes every run of bytes that is part of no document, and the original of every repaired one.
        split: What finds the documents.
    """
    for part in split(text, is_last=True).parts:
        if part.reason is not None:
            report_part(part, text, offset, report)
        elif (found := read_document(text[part.begin : part.end], offset + part.begin, report)) is not None:
            yield found


def compacted(data: bytes) -> bytes:
    """Returns a sound document that stands on several lines on one, without white space between its values."""
    if b"\n" not in data:
        return data
    try:
        return msgspec.json.format(data, indent=-1)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _STRING_OR_SPACE.sub(lambda found: found[1] or b"", data)


def members(data: bytes) -> list[tuple[str, bytes]] | None:
    """Splits one JSON object into its keys, in order, and the very bytes of their values.

    Keys that come twice are given twice. None when ``data`` is not exactly one object.
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
    """Makes a document of sound JSON, repairing what is not UTF-8, or reports why it is none.

    Args:
        data: One object, in bytes that may not be UTF-8.
        offset: Where it begins in the text, in bytes.
        report: Takes the object as it stands if it is no event, or was repaired.
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
    """Reads an object member by member; ``text`` is bytes as Latin-1. Raises ValueError if it is none."""
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
    """Reads a key, which ``text`` holds as Latin-1, as the UTF-8 that it is; bytes that are none become U+FFFD."""
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


# Numbers stay text: nothing is made of them here, and Python refuses to make an int of very many digits.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_reject_constant)
_SPLIT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
