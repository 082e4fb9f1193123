"""Counts in words."""

from __future__ import annotations

import pytest

from etl.plural import plural


@pytest.mark.parametrize(
    ("count", "words", "text"),
    [
        (0, ("hour",), "0 hours"),
        (1, ("hour",), "1 hour"),
        (2, ("hour",), "2 hours"),
        (1000, ("hour",), "1,000 hours"),
        (1, ("hour is", "hours are"), "1 hour is"),
        (3, ("hour is", "hours are"), "3 hours are"),
    ],
)
def test_one_has_no_s(count: int, words: tuple[str, ...], text: str) -> None:
    assert plural(count, *words) == text
