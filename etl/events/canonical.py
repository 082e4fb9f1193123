"""Canonical JSON, by which records without an ID are compared.

Keys are sorted, white space is removed, characters are not escaped unless they must be, and a number has one spelling:
``1e2`` and ``100.0`` are ``100``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from json.encoder import encode_basestring
from typing import Final, NamedTuple

import msgspec

_HALF: Final = re.compile("[\ud800-\udfff]")
_LONGEST_INTEGER: Final = 18
"""Digits of the longest number that is written without an exponent, unless it has no zeros to leave out."""
_NUMBER: Final = re.compile(r"(-?)([0-9]+)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]{1,6}))?")


class Canonical(NamedTuple):
    """JSON in canonical form.

    Attributes:
        text: The canonical form. Two texts have the same one if they only differ in the order of keys, white space,
            escapes and the spelling of numbers. Duplicate keys of an object are kept in their order.
        keeps_numbers: Whether every number already had its canonical spelling.
    """

    text: str
    keeps_numbers: bool = True


def canonical(text: str) -> Canonical:
    """Returns JSON in canonical form.

    Args:
        text: Valid JSON.
    """
    try:
        if (fast := _fast(text)) is not None:
            return Canonical(fast)
        value = _EXACT.decode(text)
        found = _serialized(value, _number)
        return Canonical(found, found == _serialized(value, str))
    except RecursionError:  # nested more deeply than anything GitHub writes
        return Canonical(text)


def _fast(text: str) -> str | None:
    """Canonicalizes JSON with plain integers and without duplicate keys and lone surrogates; returns None otherwise."""
    try:
        return _SORTED.encode(_PLAIN.decode(text)).decode()
    except (_SlowPathError, UnicodeEncodeError):
        return None


class _SlowPathError(Exception):
    """The JSON needs the slow path."""


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _SlowPathError
    return found


def _refuse(_: str) -> float:
    raise _SlowPathError


def _integer(text: str) -> int:
    if len(text) > _LONGEST_INTEGER or text == "-0":
        raise _SlowPathError
    return int(text)


_PLAIN: Final = json.JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_refuse)
_SORTED: Final = msgspec.json.Encoder(order="sorted")


class _Pairs(list[tuple[str, object]]):
    """The members of an object, possibly with duplicate keys."""

    __slots__ = ()


class _Number(str):
    """A number as text."""

    __slots__ = ()


_EXACT: Final = json.JSONDecoder(object_pairs_hook=_Pairs, parse_int=_Number, parse_float=_Number)


def _serialized(value: object, number: Callable[[str], str]) -> str:
    if isinstance(value, _Number):
        return number(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, _Pairs):
        pairs = sorted(value, key=lambda pair: pair[0])
        return f"{{{','.join([f'{_quoted(key)}:{_serialized(member, number)}' for key, member in pairs])}}}"
    if isinstance(value, list):
        return f"[{','.join([_serialized(each, number) for each in value])}]"
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
    # A lone surrogate has no encoding in UTF-8.
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", encode_basestring(text))
