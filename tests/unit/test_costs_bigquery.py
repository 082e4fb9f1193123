"""The cost table of charts: its sums, and that it names tables that are there."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from etl.warehouse.models import models

PAGE: Final = Path(__file__).parents[2] / "docs/reference/costs-bigquery.md"
DOLLARS_A_TIB: Final = 6.25
LEAST_BYTES: Final = 10_000_000


def charts() -> list[list[str]]:
    lines = PAGE.read_text(encoding="utf-8").split("\n## ")[0].splitlines()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| ")]
    return rows[1:]


def number(text: str) -> float:
    return float(text.replace(",", ""))


@pytest.mark.parametrize("row", charts(), ids=lambda row: str(row[0]))
def test_the_sums_are_right(row: list[str]) -> None:
    a_day, once = number(row[2]) * 1e6, number(row[3]) * 1e6
    for days, said, price in ((30, row[4], row[5]), (365, row[6], row[7])):
        scanned = days * a_day + once
        assert number(said) == pytest.approx(scanned / 1e9, rel=0.02, abs=0.006)
        billed = max(scanned, LEAST_BYTES)
        assert number(price) == pytest.approx(billed / 2**40 * DOLLARS_A_TIB, rel=0.06, abs=0.0005)


@pytest.mark.parametrize("row", charts(), ids=lambda row: str(row[0]))
def test_the_tables_are_there(row: list[str]) -> None:
    named = row[1].split("`")[1::2]
    assert set(named) <= {model.name for model in models()}


def test_every_chart_costs_cents_and_the_raw_archive_dollars() -> None:
    *ours, raw = charts()
    assert all(number(row[5]) < 0.05 for row in ours)
    assert number(raw[5]) > 4
