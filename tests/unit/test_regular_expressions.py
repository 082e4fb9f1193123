"""Regular expressions that mean the same on every Python this program runs on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import pytest

SOURCES: Final = sorted((Path(__file__).parents[2] / "etl").rglob("*.py"))
POSSESSIVE_GROUP: Final = re.compile(r"\)(?:[*+?]|\{[0-9,]+\})\+|\(\?>")
"""A repeated group that gives nothing back. Before 3.11.5 Python finds wrong matches by it (python/cpython#106052)."""


@pytest.mark.parametrize("expression", [r"(?:a|b)++", r"(a)*+", r"(?:ab)?+", r"(?:ab){1,3}+", r"(?>ab)"])
def test_a_possessive_group_is_found(expression: str) -> None:
    assert POSSESSIVE_GROUP.search(expression)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: "/".join(path.parts[-2:]))
def test_no_group_is_possessive(path: Path) -> None:
    assert POSSESSIVE_GROUP.findall(path.read_text(encoding="utf-8")) == []
