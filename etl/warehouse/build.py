"""Builds the warehouse: updates every table from the lake. Each partition is replaced atomically."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from itertools import islice
from typing import Generic
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from etl import __version__
from etl.coverage.anomalies import Thresholds
from etl.coverage.coverage import coverage
from etl.errors import ChecksFailedError, StoreError
from etl.events import arrow
from etl.lake.lake import Lake
from etl.plural import plural
from etl.warehouse.builder_factory import FileEngine, open_builder
from etl.warehouse.lake_inputs import LAKE_COVERAGE_SCHEMA, Days, LakeDays, bounds, days_of
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, AppendOnlyKey, Check, Kind, Model, Severity, models
from etl.warehouse.plan import BuildReason, Input, PartitionTask, partition_tasks, predicted_state
from etl.warehouse.table_builder import Entry, PartitionOutcome, Published, Rows, Sources, StateStore, TableBuilder
from etl.warehouse.table_state import ALL, BUILD_LOG, Built, TableState, Warehouse
from etl.warehouse.transpile import Parameters

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class BuildOptions:
    """Options of a build.

    Attributes:
        engine: The engine that runs the models, if tables are files.
        days: The days to build; other days are not changed.
        full: Also build partitions that are up to date.
        thresholds: Thresholds of anomaly detection, for the coverage.
    """

    engine: FileEngine = "duckdb"
    days: Days = field(default_factory=Days)
    full: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)


def planned(place: StateStore, lake: Lake, options: BuildOptions, *, now: datetime) -> list[PartitionTask]:
    """Returns what ``build`` would do, without changing anything.

    Raises:
        StoreError: If the lake or the warehouse cannot be read.
        UsageError: If a library is missing.
    """
    found_days = days_of(lake, place.store, options.days, now=now, remember=False)
    rows = _coverage(lake, options, found_days.set_aside, now)
    inputs = {LAKE_EVENTS: Input.of_lake(found_days.days), LAKE_COVERAGE: _coverage_input(rows)}
    found: list[PartitionTask] = []
    for model in models():
        if not model.is_stored:
            continue
        state, unknown = place.state(model.name)
        there = Input.of_table(state)
        for task in partition_tasks(model, inputs, state, unknown, options.days, full=options.full):
            there = predicted_state(task, there)
            found.append(task)
        inputs[model.name] = there
    return found


def build(
    warehouse: Warehouse,
    lake: Lake,
    options: BuildOptions,
    *,
    watch: Callable[[Entry], None] = lambda _: None,
    begins: Callable[[str, int], None] = lambda _table, _partitions: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Entry]:
    """Updates a warehouse of Parquet files; ``materialize`` describes the arguments.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the warehouse cannot be read or written, or another build is running.
        UsageError: If a library is missing.
    """
    with open_builder(warehouse, lake, options.engine) as builder:
        return materialize(builder, lake, options, watch=watch, begins=begins, clock=clock)


def materialize(
    builder: TableBuilder[Rows],
    lake: Lake,
    options: BuildOptions,
    *,
    watch: Callable[[Entry], None] = lambda _: None,
    begins: Callable[[str, int], None] = lambda _table, _partitions: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Entry]:
    """Updates tables from the lake. Running it again is cheap and safe, also after a crash.

    Args:
        builder: Builds the tables; no other build may run at the same time.
        lake: The lake.
        options: Options of the build.
        watch: Called with each partition when it is finished.
        begins: Called with each table that has partitions to be made, and with their number, before they are made.
        clock: Returns the current time (aware, UTC).

    Returns:
        What was done, a partition an entry; also written to the table ``build_log``.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the tables cannot be read or written.
    """
    run = _Run(builder, lake, options, watch, begins, clock)
    try:
        run.all()
    finally:
        run.write_log()
    refused = [entry for entry in run.entries if entry.outcome is PartitionOutcome.REFUSED]
    if refused:
        first = refused[0]
        count = plural(len(refused), "partition was refused", "partitions were refused")
        raise ChecksFailedError(
            f"{count}, and what is there is as it was; the first is {first.model} {first.partition_id}: {first.detail}",
            hint=f"the table {BUILD_LOG} has them all",
        )
    return run.entries


class _Run(Generic[Rows]):
    """One build."""

    def __init__(
        self,
        builder: TableBuilder[Rows],
        lake: Lake,
        options: BuildOptions,
        watch: Callable[[Entry], None],
        begins: Callable[[str, int], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.entries: list[Entry] = []
        self._builder = builder
        self._lake = lake
        self._options = options
        self._watch = watch
        self._begins = begins
        self._clock = clock
        self._built_at = clock()
        self._build_id = f"{self._built_at:%Y%m%dT%H%M%SZ}-{uuid4().hex[:8]}"
        self._states: dict[str, TableState] = {}
        self._state_written = self._built_at

    def all(self) -> None:
        """Updates all tables, each after those it reads."""
        found = days_of(self._lake, self._builder.place.store, self._options.days, now=self._built_at)
        _warn_of_set_aside(found)
        days = found.days
        rows = _coverage(self._lake, self._options, found.set_aside, self._built_at)
        self._builder.begin(Sources({day: each for day, each in days.items() if day in self._options.days}, rows))
        inputs = {LAKE_EVENTS: Input.of_lake(days), LAKE_COVERAGE: _coverage_input(rows)}
        for model in models():
            if model.is_stored:
                inputs[model.name] = self._model(model, inputs)

    def write_log(self) -> None:
        """Adds the entries so far to the table ``build_log``."""
        if self.entries:
            self._builder.write_log(self._build_id, self.entries)

    def _model(self, model: Model, inputs: Mapping[str, Input]) -> Input:
        state, unknown = self._builder.place.state(model.name)
        self._states[model.name] = state
        todo = partition_tasks(model, inputs, state, unknown, self._options.days, full=self._options.full)
        if todo:
            self._begins(model.name, len(todo))
        try:
            for task in todo:
                if task.reason is BuildReason.GONE:
                    self._remove(task)
            due = [task for task in todo if task.reason is not BuildReason.GONE]
            for batch in _batches(due, self._builder.days_at_once):
                self._batch(batch, inputs)
        finally:
            if todo:
                self._save_state(model)
        return Input.of_table(state)

    def _remove(self, task: PartitionTask) -> None:
        began = self._clock()
        self._builder.remove(task.model, task.partition)
        self._states[task.model.name].partitions.pop(task.partition, None)
        self._note(task, PartitionOutcome.REMOVED, began)

    def _batch(self, batch: Sequence[PartitionTask], inputs: Mapping[str, Input]) -> None:
        began = self._clock()
        open_tasks = {task.partition: task for task in batch}
        try:
            staged = self._builder.stage(batch, self._parameters([task.partition for task in batch]))
            wrong = self._wrong(batch, staged)
            self._refuse(open_tasks, wrong, began)
            self._settle(open_tasks, staged, wrong, inputs, began)
        except StoreError:
            for task in open_tasks.values():
                self._note(task, PartitionOutcome.FAILED, began)
            raise
        finally:
            self._builder.discard_staging()

    def _refuse(
        self, open_tasks: dict[str, PartitionTask], wrong: Mapping[str, Mapping[Check, int]], began: datetime
    ) -> None:
        """Keeps the old version of partitions for which a check with severity ``fail`` failed."""
        for partition, task in list(open_tasks.items()):
            for check, rows in wrong[partition].items():
                _tell(check, task, rows)
            if any(check.severity is Severity.FAIL for check in wrong[partition]):
                self._note(open_tasks.pop(partition), PartitionOutcome.REFUSED, began, detail=_detail(wrong[partition]))

    def _settle(
        self,
        open_tasks: dict[str, PartitionTask],
        staged: Mapping[str, Rows],
        wrong: Mapping[str, Mapping[Check, int]],
        inputs: Mapping[str, Input],
        began: datetime,
    ) -> None:
        """Publishes finished partitions, and removes each from the list when it is published."""
        lineages = {partition: self._lineage(task, staged[partition]) for partition, task in open_tasks.items()}
        if not open_tasks:
            return
        model = next(iter(open_tasks.values())).model
        for partition, done in self._builder.publish(model, {partition: staged[partition] for partition in open_tasks}):
            task = open_tasks.pop(partition)
            self._know(task, done, lineages[partition], inputs)
            detail = _detail(wrong[partition])
            self._note(task, PartitionOutcome.BUILT, began, detail=detail, published=done)
            if self._clock() - self._state_written > self._builder.save_state_every:
                self._save_state(model)

    def _know(self, task: PartitionTask, done: Published, lineage: str, inputs: Mapping[str, Input]) -> None:
        state = self._states[task.model.name]
        state.partitions[task.partition] = Built(
            fingerprint=task.fingerprint,
            generation=done.generation,
            rows=done.rows,
            bytes=done.bytes,
            lineage=lineage,
            sha256=done.sha256,
            definition=task.model.fingerprint,
        )
        if task.model.kind is Kind.MERGE:
            state.definition = task.model.fingerprint
            state.taken = _taken(inputs[task.model.reads[0]])

    def _save_state(self, model: Model) -> None:
        self._builder.save_state(model.name, self._states[model.name])
        self._state_written = self._clock()

    def _wrong(self, batch: Sequence[PartitionTask], staged: Mapping[str, Rows]) -> dict[str, dict[Check, int]]:
        """Returns the failed checks with the number of violations, by partition.

        All partitions are asked at once first, which is one job, and each alone only when something is wrong.
        """
        model = batch[0].model
        queries = {check.name: check.sql for check in model.checks}
        numbers = self._numbers(queries, batch, {model.name: [staged[task.partition] for task in batch]})
        if not any(numbers.values()):
            return {task.partition: {} for task in batch}
        if len(batch) > 1:
            alone = (self._wrong([task], staged) for task in batch)
            return {partition: wrong for each in alone for partition, wrong in each.items()}
        return {batch[0].partition: {check: numbers[check.name] for check in model.checks if numbers[check.name]}}

    def _lineage(self, task: PartitionTask, rows: Rows) -> str:
        """Returns the partition's lineage if the new rows only add to the old ones; otherwise a new one."""
        grows = task.model.grows
        old = self._states[task.model.name].partitions.get(task.partition)
        if grows is None or old is None:
            return uuid4().hex[:16]
        versions = {"old_rows": [self._builder.stored_rows(task.model, task.partition)], "new_rows": [rows]}
        numbers = self._numbers({"retracted_rows_query": retracted_rows_query(grows)}, [task], versions)
        return uuid4().hex[:16] if numbers["retracted_rows_query"] else old.lineage

    def _numbers(
        self, queries: Mapping[str, str], batch: Sequence[PartitionTask], tables: Mapping[str, Sequence[Rows]]
    ) -> Mapping[str, int]:
        parameters = self._parameters([task.partition for task in batch])
        return self._builder.count_violations(queries, batch[0].model, parameters, tables)

    def _parameters(self, partitions: Sequence[str]) -> Parameters:
        always = {"built_at": self._built_at}
        if list(partitions) == [ALL]:
            return always
        start, end = bounds(partitions[0], partitions[-1])
        return {**always, "start": start, "end": end}

    def _note(
        self,
        task: PartitionTask,
        outcome: PartitionOutcome,
        began: datetime,
        *,
        detail: str | None = None,
        published: Published | None = None,
    ) -> None:
        entry = Entry(
            build_id=self._build_id,
            engine=self._builder.name,
            model=task.model.name,
            partition_id=task.partition,
            reason=task.reason,
            outcome=outcome,
            detail=detail,
            rows_written=None if published is None else published.rows,
            bytes_written=None if published is None else published.bytes,
            bytes_read=task.bytes,
            started_at=began,
            finished_at=self._clock(),
            software=f"gharchive-etl {__version__}",
        )
        self.entries.append(entry)
        self._watch(entry)


