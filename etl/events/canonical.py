"""Canonical JSON, so that records without an ID can be compared.

Keys are sorted, white space is removed, and characters are not escaped unless they must be. Numbers are not changed,
since a record must be rebuilt from its row.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring
from typing import Final

import msgspec

_HALF: Final = re.compile("[\ud800-\udfff]")
_LONGEST_INTEGER: Final = 18


def canonical(text: str) -> str:
    """Returns JSON in canonical form.

    Two texts have the same canonical form if they only differ in the order of keys, white space and escapes. Duplicate
    keys of an object are kept in their order.

    Args:
        text: Valid JSON.
    """
    try:
        return _fast(text) or _serialized(_EXACT.decode(text))
    except RecursionError:  # nested more deeply than anything GitHub writes
        return text


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


def _serialized(value: object) -> str:
    if isinstance(value, _Number):
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, _Pairs):
        pairs = sorted(value, key=lambda pair: pair[0])
        return f"{{{','.join([f'{_quoted(key)}:{_serialized(member)}' for key, member in pairs])}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_serialized, value))}]"
    return "null" if value is None else "true" if value else "false"


def _quoted(text: str) -> str:
    # A lone surrogate has no encoding in UTF-8.
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", encode_basestring(text))
