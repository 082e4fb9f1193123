"""The models: each table of the warehouse as a folder of SQL and YAML, read and checked.

A folder holds ``metadata.yaml`` (what it is), ``schema.yaml`` (its columns), ``query.sql`` (BigQuery dialect; not for a
log) and ``checks.yaml`` (what must hold of its rows). The folder's name is the table's name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from etl.errors import UsageError

MODELS_FOLDER: Final = Path(__file__).parent / "models"
LAKE_EVENTS: Final = "lake_events"
"""What a model calls the hours of the lake: the nineteen columns, and ``date`` and ``hour`` of the file."""
LAKE_COVERAGE: Final = "lake_coverage"
"""What a model calls the coverage of the lake, an hour a row."""
SOURCES: Final = frozenset({LAKE_EVENTS, LAKE_COVERAGE})

_ARROW: Final[Mapping[str, pa.DataType]] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
    "ARRAY<STRING>": pa.list_(pa.string()),
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Kind(StrEnum):
    """How a table comes about."""

    TABLE = "table"
    """By asking its query of what it reads: for each partition, or all at once."""
    MERGE = "merge"
    """By asking its query of its own rows and of partitions it has not taken in yet. The query must give, asked of
    its own result together with more rows, what it gives when asked of all rows at once."""
    VIEW = "view"
    """By asking its query whenever it is read; nothing is stored."""
    LOG = "log"
    """By the build itself."""


class Column(_Strict):
    """One column.

    Attributes:
        name: Its name.
        type: BigQuery's name of its type.
        description: What it holds, for people.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: Literal["STRING", "INT64", "FLOAT64", "BOOL", "TIMESTAMP", "DATE", "ARRAY<STRING>"]
    description: str = Field(min_length=1)

    @property
    def arrow(self) -> pa.DataType:
        """Arrow's type of it."""
        return _ARROW[self.type]


class Severity(StrEnum):
    """What follows when a check does not hold."""

    FAIL = "fail"
    """The new partition is refused, and the old one stays."""
    WARN = "warn"
    """The new partition stands, and the build says so."""


class Check(_Strict):
    """Something that must hold of a table's new rows.

    Attributes:
        name: Its name, unique within the table.
        severity: What follows when it does not hold.
        why: What would go wrong, for people.
        sql: A query (BigQuery dialect) that gives a row for each thing that is wrong.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    severity: Severity
    why: str = Field(min_length=1)
    sql: str = Field(min_length=1)


class Partition(_Strict):
    """How a table is cut.

    Attributes:
        field: The column, a TIMESTAMP or a DATE.
        by: The size of a task.
        require_filter: Whether BigQuery refuses queries that do not say which tasks they want.
        may_be_hourly: Whether BigQuery may be asked to cut it by the hour instead.
    """

    field: str
    by: Literal["day"]
    require_filter: bool
    may_be_hourly: bool = False


class AppendOnlyKey(_Strict):
    """When a new version of a partition says all that the old one said, and maybe more.

    That is so when every key of the old one is there, with lowest values no higher and highest values no lower. A
    table of kind ``merge`` may then take in the new version without forgetting the old one.

    Attributes:
        key: Columns that tell rows apart.
        lowest: Columns that hold a minimum.
        highest: Columns that hold a maximum.
    """

    key: tuple[str, ...]
    lowest: tuple[str, ...]
    highest: tuple[str, ...]


class _Metadata(_Strict):
    title: str = Field(min_length=1)
    description: str = Field(min_length=1)
    kind: Kind
    reads: tuple[str, ...]
    partition: Partition | None = None
    grows: AppendOnlyKey | None = None
    key: tuple[str, ...] = ()
    cluster: tuple[str, ...] = Field(default=(), max_length=4)
    owner: str = Field(min_length=1)
    labels: dict[str, str]


class Model(_Strict):
    """A table of the warehouse.

    Attributes:
        name: Its name.
        title: Its name for people.
        description: What a row of it is.
        kind: How it comes about.
        reads: The tables and sources that its query names.
        partition: How it is cut; None when it is one task.
        grows: When a new version of a partition only adds; None when nobody needs to know.
        key: The columns that tell its rows apart, where that lets BigQuery leave a join out; empty elsewhere.
        cluster: The columns BigQuery sorts it by, the most often filtered one first.
        owner: Who answers for it.
        labels: BigQuery labels.
        columns: Its columns, in their order.
        query: SQL in BigQuery's dialect; empty for a log. ``@start`` and ``@end`` are the bounds of the partition
            and ``@built_at`` the time of the build, all TIMESTAMP.
        checks: What must hold of its rows.
    """

    name: str
    title: str
    description: str
    kind: Kind
    reads: tuple[str, ...]
    partition: Partition | None
    grows: AppendOnlyKey | None
    key: tuple[str, ...]
    cluster: tuple[str, ...]
    owner: str
    labels: dict[str, str]
    columns: tuple[Column, ...]
    query: str
    checks: tuple[Check, ...]

    @property
    def arrow_schema(self) -> pa.Schema:
        """Its schema in Arrow's types."""
        return pa.schema([pa.field(column.name, column.arrow) for column in self.columns])

    @property
    def fingerprint(self) -> str:
        """Changes whenever the rows that the query gives might change: with the query, the columns or the cut."""
        parts = [self.kind, self.query, *(f"{column.name} {column.type}" for column in self.columns)]
        parts.append("" if self.partition is None else f"{self.partition.field} {self.partition.by}")
        return sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def is_stored(self) -> bool:
        """Whether a build makes files for it from its query."""
        return self.kind in (Kind.TABLE, Kind.MERGE)


