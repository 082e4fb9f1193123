"""The event schema: the columns of every hour's Parquet file.

This is the only definition; the schemas of Arrow, BigQuery and Spark and the data dictionary are derived from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Increased whenever a column's name, type or meaning changes; recorded in every manifest."""


class Kind(Enum):
    """A column type and its name in each engine: (BigQuery, Spark, Arrow)."""

    STRING = ("STRING", "string", pa.string())
    INT64 = ("INT64", "long", pa.int64())
    BOOL = ("BOOL", "boolean", pa.bool_())
    TIMESTAMP = ("TIMESTAMP", "timestamp", pa.timestamp("us", tz="UTC"))

    def __init__(self, bigquery: str, spark: str, arrow: pa.DataType) -> None:
        self.bigquery = bigquery
        self.spark = spark
        self.arrow = arrow


@dataclass(frozen=True, slots=True)
class LakeColumn:
    """A column of the lake.

    Attributes:
        name: Name, the same in every engine.
        kind: Type.
        description: Description for the data dictionary and BigQuery.
    """

    name: str
    kind: Kind
    description: str


def _entity(prefix: str, what: str, eras: str) -> dict[str, LakeColumn]:
    columns = (
        LakeColumn(f"{prefix}_id", Kind.INT64, f"GitHub's ID of the {what}; it does not change on renames. {eras}"),
        LakeColumn(f"{prefix}_login", Kind.STRING, f"Login of the {what} when the event was published."),
        LakeColumn(f"{prefix}_gravatar_id", Kind.STRING, f"Gravatar hash of the {what}; empty since 2015."),
        LakeColumn(f"{prefix}_avatar_url", Kind.STRING, f"URL of the avatar of the {what}; not in era B."),
        LakeColumn(f"{prefix}_url", Kind.STRING, f"API URL of the {what}; not in era B."),
    )
    return {column.name: column for column in columns}


_ACTOR: Final = _entity("actor", "user who acted", "Unknown in era B.")
_ORG: Final = _entity("org", "organization that owns the repository", "Unknown in era B.")

COLUMNS: Final = (
    LakeColumn(
        "id",
        Kind.STRING,
        "ID of the event. Absent in era B. GitHub restarted its numbering on 2025-10-08, so it is not unique across"
        " all years; use (id, type, created_at).",
    ),
    LakeColumn("type", Kind.STRING, "Event type, such as PushEvent. New types appear over the years."),
    _ACTOR["actor_id"],
    _ACTOR["actor_login"],
    _ACTOR["actor_gravatar_id"],
    _ACTOR["actor_avatar_url"],
    _ACTOR["actor_url"],
    LakeColumn("repo_id", Kind.INT64, "GitHub's ID of the repository; it does not change on renames and transfers."),
    LakeColumn("repo_name", Kind.STRING, "owner/name of the repository when the event was published, in every era."),
    LakeColumn("repo_url", Kind.STRING, "API URL of the repository; in era B the URL of its web page."),
    LakeColumn(
        "payload",
        Kind.STRING,
        "Details of the event as JSON, in the source's own bytes unless an e-mail address was replaced; without an ID,"
        " in canonical form. Its structure depends on type and era; pushes and pull requests lost most of it on"
        " 2025-10-07.",
    ),
    LakeColumn("public", Kind.BOOL, "Whether the event was public; true in all known data."),
    LakeColumn(
        "created_at",
        Kind.TIMESTAMP,
        "When the event happened, in UTC. Since 2025-05-24 it can be hours before the hour of the file.",
    ),
    _ORG["org_id"],
    _ORG["org_login"],
    _ORG["org_gravatar_id"],
    _ORG["org_avatar_url"],
    _ORG["org_url"],
    LakeColumn(
        "other",
        Kind.STRING,
        "JSON object of everything without a column: unknown keys at the top level and inside actor, repo and org, and"
        " values of an unexpected type. With e-mails kept, the whole record can be rebuilt from the row.",
    ),
)
"""All columns in file order. All of them are nullable."""

NAMES: Final = tuple(column.name for column in COLUMNS)

ARROW_SCHEMA: Final = pa.schema([pa.field(column.name, column.kind.arrow) for column in COLUMNS])


def arrow_text() -> str:
    """Returns the schema as printed by Arrow, one column per line."""
    return str(ARROW_SCHEMA)


def bigquery_json() -> str:
    """Returns the schema as a BigQuery table schema file (https://cloud.google.com/bigquery/docs/schemas)."""
    fields = [
        {"name": column.name, "type": column.kind.bigquery, "mode": "NULLABLE", "description": column.description}
        for column in COLUMNS
    ]
    return json.dumps(fields, indent=2)


def spark_json() -> str:
    """Returns the schema as JSON for ``StructType.fromJson``, without importing Spark."""
    fields = [
        {
            "name": column.name,
            "type": column.kind.spark,
            "nullable": True,
            "metadata": {"comment": column.description},
        }
        for column in COLUMNS
    ]
    return json.dumps({"type": "struct", "fields": fields}, indent=2)


def markdown() -> str:
    """Returns the table of the data dictionary."""
    lines = ["| column | type | description |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column.kind.bigquery} | {column.description} |" for column in COLUMNS]
    return "\n".join(lines)
