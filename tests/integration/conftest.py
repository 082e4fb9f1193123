"""An archive for each test, and one Spark for all tests of a process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

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
