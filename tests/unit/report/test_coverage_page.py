"""The text of the coverage page: its figures, and that nothing of a lake becomes markup."""

from __future__ import annotations

import base64
import hashlib
import re
from datetime import datetime, timedelta
from html.parser import HTMLParser
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typing_extensions import override

from etl.hours import Hour
from etl.lake.manifest import Status
from etl.report.coverage_page import MEANINGS, render, totals_by_year
from etl.report.page_data import STATUSES
from tests.unit.report.samples import NOW, every_hour, history, row, table

HOSTILE: Final = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&amp;\"'"
MIB: Final = 1024 * 1024


class Reader(HTMLParser):
    """Gathers the elements of a page and the texts in some of them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: dict[str, str] = {}
        self._open = ""
        self.feed(page)
        self.close()

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        self._open = tag

    @override
    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    @override
    def handle_data(self, data: str) -> None:
        self.texts[self._open] = self.texts.get(self._open, "") + data


def page_of(*rows: dict[str, object], lake: str = "lake") -> str:
    return render(table(rows), lake=lake, now=NOW)


def test_every_status_has_a_meaning() -> None:
    assert tuple(MEANINGS) == STATUSES
    assert set(MEANINGS) == {*Status, "absent"}


def test_totals_are_by_year_and_status() -> None:
    rows = [
        row("2014-12-31-23", "complete", events=10, source_bytes=5, parquet_bytes=3),
        row("2015-01-01-0", "complete", events=20, source_bytes=6, parquet_bytes=4),
        row("2015-01-01-1", "partial", events=1, source_bytes=1, parquet_bytes=1),
        row("2015-01-01-2", "missing"),
    ]

    old, new = totals_by_year(table(rows))

    assert (old.name, old.hours, old.complete, old.events) == ("2014", 1, 1, 10)
    assert (new.name, new.hours, new.complete, new.events) == ("2015", 3, 1, 21)
    assert (new.source_bytes, new.parquet_bytes) == (7, 5)
    assert {status: count for status, count in new.counts.items() if count} == {
        "complete": 1,
        "partial": 1,
        "missing": 1,
    }


def test_the_page_says_the_totals_without_its_script() -> None:
    rows = [row(f"2015-01-01-{hour}", "complete", events=1_000_000) for hour in range(3)]
    page = page_of(*rows, row("2015-01-01-3", "failed", next_try=NOW - timedelta(hours=1)), lake="gs://bucket/lake")

    assert "gs://bucket/lake" in page
    assert "75.00%" in page
    assert "3 of 4 hours" in page
    assert "3,000,000" in page
    assert "1 due for a try now" in page
    assert "2015-01-01-0</time> to <time>2015-01-01-3" in page


@pytest.mark.parametrize(("bad", "share"), [(0, "100%"), (1, "99.99%")])
def test_a_share_is_never_rounded_up_to_all(bad: int, share: str) -> None:
    start = Hour.of(2012, 1, 1, 0)
    rows = [row(str(start + step), "failed" if step < bad else "complete") for step in range(20_001)]

    page = page_of(*rows)

    assert f"<dd>{share}</dd>" in page


@given(st.text(alphabet=st.characters(exclude_categories=["Cs", "Cc"])))
def test_the_address_of_the_lake_is_text(lake: str) -> None:
    assert Reader(page_of(row("2015-01-01-0", "complete"), lake=lake)).texts.get("code", "") == lake


def test_nothing_of_the_lake_becomes_markup() -> None:
    innocent, hostile = (
        Reader(page_of(row("2015-01-01-0", "failed", reason=text, hole=text, source=text, era=text), lake=text))
        for text in ("x", HOSTILE)
    )

    assert hostile.tags == innocent.tags
    assert HOSTILE in hostile.texts["title"]
    assert "alert(1)" not in hostile.texts["script"]


def test_the_page_asks_for_nothing_and_allows_its_own_script_alone() -> None:
    page = page_of(row("2015-01-01-0", "complete"))
    read = Reader(page)
    sources = [value for name, value in read.attributes if name in ("src", "href", "action", "style", "onclick")]
    (policy,) = (value for name, value in read.attributes if name == "content" and value and "default-src" in value)
    inline = re.findall(r"<(style|script)>(.*?)</\1>", page, re.DOTALL)

    assert sources == ["#map", "#totals"]
    assert "default-src 'none'" in policy
    assert [kind for kind, _ in inline] == ["style", "script"]
    for kind, text in inline:
        assert f"{kind}-src 'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" in policy


def test_the_same_coverage_gives_the_same_page() -> None:
    sample = history(Hour.of(2021, 10, 1, 0), Hour.of(2021, 10, 31, 23))

    assert render(sample, lake="lake", now=NOW) == render(sample, lake="lake", now=NOW)


def test_fifteen_years_fit_into_a_page_of_five_megabytes() -> None:
    sample = every_hour()

    page = render(sample, lake="gs://bucket/lake", now=NOW)

    assert sample.num_rows > 137_000
    assert len(page.encode()) < 5 * MIB


def test_a_lake_without_hours_has_a_page() -> None:
    page = page_of()

    assert "There are no hours in this lake yet" in page
    assert "script" not in Reader(page).tags


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        render(table([]), lake="lake", now=datetime(2026, 11, 21))  # noqa: DTZ001 - that is the mistake
