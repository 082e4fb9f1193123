"""Counts for tests, written by hand."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, Final

import pyarrow as pa

from etl.report.aggregates import Cube, Listing

HOUR: Final = 394_464  # 2015-01-01 00:00, in hours since 1970
_FIELDS: Final[list[tuple[str, pa.DataType]]] = [
    ("hour", pa.int64()),
    ("type", pa.string()),
    ("action", pa.string()),
    ("outcome", pa.string()),
    ("is_bot", pa.bool_()),
    ("actor", pa.string()),
    ("repository", pa.string()),
    ("events", pa.int64()),
]
SCHEMA: Final = pa.schema(_FIELDS)


def event(events: int, **others: Any) -> dict[str, Any]:
    """A row of counts in the first hour of 2015."""
    blank = {"hour": HOUR, "type": "PushEvent", "is_bot": False, "actor": "ann", "repository": "ann/tool"}
    return dict.fromkeys(SCHEMA.names) | blank | {"events": events} | others


def cube_of(*rows: dict[str, Any], statuses: tuple[str, ...] = ("complete", "missing"), days: int = 1) -> Cube:
    """The counts of some days, with the statuses of their first hours."""
    events = pa.Table.from_pylist(list(rows), schema=SCHEMA)
    hours = pa.table({"hour": [HOUR + step for step in range(len(statuses))], "status": list(statuses)})
    listings = (
        Listing(of=len(names), listed=len(names)) for names in (events[k].unique() for k in ("actor", "repository"))
    )
    actors, repositories = listings
    day = date(2015, 1, 1)
    last = day + timedelta(days=days - 1)
    return Cube(day, last, events=events, actors=actors, repositories=repositories, coverage=hours)
