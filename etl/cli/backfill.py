"""``backfill`` and ``catch-up``: fetch many hours in parallel."""

from __future__ import annotations

import os
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from typing_extensions import override

from etl.cli.command_base import Command
from etl.cli.context import Session, scrub_of, with_session
from etl.cli.output import JSON, print_json, takes_format
from etl.cli.ranges import hours_back_from, takes_hours
from etl.errors import IncompleteError, SourceUnreachableError, UsageError
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.backfill.estimate import Estimate
    from etl.backfill.plan import Plan, ReprocessMode
    from etl.backfill.run import Executor
    from etl.backfill.summary import Summary
    from etl.backfill.worker import Job
    from etl.hours import HourRange

_MIN_RATE: Final = 1000
MAX_WORKERS: Final = 1024
_MAX_LISTED: Final = 20
_REASON_WIDTH: Final = 200


class Rate(click.ParamType):
    """A rate such as 20MB; converts to bytes per second."""

    name = "rate"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        from pydantic import ByteSize, TypeAdapter, ValidationError

        try:
            rate = int(TypeAdapter(ByteSize).validate_python(str(value).strip().removesuffix("/s")))
        except ValidationError:
            rate = 0
        if rate < _MIN_RATE:
            raise UsageError(
                f"{value!r} is not a rate", hint="write bytes per second, such as 20MB or 500kB; minimum 1kB"
            )
        return rate


