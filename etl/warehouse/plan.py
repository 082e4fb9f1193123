"""Plans a build: which partitions of which tables are outdated.

Changes are detected by fingerprints. A partition's is made of its model's and of those of its inputs, so a new version
of an hour, an hour that came late, and a changed query are all seen in the same way, however far down the tables they
matter; and what a crash left half done is simply still to be done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from hashlib import sha256

from etl.warehouse.lake_inputs import DayInput, Days
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Kind, Model
from etl.warehouse.table_state import ALL, Built, TableState


class BuildReason(StrEnum):
    """Why a partition has to be built or removed."""

    NEW = "new"
    CHANGED = "changed"
    """What it reads changed."""
    MODEL_CHANGED = "model changed"
    FULL = "full"
    GONE = "gone"


@dataclass(frozen=True)
class Input:
    """One input of a table.

    Attributes:
        fingerprints: Of its partitions.
        lineages: Of its partitions; see ``Built``.
        sizes: Bytes of its partitions.
    """

    fingerprints: Mapping[str, str]
    sizes: Mapping[str, int]
    lineages: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of_lake(cls, days: Mapping[str, DayInput]) -> Input:
        """Returns the lake's events as an input."""
        return cls(
            {day: found.fingerprint for day, found in days.items()}, {day: found.bytes for day, found in days.items()}
        )

    @classmethod
    def of_table(cls, state: TableState) -> Input:
        """Returns a table as an input."""
        built = state.partitions
        return cls(
            {name: partition.fingerprint for name, partition in built.items()},
            {name: partition.bytes for name, partition in built.items()},
            {name: partition.lineage for name, partition in built.items()},
        )


@dataclass(frozen=True)
class PartitionTask:
    """One partition that has to be built or removed.

    Attributes:
        model: The table.
        partition: Which partition.
        reason: Why.
        fingerprint: What it will be made from; empty when it is to be removed.
        reads: For each table that it reads, the partitions.
        incremental: For a merge, whether new rows are merged into the existing table; else all days are read again.
        bytes: Bytes of what it reads, as far as that is built.
    """

    model: Model
    partition: str
    reason: BuildReason
    fingerprint: str
    reads: Mapping[str, tuple[str, ...]]
    incremental: bool
    bytes: int


def partition_tasks(
    model: Model, inputs: Mapping[str, Input], state: TableState, unknown: list[str], days: Days, *, full: bool
) -> list[PartitionTask]:
    """Returns the tasks for one table.

    Args:
        model: The table.
        inputs: What it reads, by name, as it will stand by then.
        state: What is known of the table.
        unknown: Its partitions that have a file of which nothing is known.
        days: The days that are to be looked at.
        full: Build what is built already, too.

    Returns:
        What is to be built, then what is to be removed, each in the order of days.
    """
    wanted = _wanted(model, inputs)
    found = [
        _piece(model, partition, fingerprint, inputs, state, full=full)
        for partition, fingerprint in sorted(wanted.items())
        if _is_asked(partition, days)
        and (full or partition not in state.partitions or state.partitions[partition].fingerprint != fingerprint)
    ]
    gone = [
        PartitionTask(model, partition, BuildReason.GONE, "", {}, incremental=False, bytes=0)
        for partition in sorted({*state.partitions, *unknown} - set(wanted))
        if _is_asked(partition, days)
    ]
    return found + gone


def predicted_state(task: PartitionTask, there: Input) -> Input:
    """Returns the predicted state of a table after a task."""
    fingerprints, sizes, lineages = dict(there.fingerprints), dict(there.sizes), dict(there.lineages)
    if task.reason is BuildReason.GONE:
        for known in (fingerprints, sizes, lineages):
            known.pop(task.partition, None)
        return replace(there, fingerprints=fingerprints, sizes=sizes, lineages=lineages)
    fingerprints[task.partition] = task.fingerprint
    # How large it will be is not known; if it is there, about as large as it is.
    sizes.setdefault(task.partition, 0)
    lineages.setdefault(task.partition, "")
    return replace(there, fingerprints=fingerprints, sizes=sizes, lineages=lineages)


def _wanted(model: Model, inputs: Mapping[str, Input]) -> dict[str, str]:
    """Returns the fingerprint that each partition of a table should have."""
    there = [inputs[name].fingerprints for name in model.reads]
    if model.partition is not None:
        days = {day for fingerprints in there for day in fingerprints}
        return {day: _digest(model.fingerprint, *(known.get(day, "") for known in there)) for day in days}
    if not any(there):
        return {}
    lines = [
        f"{name} {day} {known[day]}" for name, known in zip(model.reads, there, strict=True) for day in sorted(known)
    ]
    return {ALL: _digest(model.fingerprint, *lines)}


def _piece(
    model: Model, partition: str, fingerprint: str, inputs: Mapping[str, Input], state: TableState, *, full: bool
) -> PartitionTask:
    reason = _reason(model, fingerprint, state.partitions.get(partition))
    incremental = not full and _can_add(model, inputs, state)
    reads = {
        name: _read_by(model, name, partition, inputs[name], state, incremental=incremental) for name in model.reads
    }
    size = sum(inputs[name].sizes.get(each, 0) for name, those in reads.items() for each in those)
    if incremental:
        size += state.partitions[ALL].bytes
    return PartitionTask(model, partition, reason, fingerprint, reads, incremental, size)


def _reason(model: Model, fingerprint: str, built: Built | None) -> BuildReason:
    if built is None:
        return BuildReason.NEW
    if built.fingerprint == fingerprint:
        return BuildReason.FULL
    return BuildReason.CHANGED if built.definition == model.fingerprint else BuildReason.MODEL_CHANGED


def _can_add(model: Model, inputs: Mapping[str, Input], state: TableState) -> bool:
    """Returns whether all that a merge has read still exists in its inputs."""
    if model.kind is not Kind.MERGE or ALL not in state.partitions or state.definition != model.fingerprint:
        return False
    (name,) = model.reads
    lineages = inputs[name].lineages
    return all(lineages.get(partition) == lineage for partition, (_, lineage) in state.taken.items())


def _read_by(
    model: Model, name: str, partition: str, there: Input, state: TableState, *, incremental: bool
) -> tuple[str, ...]:
    if name in (LAKE_EVENTS, LAKE_COVERAGE) or model.partition is not None:
        return (partition,) if partition in there.fingerprints else ()
    if not incremental:
        return tuple(sorted(there.fingerprints))
    return tuple(sorted(day for day, known in there.fingerprints.items() if state.taken.get(day, ("", ""))[0] != known))


def _is_asked(partition: str, days: Days) -> bool:
    return partition == ALL or partition in days


def _digest(*parts: str) -> str:
    return sha256("\n".join(parts).encode()).hexdigest()[:32]
