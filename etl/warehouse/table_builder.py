"""The interface of builders: they stage partitions, count violations of checks, and publish.

The order of things (what is due, checks, lineage, the log) is the build's and the same everywhere. Whether rows are a
parquet file of this machine or a table in BigQuery is the builder's own business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, TypeVar

import pyarrow as pa

from etl.errors import StoreError
from etl.events import arrow
from etl.storage.store import Store
from etl.warehouse.lake_inputs import DayInput
from etl.warehouse.models import Model, by_name, models
from etl.warehouse.plan import PartitionTask
from etl.warehouse.table_state import BUILD_LOG, TableState
from etl.warehouse.transpile import Parameters

Rows = TypeVar("Rows")
"""How a builder names rows: those it has made but not published, and those that stand."""


class PartitionOutcome(StrEnum):
    """What happened to a partition."""

    BUILT = "built"
    REMOVED = "removed"
    REFUSED = "refused"
    """A check that must hold did not, so the old one stayed."""
    FAILED = "failed"
    """The engine or the store failed, so the old one stayed."""


@dataclass(frozen=True)
class Entry:
    """A row of the build log; the model ``build_log`` describes the columns."""

    build_id: str
    engine: str
    model: str
    partition_id: str
    reason: str
    outcome: PartitionOutcome
    detail: str | None
    rows_written: int | None
    bytes_written: int | None
    bytes_read: int
    started_at: datetime
    finished_at: datetime
    software: str


@dataclass(frozen=True)
class Sources:
    """The parts of the lake that a build reads.

    Attributes:
        days: For each day that is looked at, the hours that hold events of it.
        coverage: The lake's coverage as a Parquet file.
    """

    days: Mapping[str, DayInput]
    coverage: bytes


@dataclass(frozen=True)
class Published:
    """A published partition.

    Attributes:
        generation: Identifies this version of it.
        rows: Number of rows.
        bytes: Its size, as the store counts it.
        sha256: Digest of its file; empty where it is none, or not known.
    """

    generation: str
    rows: int
    bytes: int
    sha256: str = ""


class StateStore(Protocol):
    """A store of tables that records what they were built from.

    Attributes:
        store: Where it keeps that, and what was found out about the lake's hours.
    """

    store: Store

    def state(self, table: str) -> tuple[TableState, list[str]]:
        """Returns what is known of a table, and its partitions of which nothing is known.

        Raises:
            StoreError: If that cannot be read.
        """


class TableBuilder(Protocol[Rows]):
    """Builds the tables of one store during one build.

    Attributes:
        name: Name of the engine.
        days_at_once: Number of days that one statement should build.
        save_state_every: How much work a crash may cost: what was published since the state was last written is made
            again.
    """

    name: str
    days_at_once: int
    save_state_every: timedelta

    @property
    def place(self) -> StateStore:
        """The store that it builds tables in."""

    def begin(self, sources: Sources) -> None:
        """Sets the inputs of the build.

        Raises:
            StoreError: If that cannot be made readable.
        """

    def stage(self, batch: Sequence[PartitionTask], parameters: Parameters) -> Mapping[str, Rows]:
        """Builds partitions of one table without publishing them.

        Args:
            batch: What to make, in the order of days.
            parameters: Values of the query's parameters.

        Returns:
            The rows of each partition, in the columns of the model's schema.

        Raises:
            StoreError: If something cannot be read or written.
        """

    def stored_rows(self, model: Model, partition: str) -> Rows:
        """Returns the published rows of a partition."""

    def count_violations(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[Rows]]
    ) -> Mapping[str, int]:
        """Returns the number of rows of each query (in BigQuery's dialect), by the queries' names.

        Args:
            queries: The queries.
            model: Whose columns the tables have.
            parameters: Values of the queries' parameters.
            tables: What they read.

        Raises:
            StoreError: If something cannot be read.
        """

    def publish(self, model: Model, staged: Mapping[str, Rows]) -> Iterator[tuple[str, Published]]:
        """Publishes partitions, each atomically, and yields each when it is published.

        Raises:
            StoreError: If one cannot be put there; those told of before are.
        """

    def remove(self, model: Model, partition: str) -> None:
        """Removes a partition.

        Raises:
            StoreError: If it cannot be.
        """

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table.

        Raises:
            StoreError: If it cannot be written.
        """

    def discard_staging(self) -> None:
        """Discards staged partitions that were not published."""

    def write_log(self, build_id: str, entries: Sequence[Entry]) -> None:
        """Adds rows to the table ``build_log``.

        Raises:
            StoreError: If they cannot be written.
        """


def log_table(entries: Sequence[Entry]) -> pa.Table:
    """Returns entries as rows of the table ``build_log``."""
    schema = by_name(models())[BUILD_LOG].arrow_schema
    rows = [{name: getattr(entry, name) for name in schema.names} for entry in entries]
    return arrow.table(rows, schema)


def check_columns(model: Model, found: pa.Schema) -> None:
    """Checks that a file has the columns of the model.

    Raises:
        StoreError: If they are not.
    """
    wrong = [
        column.name
        for column, field in zip(model.columns, found, strict=False)
        if column.name != field.name or not _same_type(column.arrow, field.type)
    ]
    if wrong or len(found) != len(model.columns):
        raise StoreError(
            f"the rows of {model.name} are not of its schema: {', '.join(wrong) or 'another number of columns'}"
        )


def _same_type(ours: pa.DataType, theirs: pa.DataType) -> bool:
    if pa.types.is_list(ours) and pa.types.is_list(theirs):
        return bool(ours.value_type == theirs.value_type)
    return ours == theirs
