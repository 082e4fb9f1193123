"""DuckDB's way from hours to parquet: the peer that ``hour.py`` and ``hours.py`` measure.

Usage: ``python duckdb_hours.py OUT_FOLDER HOUR.json.gz...``. One COPY an hour with DuckDB's default settings:
the nineteen columns, each with its type given, so that nothing is spent on guessing. It takes sound files of 2016 and
later, and keeps addresses as they are.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import duckdb

_ENTITY: Final = "id BIGINT, login VARCHAR, gravatar_id VARCHAR, avatar_url VARCHAR, url VARCHAR"
_FIELDS: Final = {
    "id": "VARCHAR",
    "type": "VARCHAR",
    "actor": f"STRUCT({_ENTITY}, display_login VARCHAR)",
    "repo": "STRUCT(id BIGINT, name VARCHAR, url VARCHAR)",
    "payload": "JSON",
    "public": "BOOLEAN",
    "created_at": "TIMESTAMPTZ",
    "org": f"STRUCT({_ENTITY})",
}
_COPY: Final = """
COPY (
    SELECT
        id,
        type,
        actor.id AS actor_id,
        actor.login AS actor_login,
        actor.gravatar_id AS actor_gravatar_id,
        actor.avatar_url AS actor_avatar_url,
        actor.url AS actor_url,
        repo.id AS repo_id,
        repo.name AS repo_name,
        repo.url AS repo_url,
        payload::VARCHAR AS payload,
        public,
        created_at,
        org.id AS org_id,
        org.login AS org_login,
        org.gravatar_id AS org_gravatar_id,
        org.avatar_url AS org_avatar_url,
        org.url AS org_url,
        CASE WHEN actor.display_login IS NOT NULL
             THEN json_object('actor', json_object('display_login', actor.display_login))::VARCHAR
        END AS other
    FROM read_ndjson({source}, columns = {fields})
) TO {target} (FORMAT parquet, COMPRESSION zstd)
"""


def main() -> None:
    """Copies the hours that the arguments name, one after the other in one connection."""
    folder, *hours = map(Path, sys.argv[1:])
    fields = ", ".join(f"{name}: {_quoted(kind)}" for name, kind in _FIELDS.items())
    with duckdb.connect() as connection:
        for hour in hours:
            source, target = _quoted(str(hour)), _quoted(str(folder / hour.name.replace(".json.gz", ".parquet")))
            connection.execute(_COPY.format(source=source, target=target, fields=f"{{{fields}}}"))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


if __name__ == "__main__":
    main()
