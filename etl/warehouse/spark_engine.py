"""The engine for what outgrows one machine: Spark, here on this machine's cores unless somebody began a session.

With a session of a cluster files are written by other machines, which see a bucket and not this machine's folders:
``etl.warehouse.spark_builder`` has Spark read and write the bucket itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from etl.errors import StoreError
from etl.spark import session
from etl.storage import gcs
from etl.warehouse.engine import Tables
from etl.warehouse.models import Model
from etl.warehouse.table_state import ALL
from etl.warehouse.transpile import Dialect, Parameters, shaped, translate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

CONFIGURATION: Final[Mapping[str, str]] = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    # What a document holds beside what is asked for must not matter, and texts come out as they stand in it.
    "spark.sql.json.enablePartialResults": "true",
    "spark.sql.json.enableExactStringParsing": "true",
    "spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.sql.sources.partitionColumnTypeInference.enabled": "false",
    "spark.sql.parquet.datetimeRebaseModeInWrite": "CORRECTED",
    "spark.sql.parquet.datetimeRebaseModeInRead": "CORRECTED",
}
"""What the answers depend on, and nothing that may be said only once."""
_DAY: Final = "__day"
_SPREAD: Final = 8
"""Tasks a day among which the days of a statement are dealt out by their hash, so that seldom two fall to one."""
_LITTLE_BYTES: Final = 32 << 20
"""Some 100,000 events of today."""
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
        scratch: A folder for data that does not fit into memory.
    """

    name = "spark"
    days_at_once = 31

    def __init__(self, scratch: Path) -> None:
        self._scratch = scratch
        self._open = ExitStack()
        self._begun: SparkSession | None = None
        self._is_local = (present := session.present()) is None or session.is_local(present)

    @property
    def is_local(self) -> bool:
        """Whether Spark runs entirely on this machine and can read its folders."""
        return self._is_local

    @property
    def reads_buckets(self) -> bool:
        """Whether Spark can read and write ``gs://`` with Google's connector for Hadoop."""
        from py4j.protocol import Py4JJavaError  # type: ignore[import-untyped]  # noqa: PLC0415

        try:
            self._hadoop.FileSystem.getFileSystemClass("gs", self._hadoop_conf)
        except Py4JJavaError:
            return False
        return True

    def build(
        self, model: Model, partitions: Sequence[str], parameters: Parameters, tables: Tables, folder: Path
    ) -> dict[str, Path]:
        """Runs a model's query and writes one file per partition."""
        target = folder / model.name
        self.write(model, partitions, parameters, tables, str(target))
        names = [str(path.relative_to(target)) for path in target.rglob("part-*.parquet")]
        return {partition: target / name for partition, name in partitions_of(names).items()}

    def write(
        self, model: Model, partitions: Sequence[str], parameters: Parameters, tables: Tables, target: str
    ) -> None:
        """Runs a model's query and writes the result below a folder or an address in a bucket.

        Args:
            model: The model.
            partitions: As for ``build``.
            parameters: As for ``build``.
            tables: As for ``build``; their paths may be addresses in a bucket.
            target: Where nothing is yet. ``partitions_of`` tells which file is which.

        Raises:
            StoreError: If something cannot be read or written.
        """
        with self._reading(tables, model.name) as session:
            query = translate(model.query, Dialect.SPARK, parameters, broadcast=model.broadcast)
            query = shaped(query, model.columns, Dialect.SPARK)
            rows = session.sql(query)
            if model.partition is None:
                rows.repartition(1).write.parquet(target)
                return
            # The days need not follow each other, so what lies between them is left out.
            asked = ", ".join(f"'{partition}'" for partition in partitions)
            cut = rows.selectExpr("*", f"CAST(CAST({model.partition.field} AS DATE) AS STRING) AS {_DAY}")
            cut = cut.where(f"{_DAY} IN ({asked})")
            tasks = 1 if len(partitions) == 1 or _is_little(tables) else len(partitions) * _SPREAD
            cut.repartition(tasks, _DAY).write.partitionBy(_DAY).parquet(target)

    def clear(self, target: str) -> None:
        """Removes a folder, or an address in a bucket with everything below it, if it exists.

        Raises:
            StoreError: If it cannot be removed.
        """
        from py4j.protocol import Py4JJavaError  # noqa: PLC0415

        path = self._hadoop.Path(target)
        try:
            path.getFileSystem(self._hadoop_conf).delete(path, True)  # noqa: FBT003 -- Java's
        except Py4JJavaError as error:
            raise StoreError(f"Spark could not remove {target}", hint="run it again") from error

    def count_violations(self, queries: Mapping[str, str], parameters: Parameters, tables: Tables) -> dict[str, int]:
        """Counts the rows that each query returns, all in one job."""
        if not queries:
            return {}
        parts = [
            f"SELECT '{name}' AS name, count(*) AS number"  # noqa: S608 -- queries of models
            f" FROM ({translate(query, Dialect.SPARK, parameters)}) AS wrong"
            for name, query in queries.items()
        ]
        with self._reading(tables, ", ".join(queries)) as session:
            rows = session.sql(" UNION ALL ".join(parts)).collect()
        return {row["name"]: int(row["number"]) for row in rows}

    def close(self) -> None:
        """Stops the session, unless it was started by someone else."""
        self._open.close()

    def _session(self, *, little: bool = False) -> SparkSession:
        """Returns the session, and starts it at the first call, for small data if ``little``."""
        if self._begun is None:
            self._begun = self._open.enter_context(session.opened(CONFIGURATION, self._scratch, little=little))
        return self._begun

    @property
    def _hadoop(self) -> Any:  # noqa: ANN401 -- a package of Java's
        return self._session().sparkContext._jvm.org.apache.hadoop.fs  # type: ignore[union-attr]  # noqa: SLF001

    @property
    def _hadoop_conf(self) -> Any:  # noqa: ANN401 -- an object of Java's
        return self._session().sparkContext._jsc.hadoopConfiguration()  # noqa: SLF001

    @contextmanager
    def _reading(self, tables: Tables, what: str) -> Iterator[SparkSession]:
        from py4j.protocol import Py4JError  # noqa: PLC0415 -- comes with the extra
        from pyspark.errors import PySparkException  # noqa: PLC0415

        session = self._session(little=_is_little(tables))
        try:
            for name, files in tables.items():
                reader = session.read.schema(
                    ", ".join(f"`{field.name}` {_ARROW_TO_SPARK[field.type]}" for field in files.schema)
                )
                if files.base is not None:
                    reader = reader.option("basePath", files.base)
                reader.parquet(*files.paths).createOrReplaceTempView(name)
            yield session
        except (PySparkException, Py4JError) as error:
            # Not its message: it may hold a piece of an event.
            raise StoreError(
                f"Spark could not do {what}: {type(error).__name__}",
                hint="Spark's own log tells more; the table is as it was",
            ) from error


def _is_little(tables: Tables) -> bool:
    """Returns whether the inputs are small; False for a bucket, where the size is not known."""
    paths = [path for files in tables.values() for path in files.paths]
    if any(map(gcs.is_address, paths)):
        return False
    return sum(Path(path).stat().st_size for path in paths) < _LITTLE_BYTES


def partitions_of(names: Iterable[str]) -> dict[str, str]:
    """Returns which of the files written by ``SparkEngine.write`` has which partition.

    Args:
        names: Paths below the target.
    """
    found = {}
    for name in names:
        folder, _, file = name.rpartition("/")
        if file.startswith("part-") and file.endswith(".parquet"):
            found[folder.removeprefix(f"{_DAY}=") or ALL] = name
    return found
