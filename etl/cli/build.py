"""``build``: build the warehouse's tables from the lake."""

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


_MIN_ADDRESS_SPACE: Final = 8 << 30
"""Address space in bytes. Far more is reserved than used, and allocators abort the process if it runs out."""


@click.command(
    cls=Command,
    examples=(
        ("build", "bring every table up to date with the lake"),
        ("build --dry-run", "show what would be built"),
        ("build 2015-01-01 2015-01-31", "only the days of one month, by the time of the events"),
        ("build --full", "rebuild everything"),
        ("build --engine spark", "build the same tables with Spark"),
        (
            "build --engine bigquery --dataset my-project.gharchive --lake gs://b/lake --warehouse gs://b/warehouse",
            "build the same tables in BigQuery, from a lake in a bucket",
        ),
    ),
)
@takes_days
@click.option(
    "--engine",
    type=click.Choice(("duckdb", "spark", "bigquery")),
    default="duckdb",
    show_default=True,
    help="Engine that runs the models; all build the same rows.",
)
@click.option("--full", is_flag=True, help="Rebuild partitions that are up to date, too.")
@click.option("--dry-run", is_flag=True, help="List the partitions that would be built, with the bytes they read.")
@takes_format(JSON_LINES, help="JSON has one object per partition.")
@with_session("lake", "warehouse", "dataset", "reporting_dataset", "events_by")
def build(session: Session, days: Days, engine: str, *, full: bool, dry_run: bool, form: str) -> None:
    """Build the warehouse's tables from the lake. Only changed partitions are built, each replaced as a whole.

    If the new rows of a partition fail a check, the old rows stay and the exit code is 10. A build can be stopped at
    any time: rerun to resume.
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
    """Returns the BigQuery datasets that the settings name.

    Raises:
        UsageError: If the dataset is not set or a name is invalid.
    """
    from etl.warehouse.bigquery.builder import BigQueryTarget
    from etl.warehouse.bigquery.client import DatasetName

    if settings.dataset is None:
        raise UsageError("a BigQuery dataset is required", hint="set it with --dataset PROJECT.DATASET")
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
    """Logs a warning if the address space is so small that DuckDB's allocator may abort the process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if 0 <= limit < _MIN_ADDRESS_SPACE:
        import structlog

        structlog.get_logger(__name__).warning(
            "the address space is limited (ulimit -v); a build that needs more is aborted without an error message",
            limit=limit,
            recommended=_MIN_ADDRESS_SPACE,
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
        # The size of a table that is not built yet is unknown.
        reads = size_text(size) if size else ""
        rows.append((run[0].model.name, _span(run), f"{len(run):,}", run[0].reason.value, reads))
    columns = ("table", "partitions", "count", "why", "reads")
    session.out.print(listing(columns, rows, right=("count", "reads")))
    from_lake = sum({task.partition: task.bytes for task in found if "lake_events" in task.model.reads}.values())
    session.out.print(
        f"{plural(len(found), 'partition')} would be built, from {size_text(from_lake)} of the lake; nothing was done"
    )


def _print_entries(session: Session, where: str, entries: Sequence[Entry], *, form: str) -> None:
    from etl.cli.formatting import listing, size_text

    if form == JSON_LINES:  # Already printed.
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
    """Groups consecutive partitions of one table that have the same reason."""
    from datetime import date as calendar_date

    def place(task: PartitionTask) -> int:
        return 0 if task.partition == "all" else calendar_date.fromisoformat(task.partition).toordinal()

    numbered = enumerate(found)
    for _, run in groupby(numbered, key=lambda each: (each[1].model.name, each[1].reason, place(each[1]) - each[0])):
        yield [task for _, task in run]


def _span(run: Sequence[PartitionTask]) -> str:
    first, last = run[0].partition, run[-1].partition
    return first if first == last else f"{first} to {last}"