def retracted_rows_query(grows: AppendOnlyKey) -> str:
    """Returns a query for the rows of ``old_rows`` that ``new_rows`` does not cover."""
    same = " AND ".join(f"old_rows.{column} = new_rows.{column}" for column in grows.key)
    less = [f"new_rows.{column} > old_rows.{column}" for column in grows.lowest]
    less += [f"new_rows.{column} < old_rows.{column}" for column in grows.highest]
    first = grows.key[0]
    return (
        f"SELECT old_rows.{first} FROM old_rows LEFT JOIN new_rows ON {same}"  # noqa: S608 -- columns of models
        f" WHERE new_rows.{first} IS NULL OR {' OR '.join(less)}"
    )


def _batches(todo: Sequence[PartitionTask], days_at_once: int) -> Iterator[list[PartitionTask]]:
    """Splits the partitions to build into batches of the size that suits the engine."""
    waiting = iter(todo)
    while batch := list(islice(waiting, days_at_once)):
        yield batch


def _warn_of_set_aside(found: LakeDays) -> None:
    hours = [hour for hour, events in found.set_aside.items() if events]
    if hours:
        _log.warning(
            "events outside of the archive's span were set aside",
            events=sum(found.set_aside[hour] for hour in hours),
            hours=len(hours),
            first_hour=hours[0],
        )


def _coverage(lake: Lake, options: BuildOptions, set_aside: Mapping[str, int], now: datetime) -> bytes:
    """Returns the lake's coverage as a Parquet file, in types that all engines have. Equal rows make equal bytes."""
    rows = coverage(lake, None, thresholds=options.thresholds, now=now)
    field = LAKE_COVERAGE_SCHEMA.field("events_set_aside")
    aside = [{field.name: set_aside.get(str(hour))} for hour in rows["hour"].to_pylist()]
    rows = rows.append_column(field, arrow.table(aside, pa.schema([field]))[field.name])
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


def _detail(wrong: Mapping[Check, int]) -> str | None:
    return ", ".join(f"{check.name} ({plural(rows, 'row')})" for check, rows in wrong.items()) or None


def _tell(check: Check, task: PartitionTask, rows: int) -> None:
    tell = _log.error if check.severity is Severity.FAIL else _log.warning
    tell("check does not hold", model=task.model.name, partition=task.partition, check=check.name, rows=rows)
