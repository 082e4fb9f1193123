"""The chart library of the dashboard: Vega, Vega-Lite and Vega-Embed in one script.

The package ``vl-convert-python`` (BSD-3-Clause, by the makers of Vega) holds the three in versions that fit together.
``hatch_build.py`` takes the script out of it when this package is built or installed in place. So a page needs no
network, an installation does not need the 84 MB of that package, and this repository holds no copy of other people's
code: an update of the chart library is an update of ``requirements/build.txt``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from etl.errors import UsageError

BUNDLE: Final = Path(__file__).with_name("vega-bundle.js")
"""The script, as ``hatch_build.py`` writes it: a first line that names the versions, then the library."""


@cache
def library() -> str:
    """Returns the script that defines ``vegaEmbed`` for a page: 0.9 MB of text.

    Raises:
        UsageError: If the package was not built.
    """
    return _bundle()[1]


def credit() -> str:
    """Returns the versions and the licence of the library, as that licence asks.

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
    """Reads the names of the versions, and the script."""
    try:
        first, script = BUNDLE.read_text(encoding="utf-8").split("\n", 1)
    except FileNotFoundError as error:
        raise UsageError(
            "the chart library of the dashboard is missing: this installation was not built",
            hint="in a checkout run `make setup`; elsewhere install the wheel again",
        ) from error
    return first.removeprefix("// "), script
