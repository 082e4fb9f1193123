"""A program that does lake work in a process that kills itself with SIGKILL at a chosen instant.

The instants are calls that the interpreter announces to audit hooks: in the lake's folder opening, renaming,
removing, dating and making a folder, and everywhere taking a lock and sending an HTTP request. Started once,
it reads one order a line, ``[kind, address, number, instant, emulator]`` as JSON, does each in a fork of its
own, and answers ``killed`` or ``done``. The fork is killed just before its call number ``instant``; -1 lets
it live.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from tempfile import TemporaryDirectory
from typing import Final

from etl.lake.lake import Lake
from tests.integration.lake.samples import HOUR, Sample, fill, publish

_ON_PATHS: Final = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.utime"})
_ANYWHERE: Final = frozenset({"fcntl.flock", "http.client.send"})


def _arm(address: str, instant: int) -> None:
    left = instant

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if event in _ANYWHERE or (event in _ON_PATHS and str(arguments[0]).startswith(address)):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    if instant > 0:
        sys.addaudithook(hook)


def _work(kind: str, address: str, number: int, instant: int, emulator: str | None) -> None:
    if emulator is not None:
        os.environ["STORAGE_EMULATOR_HOST"] = emulator
    lake = Lake.at(address)
    if kind == "recover":
        _arm(address, instant)
        lake.recover(HOUR)
    elif kind == "abort":
        _arm(address, instant)
        with lake.publish(HOUR) as publication:
            fill(publication, Sample(number))
    else:
        _arm(address, instant)
        publish(lake, number)


def _warm_up() -> None:
    """Imports once, not in each fork, what is only imported at its first use."""
    with TemporaryDirectory() as folder:
        lake = Lake.at(folder)
        publish(lake, 1)
        lake.recover(HOUR)
    with suppress(ImportError):
        import_module("google.cloud.storage")


def main() -> None:
    """Does one order a line until the input ends."""
    _warm_up()
    for line in sys.stdin:
        process = os.fork()
        if process == 0:
            code = 1
            try:
                _work(*json.loads(line))
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(process, 0)
        answers = {0: "done", -signal.SIGKILL: "killed"}
        sys.stdout.write(f"{answers.get(os.waitstatus_to_exitcode(status), 'failed')}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
