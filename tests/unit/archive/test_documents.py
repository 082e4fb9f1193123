"""Text to documents: whatever stands in a line, every byte of it is in a document, in a report, or white space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.archive.damage import Damage, DamageReason, OffsetBase
from etl.archive.documents import Document, blocks, members, recover_documents
from etl.archive.gzip_stream import inflate
from tests.unit.archive.builders import (
    EVENTS,
    LINES,
    events,
    in_pieces,
    is_in_order,
    lines,
    member,
    mutations,
    split,
    splits,
)

pytestmark = pytest.mark.timeout(120)

OFFSET = 1_000
EVENT = b'{"id":"1","type":"PushEvent","created_at":"2015-01-01T15:00:00Z"}'
OTHER = b'{"id":"2","type":"ForkEvent","created_at":"2015-01-01T15:00:01Z"}'
EVENT_KEYS = {"id", "type", "created_at", "payload", "actor", "repo", "repository"}
MENDED = {DamageReason.INVALID_UTF8, DamageReason.DUPLICATE_KEYS}
MIB = 1 << 20
BETWEEN = b" \t\r\n[],\x1e\xef\xbb\xbf"
"""What may stand between documents: white space, an array's marks, a byte order mark."""


def salvaged(line: bytes, offset: int = OFFSET) -> tuple[list[Document], list[Damage]]:
    damage: list[Damage] = []
    return list(recover_documents(line, offset, damage.append)), damage


def reported(line: bytes) -> list[tuple[DamageReason, bytes]]:
    return [(run.reason, run.data) for run in salvaged(line)[1]]


def unheard(_: Damage) -> None:
    pytest.fail("something is reported as broken")


def refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def parse(data: bytes) -> object:
    """Reads JSON as its grammar has it: no NaN, numbers of any length, and bytes that need not be UTF-8."""
    return json.loads(data.decode("latin-1"), parse_constant=refuse, parse_int=str, parse_float=str)


def is_object(data: bytes) -> bool:
    try:
        return isinstance(parse(data), dict)
    except ValueError:
        return False


def check_account(line: bytes, documents: Sequence[Document], damage: Sequence[Damage]) -> None:
    """Every byte is in one document or one report, at its place, or stands between them as white space may."""
    lost = [run for run in damage if not run.kept]
    repaired = {run.offset: run for run in damage if run.kept}
    spans = [(run.offset, run.data) for run in lost]
    for document in documents:
        original = repaired[document.offset].data if document.offset in repaired else document.data
        spans.append((document.offset, original))
    left = OFFSET
    for begin, data in sorted(spans):
        assert not line[left - OFFSET : begin - OFFSET].strip(BETWEEN)
        assert line[begin - OFFSET :][: len(data)] == data
        assert data
        left = begin + len(data)
    assert not line[left - OFFSET :].strip(BETWEEN)
    assert all(before < after for (before, _), (after, _) in pairwise(sorted(spans)))
    for run in damage:
        assert run.place is OffsetBase.TEXT
        assert run.kept == (run.reason in MENDED)
        assert run.lost == 0 or not (run.kept or run.reason is DamageReason.NUL_BYTES)
    assert is_in_order(lost)
    assert set(repaired) <= {document.offset for document in documents}


def check_documents(documents: Sequence[Document]) -> None:
    """Each is one JSON object in UTF-8 with a key of an event, and its members are those that it has."""
    assert all(before.offset + 1 < after.offset for before, after in pairwise(documents))
    for document in documents:
        found = json.loads(document.data.decode(), parse_constant=refuse)
        assert isinstance(found, dict)
        assert EVENT_KEYS & found.keys()
        assert {key: json.loads(value) for key, value in document.members} == found


# ---------------------------------------------------------------------------------------------------- blocks
TEXTS = st.lists(
    st.one_of(lines, lines.map(lambda line: json.dumps(json.loads(line), indent=1).encode() + b"\n"))
    | st.sampled_from([b"\n", b"\r\n", b"x" * 70, b"\0" * 9, b"[", b",\n", b"]\n", b'{"id":', b'{"a":1}\n', b'"}\n']),
    max_size=12,
).map(b"".join)


@settings(max_examples=150, deadline=None)
@example(text=b"x" * 70, places=range(70), size=1)
@given(text=TEXTS, places=splits, size=st.sampled_from([1, 2, 100, 4_000, 8 * MIB]))
def test_blocks_hold_the_documents_of_the_text(text: bytes, places: Sequence[int], size: int) -> None:
    damage: list[Damage] = []
    found = list(blocks(split(text, places), damage.append, size=size))
    documents = [document for block in found for document in recover_documents(block.data, block.offset, damage.append)]
    whole: list[Damage] = []
    assert documents == list(recover_documents(text, 0, whole.append))
    assert all(text[run.offset :].startswith(run.data) for run in damage)
    # Damage that goes on behind the end of a block, or of text that gives no block, counts once more.
    assert 0 <= sum(run.lost for run in damage) - sum(run.lost for run in whole) <= max(0, len(found) + len(damage) - 1)
    assert all(text[block.offset :].startswith(block.data) for block in found)


