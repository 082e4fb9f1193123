"""Every real record goes into a row and comes out of it, whichever way it was read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from etl.events.record import rebuild
from etl.events.schema import NAMES
from etl.hours import Hour
from etl.practice.generator import generate_hour
from tests.integration.events import reading
from tests.integration.events.reading import Lines, Rows

PRACTICE = {
    "A": Hour.of(2011, 4, 5, 6),
    "A again": Hour.of(2012, 3, 9, 1),
    "early B": Hour.of(2012, 3, 14, 1),
    "B": Hour.of(2013, 6, 7, 8),
    "C": Hour.of(2016, 1, 2, 3),
    "C, with display_login": Hour.of(2019, 1, 2, 3),
    "D": Hour.of(2025, 12, 15, 16),
}


@pytest.fixture(scope="module")
def records(real_records: Path) -> dict[str, Lines]:
    return reading.real_lines(real_records)


def test_every_real_record_is_rebuilt_from_its_row(records: dict[str, Lines]) -> None:
    for source, lines in records.items():
        rows = reading.read(lines, "keep")
        _same_records(source, lines, rows)


def test_every_real_record_is_rebuilt_from_its_row_of_the_exact_reading(records: dict[str, Lines]) -> None:
    for source, lines in records.items():
        few = lines.some(200)
        _same_records(source, few, reading.read(map(reading.unsound, few), "keep"))


def test_every_practice_record_is_rebuilt_from_its_row() -> None:
    for era, hour in PRACTICE.items():
        lines = _practice(hour, 300)
        _same_records(era, lines, reading.read(lines, "keep"))


def test_real_hours_take_the_fast_reading(records: dict[str, Lines]) -> None:
    # Were they all read exactly, the tests above would say nothing about the other way.
    for source, lines in records.items():
        if source.startswith(("2011", "2015", "2019", "trimmed")):
            group = reading.decode(lines, "hash")
            assert not group.rows, source
            assert sum(map(len, group.parts)) == len(lines), source


@pytest.mark.parametrize("emails", ["hash", "keyed", "drop", "keep"])
def test_both_readings_give_the_same_rows(emails: str, records: dict[str, Lines]) -> None:
    for source, lines in records.items():
        few = lines.some(200)
        _same_rows(source, reading.read(few, emails), reading.read(map(reading.unsound, few), emails))


@pytest.mark.parametrize("emails", ["hash", "keyed", "drop", "keep"])
def test_both_readings_give_the_same_rows_of_practice_hours(emails: str) -> None:
    for era, hour in PRACTICE.items():
        lines = _practice(hour, 150)
        _same_rows(era, reading.read(lines, emails), reading.read(map(reading.unsound, lines), emails))


def test_rows_do_not_depend_on_how_the_text_was_cut(records: dict[str, Lines]) -> None:
    mixed = Lines(line for lines in records.values() for line in lines.some(50))
    whole = reading.read(mixed, "hash")
    assert {row["id"] is None for row in whole} == {True, False}
    for size in (1, 5_000, 100_000):
        _same_rows(f"blocks of {size}", whole, reading.read(mixed, "hash", block_size=size))


def _practice(hour: Hour, events: int) -> Lines:
    return Lines(line.rstrip(b"\n") for line in generate_hour(hour, events=events))


def _same_records(source: str, lines: Lines, rows: Rows) -> None:
    """Fails, naming nothing but the source, unless the rows give back the lines."""
    rebuilt = Counter(reading.canonical(rebuild(row)) for row in rows)
    wanted = Counter(map(reading.canonical, lines))
    missing = (wanted - rebuilt).total()
    assert not missing, f"{source}: {missing} of {len(lines)} records are not given back"
    assert len(rows) == len(lines), source


def _same_rows(source: str, ours: Rows, theirs: Rows) -> None:
    assert len(ours) == len(theirs)
    unequal = (Counter(map(_comparable, ours)) - Counter(map(_comparable, theirs))).total()
    assert not unequal, f"{source}: {unequal} of {len(ours)} rows differ between the readings"


def _comparable(row: dict[str, Any]) -> tuple[object, ...]:
    """A row as a key; ``other`` as JSON, since the order of its keys says nothing."""
    other = None if row["other"] is None else reading.canonical(row["other"])
    return (*(row[name] for name in NAMES if name != "other"), other)
