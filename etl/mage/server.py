"""Starts a Mage server on this project with safe settings, and stops all its processes.

Mage reads its security from the environment and has defaults that open it: a known signing key, an owner ``admin``
whose password is ``admin``, and with the host ``localhost`` it listens on every address of the machine (0.9.80,
``mage_ai/server/server.py``). Started from here it has a key of its own, an owner whose password is made and shown
once, a login for everything that knows one, and one address.

With schedules on it is production: triggers fire, nothing can be edited, and the project is served from a copy, since
Mage writes the time of its start into the triggers' files.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import requests
import structlog
from filelock import FileLock, Timeout

from etl.errors import StoreError, UsageError, missing_extra
from etl.mage.staging import StagingFolder, touched

DEFAULT_FOLDER: Final = ".mage_data"
DEFAULT_PORT: Final = 6789
OWNER: Final = "owner@localhost"
"""Mage's pages sign users in by e-mail address; this one receives no mail."""

_PROJECT: Final = "mage_pipeline"
_PROGRAM: Final = "etl.mage.queue_patch"
_DATABASE: Final = "MAGE_DATABASE_CONNECTION_URL"
_PASSWORD: Final = "DEFAULT_OWNER_PASSWORD"  # noqa: S105 -- the name of a variable
_KEY: Final = "JWT_SECRET"
_START_SECONDS: Final = 180.0
_END_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.25
_DAY_SECONDS: Final = 86_400.0
_DATA: Final = "data"
_TAIL_LINES: Final = 20
_TAIL_BYTES: Final = 8192
RETENTION_SECONDS: Final = 30 * _DAY_SECONDS
"""How long logs and outputs of a run are kept; the project's metadata has the same value."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """Options of a server.

    Attributes:
        project: The folder with the Mage project.
        folder: Where the server keeps its database, logs and outputs.
        host: The address to listen on.
        port: The port to listen on.
        schedules: Whether triggers fire and nothing can be edited.
        spool: The staging folder in the settings, which is emptied.
        log: Where the server writes what it has to say; where this process does when None.
    """

    project: Path
    folder: Path
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    schedules: bool = False
    spool: Path
    log: Path | None = None

    @property
    def address(self) -> str:
        """Returns the server's address for a browser on this machine."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::"} else self.host  # noqa: S104 -- compared, not bound
        return f"http://{host}:{self.port}"


@dataclass(frozen=True)
class Ready:
    """The command line and environment of a server.

    Attributes:
        command: The program and its arguments.
        environment: All of its environment.
        new_password: The owner's password where this start makes the owner; None where there is one.
    """

    command: list[str]
    environment: dict[str, str]
    new_password: str | None


