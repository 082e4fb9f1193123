"""The engine for one machine: DuckDB, in this process."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from etl.errors import StoreError, missing_extra
from etl.warehouse.engine import NO_ROOM, Tables
from etl.warehouse.models import Model
from etl.warehouse.transpile import DUCKDB_MACROS, Dialect, Parameters, shaped, translate

if TYPE_CHECKING:
    import duckdb

_WRITTEN: Final = f"FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1, ROW_GROUP_SIZE_BYTES {16 << 20}"
"""How tables are written.

Payloads make rows large: without a bound, a row group in the making may take gigabytes. All payloads of a group are one
page, and pages of 16 MiB are written and read faster than larger ones. Compressing is the largest part of a build: with
level 1 a copy of events takes a tenth less time than with 2, a quarter less than with DuckDB's own 3, and 5 % or 11 %
more room.
"""


class DuckDBEngine:
    """Builds with DuckDB.

    Args:
        scratch: A folder for data that does not fit into memory.
    """

    name = "duckdb"
    days_at_once = 1

    def __init__(self, scratch: Path) -> None:
        self._connection = connect()
        self._connection.execute(f"SET temp_directory = {quoted(scratch / 'spilled')}")
        # The order of rows in a file means nothing, and to keep it costs memory.
        self._connection.execute("SET preserve_insertion_order = false")

    def build(
        self, model: Model, partitions: Sequence[str], parameters: Parameters, tables: Tables, folder: Path
    ) -> dict[str, Path]:
        """Runs a model's query and writes the result, one partition at a time."""
        (partition,) = partitions
        query = shaped(translate(model.query, Dialect.DUCKDB, parameters), model.columns, Dialect.DUCKDB)
        target = folder / f"{model.name}.parquet"
        with self._reading(tables, f"{model.name} {partition}"):
            self._connection.execute(f"COPY ({query}) TO {quoted(target)} ({_WRITTEN})")
        return {partition: target}

    def count_violations(self, queries: Mapping[str, str], parameters: Parameters, tables: Tables) -> dict[str, int]:
        """Counts the rows that each query returns."""
        counted: dict[str, int] = {}
        with self._reading(tables, ", ".join(queries)):
            for name, query in queries.items():
                sql = f"SELECT count(*) FROM ({translate(query, Dialect.DUCKDB, parameters)}) AS wrong"  # noqa: S608
                row = self._connection.execute(sql).fetchone()
                counted[name] = 0 if row is None else int(row[0])
        return counted

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    @contextmanager
    def _reading(self, tables: Tables, what: str) -> Iterator[None]:
        import duckdb  # noqa: PLC0415 -- comes with the extra

        try:
            for name, files in tables.items():
                self._connection.execute(
                    view_of(name, files.paths, files.schema.names, by_folder=files.base is not None)
                )
            yield
        except duckdb.Error as error:
            raise StoreError(
                f"DuckDB could not do {what}: {_told(error)}",
                hint=_hint(error),
            ) from error


def connect() -> duckdb.DuckDBPyConnection:
    """Opens a new DuckDB in memory, in UTC, with the functions that translated queries need.

    Raises:
        UsageError: If DuckDB is not installed.
    """
    try:
        import duckdb  # noqa: PLC0415 -- comes with the extra
    except ModuleNotFoundError as error:
        raise missing_extra("DuckDB", "warehouse") from error
    connection = duckdb.connect()
    for statement in ("SET TimeZone = 'UTC'", *DUCKDB_MACROS):
        connection.execute(statement)
    return connection


def view_of(name: str, paths: Sequence[str], columns: Sequence[str], *, by_folder: bool = False) -> str:
    """Returns the statement that creates a view of some columns of Parquet files."""
    files = ", ".join(quoted(path) for path in paths)
    folders = "true, hive_types = {date: DATE, hour: BIGINT}" if by_folder else "false"
    listed = ", ".join(f'"{column}"' for column in columns)
    return (
        f'CREATE OR REPLACE TEMP VIEW "{name}" AS SELECT {listed}'  # noqa: S608 -- names and paths of ours
        f" FROM read_parquet([{files}], hive_partitioning = {folders}, union_by_name = true)"
    )


def quoted(text: str | Path) -> str:
    """Returns a text as an SQL literal."""
    return "'" + str(text).replace("'", "''") + "'"


def _hint(error: duckdb.Error) -> str:
    import duckdb  # noqa: PLC0415

    if isinstance(error, duckdb.OutOfMemoryException) or "out of memory" in str(error).lower():
        return "give the build more memory, or close other programs; the table is as it was"
    if any(os.strerror(code) in str(error) for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)):
        return NO_ROOM
    return "`verify` tells whether the lake's files are sound; the table is as it was"


def _told(error: duckdb.Error) -> str:
    import duckdb  # noqa: PLC0415

    # Other messages may hold a piece of an event.
    safe = isinstance(error, duckdb.IOException | duckdb.OutOfMemoryException)
    return str(error).partition("\n")[0] if safe else type(error).__name__
