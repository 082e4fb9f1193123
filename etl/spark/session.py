"""Spark sessions: the active session, or a new local one.

``spark-submit`` and Dataproc configure the session that the scripts in ``spark_jobs`` start. Without an active session,
a local one uses the cores of this machine. pyspark is only imported when it is needed.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etl.errors import UsageError, missing_extra
from etl.spark import java
from etl.storage import gcs

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_LOCAL: Final[Mapping[str, str]] = {
    "spark.master": "local[*]",
    "spark.app.name": "gharchive-etl",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
    "spark.driver.memory": "4g",
    "spark.sql.shuffle.partitions": str(2 * (os.cpu_count() or 1)),
}
"""Configuration of a local session."""
_QUICK: Final[Mapping[str, str]] = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
"""Only uses Java's fast compiler: for little work, the optimizing compiler takes longer than it saves."""


def present() -> SparkSession | None:
    """Returns the active session; None if there is none.

    Raises:
        UsageError: If Spark is not installed.
    """
    try:
        from pyspark.sql import SparkSession  # noqa: PLC0415 -- comes with the extra
    except ModuleNotFoundError as error:
        raise missing_extra("Spark", "spark") from error

    return SparkSession.getActiveSession()


@contextmanager
def opened(
    configuration: Mapping[str, str], scratch: Path | None = None, *, little: bool = False
) -> Iterator[SparkSession]:
    """Returns the active session, or a local one that ends with the block.

    Args:
        configuration: Options to set in either; only options that can be changed in an active session.
        scratch: Folder for data that does not fit into memory; only used for a local session.
        little: Whether there is little work to do; only used for a local session.

    Raises:
        UsageError: If Spark or Java is not installed.
    """
    session = present()
    if session is not None:
        for name, value in configuration.items():
            session.conf.set(name, value)
        yield session
        return
    from pyspark.errors import PySparkException  # noqa: PLC0415 -- comes with the extra
    from pyspark.sql import SparkSession  # noqa: PLC0415

    os.environ["JAVA_HOME"] = str(java.find_java())
    # Otherwise tasks are run by the python3 on the PATH, which may not have this package.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spill = {} if scratch is None else {"spark.local.dir": str(scratch / "spilled")}
    builder = SparkSession.builder
    for name, value in {**_LOCAL, **(_QUICK if little else {}), **configuration, **spill}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise UsageError(
            f"cannot start Spark with the Java in {os.environ['JAVA_HOME']}",
            hint="see the log lines above; Spark needs at least 1 GiB of memory and a writable temporary folder",
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def is_local(session: SparkSession) -> bool:
    """Returns whether Spark runs on this machine only, and can access its folders."""
    return str(session.sparkContext.master).startswith("local")


def refuse_folders(places: Iterable[str]) -> None:
    """Checks that a cluster can access all addresses.

    Args:
        places: Addresses of lakes, warehouses or sources.

    Raises:
        UsageError: If one of them is a folder.
    """
    for place in places:
        if "://" not in place:
            raise UsageError(
                f"{place} is a local folder, which a Spark cluster cannot access",
                hint=f"use a bucket ({gcs.SCHEME}bucket/prefix), or run Spark on this machine (--master 'local[*]')",
            )
