"""Compares warehouses row by row, and makes lakes to build them from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import duckdb

from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse.build import BuildOptions, build
from etl.warehouse.duckdb_views import opened
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Kind, models
from etl.warehouse.table_builder import Entry
from etl.warehouse.table_state import Warehouse
from tests.integration.running import documents, packed, put, run

COMPARED: Final = [model for model in models() if model.kind is not Kind.LOG]
_OF_THE_BUILD: Final = {"built_at"}
"""When a row was built differs from build to build, and it alone."""


def stored(
    lake: Lake, folder: Path, hour: Hour, lines: Iterable[bytes] | None = None, *, events: int = 40, seed: int = 0
) -> None:
    """Stores an hour in the lake: of these documents, or a practice hour."""
    put(folder, packed(documents(events, hour=hour, seed=seed) if lines is None else lines), hour)
    run(lake, folder, hour=hour, force=True)


def built(warehouse: Warehouse, lake: Lake, days: Days | None = None, **options: Any) -> list[Entry]:
    """Builds; returns what was done."""
    return build(warehouse, lake, BuildOptions(days=days or Days(), **options))


def differences(one: Warehouse, other: Warehouse, *, skip: Iterable[str] = ()) -> dict[str, list[tuple[int, int]]]:
    """Rows that only the one or only the other has, by table or view; a table the same in both is not named.

    Rows are identified by a hash, never shown: they may hold addresses.
    """
    skipped = set(skip)
    with opened(one) as left, opened(other) as right:
        found = {}
        for model in COMPARED:
            if model.name in skipped:
                continue
            columns = [column.name for column in model.columns if column.name not in _OF_THE_BUILD]
            ours, theirs = (rows_of(connection, model.name, columns) for connection in (left, right))
            if ours != theirs:
                found[model.name] = [(_count(ours, theirs), _count(theirs, ours))]
        return found


def counts(warehouse: Warehouse) -> dict[str, int]:
    """Rows by table and view."""
    with opened(warehouse) as connection:
        return {model.name: int(_one(connection, f"SELECT count(*) FROM {model.name}")) for model in models()}  # noqa: S608


def answer(warehouse: Warehouse, query: str) -> list[tuple[Any, ...]]:
    """What a query in DuckDB's SQL gives."""
    with opened(warehouse) as connection:
        return connection.execute(query).fetchall()


def files(warehouse: Warehouse, table: str) -> dict[str, str]:
    """A table's files with the SHA-256 of each."""
    contents = ((info.key, warehouse.store.read(info.key)) for info in warehouse.files(table))
    return {key: hashlib.sha256(content or b"").hexdigest() for key, content in contents}


def outcomes(entries: Iterable[Entry]) -> set[tuple[str, str, str]]:
    """What was done, without times and numbers."""
    return {(entry.model, entry.partition_id, str(entry.outcome)) for entry in entries}


def rows_of(connection: duckdb.DuckDBPyConnection, table: str, columns: list[str]) -> Mapping[str, int]:
    """The rows of a table as hashes, each with how often it is there."""
    listed = ", ".join(f"{column} := {column}" for column in columns)
    query = f"SELECT sha256(to_json(struct_pack({listed}))::VARCHAR) AS row, count(*) FROM {table} GROUP BY row"  # noqa: S608
    return dict(connection.execute(query).fetchall())


def _count(ours: Mapping[str, int], theirs: Mapping[str, int]) -> int:
    return sum(max(0, number - theirs.get(row, 0)) for row, number in ours.items())


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> Any:
    row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]
