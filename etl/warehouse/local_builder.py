"""Builds tables as Parquet files with an engine on this machine, in a folder or a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq

from etl.errors import StoreError
from etl.events import arrow
from etl.lake.integrity import sha256_of
from etl.lake.lake import Lake
from etl.warehouse.engine import LAKE_SCHEMA, NO_ROOM, Engine, Files, Tables
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Kind, Model, by_name, models
from etl.warehouse.plan import PartitionTask
from etl.warehouse.table_builder import Entry, Published, Sources, check_columns, log_table
from etl.warehouse.table_state import ALL, BUILD_LOG, LocalCache, TableState, Warehouse, partition_key
from etl.warehouse.transpile import Parameters

_SAVE_STATE_EVERY: Final = timedelta(seconds=2)


class LocalBuilder:
    """Builds the files of a warehouse.

    Args:
        warehouse: The warehouse.
        lake: The lake.
        engine: The engine that runs the models.
        staging: A folder for temporary files.
    """

    save_state_every = _SAVE_STATE_EVERY

    def __init__(self, warehouse: Warehouse, lake: Lake, engine: Engine, staging: Path) -> None:
        self.name = engine.name
        self.days_at_once = engine.days_at_once
        self.place = warehouse
        self._lake = lake
        self._engine = engine
        self._staging = staging
        self._batch = staging / "batch"
        self._cache = LocalCache(staging)
        self._coverage_path = staging / "lake_coverage.parquet"
        self._sources = Sources({}, b"")
        self._models = by_name(models())

    def begin(self, sources: Sources) -> None:
        """Sets the inputs of the build."""
        with self._room():
            self._sources = sources
            self._coverage_path.write_bytes(sources.coverage)

    def stage(self, batch: Sequence[PartitionTask], parameters: Parameters) -> dict[str, Path]:
        """Runs the engine for a batch of partitions, and validates the files against the model's schema."""
        model = batch[0].model
        partitions = [task.partition for task in batch]
        with self._room():
            self._batch.mkdir()
            made = self._engine.build(model, partitions, parameters, self._tables(batch), self._batch)
            stray = set(made) - set(partitions)
            if stray:
                raise StoreError(f"the query of {model.name} gives rows of other days than it was asked for")
            for partition in partitions:
                if partition not in made:
                    made[partition] = self._batch / f"empty-{partition}.parquet"
                    pq.write_table(arrow.table([], model.arrow_schema), made[partition])
                check_columns(model, pq.read_schema(made[partition]))
        return made

    def stored_rows(self, model: Model, partition: str) -> Path:
        """Returns the file of a partition."""
        with self._room():
            return Path(self._cache.path(self.place.store, partition_key(model.name, partition)))

    def count_violations(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[Path]]
    ) -> dict[str, int]:
        """Counts the rows that each query returns."""
        files = {name: Files(tuple(map(str, paths)), model.arrow_schema) for name, paths in tables.items()}
        return self._engine.count_violations(queries, parameters, files)

    def publish(self, model: Model, staged: Mapping[str, Path]) -> Iterator[tuple[str, Published]]:
        """Publishes finished files, each atomically."""
        for partition, path in staged.items():
            with self._room():
                rows = pq.read_metadata(path).num_rows
                with path.open("rb") as file:
                    sha256 = sha256_of(file)
                info = self.place.publish(partition_key(model.name, partition), path)
            yield partition, Published(info.generation, rows, info.size, sha256)

    def remove(self, model: Model, partition: str) -> None:
        """Removes a partition's file."""
        self.place.remove(model.name, partition)

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table."""
        with self._room():
            self.place.save_state(table, state)

    def discard_staging(self) -> None:
        """Removes temporary files."""
        shutil.rmtree(self._batch, ignore_errors=True)
        self._cache.clear()

    def write_log(self, build_id: str, entries: Sequence[Entry]) -> None:
        """Adds a file to the table ``build_log``."""
        path = self._staging / "log.parquet"
        with self._room():
            pq.write_table(log_table(entries), path, compression="zstd")
            self.place.publish(partition_key(BUILD_LOG, build_id), path)

    def _tables(self, batch: Sequence[PartitionTask]) -> Tables:
        """Returns the files that a batch reads, by table."""
        model = batch[0].model
        return {name: self._files(name, model, batch) for name in model.reads}

    def _files(self, name: str, model: Model, batch: Sequence[PartitionTask]) -> Files:
        partitions = sorted({partition for task in batch for partition in task.reads[name]})
        if name == LAKE_COVERAGE:
            return Files((str(self._coverage_path),), pq.read_schema(self._coverage_path).remove_metadata())
        if name == LAKE_EVENTS:
            keys = dict.fromkeys(key for partition in partitions for key in self._sources.days[partition].keys)
            paths = tuple(self._cache.path(self._lake.store, key) for key in keys)
            return Files(paths, LAKE_SCHEMA, base=paths[0].partition("/date=")[0])
        keys = dict.fromkeys(partition_key(name, partition) for partition in partitions)
        if batch[0].incremental:
            keys[partition_key(model.name, ALL)] = None
        paths = tuple(self._cache.path(self.place.store, key) for key in keys)
        # A merge reads its own rows together with those of the table it is made of: the columns that both have.
        schema = model.arrow_schema if model.kind is Kind.MERGE else self._models[name].arrow_schema
        return Files(paths, schema)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Explains why temporary files cannot be written."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write {self._staging}: {error.strerror or type(error).__name__}",
                hint=NO_ROOM,
            ) from error