def test_a_document_that_is_too_long_is_one_lost_document() -> None:
    damage: list[Damage] = []
    text = [b'{"id":1}\n{"id":"', b"b" * 8, b"c" * 8, b"d" * 8, b'e"}\n{"id":2}\n', b'{"id":3}']
    found = list(blocks(text, damage.append, size=1, longest=16))
    assert b"".join(b"".join(block.data for block in found).split()) == b'{"id":1}{"id":2}{"id":3}'
    assert sum(run.lost for run in damage) == 1
    assert {run.reason for run in damage} == {DamageReason.TOO_LONG}
    assert b"".join(run.data for run in damage).strip() == b'{"id":"bbbbbbbbccccccccdddddddde"}'


@pytest.mark.parametrize("text", [[], [b""], [b"\n", b"\n\r\n"], [b" "], [b"[]"], [b"[\n]\n"]])
def test_blank_text_holds_no_documents(text: list[bytes]) -> None:
    for block in blocks(text, unheard):
        assert list(recover_documents(block.data, block.offset, unheard)) == []


# ---------------------------------------------------------------------------------------------------- accounting
GAPS = st.sampled_from([b"", b" ", b"\r\n", b"\t", b"\0", b"\0" * 300, b"\0 \0"])
RUBBISH = st.one_of(st.binary(max_size=30), st.sampled_from([b"}", b'"', b"\\", b"[[", b"1 2", b"\xff\xfe", b'{"a":']))


@st.composite
def wrecks(draw: st.DrawFn) -> bytes:
    """A line of events that are whole, cut, or damaged, glued or parted by this and that."""
    parts = []
    for _ in range(draw(st.integers(0, 5))):
        event = draw(events)
        start, end = sorted(draw(st.tuples(*[st.integers(0, len(event))] * 2)))
        whole, mutated = st.just(event), mutations(event).map(lambda drawn: drawn[0])
        parts += [draw(st.one_of(whole, whole, st.just(event[start:end]), mutated)), draw(st.one_of(GAPS, RUBBISH))]
    return b"".join(parts)


@settings(max_examples=400, deadline=None)
@given(line=wrecks())
@example(line=b"")
@example(line=b" \r\n")
def test_no_byte_of_a_line_is_lost(line: bytes) -> None:
    documents, damage = salvaged(line)
    check_account(line, documents, damage)
    check_documents(documents)


@settings(max_examples=200, deadline=None)
@given(line=st.text(alphabet='{}[]":,\\ \0\nu0d1eE+-.tfn\u00e9', max_size=40).map(str.encode))
def test_no_byte_of_junk_that_looks_like_json_is_lost(line: bytes) -> None:
    documents, damage = salvaged(line)
    check_account(line, documents, damage)
    check_documents(documents)


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(st.tuples(events, GAPS), max_size=8))
def test_sound_documents_come_back_byte_for_byte(parts: list[tuple[bytes, bytes]]) -> None:
    line = b"".join(event + gap for event, gap in parts)
    documents, damage = salvaged(line)
    assert [document.data for document in documents] == [event for event, _ in parts]
    assert {run.reason for run in damage} <= {DamageReason.NUL_BYTES}
    assert sum(run.data.count(b"\0") for run in damage) == line.count(b"\0")
    check_account(line, documents, damage)


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.tuples(events, st.integers(1, 4_000), events), min_size=1, max_size=4))
def test_a_cut_document_costs_no_document_behind_it(parts: list[tuple[bytes, int, bytes]]) -> None:
    cut = [(event[: size % len(event)], whole) for event, size, whole in parts]
    line = b"".join(head + whole for head, whole in cut)
    documents, damage = salvaged(line)
    assert [document.data for document in documents] == [whole for _, whole in cut]
    assert [run.data for run in damage] == [head for head, _ in cut if head]
    assert {run.reason for run in damage} <= {DamageReason.CUT_DOCUMENT}
    assert all(run.lost == 1 for run in damage)


# ---------------------------------------------------------------------------------------------------- kinds of damage
def test_glued_documents_are_parted() -> None:
    documents, damage = salvaged(EVENT + OTHER + b"\n")
    assert [(document.offset, document.data) for document in documents] == [
        (OFFSET, EVENT),
        (OFFSET + len(EVENT), OTHER),
    ]
    assert damage == []


