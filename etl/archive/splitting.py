"""Splits text into documents, with or without line breaks, damaged or not.

``split`` is the reference implementation. ``etl/events/native/scanner.c`` does the same a hundred times as fast, and a
test compares the two. Both are linear: after damage the search continues where the parser stopped, never before.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple, Protocol

from etl.archive.damage import DamageReason

MAX_DEPTH: Final = 512
"""More deeply nested documents are quarantined."""
KINDS: Final = (
    None,
    DamageReason.NOT_AN_EVENT,
    DamageReason.CUT_DOCUMENT,
    DamageReason.NUL_BYTES,
    DamageReason.TOO_DEEP,
)
"""Kinds of parts, in the order of ``scanner.c``."""

_MIN_PART_BYTES: Final = 512
"""A smaller part is merged with its neighbour, unless one of them is a document."""
_MAX_MARKS: Final = 64
"""Maximum number of brackets and commas between two documents that are treated like white space."""
_EVENT, _TYPE, _TIME = 1, 2, 4
_SURE: Final = _TYPE | _TIME
_BITS: Final = {
    b'"type"': _EVENT | _TYPE,
    b'"created_at"': _EVENT | _TIME,
    **dict.fromkeys((b'"id"', b'"payload"', b'"actor"', b'"repo"', b'"repository"'), _EVENT),
}
_SPACES: Final = re.compile(rb"[ \t\r\n]*+")
_STRING: Final = re.compile(rb'"(?:[^"\\\x00-\x1f]++|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*')
_SCALAR: Final = re.compile(rb"true|false|null|-?+(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?+[0-9]++)?")
_OPEN_ESCAPE: Final = re.compile(rb"\\(?:u[0-9a-fA-F]{0,3})?\Z")
_OPEN_SCALAR: Final = re.compile(rb"[0-9A-Za-z\[\\\]^_`.+-]*+\Z")
_LONG_NULS: Final = re.compile(rb"\0{512,}+")
_PIECES: Final = re.compile(rb"[ \t\r\n]++|(?P<mark>[\[\],\x1e]|\xef\xbb\xbf)|(?P<nuls>\0++)|(?P<other>.)", re.DOTALL)


class Part(NamedTuple):
    """A part of a text.

    Attributes:
        begin: Start, in bytes.
        end: End, exclusive.
        reason: Why it is not a document; None for a document: valid JSON except for bytes that may not be UTF-8, and an
            object with a key of an event, or with an escaped key that may be one.
        lost: Number of documents lost with it.
    """

    begin: int
    end: int
    reason: DamageReason | None
    lost: int


class Split(NamedTuple):
    """Result of splitting a text.

    Attributes:
        parts: The parts in order, without white space, brackets and commas between documents.
        resolved: Start of an object that may continue after the text; otherwise the length of the text.
        recovering: Whether the text ends after a cut document, so that only certain events count as documents.
    """

    parts: list[Part]
    resolved: int
    recovering: bool


class Splitter(Protocol):
    """A function like ``split``."""

    def __call__(self, text: bytes, *, is_last: bool, recovering: bool = False) -> Split:
        """Splits text; see ``split``."""


class _Parsed(NamedTuple):
    """Result of parsing an object: ``at`` is the position after it, or where it is broken."""

    at: int
    seen: int = 0
    is_sound: bool = False
    is_deep: bool = False
    is_open: bool = False


def split(text: bytes, *, is_last: bool, recovering: bool = False) -> Split:
    """Splits text into documents and damage.

    Args:
        text: Any bytes.
        is_last: Whether this is the end of the text, so that an incomplete object is damage.
        recovering: Whether the text starts after a cut document.
    """
    return _SplitRun(text, recovering=recovering).run(is_last=is_last)


class _SplitRun:
    def __init__(self, text: bytes, *, recovering: bool) -> None:
        self._text = text
        self._parts: list[Part] = []
        self._recovering = recovering

    def run(self, *, is_last: bool) -> Split:
        text, at, is_tail = self._text, 0, False
        while True:
            brace = text.find(b"{", at)
            stop = brace if brace >= 0 else len(text)
            self._add_stretches(at, stop, is_tail=is_tail)
            is_tail = is_tail and text.find(b"\n", at, stop) < 0
            afresh = stop > 0 and text[stop - 1] in b"\n\0"
            if brace < 0:
                return Split(self._parts, stop, self._recovering and not afresh)
            self._recovering = self._recovering and not afresh
            found, inside = self._parse_object(brace)
            if found.is_open and not is_last:
                return Split(self._parts, brace, self._recovering)
            at = self._add_sound(brace, found) if found.is_sound else self._add_broken(brace, found, inside)
            is_tail = True

    def _add_sound(self, begin: int, found: _Parsed) -> int:
        is_event = found.seen & _SURE == _SURE if self._recovering else bool(found.seen & _EVENT)
        if is_event:
            self._parts.append(Part(begin, found.at, None, 0))
            self._recovering = False
        else:
            reason = DamageReason.CUT_DOCUMENT if self._recovering else DamageReason.NOT_AN_EVENT
            self._add(begin, found.at, reason, int(not self._recovering))
        return found.at

    def _add_broken(self, begin: int, found: _Parsed, inside: list[Part]) -> int:
        """Adds an object that could not be parsed; events found inside are kept, and what is between them is damage."""
        text, stopped = self._text, max(found.at, begin + 1)
        if text[stopped - 1 : stopped] == b'"' and stopped - 2 > begin:
            # The quote that ended a string may be the first of the document that interrupted this one.
            opening = begin + len(text[begin : stopped - 1].rstrip(b" \t\r\n")) - 1
            if opening > begin and text[opening : opening + 1] == b"{":
                stopped = opening
        inside = [part for part in inside if part.end <= stopped]
        reason = DamageReason.TOO_DEEP if found.is_deep else DamageReason.CUT_DOCUMENT
        at = begin
        for part in [*inside, None]:
            end = stopped if part is None else part.begin
            end = self._part_end(at, end) if part is None else end
            if end > at:
                self._add(at, end, reason, int(at == begin and not self._recovering))
            if part is not None:
                self._parts.append(part)
                at = part.end
        self._recovering = not inside
        return stopped

    def _part_end(self, at: int, end: int) -> int:
        """Returns the end of a part, without trailing white space if that has a line break."""
        last = at + len(self._text[at:end].rstrip(b" \t\r\n"))
        return last if self._text.find(b"\n", last, end) >= 0 else end

    def _add(self, begin: int, end: int, reason: DamageReason, lost: int) -> None:
        last = self._parts[-1] if self._parts else None
        if last is None or last.reason is None:
            self._parts.append(Part(begin, end, reason, lost))
        elif last.reason is reason or min(end - begin, last.end - last.begin) < _MIN_PART_BYTES:
            both = {last.reason, reason}
            deep = DamageReason.TOO_DEEP if DamageReason.TOO_DEEP in both else DamageReason.CUT_DOCUMENT
            self._parts[-1] = Part(last.begin, end, reason if len(both) == 1 else deep, last.lost + lost)
        else:
            self._parts.append(Part(begin, end, reason, lost))

    def _add_stretches(self, at: int, end: int, *, is_tail: bool) -> None:
        recovering = self._recovering
        for run in _LONG_NULS.finditer(self._text, at, end):
            self._add_stretch(at, run.start(), is_tail=is_tail, recovering=recovering)
            self._add(run.start(), run.end(), DamageReason.NUL_BYTES, 0)
            at, is_tail, recovering = run.end(), False, False
        self._add_stretch(at, end, is_tail=is_tail, recovering=recovering)

    def _add_stretch(self, at: int, end: int, *, is_tail: bool, recovering: bool) -> None:
        """Adds the part of a stretch without a brace; ``is_tail``: it continues the line of a document."""
        stretch = self._text[at:end]
        bare = stretch.lstrip(b" \t\r\n")
        skipped = len(stretch) - len(bare)
        is_new = not is_tail or b"\n" in stretch[:skipped]
        begin, last = at + skipped, at + skipped + len(bare.rstrip(b" \t\r\n"))
        marks = depth = deepest = lines = 0
        others = nuls = False
        words = True
        p = begin
        while p < last and (found := _PIECES.match(self._text, p, last)) is not None:
            p = found.end()
            if found["mark"]:
                marks += 1
                depth += {b"[": 1, b"]": -1}.get(found["mark"], 0)
                deepest = max(deepest, depth)
            elif found["nuls"]:
                nuls = True
            elif found["other"]:
                lines += is_new
                is_new, others = False, True
                if words:
                    words, behind = self._scalar(found.start(), last)
                    p = max(p, behind)
            else:
                is_new = is_new or b"\n" in found[0]
        if begin == last or (not others and not nuls and marks <= _MAX_MARKS):
            return
        if deepest > MAX_DEPTH:
            reason = DamageReason.TOO_DEEP
        elif nuls and not others:
            reason = DamageReason.NUL_BYTES
        else:
            reason = DamageReason.NOT_AN_EVENT if words and others and not nuls else DamageReason.CUT_DOCUMENT
        none = reason is DamageReason.NUL_BYTES or recovering
        self._add(begin, self._part_end(begin, end), reason, 0 if none else lines if others else int(not is_tail))

    def _scalar(self, at: int, end: int) -> tuple[bool, int]:
        """Reads a string, a number or a literal; returns whether it is valid, and where it ends or is broken."""
        if self._text.startswith(b'"', at):
            return self._string(at, end)
        found = _SCALAR.match(self._text, at, end)
        if found is not None:
            return self._whole_number(found.end(), at, end)
        return False, end if _OPEN_SCALAR.match(self._text, at, end) else at

    def _whole_number(self, behind: int, at: int, end: int) -> tuple[bool, int]:
        """Rejects an incomplete number, such as ``1.`` and ``1e``."""
        number, after = self._text[at:behind].lower(), self._text[behind : min(behind + 1, end)]
        continues = (after in b"eE" and after) or (after == b"." and b"." not in number)
        if continues and number[-1:].isdigit() and b"e" not in number:
            return False, end if _OPEN_SCALAR.match(self._text, at, end) else at
        return True, behind

    def _string(self, at: int, end: int) -> tuple[bool, int]:
        found = _STRING.match(self._text, at, end)
        behind = at + 1 if found is None else found.end()
        if self._text[behind : min(behind + 1, end)] == b'"':
            return True, behind + 1
        return False, end if _OPEN_ESCAPE.match(self._text, behind, end) else behind

    def _spaces(self, at: int) -> int:
        found = _SPACES.match(self._text, at)
        return at if found is None else found.end()

    def _parse_object(self, at: int) -> tuple[_Parsed, list[Part]]:  # noqa: C901, PLR0911, PLR0912 -- as in scanner.c
        """Parses the object that starts here; also returns the outermost nested objects that are certainly events."""
        text, size = self._text, len(self._text)
        begins: list[int] = []
        seen: list[int] = []
        inside: list[Part] = []
        is_value = True
        while True:
            at = self._spaces(at)
            if at == size:
                return _Parsed(size, is_open=True), inside
            if is_value and text[at] in b"{[":
                if len(begins) == MAX_DEPTH:
                    return _Parsed(at, is_deep=True), inside
                begins.append(at)
                seen.append(0)
                closing = b"}" if text[at] == 0x7B else b"]"  # noqa: PLR2004 -- a brace
                at = self._spaces(at + 1)
                if at == size:
                    return _Parsed(size, is_open=True), inside
                is_value = not text.startswith(closing, at)
            elif is_value:
                is_sound, behind = self._scalar(at, size)
                if not is_sound:
                    return _Parsed(behind, is_open=behind == size), inside
                at, is_value = behind, False
            while not is_value:
                at = self._spaces(at)
                if at == size:
                    return _Parsed(size, is_open=True), inside
                is_object = text.startswith(b"{", begins[-1])
                if text.startswith(b"}" if is_object else b"]", at):
                    at += 1
                    begin, bits = begins.pop(), seen.pop()
                    if not begins:
                        return _Parsed(at, bits, is_sound=True), inside
                    if is_object and bits & _SURE == _SURE:
                        while inside and inside[-1].begin > begin:
                            inside.pop()
                        inside.append(Part(begin, at, None, 0))
                elif text.startswith(b",", at):
                    at += 1
                    is_value = True
                else:
                    return _Parsed(at), inside
            if text.startswith(b"{", begins[-1]):
                at = self._spaces(at)
                if at == size:
                    return _Parsed(size, is_open=True), inside
                if not text.startswith(b'"', at):
                    return _Parsed(at), inside
                is_sound, behind = self._string(at, size)
                if not is_sound:
                    return _Parsed(behind, is_open=behind == size), inside
                key = text[at:behind]
                seen[-1] |= _BITS.get(key, _EVENT if b"\\" in key else 0)
                at = self._spaces(behind)
                if at == size:
                    return _Parsed(size, is_open=True), inside
                if not text.startswith(b":", at):
                    return _Parsed(at), inside
                at += 1
