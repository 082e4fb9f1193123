"""What a build asks of the place where tables are made: to make partitions, count what is wrong, put them in place.

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
    """What became of a partition."""

    BUILT = "built"
    REMOVED = "removed"
    REFUSED = "refused"
    """A check that must hold did not, so the old one stayed."""
    FAILED = "failed"
    """The engine or the store failed, so the old one stayed."""


@dataclass(frozen=True)
class Entry:
    """A row of the build log; see the model ``build_log`` for what each column means."""

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
    """What a build reads of the lake.

    Attributes:
        days: For each day that is looked at, the hours that hold events of it.
        coverage: The lake's coverage as a parquet file.
    """

    days: Mapping[str, DayInput]
    coverage: bytes


@dataclass(frozen=True)
class Published:
    """A partition that was put in its place.

    Attributes:
        generation: Tells this version of it from all others.
        rows: Rows in it.
        bytes: Its size, as the place counts it.
        sha256: Digest of its file; empty where it is none, or not known.
    """

    generation: str
    rows: int
    bytes: int
    sha256: str = ""


class StateStore(Protocol):
    """A place that remembers what its tables were made from.

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
    """Makes the tables of one place, for the time of one build.

    Attributes:
        name: What a person calls the engine.
        days_at_once: How many days are best built by one statement.
        save_state_every: How much work a crash may cost: what was published since the state was last written is made
            again.
    """

    name: str
    days_at_once: int
    save_state_every: timedelta

    @property
    def place(self) -> StateStore:
        """What it makes tables in."""

    def begin(self, sources: Sources) -> None:
        """Takes note of what there is to read.

        Raises:
            StoreError: If that cannot be made readable.
        """

    def stage(self, batch: Sequence[PartitionTask], parameters: Parameters) -> Mapping[str, Rows]:
        """Makes partitions of one table out of everybody's sight.

        Args:
            batch: What to make, in the order of days.
            parameters: Values of the query's parameters.

        Returns:
            The rows of each partition, in the columns of the model's schema.

        Raises:
            StoreError: If something cannot be read or written.
        """

    def stored_rows(self, model: Model, partition: str) -> Rows:
        """Returns the rows of a partition as everybody sees it."""

    def count_violations(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[Rows]]
    ) -> Mapping[str, int]:
        """Counts the rows that each of some queries in BigQuery's dialect gives, by the queries' names.

        Args:
            queries: The queries.
            model: Whose columns the tables have.
            parameters: Values of the queries' parameters.
            tables: What they read.

        Raises:
            StoreError: If something cannot be read.
        """

    def publish(self, model: Model, staged: Mapping[str, Rows]) -> Iterator[tuple[str, Published]]:
        """Puts partitions in their places, each whole, and tells of each when it is there.

        Raises:
            StoreError: If one cannot be put there; those told of before are.
        """

    def remove(self, model: Model, partition: str) -> None:
        """Takes a partition away.

        Raises:
            StoreError: If it cannot be.
        """

    def save_state(self, table: str, state: TableState) -> None:
        """Writes down what is known of a table.

        Raises:
            StoreError: If it cannot be written.
        """

    def discard_staging(self) -> None:
        """Throws away what was staged and not published."""

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
    """Fails when a file's columns are not those of the model.

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