def find_project() -> Path:
    """Finds the Mage project: in the current folder, else beside the package.

    Raises:
        UsageError: If there is none.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / _PROJECT / "metadata.yaml").is_file():
            return folder / _PROJECT
    raise UsageError(
        f"there is no folder {_PROJECT} here", hint="start it in a checkout, or name the folder with --project"
    )


def prepare(plan: ServerOptions, given: Mapping[str, str]) -> Ready:
    """Creates the server's folder, empties staging, and sets the environment; no server may be using them.

    Args:
        plan: How to start it.
        given: The environment to begin with; what stands there wins, except over what makes it safe.

    Raises:
        UsageError: If Mage is not installed, the port is taken, or a secret has to be given and is not.
        StoreError: If the folder cannot be written.
    """
    if not Path(sys.executable).with_name("mage").is_file():
        raise missing_extra("Mage", "mage", note=", with Python 3.11 or 3.12")
    _refuse_taken_port(plan)
    try:
        plan.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        project = _copied(plan) if plan.schedules else plan.project
        StagingFolder(plan.spool).sweep(older_than=0)
        environment = _environment(plan, given)
        new_password = _new_password(environment)
    except OSError as error:
        raise _unwritable(plan, error) from error
    command = [sys.executable, "-m", _PROGRAM, "start", str(project), "--host", plan.host, "--port", str(plan.port)]
    return Ready(command, environment, new_password)


@contextmanager
def serving(plan: ServerOptions, given: Mapping[str, str]) -> Iterator[tuple[Ready, subprocess.Popen[bytes]]]:
    """Runs a server during the ``with`` block, and stops all its processes after it.

    Args:
        plan: How to start it.
        given: The environment to begin with.

    Raises:
        UsageError: If another server works with the folder, or as ``prepare`` says; nothing of the other's is touched.
        StoreError: If the folder cannot be written.
    """
    try:
        plan.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = FileLock(plan.folder / "lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UsageError(
            f"a server works with {plan.folder} already", hint="end it, or name another folder with --folder"
        ) from None
    except OSError as error:
        raise _unwritable(plan, error) from error
    with lock:
        ready = prepare(plan, given)
        with (
            _opened_log(plan) as output,
            subprocess.Popen(  # noqa: S603 -- Mage's program, by this Python
                ready.command,
                env=ready.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                process_group=0,
            ) as process,
        ):
            try:
                yield ready, process
            finally:
                _end(process)


def await_health(plan: ServerOptions, process: subprocess.Popen[bytes]) -> None:
    """Waits until the server answers and its owner can sign in.

    Raises:
        StoreError: If it ends, or does not answer in time.
    """
    until = time.monotonic() + _START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            raise StoreError(f"the Mage server ended with code {process.returncode}", hint=log_hint(plan))
        with suppress(requests.RequestException):
            if requests.get(f"{plan.address}/api/status", timeout=5).json()["status"]["ready"]:
                return
        time.sleep(_LOOK_SECONDS)
    raise StoreError(f"the Mage server does not answer at {plan.address}", hint=log_hint(plan))


def log_hint(plan: ServerOptions) -> str:
    """Describes a server's log: its path and its last lines."""
    if plan.log is None:
        return "what it wrote before says why"
    with plan.log.open("rb") as file:
        file.seek(-min(_TAIL_BYTES, plan.log.stat().st_size), os.SEEK_END)
        lines = file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    return "\n".join((f"its log is {plan.log}, which ends with:", *lines))


@contextmanager
def _opened_log(plan: ServerOptions) -> Iterator[IO[bytes] | None]:
    """Opens the log for this user only; the previous start's log is kept beside it."""
    if plan.log is None:
        yield None
        return
    try:
        if plan.log.exists() and plan.log.stat().st_size:
            plan.log.replace(plan.log.with_name(f"{plan.log.name}.before"))
        handle = os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise _unwritable(plan, error) from error
    with os.fdopen(handle, "wb") as file:
        yield file


def supervise(plan: ServerOptions, process: subprocess.Popen[bytes], *, every: float = _DAY_SECONDS) -> int:
    """Waits for a server to end, and once a day removes old leftovers of its runs.

    Args:
        plan: How it was started.
        process: The server.
        every: Seconds between two removals.

    Returns:
        Its exit code.
    """
    while True:
        if removed := clean(plan):
            _log.info("logs and outputs of old runs removed", runs=removed)
        with suppress(subprocess.TimeoutExpired):
            return process.wait(every)


def clean(plan: ServerOptions, *, older_than: float = RETENTION_SECONDS) -> int:
    """Removes logs and outputs of runs that have not changed for a long time.

    Mage's own commands go by the hour a run is for, so that to them a backfill of old hours is old while it runs.

    Args:
        plan: How the server was started.
        older_than: Seconds for which nothing of them was changed.

    Returns:
        How many folders were removed.
    """
    before = time.time() - older_than
    old = [
        folder
        for kind in (".logs", ".variables")
        # By pipeline, then trigger, then run.
        for folder in (plan.folder / _DATA).glob(f"*/pipelines/*/{kind}/*/*")
        if folder.is_dir() and touched(folder) < before
    ]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
    return len(old)


