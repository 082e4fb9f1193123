"""Blocks of text in, row groups and counts out, whatever stands in the text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.damage import Damage, DamageReason
from etl.archive.documents import blocks
from etl.events import decode
from etl.events.columns import PARQUET_SCHEMA
from etl.events.decode import Decoder, RowGroup
from etl.events.emails import EmailPolicy
from etl.events.record import rebuild
from tests.unit.events import texts

LINE: Final = (
    b'{"id":"7","type":"WatchEvent","actor":{"id":1,"login":"ann","gravatar_id":"","url":"u","avatar_url":"a"},'
    b'"repo":{"id":2,"name":"ann/tool","url":"r"},"payload":{"action":"started"},"public":true,'
    b'"created_at":"2015-01-01T15:00:01Z"}\n'
)
ODD: Final = LINE.replace(b'"public"', b'"new":1,"public"').replace(b'"7"', b'"8"')
TIMELINE: Final = (
    b'{"created_at":"2013-02-15T00:00:39-08:00","payload":{},"public":true,"type":"ForkEvent","url":"u",'
    b'"actor":"bob","actor_attributes":{"login":"bob"},"repository":{"id":2,"name":"tool","owner":"ann"}}\n'
)


class Reading:
    """Text that was read."""

    def __init__(self, text: Iterable[bytes], emails: str = "keep", size: int = 8 << 20) -> None:
        self.damages: list[Damage] = []
        self.decoder = Decoder(EmailPolicy.of(emails), self.damages.append)
        found = [self.decoder.add(self.decoder.read(block)) for block in blocks(text, self.damages.append, size=size)]
        self.groups: list[RowGroup] = [
            group for group in [*found, self.decoder.rest()] if group is not None and len(group)
        ]

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for group in self.groups for row in group.table().to_pylist()]

    @property
    def ids(self) -> list[str]:
        return [row["id"] for row in self.rows]


def test_sound_and_odd_lines_and_two_forms_share_a_row_group() -> None:
    reading = Reading([LINE + ODD + LINE + TIMELINE + LINE])
    (group,) = reading.groups
    assert len(group) == 5
    # The last line shares what is left of its block with the timeline, and that is read line by line.
    assert (sum(map(len, group.parts)), len(group.rows)) == (2, 3)
    assert group.table().schema.equals(PARQUET_SCHEMA)
    assert [row["type"] for row in reading.rows] == ["ForkEvent"] + ["WatchEvent"] * 4
    assert sorted(reading.ids[1:]) == ["7", "7", "7", "8"]
    assert reading.damages == []


@pytest.mark.parametrize("odd", [ODD, TIMELINE, b"\n", b" \r\n", b"not json\n", b"\0\0\0\n", LINE[:100] + b"\n"])
@pytest.mark.parametrize("place", [0, 1, 7, 31])
def test_an_odd_line_sends_no_other_one_to_the_exact_reading(odd: bytes, place: int) -> None:
    reading = Reading([LINE * place + odd + LINE * (31 - place)])
    (group,) = reading.groups
    # A block that begins with the timeline form is taken to go on so.
    if not (odd is TIMELINE and place == 0):
        assert sum(map(len, group.parts)) == 31
    assert reading.ids.count("7") == 31


@settings(deadline=None, max_examples=60)
@given(
    st.lists(
        st.sampled_from([LINE, ODD, TIMELINE, b"\n", b"{}\n", b"\0\n", LINE[:-1] + b"\r\n", LINE[:-1] + LINE]),
        max_size=12,
    ),
    st.integers(1, 3000),
    st.booleans(),
)
def test_rows_and_damages_do_not_depend_on_the_blocks(lines: list[bytes], size: int, last_line_ends: bool) -> None:  # noqa: FBT001
    text = b"".join(lines) if last_line_ends else b"".join(lines).removesuffix(b"\n")
    whole, cut = Reading([text]), Reading([text], size=size)
    assert sorted(map(str, cut.rows)) == sorted(map(str, whole.rows))
    assert cut.damages == whole.damages
    for damage in whole.damages:
        assert text[damage.offset :].startswith(damage.data)
    assert cut.decoder.counts.types == whole.decoder.counts.types
    assert cut.decoder.counts.duplicates == whole.decoder.counts.duplicates


@settings(deadline=None, max_examples=50)
@given(st.lists(texts.records(), max_size=6))
def test_no_record_is_lost_or_changed(records: list[str]) -> None:
    reading = Reading([b"".join(record.encode().replace(b"\r", b" ") + b"\n" for record in records)])
    assert {damage.reason for damage in reading.damages} <= {DamageReason.DUPLICATE_KEYS}
    rebuilt = [texts.meaning(rebuild(row)) for row in reading.rows]
    wanted = list(map(texts.meaning, records))
    assert len(rebuilt) == len(wanted)
    assert all(record in wanted for record in rebuilt)
    assert all(record in rebuilt for record in wanted)


def test_what_is_no_event_is_reported_with_its_place() -> None:
    bad = LINE.replace(b'"public"', b'"public')
    reading = Reading([LINE + bad + LINE + b"\0\0" + LINE + b"[1]\n"])
    assert reading.ids == ["7", "7", "7"]
    assert [(damage.reason, damage.offset) for damage in reading.damages] == [
        (DamageReason.CUT_DOCUMENT, len(LINE)),
        (DamageReason.NUL_BYTES, 2 * len(LINE) + len(bad)),
        (DamageReason.NOT_AN_EVENT, 3 * len(LINE) + len(bad) + 2),
    ]


def test_bytes_that_are_not_utf8_are_replaced_and_reported() -> None:
    reading = Reading([LINE.replace(b"started", b"st\xffrted") + LINE])
    assert sorted(row["payload"] for row in reading.rows) == ['{"action":"started"}', '{"action":"st\ufffdrted"}']
    (damage,) = reading.damages
    assert (damage.reason, damage.kept) == (DamageReason.INVALID_UTF8, True)


def test_documents_glued_together_are_parted() -> None:
    assert sorted(Reading([LINE[:-1] + ODD[:-1] + LINE]).ids) == ["7", "7", "8"]


def test_a_row_of_more_than_two_mebibytes_is_kept() -> None:
    for line in (LINE, ODD):
        (row,) = Reading([line.replace(b"started", b"x" * (3 << 20))]).rows
        assert len(json.loads(row["payload"])["action"]) == 3 << 20


def test_a_row_group_is_closed_when_it_is_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decode, "ROW_GROUP_ROWS", 6)
    reading = Reading([LINE * 4, ODD * 3, LINE * 2], size=1)
    assert [len(group) for group in reading.groups] == [7, 2]
    monkeypatch.setattr(decode, "ROW_GROUP_ROWS", 100_000)
    monkeypatch.setattr(decode, "ROW_GROUP_BYTES", 1)
    assert [len(group) for group in Reading([LINE * 4, ODD * 3, LINE * 2], size=1).groups] == [4, 3, 2]


def test_an_empty_text_has_no_events() -> None:
    reading = Reading([])
    assert (reading.groups, reading.decoder.counts.events, reading.decoder.counts.duplicates) == ([], 0, 0)
    assert (reading.decoder.counts.first, reading.decoder.counts.last) == (None, None)


def test_what_is_counted() -> None:
    late = ODD.replace(b"15:00:01", b"16:30:00").replace(b'"type":"WatchEvent",', b"")
    counts = Reading([LINE + late + TIMELINE + LINE.replace(b"2015-01-01", b"2025-12-01") + LINE]).decoder.counts
    assert counts.types == {"WatchEvent": 3, "ForkEvent": 1, "": 1}
    assert counts.events == 5
    assert counts.first == datetime(2013, 2, 15, 8, 0, 39, tzinfo=UTC)
    assert counts.last == datetime(2025, 12, 1, 15, 0, 1, tzinfo=UTC)
    assert counts.eras == {"B", "C", "D"}


@pytest.mark.parametrize(
    ("lines", "duplicates"),
    [
        ([LINE, LINE, LINE], 2),
        ([LINE, LINE.replace(b'"public":true', b'"public": true')], 1),
        ([LINE, ODD.replace(b'"8"', b'"7"')], 1),
        ([LINE, LINE.replace(b"Watch", b"Fork")], 0),
        ([LINE, LINE.replace(b"15:00:01", b"15:00:02")], 0),
        ([TIMELINE, TIMELINE], 1),
        ([TIMELINE, TIMELINE.replace(b"bob", b"ann")], 0),
        ([TIMELINE, TIMELINE.replace(b'"id":2', b'"id":2.0'), TIMELINE.replace(b'"id":2', b'"id": 20e-1')], 2),
        ([TIMELINE.replace(b"{}", payload) for payload in (b'{"a":[1e2]}', b'{"a":[100.0]}', b'{"a":[100]}')], 2),
        ([TIMELINE.replace(b"{}", payload) for payload in (b'{"a":1e2}', b'{"a":"1e2"}', b'{"a":"100"}')], 0),
    ],
)
def test_events_that_say_the_same_are_duplicates(lines: list[bytes], duplicates: int) -> None:
    # Id, type and time say which event it is; without an id the whole record does.
    assert Reading(lines).decoder.counts.duplicates == duplicates


@pytest.mark.parametrize("emails", ["hash", "drop"])
@pytest.mark.parametrize(
    "record",
    [
        *(
            line.replace(old, new)
            for line in (LINE, ODD)
            for old, new in [
                (b'"action":"started"', b'"a":{"email":"zoe@host.example"}'),
                (b'"action":"started"', b'"a":"by\\nzoe@host.example"'),
                (b'"action":"started"', b'"a":{"zoe@host.example":1}'),
                (b'"login":"ann"', b'"login":"zoe@host.example"'),
                (b'"login":"ann"', b'"login":"ann","email":"zoe@host.example"'),
                (b'"name":"ann/tool"', b'"name":"zoe@host.example"'),
                (b'"7"', b'"zoe@host.example"'),
                (b"WatchEvent", b"zoe@host.example"),
            ]
            if old in line
        ),
        ODD.replace(b'"new":1', b'"new":["zoe@host.example"]'),
        ODD.replace(b'"new":1', b'"zoe@host.example":1'),
        ODD.replace(b'"new":1', b'"new":"\\u0022zoe@host.example"'),
        TIMELINE.replace(b'"login":"bob"', b'"login":"bob","email":"zoe"'),
        TIMELINE.replace(b'"login":"bob"', b'"login":"bob","email":"zoe@host.example"'),
        TIMELINE.replace(b'"login":"bob"', b'"login":"bob","name":"zoe@host.example","blog":"http://zoe@host.example"'),
        TIMELINE.replace(b'"bob","actor_', b'"zoe@host.example","actor_'),
        TIMELINE.replace(b"ForkEvent", b"PushEvent").replace(
            b'"payload":{}', b'"payload":{"shas":[["%s","zoe","m","Zoe"]]}' % (b"0" * 40)
        ),
        LINE.replace(b"Watch", b"Push").replace(b'"action":"started"', b'"commits":[{"author":{"email":"zoe"}}]'),
        ODD.replace(b"Watch", b"Push").replace(b'"action":"started"', b'"commits":[{"author":{"email":"zoe"}}]'),
    ],
)
def test_no_column_shows_an_address(record: bytes, emails: str) -> None:
    assert b"zoe" in record
    (row,) = Reading([record], emails).rows
    assert not [name for name, value in row.items() if "zoe" in str(value)]
    (kept,) = Reading([record], "keep").rows
    assert texts.meaning(rebuild(kept)) == texts.meaning(record)


@pytest.mark.parametrize("line", [LINE, ODD])
def test_an_address_spelled_as_escapes_is_treated(line: bytes) -> None:
    (row,) = Reading([line.replace(b"started", b"zoe\\u0040host.example")], "hash").rows
    assert "zoe" not in row["payload"]
    assert json.loads(row["payload"])["action"].endswith("@host.example")
