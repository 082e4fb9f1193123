"""The canonical form of JSON, so that records without an id can be compared.

Keys are sorted, white space is left out, characters stand for themselves where they may, and a number has one spelling:
``1e2`` and ``100.0`` are ``100``.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Final

import msgspec

_HALF: Final = re.compile("[\ud800-\udfff]")
_LONGEST_INTEGER: Final = 18
"""Digits of the longest number that is written without an exponent, unless it has no zeros to leave out."""
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,6}))?")


def canonical(text: str) -> str:
    """Returns JSON in its canonical form.

    Two texts have the same one if they are equal as JSON, the order of keys, white space, escapes and the spelling of
    numbers aside. Keys that come twice in one object are kept in their order.

    Args:
        text: JSON that can be read.
    """
    try:
        return _quickly(text) or _written(_EXACT.decode(text))
    except RecursionError:  # nested more deeply than anything GitHub writes
        return text


def _quickly(text: str) -> str | None:
    """Writes what has no odd number, no key twice and no half of a surrogate pair; None for all else."""
    try:
        return _SORTED.encode(_PLAIN.decode(text)).decode()
    except (_OddError, UnicodeEncodeError):
        return None


class _OddError(Exception):
    """JSON that takes the long way."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _OddError
    return found


def _refuse(_: str) -> float:
    raise _OddError


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER or text == "-0":
        raise _OddError
    return int(text)


_PLAIN: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_refuse)
_SORTED: Final = msgspec.json.Encoder(order="sorted")


class _Pairs(list[tuple[str, object]]):
    """The members of an object."""

    __slots__ = ()


class _Number(str):
    """A number as it is written."""

    __slots__ = ()


_EXACT: Final = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number)


def _written(value: object) -> str:
    if isinstance(value, _Number):
        return _number(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, _Pairs):
        pairs = sorted(value, key=lambda pair: pair[0])
        return f"{{{','.join([f'{_quoted(key)}:{_written(member)}' for key, member in pairs])}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return "null" if value is None else "true" if value else "false"


def _number(text: str) -> str:
    """Returns a number in its one spelling; one with an exponent of more than six digits stays as it is."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        return str(text)
    sign, whole, fraction, exponent = found.groups(default="")
    digits = (whole + fraction).lstrip("0")
    if not digits:
        return "0"
    shift = int(exponent or 0) - len(fraction) + len(digits)
    digits = digits.rstrip("0")
    shift -= len(digits)
    if shift == 0 or 0 < shift <= _LONGEST_INTEGER - len(digits):
        return f"{sign}{digits}{'0' * shift}"
    if -_LONGEST_INTEGER <= shift < 0:
        digits = digits.rjust(1 - shift, "0")
        return f"{sign}{digits[:shift]}.{digits[shift:]}"
    return f"{sign}{digits}E{shift}"


def _quoted(text: str) -> str:
    # Half of a surrogate pair has no bytes of its own in UTF-8.
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", encode_basestring(text))
