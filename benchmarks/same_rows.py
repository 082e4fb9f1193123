"""Whether two parquet files of an hour hold the same events, in whatever order: what makes a comparison fair.

Usage: ``python same_rows.py OURS.parquet PEER.parquet``. Ends with 1 and says why when they do not: every row is
counted, and all columns are compared for about one event in ten, chosen by id. JSON is compared by what it says, since
DuckDB writes out characters that the source spells as escapes.
"""

from __future__ import annotations

import sys
from typing import Final

import duckdb

_SAMPLE: Final = "hash(id) % 10 = 0"
_JSON: Final = frozenset({"payload", "other"})


def main() -> int:
    """Compares the files that the arguments name."""
    ours, peer = sys.argv[1:]
    with duckdb.connect() as connection:
        for name, path in (("ours", ours), ("peer", peer)):
            connection.from_parquet(path).create_view(name)
        problem = _problem(connection)
    if problem is not None:
        sys.stderr.write(f"error: the two files do not hold the same: {problem}\n")
    return int(problem is not None)


def _problem(connection: duckdb.DuckDBPyConnection) -> str | None:
    columns = _columns(connection, "ours")
    if columns != _columns(connection, "peer"):
        return "columns differ in name or type"
    rows, peer_rows = (_number(connection, f"SELECT count(*) FROM {name}") for name in ("ours", "peer"))  # noqa: S608
    if rows != peer_rows:
        return f"{rows:,} rows and {peer_rows:,}"
    for column, _ in columns:
        value = f"json({column})" if column in _JSON else column
        sample = f"SELECT id, {value} FROM {{}} WHERE {_SAMPLE}"  # noqa: S608
        ours, peer = sample.format("ours"), sample.format("peer")
        # Both ways, with ALL: an event that comes twice must come twice.
        differing = _number(connection, f"SELECT count(*) FROM ({ours} EXCEPT ALL {peer})")  # noqa: S608
        differing += _number(connection, f"SELECT count(*) FROM ({peer} EXCEPT ALL {ours})")  # noqa: S608
        if differing:
            return f"{differing:,} values of {column} in a sample"
    return None


def _columns(connection: duckdb.DuckDBPyConnection, name: str) -> list[tuple[str, str]]:
    """Returns each column's name and type."""
    return [(str(row[0]), str(row[1])) for row in connection.execute(f"DESCRIBE {name}").fetchall()]


def _number(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    (number,) = connection.execute(query).fetchall()[0]
    return int(number)


if __name__ == "__main__":
    sys.exit(main())
