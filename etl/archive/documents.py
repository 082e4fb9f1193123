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

BLOCK_SIZE: Final = 8 << 20
LONGEST_LINE: Final = 256 << 20
"""A longer line is set aside unread, so that memory stays bounded; the longest known has 211,240 bytes."""

_EVENT_KEYS: Final = frozenset({"id", "type", "created_at", "payload", "actor", "repo", "repository"})
_SURE_EVENT_KEYS: Final = frozenset({"type", "created_at"})
_SPACE: Final = b" \t\r\n"
_NULS: Final = re.compile(rb"\0+")
_OPENING: Final = re.compile(rb'\{\s*"')
_NOT_SPACE: Final = re.compile(rb"[^ \t\r\n]")
_NOT_SPACE_TEXT: Final = re.compile(r"[^ \t\r\n]")
_SEARCH_FACTOR: Final = 16
"""The search behind a cut document may read this many times the length of its line, then gives up."""

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


def blocks(text: Iterable[bytes], report: Report, *, size: int = BLOCK_SIZE) -> Iterator[Block]:
    """Cuts text into blocks of whole lines, of ``size`` bytes and what its last line needs more.

    Args:
        text: Pieces of any size.
        report: Told of lines longer than ``LONGEST_LINE``, in pieces.
        size: Least bytes of a block, the last one aside.
    """
    held: list[bytes] = []
    length = offset = 0
    for piece in text:
        held.append(piece)
        length += len(piece)
        if length < size:
            continue
        data = b"".join(held)
        end = data.rfind(b"\n") + 1
        if not end and length > LONGEST_LINE:
            # Without a line end nothing says where a document ends: what is held can only be set aside.
            report(Damage(Reason.TOO_LONG, Place.TEXT, offset, data))
            end = length
        elif end:
            yield Block(offset, data[:end])
        offset += end
        held = [data[end:]]
        length -= end
    if length:
        yield Block(offset, b"".join(held))


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


def _documents(text: bytes, offset: int, report: Report) -> Iterator[Document]:
    """Reads the documents of a stretch without NUL."""
    at = first = _skip_space(text, 0)
    budget = _SEARCH_FACTOR * len(text)
    while at < len(text):
        end, reason = _document_end(text, at)
        if end is None:
            end, spent = _next_document(text, at, budget)
            budget -= spent
            cut = text[at:end]
            # The tail of a document whose head was reported already is no second one.
            lost = int(at == first or b"{" in cut)
            report(Damage(reason, Place.TEXT, offset + at, cut, lost=lost))
        else:
            yield from _document(text[at:end], offset + at, report)
        at = _skip_space(text, end)


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


def _document_end(text: bytes, start: int) -> tuple[int | None, Reason]:
    """Finds where the JSON value that begins at ``start`` ends; None, and why, if it never does."""
    try:
        # Latin-1 makes one character of every byte: places in text and bytes are the same.
        return _JSON.raw_decode(text[start:].decode("latin-1"))[1] + start, Reason.CUT_DOCUMENT
    except RecursionError:
        return None, Reason.TOO_DEEP
    except ValueError:
        return None, Reason.CUT_DOCUMENT


def _next_document(text: bytes, start: int, budget: int) -> tuple[int, int]:
    """Finds the next place behind a cut document where surely an event begins, and what the search cost.

    The objects inside the cut document begin alike, so only one with the keys of an event counts.
    """
    spent = 0
    for opening in _OPENING.finditer(text, start + 1):
        if spent > budget:
            break
        end, _ = _document_end(text, opening.start())
        spent += len(text) - opening.start() if end is None else end - opening.start()
        if end is None:
            continue
        pairs = members(text[opening.start() : end])
        if pairs is not None and _SURE_EVENT_KEYS.issubset(key for key, _ in pairs):
            return opening.start(), spent
    return len(text), spent


def _scan_members(text: str, start: int) -> tuple[list[tuple[str, bytes]], int]:
    """Reads an object member by member; ``text`` is bytes as Latin-1. Raises ValueError if it is none."""
    pairs: list[tuple[str, bytes]] = []
    at = _expect(text, start, "{")
    if text[_skip_space_text(text, at)] == "}":
        return pairs, _expect(text, at, "}")
    while True:
        key, at = scanstring(text, _expect(text, at, '"'), True)  # noqa: FBT003  # positional only
        at = _skip_space_text(text, _expect(text, at, ":"))
        _, end = _JSON.raw_decode(text, at)
        pairs.append((_true_text(key), text[at:end].encode("latin-1")))
        at = _skip_space_text(text, end)
        if text[at] == "}":
            return pairs, at + 1
        at = _expect(text, at, ",")


def _true_text(key: str) -> str:
    """Turns a key that was read as Latin-1 into the text it says; escapes beyond Latin-1 are text already."""
    try:
        return key.encode("latin-1").decode()
    except UnicodeError:
        return key


def _expect(text: str, at: int, mark: str) -> int:
    at = _skip_space_text(text, at)
    if text[at] != mark:
        raise ValueError(mark)
    return at + 1


def _skip_space_text(text: str, at: int) -> int:
    found = _NOT_SPACE_TEXT.search(text, at)
    if found is None:
        raise ValueError
    return found.start()


def _skip_space(text: bytes, at: int) -> int:
    found = _NOT_SPACE.search(text, at)
    return found.start() if found else len(text)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


# Numbers stay text: nothing is made of them here, and Python refuses to make an int of very many digits.
_JSON: Final = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse)
_SPLIT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
