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
        recheck_ages: Ages of a stored hour at which all sources are asked whether one has more of it by now. A suspect
            hour is asked about again after the last of these times, for as long as it is suspect.
    """

    partial_wait: timedelta = _DAY
    daily_for: timedelta = timedelta(days=30)
    daily_wait: timedelta = _DAY
    weekly_wait: timedelta = timedelta(days=7)
    recheck_ages: tuple[timedelta, ...] = (timedelta(hours=1), timedelta(hours=6), _DAY, 7 * _DAY, 30 * _DAY)


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


def next_recheck(hour: Hour, asked_at: datetime, policy: RetrySchedule, *, suspect: bool) -> datetime | None:
    """Returns when all sources should be asked again whether one of them has more of a stored hour.

    The times depend on the age of the hour. So an hour of the past, which was stored long after its end, is not asked
    about again unless it is suspect.

    Args:
        hour: The hour.
        asked_at: When its sources were last asked (aware).
        policy: The retry schedule.
        suspect: Whether its volume is far from that of its neighbours.
    """
    _, end = hour.window
    for age in policy.recheck_ages:
        if end + age > asked_at:
            return end + age
    return asked_at + policy.recheck_ages[-1] if suspect and policy.recheck_ages else None


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
