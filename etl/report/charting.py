"""The chart library of the dashboard: Vega, out of the package that bundles it for pages without a network.

The package ``vl-convert-python`` (BSD-3-Clause, kept by the makers of Vega) holds Vega, Vega-Lite and Vega-Embed of
versions that fit. Nothing of them is kept in this repository: an update is an update of that package.
"""

from __future__ import annotations

from functools import cache

from etl.errors import UsageError

# In a function of its own, since the bundle is a module whose names would be everybody's in a plain script.
_HEAD = "(() => {"
_TAIL = "})();"
_EXPORT = "globalThis.vegaEmbed = vegaEmbed;"


@cache
def library() -> str:
    """Gives the script that makes ``vegaEmbed`` known to a page: 0.9 MB.

    Raises:
        UsageError: If the package is not installed.
    """
    try:
        import vl_convert  # noqa: PLC0415 -- comes with the extra
    except ModuleNotFoundError as error:
        raise UsageError(
            "the dashboard needs vl-convert-python", hint="pip install 'gharchive-etl[report]', or `make setup`"
        ) from error
    bundle: str = vl_convert.javascript_bundle(_EXPORT)
    return f"{_HEAD}{bundle}{_TAIL}"


def credit() -> str:
    """Names the library and its licence, as that licence asks."""
    import vl_convert  # noqa: PLC0415 -- comes with the extra

    return (
        f"Charts: Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]} and "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}, copyright 2015-2026 University of Washington Interactive "
        "Data Lab and contributors, under the BSD 3-Clause licence (https://github.com/vega/vega/blob/main/LICENSE); "
        "they contain D3, copyright 2010-2026 Mike Bostock, under the ISC licence."
    )
