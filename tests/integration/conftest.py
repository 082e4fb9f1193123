"""An archive and the two kinds of store for each test, and one Spark for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from etl.lake.lake import Lake, store_at
from etl.storage.store import Store
from tests.integration.archive.server import Archive, serving_archive
from tests.integration.sparking import small_session

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving_archive() as held:
        yield held


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One Spark for all tests of a process: to start one takes longer than what they ask of it."""
    with small_session() as session:
        yield session


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
