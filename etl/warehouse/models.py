"""The models: each table of the warehouse as a folder of SQL and YAML, read and validated.

A folder holds ``metadata.yaml``, ``schema.yaml`` (the columns), ``query.sql`` (BigQuery dialect; not for a log) and
``checks.yaml``. The table has the name of the folder. If there is an ``entries.yaml``, the folder is a template: it
makes a table for each entry, and the entry's values are filled into the other files. Files are Jinja templates, which
may import the macros in ``macros.sql``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import cache
from graphlib import CycleError, TopologicalSorter
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator

from etl.errors import UsageError

if TYPE_CHECKING:
    from jinja2 import Environment

MODELS_FOLDER: Final = Path(__file__).parent / "models"
LAKE_EVENTS: Final = "lake_events"
"""The name by which models read the lake's events: the nineteen columns, and ``date`` and ``hour`` of the file."""
LAKE_COVERAGE: Final = "lake_coverage"
"""The name by which models read the lake's coverage, one row per hour."""
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
    """How a table is built."""

    TABLE = "table"
    """The query is run for each partition, or once for the whole table."""
    MERGE = "merge"
    """The query is run over the table's own rows and the partitions it has not read yet. Its result must be the same as
    that of one run over all partitions."""
    VIEW = "view"
    """The query is run when the view is read; nothing is stored."""
    LOG = "log"
    """The build itself adds rows; there is no query."""


class Column(_Strict):
    """One column.

    Attributes:
        name: Its name.
        type: Its type in BigQuery.
        description: What it holds, for people.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    type: Literal["STRING", "INT64", "FLOAT64", "BOOL", "TIMESTAMP", "DATE", "ARRAY<STRING>"]
    description: str = Field(min_length=1)

    @property
    def arrow(self) -> pa.DataType:
        """Its type in Arrow."""
        return _ARROW[self.type]


class Severity(StrEnum):
    """What happens when a check fails."""

    FAIL = "fail"
    """The new partition is refused, and the old one stays."""
    WARN = "warn"
    """The new partition is published, and the build warns."""


class Check(_Strict):
    """A condition that a table's new rows must meet.

    Attributes:
        name: Its name, unique within the table.
        severity: What happens when it fails.
        why: What would go wrong, for people.
        sql: A query (BigQuery dialect) that returns one row for each violation.
        columns: For the built-in checks ``unique`` and ``not_null``, the columns they check.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    severity: Severity
    why: str
    sql: str
    columns: tuple[str, ...] = ()


class _CheckDeclaration(_Strict):
    """An entry of ``checks.yaml``: a built-in check of some columns, or a query of its own with a name."""

    why: str = Field(min_length=1)
    severity: Severity = Severity.FAIL
    name: str | None = None
    unique: tuple[str, ...] = ()
    not_null: tuple[str, ...] = ()
    sql: str | None = None

    @model_validator(mode="after")
    def _is_one_check(self) -> _CheckDeclaration:
        if sum(map(bool, (self.unique, self.not_null, self.sql))) != 1:
            raise ValueError("a check has one of unique, not_null and sql")
        if self.sql and not self.name:
            raise ValueError("a check with sql needs a name")
        return self

    def of(self, table: str) -> Check:
        """Returns the check of a table, with the SQL of a built-in one."""
        columns = self.unique or self.not_null
        if self.unique:
            name, sql = "unique", f"SELECT {columns[0]} FROM {table} GROUP BY {', '.join(columns)} HAVING COUNT(*) > 1"  # noqa: S608 -- names of ours
        elif self.not_null:
            any_null = " OR ".join(f"{column} IS NULL" for column in columns)
            name, sql = "not_null", f"SELECT {columns[0]} FROM {table} WHERE {any_null}"  # noqa: S608 -- names of ours
        else:
            name, sql = "", self.sql or ""
        return Check(name=self.name or name, severity=self.severity, why=self.why, sql=sql, columns=columns)


class Partition(_Strict):
    """How a table is partitioned.

    Attributes:
        field: The column, a TIMESTAMP or a DATE.
        by: The size of a partition.
        require_filter: Whether BigQuery refuses queries without a filter on the column.
        may_be_hourly: Whether BigQuery may partition it by the hour instead.
    """

    field: str
    by: Literal["day"]
    require_filter: bool
    may_be_hourly: bool = False


class AppendOnlyKey(_Strict):
    """How to tell that a new version of a partition only adds to the old one.

    It does if it has every key of the old version, with minimums no higher and maximums no lower. A table of kind
    ``merge`` can then read the new version without reading all other partitions again.

    Attributes:
        key: Columns that identify a row.
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
    broadcast: tuple[str, ...] = ()
    owner: str = Field(min_length=1)
    labels: dict[str, str]


class Model(_Strict):
    """A table of the warehouse.

    Attributes:
        name: Its name.
        title: Its name for people.
        description: What a row is.
        kind: How it is built.
        reads: The tables and sources that its query reads.
        partition: How it is partitioned; None if it is built as one piece.
        grows: How to tell that a new version of a partition only adds rows; None where no table needs to know.
        key: The columns that identify a row, where BigQuery can drop a join because of it; empty elsewhere.
        cluster: The columns BigQuery clusters it by, the most often filtered one first.
        broadcast: Subqueries of its query whose result is small, which Spark broadcasts when they are joined.
        owner: Who is responsible for it.
        labels: BigQuery labels.
        columns: Its columns, in order.
        query: SQL in BigQuery's dialect; empty for a log. ``@start`` and ``@end`` are the bounds of the partition
            and ``@built_at`` the time of the build, all TIMESTAMP.
        checks: The conditions that its rows must meet.
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
    broadcast: tuple[str, ...]
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
        """Changes with the query (less its comments), the columns and the partitioning: with what rows depend on."""
        query = "\n".join(line for line in self.query.splitlines() if not line.lstrip().startswith("--"))
        parts = [self.kind, query, *(f"{column.name} {column.type}" for column in self.columns)]
        parts.append("" if self.partition is None else f"{self.partition.field} {self.partition.by}")
        return sha256("\n".join(parts).encode()).hexdigest()[:32]

    @property
    def is_stored(self) -> bool:
        """Whether a build runs its query and stores the rows."""
        return self.kind in (Kind.TABLE, Kind.MERGE)


