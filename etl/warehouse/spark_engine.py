"""The engine for what outgrows one machine: Spark, here on this machine's cores unless it was set up otherwise."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pyarrow as pa

from etl.errors import StoreError, UsageError
from etl.warehouse.engine import Tables
from etl.warehouse.models import Model
from etl.warehouse.tables import ALL
from etl.warehouse.translate import Dialect, Parameters, shaped, translate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

_CONFIGURATION: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
}
"""What the answers depend on."""
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
"""What a session of this machine's own needs besides."""
_DAY: Final = "__day"
_ARROW_TO_SPARK: Final[Mapping[pa.DataType, str]] = {
    pa.string(): "string",
    pa.int64(): "bigint",
    pa.float64(): "double",
    pa.bool_(): "boolean",
    pa.timestamp("us", tz="UTC"): "timestamp",
    pa.date32(): "date",
    pa.list_(pa.string()): "array<string>",
}


class SparkEngine:
    """Builds with Spark.

    Args:
        scratch: A folder for what does not fit into memory.
    """

    name = "spark"
    days_at_once = 31

    def __init__(self, scratch: Path) -> None:
        self._session, self._is_ours = _session(scratch)

    def build(
        self, model: Model, partitions: Sequence[str], parameters: Parameters, tables: Tables, folder: Path
    ) -> dict[str, Path]:
        """Asks a model's query and writes what it gives, a file a partition."""
        target = folder / model.name
        with self._reading(tables, model.name):
            query = shaped(translate(model.query, Dialect.SPARK, parameters), model.columns, Dialect.SPARK)
            rows = self._session.sql(query)
            if model.partition is None:
                rows.repartition(1).write.parquet(str(target))
                (file,) = target.glob("part-*.parquet")
                return {ALL: file}
            # The days need not follow each other, so what lies between them is left out.
            asked = ", ".join(f"'{partition}'" for partition in partitions)
            cut = rows.selectExpr("*", f"CAST(CAST({model.partition.field} AS DATE) AS STRING) AS {_DAY}")
            cut = cut.where(f"{_DAY} IN ({asked})")
            cut.repartition(len(partitions), _DAY).write.partitionBy(_DAY).parquet(str(target))
        return {file.parent.name.removeprefix(f"{_DAY}="): file for file in target.glob(f"{_DAY}=*/part-*.parquet")}

    def numbers(self, queries: Mapping[str, str], parameters: Parameters, tables: Tables) -> dict[str, int]:
        """Counts the rows that each query gives, all in one job."""
        if not queries:
            return {}
        parts = [
            f"SELECT '{name}' AS name, count(*) AS number"  # noqa: S608 -- queries of models
            f" FROM ({translate(query, Dialect.SPARK, parameters)}) AS wrong"
            for name, query in queries.items()
        ]
        with self._reading(tables, ", ".join(queries)):
            rows = self._session.sql(" UNION ALL ".join(parts)).collect()
        return {row["name"]: int(row["number"]) for row in rows}

    def close(self) -> None:
        """Stops the session, unless somebody else began it."""
        if self._is_ours:
            self._session.stop()

    @contextmanager
    def _reading(self, tables: Tables, what: str) -> Iterator[None]:
        from py4j.protocol import Py4JError  # type: ignore[import-untyped]  # noqa: PLC0415 -- comes with the extra
        from pyspark.errors import PySparkException  # noqa: PLC0415

        try:
            for name, files in tables.items():
                reader = self._session.read.schema(
                    ", ".join(f"`{field.name}` {_ARROW_TO_SPARK[field.type]}" for field in files.schema)
                )
                if files.base is not None:
                    reader = reader.option("basePath", files.base)
                reader.parquet(*files.paths).createOrReplaceTempView(name)
            yield
        except (PySparkException, Py4JError) as error:
            # Not its message: it may hold a piece of an event.
            raise StoreError(
                f"Spark could not do {what}: {type(error).__name__}",
                hint="Spark's own log tells more; the table is as it was",
            ) from error


def _session(scratch: Path) -> tuple[SparkSession, bool]:
    try:
        from pyspark.errors import PySparkException  # noqa: PLC0415 -- comes with the extra
        from pyspark.sql import SparkSession  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise UsageError("this needs Spark", hint="install it with: pip install 'gharchive-etl[spark]'") from error

    present = SparkSession.getActiveSession()
    if present is not None:
        for name, value in _CONFIGURATION.items():
            present.conf.set(name, value)
        return present, False
    builder = SparkSession.builder
    for name, value in {**_LOCAL, **_CONFIGURATION, "spark.local.dir": str(scratch / "spilled")}.items():
        builder = builder.config(name, value)
    try:
        session = builder.getOrCreate()
    except (PySparkException, RuntimeError, OSError) as error:
        raise UsageError(
            "Spark cannot be started: it needs Java 17 or 21",
            hint="install one (Debian: openjdk-17-jre-headless), or set JAVA_HOME to where one is",
        ) from error
    session.sparkContext.setLogLevel("ERROR")
    return session, True
