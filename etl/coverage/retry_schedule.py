"""When an hour is worth another try: at once, after a while, or never again.

One rule for all who ask: a backfill and a catch-up plan by it, the coverage shows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from etl.archive.known_gaps import GapKind, known_gap
from etl.hours import Hour
from etl.lake.manifest import Manifest, Status

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, kw_only=True)
class RetrySchedule:
    """How long to wait before an hour is asked for again.

    Attributes:
        partial_wait: Before a partial hour, whose file may be fixed at its source, is read again.
        daily_for: How long after its end a missing hour is asked for daily; hours were uploaded days late.
        daily_wait: The wait until then.
        weekly_wait: The wait thereafter.
    """

    partial_wait: timedelta = _DAY
    daily_for: timedelta = timedelta(days=30)
    daily_wait: timedelta = _DAY
    weekly_wait: timedelta = timedelta(days=7)


DEFAULT_POLICY: Final = RetrySchedule()


def next_try(hour: Hour, manifest: Manifest | None, policy: RetrySchedule, now: datetime) -> datetime | None:
    """Says when an hour is to be tried next.

    Args:
        hour: Which hour.
        manifest: What is known of it; None when nothing is.
        policy: How long to wait.
        now: The time (aware).

    Returns:
        An instant that is due when it is not after ``now``; None when there is nothing left to do.
    """
    if manifest is None:
        return next_try_for_status(hour, None, None, policy, now)
    return next_try_for_status(hour, manifest.status, manifest.finished_at, policy, now)


def next_try_for_status(
    hour: Hour, status: Status | None, finished_at: datetime | None, policy: RetrySchedule, now: datetime
) -> datetime | None:
    """Says the same by what of the manifest counts: its status, and when the last attempt ended."""
    if status in {Status.COMPLETE, Status.SUSPECT}:
        return None
    _, end = hour.window
    if status is None or finished_at is None:
        return end
    if status is Status.MISSING and _never_existed(hour):
        return None
    # An attempt that ended in the future was noted by a wrong clock: it puts nothing off.
    wait = timedelta(0) if finished_at > now else _wait(status, finished_at - end, policy)
    return max(end, min(finished_at, now) + wait)


def _wait(status: Status, age: timedelta, policy: RetrySchedule) -> timedelta:
    """How long to wait after an attempt, by what came of it and how long after the hour it was."""
    if status is Status.PARTIAL:
        return policy.partial_wait
    if status is Status.MISSING:
        return policy.daily_wait if age < policy.daily_for else policy.weekly_wait
    return timedelta(0)


def _never_existed(hour: Hour) -> bool:
    hole = known_gap(hour)
    return hole is not None and hole.kind is GapKind.NEVER
