"""The interface of engines: they run models and write Parquet files, and count violations of checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import pyarrow as pa

from etl.events.schema import ARROW_SCHEMA
from etl.warehouse.models import Model
from etl.warehouse.transpile import Parameters

LAKE_SCHEMA = pa.schema([*ARROW_SCHEMA, pa.field("date", pa.date32()), pa.field("hour", pa.int64())])
"""The columns of the lake's events: the nineteen, and those in the names of the file's folders."""


NO_ROOM: Final = "free some space on that disk, or choose another --warehouse; the tables are as they were, or whole"
"""Hint for when temporary files cannot be written."""


@dataclass(frozen=True)
class Files:
    """The files of a table that a query reads.

    Attributes:
        paths: Parquet files of this machine; for a Spark that reads buckets, addresses in one.
        schema: The columns that the query may name; files may have more.
        base: The folder below which folders are named ``column=value``; None when their names mean nothing.
    """

    paths: tuple[str, ...]
    schema: pa.Schema
    base: str | None = None


Tables = Mapping[str, Files]


class Engine(Protocol):
    """An engine, DuckDB or Spark, during one build.

    Attributes:
        name: Its name.
        days_at_once: Number of days that one statement should build.
    """

    name: str
    days_at_once: int

    def build(
        self, model: Model, partitions: Sequence[str], parameters: Parameters, tables: Tables, folder: Path
    ) -> dict[str, Path]:
        """Runs a model's query and writes the result.

        Args:
            model: The model.
            partitions: The days that are asked for, in order, the first and last of which are the query's bounds; or
                the one name of a table in one piece.
            parameters: Values of the query's parameters.
            tables: What it reads.
            folder: An empty folder to write to.

        Returns:
            A parquet file for each partition that has rows, in the columns of the model's schema.

        Raises:
            StoreError: If files cannot be read or written.
        """

    def count_violations(self, queries: Mapping[str, str], parameters: Parameters, tables: Tables) -> dict[str, int]:
        """Returns the number of rows of each query (in BigQuery's dialect), by the queries' names.

        Raises:
            StoreError: If files cannot be read.
        """

    def close(self) -> None:
        """Releases all resources."""
