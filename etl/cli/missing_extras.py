"""Explains a missing library. Imports nothing but the standard library."""

from __future__ import annotations

import sys

from etl.errors import UsageError


def explained(error: ModuleNotFoundError) -> UsageError | None:
    """Returns an error that says how to install the library; None if the missing module is part of this program."""
    library = (error.name or "").partition(".")[0]
    if library in {"", "etl"}:
        return None
    return UsageError(
        f"the library {library} is not installed for {sys.executable}",
        hint="run `make setup` once, then start with `.venv/bin/python etl` instead of `python etl`",
    )