def test_nul_bytes_part_documents() -> None:
    nuls = bytes(4_096)
    documents, damage = salvaged(EVENT + nuls + OTHER)
    assert [document.data for document in documents] == [EVENT, OTHER]
    assert damage == [Damage(DamageReason.NUL_BYTES, OffsetBase.TEXT, OFFSET + len(EVENT), nuls)]


@pytest.mark.parametrize("cut", range(1, len(EVENT)))
def test_a_document_without_its_end_is_one_lost_document(cut: int) -> None:
    assert salvaged(EVENT[:cut]) == (
        [],
        [Damage(DamageReason.CUT_DOCUMENT, OffsetBase.TEXT, OFFSET, EVENT[:cut], lost=1)],
    )


def test_the_objects_inside_a_cut_document_are_no_events() -> None:
    head = b'{"id":"1","payload":{"forkee":{"id":1,"type":"a"},"issue":{"id":2,"created_at":"b"}'
    documents, damage = salvaged(head + EVENT)
    assert [document.data for document in documents] == [EVENT]
    assert [run.data for run in damage] == [head]


def test_the_rest_of_a_document_behind_a_whole_one_is_no_second_loss() -> None:
    documents, damage = salvaged(EVENT + b',"public":true}')
    assert [document.data for document in documents] == [EVENT]
    assert [(run.data, run.lost) for run in damage] == [(b',"public":true}', 0)]


@pytest.mark.parametrize(
    "bad",
    [b"\xff", b"\xc3", b"\xe2\x82", b"\xed\xa0\x80", b"\xed\xa0\xbd\xed\xb8\x80", b"\xf5\x80\x80\x80", b"\xc0\xaf"],
)
def test_bytes_that_are_not_utf8_are_replaced_and_the_original_is_kept(bad: bytes) -> None:
    line = EVENT[:-1] + b',"actor":{"login":"a' + bad + b'z"}}'
    documents, damage = salvaged(line)
    assert damage == [Damage(DamageReason.INVALID_UTF8, OffsetBase.TEXT, OFFSET, line, kept=True)]
    login = json.loads(documents[0].data)["actor"]["login"]
    assert login.replace("\ufffd", "") == "az"
    assert login[1:-1].strip("\ufffd") == ""
    check_documents(documents)


@pytest.mark.parametrize("escape", [rb"\ud83d", rb"\ude00", rb"\ude00\ud83d", rb"\uD83Dx"])
def test_lone_surrogates_stay_as_they_are_written(escape: bytes) -> None:
    line = EVENT[:-1] + b',"actor":"' + escape + b'"}'
    documents, damage = salvaged(line)
    assert [document.data for document in documents] == [line]
    assert documents[0].members[-1] == ("actor", b'"' + escape + b'"')
    assert damage == []


def test_keys_that_come_twice_are_kept_and_told() -> None:
    line = b'{"id":"1","type":"a","id":"2"}'
    documents, damage = salvaged(line)
    assert [document.members for document in documents] == [[("id", b'"1"'), ("type", b'"a"'), ("id", b'"2"')]]
    assert damage == [Damage(DamageReason.DUPLICATE_KEYS, OffsetBase.TEXT, OFFSET, line, kept=True)]


@pytest.mark.parametrize("line", [b"{}", b'{"a":1}', b"[1]", b"5", b'"id"', b"null", b'{"ID":"1"}'])
def test_sound_json_that_is_no_event_is_reported(line: bytes) -> None:
    assert salvaged(line) == ([], [Damage(DamageReason.NOT_AN_EVENT, OffsetBase.TEXT, OFFSET, line, lost=1)])


@pytest.mark.parametrize("value", [b"NaN", b"Infinity", b"-Infinity", b"01", b"'a'", b'"\t"', b"tru", b"1.", b'"\\x"'])
def test_what_json_does_not_know_is_no_document(value: bytes) -> None:
    line = b'{"id":' + value + b"}"
    assert reported(line) == [(DamageReason.CUT_DOCUMENT, line)]
    assert members(line) is None


@pytest.mark.parametrize("opening", [b'{"id":', b"[", b'{"id":[1,'])
@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_documents_nested_too_deeply_are_reported(opening: bytes, depth: int) -> None:
    line = opening * depth
    documents, damage = salvaged(line)
    assert documents == []
    assert damage[0].reason is DamageReason.TOO_DEEP
    check_account(line, documents, damage)
    assert members(line) is None


def test_a_number_of_very_many_digits_is_kept() -> None:
    line = b'{"id":' + b"9" * 10_000 + b"}"
    documents, damage = salvaged(line)
    assert [document.data for document in documents] == [line]
    assert damage == []