def _environment(plan: ServerOptions, given: Mapping[str, str]) -> dict[str, str]:
    data = plan.folder.absolute()
    chosen = {
        "MAGE_DATA_DIR": str(data / _DATA),
        # Several processes write to it, and its library gives up after five seconds of waiting for the others.
        _DATABASE: f"sqlite:///{data / 'mage.db'}?timeout=60",
        _KEY: "",
        "DEFAULT_OWNER_USERNAME": OWNER.partition("@")[0],
        "DEFAULT_OWNER_EMAIL": OWNER,
        "MAGE_PUBLIC_HOST": plan.address,
        "MAGE_ACCESS_TOKEN_EXPIRY_TIME": "86400",
        "SCHEDULER_TRIGGER_INTERVAL": "1",
        "SERVER_LOGGING_FORMAT": "json" if plan.schedules else "plaintext",
        "SERVER_VERBOSITY": "info" if plan.schedules else "warning",
        "GHARCHIVE_SPOOL": str(plan.spool.absolute()),
    }
    # A variable that is set to nothing is not set.
    chosen |= {name: value for name, value in given.items() if value or name not in chosen}
    # These are what makes it safe and its times right, so no environment turns them round.
    chosen |= {
        "REQUIRE_USER_AUTHENTICATION": "1",
        "HIDE_ENV_VAR_VALUES": "1",
        "HIDE_API_TRIGGER_TOKEN": "1",
        "DISABLE_AUTO_BROWSER_OPEN": "1",
        "DISABLE_AUTORELOAD": "1",
        "DISABLE_TERMINAL": "1",
        "ENABLE_OPEN_AI": "0",
        "ENABLE_HUGGING_FACE": "0",
        "TZ": "UTC",
        "ENV": "prod" if plan.schedules else "dev",
    }
    if plan.schedules:
        chosen |= {"DISABLE_NOTEBOOK_EDIT_ACCESS": "1"}
    chosen[_KEY] = chosen[_KEY] or _kept_secret(plan.folder / "jwt-secret")
    return chosen


def _new_password(environment: dict[str, str]) -> str | None:
    """Prevents Mage from creating an owner with its default password; returns the password it will use."""
    named = environment.get(_PASSWORD)
    if named:
        return None
    is_ours = environment[_DATABASE].startswith("sqlite:///")
    if not is_ours:
        raise UsageError(
            f"{_PASSWORD} is not set, and the database is not this machine's own",
            hint="the owner's first password comes from the environment then, as the database's address does",
        )
    environment[_PASSWORD] = secrets.token_urlsafe(16)
    has_owner = _has_owner(Path(environment[_DATABASE].removeprefix("sqlite:///").partition("?")[0]))
    return None if has_owner else environment[_PASSWORD]


def _has_owner(database: Path) -> bool:
    if not database.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
            (users,) = connection.execute('SELECT count(*) FROM "user"').fetchone()
    except sqlite3.OperationalError:
        return False
    return bool(users)


def _kept_secret(path: Path) -> str:
    """Reads a secret that only this user may read; creates it the first time."""
    if not path.exists():
        unfinished = path.with_name(f".{path.name}.part")
        unfinished.unlink(missing_ok=True)
        with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(32))
        unfinished.replace(path)
    return path.read_text(encoding="ascii")


def _unwritable(plan: ServerOptions, error: OSError) -> StoreError:
    return StoreError(
        f"{plan.folder} cannot be written: {error.strerror or type(error).__name__}",
        hint="name another folder with --folder",
    )


def _copied(plan: ServerOptions) -> Path:
    """Copies the current project to a folder that Mage may write to."""
    copy = plan.folder / _PROJECT
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(plan.project, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    return copy.absolute()


def _refuse_taken_port(plan: ServerOptions) -> None:
    """Rejects a port in use: Mage would silently use the next one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((plan.host, plan.port))
        except OSError as error:
            raise UsageError(
                f"port {plan.port} of {plan.host} cannot be used: {error.strerror}", hint="name another with --port"
            ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Stops the server and its processes: first with SIGTERM, then with SIGKILL."""
    for kind in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, kind)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
