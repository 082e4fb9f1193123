"""Building: brings every table up to date with the lake, one partition at a time, each replaced whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import Final, Literal, assert_never
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from etl import __version__
from etl.errors import ChecksFailedError, StoreError
from etl.lake.coverage import coverage
from etl.lake.lake import Lake
from etl.lake.suspects import Thresholds
from etl.warehouse.engine import LAKE_SCHEMA, Engine, Files, Tables
from etl.warehouse.inputs import DayInput, Days, bounds, days_of
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Check, Growth, Kind, Model, Severity, by_name, models
from etl.warehouse.plan import Input, Piece, Reason, after, pieces
from etl.warehouse.tables import ALL, Built, Nearby, TableState, Warehouse, partition_key
from etl.warehouse.translate import Parameters

BUILD_LOG: Final = "build_log"

_STATE_EVERY: Final = timedelta(seconds=2)
"""How much work a crash may cost: what was published since the state was last written is made again."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Outcome(StrEnum):
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
    outcome: Outcome
    detail: str | None
    rows_written: int | None
    bytes_written: int | None
    bytes_read: int
    started_at: datetime
    finished_at: datetime
    software: str


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        engine: What runs the models.
        days: The days to look at; others stay as they are.
        full: Build what is built already, too.
        thresholds: From where on the coverage calls an hour suspect.
    """

    engine: Literal["duckdb", "spark"] = "duckdb"
    days: Days = field(default_factory=Days)
    full: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)


def planned(warehouse: Warehouse, lake: Lake, options: BuildOptions, *, now: datetime) -> list[Piece]:
    """Tells what ``build`` would do, and changes nothing.

    Raises:
        StoreError: If the lake or the warehouse cannot be read.
        UsageError: If a library is missing.
    """
    days = days_of(lake, warehouse.store, options.days, now=now, remember=False)
    inputs = {LAKE_EVENTS: Input.of_lake(days), LAKE_COVERAGE: _coverage_input(_coverage(lake, options, now))}
    found: list[Piece] = []
    for model in models():
        if not model.is_stored:
            continue
        state, unknown = warehouse.state(model.name)
        there = Input.of_table(state)
        for piece in pieces(model, inputs, state, unknown, options.days, full=options.full):
            there = after(piece, there)
            found.append(piece)
        inputs[model.name] = there
    return found


def build(
    warehouse: Warehouse,
    lake: Lake,
    options: BuildOptions,
    *,
    watch: Callable[[Entry], None] = lambda _: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Entry]:
    """Brings the warehouse up to date with the lake; doing it again is free and safe, also after a crash.

    Args:
        warehouse: Where to.
        lake: Where from.
        options: How.
        watch: Told of each partition when it is done.
        clock: Tells the time (aware, UTC).

    Returns:
        What was done, a partition an entry; also written to the table ``build_log``.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the warehouse cannot be read or written, or another build is running.
        UsageError: If a library is missing.
    """
    with warehouse.building() as staging, _engine(options.engine, staging) as engine:
        run = _Run(warehouse, lake, options, engine, staging, watch, clock)
        try:
            with _room_in(staging):
                run.all()
        finally:
            with _room_in(staging):
                run.write_log()
    refused = [entry for entry in run.entries if entry.outcome is Outcome.REFUSED]
    if refused:
        first = refused[0]
        raise ChecksFailedError(
            f"{len(refused)} partitions were refused, and what they hold is as it was; the first is"
            f" {first.model} {first.partition_id}: {first.detail}",
            hint=f"the table {BUILD_LOG} has them all",
        )
    return run.entries


class _Run:
    """One build."""

    def __init__(
        self,
        warehouse: Warehouse,
        lake: Lake,
        options: BuildOptions,
        engine: Engine,
        staging: Path,
        watch: Callable[[Entry], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.entries: list[Entry] = []
        self._warehouse = warehouse
        self._lake = lake
        self._options = options
        self._engine = engine
        self._staging = staging
        self._watch = watch
        self._clock = clock
        self._built_at = clock()
        self._build_id = f"{self._built_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
        self._nearby = Nearby(staging)
        self._models = by_name(models())
        self._days: dict[str, DayInput] = {}
        self._coverage_path = staging / "lake_coverage.parquet"
        self._states: dict[str, TableState] = {}
        self._state_written = self._built_at

    def all(self) -> None:
        """Brings all tables up to date, each after those it reads."""
        self._days = days_of(self._lake, self._warehouse.store, self._options.days, now=self._built_at)
        rows = _coverage(self._lake, self._options, self._built_at)
        self._coverage_path.write_bytes(rows)
        inputs = {LAKE_EVENTS: Input.of_lake(self._days), LAKE_COVERAGE: _coverage_input(rows)}
        for model in self._models.values():
            if model.is_stored:
                inputs[model.name] = self._model(model, inputs)

    def write_log(self) -> None:
        """Adds what was done so far to the table ``build_log``."""
        if not self.entries:
            return
        path = self._staging / "log.parquet"
        schema = self._models[BUILD_LOG].arrow_schema
        rows = [{name: getattr(entry, name) for name in schema.names} for entry in self.entries]
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, compression="zstd")
        self._warehouse.publish(partition_key(BUILD_LOG, self._build_id), path)

    def _model(self, model: Model, inputs: Mapping[str, Input]) -> Input:
        state, unknown = self._warehouse.state(model.name)
        self._states[model.name] = state
        todo = pieces(model, inputs, state, unknown, self._options.days, full=self._options.full)
        try:
            for piece in todo:
                if piece.reason is Reason.GONE:
                    self._remove(piece)
            for batch in _batches([piece for piece in todo if piece.reason is not Reason.GONE], self._engine):
                self._batch(batch, inputs)
        finally:
            if todo:
                self._remember(model)
        return Input.of_table(state)

    def _remove(self, piece: Piece) -> None:
        began = self._clock()
        self._warehouse.remove(piece.model.name, piece.partition)
        self._states[piece.model.name].partitions.pop(piece.partition, None)
        self._note(piece, Outcome.REMOVED, began)

    def _batch(self, batch: Sequence[Piece], inputs: Mapping[str, Input]) -> None:
        began = self._clock()
        folder = self._staging / "batch"
        folder.mkdir()
        try:
            files = self._staged(batch, folder)
            wrong = self._wrong(batch, files)
            for piece in batch:
                self._settle(piece, files[piece.partition], wrong[piece.partition], inputs, began)
        except (StoreError, OSError):
            for piece in batch:
                self._note(piece, Outcome.FAILED, began)
            raise
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            self._nearby.forget()

    def _staged(self, batch: Sequence[Piece], folder: Path) -> dict[str, Path]:
        """Has the engine make the partitions of a batch, and holds the files against the model's schema."""
        model = batch[0].model
        partitions = [piece.partition for piece in batch]
        made = self._engine.build(model, partitions, self._parameters(partitions), self._tables(batch), folder)
        stray = set(made) - set(partitions)
        if stray:
            raise StoreError(f"the query of {model.name} gives rows of other days than it was asked for")
        for partition in partitions:
            if partition not in made:
                made[partition] = folder / f"empty-{partition}.parquet"
                pq.write_table(model.arrow_schema.empty_table(), made[partition])
            _refuse_other_columns(model, made[partition])
        return made

    def _settle(
        self, piece: Piece, path: Path, wrong: Mapping[Check, int], inputs: Mapping[str, Input], began: datetime
    ) -> None:
        """Puts a finished partition in its place, unless a check that must hold does not."""
        for check, rows in wrong.items():
            _tell(check, piece, rows)
        detail = ", ".join(f"{check.name} ({rows} rows)" for check, rows in wrong.items()) or None
        if any(check.severity is Severity.FAIL for check in wrong):
            self._note(piece, Outcome.REFUSED, began, detail=detail)
            return
        lineage = self._lineage(piece, path)
        info = self._warehouse.publish(partition_key(piece.model.name, piece.partition), path)
        rows = pq.read_metadata(path).num_rows
        state = self._states[piece.model.name]
        state.partitions[piece.partition] = Built(
            fingerprint=piece.fingerprint, generation=info.generation, rows=rows, bytes=info.size, lineage=lineage
        )
        if piece.model.kind is Kind.MERGE:
            state.definition = piece.model.fingerprint
            state.taken = _taken(inputs[piece.model.reads[0]])
        self._note(piece, Outcome.BUILT, began, detail=detail, rows=rows, size=info.size)
        if self._clock() - self._state_written > _STATE_EVERY:
            self._remember(piece.model)

    def _remember(self, model: Model) -> None:
        self._warehouse.remember(model.name, self._states[model.name])
        self._state_written = self._clock()

    def _wrong(self, batch: Sequence[Piece], files: Mapping[str, Path]) -> dict[str, dict[Check, int]]:
        """Gives the checks that do not hold, with the rows that are wrong, by partition.

        All partitions are asked at once first, which is one job, and each alone only when something is wrong.
        """
        model = batch[0].model
        queries = {check.name: check.sql for check in model.checks}
        numbers = self._numbers(queries, batch, {model.name: [files[piece.partition] for piece in batch]})
        if not any(numbers.values()):
            return {piece.partition: {} for piece in batch}
        if len(batch) > 1:
            alone = (self._wrong([piece], files) for piece in batch)
            return {partition: wrong for each in alone for partition, wrong in each.items()}
        return {batch[0].partition: {check: numbers[check.name] for check in model.checks if numbers[check.name]}}

    def _lineage(self, piece: Piece, path: Path) -> str:
        """Keeps a partition's lineage if the new file says all that the old one said; else begins another."""
        grows = piece.model.grows
        old = self._states[piece.model.name].partitions.get(piece.partition)
        if grows is None or old is None:
            return uuid4().hex[:16]
        there = self._nearby.path(self._warehouse.store, partition_key(piece.model.name, piece.partition))
        versions = {"old_rows": [Path(there)], "new_rows": [path]}
        numbers = self._numbers({"taken_back": taken_back(grows)}, [piece], versions)
        return uuid4().hex[:16] if numbers["taken_back"] else old.lineage

    def _numbers(
        self, queries: Mapping[str, str], batch: Sequence[Piece], files: Mapping[str, Sequence[Path]]
    ) -> dict[str, int]:
        schema = batch[0].model.arrow_schema
        tables = {name: Files(tuple(map(str, paths)), schema) for name, paths in files.items()}
        return self._engine.numbers(queries, self._parameters([piece.partition for piece in batch]), tables)

    def _parameters(self, partitions: Sequence[str]) -> Parameters:
        always = {"built_at": self._built_at}
        if list(partitions) == [ALL]:
            return always
        start, end = bounds(partitions[0], partitions[-1])
        return {**always, "start": start, "end": end}

    def _tables(self, batch: Sequence[Piece]) -> Tables:
        """Gives the files that a batch reads, by table."""
        model = batch[0].model
        return {name: self._files(name, model, batch) for name in model.reads}

    def _files(self, name: str, model: Model, batch: Sequence[Piece]) -> Files:
        partitions = sorted({partition for piece in batch for partition in piece.reads[name]})
        if name == LAKE_COVERAGE:
            return Files((str(self._coverage_path),), pq.read_schema(self._coverage_path).remove_metadata())
        if name == LAKE_EVENTS:
            keys = dict.fromkeys(key for partition in partitions for key in self._days[partition].keys)
            paths = tuple(self._nearby.path(self._lake.store, key) for key in keys)
            return Files(paths, LAKE_SCHEMA, base=paths[0].partition("/date=")[0])
        keys = dict.fromkeys(partition_key(name, partition) for partition in partitions)
        if batch[0].onto:
            keys[partition_key(model.name, ALL)] = None
        paths = tuple(self._nearby.path(self._warehouse.store, key) for key in keys)
        # A merge reads its own rows together with those of the table it is made of: the columns that both have.
        schema = model.arrow_schema if model.kind is Kind.MERGE else self._models[name].arrow_schema
        return Files(paths, schema)

    def _note(
        self,
        piece: Piece,
        outcome: Outcome,
        began: datetime,
        *,
        detail: str | None = None,
        rows: int | None = None,
        size: int | None = None,
    ) -> None:
        entry = Entry(
            build_id=self._build_id,
            engine=self._engine.name,
            model=piece.model.name,
            partition_id=piece.partition,
            reason=piece.reason,
            outcome=outcome,
            detail=detail,
            rows_written=rows,
            bytes_written=size,
            bytes_read=piece.bytes,
            started_at=began,
            finished_at=self._clock(),
            software=f"gharchive-etl {__version__}",
        )
        self.entries.append(entry)
        self._watch(entry)


