"""Generates the tables of variables and outputs in the READMEs of ``terraform/``, in terraform-docs' form.

``make terraform-docs`` writes them; a test compares. The files are formatted by ``terraform fmt``, so that a block ends
at the first ``}`` without indentation and an attribute at the next line with no deeper indentation.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.terraform.terraforming import MODULES

BEGIN: Final = "<!-- BEGIN_TF_DOCS -->"
END: Final = "<!-- END_TF_DOCS -->"
_ATTRIBUTE: Final = re.compile(r"^  (\w+) += (.*(?:\n(?:   .*|  [\])}]+))*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A variable or an output.

    Attributes:
        name: Its name.
        attributes: The source text of its attributes.
    """

    name: str
    attributes: dict[str, str]

    @property
    def description(self) -> str:
        return self.attributes["description"].strip('"').replace('\\"', '"').replace("|", "\\|")


def blocks(module: Path, kind: str) -> list[Block]:
    """Returns the blocks of a kind (``variable`` or ``output``) of a module, sorted by name."""
    source = (module / f"{kind}s.tf").read_text(encoding="utf-8")
    found = re.findall(rf'^{kind} "(\w+)" \{{\n(.*?)^\}}', source, re.MULTILINE | re.DOTALL)
    return sorted((Block(name, dict(_ATTRIBUTE.findall(body))) for name, body in found), key=lambda block: block.name)


def tables(module: Path) -> str:
    """Returns the tables of a module's variables and outputs."""
    return "\n".join([*_inputs(module), "", *_outputs(module)])


def _inputs(module: Path) -> Iterator[str]:
    yield "## Inputs"
    yield ""
    yield "| Name | Description | Type | Default | Required |"
    yield "|------|-------------|------|---------|:--------:|"
    for block in blocks(module, "variable"):
        default = block.attributes.get("default")
        required = "yes" if default is None else "no"
        value = "n/a" if default is None else _code(default)
        yield f"| {block.name} | {block.description} | {_code(block.attributes['type'])} | {value} | {required} |"


def _outputs(module: Path) -> Iterator[str]:
    yield "## Outputs"
    yield ""
    yield "| Name | Description |"
    yield "|------|-------------|"
    yield from (f"| {block.name} | {block.description} |" for block in blocks(module, "output"))


def _code(text: str) -> str:
    """Returns a cell with source text: several lines become ``<pre>``, as terraform-docs has it."""
    first, newline, rest = text.partition("\n")
    if not newline:
        return f"`{text}`"
    lines = [first, *(line.removeprefix("  ") for line in rest.splitlines())]
    return f"<pre>{'<br/>'.join(lines)}</pre>"


def updated(module: Path) -> str:
    """Returns a module's README with current tables.

    Raises:
        ValueError: If the README has no marks.
    """
    text = (module / "README.md").read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{module / 'README.md'} has no {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{tables(module)}\n{END}{after}"


def main() -> None:
    """Writes the tables of all modules."""
    for module in MODULES:
        (module / "README.md").write_text(updated(module), encoding="utf-8")


if __name__ == "__main__":
    main()
