"""The nineteen columns: the one schema of every parquet hour, of whatever year.

This table is the only definition. Arrow, BigQuery, Spark and the data dictionary are derived from it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Final

import pyarrow as pa

SCHEMA_VERSION: Final = 1
"""Raised whenever a column's name, type or meaning changes; stands in every manifest."""


class Kind(Enum):
    """A column type, with what each engine calls it: (BigQuery, Spark, Arrow)."""

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
    """One column.

    Attributes:
        name: Its name, the same in every engine.
        kind: Its type.
        description: What it holds, for the data dictionary and BigQuery.
    """

    name: str
    kind: Kind
    description: str


def _entity(prefix: str, what: str, eras: str) -> dict[str, LakeColumn]:
    columns = (
        LakeColumn(f"{prefix}_id", Kind.INT64, f"GitHub's number of the {what}; stays when it is renamed. {eras}"),
        LakeColumn(f"{prefix}_login", Kind.STRING, f"Login of the {what} when the event was published."),
        LakeColumn(f"{prefix}_gravatar_id", Kind.STRING, f"Gravatar hash of the {what}; empty text since 2015."),
        LakeColumn(f"{prefix}_avatar_url", Kind.STRING, f"Address of the picture of the {what}; not in era B."),
        LakeColumn(f"{prefix}_url", Kind.STRING, f"API address of the {what}; not in era B."),
    )
    return {column.name: column for column in columns}


_ACTOR: Final = _entity("actor", "user who acted", "Unknown in era B.")
_ORG: Final = _entity("org", "organization that owns the repository", "Unknown in era B.")

COLUMNS: Final = (
    LakeColumn(
        "id",
        Kind.STRING,
        "Id of the event. Absent in era B. GitHub began its numbers again on 2025-10-08, so it is no key over"
        " the whole of history: use (id, type, created_at).",
    ),
    LakeColumn("type", Kind.STRING, "Event type, such as PushEvent. An open set: new types appear over the years."),
    _ACTOR["actor_id"],
    _ACTOR["actor_login"],
    _ACTOR["actor_gravatar_id"],
    _ACTOR["actor_avatar_url"],
    _ACTOR["actor_url"],
    LakeColumn("repo_id", Kind.INT64, "GitHub's number of the repository; stays when it is renamed or moved."),
    LakeColumn("repo_name", Kind.STRING, "owner/name of the repository when the event was published, in every era."),
    LakeColumn(
        "repo_url", Kind.STRING, "Address of the repository: of the API in eras A, C and D, of the site in era B."
    ),
    LakeColumn(
        "payload",
        Kind.STRING,
        "What happened, as JSON, in the source's own bytes unless an e-mail address in it was replaced; without an id,"
        " keys are sorted. Its form depends on type and era; pushes and pull requests lost most of it on 2025-10-07.",
    ),
    LakeColumn("public", Kind.BOOL, "Whether the event was public; true in all known data."),
    LakeColumn(
        "created_at",
        Kind.TIMESTAMP,
        "When the event happened, in UTC. Since 2025-05-24 it can lie hours before the hour of the file.",
    ),
    _ORG["org_id"],
    _ORG["org_login"],
    _ORG["org_gravatar_id"],
    _ORG["org_avatar_url"],
    _ORG["org_url"],
    LakeColumn(
        "other",
        Kind.STRING,
        "JSON object of what has no column: unknown keys at the top level and inside actor, repo and org, and"
        " values of an unexpected type. With e-mails kept, row and other give back the whole record.",
    ),
)
"""All columns, in their order in every file. Every one may be null."""

NAMES: Final = tuple(column.name for column in COLUMNS)

ARROW_SCHEMA: Final = pa.schema([pa.field(column.name, column.kind.arrow) for column in COLUMNS])


def arrow_text() -> str:
    """The schema as Arrow prints it, one column a line."""
    return str(ARROW_SCHEMA)


def bigquery_json() -> str:
    """The schema as a BigQuery table schema file (https://cloud.google.com/bigquery/docs/schemas)."""
    fields = [
        {"name": column.name, "type": column.kind.bigquery, "mode": "NULLABLE", "description": column.description}
        for column in COLUMNS
    ]
    return json.dumps(fields, indent=2)


def spark_json() -> str:
    """The schema as ``StructType.fromJson`` takes it; made without Spark."""
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
    """The data dictionary's table."""
    lines = ["| column | type | what it holds |", "|---|---|---|"]
    lines += [f"| `{column.name}` | {column.kind.bigquery} | {column.description} |" for column in COLUMNS]
    return "\n".join(lines)
