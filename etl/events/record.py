"""Converts a document to a row and back, without loss.

A record has one of two formats:

* **Events API** (eras A, C and D): ``id``, and ``actor``, ``repo`` and ``org`` as objects;
* **timeline** (era B, 2012-03-10 to 2014): no id, ``actor`` is a login, ``actor_attributes`` and ``repository`` are
  objects, and ``url`` is at the top level.

A value is stored in its column if it has the column's type. Everything else is stored in ``other``, a JSON object with
the same nesting as the record: unknown keys, explicit nulls, values of an unexpected type, and times in an unusual
format. ``rebuild`` is the inverse, which ``row_of`` verifies for every row: a record that cannot be rebuilt from its
row is stored in ``other`` as a whole, under ``verbatim``.

The source's bytes are copied instead of parsed and serialized again, so numbers keep all their digits.

Records without an id are compared by their rows, so ``canonical_row`` writes these in canonical form. If that changes
the spelling of a number, the record as written is kept at the end of ``other``, under ``as_written``, which is not part
of the comparison.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, MutableMapping
from datetime import datetime
from typing import Any, Final

import msgspec

from etl.archive.documents import Document, members
from etl.events.canonical import canonical
from etl.events.schema import NAMES
from etl.events.times import events_api_text, parse_time, timeline_text

Value = str | int | bool | datetime | None
Row = dict[str, Value]
"""A row: the value of each column, by name."""

Members = dict[str, bytes]
Nested = bytes | dict[str, bytes]
"""The value of a key in ``other``: the bytes of a value, or those of each member of an object."""

ENTITY_FIELDS: Final = {
    "actor": ("id", "login", "gravatar_id", "avatar_url", "url"),
    "repo": ("id", "name", "url"),
    "org": ("id", "login", "gravatar_id", "avatar_url", "url"),
}
"""Keys of the three objects that have a column (``actor_id`` etc.)."""

_NULL: Final = b"null"
_VERBATIM: Final = "verbatim"
_AS_WRITTEN: Final = "as_written"
_AS_WRITTEN_MEMBER: Final = re.compile(f'[,{{] "{_AS_WRITTEN}":.*', re.DOTALL)
"""This member of ``other`` alone has a space before it: nothing in JSON without white space looks like it."""
_TIMELINE_KEYS: Final = frozenset({"repository", "actor_attributes", "url"})
_PLAIN: Final = ("id", "type", "public")
_INT64: Final = range(-(2**63), 2**63)


def row_of(document: Document) -> Row:
    """Returns the row of a document.

    Args:
        document: A document with its members; the last one of duplicate keys is used.
    """
    fields = dict(document.members)
    timeline = is_timeline(fields)
    row, other = _timeline_row(fields) if timeline else _events_api_row(fields)
    row["other"] = _join_other(other)
    if not _is_lossless(row, fields):
        rest = {key: value for key, value in fields.items() if key != "payload" or value == _NULL}
        row["other"] = _join_other({_VERBATIM: _object(rest)})
    return row


def canonical_row(row: Row, document: Document) -> Row:
    """Returns the row of a record without an id in canonical form, so that its copies can be found.

    Args:
        row: What ``row_of`` returned.
        document: Its document.
    """
    row, keeps_numbers = _in_canonical_form(row)
    if keeps_numbers:
        return row
    fields = [(key, canonical(raw.decode()).text.encode()) for key, raw in document.members]
    row, _ = _in_canonical_form(row_of(Document(document.offset, document.data, fields)))
    before = "{" if row["other"] is None else str(row["other"]).removesuffix("}") + ","
    row["other"] = f'{before} "{_AS_WRITTEN}":{_object(dict(document.members)).decode()}}}'
    return row


def _in_canonical_form(row: Row) -> tuple[Row, bool]:
    """Writes the JSON of a row in canonical form; tells whether that left all numbers as they are written."""
    found = {name: canonical(str(row[name])) for name in ("payload", "other") if row[name] is not None}
    forms = {name: form.text for name, form in found.items()}
    return row | forms, all(form.keeps_numbers for form in found.values())


def comparison_key(row: Row) -> tuple[Value, ...]:
    """Returns what two records without an id have in common if they are the same.

    The model ``events_base`` has the same rule in SQL.

    Args:
        row: What ``canonical_row`` returned.
    """
    other = _AS_WRITTEN_MEMBER.sub("}", str(row["other"] or "}"))
    return tuple((row | {"other": None if other == "}" else other}).values())


def is_timeline(fields: Mapping[str, bytes]) -> bool:
    """Returns whether a record has the timeline format of era B."""
    return not _TIMELINE_KEYS.isdisjoint(fields)


def rebuild(row: Mapping[str, Any]) -> bytes:
    """Returns the JSON record that a row was created from.

    It equals the original as JSON; the order of keys and white space may differ.

    Args:
        row: The value of each column, by name.
    """
    other = _members(str(row["other"]).encode()) if row["other"] is not None else {}
    if _AS_WRITTEN in other and (written := members(other[_AS_WRITTEN])) is not None:
        return _object(dict(written))
    payload = {} if row["payload"] is None else {"payload": str(row["payload"]).encode()}
    whole = members(other[_VERBATIM]) if list(other) == [_VERBATIM] else None
    if whole is not None:
        return _object(dict(whole) | payload)
    if is_timeline(other):
        return _object(_timeline_fields(row, other) | payload)
    return _object(_events_api_fields(row, other) | payload)


def read_entity(raw: bytes, fields: tuple[str, ...]) -> tuple[list[Value], Nested | None]:
    """Reads an actor, a repository or an organization.

    Args:
        raw: The bytes of its JSON value.
        fields: The keys that have a column.

    Returns:
        The columns' values, and what goes to ``other``; None when nothing does.
    """
    inside = members(raw)
    if inside is None:
        return [None] * len(fields), raw
    left = dict(inside)
    values = [_take(left, key, _integer if key == "id" else _text) for key in fields]
    return values, left if left or all(value is None for value in values) else None


def join_object(fields: Nested) -> bytes:
    """Returns the JSON object of its members; JSON bytes are returned unchanged."""
    return _object(fields) if isinstance(fields, dict) else fields


def _join_other(other: Mapping[str, Nested]) -> str | None:
    """Returns the value of the column ``other``; None if it is empty."""
    return _object({key: join_object(value) for key, value in other.items()}).decode() if other else None


def _events_api_row(fields: Members) -> tuple[Row, dict[str, Nested]]:
    row: Row = dict.fromkeys(NAMES)
    other: dict[str, Nested] = dict(fields)
    _take_plain(row, other, events_api_text)
    for entity, keys in ENTITY_FIELDS.items():
        if entity in fields:
            values, left = read_entity(fields[entity], keys)
            row.update(zip((f"{entity}_{key}" for key in keys), values, strict=True))
            _put_back(other, entity, left)
    return row, other


def _events_api_fields(row: Mapping[str, Any], other: Members) -> Members:
    fields = _plain_fields(row, other, events_api_text)
    for entity, keys in ENTITY_FIELDS.items():
        known = _known(row, {f"{entity}_{key}": key for key in keys})
        if known:
            fields[entity] = _object(known | _members(other.get(entity, b"{}")))
    return fields


def _timeline_row(fields: Members) -> tuple[Row, dict[str, Nested]]:
    row: Row = dict.fromkeys(NAMES)
    other: dict[str, Nested] = dict(fields)
    _take_plain(row, other, timeline_text)
    if "actor_attributes" in fields:
        keys = ENTITY_FIELDS["actor"]
        values, left = read_entity(fields["actor_attributes"], keys)
        row.update(zip((f"actor_{key}" for key in keys), values, strict=True))
        # Kept even if it is empty, to record that it was present.
        other["actor_attributes"] = {} if left is None else left
    login = _text(fields.get("actor", b""))
    if row["actor_login"] is None:
        row["actor_login"] = login
    if login is not None and login == row["actor_login"]:
        del other["actor"]
    if "repository" in fields:
        other["repository"] = _take_repository(row, fields["repository"])
    return row, other


def _take_repository(row: Row, raw: bytes) -> Nested:
    """Reads ``repository``; its owner is prepended to the name, as in the other eras, and kept in ``other``."""
    values, left = read_entity(raw, ENTITY_FIELDS["repo"])
    row["repo_id"], row["repo_name"], row["repo_url"] = values
    if not isinstance(left, dict):
        return {} if left is None else left
    owner = _text(left.get("owner", b""))
    if owner is not None and row["repo_name"] is not None:
        row["repo_name"] = f"{owner}/{row['repo_name']}"
    row["org_login"] = _text(left.get("organization", b""))
    return left


def _timeline_fields(row: Mapping[str, Any], other: Members) -> Members:
    fields = _plain_fields(row, other, timeline_text)
    if "actor_attributes" in other:
        known = _known(row, {f"actor_{key}": key for key in ENTITY_FIELDS["actor"]})
        left = members(other["actor_attributes"])
        if left is not None:
            fields["actor_attributes"] = _object(known | dict(left))
    if row["actor_login"] is not None and "actor" not in other:
        fields["actor"] = _json(row["actor_login"])
    left = members(other["repository"]) if "repository" in other else None
    if left is not None:
        known = _known(row, {"repo_id": "id", "repo_name": "name", "repo_url": "url"})
        owner = _text(dict(left).get("owner", b""))
        if owner is not None and "name" in known:
            known["name"] = _json(str(row["repo_name"]).removeprefix(f"{owner}/"))
        fields["repository"] = _object(known | dict(left))
    return fields


def _take_plain(row: Row, other: dict[str, Nested], usual_text: Callable[[datetime], str]) -> None:
    """Moves top-level values that have a column to the row."""
    for key in _PLAIN:
        row[key] = _take(other, key, _boolean if key == "public" else _text)
    payload = other.get("payload")
    if isinstance(payload, bytes) and payload != _NULL:
        row["payload"] = payload.decode()
        del other["payload"]
    raw = other.get("created_at")
    text = _text(raw) if isinstance(raw, bytes) else None
    time = None if text is None else parse_time(text)
    row["created_at"] = time
    if time is not None and text == usual_text(time):
        del other["created_at"]


def _plain_fields(row: Mapping[str, Any], other: Members, usual_text: Callable[[datetime], str]) -> Members:
    fields = _known(row, {key: key for key in _PLAIN})
    if row["created_at"] is not None:
        fields["created_at"] = _json(usual_text(row["created_at"]))
    return fields | other


def _take(left: MutableMapping[str, Any], key: str, read: Callable[[bytes], Value]) -> Value:
    """Removes a value from ``left`` and returns it if it has the expected type."""
    raw = left.get(key)
    value = read(raw) if isinstance(raw, bytes) else None
    if value is not None:
        del left[key]
    return value


def _put_back(other: dict[str, Nested], key: str, left: Nested | None) -> None:
    if left is None:
        del other[key]
    else:
        other[key] = left


def _known(row: Mapping[str, Any], keys: Mapping[str, str]) -> Members:
    return {key: _json(row[column]) for column, key in keys.items() if row[column] is not None}


def _is_lossless(row: Row, fields: Members) -> bool:
    """Returns whether the record can be rebuilt from the row."""
    rebuilt = _members(rebuild(row))
    if rebuilt.keys() != fields.keys():
        return False
    return all(rebuilt[key] == raw or _parsed(rebuilt[key]) == _parsed(raw) for key, raw in fields.items())


def _parsed(raw: bytes) -> object:
    """Parses JSON for comparison, with numbers as text."""
    value: object = json.loads(raw, parse_float=_Number, parse_int=_Number)
    return value


class _Number(str):
    """A number as text; never equal to a string."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Number) and str(self) == str(other)

    __hash__ = str.__hash__


