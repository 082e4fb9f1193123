"""Builds tables in BigQuery with the models' own queries, directly from the lake's files.

A build reads exactly the parquet files of the hours that hold events of a day, as external tables that exist for one
query. So nothing of the lake is stored twice, and no copy of it can be out of date.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import UsageError
from etl.lake.lake import Lake, store_at
from etl.storage import gcs
from etl.warehouse.bigquery.client import JOB_TIMEOUTS, DatasetName, Jobs, JobTimeouts, connect
from etl.warehouse.bigquery.dataset import Dataset, Staged
from etl.warehouse.bigquery.ddl import Cut
from etl.warehouse.bigquery.schema_sync import ensure
from etl.warehouse.build import BuildOptions, materialize, planned
from etl.warehouse.lake_inputs import bounds
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, SOURCES, Kind, Model, by_name, models
from etl.warehouse.plan import PartitionTask
from etl.warehouse.table_builder import Entry, Published, Sources, log_table
from etl.warehouse.table_state import ALL, BUILD_LOG, TableState, Warehouse
from etl.warehouse.transpile import Parameters

if TYPE_CHECKING:
    from google.cloud.bigquery.external_config import ExternalConfig

_COVERAGE_KEY: Final = "state/lake_coverage.parquet"


@dataclass(frozen=True)
class BigQueryTarget:
    """Where BigQuery's tables are, and how they are partitioned.

    Attributes:
        dataset: The dataset of the tables.
        reporting: The dataset of the views for reports; None to leave those alone.
        warehouse: ``gs://bucket/prefix``, below which the state is kept.
        events_by: How ``events_base`` is partitioned.
        patience: Retries and timeouts.
    """

    dataset: DatasetName
    reporting: DatasetName | None
    warehouse: str
    events_by: Cut = "day"
    patience: JobTimeouts = JOB_TIMEOUTS

    def opened(self) -> Dataset:
        """Connects to the dataset.

        Raises:
            StoreError: If it does not exist or cannot be seen.
            UsageError: If a library is missing, or the warehouse lies in no bucket.
        """
        if not gcs.is_address(self.warehouse):
            raise UsageError(
                f"{self.warehouse} is a folder, which BigQuery cannot read",
                hint="name a place in a bucket with --warehouse gs://bucket/prefix; what is built is noted there",
            )
        jobs = Jobs(connect(self.dataset), self.dataset, self.patience)
        store = store_at(f"{self.warehouse.rstrip('/')}/bigquery/{self.dataset}")
        return Dataset(jobs, self.dataset, store, self.events_by)


@dataclass(frozen=True)
class Part:
    """Rows of a table: those of some days, or all.

    Attributes:
        table: The table's name in the dataset.
        days: The days; None for all rows.
        staged: Name of the staged table; None if it is published.
    """

    table: str
    days: tuple[str, ...] | None
    staged: Staged | None = None


class BigQueryMaker:
    """Builds the tables of a dataset with queries.

    Args:
        dataset: The dataset.
        lake: The lake, in a bucket.
    """

    name = "bigquery"
    days_at_once = 7
    save_state_every = timedelta(seconds=10)

    def __init__(self, dataset: Dataset, lake: Lake) -> None:
        if not gcs.is_address(lake.store.address):
            raise UsageError(
                f"{lake.store.address} is a folder, which BigQuery cannot read",
                hint="name a lake in a bucket with --lake gs://bucket/prefix, or build with DuckDB or Spark",
            )
        self.place = dataset
        self._lake = lake
        self._sources = Sources({}, b"")
        self._models = by_name(models())
        self._staged: list[str] = []

    def begin(self, sources: Sources) -> None:
        """Sets the lake's files as inputs, and uploads the coverage for BigQuery."""
        self.place.refuse_too_many(sources.days)
        self._sources = sources
        self.place.store.write(_COVERAGE_KEY, sources.coverage)

    def stage(self, batch: Sequence[PartitionTask], parameters: Parameters) -> dict[str, Part]:
        """Runs a model's query into a staging table."""
        model = batch[0].model
        table = self.place.stage(model)
        self._staged.append(table)
        self.place.jobs.query(
            _what(batch),
            self.query(batch),
            parameters,
            destination=self.place.name.table(table),
            definitions=self._definitions(batch),
        )
        staged = self.place.counted(model, table)
        return {task.partition: Part(table, _days(task.partition), staged) for task in batch}

    def query(self, batch: Sequence[PartitionTask]) -> str:
        """Returns the query for the rows of some partitions of one table."""
        model = batch[0].model
        with_ = ",\n".join(f"{name} AS (\n{self._read(name, batch)}\n)" for name in model.reads if name not in SOURCES)
        columns = ", ".join(column.name for column in model.columns)
        days = None if batch[0].partition == ALL else tuple(task.partition for task in batch)
        asked = f"SELECT {columns}\nFROM (\n{model.query}\n)\nWHERE {_condition(model, days)}"
        return f"WITH {with_}\n{asked}" if with_ else asked

    def bytes_of(self, task: PartitionTask, now: datetime) -> int:
        """Asks BigQuery how many bytes a partition's query would be billed for."""
        start, end = (now, now) if task.partition == ALL else bounds(task.partition, task.partition)
        parameters = {"start": start, "end": end, "built_at": now}
        return self.place.jobs.bytes_of(_what([task]), self.query([task]), parameters)

    def stored_rows(self, model: Model, partition: str) -> Part:
        """Returns a published partition."""
        return Part(model.name, _days(partition))

    def count_violations(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[Part]]
    ) -> dict[str, int]:
        """Counts the rows that each query returns, all in one job."""
        if not queries:
            return {}
        columns = ", ".join(column.name for column in model.columns)
        with_ = ",\n".join(f"{name} AS (\n{self._rows(columns, model, parts)}\n)" for name, parts in tables.items())
        counted = ",\n".join(f"(SELECT COUNT(*) FROM (\n{sql}\n)) AS {name}" for name, sql in queries.items())  # noqa: S608
        (row,) = self.place.jobs.query(f"the checks of {model.name}", f"WITH {with_}\nSELECT\n{counted}", parameters)
        return {name: int(row[name]) for name in queries}

    def publish(self, model: Model, staged: Mapping[str, Part]) -> Iterator[tuple[str, Published]]:
        """Publishes partitions by copying them."""
        return self.place.publish(
            model, {partition: part.staged for partition, part in staged.items() if part.staged is not None}
        )

    def remove(self, model: Model, partition: str) -> None:
        """Removes a partition."""
        self.place.remove(model, partition)

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table."""
        self.place.save_state(table, state)

    def discard_staging(self) -> None:
        """Removes staging tables; BigQuery removes those of a killed build within a day."""
        while self._staged:
            self.place.unstage(self._staged.pop())

    def write_log(self, build_id: str, entries: Sequence[Entry]) -> None:
        """Appends rows to the table ``build_log`` through a file in the bucket."""
        key = f"log/{build_id}.parquet"
        sink = pa.BufferOutputStream()
        pq.write_table(log_table(entries), sink, compression="zstd")
        self.place.store.write(key, sink.getvalue().to_pybytes())
        self.place.jobs.load(BUILD_LOG, [self.place.store.url(key)], self.place.name.table(BUILD_LOG), add=True)

    def _read(self, name: str, batch: Sequence[PartitionTask]) -> str:
        """Returns the query for what a batch reads of a table."""
        model = batch[0].model
        read = self._models[name]
        days = tuple(sorted({day for task in batch for day in task.reads[name]}))
        # A merge reads its own rows together with those of the table it is made of: the columns that both have.
        columns = ", ".join(column.name for column in (model if model.kind is Kind.MERGE else read).columns)
        parts = [Part(name, None if days == (ALL,) else days)]
        rows = self._rows(columns, read, parts)
        if not batch[0].incremental:
            return rows
        return f"{rows}\nUNION ALL\n{self._rows(columns, model, [Part(model.name, None)])}"

    def _rows(self, columns: str, model: Model, parts: Sequence[Part]) -> str:
        """Returns the query for rows of tables that have a model's columns."""
        selected = []
        for table, group in groupby(parts, key=lambda part: part.table):
            days = [part.days for part in group]
            named = None if None in days else tuple(day for each in days if each is not None for day in each)
            selected.append(
                f"SELECT {columns} FROM {self.place.name.quoted(table)} WHERE {_condition(model, named)}"  # noqa: S608
            )
        return "\nUNION ALL\n".join(selected)

    def _definitions(self, batch: Sequence[PartitionTask]) -> dict[str, ExternalConfig]:
        """Returns the external table definitions of the files that a batch reads."""
        found = {}
        reads = batch[0].model.reads
        if LAKE_COVERAGE in reads:
            found[LAKE_COVERAGE] = _parquet([self.place.store.url(_COVERAGE_KEY)])
        if LAKE_EVENTS in reads:
            days = dict.fromkeys(day for task in batch for day in task.reads[LAKE_EVENTS])
            keys = dict.fromkeys(key for day in days for key in self._sources.days[day].keys)
            store = self._lake.store
            found[LAKE_EVENTS] = _parquet([store.url(key) for key in keys], folders=f"{store.address}/events")
        return found


