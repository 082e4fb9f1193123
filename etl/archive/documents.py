"""From text to documents, through whatever stands between them.

An hour is one JSON document a line, nearly always. ``blocks`` cuts the text at line ends, so that sound
blocks can be decoded whole; ``salvage`` reads the odd line of which that is not true: documents glued together,
runs of NUL, a document cut off by the next one, bytes that are not UTF-8.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]  # public in CPython, absent from typeshed
from typing import Final, NoReturn

import msgspec

from etl.archive.damage import Damage, Place, Reason

BLOCK_SIZE: Final = 2 << 20
"""Half of it takes a tenth more CPU time for an hour, in more steps; twice as much takes more time in the kernel."""
LONGEST_LINE: Final = 256 << 20
"""A longer line is set aside unread, so that memory stays bounded; the longest known has 211,240 bytes."""

_EVENT_KEYS: Final = frozenset({"id", "type", "created_at", "payload", "actor", "repo", "repository"})
_SURE_EVENT_KEYS: Final = frozenset({"type", "created_at"})
_SPACE: Final = b" \t\r\n"
_NULS: Final = re.compile(rb"\0+")
_OPENING: Final = re.compile(r'\{[ \t\r\n]*"')
_NOT_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_NOT_SPACE_TEXT: Final = re.compile(r"[^ \t\r\n]")
_COUNTING_SPEED: Final = 16
"""How many times as fast characters are counted as parsed, at least."""
_SEARCH_FACTOR: Final = 64
"""The search behind cut documents may read this many times the length of their line, then gives up."""

Report = Callable[[Damage], None]


@dataclass(frozen=True, slots=True)
class Block:
    """Whole lines of text.

    Attributes:
        offset: Where the block begins in the text, in bytes.
        data: The lines; the last block of an hour may lack its final newline.
    """

    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Document:
    """One JSON object in valid UTF-8 with at least one of an event's keys.

    Attributes:
        offset: Where it begins in the text, in bytes.
        data: Its bytes.
        members: Its keys in order with the bytes of their values; a key may come twice.
    """

    offset: int
    data: bytes
    members: list[tuple[str, bytes]]


def blocks(
    text: Iterable[bytes], report: Report, *, size: int = BLOCK_SIZE, longest_line: int = LONGEST_LINE
) -> Iterator[Block]:
    """Cuts text into blocks of whole lines, of ``size`` bytes and what its last line needs more.

    Args:
        text: Pieces of any size.
        report: Told of lines that are too long, in pieces, the first of which counts as a lost document.
        size: Least bytes of a block, the last one aside.
        longest_line: What is held, in bytes, when so much has come without a line end is set aside unread.
    """
    held = _Held()
    offset = 0
    passing = False
    for piece in text:
        passed = b""
        if passing and piece:
            # Nothing says where in a line a document begins, so the rest of the line is passed by as well.
            end = piece.find(b"\n") + 1
            passed = piece[:end] if end else piece
            passing = not end
            report(Damage(Reason.TOO_LONG, Place.TEXT, offset, passed))
            offset += len(passed)
        held.add(piece[len(passed) :])
        if held.whole and held.length >= size:
            block = Block(offset, held.take_whole())
            offset += len(block.data)
            yield block
        elif not held.whole and held.length > longest_line:
            passing = True
            for number, part in enumerate(held.take_pieces()):
                report(Damage(Reason.TOO_LONG, Place.TEXT, offset, part, lost=int(number == 0)))
                offset += len(part)
    if held.length:
        yield Block(offset, b"".join(held.take_pieces()))


class _Held:
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

    def take_pieces(self) -> list[bytes]:
        """Takes all there is."""
        pieces, self._pieces = self._pieces, []
        self.length = self.whole = 0
        return pieces


def salvage(line: bytes, offset: int, report: Report) -> Iterator[Document]:
    """Reads all documents of one line, whatever state it is in.

    Args:
        line: A line, with or without its end.
        offset: Where it begins in the text, in bytes.
        report: Takes every run of bytes that is part of no document, and the original of every mended one.
    """
    at = 0
    for run in _NULS.finditer(line):
        # JSON has no place for a raw NUL, so a run of them always parts documents.
        yield from _documents(line[at : run.start()], offset + at, report)
        report(Damage(Reason.NUL_BYTES, Place.TEXT, offset + run.start(), run.group()))
        at = run.end()
    yield from _documents(line[at:], offset + at, report)


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


def _documents(data: bytes, offset: int, report: Report) -> Iterator[Document]:
    """Reads the documents of a stretch without NUL."""
    # Latin-1 makes one character of every byte: places in text and bytes are the same.
    text = data.decode("latin-1")
    at = first = _skip_space(data, 0)
    budget = _SEARCH_FACTOR * len(data)
    while at < len(data):
        try:
            end = _JSON.raw_decode(text, at)[1]
        except (ValueError, RecursionError) as error:
            budget -= _cost(error, text, at)
            end, spent = _next_document(text, at, budget)
            budget -= spent
            cut = data[at:end]
            reason = Reason.TOO_DEEP if isinstance(error, RecursionError) else Reason.CUT_DOCUMENT
            # The tail of a document whose head was reported already is no second one.
            lost = int(at == first or b"{" in cut)
            report(Damage(reason, Place.TEXT, offset + at, cut, lost=lost))
        else:
            yield from _document(data[at:end], offset + at, report)
        at = _skip_space(data, end)


def _document(data: bytes, offset: int, report: Report) -> Iterator[Document]:
    """Makes a document of sound JSON, mending what is not UTF-8, or reports why it is none."""
    sound = data
    try:
        data.decode()
    except UnicodeDecodeError:
        sound = data.decode(errors="replace").encode()
    pairs = members(sound)
    if pairs is None or not _EVENT_KEYS.intersection(key for key, _ in pairs):
        report(Damage(Reason.NOT_AN_EVENT, Place.TEXT, offset, data, lost=1))
        return
    if sound is not data:
        report(Damage(Reason.INVALID_UTF8, Place.TEXT, offset, data, kept=True))
    if len({key for key, _ in pairs}) < len(pairs):
        report(Damage(Reason.DUPLICATE_KEYS, Place.TEXT, offset, data, kept=True))
    yield Document(offset, sound, pairs)


def _next_document(text: str, start: int, budget: int) -> tuple[int, int]:
    """Finds the next place behind a cut document where surely an event begins, and what the search cost.

    The objects inside the cut document begin alike, so only one with the keys of an event counts.
    """
    spent = 0
    for opening in _OPENING.finditer(text, start + 1):
        if spent > budget:
            break
        begin = opening.start()
        try:
            pairs, end = _scan_members(text, begin)
        except (ValueError, RecursionError) as error:
            spent += _cost(error, text, begin)
            continue
        spent += end - begin
        if _SURE_EVENT_KEYS.issubset(key for key, _ in pairs):
            return begin, spent
    return len(text), spent


def _cost(error: ValueError | RecursionError, text: str, begin: int) -> int:
    """Tells how many characters a parser went through before it failed."""
    if not isinstance(error, json.JSONDecodeError) or error.msg.startswith("Unterminated string"):
        return len(text) - begin
    # To number the line for its message, the error counts line ends from the very beginning, if fast.
    return error.pos - begin + error.pos // _COUNTING_SPEED


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


def _skip_space(text: bytes, at: int) -> int:
    found = _NOT_SPACE.search(text, at)
    return found.start() if found else len(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# Numbers stay text: nothing is made of them here, and Python refuses to make an int of very many digits.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
_SPLIT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
