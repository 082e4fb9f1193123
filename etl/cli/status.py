"""``status``: which hours the lake holds, which are missing, why, and when they are retried."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from typing_extensions import override

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, JSON_LINES, TABLE, takes_format
from etl.cli.ranges import LengthType, hours_back_from, takes_hours
from etl.errors import IncompleteError, UsageError
from etl.hours import HourRange, newest_finished_hour
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pyarrow as pa

    from etl.lake.lake import Lake

_FORMATS: Final = (TABLE, JSON, JSON_LINES, "csv", "parquet")
# Written again here, so that --help need not import the lake; a test compares.
_STATUSES: Final = ("complete", "partial", "suspect", "missing", "pending", "failed", "absent")
_NEVER_LATE: Final = "complete"
_WATCHED_HOURS: Final = 72
"""As many hours as ``catch-up`` looks at."""
_NAMED: Final = 5


class StatusesType(click.ParamType):
    """Statuses separated by commas; converts to a tuple."""

    name = "statuses"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        if isinstance(value, tuple):
            return value
        named = tuple(part.strip() for part in str(value).split(","))
        for name in named:
            if name not in _STATUSES:
                raise UsageError(f"{name!r} is not a status", hint=f"statuses: {', '.join(_STATUSES)}")
        return named


@click.command(
    cls=Command,
    examples=(
        ("status", "all hours from the first to the last in the lake"),
        ("status 2015-01-01", "one day"),
        ("status 2015-01-01 2015-01-31", "a month"),
        ("status 2015-01-01 now", "from that day on"),
        ("status --last 3d", "the last three days"),
        ("status --fail-if-late 6h", "for a monitor: exit code 9 if an hour of the last three days is late"),
        ("status --only failed,missing", "only hours with these statuses"),
        ("status --html coverage.html", "a page with a square for each hour"),
        ("status --only failed --format json | jq -r '.[].hour'", "the names of failed hours"),
        ("status 2015-01-01 --out coverage.parquet", "a table for other tools"),
    ),
)
@takes_hours()
@takes_format(
    *_FORMATS[2:],
    default=None,
    help="All formats but table have one row per hour. Default: table, or the extension of the --out file.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to a file.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write an HTML page that shows every hour.",
)
@click.option(
    "--only",
    type=StatusesType(),
    metavar="STATUS,...",
    help=f"Only hours with these statuses, separated by commas: {', '.join(_STATUSES)}.",
)
@click.option(
    "--fail-if-late",
    "late_after",
    type=LengthType(),
    metavar="SPAN",
    help="Exit with code 9 if an hour that ended more than SPAN ago (6h, 2d) is absent, pending, missing or failed, or"
    " has a status named by --only. Known gaps in the archive are never late. Without a range, checks the last 72"
    " hours, as far back as the lake goes.",
)
@click.option("--rebuild", is_flag=True, help="Read every manifest and rebuild the lake's index.")
@with_session("lake", "emails")
def status(  # noqa: PLR0913, PLR0917 -- the arguments of a command are its flags
    session: Session,
    hours: HourRange | None,
    form: str | None,
    out: Path | None,
    html: Path | None,
    only: tuple[str, ...] | None,
    late_after: int | None,
    rebuild: bool,  # noqa: FBT001
) -> None:
    """Show which hours the lake holds, which are missing and why, and when they are retried."""
    from etl.cli.coverage_view import SHOWN, print_coverage, print_hours
    from etl.coverage.coverage import COVERAGE_SCHEMA, STATUSES_WITHOUT_EVENTS, coverage

    form = _form(form, out)
    if late_after is not None and only is not None and _NEVER_LATE in only:
        raise UsageError("a complete hour is never late", hint="leave complete out of --only")
    columns = SHOWN if form == TABLE and html is None else COVERAGE_SCHEMA.names
    now = datetime.now(UTC)
    lake = session.lake()
    if hours is None and late_after is not None:
        hours = _watched(lake, now)
    thresholds = session.thresholds()
    everything = coverage(lake, hours, thresholds=thresholds, now=now, columns=columns, rebuild=rebuild)
    table = everything if only is None else _of_status(everything, only)
    if html is not None:
        from etl.report.coverage_page import render

        write_whole(html, render(everything, lake=lake.address, now=now).encode())
        session.out.print(f"{plural(len(everything), 'hour is', 'hours are')} in {html}")
    if out is not None:
        write_whole(out, _WRITERS[form](table))
        session.out.print(f"{plural(len(table), 'hour is', 'hours are')} in {out}")
    elif form != TABLE:
        sys.stdout.buffer.write(_WRITERS[form](table))
    elif html is None:
        if only is not None:
            print_hours(session.out, everything, only, now=now)
        else:
            print_coverage(session.out, table, lake=lake, hours=hours, now=now, policy=session.email_policy())
    if late_after is not None:
        _refuse_late(everything, only or STATUSES_WITHOUT_EVENTS, late_after, now)


def _watched(lake: Lake, now: datetime) -> HourRange:
    """Returns the hours that a monitor checks: the newest finished hours, as far back as the lake goes."""
    from etl.coverage.coverage import extent

    hours = hours_back_from(newest_finished_hour(now), _WATCHED_HOURS)
    known = extent(lake, now=now)
    return hours if known is None else HourRange(min(max(hours.first, known.hours.first), hours.last), hours.last)


def _of_status(table: pa.Table, statuses: Sequence[str]) -> pa.Table:
    import pyarrow.compute as pc

    from etl.events.arrow import text

    return table.filter(pc.is_in(table["status"], value_set=text(list(statuses))))


def _refuse_late(table: pa.Table, statuses: Sequence[str], late_after: int, now: datetime) -> None:
    from etl.coverage.coverage import late

    rows = late(table, statuses, before=now - timedelta(hours=late_after))
    if not len(rows):
        return
    named = [f"{row['hour']} ({row['status']})" for row in rows.select(["hour", "status"]).slice(0, _NAMED).to_pylist()]
    more = [f"{len(rows) - _NAMED:,} more"] if len(rows) > _NAMED else []
    raise IncompleteError(
        f"{plural(len(rows), 'hour is', 'hours are')} late, {plural(late_after, 'hour')} or more after the end:"
        f" {', '.join([*named, *more])}",
        hint="`catch-up` fetches the hours that are due; `status` shows the reasons",
    )


def _form(named: str | None, out: Path | None) -> str:
    form = named or (out.suffix.removeprefix(".") if out is not None else TABLE)
    if out is not None and (form not in _FORMATS or form == TABLE):
        raise UsageError(
            f"{out} cannot be written as a {form}" if form else f"--out {out} does not tell in which format",
            hint=f"name it with --format: {', '.join(_FORMATS[1:])}",
        )
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise UsageError("parquet is not for a terminal", hint="name a file with --out, or redirect the output")
    return form


def _objects(table: pa.Table) -> Iterator[bytes]:
    """Yields each row as a JSON object, the counts by type in it as an object of their own."""
    import msgspec

    encoder = msgspec.json.Encoder()
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            types = row["types"]
            yield encoder.encode(row | {"types": None if types is None else msgspec.Raw(types.encode())})


def _json(table: pa.Table) -> bytes:
    """One array, an object a line."""
    return b"[" + b",\n".join(_objects(table)) + b"]\n"


def _json_lines(table: pa.Table) -> bytes:
    return b"".join(row + b"\n" for row in _objects(table))


def _csv(table: pa.Table) -> bytes:
    import pyarrow.csv

    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink)
    return sink.getvalue()


def _parquet(table: pa.Table) -> bytes:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


_WRITERS: Final[dict[str, Callable[[pa.Table], bytes]]] = {
    JSON: _json,
    JSON_LINES: _json_lines,
    "csv": _csv,
    "parquet": _parquet,
}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file atomically: on an error the old file stays."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or type(error).__name__}", hint="choose another path for the file"
        ) from error