def build(
    place: BigQueryTarget,
    lake: Lake,
    options: BuildOptions,
    *,
    watch: Callable[[Entry], None] = lambda _: None,
    begins: Callable[[str, int], None] = lambda _table, _partitions: None,
    told: Callable[[str], None] = lambda _: None,
) -> list[Entry]:
    """Updates the tables of a dataset from a lake in a bucket, with queries in BigQuery.

    Args:
        place: The dataset.
        lake: The lake.
        options: Options of the build; the engine is ignored.
        watch: Called with each partition when it is finished.
        begins: Called with each table that has partitions to be made, and with their number.
        told: Told of each table that was created or changed, and of the bytes that BigQuery bills.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the dataset cannot be read or written, or another build is running.
        UsageError: If a library is missing, or the lake or the warehouse lies in no bucket.
    """
    dataset = place.opened()
    builder = BigQueryMaker(dataset, lake)
    with build_lock(dataset):
        for line in ensure(dataset.jobs, place.dataset, place.reporting, place.events_by):
            told(line)
        try:
            return materialize(builder, lake, options, watch=watch, begins=begins)
        finally:
            told(f"BigQuery bills the queries of this build with {dataset.jobs.billed / 1e9:.3f} GB")


def plan(place: BigQueryTarget, lake: Lake, options: BuildOptions, *, now: datetime) -> list[PartitionTask]:
    """Returns what ``build`` would do, with the bytes that BigQuery would bill, without changing anything.

    Of files in buckets, and of tables that are yet to be made, BigQuery tells nothing before it reads them: there the
    bytes are those of the files, compressed.

    Raises:
        StoreError: If the lake or the dataset cannot be read.
        UsageError: If a library is missing, or the lake or the warehouse lies in no bucket.
    """
    dataset = place.opened()
    builder = BigQueryMaker(dataset, lake)
    found = planned(dataset, lake, options, now=now)
    standing = dataset.published([model.name for model in models() if model.kind is not Kind.VIEW])
    return [
        replace(task, bytes=builder.bytes_of(task, now)) if set(task.model.reads) <= set(standing) else task
        for task in found
    ]


