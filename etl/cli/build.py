"""``build``: the lake's hours become the warehouse's tables."""

from __future__ import annotations

import resource
from itertools import groupby
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, JSON_LINES, TABLE, print_json, print_line, print_rows, takes_format
from etl.cli.ranges import takes_days
from etl.errors import EtlError, UsageError
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from etl.settings import Settings
    from etl.warehouse.bigquery.builder import BigQueryTarget
    from etl.warehouse.build import BuildOptions
    from etl.warehouse.lake_inputs import Days
    from etl.warehouse.plan import PartitionTask
    from etl.warehouse.table_builder import Entry


_LEAST_ADDRESS_SPACE: Final = 8 << 30
"""Bytes of address space; far more is reserved than used, and where it ends allocators abort the process."""


@click.command(
    cls=Command,
    examples=(
        ("build", "bring every table up to date with the lake"),
        ("build --dry-run", "say what would be done, and do nothing"),
        ("build 2015-01-01 2015-01-31", "only days of that month, by when events happened"),
        ("build --full", "make everything anew"),
        ("build --engine spark", "the same tables, made by Spark"),
        (
            "build --engine bigquery --dataset my-project.gharchive --lake gs://b/lake --warehouse gs://b/warehouse",
            "the same tables in BigQuery, by queries over a lake in a bucket",
        ),
    ),
)
@takes_days
@click.option(
    "--engine",
    type=click.Choice(("duckdb", "spark", "bigquery")),
    default="duckdb",
    show_default=True,
    help="What runs the models; the rows are the same.",
)
@click.option("--full", is_flag=True, help="Make what is up to date anew as well.")
@click.option("--dry-run", is_flag=True, help="List the partitions that would be made, with the bytes they read.")
@takes_format(JSON_LINES, help="A partition is an object.")
@with_session("lake", "warehouse", "dataset", "reporting_dataset", "events_by")
def build(session: Session, days: Days, engine: str, *, full: bool, dry_run: bool, form: str) -> None:
    """Build the warehouse's tables from the lake: only what changed since the last time, each partition replaced whole.

    A partition whose new rows break a check that must hold stays as it was, and the exit code is 10. It may be stopped
    at any time: rerun to resume.
    """
    from datetime import UTC, datetime

    from etl.warehouse.build import BuildOptions

    options = BuildOptions(
        engine="spark" if engine == "spark" else "duckdb",
        days=days,
        full=full,
        thresholds=session.thresholds(),
    )
    place = in_bigquery(session.settings) if engine == "bigquery" else None
    if dry_run:
        _print_plan(session, _planned(session, place, options, datetime.now(UTC)), form=form)
        return
    _build(session, place, options, form=form)


def in_bigquery(settings: Settings) -> BigQueryTarget:
    """Returns the place in BigQuery that the settings name.

    Raises:
        UsageError: If they name none, or none that can be.
    """
    from etl.warehouse.bigquery.builder import BigQueryTarget
    from etl.warehouse.bigquery.client import DatasetName

    if settings.dataset is None:
        raise UsageError("no dataset of BigQuery is named", hint="name one with --dataset PROJECT.DATASET")
    reporting = settings.reporting_dataset
    return BigQueryTarget(
        DatasetName.parse(settings.dataset),
        None if reporting is None else DatasetName.parse(reporting),
        settings.warehouse,
        settings.events_by,
    )


def _planned(
    session: Session, place: BigQueryTarget | None, options: BuildOptions, now: datetime
) -> list[PartitionTask]:
    from etl.warehouse.bigquery.builder import plan
    from etl.warehouse.build import planned
    from etl.warehouse.table_state import Warehouse

    if place is not None:
        return plan(place, session.lake(), options, now=now)
    return planned(Warehouse.at(session.settings.warehouse), session.lake(), options, now=now)


