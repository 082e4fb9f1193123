"""Reads the code blocks of pages: what tests of documentation run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
QUERY_PAGE: Final = "docs/how-to/query.md"
SQL_PAGES: Final = ("README.md", QUERY_PAGE, "docs/reference/data-dictionary.md")
_BLOCK: Final = re.compile(
    r"^(?:<!-- not run: (?P<reason>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        language: The word behind the fence; empty without one.
        text: The lines between the fences.
        reason: Why no test runs it, from a comment before it; None if a test does.
    """

    language: str
    text: str
    reason: str | None


def blocks(page: str) -> list[Block]:
    """Returns the fenced blocks of a page, in order."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return [Block(found["language"], found["text"], found["reason"]) for found in _BLOCK.finditer(text)]


def texts(page: str, language: str) -> list[str]:
    """Returns the blocks of a page in one language."""
    return [block.text for block in blocks(page) if block.language == language]


def statements(page: str) -> list[str]:
    """Returns the SQL statements of a page."""
    return [part.strip() for text in texts(page, "sql") for part in text.split(";\n") if part.strip()]


def macro() -> str:
    """Returns the statement that creates the macro for payloads."""
    (found,) = (statement for statement in statements(QUERY_PAGE) if "CREATE OR REPLACE MACRO" in statement)
    return found


def queries(page: str) -> list[str]:
    """Returns the SQL statements of a page, less the macro."""
    return [statement for statement in statements(page) if statement != macro()]
