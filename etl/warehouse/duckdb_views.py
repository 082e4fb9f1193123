"""Opens the warehouse for queries on this machine: a DuckDB with every table and view."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etl.errors import UsageError
from etl.storage import gcs
from etl.warehouse.duckdb_engine import connect, view_of
from etl.warehouse.models import Kind, Model, models
from etl.warehouse.table_state import TABLES, Warehouse
from etl.warehouse.transpile import Dialect, shaped, translate

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
def opened(warehouse: Warehouse | str | PathLike[str] = "warehouse") -> Iterator[duckdb.DuckDBPyConnection]:
    """Opens a DuckDB in memory in which every table and view of a warehouse can be queried by its name.

    A table that was not built yet has no rows. The files are those of this instant: open it again after a build.

    Args:
        warehouse: The warehouse's folder, as ``build --warehouse`` takes it.

    Returns:
        A context manager that yields the connection, and closes it at its end. Times are shown in UTC.

    Raises:
        StoreError: If the warehouse cannot be read.
        UsageError: If there is no warehouse in the folder, it lies in a bucket, or DuckDB is not installed.
    """
    address = warehouse.address if isinstance(warehouse, Warehouse) else os.fspath(warehouse)
    if gcs.is_address(address):
        raise UsageError(f"{address} is in a bucket, where BigQuery reads it", hint="name a warehouse in a folder")
    if not isinstance(warehouse, Warehouse) and not (Path(address) / TABLES).is_dir():
        raise UsageError(f"there is no warehouse in the folder {address}", hint="`build` makes one; name its folder")
    place = warehouse if isinstance(warehouse, Warehouse) else Warehouse.at(address)
    connection = connect()
    try:
        for model in models():
            connection.execute(_statement(place, model))
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
