"""Building: brings every table up to date with the lake, one partition at a time, each replaced whole."""

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
from etl.warehouse.builder_factory import FileEngine, file_maker
from etl.warehouse.lake_inputs import LAKE_COVERAGE_SCHEMA, Days, LakeDays, bounds, days_of
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Check, Growth, Kind, Model, Severity, models
from etl.warehouse.plan import Input, Piece, Reason, after, pieces
from etl.warehouse.table_builder import Entry, Known, Maker, Outcome, Published, Rows, Sources
from etl.warehouse.table_state import ALL, BUILD_LOG, Built, TableState, Warehouse
from etl.warehouse.transpile import Parameters

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True)
class BuildOptions:
    """How to build.

    Attributes:
        engine: What runs the models, where tables are files.
        days: The days to look at; others stay as they are.
        full: Build what is built already, too.
        thresholds: From where on the coverage calls an hour suspect.
    """

    engine: FileEngine = "duckdb"
    days: Days = field(default_factory=Days)
    full: bool = False
    thresholds: Thresholds = field(default_factory=Thresholds)


def planned(place: Known, lake: Lake, options: BuildOptions, *, now: datetime) -> list[Piece]:
    """Tells what ``build`` would do, and changes nothing.

    Raises:
        StoreError: If the lake or the warehouse cannot be read.
        UsageError: If a library is missing.
    """
    found_days = days_of(lake, place.store, options.days, now=now, remember=False)
    rows = _coverage(lake, options, found_days.set_aside, now)
    inputs = {LAKE_EVENTS: Input.of_lake(found_days.days), LAKE_COVERAGE: _coverage_input(rows)}
    found: list[Piece] = []
    for model in models():
        if not model.is_stored:
            continue
        state, unknown = place.state(model.name)
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
    begins: Callable[[str, int], None] = lambda _table, _partitions: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Entry]:
    """Brings a warehouse of parquet files up to date; see ``bring_up_to_date`` for the rest.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the warehouse cannot be read or written, or another build is running.
        UsageError: If a library is missing.
    """
    with file_maker(warehouse, lake, options.engine) as maker:
        return bring_up_to_date(maker, lake, options, watch=watch, begins=begins, clock=clock)


