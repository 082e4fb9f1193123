"""The coverage page: every hour of a lake as one square, in one HTML file that needs no network.

The page is a template, a style sheet and a script (``templates/``), and the table as data (``etl.report.page_data``).
A content security policy names the style sheet and the script by their hashes and forbids everything else, so that
nothing the lake holds can run or call out, even if an escape were forgotten.
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
"""What each status means, in the order in which the page lists them."""

_SUMS: Final = ("events", "source_bytes", "parquet_bytes")


@dataclass(frozen=True, slots=True)
class Totals:
    """What a number of hours come to.

    Attributes:
        name: The year, or what else they have in common.
        counts: Hours by status, every status named.
        events: Events in the lake.
        source_bytes: Compressed bytes at the source of the hours that are in the lake.
        parquet_bytes: Bytes of their parquet files.
    """

    name: str
    counts: Mapping[str, int]
    events: int
    source_bytes: int
    parquet_bytes: int

    @property
    def hours(self) -> int:
        """How many hours."""
        return sum(self.counts.values())

    @property
    def complete(self) -> int:
        """How many of them are complete."""
        return self.counts[Status.COMPLETE]


def render(table: pa.Table, *, lake: str, now: datetime, dashboard: str | None = None) -> str:
    """Renders the page.

    Args:
        table: The coverage of the lake, one row an hour (``etl.coverage.coverage.COVERAGE_SCHEMA``), in any order.
        lake: The lake's address, as people know it.
        now: When the coverage was looked up, an aware instant; what is due is judged by it.
        dashboard: The link to the dashboard; none if None.

    Returns:
        The text of one HTML file. The same arguments give the same text.

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
    """Returns the totals of each year that the table has an hour of, in order."""
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
    """How many hours may be tried again by now."""
    due = pc.less_equal(table["next_try"], pa.scalar(now, table["next_try"].type))
    return due.to_pylist().count(True)


def _range(table: pa.Table) -> tuple[str, str] | None:
    """The first and the last hour; None without hours."""
    if not table.num_rows:
        return None
    in_order = table["hour"].take(pc.sort_indices(pc.strptime(table["hour"], format="%Y-%m-%d-%H", unit="s")))
    return in_order[0].as_py(), in_order[-1].as_py()