@cache
def models() -> tuple[Model, ...]:
    """Returns all models, each after those it reads.

    Raises:
        UsageError: If a library is missing, or a model is invalid.
    """
    return read_models(MODELS_FOLDER)


def read_models(folder: Path) -> tuple[Model, ...]:
    """Reads the models of a folder, each after those it reads.

    Raises:
        UsageError: If a library is missing, or a model is invalid.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 -- loads slowly

    environment = Environment(
        loader=FileSystemLoader(folder),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 -- what is rendered is SQL and YAML
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    found: dict[str, Model] = {}
    for path in sorted(folder.iterdir()):
        if (path / "metadata.yaml").is_file():
            entries = _yaml(environment, path / "entries.yaml", {}) or {path.name: {}}
            found |= {name: _read(environment, path, name, values) for name, values in entries.items()}
    for model in found.values():
        unknown = set(model.reads) - SOURCES - set(found)
        if unknown:
            raise _invalid(model.name, f"it reads {', '.join(sorted(unknown))}, which no model makes")
    graph = {name: [read for read in model.reads if read in found] for name, model in found.items()}
    try:
        return tuple(found[name] for name in TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise _invalid(str(error.args[1][0]), "it reads itself, directly or through other models") from error


def _read(environment: Environment, folder: Path, name: str, values: Mapping[str, str]) -> Model:
    query = folder / "query.sql"
    try:
        metadata = _Metadata.model_validate(_yaml(environment, folder / "metadata.yaml", values))
        declared = TypeAdapter(tuple[_CheckDeclaration, ...]).validate_python(
            _yaml(environment, folder / "checks.yaml", values)
        )
        model = Model(
            name=name,
            **dict(metadata),
            columns=TypeAdapter(tuple[Column, ...]).validate_python(_yaml(environment, folder / "schema.yaml", values)),
            query=_rendered(environment, query, values) if query.is_file() else "",
            checks=tuple(check.of(name) for check in declared),
        )
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise _invalid(name, f"{place}: {problem['msg']}") from None
    _refuse_contradictions(model)
    return model


def _refuse_contradictions(model: Model) -> None:
    names = [column.name for column in model.columns]
    checks = [check.name for check in model.checks]
    grown = model.grows
    named = [*model.cluster, *model.key, *(() if grown is None else (*grown.key, *grown.lowest, *grown.highest))]
    named += [column for check in model.checks for column in check.columns]
    if model.partition is not None:
        named.append(model.partition.field)
    for problem, there in (
        ("two columns have the same name", len(set(names)) < len(names)),
        ("two checks have the same name", len(set(checks)) < len(checks)),
        (f"it names columns that it does not have: {sorted(set(named) - set(names))}", not set(named) <= set(names)),
        ("a log has no query, and all others have one", (model.kind is Kind.LOG) == bool(model.query)),
        ("only a table or a log has partitions", model.partition is not None and model.kind in (Kind.VIEW, Kind.MERGE)),
        ("a merge reads one table", model.kind is Kind.MERGE and len(model.reads) != 1),
        ("only stored tables have checks", bool(model.checks) and not model.is_stored),
    ):
        if there:
            raise _invalid(model.name, problem)


def _rendered(environment: Environment, path: Path, values: Mapping[str, str]) -> str:
    from jinja2 import TemplateError  # noqa: PLC0415 -- loads slowly

    text = path.read_text(encoding="utf-8")
    # Compiling a template takes ten times as long as reading a file, and most files are plain text.
    if "{{" not in text and "{%" not in text:
        return text
    try:
        return environment.from_string(text).render(values)
    except TemplateError as error:
        raise UsageError(f"{path} cannot be rendered: {error.message}") from error


def _yaml(environment: Environment, path: Path, values: Mapping[str, str]) -> Any:  # noqa: ANN401 -- YAML is of any type until it is validated
    if not path.is_file():
        return []
    try:
        # PyYAML's safe loader in C, where it has one: ten times as fast, and there are fifty files.
        return msgspec.yaml.decode(_rendered(environment, path, values))
    except msgspec.DecodeError as error:
        raise UsageError(f"{path} is not valid YAML") from error


def _invalid(name: str, problem: str) -> UsageError:
    return UsageError(f"the model {name} is invalid: {problem}", hint=f"its files are in {MODELS_FOLDER}")


def by_name(found: Sequence[Model]) -> dict[str, Model]:
    """Returns models by their names."""
    return {model.name: model for model in found}
