"""One rule for what is printed for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import rich_click as click
from click.testing import CliRunner

from etl.cli.main import front
from etl.cli.output import JSON, print_rows, takes_format
from etl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMING = {"status", "build", "load"}
WITHOUT = {"demo", "serve", "schema", "practice make", "practice serve", "mage serve"}
"""What prints for people only, or has a form of its own."""


def commands() -> Iterator[tuple[str, click.Command]]:
    for name, command in front.commands.items():
        if isinstance(command, click.Group):
            yield from ((f"{name} {sub}", each) for sub, each in command.commands.items())
        else:
            yield name, command


COMMANDS = [(name, command) for name, command in commands() if name not in WITHOUT and not name.startswith("submit ")]


@pytest.mark.parametrize(("name", "command"), COMMANDS, ids=[name for name, _ in COMMANDS])
def test_every_command_that_tells_something_has_json_by_the_same_flags(name: str, command: click.Command) -> None:
    flags = {param.opts[0]: param for param in command.params if isinstance(param, click.Option)}
    assert isinstance(flags["--format"].type, click.Choice)
    choices = set(flags["--format"].type.choices)
    assert {"table", "json"} <= choices
    assert ("jsonl" in choices) is (name in STREAMING)
    assert "one JSON document" in (flags["--format"].help or "")
    assert "--json" in flags


def program() -> click.Command:
    @click.command()
    @takes_format("jsonl")
    def tell(form: str) -> None:
        """Test."""
        if form != "table":
            print_rows(({"number": number} for number in range(2)), form)

    return tell


@pytest.mark.parametrize("words", [("--json",), ("--format", "json"), ("--json", "--format", "json")])
def test_json_is_one_document(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(program(), words, catch_exceptions=False).output
    assert json.loads(shown) == [{"number": 0}, {"number": 1}]


def test_json_lines_are_one_object_a_line() -> None:
    shown = CliRunner().invoke(program(), ["--format", "jsonl"], catch_exceptions=False).output
    assert [json.loads(line) for line in shown.splitlines()] == [{"number": 0}, {"number": 1}]


def test_the_short_form_contradicts_other_formats() -> None:
    with pytest.raises(UsageError, match="--json is short for --format json"):
        CliRunner().invoke(program(), ["--json", "--format", "table"], catch_exceptions=False)
    assert CliRunner().invoke(program(), []).output == ""
    assert JSON == "json"
