"""JSON as text, so that numbers, escapes and white space are as they are written, and a reader that sees them."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from etl.archive.damage import Damage, DamageReason
from etl.archive.documents import Document, recover_documents

EVENT_KEYS = (
    *("id", "type", "actor", "repo", "payload", "public", "created_at", "org"),
    *("repository", "actor_attributes", "url", "verbatim", "other"),
)
ENTITY_KEYS = ("id", "login", "name", "gravatar_id", "avatar_url", "url", "display_login", "owner", "organization")
TIMES = (
    "2015-01-01T15:00:00Z",
    "2013-02-15T00:00:39-08:00",
    "2013-02-15T00:00:39-07:00",
    "2012/03/10 22:36:55 -0800",
    "2015-01-01T15:00:00.250Z",
    "2015-01-01T17:00:00+02:00",
    "2015-01-01",
)


def string(text: str, *, ascii_only: bool = False) -> str:
    """A JSON string; half a surrogate pair is always an escape."""
    if ascii_only or any("\ud800" <= character <= "\udfff" for character in text):
        return json.dumps(text)
    return json.dumps(text, ensure_ascii=False)


surrogates = st.characters(categories=["Cs"])
text_values = st.builds(string, st.text(st.characters() | surrogates, max_size=8), ascii_only=st.booleans())
numbers = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.sampled_from([2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30]).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.sampled_from(["-0", "1.0", "1.50", "1E5", "1e400", "0.1e-7", "1" * 5000]),
)
scalars = st.one_of(st.sampled_from(["null", "true", "false", '""']), numbers, text_values)
spaces = st.sampled_from(["", "", " ", "\t", " \r"])


def objects(keys: SearchStrategy[str], values: SearchStrategy[str], most: int = 9) -> SearchStrategy[str]:
    """Objects of distinct keys."""
    members = st.lists(st.tuples(keys, values, spaces), max_size=most, unique_by=lambda member: member[0])
    return members.map(
        lambda found: "{" + ",".join(f"{string(key)}{space}:{space}{value}" for key, value, space in found) + "}"
    )


def arrays(values: SearchStrategy[str]) -> SearchStrategy[str]:
    return st.lists(values, max_size=3).map(lambda found: "[" + ", ".join(found) + "]")


odd_keys = st.text(st.characters() | surrogates, max_size=4)
values = st.recursive(scalars, lambda inner: arrays(inner) | objects(odd_keys, inner, most=3), max_leaves=5)
entities = objects(
    st.sampled_from(ENTITY_KEYS) | odd_keys,
    st.one_of(st.integers(0, 2**40).map(str), st.sampled_from(["ann", "a/b", "ann/a", "/", ""]).map(string), values),
)


@st.composite
def records(draw: st.DrawFn) -> str:
    """Objects that look like events, more or less: any value under any key, but often the usual one."""
    usual = {
        "id": st.just('"1132229764"'),
        "type": st.sampled_from(["PushEvent", "Event", ""]).map(string),
        "public": st.sampled_from(["true", "false"]),
        "created_at": st.sampled_from(TIMES).map(string),
        "actor": entities | st.sampled_from(["ann", "bob"]).map(string),
        "payload": objects(odd_keys, values, most=3),
    }
    members = {}
    for key in draw(st.lists(st.sampled_from(EVENT_KEYS) | odd_keys, min_size=1, max_size=12, unique=True)):
        members[key] = draw(st.one_of(usual.get(key, entities), values, entities))
    if not members.keys() & {"id", "type", "created_at", "payload", "actor", "repo", "repository"}:
        members["type"] = '"Event"'
    space = draw(spaces)
    return "{" + f",{space}".join(f"{string(key)}:{space}{value}" for key, value in members.items()) + "}"


def document(record: str | bytes) -> Document:
    """Reads one record that is sound, but may have a key twice."""
    line = record.encode() if isinstance(record, str) else record
    damages: list[Damage] = []
    (found,) = recover_documents(line, 0, damages.append)
    assert {damage.reason for damage in damages} <= {DamageReason.DUPLICATE_KEYS}
    return found


class Number(str):
    """A number as it is written; never equal to a string that looks like it."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Number) and str(self) == str(other)

    __hash__ = str.__hash__


def meaning(text: str | bytes) -> Any:
    """Parses JSON, with numbers as they are written."""
    return json.loads(text, parse_int=Number, parse_float=Number)


def meanings(text: bytes) -> list[Any]:
    """Parses documents one behind the other, wherever the line ends are."""
    decoder = json.JSONDecoder(parse_int=Number, parse_float=Number)
    found, rest = [], text.decode().lstrip()
    while rest:
        record, end = decoder.raw_decode(rest)
        found.append(record)
        rest = rest[end:].lstrip()
    return found
