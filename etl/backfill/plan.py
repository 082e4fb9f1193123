"""The plan of a backfill: which hours of a range are due, according to the lake."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import Enum, auto

import structlog

from etl.backfill.summary import HourReport, report_for_status
from etl.coverage import arrays
from etl.coverage.coverage import suspect_hours
from etl.coverage.index import facts
from etl.coverage.policies import REPROCESS_HINT, describe
from etl.coverage.retry_schedule import RetrySchedule, next_recheck, next_try_for_status
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.manifest import Status

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class ReprocessMode(Enum):
    """Which stored hours are processed again."""

    NONE = auto()
    STORED = auto()
    """Those with events, to ask for newer versions; those without wait for their next try as ever."""
    ALL = auto()


@dataclass(frozen=True, slots=True)
class KnownHours:
    """The facts about an hour that the plan needs.

    Attributes:
        status: Of the hour; ``failed`` where its manifest cannot be read, since a run fixes that.
        reason: Why it is not complete.
        finished_at: When the last attempt ended; None where the manifest cannot be read.
        source_bytes: Compressed bytes of its file at the source; None without events.
        parquet_bytes: Bytes of its events in the lake; None without events.
        seconds: How long the last attempt took.
        asked_at: When the sources were last asked; None where the manifest cannot be read.
        emails: The e-mail policy it went through; None without events.
    """

    status: Status
    reason: str | None
    finished_at: datetime | None
    source_bytes: int | None
    parquet_bytes: int | None
    seconds: float | None
    asked_at: datetime | None
    emails: str | None


@dataclass(frozen=True)
class Plan:
    """The plan for a range.

    Attributes:
        hours: The range.
        due: The hours to run, in order.
        rechecks: Those of them that are stored, and whose sources are only asked whether one has clearly more.
        settled: A report of each other hour: it is complete, or its next try is not due.
        emails: How many of those are stored under which e-mail policy.
    """

    hours: HourRange
    due: Sequence[Hour]
    settled: Sequence[HourReport]
    emails: Counter[str] = field(default_factory=Counter)
    rechecks: frozenset[Hour] = frozenset()


def plan(
    lake: Lake,
    hours: HourRange,
    *,
    policy: RetrySchedule,
    now: datetime,
    redo: ReprocessMode = ReprocessMode.NONE,
    recheck: bool = False,
) -> Plan:
    """Finds the due hours; changes nothing.

    Args:
        lake: Where the hours are to be.
        hours: Which hours.
        policy: When an hour is worth another try.
        now: The time (aware).
        redo: Whether hours that the lake has are done again.
        recheck: Whether stored hours are due when the schedule says to ask all sources about them again.

    Raises:
        StoreError: If the lake cannot be read.
    """
    due, settled, emails, rechecks = [], [], Counter[str](), set()
    suspect = suspect_hours(lake, hours) if recheck else frozenset()
    for hour, known in with_known(lake, hours):
        status, finished_at = (None, None) if known is None else (known.status, known.finished_at)
        if is_due(hour, status, finished_at, policy=policy, now=now, redo=redo):
            due.append(hour)
        elif recheck and known is not None and _is_recheck_due(hour, known, policy, now, suspect=hour in suspect):
            due.append(hour)
            rechecks.add(hour)
        else:
            settled.append(report_for_status(hour, status, None if known is None else known.reason))
            if known is not None and known.emails is not None:
                emails[known.emails] += 1
    return Plan(hours, due, settled, emails, frozenset(rechecks))


def _is_recheck_due(hour: Hour, known: KnownHours, policy: RetrySchedule, now: datetime, *, suspect: bool) -> bool:
    if known.asked_at is None or not known.status.has_events:
        return False
    due_at = next_recheck(hour, min(known.asked_at, now), policy, suspect=suspect or known.status is Status.SUSPECT)
    return due_at is not None and due_at <= now


def warn_of_other_policies(todo: Plan, policy: str) -> None:
    """Logs how many hours that are left alone are stored under another e-mail policy than the one that is set now.

    Args:
        todo: The plan.
        policy: The policy that is set now (``EmailPolicy.name``).
    """
    if others := {name: hours for name, hours in todo.emails.items() if name != policy}:
        _log.warning(describe(others, policy), hint=REPROCESS_HINT)


def is_due(
    hour: Hour,
    status: Status | None,
    finished_at: datetime | None,
    *,
    policy: RetrySchedule,
    now: datetime,
    redo: ReprocessMode,
) -> bool:
    """Returns whether an hour is due now; never before it has ended.

    Args:
        hour: Which hour.
        status: What is known of it; None when nothing is.
        finished_at: When the last attempt ended.
        policy: When an hour is worth another try.
        now: The time (aware).
        redo: Whether hours that the lake has are done again.
    """
    _, end = hour.window
    if end > now:
        return False
    if redo is ReprocessMode.ALL or (redo is ReprocessMode.STORED and status is not None and status.has_events):
        return True
    due_at = next_try_for_status(hour, status, finished_at, policy, now)
    return due_at is not None and due_at <= now


def with_known(lake: Lake, hours: HourRange) -> Iterator[tuple[Hour, KnownHours | None]]:
    """Returns each hour of a range with its stored facts; None without any.

    Raises:
        StoreError: If the lake cannot be read.
    """
    names = [field.name for field in fields(KnownHours)]
    table = facts(lake.store, hours, columns=["hour", *names])
    columns = (arrays.objects(table[name]) for name in names)
    rows = (KnownHours(Status(status), *rest) for status, *rest in zip(*columns, strict=True))
    known = dict(zip(table["hour"].to_pylist(), rows, strict=True))
    return ((hour, known.get(str(hour))) for hour in hours)
