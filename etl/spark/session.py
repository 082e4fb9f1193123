"""Spark for the rooms that use it: the session somebody began, or one of this machine's own.

``spark-submit`` and Dataproc say what a session is to be like, and the scripts in ``spark_jobs`` begin it by what they
say. Where nobody began one, it runs on the cores of this machine. The library is imported when it is first needed.
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
"""What a session of this machine's own is like."""
_QUICK: Final[Mapping[str, str]] = {"spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1"}
"""Java's quick compiler alone: for little work, the thorough one takes longer than it saves."""


def present() -> SparkSession | None:
    """Returns the session that somebody began; None where nobody did.

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
    """Returns the session that was begun already, or begins one for the time of the block.

    Args:
        configuration: What has to hold in either; nothing that can be said only once.
        scratch: A folder for what does not fit into memory, where the session is our own.
        little: Whether little is to be done, where the session is our own.

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
    # Else tasks would be run by whatever python3 is on the PATH, which need not have this program.
    os.environ.setdefault("PYSPARK_PYTHON", sys.executable)
    spill = {} if scratch is None else {"spark.local.dir": str(scratch / "spilled")}
    builder = SparkSession.builder
    for name, value in {**_LOCAL, **(_QUICK if little else {}), **configuration, **spill}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise UsageError(
            f"Spark cannot be started with the Java in {os.environ['JAVA_HOME']}",
            hint="look at the log lines above; at least 1 GiB of memory and a writable temporary folder are needed",
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    try:
        yield session
    finally:
        session.stop()


def is_local(session: SparkSession) -> bool:
    """Whether all of Spark runs on this machine, and sees its folders."""
    return str(session.sparkContext.master).startswith("local")


def refuse_folders(places: Iterable[str]) -> None:
    """Fails where the machines of a cluster are to work on a folder of this one.

    Args:
        places: Addresses of lakes, warehouses or sources.

    Raises:
        UsageError: If one of them is a folder.
    """
    for place in places:
        if "://" not in place:
            raise UsageError(
                f"{place} is a folder of this machine, which the machines of a Spark cluster do not see",
                hint=f"name a place in a bucket ({gcs.SCHEME}bucket/prefix), or run Spark here (--master 'local[*]')",
            )
