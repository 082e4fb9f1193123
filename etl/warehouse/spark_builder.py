"""Builds tables as Parquet files in a bucket with a Spark cluster; no data passes through this machine.

What Spark writes lies below ``.staging`` in the warehouse's own bucket until it was checked. Publishing is a copy
within the bucket, which Google makes without sending bytes to anybody, and which readers see whole or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Final
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import StoreError, UsageError
from etl.lake.lake import Lake
from etl.lake.layout import EVENTS
from etl.spark import session
from etl.storage import gcs
from etl.storage.gcs_store import GcsStore
from etl.warehouse.engine import LAKE_SCHEMA, Engine, Files, Tables
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Kind, Model, by_name, models
from etl.warehouse.plan import PartitionTask
from etl.warehouse.spark_engine import SparkEngine, partitions_of
from etl.warehouse.table_builder import Entry, Published, Sources, check_columns, log_table
from etl.warehouse.table_state import ALL, BUILD_LOG, TableState, Warehouse, partition_key
from etl.warehouse.transpile import Parameters

_STAGING: Final = ".staging"
_COVERAGE_KEY: Final = "state/lake_coverage.parquet"
_SAVE_STATE_EVERY: Final = timedelta(seconds=30)


def spark_builder(warehouse: Warehouse, lake: Lake, engine: Engine) -> SparkBuilder | None:
    """Returns what leaves reading and writing to Spark's machines; None when this machine has to do it.

    Raises:
        UsageError: If Spark runs on other machines, and these cannot read what is asked for.
    """
    if not isinstance(engine, SparkEngine):
        return None
    places = (lake.address, warehouse.address)
    if all(gcs.is_address(place) for place in places) and engine.reads_buckets:
        return SparkBuilder(warehouse, lake, engine)
    if engine.is_local:
        return None
    session.refuse_folders(places)
    raise UsageError(
        "this cluster's Spark cannot read gs://",
        hint="add Google's connector for Hadoop (gcs-connector) to its jars; Dataproc has it",
    )


class SparkBuilder:
    """Builds the files of a warehouse in a bucket.

    Args:
        warehouse: The warehouse, in a bucket.
        lake: The lake, in a bucket.
        engine: A Spark engine that can read buckets.
    """

    save_state_every = _SAVE_STATE_EVERY

    def __init__(self, warehouse: Warehouse, lake: Lake, engine: SparkEngine) -> None:
        if not isinstance(warehouse.store, GcsStore):
            raise UsageError(f"{warehouse.address} is not in a bucket")
        self.name = engine.name
        self.days_at_once = engine.days_at_once
        self.place = warehouse
        self._store: GcsStore = warehouse.store
        self._lake = lake
        self._engine = engine
        self._sources = Sources({}, b"")
        self._models = by_name(models())
        self._rows: dict[str, int] = {}

    def begin(self, sources: Sources) -> None:
        """Sets the inputs of the build, and removes what a killed build left behind."""
        self.discard_staging()
        self._sources = sources
        self._store.write(_COVERAGE_KEY, sources.coverage)

    def stage(self, batch: Sequence[PartitionTask], parameters: Parameters) -> dict[str, str]:
        """Writes the partitions of a batch below ``.staging`` with Spark; returns their keys."""
        model = batch[0].model
        partitions = [task.partition for task in batch]
        folder = f"{_STAGING}/{uuid4().hex}"
        self._engine.write(model, partitions, parameters, self._tables(batch), self._store.url(folder))
        keys = [info.key.removeprefix(f"{folder}/") for info in self._store.list(f"{folder}/")]
        made = {partition: f"{folder}/{name}" for partition, name in partitions_of(keys).items()}
        stray = set(made) - set(partitions)
        if stray:
            raise StoreError(f"the query of {model.name} gives rows of other days than it was asked for")
        for partition in set(partitions) - set(made):
            made[partition] = f"{folder}/empty-{partition}.parquet"
            self._store.write(made[partition], _empty(model))
        for key in made.values():
            with self._store.open(key) as file:
                footer = pq.ParquetFile(file)
                check_columns(model, footer.schema_arrow)
                self._rows[key] = footer.metadata.num_rows
        return made

    def stored_rows(self, model: Model, partition: str) -> str:
        """Returns the key of a partition's file."""
        return partition_key(model.name, partition)

    def count_violations(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[str]]
    ) -> dict[str, int]:
        """Counts the rows that each query returns."""
        files = {name: self._files(keys, model.arrow_schema) for name, keys in tables.items()}
        return self._engine.count_violations(queries, parameters, files)

    def publish(self, model: Model, staged: Mapping[str, str]) -> Iterator[tuple[str, Published]]:
        """Publishes finished files by copying each atomically."""
        for partition, key in staged.items():
            info = self._store.copy(key, partition_key(model.name, partition))
            yield partition, Published(info.generation, self._rows[key], info.size)

    def remove(self, model: Model, partition: str) -> None:
        """Removes a partition's file."""
        self.place.remove(model.name, partition)

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table."""
        self.place.save_state(table, state)

    def discard_staging(self) -> None:
        """Removes what was staged."""
        self._rows.clear()
        self._engine.clear(self._store.url(_STAGING))

    def write_log(self, build_id: str, entries: Sequence[Entry]) -> None:
        """Adds a file to the table ``build_log``."""
        self._store.write(partition_key(BUILD_LOG, build_id), _parquet(log_table(entries)))

    def _tables(self, batch: Sequence[PartitionTask]) -> Tables:
        """Returns the inputs of a batch, by table."""
        model = batch[0].model
        return {name: self._read_by(name, model, batch) for name in model.reads}

    def _read_by(self, name: str, model: Model, batch: Sequence[PartitionTask]) -> Files:
        partitions = sorted({partition for task in batch for partition in task.reads[name]})
        if name == LAKE_COVERAGE:
            schema = pq.read_schema(pa.BufferReader(self._sources.coverage)).remove_metadata()
            return self._files([_COVERAGE_KEY], schema)
        if name == LAKE_EVENTS:
            keys = dict.fromkeys(key for partition in partitions for key in self._sources.days[partition].keys)
            urls = tuple(self._lake.store.url(key) for key in keys)
            return Files(urls, LAKE_SCHEMA, base=f"{self._lake.address}/{EVENTS}")
        keys = dict.fromkeys(partition_key(name, partition) for partition in partitions)
        if batch[0].incremental:
            keys[partition_key(model.name, ALL)] = None
        # A merge reads its own rows together with those of the table it is made of: the columns that both have.
        return self._files(list(keys), (model if model.kind is Kind.MERGE else self._models[name]).arrow_schema)

    def _files(self, keys: Sequence[str], schema: pa.Schema) -> Files:
        return Files(tuple(self._store.url(key) for key in keys), schema)


def _empty(model: Model) -> bytes:
    return _parquet(model.arrow_schema.empty_table())


def _parquet(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()
