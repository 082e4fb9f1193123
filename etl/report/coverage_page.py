"""The coverage page: every hour of a lake as one square, in one self-contained HTML file.

The page consists of a template, a style sheet and a script (``templates/``), and the table as data
(``etl.report.page_data``). A content security policy allows the style sheet and the script by hash and forbids
everything else, so that data of the lake cannot run code or send requests, even if an escape were forgotten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from etl.coverage.coverage import ABSENT
from etl.lake.manifest import Status
from etl.report import page
from etl.report.page_data import COLUMNS, STATUSES, pack

MEANINGS: Final = {
    Status.COMPLETE.value: "all of it is in the lake",
    Status.PARTIAL.value: "in the lake, but damaged or cut short at the source",
    Status.SUSPECT.value: "in the lake, but its volume is far from its neighbours'",
    Status.PENDING.value: "not published yet, or not found while young",
    Status.MISSING.value: "the archive does not have it",
    Status.FAILED.value: "the last attempt ended in an error",
    ABSENT: "never asked for",
}
"""The meaning of each status, in display order."""

_SUMS: Final = ("events", "source_bytes", "parquet_bytes")


@dataclass(frozen=True, slots=True)
class Totals:
    """Totals of a group of hours.

    Attributes:
        name: Name of the group, such as the year.
        counts: Number of hours by status, with an entry for every status.
        events: Number of events in the lake.
        source_bytes: Compressed bytes at the source, for the hours in the lake.
        parquet_bytes: Size of their parquet files.
    """

    name: str
    counts: Mapping[str, int]
    events: int
    source_bytes: int
    parquet_bytes: int

    @property
    def hours(self) -> int:
        """Number of hours."""
        return sum(self.counts.values())

    @property
    def complete(self) -> int:
        """Number of complete hours."""
        return self.counts[Status.COMPLETE]


def render(table: pa.Table, *, lake: str, now: datetime, dashboard: str | None = None) -> str:
    """Renders the page.

    Args:
        table: The coverage of the lake, one row an hour (``etl.coverage.coverage.COVERAGE_SCHEMA``), in any order.
        lake: The lake's address, for display.
        now: When the coverage was read (aware); hours are due relative to it.
        dashboard: Link to the dashboard; None for no link.

    Returns:
        The HTML. It is deterministic: equal arguments produce equal text.

    Raises:
        ValueError: If the table is not a coverage table, or ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError(f"{now.isoformat()} has no time zone")
    packed = pack(table, now)
    years = totals_by_year(table)
    style, script = page.source("page.css", "coverage.css"), page.source("coverage.js")
    return page.template("coverage.html.j2").render(
        all=_sum("all", years),
        dashboard=dashboard,
        due=_due(table, now),
        lake=page.printable(lake),
        meanings=MEANINGS,
        now=now,
        packed=packed,
        policy=page.policy(style, script),
        range=_range(table),
        script=script,
        style=style,
        years=years,
    )


def totals_by_year(table: pa.Table) -> list[Totals]:
    """Returns the totals of each year in the table, in order."""
    keyed = table.select([*COLUMNS]).append_column("year", pc.utf8_slice_codeunits(table["hour"], 0, 4))
    grouped = keyed.group_by(["year", "status"]).aggregate([("hour", "count"), *((name, "sum") for name in _SUMS)])
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in grouped.to_pylist():
        rows.setdefault(row["year"], []).append(row)
    return [_totals(year, rows[year]) for year in sorted(rows)]


def _totals(year: str, rows: list[dict[str, Any]]) -> Totals:
    counts = dict.fromkeys(STATUSES, 0) | {row["status"]: row["hour_count"] for row in rows}
    sums = (sum(row[f"{name}_sum"] or 0 for row in rows) for name in _SUMS)
    return Totals(year, counts, *sums)


def _sum(name: str, parts: list[Totals]) -> Totals:
    counts = {status: sum(part.counts[status] for part in parts) for status in STATUSES}
    return Totals(
        name,
        counts,
        sum(part.events for part in parts),
        sum(part.source_bytes for part in parts),
        sum(part.parquet_bytes for part in parts),
    )


def _due(table: pa.Table, now: datetime) -> int:
    """Returns the number of hours whose next try is due."""
    due = pc.less_equal(table["next_try"], pa.scalar(now, table["next_try"].type))
    return due.to_pylist().count(True)


def _range(table: pa.Table) -> tuple[str, str] | None:
    """Returns the first and the last hour; None if the table is empty."""
    if not table.num_rows:
        return None
    in_order = table["hour"].take(pc.sort_indices(pc.strptime(table["hour"], format="%Y-%m-%d-%H", unit="s")))
    return in_order[0].as_py(), in_order[-1].as_py()
