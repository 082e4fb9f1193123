"""Tables as parquet files: what an engine of this machine makes, put into a folder or a bucket."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final, Literal, assert_never

import pyarrow as pa
import pyarrow.parquet as pq

from etl.errors import StoreError
from etl.events import arrow
from etl.lake.checking import sha256_of
from etl.lake.lake import Lake
from etl.warehouse.engine import LAKE_SCHEMA, NO_ROOM, Engine, Files, Tables
from etl.warehouse.making import Entry, Maker, Published, Sources
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Kind, Model, by_name, models
from etl.warehouse.plan import Piece
from etl.warehouse.tables import ALL, BUILD_LOG, Nearby, TableState, Warehouse, partition_key
from etl.warehouse.translate import Parameters

FileEngine = Literal["duckdb", "spark"]

_REMEMBER_EVERY: Final = timedelta(seconds=2)


class FileMaker:
    """Makes the files of a warehouse.

    Args:
        warehouse: Where to.
        lake: Where from.
        engine: What runs the models.
        staging: A folder for files on their way.
    """

    remember_every = _REMEMBER_EVERY

    def __init__(self, warehouse: Warehouse, lake: Lake, engine: Engine, staging: Path) -> None:
        self.name = engine.name
        self.days_at_once = engine.days_at_once
        self.place = warehouse
        self._lake = lake
        self._engine = engine
        self._staging = staging
        self._batch = staging / "batch"
        self._nearby = Nearby(staging)
        self._coverage_path = staging / "lake_coverage.parquet"
        self._sources = Sources({}, b"")
        self._models = by_name(models())

    def begin(self, sources: Sources) -> None:
        """Takes note of what there is to read."""
        with self._room():
            self._sources = sources
            self._coverage_path.write_bytes(sources.coverage)

    def stage(self, batch: Sequence[Piece], parameters: Parameters) -> dict[str, Path]:
        """Has the engine make the partitions of a batch, and holds the files against the model's schema."""
        model = batch[0].model
        partitions = [piece.partition for piece in batch]
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
                refuse_other_columns(model, pq.read_schema(made[partition]))
        return made

    def standing(self, model: Model, partition: str) -> Path:
        """Gives the file of a partition."""
        with self._room():
            return Path(self._nearby.path(self.place.store, partition_key(model.name, partition)))

    def numbers(
        self, queries: Mapping[str, str], model: Model, parameters: Parameters, tables: Mapping[str, Sequence[Path]]
    ) -> dict[str, int]:
        """Counts the rows that each query gives."""
        files = {name: Files(tuple(map(str, paths)), model.arrow_schema) for name, paths in tables.items()}
        return self._engine.numbers(queries, parameters, files)

    def publish(self, model: Model, staged: Mapping[str, Path]) -> Iterator[tuple[str, Published]]:
        """Puts finished files in their places, each in one step."""
        for partition, path in staged.items():
            with self._room():
                rows = pq.read_metadata(path).num_rows
                with path.open("rb") as file:
                    sha256 = sha256_of(file)
                info = self.place.publish(partition_key(model.name, partition), path)
            yield partition, Published(info.generation, rows, info.size, sha256)

    def remove(self, model: Model, partition: str) -> None:
        """Takes a partition's file away."""
        self.place.remove(model.name, partition)

    def remember(self, table: str, state: TableState) -> None:
        """Writes down what is known of a table."""
        with self._room():
            self.place.remember(table, state)

    def forget(self) -> None:
        """Removes files on their way."""
        shutil.rmtree(self._batch, ignore_errors=True)
        self._nearby.forget()

    def write_log(self, build_id: str, entries: Sequence[Entry]) -> None:
        """Adds a file to the table ``build_log``."""
        path = self._staging / "log.parquet"
        with self._room():
            pq.write_table(log_table(entries), path, compression="zstd")
            self.place.publish(partition_key(BUILD_LOG, build_id), path)

    def _tables(self, batch: Sequence[Piece]) -> Tables:
        """Gives the files that a batch reads, by table."""
        model = batch[0].model
        return {name: self._files(name, model, batch) for name in model.reads}

    def _files(self, name: str, model: Model, batch: Sequence[Piece]) -> Files:
        partitions = sorted({partition for piece in batch for partition in piece.reads[name]})
        if name == LAKE_COVERAGE:
            return Files((str(self._coverage_path),), pq.read_schema(self._coverage_path).remove_metadata())
        if name == LAKE_EVENTS:
            keys = dict.fromkeys(key for partition in partitions for key in self._sources.days[partition].keys)
            paths = tuple(self._nearby.path(self._lake.store, key) for key in keys)
            return Files(paths, LAKE_SCHEMA, base=paths[0].partition("/date=")[0])
        keys = dict.fromkeys(partition_key(name, partition) for partition in partitions)
        if batch[0].onto:
            keys[partition_key(model.name, ALL)] = None
        paths = tuple(self._nearby.path(self.place.store, key) for key in keys)
        # A merge reads its own rows together with those of the table it is made of: the columns that both have.
        schema = model.arrow_schema if model.kind is Kind.MERGE else self._models[name].arrow_schema
        return Files(paths, schema)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Explains why files on their way cannot be written."""
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"cannot write {self._staging}: {error.strerror or type(error).__name__}",
                hint=NO_ROOM,
            ) from error


@contextmanager
def file_maker(warehouse: Warehouse, lake: Lake, engine: FileEngine) -> Iterator[Maker[Any]]:
    """Holds a warehouse alone during a build, with an engine running.

    Gives:
        What makes files on this machine; with a Spark that reads and writes buckets, what leaves that to Spark.

    Raises:
        StoreError: If another build is running, or the warehouse cannot be written.
        UsageError: If a library is missing.
    """
    with warehouse.building() as staging, _engine(engine, staging) as running:
        yield _on_cluster(warehouse, lake, running) or FileMaker(warehouse, lake, running, staging)


def _on_cluster(warehouse: Warehouse, lake: Lake, engine: Engine) -> Maker[Any] | None:
    if engine.name != "spark":
        return None
    from etl.warehouse.cluster import cluster_maker  # noqa: PLC0415 -- Spark is an extra

    return cluster_maker(warehouse, lake, engine)


def log_table(entries: Sequence[Entry]) -> pa.Table:
    """Gives entries as rows of the table ``build_log``."""
    schema = by_name(models())[BUILD_LOG].arrow_schema
    rows = [{name: getattr(entry, name) for name in schema.names} for entry in entries]
    return arrow.table(rows, schema)


@contextmanager
def _engine(name: FileEngine, scratch: Path) -> Iterator[Engine]:
    engine: Engine
    match name:
        case "duckdb":
            from etl.warehouse.duckdb_engine import DuckDBEngine  # noqa: PLC0415 -- each engine is an extra

            engine = DuckDBEngine(scratch)
        case "spark":
            from etl.warehouse.spark_engine import SparkEngine  # noqa: PLC0415

            engine = SparkEngine(scratch)
        case _:
            assert_never(name)
    try:
        yield engine
    finally:
        engine.close()


def refuse_other_columns(model: Model, found: pa.Schema) -> None:
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
