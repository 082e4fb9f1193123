"""The models as tables and views of BigQuery, with the descriptions of their columns.

Once as resources of its API, for Terraform and for what a build makes itself, and once as statements, which Google's
analyzer can check. Nothing here drops or replaces a table. A view is replaced, since it holds no rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal

import pyarrow as pa

from etl.errors import UsageError
from etl.events.schema import COLUMNS as LAKE_COLUMNS
from etl.warehouse.lake_inputs import LAKE_COVERAGE_SCHEMA
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Column, Kind, Model, Partition, by_name, models

PROJECT: Final = "{project}"
DATASET: Final = "{dataset}"
REPORTING: Final = "{reporting_dataset}"
"""What ``resources`` writes for the project, the dataset of the tables and the one of the views for reports."""

Cut = Literal["day", "hour"]
"""How ``events_base`` is cut in BigQuery; all other tables are cut by day or not at all."""

_MART: Final = "mart"
_API_TYPES: Final[Mapping[str, tuple[str, str]]] = {
    "STRING": ("STRING", "NULLABLE"),
    "INT64": ("INTEGER", "NULLABLE"),
    "FLOAT64": ("FLOAT", "NULLABLE"),
    "BOOL": ("BOOLEAN", "NULLABLE"),
    "TIMESTAMP": ("TIMESTAMP", "NULLABLE"),
    "DATE": ("DATE", "NULLABLE"),
    "ARRAY<STRING>": ("STRING", "REPEATED"),
}
"""Type and mode as the API gives them back, so that a comparison finds them equal."""
_BY_FOLDER: Final = (
    ("date", "DATE", "Day of the archive's file, from the folder's name."),
    ("hour", "INT64", "Hour of the archive's file, from the folder's name."),
)


def resources(events_by: Cut = "day") -> list[dict[str, Any]]:
    """Returns every table and view as a ``Table`` of BigQuery's API, without the project.

    Names that are not known here stand as ``{project}``, ``{dataset}`` and ``{reporting_dataset}``: in
    ``tableReference.datasetId`` and in ``view.query``, nowhere else. The views of ``{reporting_dataset}`` read tables
    of ``{dataset}`` and of nothing else; authorised there, they show reports what their readers have no right to
    read themselves.

    Args:
        events_by: How ``events_base`` is partitioned.

    Returns:
        Tables, then views, then the views for reports, each by name. A view's ``schema`` holds the descriptions of its
        columns; the API refuses it in the call that creates the view and takes it in a later ``tables.patch``.
    """
    named = sorted(models(), key=lambda model: model.name)
    tables = [_table(model, events_by) for model in named if model.kind is not Kind.VIEW]
    views = [_view(model, DATASET) for model in named if model.kind is Kind.VIEW]
    return [*tables, *views, *(_view(model, REPORTING) for model in reported())]


def filled(resource: Mapping[str, Any], *, project: str, dataset: str, reporting: str = "") -> dict[str, Any]:
    """Returns one of ``resources`` with names in their places.

    Args:
        resource: A table or a view.
        project: The project of both datasets.
        dataset: The dataset of the tables.
        reporting: The dataset of the views for reports; needed for those only.
    """
    names = {PROJECT: project, DATASET: dataset, REPORTING: reporting}
    place = {name: names.get(value, value) for name, value in resource["tableReference"].items()}
    whole = {**resource, "tableReference": {"projectId": project, **place}}
    if "view" in resource:
        query = resource["view"]["query"]
        for written, name in names.items():
            query = query.replace(written, name)
        whole["view"] = {**resource["view"], "query": query}
    return whole


def reported() -> list[Model]:
    """Returns the models that reports read, by name: the marts that no other mart reads."""
    named = sorted(models(), key=lambda model: model.name)
    marts = [model for model in named if model.labels.get("layer") == _MART]
    inner = {name for model in marts for name in model.reads}
    return [model for model in marts if model.name not in inner]


def cut_of(model: Model, events_by: Cut) -> Cut | None:
    """Returns how a table is partitioned in BigQuery; None if it is not."""
    if model.partition is None:
        return None
    return events_by if model.partition.may_be_hourly else "day"


def schema_of(columns: Sequence[Column]) -> dict[str, Any]:
    """Returns columns as a ``TableSchema`` of BigQuery's API."""
    fields = []
    for column in columns:
        kind, mode = _API_TYPES[column.type]
        fields.append({"name": column.name, "type": kind, "mode": mode, "description": column.description})
    return {"fields": fields}


