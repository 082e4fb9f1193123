"""``status``, ``show`` and ``verify``: what is in the lake, and whether it is sound."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from typing_extensions import override

from etl.cli.front import Command
from etl.cli.session import HOUR, Session, with_session
from etl.errors import StoreError, UsageError, VerifyError
from etl.hours import Hour, HourRange, newest_finished_hour

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

    from etl.lake.lake import Lake
    from etl.lake.manifest import Manifest

_DAY: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}", re.ASCII)
_EVENT_COLUMNS: Final = ("created_at", "id", "type", "actor_login", "repo_name", "payload")
_CELL_WIDTH: Final = 60


class Bound(click.ParamType):
    """An hour, or a whole day in the place of its first or last hour."""

    name = "hour"

    def __init__(self, hour_of_day: int) -> None:
        self._hour_of_day = hour_of_day

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Hour:
        if isinstance(value, str) and _DAY.fullmatch(value.strip()):
            return Hour.parse(f"{value.strip()}-0") + self._hour_of_day
        return value if isinstance(value, Hour) else Hour.parse(value)


@click.command(
    cls=Command,
    examples=(
        ("status", "all hours in the lake"),
        ("status 2015-01-01", "from that day on"),
        ("status 2015-01-01 2015-01-31", "a month; hours that are not in the lake are counted"),
        ("status --format json | jq -r 'select(.status != \"complete\") | .hour'", "the hours to look after"),
    ),
)
@click.argument("first", metavar="[FROM", required=False, type=Bound(0))
@click.argument("last", metavar="[TO]]", required=False, type=Bound(23))
@click.option(
    "--format",
    "form",
    type=click.Choice(("table", "json")),
    default="table",
    show_default=True,
    help="json is one manifest a line.",
)
@with_session("lake")
def status(session: Session, first: Hour | None, last: Hour | None, form: str) -> None:
    """List the hours in the lake: status, events, bytes, and what is wrong with them.

    FROM and TO are hours (2015-01-01-15) or days (2015-01-01), both included.
    """
    lake = session.lake()
    hours = None if first is None else HourRange(first, last or newest_finished_hour())
    manifests = lake.manifests(hours)
    if form == "json":
        _print_lines(manifests)
        return
    _print_status(session, lake, list(manifests), None if last is None else hours)


@click.command(
    cls=Command,
    examples=(
        ("show 2015-01-01-15", "everything that is known of the hour"),
        ("show 2015-01-01-15 --events 5", "and its first five events"),
        ("show 2015-01-01-15 --quarantine 5", "and what could not be read"),
    ),
)
@click.argument("hour", type=HOUR)
@click.option("--events", type=click.IntRange(min=0), default=0, metavar="N", help="Also print the first N events.")
@click.option(
    "--quarantine", type=click.IntRange(min=0), default=0, metavar="N", help="Also print N records of quarantine."
)
@with_session("lake")
def show(session: Session, hour: Hour, events: int, quarantine: int) -> None:
    """Show one hour: its manifest, and if asked for, some of its events."""
    from etl.cli.tables import facts_table, manifest_facts, types_table

    lake = session.lake()
    manifest = lake.manifest(hour)
    if manifest is None:
        raise UsageError(
            f"{hour} is not in the lake {lake.address}", hint="`run` brings it there; `status` lists what is there"
        )
    file = manifest.events_file
    session.out.print(facts_table(manifest_facts(manifest, None if file is None else lake.store.url(file.key))))
    if manifest.content is not None:
        session.out.print(types_table(manifest.content.types))
        if events and file is not None:
            _print_rows(session, lake, file.key, events, _EVENT_COLUMNS)
        if quarantine and manifest.content.quarantine_file is not None:
            _print_rows(session, lake, manifest.content.quarantine_file.key, quarantine, None)


@click.command(
    cls=Command,
    examples=(
        ("verify 2015-01-01-15", "read the hour's files and hold them against its manifest"),
        ("verify 2015-01-01-15 2015-01-01-16 --lake gs://my-bucket/lake", "two hours in a bucket"),
    ),
)
@click.argument("hours", metavar="HOUR...", type=HOUR, nargs=-1, required=True)
@with_session("lake")
def verify(session: Session, hours: tuple[Hour, ...]) -> None:
    """Check stored hours byte for byte: sizes, checksums, rows and schema."""
    from etl.events.schema import ARROW_SCHEMA

    lake = session.lake()
    bad = 0
    for hour in hours:
        problems = lake.verify(hour, ARROW_SCHEMA)
        bad += bool(problems)
        session.out.print(f"{hour}: {'; '.join(problems) or 'sound'}")
    if bad:
        raise VerifyError(
            f"{bad} of {len(hours)} hours do not match their manifests",
            hint="`run --force` makes an hour anew",
        )


def _print_lines(manifests: Iterable[Manifest]) -> None:
    import msgspec

    encoder = msgspec.json.Encoder()
    for manifest in manifests:
        click.echo(encoder.encode(manifest))


def _print_status(session: Session, lake: Lake, manifests: list[Manifest], hours: HourRange | None) -> None:
    from etl.cli.tables import listing, printable, size_text, status_text

    rows = [
        (
            manifest.hour,
            status_text(manifest.status),
            "" if manifest.content is None else f"{manifest.content.events:,}",
            "" if manifest.events_file is None else size_text(manifest.events_file.bytes),
            printable(manifest.reason),
        )
        for manifest in manifests
    ]
    if rows:
        columns = ("hour", "status", "events", "parquet", "reason")
        session.out.print(listing(columns, rows, right=("events", "parquet")))
    session.out.print(_totals(lake, manifests))
    if hours is not None and len(manifests) < len(hours):
        session.out.print(
            f"{len(hours) - len(manifests):,} of the {len(hours):,} hours from {hours} are not in the lake"
        )


def _totals(lake: Lake, manifests: list[Manifest]) -> str:
    from etl.cli.tables import size_text

    if not manifests:
        return f"no hours in the lake {lake.address}"
    counts: dict[str, int] = {}
    for manifest in manifests:
        counts[manifest.status.value] = counts.get(manifest.status.value, 0) + 1
    events = sum(manifest.content.events for manifest in manifests if manifest.content is not None)
    size = sum(manifest.events_file.bytes for manifest in manifests if manifest.events_file is not None)
    by_status = ", ".join(f"{count:,} {status}" for status, count in counts.items())
    return f"{len(manifests):,} hours in {lake.address} ({by_status}): {events:,} events, {size_text(size)}"


def _print_rows(session: Session, lake: Lake, key: str, count: int, columns: tuple[str, ...] | None) -> None:
    """Prints the first rows of a parquet file of the lake."""
    from etl.cli.tables import listing, printable

    table = _first_rows(lake, key, count, columns)
    rows = [[printable(value, _CELL_WIDTH) for value in row.values()] for row in table.to_pylist()]
    session.out.print(listing(table.column_names, rows))


def _first_rows(lake: Lake, key: str, count: int, columns: tuple[str, ...] | None) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with lake.store.open(key) as file:
            parquet = pq.ParquetFile(file)
            batches = parquet.iter_batches(batch_size=count, columns=None if columns is None else list(columns))
            first = next(batches, None)
            schema = (
                parquet.schema_arrow if columns is None else pa.schema([parquet.schema_arrow.field(c) for c in columns])
            )
            return pa.Table.from_batches([] if first is None else [first.slice(0, count)], schema=schema)
    except (pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{lake.store.url(key)} cannot be read as parquet", hint="`verify` tells more; `run --force` makes it anew"
        ) from error
