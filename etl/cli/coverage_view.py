"""Prints coverage for people: totals, a calendar in colours, and the hours that are not complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from rich.text import Text

from etl.cli.formatting import listing, printable, size_text, status_text, time_text
from etl.coverage import arrays
from etl.coverage.coverage import ABSENT, extent
from etl.coverage.policies import REPROCESS_HINT, describe, other_policies
from etl.lake.manifest import Status
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import pyarrow as pa
    from rich.console import Console, RenderableType

    from etl.hours import HourRange
    from etl.lake.lake import Lake

SHOWN: Final = (
    "hour",
    "hour_start",
    "window_start",
    "status",
    "reason",
    "hole",
    "next_try",
    "events",
    "source",
    "source_bytes",
    "parquet_bytes",
    "emails",
)
"""The columns of the coverage that are looked at here."""

_FEW_HOURS: Final = 24
"""So many hours are listed one by one."""
_MONTHS_BY_DAY: Final = 24
"""A calendar of more months has a cell a month rather than a day."""
_MOST_SPANS: Final = 30
_FEW_ABSENT: Final = 5
"""So many ranges of absent hours are listed one by one."""
_REASON_WIDTH: Final = 100
_LEVELS: Final = (
    # From this share on, sign without colours, colour.
    (1.0, "█", "green"),
    (0.75, "▓", "yellow"),
    (0.25, "▒", "dark_orange"),
    (0.0, "░", "red"),
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NEVER: Final = -1
_NOTHING: Final = ("·", "bright_black")


def print_coverage(
    console: Console, table: pa.Table, *, lake: Lake, hours: HourRange | None, now: datetime, policy: str
) -> None:
    """Prints an overview of the coverage of a lake.

    Args:
        console: Where to.
        table: A table with the columns ``SHOWN`` of ``etl.coverage.coverage.COVERAGE_SCHEMA``.
        lake: The lake.
        hours: The range that was asked for, None if none was.
        now: When the coverage was looked up; a next try that is not after it is due.
        policy: The e-mail policy that is set now.
    """
    for part in _parts(table, lake, hours, now):
        console.print(part)
    if others := other_policies(table["emails"], policy):
        console.print(f"{describe(others, policy)}; {REPROCESS_HINT}")


def print_hours(console: Console, table: pa.Table, statuses: Sequence[str], *, now: datetime) -> None:
    """Prints the hours with these statuses; consecutive hours with the same reason are one line.

    Args:
        console: Where to.
        table: A table as ``print_coverage`` takes it.
        statuses: Which statuses.
        now: When the coverage was looked up.
    """
    found = arrays.texts(table["status"])
    chosen = np.isin(found.astype(str), statuses)
    for part in _spans(_gathered(table, found, chosen), now, what="hours"):
        console.print(part)
    count = int(np.count_nonzero(chosen))
    console.print(f"{plural(count, 'hour')} of {len(table):,} {'is' if count == 1 else 'are'} {' or '.join(statuses)}")


def _parts(table: pa.Table, lake: Lake, hours: HourRange | None, now: datetime) -> Iterator[RenderableType]:
    statuses = arrays.texts(table["status"])
    present = np.flatnonzero(statuses != ABSENT)
    if not len(present):
        yield _nothing_there(lake, hours, now)
        return
    if len(present) <= _FEW_HOURS:
        yield _hour_by_hour(table.take(arrays.integers(present)))
    else:
        yield _totals_by_status(table, statuses)
        yield _sources(table)
        yield from _calendar(table, statuses)
    yield from _incomplete(table, statuses, now)
    yield _sentence(table, statuses, lake.address)
    if hours is not None and len(present) < len(table):
        absent = len(table) - len(present)
        yield f"{absent:,} of the {len(table):,} hours from {hours} {'is' if absent == 1 else 'are'} not in the lake"


def _nothing_there(lake: Lake, hours: HourRange | None, now: datetime) -> str:
    known = None if hours is None else extent(lake, now=now)
    if hours is None or known is None:
        return f"no hours in the lake {lake.address}"
    span = f", {known.hours.first}" if known.count == 1 else f" from {known.hours.first} to {known.hours.last}"
    return f"no hours in {hours}; the lake {lake.address} holds {plural(known.count, 'hour')}{span}"


def _hour_by_hour(rows: pa.Table) -> RenderableType:
    titles = ("hour", "status", "events", "parquet", "source", "reason")
    columns = ["hour", "status", "events", "parquet_bytes", "source", "reason"]
    cells = [
        (
            row["hour"],
            status_text(Status(row["status"])),
            "" if row["events"] is None else f"{row['events']:,}",
            "" if row["parquet_bytes"] is None else size_text(row["parquet_bytes"]),
            printable(row["source"]),
            printable(row["reason"]),
        )
        for row in rows.select(columns).to_pylist()
    ]
    # A column without a value in it says nothing.
    shown = [place for place, name in enumerate(titles) if name in titles[:4] or any(cell[place] for cell in cells)]
    return listing(
        [titles[place] for place in shown],
        [[cell[place] for place in shown] for cell in cells],
        right=("events", "parquet"),
    )


def _sources(table: pa.Table) -> RenderableType:
    """Lists the sources of the hours, that of the newest hour first."""
    places = arrays.texts(pc.replace_substring_regex(table["source"], "/[^/]*$", ""))
    rows = []
    for place in {place for place in places.tolist() if place is not None}:
        found = np.flatnonzero(places == place)
        rows.append((int(found[-1]), printable(place), f"{len(found):,}"))
    newest_first = sorted(rows, reverse=True)
    cells = [(place, count, table["hour"][newest].as_py()) for newest, place, count in newest_first]
    return listing(("source", "hours", "newest"), cells, right=("hours",))


def _totals_by_status(table: pa.Table, statuses: npt.NDArray[np.object_]) -> RenderableType:
    rows = []
    counts = [arrays.counts(table[name]) for name in ("events", "source_bytes", "parquet_bytes")]
    for status in _by_count(statuses):
        chosen = statuses == status
        events, downloaded, parquet = (int(column[chosen].sum()) for column in counts)
        hours = np.count_nonzero(chosen)
        shown = (f"{hours:,}", f"{hours / len(table):.1%}", f"{events:,}", size_text(downloaded), size_text(parquet))
        rows.append((_status(status), *shown))
    columns = ("status", "hours", "share", "events", "downloaded", "parquet")
    return listing(columns, rows, right=columns[1:])


# ---- the calendar


def _calendar(table: pa.Table, statuses: npt.NDArray[np.object_]) -> Iterator[RenderableType]:
    """Returns a row of days per month, or of months per year, coloured by the share of complete hours."""
    days = arrays.numbers(table["hour_start"].cast("int64")).astype("datetime64[us]").astype("datetime64[D]")
    months = days.astype("datetime64[M]")
    by_day = int((months[-1] - months[0]).astype(int)) < _MONTHS_BY_DAY
    cells = days if by_day else months
    rows = months if by_day else days.astype("datetime64[Y]")
    good = _share_by(cells, statuses == Status.COMPLETE.value)
    known = _share_by(cells, statuses != ABSENT)
    headings = [f"{number:>2}" for number in (range(1, 32) if by_day else range(1, 13))]
    yield Text(" " * 9 + " ".join(headings), style="dim")
    unit = "D" if by_day else "M"
    for row in np.arange(rows[0], rows[-1] + 1):
        line = Text(f"{row!s:<9}", style="dim")
        for cell in np.arange(row.astype(f"datetime64[{unit}]"), (row + 1).astype(f"datetime64[{unit}]")):
            line.append_text(_square(cell, good, known))
        yield line
    yield _legend("day" if by_day else "month")


def _share_by(cells: npt.NDArray[np.datetime64], flags: npt.NDArray[np.bool_]) -> dict[np.datetime64, float]:
    found, place = np.unique(cells, return_inverse=True)
    shares = np.bincount(place, weights=flags) / np.bincount(place)
    return dict(zip(found, shares.tolist(), strict=True))


def _square(cell: np.datetime64, good: dict[np.datetime64, float], known: dict[np.datetime64, float]) -> Text:
    if cell not in good:
        return Text("   ")
    sign, colour = _NOTHING if not known[cell] else _level(good[cell])
    return Text(f"{sign * 2} ", style=colour)


def _level(share: float) -> tuple[str, str]:
    return next((sign, colour) for least, sign, colour in _LEVELS if share >= least)


def _legend(unit: str) -> Text:
    legend = Text(f"complete hours of a {unit}: ", style="dim")
    for least, sign, colour in _LEVELS:
        legend.append(f"{sign * 2} ", style=colour).append("all  " if least == 1 else f"{least:.0%} or more  ")
    return legend.append(f"{_NOTHING[0] * 2} ", style=_NOTHING[1]).append("nothing known")


# ---- what is not complete


@dataclass(frozen=True, slots=True)
class _Span:
    """Consecutive hours with the same status and reason."""

    first: str
    last: str
    hours: int
    status: str
    reason: str | None
    hole: str | None
    next_try: datetime | None


def _incomplete(table: pa.Table, statuses: npt.NDArray[np.object_], now: datetime) -> Iterator[RenderableType]:
    """Lists the hours that are not complete; absent hours in many places are only counted."""
    spans = _gathered(table, statuses, statuses != Status.COMPLETE.value)
    absent = [span for span in spans if span.status == ABSENT]
    if len(absent) > _FEW_ABSENT:
        spans = [span for span in spans if span.status != ABSENT]
    yield from _spans(spans, now, what="not complete")
    if len(absent) > _FEW_ABSENT:
        hours = sum(span.hours for span in absent)
        yield (
            f"{plural(hours, 'hour is', 'hours are')} absent, from {absent[0].first} to {absent[-1].last};"
            " `status --only absent` lists them"
        )


def _gathered(table: pa.Table, statuses: npt.NDArray[np.object_], chosen: npt.NDArray[np.bool_]) -> list[_Span]:
    """Groups consecutive hours with the same status and reason."""
    odd = np.flatnonzero(chosen)
    rows = table.select(["reason", "hole"]).take(arrays.integers(odd))
    columns = [statuses[odd], *(arrays.texts(rows[name]) for name in ("reason", "hole"))]
    breaks = np.diff(odd) != 1
    for column in columns:
        breaks |= column[1:] != column[:-1]
    starts = [0, *(np.flatnonzero(breaks) + 1).tolist()] if len(odd) else []
    ends = [*starts[1:], len(odd)]
    tries = arrays.counts(table["next_try"].cast("int64"), absent=_NEVER)
    return [
        _Span(
            first=table["hour"][int(odd[start])].as_py(),
            last=table["hour"][int(odd[end - 1])].as_py(),
            hours=end - start,
            status=statuses[odd[start]],
            reason=columns[1][start],
            hole=columns[2][start],
            next_try=_instant(int(tries[odd[start]])),
        )
        for start, end in zip(starts, ends, strict=False)
    ]


def _instant(microseconds: int) -> datetime | None:
    return None if microseconds == _NEVER else _EPOCH + timedelta(microseconds=microseconds)


def _spans(spans: list[_Span], now: datetime, *, what: str) -> Iterator[RenderableType]:
    rows = [
        (
            span.first if span.hours == 1 else f"{span.first} to {span.last}",
            f"{span.hours:,}",
            _status(span.status),
            _next_try(span.next_try, now),
            printable(_why(span), _REASON_WIDTH),
        )
        for span in spans[:_MOST_SPANS]
    ]
    if rows:
        count = "count" if what == "hours" else "hours"
        yield listing((what, count, "status", "next try", "reason"), rows, right=(count,))
    if rest := spans[_MOST_SPANS:]:
        yield f"and {plural(sum(span.hours for span in rest), 'more hour')}; `status --format json` has them all"


def _why(span: _Span) -> str | None:
    return span.reason if span.reason or not span.hole else f"known gap in the archive ({span.hole})"


def _next_try(due: datetime | None, now: datetime) -> str:
    if due is None:
        return "none"
    return "due" if due <= now else time_text(due)


def _sentence(table: pa.Table, statuses: npt.NDArray[np.object_], lake: str) -> str:
    present = statuses[statuses != ABSENT]
    counts = ", ".join(f"{(present == status).sum():,} {status}" for status in _by_count(present))
    size = size_text(_sum(table, "parquet_bytes"))
    return f"{plural(len(present), 'hour')} in {lake} ({counts}): {plural(_sum(table, 'events'), 'event')}, {size}"


# ---- small parts


def _by_count(statuses: npt.NDArray[np.object_]) -> Iterable[str]:
    names, counts = np.unique(statuses.astype(str), return_counts=True)
    return [str(names[place]) for place in np.argsort(-counts, kind="stable")]


def _status(status: str) -> Text:
    return Text(ABSENT, style="bright_black") if status == ABSENT else status_text(Status(status))


def _sum(table: pa.Table, column: str) -> int:
    return int(arrays.counts(table[column]).sum())
