"""Hooks of MkDocs (mkdocs.yml): what makes the pages of this repository a site.

The pages are written to be read in the repository, too. So pages outside docs/ stay where they are and are added here,
and a link from page to page leads to the same page on the site.
"""

from __future__ import annotations

import fnmatch
import inspect
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Final

import rich_click as click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from etl.cli.command_base import SETTINGS_PANEL
from etl.cli.main import front

ROOT: Final = Path(__file__).parents[1]
PROGRAM: Final = "gharchive-etl"
BESIDE: Final = ("CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md", "terraform/**/README.md")
"""Pages outside docs/ that are part of the site, under their own paths."""

LINK: Final = re.compile(r"(?P<label>\[[^\]]*\])\((?P<target>[^)\s]+)\)")
FENCE: Final = re.compile(r"^\s*```.*?^\s*```$", re.MULTILINE | re.DOTALL)
COMMANDS: Final = "<!-- generated: commands -->"
LOADED: Final = re.compile(
    r"""<(?:script|img|iframe|source|link rel="(?:stylesheet|preload|icon)")\b[^>]*?https?://[^>]*>"""
)

log: Final = logging.getLogger("mkdocs.hooks.docs")


def _beside() -> dict[str, Path]:
    """Returns the pages outside docs/ by their path in the repository, which is their path on the site."""
    found = (path for pattern in BESIDE for path in sorted(ROOT.glob(pattern)))
    return {str(path.relative_to(ROOT)): path for path in found if "/." not in str(path.relative_to(ROOT))}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Replaces each path with a star in the navigation by all pages that match it."""
    docs = Path(config.docs_dir)
    pages = sorted({str(path.relative_to(docs)) for path in docs.rglob("*.md")} | set(_beside()))
    config.nav = _expanded(config.nav, pages)
    return config


def _expanded(entry: Any, pages: list[str]) -> Any:  # noqa: ANN401 -- a tree of lists, dicts and paths
    match entry:
        case list():
            found = []
            for part in entry:
                if isinstance(part, str) and "*" in part:
                    found += [page for page in pages if _matches(page, part)]
                else:
                    found.append(_expanded(part, pages))
            return found
        case dict():
            return {title: _expanded(part, pages) for title, part in entry.items()}
        case _:
            return entry


def _matches(page: str, pattern: str) -> bool:
    return page.count("/") == pattern.count("/") and fnmatch.fnmatch(page, pattern)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the pages that lie outside docs/."""
    for name, path in _beside().items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turns links between files of the repository into links between pages of the site."""
    source = page.file.src_uri
    folder = PurePosixPath(source if source in _beside() else f"docs/{source}").parent

    def relinked(found: re.Match[str]) -> str:
        path, hash_, anchor = found["target"].partition("#")
        if not path or "://" in path or path.startswith("mailto:"):
            return found[0]
        target = os.path.normpath(folder / path)
        name = target.removeprefix("docs/")
        if files.get_file_from_path(name) is not None:
            return f"{found['label']}({os.path.relpath(name, PurePosixPath(source).parent)}{hash_}{anchor})"
        if not (ROOT / target).exists():
            return found[0]  # MkDocs warns of it.
        if config.repo_url:
            return f"{found['label']}({config.repo_url.rstrip('/')}/blob/main/{target}{hash_}{anchor})"
        return found["label"][1:-1]

    if COMMANDS in markdown:
        described = _described(front, click.RichContext(front, info_name=PROGRAM))
        markdown = markdown.replace(COMMANDS, "\n\n".join(described))
    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(relinked, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(relinked, markdown[end:])])


def _described(command: click.Command, context: click.Context) -> Iterator[str]:
    """Yields what ``--help`` says, for a command and for those below it."""
    level = "#" * (context.command_path.count(" ") + 2)
    yield f"{level} {context.command_path}"
    yield inspect.cleandoc(command.help or "")
    yield "\n".join(["```", " ".join([context.command_path, *command.collect_usage_pieces(context)]), "```"])
    options = [option for option in command.params if isinstance(option, click.Option) and not option.hidden]
    own = [option for option in options if getattr(option, "panel", None) != SETTINGS_PANEL]
    if rows := [_row(option, context) for option in own]:
        yield "\n".join(["| option | description |", "|---|---|", *rows])
    if settings := [f"`{option.opts[-1]}`" for option in options if option not in own]:
        yield f"Settings: {', '.join(settings)} ([all settings](settings.md))."
    if examples := getattr(command, "examples", ()):
        lines = [f"# {meaning}\n{PROGRAM} {line}".rstrip() for line, meaning in examples]
        yield "\n".join(["```sh", *lines, "```"])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            yield from _described(command.commands[name], click.RichContext(command.commands[name], context, name))


def _row(option: click.Option, context: click.Context) -> str:
    names, text = option.get_help_record(context) or ("", "")
    # Texts of settings have rich's markup in them; a bar outside of code would end the cell.
    text = text.replace("[dim]\\[", "[").replace("[/dim]", "").replace("|", "\\|")
    return f"| `{names}` | {text} |"


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Warns of a page that loads something from another host."""
    del config
    for found in LOADED.findall(output):
        log.warning("%s loads from another host: %s", page.file.src_uri, found)
    return output
