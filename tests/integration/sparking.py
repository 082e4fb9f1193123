"""Spark for tests: one for all of a process, as it starts slowly, and what it needs to read buckets."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONNECTOR_VERSION: Final = "hadoop3-2.2.21"
_CONNECTOR: Final = (
    ".m2/repository/com/google/cloud/bigdataoss/gcs-connector"
    f"/{CONNECTOR_VERSION}/gcs-connector-{CONNECTOR_VERSION}-shaded.jar"
)
"""Where Maven keeps it; ``make tools`` has Maven fetch it."""


def connector() -> Path | None:
    """Google's connector for Hadoop, by which Spark reads ``gs://``; None where it is not installed."""
    named = os.environ.get("GCS_CONNECTOR_JAR")
    path = Path(named) if named else Path.home() / _CONNECTOR
    return path if path.is_file() else None


def needed_connector() -> Path:
    """The same; skips where it is not installed."""
    path = connector()
    if path is None:
        pytest.skip(f"no gcs-connector {CONNECTOR_VERSION} for Spark: make tools (needs Maven)")
    return path


def needed_spark() -> Any:
    """The module ``pyspark``; skips where it or Java is not installed."""
    if shutil.which("java") is None:
        pytest.skip("no Java for Spark; get it with: apt-get install openjdk-17-jre-headless")
    return pytest.importorskip("pyspark", reason="pyspark: pip install 'gharchive-etl[spark]'")


def for_emulator(endpoint: str) -> dict[str, str]:
    """What the connector has to be told to speak with the emulator, by the names that Hadoop knows."""
    return {
        "fs.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem",
        "fs.gs.storage.root.url": f"{endpoint}/",
        "fs.gs.auth.service.account.enable": "false",
        "fs.gs.auth.null.enable": "true",
        "fs.gs.project.id": "test",
    }


@contextmanager
def small_session() -> Iterator[SparkSession]:
    """Begins a session on two cores, with the connector where there is one; skips where there is no Spark."""
    needed_spark()
    from pyspark.sql import SparkSession  # noqa: PLC0415 -- an extra

    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    jar = connector()
    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        # So little data is done before Java has compiled the best code for it: the quick compiler takes half the time.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1")
    )
    if jar is not None:
        builder = builder.config("spark.jars", str(jar))
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()