@contextmanager
def _room_in(staging: Path) -> Iterator[None]:
    """Explains why files on their way cannot be written."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write {staging}: {error.strerror or type(error).__name__}",
            hint="free some space on that disk, or choose another --warehouse; the tables are as they were, or whole",
        ) from error


@contextmanager
def _engine(name: Literal["duckdb", "spark"], scratch: Path) -> Iterator[Engine]:
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


def _batches(todo: Sequence[Piece], engine: Engine) -> Iterator[list[Piece]]:
    """Cuts what is to be built into runs of a length that suits the engine."""
    waiting = iter(todo)
    while batch := list(islice(waiting, engine.days_at_once)):
        yield batch


def _coverage(lake: Lake, options: BuildOptions, now: datetime) -> bytes:
    """The lake's coverage as a parquet file, in the types that all engines have; equal rows give equal bytes."""
    rows = coverage(lake, None, thresholds=options.thresholds, now=now)
    wide = [
        pa.field(column.name, pa.int64() if pa.types.is_integer(column.type) else column.type) for column in rows.schema
    ]
    sink = pa.BufferOutputStream()
    pq.write_table(rows.cast(pa.schema(wide)), sink)
    return sink.getvalue().to_pybytes()


def _coverage_input(file: bytes) -> Input:
    if not pq.read_metadata(pa.BufferReader(file)).num_rows:
        return Input({}, {})
    return Input({ALL: sha256(file).hexdigest()[:32]}, {ALL: len(file)})


def _taken(there: Input) -> dict[str, tuple[str, str]]:
    return {name: (known, there.lineages[name]) for name, known in there.fingerprints.items()}


def taken_back(grows: Growth) -> str:
    """A query for the rows of ``old_rows`` that ``new_rows`` does not cover."""
    same = " AND ".join(f"old_rows.{column} = new_rows.{column}" for column in grows.key)
    less = [f"new_rows.{column} > old_rows.{column}" for column in grows.lowest]
    less += [f"new_rows.{column} < old_rows.{column}" for column in grows.highest]
    first = grows.key[0]
    return (
        f"SELECT old_rows.{first} FROM old_rows LEFT JOIN new_rows ON {same}"  # noqa: S608 -- columns of models
        f" WHERE new_rows.{first} IS NULL OR {' OR '.join(less)}"
    )


def _refuse_other_columns(model: Model, path: Path) -> None:
    found = pq.read_schema(path)
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


def _tell(check: Check, piece: Piece, rows: int) -> None:
    tell = _log.error if check.severity is Severity.FAIL else _log.warning
    tell("check does not hold", model=piece.model.name, partition=piece.partition, check=check.name, rows=rows)
