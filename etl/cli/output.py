"""Output for programs: ``--format json`` prints one JSON document, ``--format jsonl`` one object per line."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from etl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

TABLE: Final = "table"
JSON: Final = "json"
JSON_LINES: Final = "jsonl"
_MEANINGS: Final = {
    TABLE: "table: for people",
    JSON: "json: one JSON document",
    JSON_LINES: "jsonl: one JSON object per line, printed as results arrive",
}


def takes_format(
    *more: str,
    help: str = "",  # noqa: A002 -- named as click names it
    default: str | None = TABLE,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds ``--format`` and its short form ``--json`` to a command, which receives the format as ``form``.

    Args:
        more: Formats besides ``table`` and ``json``.
        help: Text to add to the help.
        default: The default format; None lets the command decide.
    """
    choices = (TABLE, JSON, *more)
    meanings = "; ".join(_MEANINGS[form] for form in choices if form in _MEANINGS)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(*args: Any, form: str | None, as_json: bool, **given: Any) -> None:  # noqa: ANN401
            if as_json and form not in {None, JSON}:
                raise UsageError(f"--json is short for --format json and cannot be combined with --format {form}")
            command(*args, form=JSON if as_json else form or default, **given)

        run = click.option("--json", "as_json", is_flag=True, help="Short for --format json.")(run)
        text = f"{meanings}.{f' {help}' if help else ''}"
        shown = default or False
        return click.option("--format", "form", type=click.Choice(choices), show_default=shown, help=text)(run)

    return decorate


def print_json(document: Any) -> None:  # noqa: ANN401 -- whatever msgspec encodes
    """Prints one JSON document, indented."""
    import msgspec

    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2))


def print_line(row: Any) -> None:  # noqa: ANN401 -- whatever msgspec encodes
    """Prints one JSON object on a line and flushes it."""
    import sys

    import msgspec

    click.echo(msgspec.json.encode(row))
    sys.stdout.flush()


def print_rows(rows: Iterable[Any], form: str) -> None:
    """Prints rows as one JSON array, or one per line for ``jsonl``."""
    if form == JSON_LINES:
        for row in rows:
            print_line(row)
    else:
        print_json(list(rows))
