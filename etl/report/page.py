"""Shared by all pages: templates, the content security policy, and the encoding of data.

A page is one self-contained file. Data of a lake or a warehouse is embedded as one base64 string, so it is never markup
or code. The policy allows the style sheet and the scripts by hash and forbids everything else.
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
    """Returns the concatenated text of template files."""
    return "\n".join(files(_PACKAGE).joinpath("templates", name).read_text(encoding="utf-8") for name in names)


def policy(style: str, *scripts: str) -> str:
    """Returns the content security policy that allows only this style sheet and these scripts."""
    allowed = " ".join(f"'sha256-{_sha256(script)}'" for script in scripts)
    return (
        f"default-src 'none'; style-src 'sha256-{_sha256(style)}'; script-src {allowed}; "
        "base-uri 'none'; form-action 'none'"
    )


def packed(content: object) -> str:
    """Returns a value as JSON, deflated and base64-encoded; the page reads it with ``DecompressionStream``."""
    return deflated(msgspec.json.encode(content))


def deflated(content: bytes, level: int = 6) -> str:
    """Returns bytes deflated and base64-encoded; level 9 is the slowest and the smallest."""
    return base64.b64encode(zlib.compress(content, level)).decode("ascii")


@cache
def template(name: str) -> Template:
    """Returns a template with autoescaping."""
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
    """Formats a share: an incomplete one never rounds up to 100 %, a positive one never down to 0 %."""
    if not whole:
        return "–"  # noqa: RUF001 - tables show a dash for no value
    share = part / whole
    if part < whole:
        share = min(share, 0.9999)
    if part:
        share = max(share, 0.0001)
    return f"{share:.2%}" if 0 < share < 1 else f"{share:.0%}"


def printable(text: str) -> str:
    """Replaces lone surrogates, which UTF-8 cannot encode: a folder's name may be invalid UTF-8."""
    return text.encode(errors="replace").decode()


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii")
