"""What the helps teach, and what a typo gives."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

import pytest
import rich_click as click
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from etl.cli.command_base import EXIT_CODES, Command, Group
from etl.cli.main import front, main
from etl.errors import ExitCode
from etl.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator


def commands(group: click.Group = front, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """All commands, those within groups too, with the words that name them."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


ALL = dict(commands())


def help_of(*words: str) -> str:
    """The help as a terminal of 200 columns shows it, its frames and line breaks taken away."""
    result = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(front, [*words, "--help"])
    assert result.exit_code == 0, result.output
    return re.sub(r"[\s│─╭╮╰╯]+", " ", result.output)


def test_the_help_lists_every_command_and_every_exit_code() -> None:
    text = help_of()

    for name, command in front.commands.items():
        assert f" {name} {command.get_short_help_str(200)}" in text
    for code, meaning in EXIT_CODES.items():
        assert f" {int(code)} {meaning} " in text


def test_every_exit_code_is_explained() -> None:
    assert set(EXIT_CODES) == set(ExitCode)


@pytest.mark.parametrize("words", ALL, ids=" ".join)
def test_every_command_has_help_and_examples(words: tuple[str, ...]) -> None:
    command = ALL[words]
    text = help_of(*words)

    assert command.help
    assert isinstance(command, Command | Group)
    assert command.examples
    for line, meaning in command.examples:
        assert line in text
        assert meaning in text
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert parameter.opts[0] in text


EXAMPLES = [
    line for command in (front, *ALL.values()) if isinstance(command, Command | Group) for line, _ in command.examples
]


@pytest.mark.parametrize("line", EXAMPLES)
def test_every_example_can_be_parsed(line: str) -> None:
    words = shlex.split(re.split(r"[|>]", line)[0])
    group: click.Group = front
    context = click.RichContext(front, info_name="etl")
    while True:
        name, command, rest = group.resolve_command(context, words or ["run"])
        if not isinstance(command, click.Group):
            break
        group, words = command, rest
    assert command is not None
    if "--help" not in rest:
        command.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    ("words", "incomplete", "found"),
    [
        ([], "sta", {"status"}),
        ([], "--ye", {"--year"}),
        (["status"], "--fail", {"--fail-if-late"}),
        (["status", "--format"], "js", {"json", "jsonl"}),
        (["mage"], "ba", {"backfill"}),
        (["--at", "2015-01-01-15"], "--ref", {"--refresh"}),
        (["stauts"], "--ref", {"--refresh"}),
    ],
)
def test_a_shell_can_complete(words: list[str], incomplete: str, found: set[str]) -> None:
    completion = ShellComplete(front, {}, "gharchive-etl", "_GHARCHIVE_ETL_COMPLETE")
    assert {item.value for item in completion.get_completions(words, incomplete)} == found


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_program_prints_what_a_shell_needs(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("_GHARCHIVE_ETL_COMPLETE", f"{shell}_source")
        assert main([], prog_name="gharchive-etl") == ExitCode.OK
    assert "gharchive-etl" in capsys.readouterr().out


@pytest.mark.parametrize("words", [words for words in ALL if not isinstance(ALL[words], click.Group)], ids=" ".join)
def test_every_command_with_a_log_can_be_quiet_or_verbose(words: tuple[str, ...]) -> None:
    flags = {name for param in ALL[words].params for name in param.opts}
    assert ("--log-level" in flags) is ({"-q", "--quiet", "-v", "--verbose"} <= flags)


def test_the_defaults_that_helps_tell_are_the_settings_own() -> None:
    text = help_of("run")
    defaults = Settings()

    for name in ("lake", "emails", "log_format", "log_level"):
        flag = f"--{name.replace('_', '-')}"
        told = re.search(rf"{flag} .*?\[default: (.*?)\]", text)
        assert told is not None
        assert told[1] == getattr(defaults, name)
    assert "[default: 1%]" in text
    assert Settings(max_damage="1%").max_damage == defaults.max_damage  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["stauts"], "unknown command 'stauts'", "did you mean `etl status`?"),
        (["2015-01-01-15"], "unknown command '2015-01-01-15'", "`etl --at 2015-01-01-15`"),
        (["xyzzy"], "unknown command 'xyzzy'", "commands: run, "),
        (["--yaer=2015"], "No such option", "--year"),
        (["--lake", "x", "status"], "unexpected extra argument (status)", "put options after the command"),
        (["show"], "Missing argument 'HOUR'", "`etl show --help`"),
        (["show", "yesterday"], "'yesterday' is not an hour", "2015-01-01-15"),
        (["--year=x"], "'x' is not a valid integer", "`etl run --help`"),
        (["--emails=hsh"], "'hsh' is not one of", "`etl run --help`"),
    ],
)
def test_a_typo_is_met_with_what_was_meant(
    words: list[str], message: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words, prog_name="etl") == ExitCode.USAGE

    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert hint in error
    assert "Traceback" not in error
