"""Chooses what builds a warehouse of Parquet files: this machine or a Spark cluster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, assert_never

from etl.lake.lake import Lake
from etl.warehouse.engine import Engine
from etl.warehouse.local_builder import LocalBuilder
from etl.warehouse.table_builder import TableBuilder
from etl.warehouse.table_state import Warehouse

FileEngine = Literal["duckdb", "spark"]


@contextmanager
def open_builder(warehouse: Warehouse, lake: Lake, engine: FileEngine) -> Iterator[TableBuilder[Any]]:
    """Locks a warehouse for a build and starts its engine.

    Yields:
        What makes files on this machine; with a Spark that reads and writes buckets, what leaves that to Spark.

    Raises:
        StoreError: If another build is running, or the warehouse cannot be written.
        UsageError: If a library is missing.
    """
    with warehouse.building() as staging, _engine(engine, staging) as running:
        yield _on_cluster(warehouse, lake, running) or LocalBuilder(warehouse, lake, running, staging)


def _on_cluster(warehouse: Warehouse, lake: Lake, engine: Engine) -> TableBuilder[Any] | None:
    if engine.name != "spark":
        return None
    from etl.warehouse.spark_builder import spark_builder  # noqa: PLC0415 -- Spark is an extra

    return spark_builder(warehouse, lake, engine)


@contextmanager
def _engine(name: FileEngine, scratch: Path) -> Iterator[Engine]:
    engine: Engine
    match name:
        case "duckdb":
            from etl.warehouse.duckdb_engine import DuckDBEngine  # noqa: PLC0415 -- each engine is an extra

            engine = DuckDBEngine(scratch)
        case "spark":
            from etl.warehouse.spark_engine import SparkEngine  # noqa: PLC0415

            engine = SparkEngine(scratch)
        case _:
            assert_never(name)
    try:
        yield engine
    finally:
        engine.close()
