"""The retry schedule: whether an hour is tried again, and when.

Backfills, the catch-up and the coverage table all use it.
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
    """Waits between attempts at an hour.

    Attributes:
        partial_wait: Wait before a partial hour is fetched again; its file may have been repaired at the source.
        daily_for: Time after the end of a missing hour during which it is tried daily; some were uploaded days late.
        daily_wait: Wait during that time.
        weekly_wait: Wait after that time.
    """

    partial_wait: timedelta = _DAY
    daily_for: timedelta = timedelta(days=30)
    daily_wait: timedelta = _DAY
    weekly_wait: timedelta = timedelta(days=7)


DEFAULT_POLICY: Final = RetrySchedule()


def next_try(hour: Hour, manifest: Manifest | None, policy: RetrySchedule, now: datetime) -> datetime | None:
    """Returns when an hour should be tried next.

    Args:
        hour: The hour.
        manifest: Its manifest; None if there is none.
        policy: The retry schedule.
        now: The current time (aware).

    Returns:
        The time of the next attempt, which is due if it is not after ``now``; None if there is nothing left to do.
    """
    if manifest is None:
        return next_try_for_status(hour, None, None, policy, now)
    return next_try_for_status(hour, manifest.status, manifest.finished_at, policy, now)


def next_try_for_status(
    hour: Hour, status: Status | None, finished_at: datetime | None, policy: RetrySchedule, now: datetime
) -> datetime | None:
    """Like ``next_try``, with the relevant fields of the manifest: its status and the end of the last attempt."""
    if status in {Status.COMPLETE, Status.SUSPECT}:
        return None
    _, end = hour.window
    if status is None or finished_at is None:
        return end
    if status is Status.MISSING and _never_existed(hour):
        return None
    # If the last attempt ended in the future, some clock was wrong; the next attempt is not delayed.
    wait = timedelta(0) if finished_at > now else _wait(status, finished_at - end, policy)
    return max(end, min(finished_at, now) + wait)


def _wait(status: Status, age: timedelta, policy: RetrySchedule) -> timedelta:
    """Returns how long to wait after an attempt, given its result and the time between the hour and the attempt."""
    if status is Status.PARTIAL:
        return policy.partial_wait
    if status is Status.MISSING:
        return policy.daily_wait if age < policy.daily_for else policy.weekly_wait
    return timedelta(0)


def _never_existed(hour: Hour) -> bool:
    gap = known_gap(hour)
    return gap is not None and gap.kind is GapKind.NEVER
