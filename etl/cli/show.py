"""``show``: everything the lake holds about one hour."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import HOUR, Session, with_session
from etl.cli.output import JSON, takes_format
from etl.errors import StoreError, UsageError
from etl.hours import Hour

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa
    import pyarrow.parquet as pq

    from etl.lake.lake import Lake
    from etl.lake.manifest import Manifest

_EVENT_COLUMNS: Final = ["created_at", "id", "type", "actor_login", "repo_name", "payload"]
_CELL_WIDTH: Final = 60


@click.command(
    cls=Command,
    examples=(
        ("show 2015-01-01-15", "the hour's manifest"),
        ("show 2015-01-01-15 --events 5", "with five events"),
        ("show 2015-01-01-15 --quarantine 5", "with five unreadable records"),
        ("show 2015-01-01-15 --format json | jq .manifest.status", "for a program"),
    ),
)
@click.argument("hour", type=HOUR)
@click.option(
    "--events",
    type=click.IntRange(min=0),
    default=0,
    metavar="N",
    help="Print N events, of as many types as possible.",
)
@click.option("--quarantine", type=click.IntRange(min=0), default=0, metavar="N", help="Print N quarantined records.")
@takes_format(help="JSON has the manifest and all columns of the requested events and records.")
@with_session("lake")
def show(session: Session, hour: Hour, events: int, quarantine: int, form: str) -> None:
    """Show one hour: its manifest and, on request, some of its events."""
    lake = session.lake()
    manifest = lake.manifest(hour)
    if manifest is None:
        raise UsageError(
            f"{hour} is not in the lake {lake.address}", hint="`run` fetches it; `status` lists the hours in the lake"
        )
    if form == JSON:
        _print_document(lake, manifest, events, quarantine)
    else:
        _print_all(session, lake, manifest, events, quarantine)


def _print_document(lake: Lake, manifest: Manifest, events: int, quarantine: int) -> None:
    import msgspec

    from etl.cli.output import print_json
    from etl.lake.manifest import encode

    file = manifest.events_file
    held = None if manifest.content is None else manifest.content.quarantine_file
    print_json(
        {
            "manifest": msgspec.Raw(encode(manifest)),
            "events_file": None if file is None else lake.store.url(file.key),
            "events": [] if file is None or not events else _sample(lake, file.key, events, None).to_pylist(),
            "quarantine": [] if held is None or not quarantine else _first_rows(lake, held.key, quarantine).to_pylist(),
        }
    )


def _print_all(session: Session, lake: Lake, manifest: Manifest, events: int, quarantine: int) -> None:
    from etl.cli.formatting import facts_table, manifest_facts, sources_table, types_table

    file = manifest.events_file
    session.out.print(facts_table(manifest_facts(manifest, None if file is None else lake.store.url(file.key))))
    if manifest.sources:
        session.out.print(sources_table(manifest))
    if manifest.content is not None and manifest.content.types:
        session.out.print(types_table(manifest.content.types))
    if events:
        _print_rows(
            session,
            None if file is None or not file.rows else _sample(lake, file.key, events, _EVENT_COLUMNS),
            nothing=f"no events are stored: {manifest.hour} is {manifest.status}",
        )
    if quarantine:
        held = None if manifest.content is None else manifest.content.quarantine_file
        _print_rows(
            session,
            None if held is None or not held.rows else _first_rows(lake, held.key, quarantine),
            nothing=f"nothing of {manifest.hour} is in quarantine",
        )


def _print_rows(session: Session, table: pa.Table | None, *, nothing: str) -> None:
    """Prints a table, or a sentence if there is none."""
    from etl.cli.formatting import listing, printable

    if table is None:
        session.out.print(nothing)
        return
    rows = [[printable(value, _CELL_WIDTH) for value in row.values()] for row in table.to_pylist()]
    session.out.print(listing(table.column_names, rows))


def _sample(lake: Lake, key: str, count: int, columns: list[str] | None) -> pa.Table:
    """Returns events of an events file, of as many types as possible, in file order."""
    import pyarrow as pa

    from etl.events import arrow

    with _opened(lake, key) as parquet:
        rows = spread(parquet.read(columns=["type"])["type"].to_pylist(), count)
        parts = []
        begin = 0
        for group in range(parquet.num_row_groups):
            end = begin + parquet.metadata.row_group(group).num_rows
            within = [row - begin for row in rows if begin <= row < end]
            if within:
                parts.append(parquet.read_row_group(group, columns=columns).take(arrow.int64(within)))
            begin = end
        return pa.concat_tables(parts) if parts else parquet.read_row_groups([], columns=columns)


def spread(types: Sequence[str | None], count: int) -> list[int]:
    """Selects rows evenly from as many types as possible, the first rows of each type.

    Args:
        types: The type of each row.
        count: Number of rows to select.

    Returns:
        The indices of ``count`` rows, or of all rows if there are fewer, in ascending order.
    """
    places: dict[str | None, list[int]] = {}
    for place, type_ in enumerate(types):
        known = places.setdefault(type_, [])
        if len(known) < count:
            known.append(place)
    frequent_first = [places[type_] for type_, _ in Counter(types).most_common()]
    in_turn = (place for turn in zip_longest(*frequent_first) for place in turn if place is not None)
    return sorted(islice(in_turn, count))


def _first_rows(lake: Lake, key: str, count: int) -> pa.Table:
    """Returns the first rows of a parquet file of the lake."""
    import pyarrow as pa

    with _opened(lake, key) as parquet:
        first = next(parquet.iter_batches(batch_size=count), None)
        return pa.Table.from_batches([] if first is None else [first.slice(0, count)], schema=parquet.schema_arrow)


@contextmanager
def _opened(lake: Lake, key: str) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with lake.store.open(key) as file:
            yield pq.ParquetFile(file)
    except (pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{lake.store.url(key)} cannot be read as parquet",
            hint="run `verify` for details; `run --force` fetches the hour again",
        ) from error
