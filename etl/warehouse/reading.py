"""Reading the warehouse on this machine: a DuckDB with every table and view under its name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from etl import gcs
from etl.errors import UsageError
from etl.warehouse.duckdb_engine import connect, view_of
from etl.warehouse.models import Kind, Model, models
from etl.warehouse.tables import Warehouse
from etl.warehouse.translate import Dialect, shaped, translate

if TYPE_CHECKING:
    import duckdb

_TYPES: Final = {
    "ARRAY<STRING>": "VARCHAR[]",
    "TIMESTAMP": "TIMESTAMPTZ",
    "STRING": "VARCHAR",
    "INT64": "BIGINT",
    "FLOAT64": "DOUBLE",
}


@contextmanager
def opened(warehouse: Warehouse) -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a DuckDB in memory in which every table and view of the warehouse can be asked.

    A table that was not built yet is there, and has no rows. The files are those of this instant: after a build, open
    it again.

    Raises:
        StoreError: If the warehouse cannot be read.
        UsageError: If DuckDB is not installed, or the warehouse lies in a bucket.
    """
    if gcs.is_address(warehouse.address):
        raise UsageError(
            f"{warehouse.address} is in a bucket, where BigQuery reads it", hint="name a warehouse in a folder"
        )
    connection = connect()
    try:
        for model in models():
            connection.execute(_statement(warehouse, model))
        yield connection
    finally:
        connection.close()


def _statement(warehouse: Warehouse, model: Model) -> str:
    if model.kind is Kind.VIEW:
        query = shaped(translate(model.query, Dialect.DUCKDB, {}), model.columns, Dialect.DUCKDB)
        return f'CREATE OR REPLACE TEMP VIEW "{model.name}" AS {query}'
    paths = [warehouse.store.url(info.key) for info in warehouse.files(model.name)]
    if paths:
        return view_of(model.name, paths, [column.name for column in model.columns])
    nulls = ", ".join(
        f'CAST(NULL AS {_TYPES.get(column.type, column.type)}) AS "{column.name}"' for column in model.columns
    )
    return f'CREATE OR REPLACE TEMP VIEW "{model.name}" AS SELECT {nulls} WHERE false'
