"""Compiles the fast reader when the package is built, or installed in place; hatchling calls this."""

from __future__ import annotations

import platform
import runpy
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompileHook(BuildHookInterface):  # type: ignore[misc, type-arg, unused-ignore]  # typed where it is installed
    """Puts the compiled ``scan.c`` beside its source and into the wheel, which is for such machines alone then."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Runs before the wheel is made."""
        # The package cannot be imported yet: what it needs is not here.
        compiling = runpy.run_path(str(Path(self.root, "etl", "events", "compiling.py")))
        made: Path = compiling["compile_scan"]()
        build_data["artifacts"].append(f"/{made.relative_to(self.root)}")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{_platform(compiling['OLDEST_GLIBC'])}"


def _platform(glibc: str) -> str:
    if platform.system() == "Linux":
        return f"manylinux_{glibc.replace('.', '_')}_{platform.machine()}"
    return sysconfig.get_platform().replace("-", "_").replace(".", "_")
