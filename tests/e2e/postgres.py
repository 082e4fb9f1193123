"""A Postgres server of a test's own, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests import tools
from tests.network import free_port

_USER: Final = "mage"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of a running server's empty database, for SQLAlchemy; skips where Postgres is not installed.

    Args:
        folder: Where it puts its files; every folder above it has to let others in.
    """
    programs = tools.get("postgres")
    folder.mkdir()
    # Postgres refuses to run as root, which is who runs tests in a container.
    as_other: list[str | Path] = (
        ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.geteuid() == 0 else []
    )
    if as_other:
        shutil.chown(folder, "postgres", "postgres")
    port = free_port()
    data = folder / "data"
    subprocess.run(
        [*as_other, programs / "initdb", "--username", _USER, "--auth", "trust", "--encoding", "UTF8", "-D", data],
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories='' -c fsync=off"
    control = [*as_other, programs / "pg_ctl", "-D", data, "-w"]
    subprocess.run([*control, "-l", folder / "log", "-o", options, "start"], cwd=folder, check=True, timeout=60)
    try:
        yield f"postgresql+psycopg2://{_USER}@127.0.0.1:{port}/postgres"
    finally:
        subprocess.run([*control, "-m", "immediate", "stop"], cwd=folder, check=False, timeout=60)
