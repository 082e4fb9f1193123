"""The two kinds of store, and the program that crashes on order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.lake.lake import Lake, store_at
from etl.storage.store import Store
from tests.orders import Orders, taking_orders


@pytest.fixture(params=["folder", "gcs"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty lake's address: a folder that does not exist yet, or a prefix in the emulator."""
    if request.param == "folder":
        return str(tmp_path / "lake")
    found: str = request.getfixturevalue("gcs_address")
    return found


@pytest.fixture
def store(address: str) -> Store:
    return store_at(address)


@pytest.fixture
def lake(store: Store) -> Lake:
    return Lake(store)


class Crasher:
    """Speaks with ``crasher.py``."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __call__(self, kind: str, address: str, number: int = 0, *, instant: int = -1) -> bool:
        """Returns an order; whether its process was killed before it was through."""
        order = [kind, address, number, instant, os.environ.get("STORAGE_EMULATOR_HOST")]
        answer = self._orders.give(order)
        assert answer in {"killed", "done"}, answer
        return answer == "killed"


@pytest.fixture(scope="module")
def crasher(request: pytest.FixtureRequest) -> Iterator[Crasher]:
    with taking_orders("tests.integration.lake.crasher", request.config.rootpath) as orders:
        yield Crasher(orders)
