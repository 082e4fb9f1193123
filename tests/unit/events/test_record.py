"""One record, one row, and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.documents import Document
from etl.events.record import Row, canonical_row, comparison_key, rebuild, row_of
from etl.events.schema import ARROW_SCHEMA, NAMES
from tests.unit.events import texts

TYPES = {"id": str, "type": str, "payload": str, "other": str, "public": bool, "created_at": datetime}

EVENT: dict[str, Any] = {
    "id": "2489651045",
    "type": "WatchEvent",
    "actor": {"id": 1, "login": "ann", "gravatar_id": "", "url": "https://api.example/users/ann", "avatar_url": "a"},
    "repo": {"id": 2, "name": "ann/tool", "url": "https://api.example/repos/ann/tool"},
    "payload": {"action": "started"},
    "public": True,
    "created_at": "2015-01-01T15:00:01Z",
    "org": {"id": 3, "login": "guild", "gravatar_id": "", "url": "u", "avatar_url": "b"},
}
TIMELINE: dict[str, Any] = {
    "created_at": "2013-02-15T00:00:39-08:00",
    "payload": {"action": "started"},
    "public": True,
    "type": "WatchEvent",
    "url": "https://site.example/ann/tool",
    "actor": "bob",
    "actor_attributes": {"login": "bob", "type": "User", "gravatar_id": "c", "name": "Bob"},
    "repository": {
        "id": 2,
        "name": "tool",
        "url": "https://site.example/ann/tool",
        "owner": "ann",
        "organization": "g",
    },
}


def row(record: dict[str, Any] | str) -> Row:
    return row_of(texts.document(record if isinstance(record, str) else json.dumps(record)))


def other(found: Row) -> Any:
    return None if found["other"] is None else json.loads(str(found["other"]))


@settings(deadline=None)
@given(texts.records())
def test_whatever_a_record_is_its_row_gives_it_back(record: str) -> None:
    found = row(record)
    assert texts.meaning(rebuild(found)) == texts.meaning(record)


@settings(deadline=None)
@given(texts.records())
def test_whatever_a_record_is_its_row_has_the_columns_and_their_types(record: str) -> None:
    found = row(record)
    assert tuple(found) == NAMES
    for name, value in found.items():
        kind = TYPES.get(name, int if name.endswith("_id") and not name.endswith("gravatar_id") else str)
        assert value is None or type(value) is kind
    table = pa.Table.from_pylist([found], schema=ARROW_SCHEMA)
    table.validate(full=True)
    assert table.to_pylist() == [found]


@settings(deadline=None, max_examples=40)
@given(st.lists(texts.records(), max_size=5))
def test_a_table_keeps_what_rebuilds_the_records(records: list[str]) -> None:
    table = pa.Table.from_pylist([row(record) for record in records], schema=ARROW_SCHEMA)
    assert [texts.meaning(rebuild(found)) for found in table.to_pylist()] == list(map(texts.meaning, records))


def test_an_event_fills_the_columns() -> None:
    assert row(EVENT) == {
        "id": "2489651045",
        "type": "WatchEvent",
        "actor_id": 1,
        "actor_login": "ann",
        "actor_gravatar_id": "",
        "actor_avatar_url": "a",
        "actor_url": "https://api.example/users/ann",
        "repo_id": 2,
        "repo_name": "ann/tool",
        "repo_url": "https://api.example/repos/ann/tool",
        "payload": '{"action": "started"}',
        "public": True,
        "created_at": datetime(2015, 1, 1, 15, 0, 1, tzinfo=UTC),
        "org_id": 3,
        "org_login": "guild",
        "org_gravatar_id": "",
        "org_avatar_url": "b",
        "org_url": "u",
        "other": None,
    }


def test_an_event_of_the_timeline_fills_the_same_columns() -> None:
    found = row(TIMELINE)
    assert {name: value for name, value in found.items() if value is not None and name != "other"} == {
        "type": "WatchEvent",
        "actor_login": "bob",
        "actor_gravatar_id": "c",
        "repo_id": 2,
        "repo_name": "ann/tool",
        "repo_url": "https://site.example/ann/tool",
        "payload": '{"action": "started"}',
        "public": True,
        "created_at": datetime(2013, 2, 15, 8, 0, 39, tzinfo=UTC),
        "org_login": "g",
    }
    assert other(found) == {
        "url": "https://site.example/ann/tool",
        "actor_attributes": {"type": "User", "name": "Bob"},
        "repository": {"owner": "ann", "organization": "g"},
    }


def test_unknown_keys_go_to_other() -> None:
    found = row(EVENT | {"new": [1], "actor": EVENT["actor"] | {"display_login": "Ann"}, "repo": {"id": 2, "fork": 1}})
    assert other(found) == {"new": [1], "actor": {"display_login": "Ann"}, "repo": {"fork": 1}}
    assert (found["actor_login"], found["repo_id"]) == ("ann", 2)


@pytest.mark.parametrize(
    "part",
    [
        {"actor": {}},
        {"actor": None},
        {"org": {}},
        {"actor": {"id": 1, "login": None}},
        {"id": None, "type": None, "public": None, "created_at": None},
    ],
)
def test_empty_objects_and_nulls_go_to_other(part: dict[str, Any]) -> None:
    found = row(EVENT | part)
    (key, value), *_ = part.items()
    kept = {name: null for name, null in value.items() if null is None} if isinstance(value, dict) else value
    assert other(found)[key] == kept
    assert json.loads(rebuild(found)) == EVENT | part


def test_an_empty_actor_of_the_timeline_stays_to_be_seen() -> None:
    record = TIMELINE | {"actor_attributes": {"login": "bob"}, "repository": {"id": 2}}
    found = row(record)
    assert other(found) == {"url": TIMELINE["url"], "actor_attributes": {}, "repository": {}}
    assert json.loads(rebuild(found)) == record


@pytest.mark.parametrize(
    ("record", "text"),
    [
        (TIMELINE, "2012/03/10 22:36:55 -0800"),
        (TIMELINE, "2013-02-15T00:00:39-07:00"),
        (EVENT, "2013-02-15T00:00:39-08:00"),
        (EVENT, "2015-01-01T15:00:00.250Z"),
    ],
)
def test_a_time_in_an_odd_spelling_is_read_and_its_text_is_kept(record: dict[str, Any], text: str) -> None:
    found = row(record | {"created_at": text})
    assert isinstance(found["created_at"], datetime)
    assert other(found)["created_at"] == text


@pytest.mark.parametrize("value", ["yesterday", 1420124400, None, ["2015-01-01T15:00:00Z"]])
def test_what_is_no_time_goes_to_other(value: object) -> None:
    found = row(EVENT | {"created_at": value})
    assert found["created_at"] is None
    assert other(found) == {"created_at": value}


@pytest.mark.parametrize("number", ["9223372036854775808", "-9223372036854775809", "1" * 5000, "1.0", "1e3", '"1"'])
def test_a_number_that_is_no_int64_goes_to_other_as_it_is_written(number: str) -> None:
    found = row('{"type":"Event","actor":{"id":%s,"login":"ann"},"repo":{"id":%s}}' % (number, number))  # noqa: UP031
    assert (found["actor_id"], found["actor_login"], found["repo_id"]) == (None, "ann", None)
    assert str(found["other"]).count(number) == 2


@pytest.mark.parametrize("number", [0, -1, 2**63 - 1, -(2**63)])
def test_every_int64_has_its_column(number: int) -> None:
    found = row(EVENT | {"repo": {"id": number}})
    assert (found["repo_id"], found["other"]) == (number, None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *product(["id", "type"], [1, None, [], {}, True]),
        *product(["public"], ["true", 1, None, [], {}]),
        *product(["actor", "repo", "org"], ["ann", 1, None, [], True]),
    ],
)
def test_a_value_of_the_wrong_type_goes_to_other_alone(key: str, value: object) -> None:
    found = row(EVENT | {key: value})
    assert other(found) == {key: value}
    usual = row(EVENT)
    changed = {name for name in NAMES if found[name] != usual[name]} - {"other"}
    assert changed
    assert all(name.split("_")[0] == key for name in changed)


@pytest.mark.parametrize("value", ["5", '"text"', "[1, 2]", "{}", "1.50"])
def test_a_payload_of_any_type_is_the_payload(value: str) -> None:
    found = row(f'{{"type":"Event","payload":{value}}}')
    assert found["payload"] == value
    assert found["other"] is None


@pytest.mark.parametrize("record", [EVENT, TIMELINE, {"verbatim": {"id": "1"}, "type": "A"}])
def test_a_payload_that_is_null_is_null_in_its_column_and_stands_in_other(record: dict[str, Any]) -> None:
    found = row(record | {"payload": None})
    assert found["payload"] is None
    assert json.loads(rebuild(found)) == record | {"payload": None}
    absent = row({key: value for key, value in record.items() if key != "payload"})
    assert (absent["payload"], "payload" in rebuild(absent).decode()) == (None, False)


@settings(deadline=None)
@given(texts.records())
def test_a_canonical_row_gives_back_its_record_with_numbers_as_they_are_written(record: str) -> None:
    document = texts.document(record)
    found = canonical_row(row_of(document), document)
    assert texts.meaning(rebuild(found)) == texts.meaning(record)
    pa.Table.from_pylist([found], schema=ARROW_SCHEMA).validate(full=True)


@pytest.mark.parametrize(
    ("records", "kinds"),
    [
        (('{"type":"A","payload":{"b":1e2,"a":"x"}}', '{"payload":{"a":"x","b":100},"type":"A"}'), 1),
        (('{"type":"A","repo":{"id":7.0}}', '{"type":"A","repo":{"id":7}}', '{"type":"A","repo":{"id":70e-1}}'), 1),
        (('{"type":"A","new":[1.50]}', '{"type":"A","new":[1.5]}'), 1),
        (('{"type":"A","new":[-0]}', '{"type":"A","new":[0]}'), 1),
        (('{"type":"A","as_written":1e2}', '{"type":"A","as_written":100}', '{"type":"A"}'), 2),
        (('{"type":"A","as_written":{"a":1e2}}', '{"type":"A","as_written":{"a":200}}', '{"type":"A"}'), 3),
        (('{"type":"A","new":", \\"as_written\\":1"}', '{"type":"A","new":", \\"as_written\\":2"}'), 2),
        (('{"type":"A","payload":"1e2"}', '{"type":"A","payload":"100"}', '{"type":"A","payload":100}'), 3),
        (('{"type":"A","payload":null}', '{"type":"A"}'), 2),
    ],
)
def test_records_without_an_id_are_the_same_however_their_numbers_are_written(
    records: tuple[str, ...], kinds: int
) -> None:
    documents = list(map(texts.document, records))
    rows = [canonical_row(row_of(document), document) for document in documents]
    assert len(set(map(comparison_key, rows))) == kinds
    assert [texts.meaning(rebuild(found)) for found in rows] == list(map(texts.meaning, records))


def test_a_payload_stays_byte_for_byte() -> None:
    payload = '{ "a" : 1.50,\t"a": "\\u003c\\/\\ud800" , "b":[ ]}'
    assert row(f'{{"type":"Event","payload":{payload}}}')["payload"] == payload


def test_a_record_that_no_row_can_give_back_is_kept_whole() -> None:
    # It says of itself that it is the inside of ``other``.
    record = {"verbatim": {"id": "1"}, "payload": {"a": 1}}
    found = row(record)
    assert other(found) == {"verbatim": {"verbatim": {"id": "1"}}}
    assert found["payload"] == '{"a": 1}'
    assert json.loads(rebuild(found)) == record


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    found = row('{"type":"A","id":"1","actor":{"id":1,"id":2},"type":"B"}')
    assert (found["type"], found["actor_id"]) == ("B", 2)


def test_the_actor_of_the_timeline_may_have_another_name_than_its_attributes() -> None:
    record = TIMELINE | {"actor": "bobby"}
    found = row(record)
    assert (found["actor_login"], other(found)["actor"]) == ("bob", "bobby")
    assert json.loads(rebuild(found)) == record


def test_members_may_come_in_any_order() -> None:
    usual, turned = row(EVENT), row(dict(reversed(EVENT.items())))
    assert usual == turned


def test_a_document_is_not_changed() -> None:
    document = texts.document(json.dumps(EVENT))
    before = Document(document.offset, document.data, list(document.members))
    row_of(document)
    assert document == before
