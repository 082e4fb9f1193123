"""The pandas job this project replaces: all hours in memory, windows over all rows, the whole table rewritten.

Usage: ``python pandas_window.py OUT_FOLDER LAKE``. One of the peers that ``spark.py`` measures.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

import pandas as pd

_COLUMNS: Final = [
    *("id", "type", "created_at", "actor_id", "actor_login", "repo_id", "repo_name", "org_id", "org_login"),
    *("payload", "date", "hour"),
]
_NEWEST: Final = {"actor_id": "actor_login", "repo_id": "repo_name", "org_id": "org_login"}


def main() -> None:
    """Makes the table ``events`` of all hours of a lake, as one file."""
    folder, lake = map(Path, sys.argv[1:])
    events = pd.read_parquet(lake / "events", columns=_COLUMNS, dtype_backend="pyarrow")
    events = events.sort_values(["created_at", "date", "hour"], kind="stable")
    events = events.drop_duplicates(["id", "type", "created_at"], keep="first")
    for key, name in _NEWEST.items():
        events[f"last_{name}"] = events.groupby(key)[name].transform("last")
    events.to_parquet(folder / "events.parquet", compression="zstd", index=False)


if __name__ == "__main__":
    main()