def _text(raw: bytes) -> str | None:
    """Decodes a JSON string; returns None for anything else, and for strings with a lone surrogate."""
    try:
        return _TEXT.decode(raw)
    except msgspec.MsgspecError:
        return None


def _integer(raw: bytes) -> int | None:
    """Decodes an int64; returns None for anything else."""
    if _INTEGER.fullmatch(raw) is None:
        return None
    value = int(raw)
    return value if value in _INT64 else None


def _boolean(raw: bytes) -> bool | None:
    return {b"true": True, b"false": False}.get(raw)


def _members(raw: bytes) -> Members:
    found = members(raw)
    if found is None:
        raise ValueError("not an object")  # a bug, whatever the data
    return dict(found)


def _object(fields: Members) -> bytes:
    return b"{" + b",".join([_json_key(key) + b":" + raw for key, raw in fields.items()]) + b"}"


def _json_key(key: str) -> bytes:
    try:
        return _json(key)
    except UnicodeEncodeError:  # a lone surrogate, which must be written as an escape
        return json.dumps(key).encode()


_json: Final = msgspec.json.Encoder().encode
_TEXT: Final = msgspec.json.Decoder(str)
_INTEGER: Final = re.compile(rb"0|-?[1-9]\d{0,18}")  # not -0, which an int cannot represent