def test_a_byte_order_mark_costs_no_event() -> None:
    documents, damage = salvaged(b"\xef\xbb\xbf" + EVENT)
    assert [document.data for document in documents] == [EVENT]
    assert damage == []


# ---------------------------------------------------------------------------------------------------- members
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()
)
values = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
SPACES = st.sampled_from(["", " ", "\n\t", "\r\n  "])


@settings(max_examples=200, deadline=None)
@given(pairs=st.lists(st.tuples(st.text(max_size=6), values), max_size=5), space=SPACES, ascii_only=st.booleans())
@example(pairs=[("é", 1), ("Ã©", 2), ("é中", 3), ("\x00\U0001f600", 4)], space="", ascii_only=True)
@example(pairs=[("id", 1), ("id", 2)], space="", ascii_only=False)
def test_members_are_the_keys_in_order_with_the_bytes_of_their_values(
    pairs: list[tuple[str, object]], space: str, *, ascii_only: bool
) -> None:
    wanted = [(key, json.dumps(value, ensure_ascii=ascii_only)) for key, value in pairs]
    keys = [json.dumps(key, ensure_ascii=ascii_only) for key, _ in pairs]
    inner = f"{space},{space}".join(
        f"{key}{space}:{space}{value}" for key, (_, value) in zip(keys, wanted, strict=True)
    )
    data = f"{space}{{{space}{inner}{space}}}{space}".encode()
    assert members(data) == [(key, value.encode()) for key, value in wanted]


def test_keys_that_mix_utf8_and_escapes_are_read() -> None:
    assert members('{"é\\u4e2d":1, "\\u00c3\\u00a9":2}'.encode()) == [("é中", b"1"), ("Ã©", b"2")]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_members_are_given_of_objects_and_of_nothing_else(data: st.DataObject) -> None:
    broken, _ = data.draw(mutations(data.draw(events)))
    found = members(broken)
    assert (found is not None) == is_object(broken)
    if found is not None and broken.isascii():
        assert {key: parse(value) for key, value in found} == parse(broken)


# ---------------------------------------------------------------------------------------------------- very long lines
def test_a_line_of_48_mib_is_read() -> None:
    long = EVENT[:-1] + b',"payload":{"text":"' + b"lorem ipsum " * (48 * MIB // 12) + b'"}}'
    file = member(LINES[0] + long + b"\n" + LINES[1], level=1)
    found = list(blocks(inflate(in_pieces(file, MIB), unheard, max_expanded=1 << 30), unheard))
    assert [block.offset for block in found] == [0, len(LINES[0])]
    text = b"".join(block.data for block in found)
    same = text == LINES[0] + long + b"\n" + LINES[1]
    assert same
    (document,) = recover_documents(long + b"\n", 0, unheard)
    same = document.data == long
    assert same


def test_a_line_of_48_mib_of_nul_bytes_is_reported_in_runs() -> None:
    damage = salvaged(bytes(48 * MIB))[1]
    assert {(run.reason, len(run.data), run.lost) for run in damage} == {(DamageReason.NUL_BYTES, MIB, 0)}
    assert len(damage) == 48


@pytest.mark.parametrize("piece", [1_000, MIB])
def test_a_long_line_may_come_in_small_pieces(piece: int) -> None:
    text = EVENT[:-1] + b',"payload":"' + b"x" * (32 * MIB) + b'"}\n'
    (block,) = blocks(in_pieces(text, piece), unheard)
    same = block.data == text
    assert same


def test_an_hour_without_line_ends_is_read_to_the_end() -> None:
    line = b"".join(EVENTS) * 20
    documents, damage = salvaged(line)
    assert len(documents) == 20 * len(EVENTS)
    assert damage == []


@pytest.mark.parametrize(
    "unit", [b'{"', b'{"a":', b'"', b"\\", b"{", b'{"a":"b"', b'x{"type":1,"created_at":1}', b"1 "]
)
def test_the_search_behind_damage_comes_to_an_end(unit: bytes) -> None:
    line = unit * (100_000 // len(unit))
    documents, damage = salvaged(line)
    check_account(line, documents, damage)


def test_the_real_lines_come_back_byte_for_byte(real_records: Path) -> None:
    path = real_records / "odd/one-very-long-line.jsonl"
    text = path.read_bytes()
    offset = 0
    for line in text.splitlines(keepends=True):
        (document,) = recover_documents(line, offset, unheard)
        # The comparison is outside the assertion: a failure must not print what people wrote.
        same = (document.offset, document.data) == (offset, line.strip())
        assert same
        offset += len(line)
