"""``load``: load the warehouse's files into BigQuery."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import rich_click as click

from etl.cli.build import in_bigquery
from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, JSON_LINES, TABLE, print_json, print_line, print_rows, takes_format
from etl.cli.ranges import takes_days
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.warehouse.bigquery.loader import Loaded, Step
    from etl.warehouse.lake_inputs import Days


@click.command(
    cls=Command,
    examples=(
        (
            "load --warehouse gs://my-bucket/warehouse --dataset my-project.gharchive",
            "load what changed since the last load",
        ),
        ("load --dry-run", "show what would be loaded"),
        ("load 2015-01-01 2015-01-31", "only the days of one month"),
    ),
)
@takes_days
@click.option(
    "--dry-run", is_flag=True, help="List the partitions that would be loaded, with the bytes of their files."
)
@takes_format(JSON_LINES, help="JSON has one object per partition.")
@with_session("warehouse", "dataset", "reporting_dataset", "events_by")
def load(session: Session, days: Days, *, dry_run: bool, form: str) -> None:
    """Load tables built by DuckDB or Spark into BigQuery. Only changed partitions are loaded, each as a whole.

    The warehouse must be in a bucket. Loading is free of charge. Missing tables and views are created, new columns of
    the models are added, and nothing is dropped. A load can be stopped at any time: rerun to resume.
    """
    from etl.warehouse.bigquery.builder import build_lock
    from etl.warehouse.bigquery.loader import load as load_tables
    from etl.warehouse.bigquery.loader import steps
    from etl.warehouse.bigquery.schema_sync import ensure
    from etl.warehouse.table_state import Warehouse

    place = in_bigquery(session.settings)
    warehouse = Warehouse.at(session.settings.warehouse)
    dataset = place.opened()
    if dry_run:
        _print_steps(session, list(steps(warehouse, dataset, days)), form=form)
        return
    with build_lock(dataset):
        for line in ensure(dataset.jobs, place.dataset, place.reporting, place.events_by):
            session.err.print(line, style="dim")
        done: list[Loaded] = []

        def watch(each: Loaded) -> None:
            done.append(each)
            if form == JSON_LINES:
                print_line(_as_object(each))

        try:
            load_tables(warehouse, dataset, days, watch=watch)
        finally:
            _print_done(session, done, form=form)
    if form == TABLE:
        session.out.print(
            f"{plural(len(done), 'partition was', 'partitions were')} loaded or removed; {place.dataset} is up to date"
        )


def _print_steps(session: Session, found: Sequence[Step], *, form: str) -> None:
    from etl.cli.formatting import size_text

    if form != TABLE:
        rows = (
            {"model": step.model.name, "partition": step.partition, "action": step.action, "bytes": step.bytes}
            for step in found
        )
        print_rows(rows, form)
        return
    _print_table(session, [(step, 0) for step in found])
    size = size_text(sum(step.bytes for step in found))
    session.out.print(f"{plural(len(found), 'partition')} would be loaded or removed, from {size}; nothing was done")


def _print_done(session: Session, done: Sequence[Loaded], *, form: str) -> None:
    if form == JSON:
        print_json([_as_object(each) for each in done])
    elif form == TABLE:
        _print_table(session, [(each.step, each.rows) for each in done])


def _as_object(each: Loaded) -> dict[str, object]:
    step = each.step
    return {"model": step.model.name, "partition": step.partition, "action": step.action, "rows": each.rows}


def _print_table(session: Session, found: Sequence[tuple[Step, int]]) -> None:
    from etl.cli.formatting import listing, size_text

    rows = []
    for (name, action), group in groupby(found, key=lambda each: (each[0].model.name, each[0].action)):
        some = list(group)
        size = size_text(sum(step.bytes for step, _ in some))
        rows.append((name, str(action), f"{len(some):,}", f"{sum(number for _, number in some):,}", size))
    if rows:
        columns = ("table", "what", "partitions", "rows", "parquet")
        session.out.print(listing(columns, rows, right=("partitions", "rows", "parquet")))
