"""Base classes of the commands: examples in every help, a default command, and suggestions after a typo."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from click_default_group import DefaultGroup
from rich_click.rich_panel import RichOptionPanel, RichPanel
from typing_extensions import override

from etl.errors import EtlError, ExitCode, UsageError
from etl.hours import Hour

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem
    from rich.table import Table
    from rich.text import Text

Examples = Sequence[tuple[str, str]]
"""Pairs of a command line without the program's name and what it does."""

SETTINGS_PANEL: Final = "Settings (also from GHARCHIVE_..., .env or secrets.json)"

EXIT_CODES: Final = {
    ExitCode.OK: "done, or nothing to do",
    ExitCode.UNEXPECTED: "a bug in this program",
    ExitCode.USAGE: "invalid flags, settings or hour",
    ExitCode.NOT_PUBLISHED: "no source has the hour (yet)",
    ExitCode.SHRINK_REFUSED: "the source has fewer events than the lake; the lake was not changed",
    ExitCode.SOURCE_UNREACHABLE: "no source delivered the whole hour",
    ExitCode.STORE_FAILED: "the lake could not be read or written",
    ExitCode.DAMAGED: "stored as partial: more was unreadable than --max-damage allows",
    ExitCode.VERIFY_FAILED: "a stored hour does not match its manifest",
    ExitCode.INCOMPLETE: "some hours of the range are not complete",
    ExitCode.CHECKS_FAILED: "a data check failed; the warehouse kept its old rows",
    ExitCode.BATCH_FAILED: "a Spark batch failed, or could not be submitted or followed",
    ExitCode.INTERRUPTED: "interrupted by Ctrl-C or SIGTERM",
}


class Command(click.RichCommand):
    """A command whose help ends with examples.

    Args:
        first_panel: Title of a panel of options that comes first in the help.
    """

    def __init__(self, *args: Any, examples: Examples = (), first_panel: str | None = None, **kwargs: Any) -> None:  # noqa: ANN401
        titles = (first_panel, "Options", SETTINGS_PANEL)
        panels: list[RichPanel[Any, Any]] = [RichOptionPanel(title) for title in titles if title is not None]
        super().__init__(*args, panels=panels, **kwargs)
        self.examples = examples

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_panel(formatter, "Examples", _examples(ctx, self.examples))


class Group(click.RichGroup):
    """A group of commands that suggests the closest name for an unknown one."""

    command_class = Command

    def __init__(self, *args: Any, examples: Examples = (), **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.examples = examples

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_panel(formatter, "Examples", _examples(ctx, self.examples))

    @override
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    @override
    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = args[0]
        if not word.startswith("-") and word not in self.commands and not ctx.resilient_parsing:
            raise self._unknown(ctx, word)
        return super().resolve_command(ctx, args)

    def _unknown(self, ctx: click.Context, word: str) -> UsageError:
        close = difflib.get_close_matches(word, self.commands, n=1)
        if close:
            hint = f"did you mean `{ctx.command_path} {close[0]}`?"
        elif _is_hour(word):
            hint = f"did you mean `{ctx.command_path} --at {word}`?"
        else:
            hint = f"commands: {', '.join(self.commands)}"
        return UsageError(f"unknown command {word!r}", hint=hint)


class Front(Group, DefaultGroup):  # type: ignore[misc] # DefaultGroup has no types
    """The root group: it runs a default command if none is named, and its help lists the exit codes."""

    group_class = Group

    @override
    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        # Completion of the first word must list commands, not arguments of the default command.
        if ctx.resilient_parsing and not args:
            return Group.parse_args(self, ctx, args)
        parsed: list[str] = super().parse_args(ctx, args)
        return parsed

    @override
    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        found: list[CompletionItem] = super().shell_complete(ctx, incomplete)
        if incomplete.startswith("-"):
            default = self.commands[self.default_cmd_name]
            found += default.shell_complete(click.RichContext(default, parent=ctx), incomplete)
        return found

    @override
    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        super().format_epilog(ctx, formatter)
        _write_panel(formatter, "Exit codes", _exit_codes())


def _examples(ctx: click.Context, examples: Examples) -> Text:
    """Returns each command line on its own line, ready to copy, followed by what it does."""
    from rich.text import Text

    program = ctx.find_root().info_name
    lines = Text(overflow="fold")
    for line, meaning in examples:
        lines.append(f"{program} {line}".rstrip() + "\n", style="bold cyan").append(f"    {meaning}\n")
    lines.rstrip()
    return lines


def _exit_codes() -> Table:
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for code, meaning in EXIT_CODES.items():
        table.add_row(str(int(code)), meaning)
    return table


def _write_panel(formatter: click.HelpFormatter, title: str, content: Text | Table) -> None:
    from rich.panel import Panel

    if content and isinstance(formatter, click.RichHelpFormatter):
        formatter.write(Panel(content, title=title, title_align="left", border_style="dim"))


def _is_hour(text: str) -> bool:
    try:
        Hour.parse(text)
    except EtlError:
        return False
    return True
