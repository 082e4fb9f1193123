"""Catch-up: finds the hours that are due, processes them one after the other, and writes the coverage page.

Mage runs only the current slot when it starts, not the earlier ones, and an hour may be published days late. So every
hour a run checks the last days and processes each hour that is not complete.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec
import structlog

from etl.archive.fetch import newest_published
from etl.backfill.plan import plan, warn_of_other_policies
from etl.coverage.coverage import ABSENT, coverage
from etl.coverage.retry_schedule import DEFAULT_POLICY
from etl.errors import EtlError, GateError, StoreError, UsageError
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.lake import store_at
from etl.lake.manifest import Status
from etl.mage.steps import StepOptions, process
from etl.plural import plural
from etl.report.coverage_page import render
from etl.runtime import logs
from etl.source_selection import asks_before_reading

PAGE_KEY: Final = "pages/coverage.html"
"""Key of the coverage page, beside the warehouse's tables: every object in the lake belongs to an hour."""

_NOT_HERE: Final = frozenset({Status.PENDING.value, Status.FAILED.value, ABSENT})
_NAMED: Final = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Due(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hours that a run has to process.

    Attributes:
        first: The oldest hour that was checked.
        last: The newest that is published.
        hours: Those that are due, in order.
        rechecks: Those of them that are stored, and whose sources are only asked whether one has clearly more.
    """

    first: str
    last: str
    hours: list[str]
    rechecks: list[str] = []


class Brought(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of processing them.

    Attributes:
        due: The hours that were due.
        states: Number of hours by state; ``failed`` for those that ended in an error.
        failures: Failed hours, each with the reason.
    """

    due: Due
    states: dict[str, int]
    failures: dict[str, str]


class CatchUpReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of the lake after a catch-up.

    Attributes:
        page: Address of the coverage page, which shows all hours of the lake.
        first: The oldest hour that was checked.
        last: The newest.
        statuses: Number of hours by status.
        late: Late hours, each with the reason.
        brought: The result of the run.
    """

    page: str
    first: str
    last: str
    statuses: dict[str, int]
    late: dict[str, str]
    brought: Brought


def read(value: object, kind: type[Any]) -> Any:  # noqa: ANN401 -- an instance of ``kind``
    """Reads the output of the previous block.

    Raises:
        UsageError: If it is something else.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"the block before gave no {kind.__name__}: {error}") from None


def find_due(options: StepOptions, *, look_back: int) -> Due:
    """Asks the lake which of the newest hours are due.

    Args:
        options: Options of the steps.
        look_back: How many hours to look at.

    Raises:
        NotPublishedError: If no source has an hour of the last three days.
        SourceUnreachableError: If none could be asked.
        StoreError: If the lake cannot be read.
    """
    newest = newest_published(options.sources, options.run_options.fetch)
    hours = HourRange(Hour(max(newest.start - timedelta(hours=look_back - 1), FIRST_HOUR.start)), newest)
    recheck = asks_before_reading(options.sources, options.run_options.completeness)
    todo = plan(options.lake, hours, policy=DEFAULT_POLICY, now=datetime.now(UTC), recheck=recheck)
    warn_of_other_policies(todo, options.run_options.emails.name)
    return Due(
        first=str(hours.first),
        last=str(hours.last),
        hours=[str(hour) for hour in todo.due],
        rechecks=[str(hour) for hour in sorted(todo.rechecks)],
    )


def bring_due(due: Due, run: str, options: StepOptions) -> Brought:
    """Processes hours, oldest first. A failed hour does not stop the others.

    Raises:
        StoreError: If the lake cannot be read or written; the rest is left.
    """
    states: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for name in due.hours:
        try:
            run_options = replace(options.run_options, recheck=options.run_options.recheck or name in due.rechecks)
            payload = process(Hour.parse(name), run, replace(options, run_options=run_options))
        except StoreError:
            raise
        except EtlError as error:
            _log.warning("an hour failed", hour=name, cause=error.message)
            failures[name] = error.message
        else:
            _log.info("an hour is through", hour=name, state=payload.state.value, events=payload.events)
            states[payload.state.value] += 1
    if failures:
        states["failed"] = len(failures)
    return Brought(due=due, states=dict(sorted(states.items())), failures=failures)


def report(brought: Brought, options: StepOptions, *, warehouse: str, late_hours: int) -> CatchUpReport:
    """Reports the state of the lake: a page of all hours, and counts of the hours that were checked.

    Args:
        brought: The result of ``bring_due``.
        options: Options of the steps.
        warehouse: Address of the warehouse, beside whose tables the page is put.
        late_hours: How long after its end an hour that is not there is late.

    Raises:
        StoreError: If the lake cannot be read, or the page cannot be written.
    """
    now = datetime.now(UTC)
    looked_at = HourRange(Hour.parse(brought.due.first), Hour.parse(brought.due.last))
    rows = coverage(options.lake, looked_at, now=now).to_pylist()
    due_before = now - timedelta(hours=late_hours)
    late = {
        row["hour"]: str(row["reason"] or row["status"])
        for row in rows
        if row["status"] in _NOT_HERE and Hour.parse(row["hour"]).window[1] < due_before
    }
    left = [row for row in rows if row["status"] != Status.COMPLETE.value and row["hole"] is None]
    logs.count("hours looked at", range=str(looked_at), hours=len(rows), not_complete=len(left))
    everything = coverage(options.lake, None, now=now)
    store = store_at(warehouse)
    store.write(PAGE_KEY, render(everything, lake=options.lake.address, now=now).encode())
    return CatchUpReport(
        page=store.url(PAGE_KEY),
        first=brought.due.first,
        last=brought.due.last,
        statuses=dict(sorted(Counter(row["status"] for row in rows).items())),
        late=late,
        brought=brought,
    )


def check_report(told: CatchUpReport) -> None:
    """The quality check of the catch-up: no hour is late.

    Raises:
        GateError: If an hour is late; the message names the first ones.
    """
    if not told.late:
        return
    named = "; ".join(f"{hour}: {reason}" for hour, reason in list(told.late.items())[:_NAMED])
    more = f"; and {len(told.late) - _NAMED} more" if len(told.late) > _NAMED else ""
    raise GateError(
        f"{plural(len(told.late), 'hour is', 'hours are')} late ({named}{more})",
        hint=f"all hours are shown at {told.page}",
    )
