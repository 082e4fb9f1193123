"""The fast reading: what it takes, what it leaves to the exact one, and that both say the same."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from typing import Any, cast

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.events.batch import EventColumns
from etl.events.columns import PARQUET_SCHEMA, to_table
from etl.events.emails import EmailPolicy
from etl.events.native.scanner import load_scanner
from etl.events.record import rebuild, row_of
from etl.events.schema import NAMES
from etl.hours import Hour
from etl.practice.generator import generate_hour
from tests.unit.events import texts

KEEP = EmailPolicy.of("keep")
LINE = (
    b'{"id":"7","type":"WatchEvent",'
    b'"actor":{"id":1,"login":"ann","gravatar_id":"","url":"u","avatar_url":"a"},'
    b'"repo":{"id":2,"name":"ann/tool","url":"r"},"payload":{"action":"started"},'
    b'"public":true,"created_at":"2015-01-01T15:00:01Z"}\n'
)
PRACTICE = [*generate_hour(Hour.of(2015, 6, 7, 8), events=40), *generate_hour(Hour.of(2025, 12, 7, 8), events=40)]


def decode_columns(lines: bytes, emails: EmailPolicy) -> EventColumns | None:
    scan = load_scanner()
    assert scan is not None, "it is not compiled: make setup"
    events = scan.read(lines)
    if events is not None:
        events.scrub_bare_fields(emails)
    return events


def columns(lines: bytes) -> EventColumns:
    part = decode_columns(lines, KEEP)
    assert part is not None
    return part


def rows(lines: bytes) -> list[dict[str, Any]]:
    table = to_table([columns(lines)], [])
    assert table.schema.equals(PARQUET_SCHEMA)
    table.validate(full=True)
    found: list[dict[str, Any]] = table.to_pylist()
    return found


def exact(line: bytes) -> dict[str, Any]:
    return dict(row_of(texts.document(line.rstrip(b"\n"))))


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    """Whether rows are equal; ``other`` as JSON, since the order of its keys says nothing."""
    mine, yours = ({**row, "other": row["other"] and texts.meaning(row["other"])} for row in (ours, theirs))
    return mine == yours


def test_a_sound_line_fills_the_columns() -> None:
    (row,) = rows(LINE)
    assert row == exact(LINE)
    assert row == dict.fromkeys(NAMES) | {
        "id": "7",
        "type": "WatchEvent",
        "actor_id": 1,
        "actor_login": "ann",
        "actor_gravatar_id": "",
        "actor_avatar_url": "a",
        "actor_url": "u",
        "repo_id": 2,
        "repo_name": "ann/tool",
        "repo_url": "r",
        "payload": '{"action":"started"}',
        "public": True,
        "created_at": datetime(2015, 1, 1, 15, 0, 1, tzinfo=UTC),
    }


def test_the_last_line_may_lack_its_end() -> None:
    assert rows(LINE + LINE[:-1]) == rows(LINE + LINE)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'{"id"', b'{ "id"'),
        (b"}\n", b"} \n"),
        (b"}\n", b"}\r\n"),
        (b"}\n", b"}\n\n"),
        (b"}\n", b"}}\n"),
        (b"}\n", b"\n"),
        (b"}\n", b"}{}\n"),
        (b'{"id"', b'\xef\xbb\xbf{"id"'),
        (b'"public":true', b'"public": true'),
        (b'"public":true', b'"public":1'),
        (b'"public":true', b'"public":null'),
        (b'"public":true', b'"public":true,"public":false'),
        (b'"public":true', b'"public":true,"new":1'),
        (b'"public":true,', b""),
        (b'"id":"7",', b""),
        (b'"id":"7"', b'"id":7'),
        (b'"id":"7"', b'"id":null'),
        (b'"id":"7"', b'"id":"\\u0037"'),
        (b'"id":"7"', b'"id":"\xff"'),
        (b'"id"', b'"\\u0069d"'),
        (b"WatchEvent", b"Watch\\u0045vent"),
        (b'"created_at":"2015-01-01T15:00:01Z"', b'"created_at":"2015-01-01T07:00:01-08:00"'),
        (b'"created_at":"2015-01-01T15:00:01Z"', b'"created_at":"2015-01-01T15:00:01.5Z"'),
        (b'"created_at":"2015-01-01T15:00:01Z"', b'"created_at":"2015-01-01"'),
        (b'"created_at":"2015-01-01T15:00:01Z"', b'"created_at":null'),
        (b'"started"', b'"\xc3"'),
        (b'"started"', b'"\xed\xa0\x80"'),
        (b'"started"', b'"\x00"'),
        (b'"started"', b"started"),
        (b'"started"', b"01"),
        (b'"started"', b'"\x1f"'),
        (b'"started"', b'"\\q"'),
        (b'"id":1,', b'"id":01,'),
        (b'"ann"', b'"a\\qnn"'),
        (b'"ann"', b'"\\ud800"'),
        (b'"repo"', b'"repository"'),
        (b'"public":true', b'"public":true,"org":{},"org":{}'),
    ],
)
def test_a_line_that_is_not_sound_is_left_to_the_exact_reading(old: bytes, new: bytes) -> None:
    odd = LINE.replace(old, new, 1)
    assert odd != LINE
    assert decode_columns(odd, KEEP) is None
    assert decode_columns(LINE + odd + LINE, KEEP) is None


@pytest.mark.parametrize("lines", [b"", b"\n", b"{}\n", b"[]\n", b"null\n", b"[" * 100_000, b'{"a":' * 100_000])
def test_what_is_no_event_is_left_to_the_exact_reading(lines: bytes) -> None:
    assert decode_columns(lines, KEEP) is None


@pytest.mark.parametrize(
    "actor",
    [
        *(b"null", b"1", b'"ann"', b"[]", b"{}", b"{ }", b'{"id":null}', b'{"id":1.0,"login":"ann"}'),
        *(b'{"id":9223372036854775807}', b'{"id":9223372036854775808}', b'{"id":-9223372036854775809}'),
        *(b'{"id":-0,"login":"ann"}', b'{"id":1,"id":2}', b'{"login":"a\\u006en"}', b'{"login":null}'),
        *(b'{"login":"\\ud83d\\ude00"}', b'{"login":"ann","display_login":"Ann"}', b'{"display_login":null}'),
        *(b'{"display_login":"A\\n"}', b'{"login":"ann","new":{"a":[1.50]}}', b'{"id" : 1,"login":"ann"}'),
        *(b'{"login":"\xc3\xa4"}', b'{"login":"","gravatar_id":"","url":"","avatar_url":""}'),
    ],
)
@pytest.mark.parametrize("entity", ["actor", "repo", "org"])
def test_an_entity_of_any_kind_is_read_as_the_exact_reading_does(entity: str, actor: bytes) -> None:
    odd = LINE.replace(b'"public"', b'"org":{"id":9},"public"')
    start = odd.index(b'"%s":' % entity.encode()) + len(entity) + 3
    odd = odd[:start] + actor + odd[odd.index(b"}", start) + 1 :]
    # Among others, so that finding it is part of what is tested.
    first, found, last = rows(LINE + odd + LINE.replace(b"ann", b"bob"))
    assert same(first, exact(LINE))
    assert same(found, exact(odd))
    assert same(last, exact(LINE.replace(b"ann", b"bob")))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(texts.entities, texts.entities, texts.entities), min_size=1, max_size=4))
def test_entities_are_read_as_the_exact_reading_does(found: list[tuple[str, str, str]]) -> None:
    lines = [
        b'{"id":"7","type":"E","actor":%s,"repo":%s,"payload":{},"public":true,"created_at":"2015-01-01T15:00:01Z",'
        b'"org":%s}\n' % (actor.encode(), repo.encode(), org.encode())
        for actor, repo, org in found
    ]
    part = decode_columns(b"".join(lines), KEEP)
    if part is None:
        assert b"\\ud" in b"".join(lines)  # half a surrogate pair: left to the exact reading
        return
    ours = to_table([part], []).to_pylist()
    assert all(same(mine, exact(line)) for mine, line in zip(ours, lines, strict=True))


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(PRACTICE), st.randoms(use_true_random=False), st.integers(1, 3))
def test_every_byte_is_accounted_for(line: bytes, random: Any, edits: int) -> None:
    """Whatever is done to a line: it is refused, or its rows give back every record of it."""
    changed = bytearray(line)
    for _ in range(edits):
        place = random.randrange(len(changed))
        what = random.choice([b"", bytes([changed[place]]) * 2, bytes([random.randrange(256)]), *MARKS])
        changed[place : place + 1] = what
    part = decode_columns(bytes(changed), KEEP)
    if part is None:
        return
    ours = to_table([part], []).to_pylist()
    records = texts.meanings(bytes(changed))
    assert len(ours) == len(records)
    assert all(texts.meaning(rebuild(row)) in records for row in ours)


MARKS = (b'"', b",", b":", b"{", b"}", b" ", b"\n", b"\\", b'\\"', b'"a":1,', b"\\u0041", b"\xc3\xa4", b"0", b"\0")


@pytest.mark.parametrize("policy", ["hash", "drop"])
def test_addresses_without_at_in_pushes_are_treated(policy: str) -> None:
    push = LINE.replace(b"WatchEvent", b"PushEvent").replace(
        b'{"action":"started"}', b'{"commits":[{"author":{"email":"ann.example","name":"Ann"}}]}'
    )
    emails = EmailPolicy.of(policy)
    part = decode_columns(LINE + push + LINE, emails)
    assert part is not None
    found = to_table([part], []).to_pylist()
    assert [row["type"] for row in found] == ["PushEvent", "WatchEvent", "WatchEvent"]
    assert "ann.example" not in found[0]["payload"]
    commit = json.loads(found[0]["payload"])["commits"][0]["author"]
    assert commit["name"] == "Ann"
    assert commit["email"] == (
        None if policy == "drop" else hashlib.sha1(b"ann.example", usedforsecurity=False).hexdigest()
    )


def test_events_are_in_order_of_type_and_within_it_of_arrival() -> None:
    lines = [
        LINE.replace(b'"7"', b'"%d"' % number).replace(b"Watch", name)
        for number, name in enumerate([b"Push", b"Fork", b"Push", b"Watch", b"Fork", b"Push"])
    ]
    parts = [columns(b"".join(lines[:2])), columns(b"".join(lines[2:]))]
    found = to_table(parts, []).to_pylist()
    assert [(row["type"], row["id"]) for row in found] == [
        ("ForkEvent", "1"),
        ("ForkEvent", "4"),
        ("PushEvent", "0"),
        ("PushEvent", "2"),
        ("PushEvent", "5"),
        ("WatchEvent", "3"),
    ]


def test_rows_of_both_readings_share_a_table() -> None:
    odd = LINE.replace(b'"public"', b'"new":1,"public"')
    untyped = LINE.replace(b'"type":"WatchEvent",', b"")
    pushed = LINE.replace(b"Watch", b"Push")
    table = to_table([columns(LINE + pushed)], [row_of(texts.document(line[:-1])) for line in (untyped, odd)])
    assert table.schema.equals(PARQUET_SCHEMA)
    found = table.to_pylist()
    # Nulls come last, as Arrow sorts them.
    assert [row["type"] for row in found] == ["PushEvent", "WatchEvent", "WatchEvent", None]
    assert found[0] == exact(pushed)
    assert sorted(row["other"] or "" for row in found[1:3]) == ["", '{"new":1}']
    assert found[3] == exact(untyped)


def test_a_table_without_sound_events() -> None:
    table = to_table([], [row_of(texts.document(LINE[:-1]))])
    assert table.schema.equals(PARQUET_SCHEMA)
    assert table.to_pylist() == [exact(LINE)]


def test_what_recurs_stands_once() -> None:
    table = to_table([columns(LINE * 100), columns(LINE * 100)], [])
    for field in PARQUET_SCHEMA:
        if hasattr(field.type, "value_type"):
            sizes = {len(cast("pa.DictionaryArray[Any, Any]", chunk).dictionary) for chunk in table[field.name].chunks}
            assert sizes <= {0, 1}, field.name


def test_what_differs_only_in_part_stands_once_all_the_same() -> None:
    # Where a dictionary says a thing twice, the parquet writer lets memory of others into the file.
    second = LINE.replace(b'"actor":{"id":1', b'"actor":{"id":8').replace(b'"repo":{"id":2', b'"repo":{"id":9')
    third = LINE.replace(b"ann", b"bob")
    table = to_table([columns(LINE + second + third), columns(second + LINE)], [])
    for field in PARQUET_SCHEMA:
        for chunk in table[field.name].chunks:
            if isinstance(chunk, pa.DictionaryArray):
                words = chunk.dictionary.to_pylist()
                assert len(set(words)) == len(words), field.name
    assert table.to_pylist() == [
        exact(line + b"\n") for line in (LINE[:-1], second[:-1], third[:-1], second[:-1], LINE[:-1])
    ]


def test_what_is_counted() -> None:
    other = LINE.replace(b"Watch", b"Fork").replace(b"15:00:01", b"14:59:59")
    part = columns(LINE + other + LINE)
    assert len(part) == 3
    assert part.types == [("ForkEvent", 1), ("WatchEvent", 2)]
    assert part.keys[1].equals(part.keys[2])
    assert not part.keys[1].equals(part.keys[0])
    assert part.first == datetime(2015, 1, 1, 14, 59, 59, tzinfo=UTC)
    assert part.last == datetime(2015, 1, 1, 15, 0, 1, tzinfo=UTC)
    assert part.bytes > 0