def bring_up_to_date(
    maker: Maker[Rows],
    lake: Lake,
    options: BuildOptions,
    *,
    watch: Callable[[Entry], None] = lambda _: None,
    begins: Callable[[str, int], None] = lambda _table, _partitions: None,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Entry]:
    """Brings tables up to date with the lake; doing it again is free and safe, also after a crash.

    Args:
        maker: Makes them; nobody else may, meanwhile.
        lake: Where from.
        options: How.
        watch: Called with each partition when it is done.
        begins: Called with each table that has partitions to be made, and with their number, before they are made.
        clock: Tells the time (aware, UTC).

    Returns:
        What was done, a partition an entry; also written to the table ``build_log``.

    Raises:
        ChecksFailedError: If a partition was refused; all others are up to date.
        StoreError: If the lake or the tables cannot be read or written.
    """
    run = _Run(maker, lake, options, watch, begins, clock)
    try:
        run.all()
    finally:
        run.write_log()
    refused = [entry for entry in run.entries if entry.outcome is Outcome.REFUSED]
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
        maker: Maker[Rows],
        lake: Lake,
        options: BuildOptions,
        watch: Callable[[Entry], None],
        begins: Callable[[str, int], None],
        clock: Callable[[], datetime],
    ) -> None:
        self.entries: list[Entry] = []
        self._maker = maker
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
        """Brings all tables up to date, each after those it reads."""
        found = days_of(self._lake, self._maker.place.store, self._options.days, now=self._built_at)
        _warn_of_set_aside(found)
        days = found.days
        rows = _coverage(self._lake, self._options, found.set_aside, self._built_at)
        self._maker.begin(Sources({day: each for day, each in days.items() if day in self._options.days}, rows))
        inputs = {LAKE_EVENTS: Input.of_lake(days), LAKE_COVERAGE: _coverage_input(rows)}
        for model in models():
            if model.is_stored:
                inputs[model.name] = self._model(model, inputs)

    def write_log(self) -> None:
        """Adds what was done so far to the table ``build_log``."""
        if self.entries:
            self._maker.write_log(self._build_id, self.entries)

    def _model(self, model: Model, inputs: Mapping[str, Input]) -> Input:
        state, unknown = self._maker.place.state(model.name)
        self._states[model.name] = state
        todo = pieces(model, inputs, state, unknown, self._options.days, full=self._options.full)
        if todo:
            self._begins(model.name, len(todo))
        try:
            for piece in todo:
                if piece.reason is Reason.GONE:
                    self._remove(piece)
            due = [piece for piece in todo if piece.reason is not Reason.GONE]
            for batch in _batches(due, self._maker.days_at_once):
                self._batch(batch, inputs)
        finally:
            if todo:
                self._remember(model)
        return Input.of_table(state)

    def _remove(self, piece: Piece) -> None:
        began = self._clock()
        self._maker.remove(piece.model, piece.partition)
        self._states[piece.model.name].partitions.pop(piece.partition, None)
        self._note(piece, Outcome.REMOVED, began)

    def _batch(self, batch: Sequence[Piece], inputs: Mapping[str, Input]) -> None:
        began = self._clock()
        open_pieces = {piece.partition: piece for piece in batch}
        try:
            staged = self._maker.stage(batch, self._parameters([piece.partition for piece in batch]))
            wrong = self._wrong(batch, staged)
            self._refuse(open_pieces, wrong, began)
            self._settle(open_pieces, staged, wrong, inputs, began)
        except StoreError:
            for piece in open_pieces.values():
                self._note(piece, Outcome.FAILED, began)
            raise
        finally:
            self._maker.forget()

    def _refuse(self, open_pieces: dict[str, Piece], wrong: Mapping[str, Mapping[Check, int]], began: datetime) -> None:
        """Keeps the old version of partitions for which a check that must hold does not."""
        for partition, piece in list(open_pieces.items()):
            for check, rows in wrong[partition].items():
                _tell(check, piece, rows)
            if any(check.severity is Severity.FAIL for check in wrong[partition]):
                self._note(open_pieces.pop(partition), Outcome.REFUSED, began, detail=_detail(wrong[partition]))

    def _settle(
        self,
        open_pieces: dict[str, Piece],
        staged: Mapping[str, Rows],
        wrong: Mapping[str, Mapping[Check, int]],
        inputs: Mapping[str, Input],
        began: datetime,
    ) -> None:
        """Puts finished partitions in their places, and takes each off the list when it is there."""
        lineages = {partition: self._lineage(piece, staged[partition]) for partition, piece in open_pieces.items()}
        if not open_pieces:
            return
        model = next(iter(open_pieces.values())).model
        for partition, done in self._maker.publish(model, {partition: staged[partition] for partition in open_pieces}):
            piece = open_pieces.pop(partition)
            self._know(piece, done, lineages[partition], inputs)
            detail = _detail(wrong[partition])
            self._note(piece, Outcome.BUILT, began, detail=detail, published=done)
            if self._clock() - self._state_written > self._maker.remember_every:
                self._remember(model)

    def _know(self, piece: Piece, done: Published, lineage: str, inputs: Mapping[str, Input]) -> None:
        state = self._states[piece.model.name]
        state.partitions[piece.partition] = Built(
            fingerprint=piece.fingerprint,
            generation=done.generation,
            rows=done.rows,
            bytes=done.bytes,
            lineage=lineage,
            sha256=done.sha256,
        )
        if piece.model.kind is Kind.MERGE:
            state.definition = piece.model.fingerprint
            state.taken = _taken(inputs[piece.model.reads[0]])

    def _remember(self, model: Model) -> None:
        self._maker.remember(model.name, self._states[model.name])
        self._state_written = self._clock()

    def _wrong(self, batch: Sequence[Piece], staged: Mapping[str, Rows]) -> dict[str, dict[Check, int]]:
        """Gives the checks that do not hold, with the rows that are wrong, by partition.

        All partitions are asked at once first, which is one job, and each alone only when something is wrong.
        """
        model = batch[0].model
        queries = {check.name: check.sql for check in model.checks}
        numbers = self._numbers(queries, batch, {model.name: [staged[piece.partition] for piece in batch]})
        if not any(numbers.values()):
            return {piece.partition: {} for piece in batch}
        if len(batch) > 1:
            alone = (self._wrong([piece], staged) for piece in batch)
            return {partition: wrong for each in alone for partition, wrong in each.items()}
        return {batch[0].partition: {check: numbers[check.name] for check in model.checks if numbers[check.name]}}

    def _lineage(self, piece: Piece, rows: Rows) -> str:
        """Keeps a partition's lineage if the new rows say all that the old ones said; else begins another."""
        grows = piece.model.grows
        old = self._states[piece.model.name].partitions.get(piece.partition)
        if grows is None or old is None:
            return uuid4().hex[:16]
        versions = {"old_rows": [self._maker.standing(piece.model, piece.partition)], "new_rows": [rows]}
        numbers = self._numbers({"taken_back": taken_back(grows)}, [piece], versions)
        return uuid4().hex[:16] if numbers["taken_back"] else old.lineage

    def _numbers(
        self, queries: Mapping[str, str], batch: Sequence[Piece], tables: Mapping[str, Sequence[Rows]]
    ) -> Mapping[str, int]:
        parameters = self._parameters([piece.partition for piece in batch])
        return self._maker.numbers(queries, batch[0].model, parameters, tables)

    def _parameters(self, partitions: Sequence[str]) -> Parameters:
        always = {"built_at": self._built_at}
        if list(partitions) == [ALL]:
            return always
        start, end = bounds(partitions[0], partitions[-1])
        return {**always, "start": start, "end": end}

    def _note(
        self,
        piece: Piece,
        outcome: Outcome,
        began: datetime,
        *,
        detail: str | None = None,
        published: Published | None = None,
    ) -> None:
        entry = Entry(
            build_id=self._build_id,
            engine=self._maker.name,
            model=piece.model.name,
            partition_id=piece.partition,
            reason=piece.reason,
            outcome=outcome,
            detail=detail,
            rows_written=None if published is None else published.rows,
            bytes_written=None if published is None else published.bytes,
            bytes_read=piece.bytes,
            started_at=began,
            finished_at=self._clock(),
            software=f"gharchive-etl {__version__}",
        )
        self.entries.append(entry)
        self._watch(entry)


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


def _batches(todo: Sequence[Piece], days_at_once: int) -> Iterator[list[Piece]]:
    """Cuts what is to be built into runs of a length that suits the engine."""
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
    """The lake's coverage as a parquet file, in the types that all engines have; equal rows give equal bytes."""
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


def _tell(check: Check, piece: Piece, rows: int) -> None:
    tell = _log.error if check.severity is Severity.FAIL else _log.warning
    tell("check does not hold", model=piece.model.name, partition=piece.partition, check=check.name, rows=rows)
