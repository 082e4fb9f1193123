"""Makes the two files that are built, not written: the compiled reader and the chart library. Hatchling calls this."""

from __future__ import annotations

import platform
import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# The bundle is a module, and a plain script would make its names global: so it is wrapped in a function.
_HEAD = "(() => {"
_EXPORT = "globalThis.vegaEmbed = vegaEmbed;"
_TAIL = "})();"


class BuildHook(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]  # typed where it is installed
    """Puts the compiled ``scanner.c`` and the chart library into the wheel, which then is for one kind of machine."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Runs before the wheel is made."""
        # The package cannot be imported yet: what it needs is not here.
        native = runpy.run_path(str(Path(self.root, "etl", "events", "native", "build.py")))
        made: Path = native["compile_scanner"]()
        bundle = Path(self.root, "etl", "report", "vega-bundle.js")
        _write_bundle(bundle)
        build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in (made, bundle)]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform(native['OLDEST_GLIBC'])}"


def _write_bundle(target: Path) -> None:
    """Writes the script that etl/report/vega_bundle.py reads: the versions in a comment, then the library."""
    import vl_convert  # noqa: PLC0415 -- sdists are made without it

    versions = (
        f"Vega {vl_convert.get_vega_version()}, Vega-Lite {vl_convert.get_vegalite_versions()[-1]} and "
        f"Vega-Embed {vl_convert.get_vega_embed_version()}"
    )
    script = f"{_HEAD}{vl_convert.javascript_bundle(_EXPORT)}{_TAIL}"
    target.write_text(f"// {versions}\n{script}", encoding="utf-8")


def _platform(glibc: str) -> str:
    if platform.system() == "Linux":
        return f"manylinux_{glibc.replace('.', '_')}_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
