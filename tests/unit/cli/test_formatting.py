"""How things are laid out, and that nothing from the archive can play tricks on a terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from etl.cli.formatting import facts_table, listing, printable, types_table

if TYPE_CHECKING:
    from rich.table import Table


def drawn(table: Table, width: int = 200) -> str:
    screen = io.StringIO()
    Console(file=screen, width=width, markup=False, emoji=False, highlight=False).print(table)
    return screen.getvalue()


@given(st.text())
def test_nothing_unprintable_gets_through(text: str) -> None:
    shown = printable(text)

    assert shown.isprintable()
    assert len(shown) == len(text)


@given(st.text(), st.integers(1, 100))
def test_long_texts_are_cut(text: str, width: int) -> None:
    shown = printable(text, width)

    assert len(shown) == min(len(text), width)
    assert shown.endswith("…") or len(text) <= width


def test_nothing_is_shown_of_none() -> None:
    assert not printable(None)


def test_markup_of_the_archive_stays_text() -> None:
    text = drawn(listing(("repo",), [(printable("[red]:smile:\x1b[31m"),)]))

    assert "[red]:smile:\N{REPLACEMENT CHARACTER}[31m" in text


def test_facts_without_a_value_are_left_out() -> None:
    text = drawn(facts_table((("reason", None), ("hour", "2015-01-01-15"))))

    assert "reason" not in text
    assert "2015-01-01-15" in text


@given(st.dictionaries(st.text("abcdef", min_size=1), st.integers(0, 10**6)), st.none() | st.integers(1, 5))
def test_no_event_is_lost_between_the_types(types: dict[str, int], limit: int | None) -> None:
    table = types_table(types, limit)

    counts = [int(str(cell).replace(",", "")) for cell in table.columns[1].cells]
    assert sum(counts) == sum(types.values())
    assert counts[:limit] == sorted(types.values(), reverse=True)[:limit]


def test_rare_types_share_a_row() -> None:
    text = drawn(types_table({"PushEvent": 6, "WatchEvent": 3, "ForkEvent": 1}, 1))

    assert "PushEvent" in text
    assert "60.0%" in text
    assert "2 more" in text
    assert "ForkEvent" not in text
