"""A BigQuery for each test that asks for one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.warehouse.bigquery.builder import BigQueryTarget
from etl.warehouse.bigquery.client import DatasetName, JobTimeouts
from tests.integration.warehouse.bigquery_server import BigQuery, serving_bigquery


@pytest.fixture
def google(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BigQuery]:
    """A server that stands in for BigQuery, with a dataset for tables and one for reports."""
    with serving_bigquery(tmp_path / "google") as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.url)
        server.create_dataset("gharchive")
        server.create_dataset("gharchive_reporting")
        yield server
        assert server.wrong[:3] == [], "requests and answers are as Google describes them"


@pytest.fixture
def place(gcs_address: str) -> BigQueryTarget:
    """The dataset for tables, and an empty place in a bucket."""
    quick = JobTimeouts(attempts=3, first=0.001, longest=0.002, request=2)
    return BigQueryTarget(DatasetName("my-project", "gharchive"), None, f"{gcs_address}/warehouse", patience=quick)
