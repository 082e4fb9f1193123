"""Dates of the practice archive: its four eras, GitHub's number sequences through the years, and timestamps.

What is known of the real archive's history stands here as tables, so that an hour of any year has ids of the
right size. Instants are whole seconds since 1970 in UTC.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import IntEnum, StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from etl.errors import NotPublishedError
from etl.hours import Hour

_PACIFIC: Final = ZoneInfo("America/Los_Angeles")
_UNIX_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def seconds(year: int, month: int, day: int, hour: int = 0) -> int:
    """Returns the instant of a full UTC hour."""
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp())


class Era(StrEnum):
    """The four forms of a record."""

    A = "A"
    """2011-02-12 to 2012-03-10-8: the first Events API."""
    B = "B"
    """2012-03-10-22 to 2014-12-31-23: the timeline, without ids, named by Pacific hours."""
    C = "C"
    """2015-01-01 to 2025-10-06: the Events API."""
    D = "D"
    """From 2025-10-07: the Events API, trimmed."""


class Detail(IntEnum):
    """How much the API said of users, repositories and threads inside a payload; it only ever grew, until D."""

    TIMELINE = 0
    EARLY = 1
    """2015: ``html_url`` and ``site_admin``."""
    NODES = 2
    """2018: ``node_id``, ``author_association``."""
    REACTIONS = 3
    """2022: reactions, topics, visibility."""
    TRIMMED = 4
    """October 2025: no ``author_association``, short pushes and pull requests."""


_GAP_START: Final = datetime(2012, 3, 10, 9, tzinfo=UTC)
_B_START: Final = datetime(2012, 3, 10, 22, tzinfo=UTC)
_C_START: Final = datetime(2015, 1, 1, tzinfo=UTC)
_D_START: Final = datetime(2025, 10, 7, tzinfo=UTC)
_SPRING_FORWARD: Final = frozenset(
    datetime(year, 3, day, 2, tzinfo=UTC) for year, day in ((2012, 11), (2013, 10), (2014, 9))
)

EARLY_B_END: Final = seconds(2012, 8, 1)
"""Era B wrote ``2012/03/10 22:36:55 -0800`` at first; where that ended is an assumption."""
DISPLAY_LOGIN: Final = seconds(2016, 5, 1)
EMAILS_HASHED: Final = seconds(2016, 5, 26)
EMAILS_CLEAR_AGAIN: Final = seconds(2023, 1, 1)
"""Some time before 2023 e-mails came in clear again; the first of January is an assumption."""
LATE_EVENTS: Final = seconds(2025, 5, 24)
MERGED_ACTION: Final = seconds(2025, 12, 1)
ID_RESET: Final = seconds(2025, 10, 8)


def era_of(hour: Hour) -> Era:
    """Tells an hour's era by its name.

    Raises:
        NotPublishedError: If the archive never had such a file: the gap of 2012-03-10-9 to -21, and the three
            spring hours that Pacific clocks skipped.
    """
    if not existed(hour):
        raise NotPublishedError(f"the archive never had an hour {hour}", hint="take the hour before or after it")
    if hour.start < _GAP_START:
        return Era.A
    if hour.start < _C_START:
        return Era.B
    return Era.C if hour.start < _D_START else Era.D


def existed(hour: Hour) -> bool:
    """Returns whether the archive can have a file of that name."""
    return not (_GAP_START <= hour.start < _B_START or hour.start in _SPRING_FORWARD)


def detail_at(now: int, era: Era) -> Detail:
    """Tells how much payloads said at an instant."""
    if era is Era.D:
        return Detail.TRIMMED
    if era in (Era.A, Era.B):
        return Detail.TIMELINE
    if now < seconds(2018, 1, 1):
        return Detail.EARLY
    return Detail.NODES if now < seconds(2022, 1, 1) else Detail.REACTIONS


@dataclass(frozen=True, slots=True)
class Sequence:
    """A number that grows with time, known at some instants and taken to grow evenly between them.

    Attributes:
        instants: Ascending.
        values: Ascending, one for each instant.
    """

    instants: tuple[int, ...]
    values: tuple[int, ...]

    def at(self, instant: int) -> int:
        """Returns the number at an instant; before the first and after the last, the nearest slope goes on."""
        index = min(max(bisect_right(self.instants, instant), 1), len(self.instants) - 1)
        start, end = self.instants[index - 1], self.instants[index]
        low, high = self.values[index - 1], self.values[index]
        return max(low + (high - low) * (instant - start) // (end - start), 0)


def _sequence(*points: tuple[tuple[int, int, int], int]) -> Sequence:
    return Sequence(tuple(seconds(*date) for date, _ in points), tuple(value for _, value in points))


REPO_IDS: Final = _sequence(
    ((2008, 1, 1), 0),
    ((2011, 2, 15), 1_367_000),
    ((2013, 2, 15), 8_214_000),
    ((2015, 1, 1), 28_688_000),
    ((2019, 11, 27), 224_000_000),
    ((2023, 4, 8), 625_000_000),
    ((2024, 5, 21), 803_548_000),
    ((2025, 12, 17), 1_118_009_000),
)
USER_IDS: Final = _sequence(
    ((2008, 1, 1), 0),
    ((2011, 2, 15), 616_000),
    ((2013, 2, 15), 3_600_000),
    ((2015, 1, 1), 10_370_000),
    ((2019, 11, 27), 58_200_000),
    ((2023, 4, 8), 130_000_000),
    ((2024, 5, 21), 170_000_000),
    ((2025, 12, 17), 249_000_000),
)
EVENT_IDS: Final = _sequence(
    ((2011, 2, 15), 1_132_219_600),
    ((2012, 2, 15), 1_519_871_500),
    ((2015, 1, 1), 2_486_700_000),
    ((2019, 11, 27), 10_900_000_000),
    ((2023, 4, 8), 28_280_000_000),
    ((2024, 5, 21), 38_549_213_000),
    ((2025, 10, 8), 55_200_000_000),
)
PUSH_EVENT_IDS_AFTER_RESET: Final = _sequence(((2025, 10, 8), 4_880_000_000), ((2025, 12, 11), 6_640_000_000))
OTHER_EVENT_IDS_AFTER_RESET: Final = _sequence(((2025, 10, 8), 3_860_000_000), ((2025, 12, 16), 5_325_000_000))
PUSH_IDS: Final = _sequence(
    ((2011, 2, 15), 24_788_000),
    ((2012, 2, 15), 62_350_000),
    ((2015, 1, 1), 536_000_000),
    ((2019, 11, 27), 4_330_000_000),
    ((2024, 5, 21), 18_510_053_000),
    ((2025, 12, 2), 28_689_000_000),
)
THREAD_IDS: Final = _sequence(
    ((2008, 1, 1), 0),
    ((2011, 2, 15), 599_000),
    ((2013, 2, 15), 11_004_000),
    ((2015, 1, 1), 53_221_000),
    ((2019, 11, 27), 529_000_000),
    ((2023, 4, 8), 1_659_273_000),
    ((2025, 12, 17), 3_738_000_000),
)
"""Ids of issues and pull requests alike, which is the right size for both."""
COMMENT_IDS: Final = _sequence(
    ((2008, 1, 1), 0),
    ((2013, 2, 15), 13_595_000),
    ((2015, 1, 1), 68_488_000),
    ((2019, 11, 27), 559_000_000),
    ((2023, 4, 8), 1_500_756_000),
    ((2025, 12, 17), 3_660_000_000),
)


def event_ids(instant: int, *, pushes: bool) -> Sequence:
    """Returns the sequence of event ids at an instant.

    GitHub restarted the numbers on 2025-10-08, with one sequence for pushes and branches and another for the rest.
    """
    if instant < ID_RESET:
        return EVENT_IDS
    return PUSH_EVENT_IDS_AFTER_RESET if pushes else OTHER_EVENT_IDS_AFTER_RESET


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return f"{_UNIX_EPOCH + timedelta(days=number):%Y-%m-%d}"


@lru_cache(maxsize=4096)
def _pacific_offset(hour_number: int) -> int:
    instant = datetime.fromtimestamp(hour_number * 3600, _PACIFIC)
    offset = instant.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def zulu(instant: int) -> str:
    """Writes an instant as ``2015-01-01T15:00:00Z``."""
    days, rest = divmod(instant, 86_400)
    minutes, second = divmod(rest, 60)
    return f"{_day(days)}T{minutes // 60:02}:{minutes % 60:02}:{second:02}Z"


def pacific(instant: int) -> str:
    """Writes an instant as era B did: ``2013-02-15T00:00:34-08:00``, at first ``2012/03/10 22:36:55 -0800``."""
    offset = _pacific_offset(instant // 3600)
    local = zulu(instant + offset)
    hours = -offset // 3600
    if instant < EARLY_B_END:
        return f"{local[:10].replace('-', '/')} {local[11:19]} -{hours:02}00"
    return f"{local[:19]}-{hours:02}:00"
