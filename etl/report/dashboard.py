"""The dashboard: users, repositories and event types of the warehouse, in one self-contained HTML file.

The page consists of a template, a style sheet and a script (``templates/dashboard.*``), a chart library
(``etl.report.vega_bundle``) and the counts as data (``etl.report.aggregates``). The library and the data are deflated.
A content security policy allows the scripts by hash and nothing else, not even ``eval``, so no content of an event can
be executed.
"""

from __future__ import annotations

from datetime import datetime

import pyarrow as pa

from etl.report import page, vega_bundle
from etl.report.aggregates import Cube, columns


def render(cube: Cube, *, warehouse: str, now: datetime, coverage: str | None = None) -> str:
    """Renders the page.

    Args:
        cube: The counts.
        warehouse: The warehouse's address, for display.
        now: When the warehouse was read (aware).
        coverage: Link to the coverage page; None for no link.

    Returns:
        The HTML. It is deterministic: equal arguments produce equal text.

    Raises:
        UsageError: If the chart library is not installed.
        ValueError: If ``now`` has no time zone.
    """
    if now.tzinfo is None:
        raise ValueError(f"{now.isoformat()} has no time zone")
    style, script = page.source("page.css", "dashboard.css"), page.source("dashboard.js")
    library = vega_bundle.library()
    return page.template("dashboard.html.j2").render(
        coverage=coverage,
        credit=vega_bundle.credit(),
        cube=cube,
        library=page.deflated(library.encode(), level=9),
        now=now,
        packed=page.packed(columns(cube)),
        policy=page.policy(style, script, library),
        script=script,
        style=style,
        types=totals_by_type(cube.events),
        warehouse=page.printable(warehouse),
    )


def totals_by_type(events: pa.Table) -> list[tuple[str | None, int]]:
    """Returns each type and its number of events, the largest first."""
    sums = pa.TableGroupBy(events, "type").aggregate([("events", "sum")]).to_pylist()
    ordered = sorted(sums, key=lambda row: (-row["events_sum"], row["type"] or ""))
    return [(row["type"], row["events_sum"]) for row in ordered]
