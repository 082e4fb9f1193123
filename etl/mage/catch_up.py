"""What is due beside the hour of the clock: found by asking the lake, brought one after the other, told as a page.

Mage fires the slot that is current when it starts and forgets those before it, and an hour may be published days late.
So every hour a run looks back over the last days and brings what is not complete.
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
from etl.mage.steps import StepOptions, bring
from etl.plural import plural
from etl.report.coverage_page import render
from etl.runtime import logs
from etl.source_selection import asks_before_reading

PAGE_KEY: Final = "pages/coverage.html"
"""Where the coverage page lies, beside the warehouse's tables: what lies in the lake belongs to an hour."""

_NOT_HERE: Final = frozenset({Status.PENDING.value, Status.FAILED.value, ABSENT})
_NAMED: Final = 5

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Due(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The hours that a run is to bring.

    Attributes:
        first: The oldest hour that was looked at.
        last: The newest that is published.
        hours: Those that are due, in order.
        rechecks: Those of them that are stored, and whose sources are only asked whether one has clearly more.
    """

    first: str
    last: str
    hours: list[str]
    rechecks: list[str] = []


class Brought(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of them.

    Attributes:
        due: What was to be brought.
        states: How many hours came to which state; ``failed`` for those that ended in an error.
        failures: The hours that did, each with the reason.
    """

    due: Due
    states: dict[str, int]
    failures: dict[str, str]


class CatchUpReport(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The state of the lake after that.

    Attributes:
        page: Address of the coverage page, which shows all hours of the lake.
        first: The oldest hour that was looked at.
        last: The newest.
        statuses: How many of them have which status.
        late: Those that are not there although they ended long ago, each with the reason.
        brought: What the run brought.
    """

    page: str
    first: str
    last: str
    statuses: dict[str, int]
    late: dict[str, str]
    brought: Brought


def read(value: object, kind: type[Any]) -> Any:  # noqa: ANN401 -- an instance of ``kind``
    """Reads what a block before gave.

    Raises:
        UsageError: If it is something else.
    """
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise UsageError(f"the block before gave no {kind.__name__}: {error}") from None


def find_due(terms: StepOptions, *, look_back: int) -> Due:
    """Asks the lake which of the newest hours are due.

    Args:
        terms: On what terms hours are brought.
        look_back: How many hours to look at.

    Raises:
        NotPublishedError: If no source has an hour of the last three days.
        SourceUnreachableError: If none could be asked.
        StoreError: If the lake cannot be read.
    """
    newest = newest_published(terms.sources, terms.options.fetch)
    hours = HourRange(Hour(max(newest.start - timedelta(hours=look_back - 1), FIRST_HOUR.start)), newest)
    recheck = asks_before_reading(terms.sources, terms.options.completeness)
    todo = plan(terms.lake, hours, policy=DEFAULT_POLICY, now=datetime.now(UTC), recheck=recheck)
    warn_of_other_policies(todo, terms.options.emails.name)
    return Due(
        first=str(hours.first),
        last=str(hours.last),
        hours=[str(hour) for hour in todo.due],
        rechecks=[str(hour) for hour in sorted(todo.rechecks)],
    )


def bring_due(due: Due, run: str, terms: StepOptions) -> Brought:
    """Processes hours, oldest first. A failed hour does not stop the others.

    Raises:
        StoreError: If the lake cannot be read or written; the rest is left.
    """
    states: Counter[str] = Counter()
    failures: dict[str, str] = {}
    for name in due.hours:
        try:
            options = replace(terms.options, recheck=terms.options.recheck or name in due.rechecks)
            payload = bring(Hour.parse(name), run, replace(terms, options=options))
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


def report(brought: Brought, terms: StepOptions, *, warehouse: str, late_hours: int) -> CatchUpReport:
    """Tells the state of the lake: as a page of all hours, and in figures of those that were looked at.

    Args:
        brought: What was brought.
        terms: On what terms.
        warehouse: Address of the warehouse, beside whose tables the page is put.
        late_hours: How long after its end an hour that is not there is late.

    Raises:
        StoreError: If the lake cannot be read, or the page cannot be written.
    """
    now = datetime.now(UTC)
    looked_at = HourRange(Hour.parse(brought.due.first), Hour.parse(brought.due.last))
    rows = coverage(terms.lake, looked_at, now=now).to_pylist()
    due_before = now - timedelta(hours=late_hours)
    late = {
        row["hour"]: str(row["reason"] or row["status"])
        for row in rows
        if row["status"] in _NOT_HERE and Hour.parse(row["hour"]).window[1] < due_before
    }
    left = [row for row in rows if row["status"] != Status.COMPLETE.value and row["hole"] is None]
    logs.count("hours looked at", range=str(looked_at), hours=len(rows), not_complete=len(left))
    everything = coverage(terms.lake, None, now=now)
    store = store_at(warehouse)
    store.write(PAGE_KEY, render(everything, lake=terms.lake.address, now=now).encode())
    return CatchUpReport(
        page=store.url(PAGE_KEY),
        first=brought.due.first,
        last=brought.due.last,
        statuses=dict(sorted(Counter(row["status"] for row in rows).items())),
        late=late,
        brought=brought,
    )


def check_report(told: CatchUpReport) -> None:
    """The gate of the catch-up: no hour is late.

    Raises:
        GateError: If one is; the message names the first ones.
    """
    if not told.late:
        return
    named = "; ".join(f"{hour}: {reason}" for hour, reason in list(told.late.items())[:_NAMED])
    more = f"; and {len(told.late) - _NAMED} more" if len(told.late) > _NAMED else ""
    raise GateError(
        f"{plural(len(told.late), 'hour is', 'hours are')} late ({named}{more})",
        hint=f"all hours are shown at {told.page}",
    )
