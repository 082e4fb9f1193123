"""Arrow's memory: chosen before it is loaded, and left to whoever chose."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

_HAS_JEMALLOC = (sys.platform, platform.machine()) == ("linux", "x86_64")
_SAYS = (
    "import sys\n"
    "from etl.runtime import arrow_memory\n"
    "arrow_memory.keep_memory()\n"
    "import pyarrow\n"
    "sys.stdout.write(pyarrow.default_memory_pool().backend_name)\n"
)


@pytest.mark.skipif(not _HAS_JEMALLOC, reason="elsewhere Arrow chooses its memory itself")
@pytest.mark.parametrize(
    ("chosen", "backend"),
    [
        ({}, "jemalloc"),
        ({"ARROW_DEFAULT_MEMORY_POOL": "system"}, "system"),
    ],
)
def test_arrow_takes_memory_as_chosen_unless_told_otherwise(chosen: dict[str, str], backend: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ARROW_", "JE_ARROW_"))}
    done = subprocess.run(
        [sys.executable, "-c", _SAYS], env=environment | chosen, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == (backend, "")
