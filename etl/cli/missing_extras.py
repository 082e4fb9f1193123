"""What to say when Python has not got a library: needs nothing but the standard library itself."""

from __future__ import annotations

import sys

from etl.errors import UsageError


def explained(error: ModuleNotFoundError) -> UsageError | None:
    """Says how to get what is missing; None if it is a module of ours, which is no matter of installation."""
    library = (error.name or "").partition(".")[0]
    if library in {"", "etl"}:
        return None
    return UsageError(
        f"the library {library} is not installed for {sys.executable}",
        hint="run `make setup` once, then start with `.venv/bin/python etl` instead of `python etl`",
    )
