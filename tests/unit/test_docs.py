"""The pages say what the program says: generated tables are current, links lead somewhere, commands exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import rich_click as click

from etl.cli.command_base import EXIT_CODES
from etl.cli.main import front
from etl.events.decode import ROW_GROUP_BYTES, ROW_GROUP_ROWS
from etl.events.schema import markdown
from etl.lake import parquet
from etl.lake.manifest import Content, Manifest, SourceFacts, Status
from etl.settings import Settings

ROOT: Final = Path(__file__).parents[2]
README: Final = ROOT / "README.md"
COMMANDS_PAGE: Final = ROOT / "docs/reference/commands.md"
EXIT_CODES_PAGE: Final = ROOT / "docs/reference/exit-codes.md"
LAKE_PAGE: Final = ROOT / "docs/reference/lake.md"
PAGES: Final = [
    README,
    *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")),
    *sorted(ROOT.glob("docs/**/*.md")),
]
LINK: Final = re.compile(r"\]\(\s*(?P<target>[^)\s]+)\s*\)")
CODE: Final = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def settings_table() -> str:
    """Every setting with its default and meaning, as the page of settings has them."""
    lines = ["| setting | default | what it is for |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = field.default
        if isinstance(default, tuple):
            default = ", ".join(default)
        shown = "none" if default is None else f"`{default}`"
        lines.append(f"| `{name}` | {shown} | {field.description} |")
    return "\n".join(lines)


def block(page: Path, name: str) -> str:
    """What stands between the two marks of this name."""
    found = re.search(
        rf"^<!-- {name}: begin[^\n]*-->\n(.*?)^<!-- {name}: end -->$",
        page.read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
    assert found is not None, f"{page.name} has no marks for {name}"
    return found[1].strip()


def section(page: Path, title: str) -> str:
    """The text under a heading, up to the next one."""
    return page.read_text(encoding="utf-8").partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def relative_links() -> Iterator[tuple[str, str]]:
    for page in PAGES:
        text = CODE.sub("", page.read_text(encoding="utf-8"))
        for found in LINK.finditer(text):
            if "://" not in found["target"]:
                yield str(page.relative_to(ROOT)), found["target"]


@pytest.mark.parametrize(
    ("page", "name", "expected"),
    [
        (ROOT / "docs/reference/data-dictionary.md", "schema", markdown()),
        (ROOT / "docs/reference/settings.md", "settings", settings_table()),
    ],
    ids=["schema", "settings"],
)
def test_a_generated_table_is_current(page: Path, name: str, expected: str) -> None:
    assert block(page, name) == expected, f"put this between the marks in {page.name}:\n{expected}"


@pytest.mark.parametrize(("page", "target"), sorted(set(relative_links())))
def test_a_relative_link_leads_somewhere(page: str, target: str) -> None:
    path, _, anchor = target.partition("#")
    linked = (ROOT / page).parent / path if path else ROOT / page
    assert linked.exists(), f"{page} links to {target}"
    if anchor:
        assert anchor in anchors(linked), f"{page} links to {target}, and there is no such heading"


def test_the_page_of_exit_codes_has_every_code_with_its_meaning() -> None:
    rows = re.findall(r"^\| (\d+) \| (.+?) \| .+ \|$", EXIT_CODES_PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(str(int(code)), meaning) for code, meaning in EXIT_CODES.items()]


def table_lines() -> list[str]:
    """The command lines of the table of commands."""
    return re.findall(r"^\| `(python etl[^`]*)` \|", COMMANDS_PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def pasted_lines() -> list[str]:
    """The command lines that stand in fenced blocks of all pages, without comments and what the shell makes of them."""
    fenced = [
        text
        for page in PAGES
        for text in re.findall(r"^```.*?^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    ]
    lines = re.findall(r"(?:^|\s)((?:python etl|gharchive-etl) [^#|>&;\n]*)", "\n".join(fenced), re.MULTILINE)
    return sorted({line.strip() for line in lines})


def parsed(line: str) -> str:
    """Parses a command line as the program does, without running it; returns the command's name."""
    words = shlex.split(line.removeprefix("python etl").removeprefix("gharchive-etl"))
    context = click.RichContext(front, info_name="etl")
    group: click.Group = front
    named = []
    while True:
        name, command, rest = group.resolve_command(context, words or ["run"])
        named.append(name or "")
        if not isinstance(command, click.Group):
            break
        group, words = command, rest
    assert command is not None
    command.make_context(name, rest, parent=context)
    return " ".join(named)


@pytest.mark.parametrize("line", [*table_lines(), *pasted_lines()])
def test_a_command_line_of_a_page_can_be_pasted(line: str) -> None:
    assert parsed(line)


def test_the_page_of_commands_names_every_command() -> None:
    named = {parsed(line) for line in table_lines()}
    for name, command in front.commands.items():
        subcommands = command.commands if isinstance(command, click.Group) else {}
        assert {f"{name} {sub}" for sub in subcommands} <= named if subcommands else name in named


def test_every_make_target_that_pages_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        named = re.findall(r"`make ([a-z-]+)|^make (?:-n )?([a-z-]+)", text, re.MULTILINE)
        assert {first or second for first, second in named} <= targets, page.name


def test_the_lake_page_has_every_field_and_status() -> None:
    page = LAKE_PAGE.read_text(encoding="utf-8")
    fields = [*Manifest.__struct_encode_fields__, *Content.__struct_fields__]
    fields += [f"source.{name}" for name in SourceFacts.__struct_encode_fields__]
    fields.remove("source")
    assert [name for name in fields if f"`{name}`" not in page] == []
    assert [status for status in Status if f"| `{status}` |" not in section(LAKE_PAGE, "Statuses")] == []


def test_the_decision_on_row_groups_has_the_present_figures() -> None:
    page = (ROOT / "docs/decisions/0006-row-groups.md").read_text(encoding="utf-8")
    assert f"{ROW_GROUP_ROWS:,} rows or {ROW_GROUP_BYTES >> 20} MiB" in page
    assert f"zstd level {parquet._LEVEL}" in page


def test_decisions_are_numbered_and_dated() -> None:
    records = sorted((ROOT / "docs/decisions").glob("[0-9]*.md"))
    for number, record in enumerate(records, start=1):
        text = record.read_text(encoding="utf-8")
        assert record.name.startswith(f"{number:04}-")
        assert text.startswith(f"# {number}. ")
        assert re.search(r"^Status: \w+.*, \d{4}-\d\d-\d\d$", text, re.MULTILINE)
        assert re.findall(r"^## (Context|Decision|Consequences)$", text, re.MULTILINE) == [
            "Context",
            "Decision",
            "Consequences",
        ]
