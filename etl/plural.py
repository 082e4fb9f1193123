"""Counts in words: ``1 hour``, ``2 hours``, ``1,000 hours``."""

from __future__ import annotations


def plural(count: int, one: str, many: str | None = None) -> str:
    """Returns a count with its noun, as ``1 hour`` or ``1,000 hours``.

    Args:
        count: The count.
        one: The noun for one, or a noun and its verb: ``hour``, ``hour is``.
        many: The noun for any other number; None for ``one`` with an s.
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
