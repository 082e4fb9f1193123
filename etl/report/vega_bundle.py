"""The chart library of the dashboard: Vega, Vega-Lite and Vega-Embed in one script.

The package ``vl-convert-python`` (BSD-3-Clause, by the authors of Vega) contains compatible versions of all three.
``hatch_build.py`` extracts the script when this package is built or installed in editable mode. So a page needs no
network, an installation does not need the 84 MB of that package, and this repository contains no third-party code: to
update the chart library, update ``requirements/build.txt``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from etl.errors import UsageError

BUNDLE: Final = Path(__file__).with_name("vega-bundle.js")
"""The script that ``hatch_build.py`` writes: the first line names the versions, the rest is the library."""


@cache
def library() -> str:
    """Returns the script that defines ``vegaEmbed`` for a page: 0.9 MB of text.

    Raises:
        UsageError: If the package was not built.
    """
    return _bundle()[1]


def credit() -> str:
    """Returns the versions and the license notice of the library, as the license requires.

    Raises:
        UsageError: If the package was not built.
    """
    return (
        f"Charts: {_bundle()[0]}, copyright 2015-2026 University of Washington Interactive "
        "Data Lab and contributors, under the BSD 3-Clause licence (https://github.com/vega/vega/blob/main/LICENSE); "
        "they contain D3, copyright 2010-2026 Mike Bostock, under the ISC licence."
    )


@cache
def _bundle() -> tuple[str, str]:
    """Returns the versions and the script."""
    try:
        first, script = BUNDLE.read_text(encoding="utf-8").split("\n", 1)
    except FileNotFoundError as error:
        raise UsageError(
            "the chart library of the dashboard is missing: this installation was not built",
            hint="in a checkout run `make setup`; elsewhere install the wheel again",
        ) from error
    return first.removeprefix("// "), script