def _build(session: Session, place: BigQueryTarget | None, options: BuildOptions, *, form: str) -> None:
    from etl.cli.progress import counting
    from etl.warehouse.bigquery import builder
    from etl.warehouse.build import build as build_tables
    from etl.warehouse.table_state import Warehouse

    _warn_of_little_memory()
    entries: list[Entry] = []
    where = session.settings.warehouse if place is None else str(place.dataset)

    def watch(entry: Entry) -> None:
        entries.append(entry)
        progress.advance()
        if form == JSON_LINES:
            print_line(entry)

    def told(line: str) -> None:
        if form == TABLE:
            session.err.print(line, style="dim")

    try:
        with counting("partitions", session.err, out=session.out) as progress:
            if place is None:
                build_tables(Warehouse.at(where), session.lake(), options, watch=watch, begins=progress.begin)
            else:
                builder.build(place, session.lake(), options, watch=watch, begins=progress.begin, told=told)
    except EtlError:
        if entries or form == JSON:
            _print_entries(session, where, entries, form=form)
        raise
    _print_entries(session, where, entries, form=form)


def _warn_of_little_memory() -> None:
    """Logs a warning where the address space is so small that DuckDB may be ended by its allocator, without a word."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < _LEAST_ADDRESS_SPACE:
        import structlog

        structlog.get_logger(__name__).warning(
            "the address space is limited (ulimit -v): a build that needs more ends without an explanation",
            limit=limit,
            recommended=_LEAST_ADDRESS_SPACE,
        )


def _print_plan(session: Session, found: Sequence[PartitionTask], *, form: str) -> None:
    from etl.cli.formatting import listing, size_text

    if form != TABLE:
        objects = (
            {
                "model": task.model.name,
                "partition": task.partition,
                "reason": task.reason,
                "bytes": task.bytes or None,
            }
            for task in found
        )
        print_rows(objects, form)
        return
    if not found:
        session.out.print("everything is up to date")
        return
    rows = []
    for run in _runs(found):
        size = sum(task.bytes for task in run)
        # What is read of a table that is not built yet cannot be told.
        reads = size_text(size) if size else ""
        rows.append((run[0].model.name, _span(run), f"{len(run):,}", run[0].reason.value, reads))
    columns = ("table", "partitions", "count", "why", "reads")
    session.out.print(listing(columns, rows, right=("count", "reads")))
    from_lake = sum({task.partition: task.bytes for task in found if "lake_events" in task.model.reads}.values())
    session.out.print(
        f"{plural(len(found), 'partition')} would be made, from {size_text(from_lake)} of the lake; nothing was done"
    )


def _print_entries(session: Session, where: str, entries: Sequence[Entry], *, form: str) -> None:
    from etl.cli.formatting import listing, size_text

    if form == JSON_LINES:  # They were printed as they came.
        return
    if form == JSON:
        print_json(entries)
        return
    if not entries:
        session.out.print(f"everything in {where} is up to date")
        return
    rows = []
    for name, group in groupby(entries, key=lambda entry: entry.model):
        done = list(group)
        outcomes = ", ".join(
            f"{sum(entry.outcome is outcome for entry in done):,} {outcome}"
            for outcome in dict.fromkeys(entry.outcome for entry in done)
        )
        written = sum(entry.bytes_written or 0 for entry in done)
        rows.append((name, outcomes, f"{sum(entry.rows_written or 0 for entry in done):,}", size_text(written)))
    session.out.print(listing(("table", "partitions", "rows", "parquet"), rows, right=("rows", "parquet")))
    for entry in entries:
        if entry.detail is not None:
            session.out.print(f"{entry.model} {entry.partition_id}: {entry.detail}")
    seconds = (entries[-1].finished_at - entries[0].started_at).total_seconds()
    session.out.print(f"{plural(len(entries), 'partition')} in {where} in {seconds:.1f} s")


def _runs(found: Sequence[PartitionTask]) -> Iterator[list[PartitionTask]]:
    """Groups partitions of one table that follow each other and have one reason."""
    from datetime import date as calendar_date

    def place(task: PartitionTask) -> int:
        return 0 if task.partition == "all" else calendar_date.fromisoformat(task.partition).toordinal()

    numbered = enumerate(found)
    for _, run in groupby(numbered, key=lambda each: (each[1].model.name, each[1].reason, place(each[1]) - each[0])):
        yield [task for _, task in run]


def _span(run: Sequence[PartitionTask]) -> str:
    first, last = run[0].partition, run[-1].partition
    return first if first == last else f"{first} to {last}"
