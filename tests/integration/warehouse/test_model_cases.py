"""Runs the cases in ``tests/models`` on DuckDB and on Spark; ``docs/how-to/warehouse.md`` describes their files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import pyarrow as pa
import pytest

from etl.spark import session
from etl.warehouse.duckdb_engine import connect
from etl.warehouse.engine import LAKE_SCHEMA
from etl.warehouse.lake_inputs import LAKE_COVERAGE_SCHEMA, bounds
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Kind, Model, by_name, models
from etl.warehouse.spark_engine import CONFIGURATION
from etl.warehouse.table_builder import Entry, log_table
from etl.warehouse.transpile import Dialect, shaped, translate

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    # Spark leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(900),
]

FOLDER: Final = Path(__file__).parents[2] / "models"
CASES: Final = sorted(str(path.relative_to(FOLDER)) for path in FOLDER.glob("*/*") if path.is_dir())
LEAST_CASES: Final = 3
MODELS: Final = by_name(models())
BUILT_AT: Final = datetime(2026, 11, 21, tzinfo=UTC)
SCHEMAS: Final[Mapping[str, pa.Schema]] = {
    LAKE_EVENTS: LAKE_SCHEMA,
    LAKE_COVERAGE: LAKE_COVERAGE_SCHEMA,
    **{name: model.arrow_schema for name, model in MODELS.items()},
}
QUICK: Final[Mapping[str, str]] = {
    # A few rows need one task, and no second plan after the first stage.
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.leafNodeDefaultParallelism": "1",
}

Row = dict[str, Any]
Ask = Callable[[Model, Mapping[str, pa.Table], Mapping[str, datetime]], pa.Table]
"""Runs a model's query over some tables with some parameters."""


@pytest.fixture(scope="module")
def quick_spark(spark: SparkSession) -> Iterator[SparkSession]:
    """The session, set up for tiny queries as long as the tests of this module run."""
    before = {name: spark.conf.get(name, None) for name in QUICK}
    with session.opened({**CONFIGURATION, **QUICK}) as quick:
        yield quick
    for name, value in before.items():
        if value is None:
            spark.conf.unset(name)
        else:
            spark.conf.set(name, value)


@pytest.fixture(params=["duckdb", "spark"])
def ask(request: pytest.FixtureRequest) -> Ask:
    """An engine."""
    if request.param == "duckdb":
        return _duckdb
    spark: SparkSession = request.getfixturevalue("quick_spark")
    return lambda model, tables, parameters: _spark(spark, model, tables, parameters)


def _duckdb(model: Model, tables: Mapping[str, pa.Table], parameters: Mapping[str, datetime]) -> pa.Table:
    with connect() as database:
        for name, rows in tables.items():
            database.register(name, rows)
        found: pa.Table = database.sql(_query(model, Dialect.DUCKDB, parameters)).to_arrow_table()
        return found


def _spark(
    spark: SparkSession, model: Model, tables: Mapping[str, pa.Table], parameters: Mapping[str, datetime]
) -> pa.Table:
    for name, rows in tables.items():
        spark.createDataFrame(rows).createOrReplaceTempView(name)
    found: pa.Table = spark.sql(_query(model, Dialect.SPARK, parameters)).toArrow()
    return found


def _query(model: Model, dialect: Dialect, parameters: Mapping[str, datetime]) -> str:
    # A log is read as it was written.
    query = model.query or f"SELECT * FROM {model.name}"  # noqa: S608 -- a name of ours
    return shaped(translate(query, dialect, parameters, broadcast=model.broadcast), model.columns, dialect)


def _table(name: str, rows: list[Row]) -> pa.Table:
    """Returns rows as a table with all its columns; those that a row does not name are null."""
    schema = pa.schema([pa.field(field.name, field.type) for field in SCHEMAS[name]])
    unknown = {column for row in rows for column in row} - set(schema.names)
    assert not unknown, f"{name} has no column {', '.join(sorted(unknown))}"
    return pa.Table.from_pylist(rows, schema=schema)


def _inputs(model: Model, given: Mapping[str, list[Row]]) -> dict[str, pa.Table]:
    """Returns the tables that a model reads, in the form in which a build lets it read them."""
    if model.kind is Kind.LOG:
        nulls: Row = dict.fromkeys(Entry.__dataclass_fields__)
        return {model.name: log_table([Entry(**{**nulls, **row}) for row in given[model.name]])}
    own = {model.name} if model.kind is Kind.MERGE else set()
    assert set(given) - own == set(model.reads), f"{model.name} reads {', '.join(model.reads)}"
    tables = {name: _table(name, rows) for name, rows in given.items()}
    if model.kind is Kind.MERGE:
        # A merge reads its own rows and new rows as one table, with the columns that both have.
        (read,) = model.reads
        parts = [table.select(model.arrow_schema.names) for table in tables.values()]
        return {read: pa.concat_tables(parts)}
    return tables


def _parameters(model: Model, day: date | None) -> dict[str, datetime]:
    assert ("@start" in model.query) == (day is not None), "a day is given if, and only if, the query has @start"
    if day is None:
        return {"built_at": BUILT_AT}
    start, end = bounds(day.isoformat(), day.isoformat())
    return {"built_at": BUILT_AT, "start": start, "end": end}


def _compared(table: pa.Table, columns: list[str]) -> list[Row]:
    return sorted(table.select(columns).to_pylist(), key=repr)


@pytest.mark.parametrize("case", CASES)
def test_case(case: str, ask: Ask) -> None:
    model = MODELS[case.partition("/")[0]]
    given = msgspec.yaml.decode((FOLDER / case / "input.yaml").read_bytes(), type=dict[str, Any])
    expected = msgspec.yaml.decode((FOLDER / case / "expect.yaml").read_bytes(), type=list[Row])
    parameters = _parameters(model, given.pop("day", None))
    found = ask(model, _inputs(model, given), parameters).cast(model.arrow_schema)
    columns = [column.name for column in model.columns if any(column.name in row for row in expected)]
    assert _compared(found, columns) == _compared(_table(model.name, expected), columns)
    assert found.num_rows == len(expected)


@pytest.mark.parametrize("model", MODELS)
def test_a_model_has_at_least_three_cases(model: str) -> None:
    assert sum(case.startswith(f"{model}/") for case in CASES) >= LEAST_CASES


@pytest.mark.parametrize("case", CASES)
def test_a_case_says_what_it_shows(case: str) -> None:
    assert case.partition("/")[0] in MODELS
    assert sorted(path.name for path in (FOLDER / case).iterdir()) == ["expect.yaml", "input.yaml"]
    assert (FOLDER / case / "input.yaml").read_text("utf-8").startswith("# ")
