"""The nineteen columns, which are the same for all engines."""

from __future__ import annotations

import json
from typing import Final

import pyarrow as pa

from etl.events import schema
from etl.events.columns import PARQUET_SCHEMA

# Part of the contract with everyone who reads the lake: a change here needs a new SCHEMA_VERSION.
COLUMNS: Final = {
    "id": "STRING",
    "type": "STRING",
    "actor_id": "INT64",
    "actor_login": "STRING",
    "actor_gravatar_id": "STRING",
    "actor_avatar_url": "STRING",
    "actor_url": "STRING",
    "repo_id": "INT64",
    "repo_name": "STRING",
    "repo_url": "STRING",
    "payload": "STRING",
    "public": "BOOL",
    "created_at": "TIMESTAMP",
    "org_id": "INT64",
    "org_login": "STRING",
    "org_gravatar_id": "STRING",
    "org_avatar_url": "STRING",
    "org_url": "STRING",
    "other": "STRING",
}
ARROW: Final = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
}
SPARK: Final = {"STRING": "string", "INT64": "long", "BOOL": "boolean", "TIMESTAMP": "timestamp"}
LONGEST_BIGQUERY_DESCRIPTION: Final = 1024


def test_nineteen_columns_in_their_order() -> None:
    assert len(COLUMNS) == 19
    assert list(COLUMNS) == list(schema.NAMES) == [column.name for column in schema.COLUMNS]
    assert schema.SCHEMA_VERSION == 1


def test_arrow() -> None:
    assert [(field.name, field.type) for field in schema.ARROW_SCHEMA] == [
        (name, ARROW[kind]) for name, kind in COLUMNS.items()
    ]
    assert all(field.nullable for field in schema.ARROW_SCHEMA)


def test_what_parquet_gets_differs_by_dictionaries_alone() -> None:
    plain = [
        field.with_type(field.type.value_type) if pa.types.is_dictionary(field.type) else field
        for field in PARQUET_SCHEMA
    ]
    assert pa.schema(plain).equals(schema.ARROW_SCHEMA)


def test_bigquery() -> None:
    fields = json.loads(schema.bigquery_json())
    assert [(field["name"], field["type"]) for field in fields] == list(COLUMNS.items())
    assert {field["mode"] for field in fields} == {"NULLABLE"}
    assert all(0 < len(field["description"]) <= LONGEST_BIGQUERY_DESCRIPTION for field in fields)


def test_spark() -> None:
    struct = json.loads(schema.spark_json())
    assert struct["type"] == "struct"
    assert [(field["name"], field["type"], field["nullable"]) for field in struct["fields"]] == [
        (name, SPARK[kind], True) for name, kind in COLUMNS.items()
    ]
    bigquery = json.loads(schema.bigquery_json())
    comments = [field["metadata"]["comment"] for field in struct["fields"]]
    assert comments == [field["description"] for field in bigquery]


def test_spark_takes_it() -> None:
    from pyspark.sql import types  # noqa: PLC0415 -- takes a while

    struct = types.StructType.fromJson(json.loads(schema.spark_json()))
    assert struct.fieldNames() == list(COLUMNS)
    assert struct["created_at"].dataType == types.TimestampType()
    assert struct["actor_id"].dataType == types.LongType()


def test_people_can_read_it() -> None:
    header, line, *rows = schema.markdown().splitlines()
    assert header.count("|") == line.count("|") == 4
    assert [row.split("`")[1] for row in rows] == list(COLUMNS)
    assert [row.split(": ")[0] for row in schema.arrow_text().splitlines()] == list(COLUMNS)
