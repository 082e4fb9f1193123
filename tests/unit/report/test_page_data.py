"""What is packed into the page is what the table holds."""

from __future__ import annotations

import base64
import json
import zlib
from datetime import timedelta
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.hours import Hour
from etl.report.page_data import NAME, STATUSES, columns, pack
from tests.unit.report.samples import NOW, history, row, table

START: Final = Hour.of(2014, 12, 31, 20)


def word(packed: dict[str, Any], column: str, number: int) -> Any:
    """The value of an hour in a column of distinct values."""
    index = packed[column]["of"][number]
    return None if index < 0 else packed[column]["words"][index]


def test_the_page_can_read_what_is_packed() -> None:
    sample = history(START, START + 30)

    unpacked = json.loads(zlib.decompress(base64.b64decode(pack(sample, NOW))))

    assert unpacked == json.loads(json.dumps(columns(sample, NOW)))


@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_every_hour_keeps_its_status_in_any_order_of_rows(statuses: list[str], dice: Any) -> None:
    rows = [row(str(START + step), status) for step, status in enumerate(statuses)]
    dice.shuffle(rows)

    packed = columns(table(rows), NOW)

    assert [packed["statuses"][int(digit)] for digit in packed["status"]] == statuses
    assert packed["first"] * 3600 == START.start.timestamp()


def test_numbers_are_kept_and_what_is_unknown_stays_unknown() -> None:
    packed = columns(
        table([row(str(START), "complete", events=12_345, duplicates=7), row(str(START + 1), "missing")]), NOW
    )

    assert packed["events"] == [12_345, None]
    assert packed["duplicates"] == [7, None]
    assert packed["seconds"] == [1.25, 1.25]


@given(st.integers(0, 10**12))
def test_sizes_keep_four_digits(size: int) -> None:
    (kept,) = columns(table([row(str(START), "complete", source_bytes=size)]), NOW)["source_bytes"]

    assert abs(kept - size) <= size / 1000


def test_instants_are_kept_to_the_second() -> None:
    first = START.start + timedelta(seconds=3)
    finished = [NOW, NOW - timedelta(days=9), None, NOW]
    rows = [row(str(START + i), "complete", first_created_at=first, finished_at=at) for i, at in enumerate(finished)]

    packed = columns(table(rows), NOW)

    assert packed["first_created"] == [3 - 3600 * step for step in range(4)]
    total = 0
    for step, at in zip(packed["finished"], finished, strict=True):
        total += step or 0
        assert (step is None) == (at is None)
        assert at is None or total == int(at.timestamp())


@given(st.lists(st.text(max_size=30), min_size=1, max_size=20))
def test_texts_are_kept_whatever_they_hold(reasons: list[str]) -> None:
    rows = [row(str(START + step), "failed", reason=reason) for step, reason in enumerate(reasons)]

    packed = columns(table(rows), NOW)

    for step, reason in enumerate(reasons):
        expected = reason.replace(NAME, "\N{REPLACEMENT CHARACTER}")
        assert word(packed, "reason", step).replace(NAME, str(START + step)) == expected


def test_sources_that_differ_in_the_hour_alone_are_one_text() -> None:
    packed = columns(history(START, START + 48), NOW)

    assert packed["source"]["words"] == [f"https://data.gharchive.org/{NAME}.json.gz"]


def test_hours_are_placed_by_their_names_where_the_clocks_change() -> None:
    last_of_pacific, first_of_utc = "2014-12-31-23", "2015-01-01-0"

    packed = columns(table([row(last_of_pacific, "complete"), row(first_of_utc, "complete")]), NOW)

    assert packed["count"] == 2
    assert packed["pacific"] == [0, 0]


def test_hours_between_two_rows_are_no_hours_of_the_table() -> None:
    packed = columns(table([row("2015-01-01-0", "complete"), row("2015-01-01-3", "failed")]), NOW)

    assert packed["status"] == "0..5"
    assert packed["events"] == [10_000, None, None, None]


def test_the_largest_types_are_kept_with_their_shares() -> None:
    types = json.dumps({"A": 1, "B": 700, "C": 200, "D": 90, "E": 9, "Long" * 20: 0})

    packed = columns(table([row(str(START), "complete", types=types), row(str(START + 1), "absent")]), NOW)["types"]

    assert [packed["words"][kinds[0]] for kinds in packed["kinds"]] == ["B", "C", "D", "E"]
    assert [shares[0] for shares in packed["shares"]] == [70, 20, 9, 1]
    assert [kinds[1] for kinds in packed["kinds"]] == [-1] * 4


def test_a_table_without_hours_is_packed() -> None:
    assert columns(table([]), NOW)["count"] == 0


def test_a_table_of_another_form_is_refused() -> None:
    with pytest.raises(ValueError, match="it has no hole, next_try"):
        columns(history(START, START).drop_columns(["next_try", "hole"]), NOW)


def test_two_rows_of_one_hour_are_refused() -> None:
    with pytest.raises(ValueError, match="some hours have several"):
        columns(table([row(str(START), "complete"), row(str(START), "failed")]), NOW)


def test_an_unknown_status_is_refused() -> None:
    with pytest.raises(ValueError, match="unknown to the page: lost"):
        columns(table([row(str(START), "lost")]), NOW)