@cache
def models() -> tuple[Model, ...]:
    """Returns all models, each after those it reads.

    Raises:
        UsageError: If a library is missing, or a folder of models is not as it should be.
    """
    return read_models(MODELS_FOLDER)


def read_models(folder: Path) -> tuple[Model, ...]:
    """Reads the models of a folder, each after those it reads.

    Raises:
        UsageError: If a library is missing, or one of them is not as it should be.
    """
    found = {path.name: _read(path) for path in sorted(folder.iterdir()) if (path / "metadata.yaml").is_file()}
    for model in found.values():
        unknown = set(model.reads) - SOURCES - set(found)
        if unknown:
            raise _wrong(model.name, f"it reads {', '.join(sorted(unknown))}, which nobody makes")
    graph = {name: [read for read in model.reads if read in found] for name, model in found.items()}
    try:
        return tuple(found[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise _wrong(str(error.args[1][0]), "it reads itself by way of others") from error


def _read(folder: Path) -> Model:
    query = folder / "query.sql"
    try:
        metadata = _Metadata.model_validate(_yaml(folder / "metadata.yaml"))
        model = Model(
            name=folder.name,
            **dict(metadata),
            columns=TypeAdapter(tuple[Column, ...]).validate_python(_yaml(folder / "schema.yaml")),
            query=query.read_text(encoding="utf-8") if query.is_file() else "",
            checks=TypeAdapter(tuple[Check, ...]).validate_python(_yaml(folder / "checks.yaml")),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise _wrong(folder.name, f"{place}: {problem['msg']}") from None
    _refuse_contradictions(model)
    return model


def _refuse_contradictions(model: Model) -> None:
    names = [column.name for column in model.columns]
    grown = model.grows
    named = [*model.cluster, *model.key, *(() if grown is None else (*grown.key, *grown.lowest, *grown.highest))]
    if model.partition is not None:
        named.append(model.partition.field)
    for problem, there in (
        ("two columns have one name", len(set(names)) < len(names)),
        (f"it names columns it has not got: {sorted(set(named) - set(names))}", not set(named) <= set(names)),
        ("a log has no query, and all others have one", (model.kind is Kind.LOG) == bool(model.query)),
        ("only a table or a log is cut", model.partition is not None and model.kind in (Kind.VIEW, Kind.MERGE)),
        ("a merge reads one table", model.kind is Kind.MERGE and len(model.reads) != 1),
        ("only what is stored has checks", bool(model.checks) and not model.is_stored),
    ):
        if there:
            raise _wrong(model.name, problem)


def _yaml(path: Path) -> Any:  # noqa: ANN401 -- what stands in YAML is of any type until it is validated
    if not path.is_file():
        return []
    try:
        # PyYAML's safe loader in C, where it has one: ten times as fast, and there are fifty files.
        return msgspec.yaml.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is not YAML") from error


def _wrong(name: str, problem: str) -> UsageError:
    return UsageError(f"the model {name} is not right: {problem}", hint=f"see the folder {MODELS_FOLDER / name}")


def by_name(found: Sequence[Model]) -> dict[str, Model]:
    """Returns models by their names."""
    return {model.name: model for model in found}
