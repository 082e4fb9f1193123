"""A program that waits for orders, a line of JSON each, and answers each with a line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Orders:
    """The orders that a running program takes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def give(self, order: list[Any]) -> str:
        """Returns an order; what is answered."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()


@contextmanager
def taking_orders(module: str, folder: Path) -> Iterator[Orders]:
    """Runs a module as a program while the block does."""
    with subprocess.Popen(
        [sys.executable, "-m", module], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield Orders(process)
        process.kill()
