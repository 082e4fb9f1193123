"""A program that runs hours in processes that it kills with SIGKILL at a chosen instant.

All is imported once; each run is a fork. It reads one order a line, ``[source, lake, force, seconds, call]`` as
JSON, and answers with ``["killed" | "done" | "failed", seconds, calls]``. A fork is killed by its parent ``seconds``
after it began, or by itself just before the interpreter's ``call``-th call that changes a file system or takes a
lock; -1 lets it live. ``calls`` are those of a fork that was done.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from etl.archive.sources import source_at
from etl.errors import EtlError
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions, run_hour
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.practice.generator import generate_hour

HOUR: Final = Hour.of(2019, 1, 2, 3)
_CALLS: Final = frozenset({"open", "os.rename", "os.remove", "os.mkdir", "os.utime", "fcntl.flock"})


def _work(source: str, lake: str, force: bool, call: int, pipe: int) -> None:  # noqa: FBT001
    count = 0

    def hook(event: str, _arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in _CALLS:
            count += 1
            if count == call:
                os.kill(os.getpid(), signal.SIGKILL)

    options = RunOptions(emails=EmailPolicy.of("hash"), force=force)
    sys.addaudithook(hook)
    run_hour(HOUR, lake=Lake.at(lake), sources=[source_at(source, connect_timeout=5, read_timeout=5)], options=options)
    os.write(pipe, str(count).encode())


def _fork(source: str, lake: str, force: bool, call: int) -> tuple[int, int]:  # noqa: FBT001
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        code = 1
        try:
            _work(source, lake, force, call, writing)
            code = 0
        except EtlError as error:
            sys.stderr.write(f"{error.message}\n")
        finally:
            os._exit(code)
    os.close(writing)
    return process, reading


def _warm_up() -> None:
    """Does once, not in each fork, what is only done at first use."""
    with TemporaryDirectory() as folder:
        damaged = [*generate_hour(HOUR, events=50), b'{"id":"1","type":"Cut\n']
        (Path(folder) / f"{HOUR}.json.gz").write_bytes(gzip.compress(b"".join(damaged)))
        options = RunOptions(emails=EmailPolicy.of("hash"), max_damage=1)
        source = source_at(folder, connect_timeout=5, read_timeout=5)
        run_hour(HOUR, lake=Lake.at(f"{folder}/lake"), sources=[source], options=options)


def main() -> None:
    """Does one order a line until the input ends."""
    _warm_up()
    for line in sys.stdin:
        source, lake, force, seconds, call = json.loads(line)
        began = time.monotonic()
        process, reading = _fork(source, lake, force, call)
        if seconds >= 0:
            time.sleep(seconds)
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        with open(reading, "rb") as pipe:  # noqa: PTH123 -- a descriptor, not a path
            calls = int(pipe.read() or b"0")
        word = {0: "done", -signal.SIGKILL: "killed"}.get(os.waitstatus_to_exitcode(status), "failed")
        sys.stdout.write(json.dumps([word, time.monotonic() - began, calls]) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
