"""Spark for tests: one for all of a process, as it starts slowly, and what it needs to read buckets."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests import tools

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def for_emulator(endpoint: str) -> dict[str, str]:
    """The connector's settings for the emulator, by Hadoop's names."""
    return {
        "fs.gs.impl": "com.google.cloud.hadoop.fs.gcs.GoogleHadoopFileSystem",
        "fs.gs.storage.root.url": f"{endpoint}/",
        "fs.gs.auth.service.account.enable": "false",
        "fs.gs.auth.null.enable": "true",
        "fs.gs.project.id": "test",
    }


@contextmanager
def small_session() -> Iterator[SparkSession]:
    """Starts a session on two cores, with the connector if there is one; skips where there is no Java for it."""
    os.environ["JAVA_HOME"] = str(tools.get("java"))
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    from pyspark.sql import SparkSession  # noqa: PLC0415 -- takes a while

    builder = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.bindAddress", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "2")
        # The data is so small that compiling takes longer than processing it. These three settings halve the time.
        # The tests of the jobs (tests/e2e/test_spark_jobs.py) keep Spark's defaults.
        .config("spark.driver.extraJavaOptions", "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC")
        .config("spark.sql.codegen.wholeStage", "false")
        .config("spark.sql.codegen.factoryMode", "NO_CODEGEN")
    )
    if tools.has("gcs-connector"):
        builder = builder.config("spark.jars", str(tools.get("gcs-connector")))
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()
