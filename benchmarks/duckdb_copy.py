"""The bare work of a build: the same rows, read from the lake and written as parquet by one COPY of DuckDB.

Usage: ``python duckdb_copy.py LAKE OUT_FILE``. What ``warehouse.py`` holds a build of a day against.
"""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb


def main() -> None:
    """Copies all events of a lake into one file."""
    lake, target = map(Path, sys.argv[1:])
    with duckdb.connect() as connection:
        connection.execute("SET enable_progress_bar = false")
        events = connection.read_parquet(str(lake / "events/*/*/*.parquet"))
        events.write_parquet(str(target), compression="zstd")


if __name__ == "__main__":
    main()