def takes_reprocessing(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the flags that process hours again although the lake has them."""
    for option in reversed(
        (
            click.option("--refresh", is_flag=True, help="Check the source for newer versions of complete hours."),
            click.option(
                "--recheck",
                is_flag=True,
                help="Ask all sources, and replace complete hours of which one has clearly more.",
            ),
            click.option(
                "--force",
                is_flag=True,
                help="Process every hour again, and store it even if it now has fewer events.",
            ),
        )
    ):
        command = option(command)
    return command


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the shared options to a command."""
    for option in reversed(
        (
            click.option(
                "--workers",
                type=click.IntRange(1, MAX_WORKERS),
                metavar="N",
                help="Hours to process in parallel, each in its own process. Default: one per processor, or one per"
                " Spark core.",
            ),
            click.option(
                "--max-rate",
                type=Rate(),
                metavar="RATE",
                help="Maximum download rate per second over all workers, such as 20MB.",
            ),
            click.option(
                "--engine",
                type=click.Choice(("processes", "spark")),
                default="processes",
                show_default=True,
                help="Where to run: processes on this machine, or Spark executors.",
            ),
            click.option(
                "--dry-run",
                is_flag=True,
                help="Show what would be done, with estimated time, download and disk space.",
            ),
            takes_format(),
        )
    ):
        command = option(command)
    return command


@click.command(
    cls=Command,
    examples=(
        ("backfill 2015-01-01 2015-01-03", "three days, both included"),
        ("backfill 2015-01-01", "one day"),
        ("backfill 2015-01-01-0 2015-01-01-11", "twelve hours"),
        ("backfill --last 72h", "the last three days"),
        ("backfill 2015-01-01 2015-12-31 --dry-run", "estimate a year"),
        ("backfill 2024-01-01 2024-01-31 --workers 8 --max-rate 20MB", "a month, with limited bandwidth"),
    ),
)
@takes_hours(required=True)
@takes_reprocessing
@_shared_options
@with_session("sources", "completeness", "lake", "emails", "max_damage")
def backfill(
    session: Session,
    hours: HourRange,
    *,
    refresh: bool,
    recheck: bool,
    force: bool,
    **how: Any,  # noqa: ANN401
) -> None:
    """Fetch all hours of a range into the lake, in parallel.

    Complete hours are skipped, so rerun to resume. A failed hour does not stop the others; it is retried at the end
    and listed with its reason.
    """
    if how["engine"] == "processes" and not how["dry_run"]:
        from etl.runtime.process_context import context

        # Starts the fork server, which imports its modules while this process imports the same.
        context()
    from etl.backfill.plan import ReprocessMode

    redo = ReprocessMode.ALL if force else ReprocessMode.STORED if refresh or recheck else ReprocessMode.NONE
    _run(session, hours, _job(session, redo, refresh=refresh, recheck=recheck, force=force), **how)


@click.command(
    "catch-up",
    cls=Command,
    examples=(
        ("catch-up", "fetch what is incomplete in the last three days"),
        ("catch-up --hours 24 --workers 2", "only the last day, two hours at a time"),
        ("catch-up --log-format json", "for a scheduler that runs it every few minutes"),
    ),
)
@click.option(
    "--hours",
    type=click.IntRange(1, 24 * 366),
    default=72,
    show_default=True,
    metavar="N",
    help="Hours to look back from the newest published hour.",
)
@_shared_options
@with_session("sources", "completeness", "lake", "emails", "max_damage")
def catch_up(session: Session, hours: int, **how: Any) -> None:  # noqa: ANN401
    """Fetch the newest incomplete hours into the lake, the oldest first.

    Safe to run every few minutes, also during a backfill: an hour that another run is processing is skipped.
    """
    from etl.archive.fetch import newest_published
    from etl.backfill.plan import ReprocessMode

    newest = newest_published(session.sources(), session.fetch_policy())
    _run(session, hours_back_from(newest, hours), _job(session, ReprocessMode.NONE), counted=True, **how)


def _job(
    session: Session, redo: ReprocessMode, *, refresh: bool = False, recheck: bool = False, force: bool = False
) -> Job:
    from etl.backfill.worker import Job, LogSettings
    from etl.coverage.retry_schedule import DEFAULT_POLICY

    settings = session.settings
    session.sources()  # Fails here, once, for invalid sources.
    return Job(
        lake=settings.lake,
        sources=settings.sources,
        options=session.run_options(refresh=refresh, recheck=recheck, force=force),
        tries=DEFAULT_POLICY,
        redo=redo,
        log=LogSettings(
            format=settings.log_format,
            level=settings.log_level,
            scrub=scrub_of(settings),
            on_terminal=session.err.is_terminal,
        ),
    )


def _run(
    session: Session,
    hours: HourRange,
    job: Job,
    *,
    dry_run: bool,
    form: str,
    counted: bool = False,
    **how: Any,  # noqa: ANN401
) -> None:
    from etl.backfill.plan import plan, warn_of_other_policies
    from etl.runtime import logs
    from etl.source_selection import asks_before_reading

    recheck = asks_before_reading(job.sources, job.options.completeness)
    todo = plan(session.lake(), hours, policy=job.tries, now=datetime.now(UTC), redo=job.redo, recheck=recheck)
    job = replace(job, rechecks=todo.rechecks)
    warn_of_other_policies(todo, job.options.emails.name)
    if dry_run:
        at_once = max(1, min(how["workers"] or _processors(), len(todo.due)))
        processors = None if how["engine"] == "spark" else _processors()
        _print_plan(session, todo, workers=at_once, processors=processors, max_rate=how["max_rate"], form=form)
        return
    summary = _done(session, todo, job, **how)
    if counted:
        logs.count("hours looked at", range=str(hours), hours=len(summary.reports), not_complete=len(summary.left))
    _print_summary(session, summary, ran=len(todo.due), form=form)
    _conclude(summary)


def _conclude(summary: Summary) -> None:
    """Raises an error if some hours are not complete.

    Raises:
        StoreError: If the lake failed.
        SourceUnreachableError: If the archive is down and no hour was fetched.
        IncompleteError: If some hours are not complete for any other reason.
    """
    if not summary.left:
        return
    hours_are = plural(len(summary.reports), "hour is", "hours are")
    message = f"{len(summary.left):,} of {hours_are} not complete: {summary.counts()}"
    stopped = summary.stopped
    if stopped is None:
        raise IncompleteError(message, hint="rerun later: only hours that are due then are requested")
    message = f"{message}; {stopped.message}"
    if isinstance(stopped, SourceUnreachableError) and summary.fetched:
        raise IncompleteError(message, hint=stopped.hint)
    raise type(stopped)(message, hint=stopped.hint)


def _done(session: Session, todo: Plan, job: Job, *, workers: int | None, max_rate: int | None, engine: str) -> Summary:
    """Runs the hours that are due, with progress."""
    from etl.backfill.run import RetryPolicy
    from etl.backfill.run import backfill as backfill_hours
    from etl.cli.progress import watching_many

    settings = session.settings
    retry_policy = RetryPolicy(
        retries=settings.backfill_retries, pause=settings.backoff_max, lock=settings.lock_patience
    )
    with _executors(engine, job) as (executors, places):
        at_once = max(1, min(workers or places, len(todo.due)))
        job = replace(job, max_rate=None if max_rate is None else max_rate / at_once)
        with watching_many(str(todo.hours), len(todo.due), session.err) as watch:
            return backfill_hours(
                todo, job, workers=at_once, retry_policy=retry_policy, watch=watch, executors=executors
            )


@contextmanager
def _executors(engine: str, job: Job) -> Iterator[tuple[Callable[[int, Job], Executor], int]]:
    """Yields a factory of executors and the number of hours they can run in parallel."""
    if engine == "spark":
        from etl.backfill.spark_pool import spark_executor

        with spark_executor(job) as found:
            yield found
    else:
        from etl.backfill.worker_pool import WorkerPool

        yield WorkerPool, _processors()


def _processors() -> int:
    """Returns the number of processors available to this process."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _print_plan(
    session: Session, todo: Plan, *, workers: int, processors: int | None, max_rate: int | None, form: str
) -> None:
    from etl.backfill.estimate import estimate
    from etl.backfill.summary import Summary

    cost = estimate(session.lake(), todo, workers=workers, processors=processors, max_rate=max_rate)
    rest = Summary(hours=todo.hours, reports=todo.settled, seconds=0, workers=workers)
    if form == JSON:
        print_json(
            {
                "from": str(todo.hours.first),
                "to": str(todo.hours.last),
                "hours": len(todo.hours),
                "due": cost.hours,
                "rechecks": len(todo.rechecks),
                "estimate": {
                    "source_bytes": cost.source_bytes,
                    "parquet_bytes": cost.parquet_bytes,
                    "free_bytes": cost.free_bytes,
                    "fits": cost.fits,
                    "seconds_at_least": round(cost.fastest),
                    "seconds_at_most": round(cost.slowest),
                    "hours_judged_by_neighbours": cost.like_neighbours,
                    "workers": workers,
                },
                "not_due": {outcome.value: share.hours for outcome, share in rest.shares().items()},
            }
        )
        return
    from etl.cli.formatting import listing, size_text

    rows = [("to fetch", f"{cost.hours:,}", size_text(cost.source_bytes), size_text(cost.parquet_bytes))]
    if todo.rechecks:
        rows.append(("to ask all sources about", f"{len(todo.rechecks):,}", "", ""))
    rows += [(f"skipped: {outcome}", f"{share.hours:,}", "", "") for outcome, share in rest.shares().items()]
    columns = ("what", "hours", "download", "parquet")
    session.out.print(f"{todo.hours}: {plural(len(todo.hours), 'hour')}")
    session.out.print(listing(columns, rows, right=columns[1:]))
    for line in _cost_lines(session, cost, workers):
        session.out.print(line)
    session.out.print("Nothing was done.")


def _cost_lines(session: Session, cost: Estimate, workers: int) -> Iterator[str]:
    """Yields the estimated time and disk space, and what the estimate is based on."""
    from etl.cli.formatting import size_text

    if not cost.hours:
        return
    by_year = cost.hours - cost.like_neighbours
    yield f"Time: {_duration(cost.fastest)} to {_duration(cost.slowest)} with {plural(workers, 'worker')}."
    if cost.like_neighbours:
        yield (
            f"  {plural(cost.like_neighbours, 'hour')} estimated from nearby hours in the lake, download included. Best"
            " case: every worker is as fast as one was then. Worst case: all workers together are."
        )
    if by_year:
        yield (
            f"  {plural(by_year, 'hour')} estimated from the usual size of their year and the rates in"
            " docs/how-to/backfill.md. Best case: processing only. Worst case: a download at 100 Mbit/s."
        )
    if cost.free_bytes is not None:
        yield f"Disk: about {size_text(cost.parquet_bytes)} needed, {size_text(cost.free_bytes)} free."
    if not cost.fits:
        session.err.print(
            f"warning: not enough disk space for these hours in the lake {session.settings.lake}", style="yellow"
        )


def _print_summary(session: Session, summary: Summary, *, ran: int, form: str) -> None:
    if form == JSON:
        print_json(summary.as_json())
        return
    from etl.cli.formatting import listing, printable, size_text

    rows = [
        (
            outcome.value,
            f"{share.hours:,}",
            f"{share.events:,}",
            size_text(share.source_bytes),
            size_text(share.parquet_bytes),
            f"{share.seconds:,.1f}",
        )
        for outcome, share in summary.shares().items()
    ]
    columns = ("hours that are", "count", "events", "fetched", "stored", "worker seconds")
    session.out.print(listing(columns, rows, right=columns[1:]))
    if told := summary.told:
        shown = [
            (str(report.hour), report.outcome.value, printable(report.reason, _REASON_WIDTH))
            for report in told[:_MAX_LISTED]
        ]
        session.out.print(listing(("hour", "outcome", "reason"), shown))
        if more := len(told) - len(shown):
            session.out.print(f"and {more:,} more (--format json lists all of them)")
    how = (
        f"{plural(ran, 'was', 'were')} run in {_duration(summary.seconds)}, {summary.workers} at once"
        if ran
        else "nothing was due"
    )
    all_of_them, done = len(summary.reports), len(summary.reports) - len(summary.left)
    session.out.print(f"{summary.hours}: {done:,} of {plural(all_of_them, 'hour is', 'hours are')} done; {how}")


def _duration(seconds: float) -> str:
    """Returns a duration in a readable unit."""
    minute, hour = 60, 3600
    if seconds < minute:
        return f"{seconds:.1f} s"
    if seconds < hour:
        return f"{seconds / minute:.1f} minutes"
    return f"{seconds / hour:,.1f} hours"
