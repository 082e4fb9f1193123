"""What all pages have in common: files of the package, their content security policy, and how data gets into them.

A page is one file that needs no network. What a lake or a warehouse holds is in it as one word of base64, so it is
never markup or code, and the policy names the style sheet and the scripts by their hashes and forbids everything else.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from functools import cache
from importlib.resources import files
from typing import Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from rich.filesize import decimal

_PACKAGE: Final = "etl.report"


def source(*names: str) -> str:
    """Returns the text of files that the pages are made of, one after the other."""
    return "\n".join(files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8") for name in names)


def policy(style: str, *scripts: str) -> str:
    """Returns the content security policy: this style sheet, these scripts, and nothing from anywhere."""
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def packed(content: object) -> str:
    """Returns base64 of the deflated JSON of a value; ``DecompressionStream`` is its reader."""
    return deflated(msgspec.json.encode(content))


def deflated(content: bytes, level: int = 6) -> str:
    """Returns base64 of deflated bytes; 9 is the level that takes most time for fewest bytes."""
    return base64.b64encode(zlib.compress(content, level)).decode("ascii")


@cache
def template(name: str) -> Template:
    """Returns a template, in which everything is escaped that is not marked as safe."""
    environment = Environment(
        loader=PackageLoader(_PACKAGE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = "{:,}".format
    environment.filters["size"] = decimal
    environment.filters["percent"] = percent
    return environment.get_template(name)


def percent(part: int, whole: int) -> str:
    """A share as people read it, which never rounds what is not all up to 100 % nor what is something down to 0 %."""
    if not whole:
        return "–"  # noqa: RUF001 - a dash is what a table shows for nothing
    share = part / whole
    if part < whole:
        share = min(share, 0.9999)
    if part:
        share = max(share, 0.0001)
    return f"{share:.2%}" if 0 < share < 1 else f"{share:.0%}"


def printable(text: str) -> str:
    """Replaces what no file can hold: a folder's name may consist of bytes that are no text."""
    return text.encode(errors="replace").decode()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
