"""The text of the dashboard: its figures without a script, and that nothing of a warehouse becomes markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from datetime import UTC, datetime
from typing import Any, Final

import pytest

from etl.report.aggregates import Cube, columns
from etl.report.dashboard import render, totals_by_type
from tests.unit.report.cubes import HOUR, cube_of, event

NOW: Final = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
HOSTILE: Final = "</script><script>alert(1)</script><img src=x onerror=alert(1)>{{ 7 * 7 }}&amp;\"'"
MB: Final = 1_000_000


def page_of(cube: Cube, warehouse: str = "warehouse") -> str:
    return render(cube, warehouse=warehouse, now=NOW)


def packed(page: str, name: str) -> bytes:
    (text,) = re.findall(rf'id="{name}">([A-Za-z0-9+/=]*)</script>', page)
    return zlib.decompress(base64.b64decode(text))


def test_the_page_has_its_figures_without_a_script() -> None:
    page = page_of(cube_of(event(1_200), event(34, type="WatchEvent"), event(5, type=None)))

    assert '<dd id="total">1,239</dd>' in page
    assert '<th scope="row">PushEvent</th><td class="figure">1,200</td>' in page
    assert '<th scope="row">(no type)</th><td class="figure">5</td>' in page
    assert "50.00%" in page
    assert "1 of 2" in page


def test_the_page_allows_its_own_scripts_only() -> None:
    page = page_of(cube_of(event(1)))
    (policy,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    own, library = (
        base64.b64encode(hashlib.sha256(text).digest()).decode() for text in (script.encode(), packed(page, "library"))
    )

    said = dict(part.split(" ", 1) for part in policy.replace("&#39;", "'").split("; "))
    assert said["default-src"] == "'none'"
    assert said["script-src"] == f"'sha256-{own}' 'sha256-{library}'"
    assert "unsafe" not in policy


def test_nothing_of_the_warehouse_becomes_markup() -> None:
    innocent, hostile = (
        page_of(cube_of(event(1, type=text, action=text, actor=text, repository=text)), warehouse=text)
        for text in ("x", HOSTILE)
    )

    assert [hostile.count(f"<{tag}") for tag in ("script", "img")] == [
        innocent.count(f"<{tag}") for tag in ("script", "img")
    ]
    assert HOSTILE not in hostile
    assert json.loads(packed(hostile, "packed"))["actors"] == [[HOSTILE, False]]


def test_a_page_is_little_more_than_its_library() -> None:
    assert len(page_of(cube_of(event(1)))) < 0.5 * MB


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="time zone"):
        render(cube_of(event(1)), warehouse="warehouse", now=datetime(2026, 1, 1))  # noqa: DTZ001


def test_the_same_counts_give_the_same_page_in_any_order() -> None:
    rows = [event(1), event(2, actor="bob"), event(3, hour=HOUR + 1, type="WatchEvent", action="started")]

    assert page_of(cube_of(*rows)) == page_of(cube_of(*reversed(rows)))


def test_types_are_in_the_order_of_their_events() -> None:
    cube = cube_of(event(2), event(5, type="WatchEvent"), event(4, actor="bob"), event(5, type="ForkEvent"))

    assert totals_by_type(cube.events) == [("PushEvent", 6), ("ForkEvent", 5), ("WatchEvent", 5)]


def test_rows_can_be_read_back_from_their_columns() -> None:
    rows = [
        event(3, hour=HOUR + 5, actor=None, is_bot=True),
        event(1, type="PullRequestEvent", action="closed", outcome="merged"),
        event(2, actor="", repository=None),
    ]

    found = columns(cube_of(*rows))

    assert read_back(found) == sorted(
        [
            [row[name] for name in ("hour", "type", "action", "outcome", "actor", "is_bot", "repository", "events")]
            for row in rows
        ],
        key=str,
    )
    assert found["coverage"] == {"hour": [HOUR, 1], "status": "04"}


def read_back(found: dict[str, Any]) -> list[list[Any]]:
    hour = 0
    rows = []
    numbers = zip(*(found["rows"][name] for name in ("hour", "kind", "actor", "repository", "events")), strict=True)
    for step, kind, actor, repository, events in numbers:
        hour += step
        rows.append([hour, *found["kinds"][kind], *found["actors"][actor], found["repositories"][repository], events])
    return sorted(rows, key=str)
