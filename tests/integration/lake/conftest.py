"""The program that crashes on order."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.orders import Orders, taking_orders


class Crasher:
    """Speaks with ``crasher.py``."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __call__(self, kind: str, address: str, number: int = 0, *, instant: int = -1) -> bool:
        """Sends an order; returns whether its process was killed before it was done."""
        order = [kind, address, number, instant, os.environ.get("STORAGE_EMULATOR_HOST")]
        answer = self._orders.give(order)
        assert answer in {"killed", "done"}, answer
        return answer == "killed"


@pytest.fixture(scope="module")
def crasher(request: pytest.FixtureRequest) -> Iterator[Crasher]:
    with taking_orders("tests.integration.lake.crasher", request.config.rootpath) as orders:
        yield Crasher(orders)