@contextmanager
def build_lock(dataset: Dataset) -> Iterator[None]:
    """Locks a dataset during a build or a load.

    Raises:
        StoreError: If another one is running.
    """
    with Warehouse(dataset.store).building():
        yield


def _parquet(files: Sequence[str], folders: str | None = None) -> ExternalConfig:
    from google.cloud.bigquery.external_config import ExternalConfig, HivePartitioningOptions  # noqa: PLC0415

    described = ExternalConfig("PARQUET")
    described.source_uris = list(files)
    described.autodetect = True
    if folders is not None:
        by_folder = HivePartitioningOptions()
        by_folder.mode = "CUSTOM"
        by_folder.source_uri_prefix = f"{folders}/{{date:DATE}}/{{hour:INTEGER}}"
        described.hive_partitioning = by_folder
    return described


def _condition(model: Model, days: Sequence[str] | None) -> str:
    """Returns a condition for the rows of some days, with constants, so that BigQuery prunes partitions."""
    if days is None or model.partition is None:
        return "TRUE"
    field = model.partition.field
    (kind,) = (column.type for column in model.columns if column.name == field)
    ranges = []
    for first, last in _spans(days):
        start, end = bounds(first, last)
        if kind == "DATE":
            ranges.append(f"{field} BETWEEN DATE '{first}' AND DATE '{last}'")
        else:
            ranges.append(f"{field} >= TIMESTAMP '{start}' AND {field} < TIMESTAMP '{end}'")
    return " OR ".join(f"({each})" for each in ranges) or "FALSE"


def _spans(days: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Returns the first and last day of each run of consecutive days."""
    numbered = enumerate(sorted(set(days)))
    for _, run in groupby(numbered, key=lambda each: date.fromisoformat(each[1]).toordinal() - each[0]):
        named = [day for _, day in run]
        yield named[0], named[-1]


def _days(partition: str) -> tuple[str, ...] | None:
    return None if partition == ALL else (partition,)


def _what(batch: Sequence[PartitionTask]) -> str:
    first, last = batch[0].partition, batch[-1].partition
    return f"{batch[0].model.name} {first}" if first == last else f"{batch[0].model.name} {first} to {last}"
