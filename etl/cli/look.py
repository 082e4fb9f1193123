"""``status`` and ``show``: what is in the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.front import Command
from etl.cli.session import HOUR, Session, with_session
from etl.errors import StoreError, UsageError
from etl.hours import Hour

if TYPE_CHECKING:
    import pyarrow as pa

    from etl.lake.lake import Lake
    from etl.lake.manifest import FileFacts

_EVENT_COLUMNS: Final = ("created_at", "id", "type", "actor_login", "repo_name", "payload")
_CELL_WIDTH: Final = 60


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
    if events:
        _print_rows(
            session, lake, file, events, _EVENT_COLUMNS, nothing=f"no events are stored: {hour} is {manifest.status}"
        )
    if quarantine:
        damaged = None if manifest.content is None else manifest.content.quarantine_file
        _print_rows(session, lake, damaged, quarantine, None, nothing=f"nothing of {hour} is in quarantine")


def _print_rows(
    session: Session, lake: Lake, file: FileFacts | None, count: int, columns: tuple[str, ...] | None, *, nothing: str
) -> None:
    """Prints the first rows of a parquet file of the lake, or a sentence where there are none."""
    from etl.cli.tables import listing, printable

    if file is None or not file.rows:
        session.out.print(nothing)
        return
    table = _first_rows(lake, file.key, count, columns)
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
