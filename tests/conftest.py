"""What tests of several rooms share: the tools they need, the storage emulator, and the real data if it is named."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import pytest
from hypothesis import settings
from xdist.remote import Producer

from tests import tools
from tests.grouping import GroupScheduling
from tests.storage_emulator import GcsEmulator, running_emulator
from tests.summary import write_summary

_TEMPORARY_BYTES: Final = 2 << 30
"""Room for what the tests write at a time."""

_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- pytest makes a folder of its own in it
"""Linux's folder in memory; other systems do not have it, and containers often have a small one."""

_WORKER_BYTES: Final = 4 << 30
"""Memory for each worker, and for the servers and browsers that its tests start."""

# A property holds whatever the machine is busy with. Those that need more examples say so where they stand.
settings.register_profile("tests", deadline=None, max_examples=50)
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--need-all-tools", action="store_true", help="fail instead of skip where a tool is missing")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "needs(*tools): tools of tests/tools.py without which the test is skipped")
    config.addinivalue_line(
        "markers", "preconditions: a bucket must honor preconditions, as the emulator does since 1.56"
    )
    tools.need_all = config.getoption("need_all_tools")
    tools.set_proxies_aside()
    # Starting OpenBLAS's threads costs each process a tenth of a second of CPU, and nothing here multiplies matrices.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    _choose_temporary_folder()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs so, and every program of the tests would inherit it.
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    return _workers()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> GroupScheduling:
    """Keeps tests that share what is expensive to make on one worker."""
    return GroupScheduling(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            tools.get(name)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    write_summary(terminalreporter)


def _choose_temporary_folder() -> None:
    """Puts temporary files into memory if there is plenty of it, else on a disk with room.

    The lake and the warehouse sync every file. On a busy disk these tests would take several times as long.
    """
    if "TMPDIR" in os.environ and _has_room(Path(tempfile.gettempdir())):
        return
    if _memory() >= _workers() * _WORKER_BYTES + _TEMPORARY_BYTES and _has_room(_IN_MEMORY):
        folder = _IN_MEMORY
    elif _has_room(Path(tempfile.gettempdir())):
        return
    else:
        folder = tools.ROOT / "build/tmp"
        folder.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None


def _has_room(folder: Path) -> bool:
    """Returns whether a folder can hold temporary files, and programs among them."""
    if not os.access(folder, os.W_OK):
        return False
    allows_programs = not os.statvfs(folder).f_flag & getattr(os, "ST_NOEXEC", 0)
    return allows_programs and shutil.disk_usage(folder).free >= _TEMPORARY_BYTES


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _workers() -> int:
    """Returns two workers more than there are processors: many tests wait for a clock, a server or a browser."""
    return max(1, min((os.cpu_count() or 1) + 2, _memory() // _WORKER_BYTES))


@pytest.fixture(scope="session")
def gcs_emulator() -> Iterator[GcsEmulator]:
    """The emulator, running; skips where it is not installed."""
    bucket = f"test-{uuid4().hex}"
    with running_emulator(bucket) as emulator, pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", emulator.endpoint)
        yield GcsEmulator(emulator.endpoint, bucket)


@pytest.fixture
def gcs_address(request: pytest.FixtureRequest, gcs_emulator: GcsEmulator) -> str:
    """An empty place in the emulator's bucket: ``gs://bucket/prefix``, another one for each test."""
    if request.node.get_closest_marker("preconditions") is not None:
        tools.get("fake-gcs-server-1.56")
    return f"gs://{gcs_emulator.bucket}/{uuid4().hex}"


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real hours in ``archive``; skips where there is none. It holds e-mails: print nothing of it."""
    return tools.get("real-hours")


@pytest.fixture(scope="session")
def real_records(real_data: Path) -> Path:
    """The same folder, if it also holds records of all years and what GH Archive's own transformer makes of them."""
    tools.get("real-records")
    return real_data
