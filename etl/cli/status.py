"""``status``: which hours are in the lake, which are not, why, and when they are tried again."""

from __future__ import annotations

import io
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.front import Command
from etl.cli.session import Bound, Session, with_session
from etl.errors import UsageError
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.memory import share_memory

if TYPE_CHECKING:
    from collections.abc import Callable

    import pyarrow as pa


_FORMATS: Final = ("table", "json", "csv", "parquet")


@click.command(
    cls=Command,
    examples=(
        ("status", "all hours from the first in the lake to the last"),
        ("status 2015-01-01", "from that day on"),
        ("status 2015-01-01 2015-01-31", "a month"),
        ("status --html coverage.html", "a page with a square for each hour"),
        ("status --format json | jq -r 'select(.status != \"complete\") | .hour'", "the hours to look after"),
        ("status 2015-01-01 --out coverage.parquet", "the same as a table for other tools"),
    ),
)
@click.argument("first", metavar="[FROM", required=False, type=Bound(0))
@click.argument("last", metavar="[TO]]", required=False, type=Bound(23))
@click.option(
    "--format",
    "form",
    type=click.Choice(_FORMATS),
    help="table is for people; json is one object a line; all but table have a row for each hour. By default table, "
    "or what the name given to --out ends with.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE", help="Write to a file.")
@click.option(
    "--html",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write a page that shows every hour, to be opened in a browser.",
)
@click.option("--rebuild", is_flag=True, help="Read every manifest again and make the lake's index anew.")
@with_session("lake", "emails")
def status(
    session: Session,
    first: Hour | None,
    last: Hour | None,
    form: str | None,
    out: Path | None,
    html: Path | None,
    rebuild: bool,  # noqa: FBT001
) -> None:
    """Tell which hours are in the lake, which are not and why, and when they are tried again.

    FROM and TO are hours (2015-01-01-15) or days (2015-01-01), both included.
    """
    share_memory()
    from etl.cli.calendar import SHOWN, print_coverage
    from etl.lake.coverage import COVERAGE_SCHEMA, coverage

    form = _form(form, out)
    columns = SHOWN if form == "table" and html is None else COVERAGE_SCHEMA.names
    now = datetime.now(UTC)
    hours = None if first is None else HourRange(first, last or newest_finished_hour())
    lake = session.lake()
    table = coverage(lake, hours, thresholds=session.thresholds(), now=now, columns=columns, rebuild=rebuild)
    if html is not None:
        from etl.report.coverage_page import render

        write_whole(html, render(table, lake=lake.address, now=now).encode())
        session.out.print(f"{len(table):,} hours are in {html}")
    if out is not None:
        write_whole(out, _WRITERS[form](table))
        session.out.print(f"{len(table):,} hours are in {out}")
    elif form != "table":
        sys.stdout.buffer.write(_WRITERS[form](table))
    elif html is None:
        print_coverage(session.out, table, lake=lake.address, hours=hours, now=now, policy=session.email_policy())


def _form(named: str | None, out: Path | None) -> str:
    form = named or (out.suffix.removeprefix(".") if out is not None else "table")
    if out is not None and (form not in _FORMATS or form == "table"):
        raise UsageError(
            f"{out} cannot be written as a {form}" if form else f"--out {out} does not tell in which format",
            hint=f"name it with --format: {', '.join(_FORMATS[1:])}",
        )
    if form == "parquet" and out is None and sys.stdout.isatty():
        raise UsageError("parquet is not for a terminal", hint="name a file with --out, or redirect the output")
    return form


def _json(table: pa.Table) -> bytes:
    """One object a line; the counts by type as an object of their own."""
    import msgspec

    encoder = msgspec.json.Encoder()
    lines = io.BytesIO()
    for batch in table.to_batches(max_chunksize=10_000):
        for row in batch.to_pylist():
            types = row["types"]
            lines.write(encoder.encode(row | {"types": None if types is None else msgspec.Raw(types.encode())}))
            lines.write(b"\n")
    return lines.getvalue()


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


_WRITERS: Final[dict[str, Callable[[pa.Table], bytes]]] = {"json": _json, "csv": _csv, "parquet": _parquet}


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file whole, or leaves what is there."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        try:
            unfinished.write_bytes(content)
            unfinished.replace(path)
        finally:
            unfinished.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot write {path}: {error.strerror or type(error).__name__}", hint="name another place for the file"
        ) from error
