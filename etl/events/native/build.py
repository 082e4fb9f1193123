"""Compiles ``scanner.c`` when the package is built or installed in editable mode (``hatch_build.py``).

This module runs before the package is installed, so it only needs the standard library and the C compiler of the Python
package ``ziglang``.
"""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("scanner.c")
OLDEST_GLIBC: Final = "2.17"
"""Minimum glibc version of the compiled library, as in manylinux2014."""

_COMPILER: Final = (sys.executable, "-m", "ziglang", "cc")
_C_LIBRARY_ALONE: Final = ("-nostdlib", "-lc")
"""Without these options, Zig first compiles its own runtime library for 10 s, which is not used."""
_OPTIONS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


def library() -> Path:
    """Returns the path of the compiled ``scanner.c``, whether it exists or not; it depends on source and platform."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return SOURCE.with_name(f"scanner-{digest}-{sys.platform}-{platform.machine()}.so")


def compile_scanner(*more: str, target: Path | None = None) -> Path:
    """Compiles ``scanner.c`` for any processor of this architecture.

    Args:
        more: Additional compiler options.
        target: Path of the compiled library; None for that of ``library``.

    Returns:
        The path of the compiled library.

    Raises:
        subprocess.CalledProcessError: If the compiler is missing or fails; its output says why.
    """
    target = target or library()
    linux = ("-target", f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}", *_C_LIBRARY_ALONE)
    system = linux if sys.platform == "linux" else ()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".scanner-") as folder:
        made = Path(folder, "scanner.so")
        # The compiler would leave a cache in the user's home folder.
        caches = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        command = [*_COMPILER, *_OPTIONS, *system, *more, "-o", str(made), str(SOURCE)]
        subprocess.run(command, check=True, env=os.environ | caches)  # noqa: S603 -- trusted arguments
        made.replace(target)
    return target
