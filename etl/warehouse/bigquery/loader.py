"""Loads a warehouse of Parquet files, built by DuckDB or Spark, into BigQuery; one load job per partition.

A load job is free, and atomic: a partition is replaced whole or stays as it was. What was loaded is noted by the
generation of the file it came from, so a second run loads what changed since, and a run that was killed is finished by
the next. A partition whose file is gone is taken away; a table never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from itertools import groupby, islice
from typing import Final

from etl.errors import StoreError, UsageError
from etl.plural import plural
from etl.storage import gcs
from etl.storage.store import ObjectInfo
from etl.warehouse.bigquery.dataset import Dataset, within_reach
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Kind, Model, models
from etl.warehouse.table_builder import Published
from etl.warehouse.table_state import ALL, TABLES, Built, TableState, Warehouse, partition_of

_AT_ONCE: Final = 8
_NOTED_EVERY: Final = 128
"""Partitions after which is noted what was loaded; a crash costs as much."""


class Action(StrEnum):
    """What to do with a partition."""

    LOAD = "load"
    REMOVE = "remove"


@dataclass(frozen=True)
class Step:
    """One partition to load or remove.

    Attributes:
        model: The table.
        partition: The day, or "all".
        action: What is to be done.
        files: The files it is loaded from.
        bytes: Their bytes.
        fingerprint: What it will have been loaded from.
    """

    model: Model
    partition: str
    action: Action
    files: tuple[str, ...]
    bytes: int
    fingerprint: str


@dataclass(frozen=True)
class Loaded:
    """A finished step.

    Attributes:
        step: The step.
        rows: Rows of the partition now.
    """

    step: Step
    rows: int


def steps(warehouse: Warehouse, dataset: Dataset, days: Days) -> Iterator[Step]:
    """Returns the steps to do, each table after those it reads, without changing anything.

    Args:
        warehouse: Where from, a bucket.
        dataset: Where to.
        days: The days to process; other days are not changed.

    Raises:
        StoreError: If the warehouse or the dataset cannot be read.
        UsageError: If the warehouse lies in no bucket.
    """
    if not gcs.is_address(warehouse.address):
        raise UsageError(
            f"{warehouse.address} is a folder, which BigQuery cannot read",
            hint="build into a bucket with --warehouse gs://bucket/prefix, or copy the folder there",
        )
    reach = within_reach(days)
    for model in models():
        if model.kind is not Kind.VIEW:
            yield from _steps_of(model, warehouse, dataset, reach)


def load(
    warehouse: Warehouse, dataset: Dataset, days: Days, *, watch: Callable[[Loaded], None] = lambda _: None
) -> list[Loaded]:
    """Updates a dataset from a warehouse; the tables must exist (``schema_sync.ensure``).

    Args:
        warehouse: Where from, a bucket.
        dataset: Where to; nobody else may write to it meanwhile.
        days: The days to process; other days are not changed.
        watch: Called with each partition when it is finished.

    Raises:
        StoreError: If something cannot be read or written; what was loaded until then stays, and is not loaded again.
        UsageError: If the warehouse lies in no bucket.
    """
    due = list(steps(warehouse, dataset, days))
    dataset.refuse_too_many({step.partition for step in due if step.partition != ALL})
    done: list[Loaded] = []
    for name, group in groupby(due, key=lambda step: step.model.name):
        expected, _ = warehouse.state(name)
        state, _ = dataset.state(name)
        waiting = iter(group)
        while part := list(islice(waiting, _NOTED_EVERY)):
            done += _loaded(dataset, part, expected, state, watch)
    return done


def _steps_of(model: Model, warehouse: Warehouse, dataset: Dataset, days: Days) -> Iterator[Step]:
    files: dict[str, list[ObjectInfo]] = {}
    for info in warehouse.files(model.name):
        # The log is a file a build; in BigQuery it is loaded in one piece.
        partition = ALL if model.kind is Kind.LOG else partition_of(model.name, info.key)
        if partition is not None:
            files.setdefault(partition, []).append(info)
    state, unknown = dataset.state(model.name)
    for partition, found in sorted(files.items()):
        fingerprint = _fingerprint(model, found)
        known = state.partitions.get(partition)
        if _asked(partition, days) and (known is None or known.fingerprint != fingerprint):
            size = sum(info.size for info in found)
            yield Step(model, partition, Action.LOAD, _addresses(model, warehouse, found), size, fingerprint)
    if model.kind is Kind.LOG:
        return
    for partition in sorted({*state.partitions, *unknown} - set(files)):
        if _asked(partition, days):
            yield Step(model, partition, Action.REMOVE, (), 0, "")


def _loaded(
    dataset: Dataset, due: list[Step], expected: TableState, state: TableState, watch: Callable[[Loaded], None]
) -> list[Loaded]:
    """Loads partitions of one table, and saves the state also after a failure."""
    model = due[0].model
    rows: dict[str, int] = {}
    failed: StoreError | None = None
    with ThreadPoolExecutor(_AT_ONCE) as loaders:
        waiting = [(step, loaders.submit(_do, dataset, step, expected)) for step in due]
        for step, future in waiting:
            error = future.exception()
            if error is None:
                rows[step.partition] = future.result()
            elif isinstance(error, StoreError):
                failed = error
            else:
                raise error
    there = dataset.published([model.name]).get(model.name, {})
    done = [Loaded(step, rows[step.partition]) for step in due if step.partition in rows]
    for loaded in done:
        _note(state, loaded, there)
        watch(loaded)
    dataset.save_state(model.name, state)
    if failed is not None:
        raise failed
    return done


def _do(dataset: Dataset, step: Step, expected: TableState) -> int:
    if step.action is Action.REMOVE:
        dataset.remove(step.model, step.partition)
        return 0
    rows = dataset.load(step.model, step.partition, step.files)
    built = expected.partitions.get(step.partition)
    if built is not None and built.rows != rows:
        raise StoreError(
            f"BigQuery loaded {plural(rows, 'row')} of {step.model.name} {step.partition}, its file has {built.rows:,}",
            hint="was the file replaced meanwhile? Run it again",
        )
    return rows


def _note(state: TableState, loaded: Loaded, there: Mapping[str, Published]) -> None:
    step = loaded.step
    if step.action is Action.REMOVE:
        state.partitions.pop(step.partition, None)
        return
    found = there.get(step.partition)
    state.partitions[step.partition] = Built(
        fingerprint=step.fingerprint,
        generation="" if found is None else found.generation,
        rows=loaded.rows,
        bytes=0 if found is None else found.bytes,
        lineage="",
    )


def _addresses(model: Model, warehouse: Warehouse, found: list[ObjectInfo]) -> tuple[str, ...]:
    if model.kind is Kind.LOG:
        # One name for all: a job takes 10,000 at most, and years of builds leave more.
        return (warehouse.store.url(f"{TABLES}/{model.name}/*.parquet"),)
    return tuple(warehouse.store.url(info.key) for info in found)


def _fingerprint(model: Model, found: list[ObjectInfo]) -> str:
    lines = [model.fingerprint, *sorted(f"{info.key} {info.generation}" for info in found)]
    return sha256("\n".join(lines).encode()).hexdigest()[:32]


def _asked(partition: str, days: Days) -> bool:
    return partition == ALL or partition in days
