"""One spelling for JSON that says the same, so that records without an id can be compared.

Keys are sorted, white space is left out, and characters stand for themselves where they may. Numbers stay as they are
written: a record has to be given back from its row.
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
    """Returns JSON in its one spelling.

    Two texts have the same one if they are equal as JSON, the order of keys, white space and escapes aside. Keys that
    come twice in one object are kept in their order.

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
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, _Pairs):
        pairs = sorted(value, key=lambda pair: pair[0])
        return f"{{{','.join([f'{_quoted(key)}:{_written(member)}' for key, member in pairs])}}}"
    if isinstance(value, list):
        return f"[{','.join(map(_written, value))}]"
    return "null" if value is None else "true" if value else "false"


def _quoted(text: str) -> str:
    # Half of a surrogate pair has no bytes of its own in UTF-8.
    return _HALF.sub(lambda half: f"\\u{ord(half[0]):04x}", encode_basestring(text))
