"""The project's texts use plain words: none has a turn of phrase that ``banned_turns.toml`` lists."""

from __future__ import annotations

import functools
import io
import re
import subprocess
import tokenize
import tomllib
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LIST: Final = Path(__file__).with_name("banned_turns.toml")
TEXTS: Final = {
    *(".c", ".cfg", ".css", ".env", ".html", ".j2", ".js", ".md", ".py", ".sh", ".sql", ".tf", ".tfvars", ".hcl"),
    *(".toml", ".yaml", ".yml"),
}
NAMES: Final = {"Dockerfile", "Makefile", ".ci/run"}
EXCLUDED: Final = {LIST.relative_to(ROOT).as_posix(), "tests/unit/test_prose.py"}
BREAK: Final = r"\s+(?:(?:#|//|--|\*|\|)\s+)?"
"""What may stand between two words of a turn: also the end of a line, and the mark of the next line's comment."""


@functools.cache
def banned() -> tuple[re.Pattern[str], list[str]]:
    """Returns one expression with a group for each banned turn, and the words to write in place of each."""
    turns: dict[str, str] = tomllib.loads(LIST.read_text(encoding="utf-8"))["turns"]
    groups = "|".join(f"({turn.replace(' ', BREAK)})" for turn in turns)
    return re.compile(rf"(?<!\w)(?:{groups})(?!\w)", re.IGNORECASE | re.MULTILINE), list(turns.values())


def files() -> list[str]:
    """Returns the files of the checkout that hold texts; of a copy without Git all files outside of hidden folders."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    names = listed.stdout.splitlines()
    if listed.returncode:
        paths = (path.relative_to(ROOT) for path in ROOT.rglob("*"))
        names = [path.as_posix() for path in paths if not any(part.startswith(".") for part in path.parts)]
    return [
        name
        for name in names
        if (Path(name).suffix in TEXTS or Path(name).name in NAMES or name in NAMES)
        and name not in EXCLUDED
        and (ROOT / name).is_file()
    ]


def prose(source: str) -> str:
    """Blanks out the code of a Python file: comments, strings and the names of tests remain, at their lines."""
    lines = [[" "] * len(line) for line in source.splitlines()]
    kept = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}
    original = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        is_test = token.type == tokenize.NAME and token.string.startswith("test_")
        if token.type not in kept and not is_test:
            continue
        (first, start), (last, end) = token.start, token.end
        for row in range(first, last + 1):
            cut = slice(start if row == first else 0, end if row == last else len(original[row - 1]))
            text = original[row - 1][cut]
            lines[row - 1][cut] = text.replace("_", " ") if is_test else text
    return "\n".join("".join(line) for line in lines)


def complaints(name: str, text: str) -> list[str]:
    """Returns a line for each banned turn in a file: where it is, and what to write."""
    text = prose(text) if name.endswith(".py") else text
    turns, plain = banned()
    found = []
    for hit in turns.finditer(text):
        assert hit.lastindex is not None
        line = text.count("\n", 0, hit.start()) + 1
        found.append(f'{name}:{line}: "{" ".join(hit[0].split())}": write {plain[hit.lastindex - 1]}')
    return found


def test_no_text_has_a_banned_turn() -> None:
    found = [line for name in files() for line in complaints(name, (ROOT / name).read_text(encoding="utf-8"))]
    assert not found, "\n".join(["tests/unit/banned_turns.toml lists these turns:", *found])


def test_a_turn_is_found_in_docstrings_comments_and_names_of_tests_but_not_in_code() -> None:
    source = '''"""Makes it anew."""
anew = 1  # For want
# of time.
def test_what_becomes_of_it(): ...
'''
    assert complaints("example.py", source) == [
        'example.py:1: "anew": write again',
        'example.py:2: "For want # of": write without, because there is no',
        'example.py:4: "becomes of": write happens to',
    ]


def test_a_turn_is_found_across_lines_of_a_page() -> None:
    assert complaints("page.md", "An hour is held\nagainst others.\n") == [
        'page.md:1: "held against": write compared with, checked against'
    ]
