"""Gzip in any state: what inflates is kept, what does not is handed over byte for byte, and nothing else is raised."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.archive import gzip_stream as module
from etl.archive.containers import Form, form_of
from etl.archive.damage import Damage, DamageCallback, DamageReason, OffsetBase
from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_damaged
from etl.errors import SourceUnreachableError
from tests.unit.archive.builders import (
    LINES,
    deflate,
    in_pieces,
    inflatable,
    is_in_order,
    lines,
    member,
    mutations,
    split,
    splits,
)

pytestmark = pytest.mark.timeout(120)

Way = Callable[[Iterable[bytes], DamageCallback], Iterator[bytes]]

AMPLE = 1 << 30
HELD_BACK = 8
"""ISA-L may keep the text of so many last bytes of a stream that is cut off."""
HOUR = b"".join(LINES)
SHORT = b"".join(LINES[:20])
both_ways = pytest.mark.parametrize("way", [inflate, inflate_damaged])

texts = st.one_of(
    # Text that begins as a container does is one, and test_containers.py is about those.
    st.binary(max_size=300).filter(lambda text: form_of(text) in {None, Form.TEXT}),
    st.lists(lines, max_size=12).map(b"".join),
    st.integers(0, 100_000).map(bytes),
)
members = st.builds(
    member,
    texts,
    level=st.sampled_from([0, 1, 6, 9]),
    extra=st.none() | st.binary(max_size=20),
    name=st.none() | st.just(b"2015-01-01-15.json"),
    comment=st.none() | st.just(b"an hour"),
    header_checksum=st.booleans(),
)


def unheard(_: Damage) -> None:
    pytest.fail("something is reported as broken")


def read(pieces: Iterable[bytes]) -> tuple[bytes, list[Damage]]:
    """Reads as the pipeline does: fast, and carefully from the beginning when the stream is broken."""
    held = list(pieces)
    damage: list[Damage] = []
    try:
        return b"".join(inflate(held, damage.append, max_expanded=AMPLE)), damage
    except BrokenStreamError:
        assert not damage, "what is reported before a second reading would be reported twice"
        return read_carefully(held)


def read_carefully(pieces: Iterable[bytes]) -> tuple[bytes, list[Damage]]:
    damage: list[Damage] = []
    return b"".join(inflate_damaged(pieces, damage.append, max_expanded=AMPLE)), damage


def check_damage(damage: Sequence[Damage], file: bytes) -> None:
    # Random bytes may hold a container within a container, whose damage has places of its own.
    damage = [run for run in damage if run.place is not OffsetBase.INNER]
    assert is_in_order(damage)
    for run in damage:
        assert run.place is OffsetBase.GZIP
        assert file[run.offset : run.offset + len(run.data)] == run.data
        assert run.data or run.reason in {DamageReason.TRUNCATED_GZIP, DamageReason.WRONG_CHECKSUM}
        assert not run.kept
        assert run.lost == 0


def check_kept(inflated: bytes, first: int, text: bytes, damage: Sequence[Damage]) -> None:
    """What inflated before the first break is kept; or, where a better beginning was found behind it, reported."""
    assert text.startswith(inflated) or any(run.offset < first and run.data for run in damage)


# ---------------------------------------------------------------------------------------------------- sound files
@both_ways
@settings(max_examples=100, deadline=None)
@given(files=st.lists(members, max_size=4), places=splits, step=st.sampled_from([17, 1_000, 8 << 20]))
def test_members_in_pieces_come_back_whole(
    way: Callable[..., Iterator[bytes]], files: list[bytes], places: Sequence[int], step: int
) -> None:
    file = b"".join(files)
    damage: list[Damage] = []
    with pytest.MonkeyPatch.context() as patch:
        # Small, so that small files meet the ends of steps.
        patch.setattr(module, "_STEP", step)
        pieces = list(way(split(file, places), damage.append, max_expanded=AMPLE))
    assert b"".join(pieces) == gzip.decompress(file)
    assert damage == []


@pytest.mark.parametrize("excess", [-1, 0, 1])
def test_text_comes_in_steps(excess: int) -> None:
    size = (16 << 20) + excess
    lengths = list(map(len, inflate([member(b"a" * size)], unheard, max_expanded=AMPLE)))
    assert sum(lengths) == size
    assert max(lengths) <= 8 << 20


@both_ways
@pytest.mark.parametrize("pieces", [[], [b""], [b"", b""]])
def test_an_empty_file_holds_nothing(way: Callable[..., Iterator[bytes]], pieces: list[bytes]) -> None:
    assert list(way(pieces, unheard, max_expanded=0)) == []


def test_real_hours_inflate_as_gzip_says(real_data: Path) -> None:
    for path in sorted(real_data.glob("archive/201[13]-*.json.gz")):
        file = path.read_bytes()
        for text, damage in (read(in_pieces(file, 1 << 20)), read_carefully(in_pieces(file, 1 << 16))):
            # The comparison is outside the assertion: a failure must not print what people wrote.
            same = text == gzip.decompress(file)
            assert same
            assert damage == []


# ---------------------------------------------------------------------------------------------------- cut off
@settings(max_examples=100, deadline=None)
@given(file=st.lists(members, min_size=1, max_size=2).map(b"".join), cut=st.integers(1, 1 << 20), places=splits)
def test_a_file_that_ends_early_gives_what_had_come(file: bytes, cut: int, places: Sequence[int]) -> None:
    cut %= len(file)
    text, damage = read(split(file[:cut], places))
    assert gzip.decompress(file).startswith(text)
    assert text.startswith(inflatable(file[: max(cut - HELD_BACK, 0)]))
    # Cut between two members it does not look cut; of a member that gave no text, the bytes are handed over.
    if damage and damage[0].reason is DamageReason.BROKEN_GZIP:
        assert b"".join(run.data for run in damage) == file[damage[0].offset : cut]
    else:
        assert damage in ([], [Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, cut, b"")])
    careful, damage = read_carefully(split(file[:cut], places))
    assert gzip.decompress(file).startswith(careful)
    assert careful.startswith(inflatable(file[:cut]))
    check_damage(damage, file)


def test_every_cut_of_a_member_is_reported() -> None:
    file = member(b"".join(LINES[:3]), name=b"name", header_checksum=True)
    for cut in range(1, len(file)):
        for text, damage in (read([file[:cut]]), read_carefully([file[:cut]])):
            assert len(damage) == 1, cut
            # A file that does not even begin is handed over; of one that begins, what inflated is there.
            assert text or damage[0].data == file[:cut]


@settings(max_examples=50, deadline=None)
@given(cut=st.integers(200, len(member(SHORT)) - 9), places=splits)
def test_a_member_without_its_end_costs_no_member_behind(cut: int, places: Sequence[int]) -> None:
    start, last = member(SHORT)[:cut], b"".join(LINES[:3])
    text, damage = read(split(start + member(last), places))
    assert text.startswith(inflatable(start))
    assert text.endswith(last)
    assert damage == [Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.GZIP, cut, b"")]


# ---------------------------------------------------------------------------------------------------- broken
@settings(max_examples=120, deadline=None)
@given(data=st.data(), places=splits)
def test_whatever_happens_to_a_file_what_came_before_is_read(data: st.DataObject, places: Sequence[int]) -> None:
    file = data.draw(st.lists(members, min_size=1, max_size=3).map(b"".join), label="file")
    broken, first = data.draw(mutations(file), label="broken")
    text, damage = read(split(broken, places))
    check_kept(inflatable(broken[: max(first - HELD_BACK, 0)]), first, text, damage)
    check_damage(damage, broken)
    if not text:
        assert broken == b"" or damage or gzip.decompress(broken) == b""


@settings(max_examples=120, deadline=None)
@given(data=st.data())
def test_reading_carefully_leaves_out_no_byte_that_inflates(data: st.DataObject) -> None:
    file = data.draw(st.lists(members, min_size=1, max_size=3).map(b"".join), label="file")
    broken, first = data.draw(mutations(file), label="broken")
    text, damage = read_carefully([broken])
    check_kept(inflatable(broken[:first]), first, text, damage)
    check_damage(damage, broken)


@settings(max_examples=120, deadline=None)
@given(junk=st.binary(max_size=400), places=splits)
@example(junk=b"\x1f\x8b\x08" * 100, places=[])
@example(junk=b"\x1f\x8b", places=[1])
@example(junk=b"junk PK\x03\x04\n", places=[])
@example(junk=b"PK\x03\x04" + b"\0" * 22 + b"\xff\xff\0\0name", places=[7])
@example(junk=b"\x1f\x8b\x08\x04\0\0\0\0\0\x03\xff", places=[])
@example(junk=b"\x1f\x8b\x08\x08\0\0\0\0\0\x03no end of the name", places=[])
def test_junk_raises_nothing(junk: bytes, places: Sequence[int]) -> None:
    for text, damage in (read(split(junk, places)), read_carefully(split(junk, places))):
        check_damage(damage, junk)
        assert text or damage or not junk


def test_damage_of_a_container_in_a_container_has_its_own_offsets() -> None:
    inner = member(HOUR)[:-5]
    assert read([member(inner)]) == (HOUR, [Damage(DamageReason.TRUNCATED_GZIP, OffsetBase.INNER, len(inner), b"")])


def test_text_that_begins_as_gzip_does_is_no_container() -> None:
    text = b"\x1f\x8b\x08" + LINES[0]
    assert read([member(text)]) == (text, [])


def test_junk_of_the_size_of_an_hour_comes_to_an_end() -> None:
    junk = b"\x1f\x8b\x08\0\xff" * 20_000
    text, damage = read(in_pieces(junk, 1 << 16))
    assert text == b""
    assert b"".join(run.data for run in damage) == junk


@pytest.mark.parametrize("at", [len(member(HOUR)) // 3, len(member(HOUR)) - 9])
def test_a_flipped_bit_costs_no_member_behind(at: int) -> None:
    file = bytearray(member(HOUR))
    sound = bytes(file)
    file[at] ^= 0xFF
    text, damage = read([bytes(file) + member(LINES[0])])
    assert text.startswith(inflatable(sound[: at - 1]))
    assert text.endswith(LINES[0])
    assert damage
    check_damage(damage, bytes(file) + member(LINES[0]))


@pytest.mark.parametrize("trailer", [bytes(8), b"\xff" * 8])
def test_a_wrong_checksum_costs_no_text(trailer: bytes) -> None:
    file = member(HOUR)[:-8] + trailer
    text, damage = read([file + member(LINES[0])])
    assert text == HOUR + LINES[0]
    assert damage == [Damage(DamageReason.WRONG_CHECKSUM, OffsetBase.GZIP, len(file) - 8, trailer)]


# ---------------------------------------------------------------------------------------------------- headers
@settings(max_examples=100, deadline=None)
@given(head=st.binary(max_size=60), text=st.lists(lines, min_size=5, max_size=20).map(b"".join))
@example(head=b"", text=HOUR)
@example(head=bytes(10), text=HOUR)
def test_a_header_that_was_lost_or_written_over_costs_no_event(head: bytes, text: bytes) -> None:
    file = head + member(text)[10:]
    found, damage = read([file])
    assert found == text
    assert damage == ([Damage(DamageReason.BROKEN_GZIP, OffsetBase.GZIP, 0, head)] if head else [])


@pytest.mark.parametrize("flags", [0, 2, 4, 8, 16, 30])
def test_wrong_flags_cost_no_event(flags: int) -> None:
    file = bytearray(member(HOUR))
    file[3] = flags
    text, damage = read([bytes(file)])
    assert text == HOUR
    check_damage(damage, bytes(file))


def test_a_header_that_is_broken_in_the_middle_of_a_file_costs_no_event() -> None:
    first, second = member(LINES[0] * 50), member(HOUR)
    text, damage = read([first + b"NOT A GZIP" + second[10:] + first])
    assert text == LINES[0] * 50 + HOUR + LINES[0] * 50
    assert damage == [Damage(DamageReason.BROKEN_GZIP, OffsetBase.GZIP, len(first), b"NOT A GZIP")]


def test_a_magic_number_across_the_ends_of_windows_is_found() -> None:
    for size in range((1 << 20) - 4, (1 << 20) + 2):
        # Text that is no gzip: nothing in it inflates to events.
        head = b"\xff" * size
        text, damage = read_carefully([head + member(LINES[0])])
        assert text == LINES[0], size
        assert b"".join(run.data for run in damage) == head


def test_the_real_file_whose_header_was_written_over_is_reported_whole(real_records: Path) -> None:
    path = real_records / "odd/overwritten-gzip-header.json.gz"
    file = path.read_bytes()
    text, damage = read(in_pieces(file, 1 << 20))
    assert len(text) == 0
    assert {run.reason for run in damage} == {DamageReason.BROKEN_GZIP}
    assert sum(len(run.data) for run in damage) == len(file)
    same = b"".join(run.data for run in damage) == file
    assert same


# ---------------------------------------------------------------------------------------------------- no gzip
@pytest.mark.parametrize("file", [b"\n", b"<html>", b"\0" * 5_000, b"\xff" * 70_000])
def test_a_file_that_is_nothing_known_is_reported_whole(file: bytes) -> None:
    text, damage = read(in_pieces(file, 1_000))
    assert text == b""
    assert {run.reason for run in damage} == {DamageReason.BROKEN_GZIP}
    assert b"".join(run.data for run in damage) == file


@pytest.mark.parametrize(
    ("tail", "reason"),
    [
        (b"\0" * 512, DamageReason.TRAILING_BYTES),
        (b"\0" * (3 << 20), DamageReason.TRAILING_BYTES),
        (b"junk", DamageReason.BROKEN_GZIP),
    ],
)
def test_bytes_behind_the_stream_cost_no_event(tail: bytes, reason: DamageReason) -> None:
    file = member(HOUR)
    text, damage = read([file + tail])
    assert text == HOUR
    assert {run.reason for run in damage} == {reason}
    assert b"".join(run.data for run in damage) == tail
    assert damage[0].offset == len(file)


# ---------------------------------------------------------------------------------------------------- bombs
@both_ways
@pytest.mark.parametrize("files", [[b"x" * 5_000], [b"x" * 3_000, b"x" * 2_000]])
def test_text_up_to_the_limit_is_read_and_not_a_byte_more(
    way: Callable[..., Iterator[bytes]], files: list[bytes]
) -> None:
    pieces = [member(text) for text in files]
    assert b"".join(way(pieces, unheard, max_expanded=5_000)) == b"x" * 5_000
    with pytest.raises(SourceUnreachableError, match=r"more than 4,999 bytes") as caught:
        list(way(pieces, unheard, max_expanded=4_999))
    assert caught.value.hint is not None
    assert "max_expanded_gib" in caught.value.hint


@both_ways
def test_a_bomb_is_not_inflated_beyond_the_limit(way: Callable[..., Iterator[bytes]]) -> None:
    bomb = member(bytes(8 << 20)) * 400
    taken = []

    def fed() -> Iterator[bytes]:
        for piece in in_pieces(bomb, 1 << 16):
            taken.append(len(piece))
            yield piece

    lengths = accumulate(map(len, way(fed(), unheard, max_expanded=10 << 20)))
    with pytest.raises(SourceUnreachableError):
        assert all(length <= 10 << 20 for length in lengths)
    assert sum(taken) < len(bomb) // 2


@both_ways
def test_members_without_text_may_come_but_not_for_ever(way: Callable[..., Iterator[bytes]]) -> None:
    few = [member(b"x"), member(b"") * 200, member(b"y"), member(b"") * 200]
    assert b"".join(way(few, unheard, max_expanded=10)) == b"xy"
    taken = []

    def fed() -> Iterator[bytes]:
        yield member(b"x")
        for piece in in_pieces(member(b"") * 1_000_000, 1 << 16):
            taken.append(len(piece))
            yield piece

    with pytest.raises(SourceUnreachableError, match="empty parts in a row"):
        list(way(fed(), unheard, max_expanded=10))
    assert sum(taken) < 2 << 20


def test_raw_deflate_is_read_like_a_file_without_header() -> None:
    text, damage = read([deflate(HOUR)])
    assert text == HOUR
    assert [run.reason for run in damage] == [DamageReason.TRUNCATED_GZIP]
