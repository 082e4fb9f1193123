"""Compiles ``scanner.c``, whenever the package is built or installed in place (``hatch_build.py``).

This is the one module that runs before the package is there, so it needs nothing but the standard library, and the C
compiler that comes as the Python package ``ziglang``.
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
"""What is compiled on a newer Linux runs with this one too, which is that of manylinux2014."""

_COMPILER: Final = (sys.executable, "-m", "ziglang", "cc")
_C_LIBRARY_ALONE: Final = ("-nostdlib", "-lc")
"""Else Zig first compiles a runtime library of its own, for 10 s, of which nothing is used."""
_OPTIONS: Final = ("-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC")


def library() -> Path:
    """Returns the place of the compiled ``scanner.c``, there or not; another source or machine has another one."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:12]
    return SOURCE.with_name(f"scanner-{digest}-{sys.platform}-{platform.machine()}.so")


def compile_scanner(*more: str, target: Path | None = None) -> Path:
    """Compiles it, for any processor of this machine's kind.

    Args:
        more: More options of the compiler.
        target: Where to; the place that ``library`` gives when None.

    Returns:
        Where to.

    Raises:
        subprocess.CalledProcessError: If the compiler is absent or refuses; it says why.
    """
    target = target or library()
    linux = ("-target", f"{platform.machine()}-linux-gnu.{OLDEST_GLIBC}", *_C_LIBRARY_ALONE)
    system = linux if sys.platform == "linux" else ()
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".scanner-") as folder:
        made = Path(folder, "scanner.so")
        # The compiler keeps what it made in the user's own folder, if there is one; here nothing is to be left behind.
        caches = {"ZIG_GLOBAL_CACHE_DIR": folder, "ZIG_LOCAL_CACHE_DIR": folder}
        command = [*_COMPILER, *_OPTIONS, *system, *more, "-o", str(made), str(SOURCE)]
        subprocess.run(command, check=True, env=os.environ | caches)  # noqa: S603 -- words of ours
        made.replace(target)
    return target