def create(model: Model, dataset: str | None = None) -> str:
    """Returns the statement that creates a model's table or view if it does not exist.

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
    """Returns the statements that create all tables and views, each after those it reads."""
    return [create(model, dataset) for model in models()]


def create_sources() -> list[str]:
    """Returns statements that create the lake's tables, so that an SQL analyzer knows their columns."""
    events = [(column.name, column.kind.bigquery, column.description) for column in LAKE_COLUMNS]
    rows = [(column.name, _kind(column.type), "") for column in LAKE_COVERAGE_SCHEMA]
    return [
        f"CREATE TABLE {name} (\n" + ",\n".join(f"  {column} {kind}" for column, kind, _ in columns) + "\n)"
        for name, columns in ((LAKE_EVENTS, [*events, *_BY_FOLDER]), (LAKE_COVERAGE, rows))
    ]


def _table(model: Model, events_by: Cut) -> dict[str, Any]:
    table = {**_said(model, DATASET), "schema": schema_of(model.columns)}
    cut = cut_of(model, events_by)
    if model.partition is not None and cut is not None:
        table["timePartitioning"] = {"type": cut.upper(), "field": model.partition.field}
        table["requirePartitionFilter"] = model.partition.require_filter
    if model.cluster:
        table["clustering"] = {"fields": list(model.cluster)}
    if model.key:
        table["tableConstraints"] = {"primaryKey": {"columns": list(model.key)}}
    return table


def _view(model: Model, dataset: str) -> dict[str, Any]:
    return {
        **_said(model, dataset),
        "schema": schema_of(model.columns),
        "view": {"query": _reading(model), "useLegacySql": False},
    }


def _said(model: Model, dataset: str) -> dict[str, Any]:
    return {
        "tableReference": {"datasetId": dataset, "tableId": model.name},
        "friendlyName": model.title,
        "description": model.description,
        "labels": _labels(model),
    }


def _labels(model: Model) -> dict[str, str]:
    return {**model.labels, "owner": model.owner}


def _reading(model: Model) -> str:
    """Returns a query for the rows of a model from the dataset of the tables, without a view."""
    if model.kind is Kind.VIEW:
        views = [name for name in model.reads if by_name(models())[name].kind is Kind.VIEW]
        if views:
            raise UsageError(f"the view {model.name} reads the view {views[0]}, which no authorised view may")
        return _qualified(model, f"{PROJECT}.{DATASET}")
    columns = ",\n".join(f"  {column.name}" for column in model.columns)
    return f"SELECT\n{columns}\nFROM `{PROJECT}`.`{DATASET}`.`{model.name}`"


def _columns(columns: Sequence[Column]) -> str:
    return ",\n".join(
        f"  {column.name} {column.type} OPTIONS ({_description(column.description)})" for column in columns
    )


def _cut(model: Model, partition: Partition) -> str:
    (kind,) = (column.type for column in model.columns if column.name == partition.field)
    return partition.field if kind == "DATE" else f"TIMESTAMP_TRUNC({partition.field}, {partition.by.upper()})"


def _options(model: Model) -> str:
    labels = ", ".join(f"({_text(key)}, {_text(value)})" for key, value in _labels(model).items())
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
    project, _, name = dataset.rpartition(".")
    for table in tree.find_all(exp.Table):
        if table.name in model.reads:
            place = exp.table_(table.name, db=name, catalog=project or None, quoted=True, alias=table.alias_or_name)
            table.replace(place)
    return tree.sql(dialect="bigquery", pretty=True)


def _kind(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "INT64"
    if pa.types.is_floating(kind):
        return "FLOAT64"
    return "TIMESTAMP" if pa.types.is_timestamp(kind) else "STRING"
