"""The models as BigQuery knows them: statements that create tables and views with all that is said of their columns.

Nothing here drops or replaces a table. A view is replaced, since it holds no rows.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from etl.events.schema import COLUMNS as LAKE_COLUMNS
from etl.lake.coverage import COVERAGE_SCHEMA
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Column, Kind, Model, Partition, models

_BY_FOLDER: Final = (
    ("date", "DATE", "Day of the archive's file, from the folder's name."),
    ("hour", "INT64", "Hour of the archive's file, from the folder's name."),
)


def create(model: Model, dataset: str | None = None) -> str:
    """Gives the statement that creates a model's table or view where there is none.

    Args:
        model: The model.
        dataset: ``project.dataset`` or ``dataset`` to name tables with; None for the connection's own.
    """
    if model.kind is Kind.VIEW:
        return (
            f"CREATE OR REPLACE VIEW {_name(model.name, dataset)}\n{_options(model)}\nAS\n{_qualified(model, dataset)}"
        )
    # Not enforced by BigQuery, but by a check of ours; it lets BigQuery leave out a join whose columns nobody asks for.
    key = f",\n  PRIMARY KEY ({', '.join(model.key)}) NOT ENFORCED" if model.key else ""
    lines = [f"CREATE TABLE IF NOT EXISTS {_name(model.name, dataset)} (\n{_columns(model.columns)}{key}\n)"]
    if model.partition is not None:
        lines.append(f"PARTITION BY {_cut(model, model.partition)}")
    if model.cluster:
        lines.append(f"CLUSTER BY {', '.join(model.cluster)}")
    return "\n".join([*lines, _options(model)])


def create_all(dataset: str | None = None) -> list[str]:
    """Gives the statements that create all tables and views, each after those it reads."""
    return [create(model, dataset) for model in models()]


def create_sources() -> list[str]:
    """Gives statements for what the models read of the lake, so that a checker of SQL knows its columns."""
    events = [(column.name, column.kind.bigquery, column.description) for column in LAKE_COLUMNS]
    rows = [(column.name, _kind(column.type), "") for column in COVERAGE_SCHEMA]
    return [
        f"CREATE TABLE {name} (\n" + ",\n".join(f"  {column} {kind}" for column, kind, _ in columns) + "\n)"
        for name, columns in ((LAKE_EVENTS, [*events, *_BY_FOLDER]), (LAKE_COVERAGE, rows))
    ]


def _columns(columns: Sequence[Column]) -> str:
    return ",\n".join(
        f"  {column.name} {column.type} OPTIONS ({_description(column.description)})" for column in columns
    )


def _cut(model: Model, partition: Partition) -> str:
    (kind,) = (column.type for column in model.columns if column.name == partition.field)
    return partition.field if kind == "DATE" else f"TIMESTAMP_TRUNC({partition.field}, {partition.by.upper()})"


def _options(model: Model) -> str:
    labels = ", ".join(
        f"({_text(key)}, {_text(value)})" for key, value in {**model.labels, "owner": model.owner}.items()
    )
    options = [f"friendly_name = {_text(model.title)}", _description(model.description), f"labels = [{labels}]"]
    if model.partition is not None and model.partition.require_filter:
        options.append("require_partition_filter = TRUE")
    return "OPTIONS (\n  " + ",\n  ".join(options) + "\n)"


def _description(text: str) -> str:
    return f"description = {_text(text)}"


def _text(text: str) -> str:
    # JSON's way to write a text is one of BigQuery's.
    return json.dumps(text, ensure_ascii=False)


def _name(table: str, dataset: str | None) -> str:
    return f"`{table}`" if dataset is None else f"`{dataset}.{table}`"


def _qualified(model: Model, dataset: str | None) -> str:
    if dataset is None:
        return model.query
    from sqlglot import exp, parse_one  # noqa: PLC0415 -- comes with the extra

    tree = parse_one(model.query, read="bigquery")
    for table in tree.find_all(exp.Table):
        if table.name in model.reads:
            table.replace(exp.to_table(f"{dataset}.{table.name}", dialect="bigquery", alias=table.alias or table.name))
    return tree.sql(dialect="bigquery", pretty=True)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "INT64"
    if pa.types.is_floating(kind):
        return "FLOAT64"
    return "TIMESTAMP" if pa.types.is_timestamp(kind) else "STRING"
