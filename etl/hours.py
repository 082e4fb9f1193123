"""Hours: the unit in which GH Archive publishes files and by which the lake is partitioned.

An hour is written ``2015-01-01-15``, which is the archive's name for it: month and day are zero-padded, the hour of day
is **not** (``2015-01-01-04`` is a 404 there). Parsing is lenient; printing always uses this form.

Names are in UTC, except from 2012-03-10-22 to 2014-12-31-23, when the archive used US Pacific local time.
``Hour.window`` returns the UTC hour that a file covers; names, order and arithmetic ignore this difference.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Self
from zoneinfo import ZoneInfo

from etl.errors import UsageError

_ONE_HOUR: Final = timedelta(hours=1)
PACIFIC: Final = ZoneInfo("America/Los_Angeles")
"""The time zone of file names in era B."""
_PACIFIC_FIRST: Final = datetime(2012, 3, 10, 22, tzinfo=UTC)
_PACIFIC_LAST: Final = datetime(2014, 12, 31, 23, tzinfo=UTC)
_NAME: Final = re.compile(
    r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})"
    r"[-T ](?P<hour>\d{1,2})(?::00(?::00(?:\.0+)?)?)?(?P<utc>Z|\+00:?00)?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, order=True)
class Hour:
    """An hour of the archive, identified by its name.

    Attributes:
        start: The name as a time in UTC, on the full hour.

    Raises:
        UsageError: If ``start`` is not a full UTC hour or lies before the archive's first hour.
    """

    start: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is not UTC:
            raise UsageError(f"an hour must be in UTC, but {self.start.isoformat()} is not")
        if self.start != self.start.replace(minute=0, second=0, microsecond=0):
            raise UsageError(f"{self.start.isoformat()} is not a full hour")
        if self.start < _FIRST_START:
            raise UsageError(
                f"hour {self} is before the archive's first hour, {_name(_FIRST_START)}",
            )

    @classmethod
    def of(cls, year: int, month: int, day: int, hour: int) -> Self:
        """Returns the hour for four numbers, as given by the flags of the command line.

        Raises:
            UsageError: If the hour does not exist or is outside the archive's range.
        """
        try:
            start = datetime(year, month, day, hour, tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise UsageError(
                f"invalid hour {year:04}-{month:02}-{day:02}-{hour}: {error}",
                hint=f"month is 1..12, day 1..31, hour 0..23; {_range_sentence()}",
            ) from error
        result = cls(start)
        if start >= _current_hour().start + _ONE_HOUR:
            raise UsageError(f"hour {result} is in the future", hint=_range_sentence())
        return result

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parses ``2015-01-01-15``, or ISO 8601 to the hour (``2015-01-01T15``, ``2015-01-01T15:00:00Z``).

        Raises:
            UsageError: If the text is not an hour, or is outside the archive's range.
        """
        match = _NAME.fullmatch(text.strip())
        if match is None:
            raise UsageError(
                f"{text!r} is not an hour",
                hint="write it as 2015-01-01-15 or 2015-01-01T15:00:00Z (UTC)",
            )
        return cls.of(*(int(match[part]) for part in ("year", "month", "day", "hour")))

    @staticmethod
    def is_written(text: str) -> bool:
        """Returns whether a text has the format of an hour, even if that hour does not exist."""
        return _NAME.fullmatch(text.strip()) is not None

    @classmethod
    def containing(cls, instant: datetime) -> Self:
        """Returns the UTC hour that contains an aware instant."""
        if instant.tzinfo is None:
            raise UsageError(f"{instant.isoformat()} has no time zone")
        return cls(instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0))

    @property
    def date(self) -> str:
        """The date as ``2015-01-01``, the value of the lake's ``date=`` partition."""
        return f"{self.start:%Y-%m-%d}"

    @property
    def hour(self) -> int:
        """The hour of day, 0..23."""
        return self.start.hour

    @property
    def named_in_pacific_time(self) -> bool:
        """Whether the archive named this file by US Pacific local time."""
        return _PACIFIC_FIRST <= self.start <= _PACIFIC_LAST

    @property
    def window(self) -> tuple[datetime, datetime]:
        """The UTC interval ``[from, to)`` that the file's name stands for.

        It does not bound ``created_at``: since 2025-05-24 a file also has events created hours before its window (it
        has what was crawled in that hour), and in era B files ran about half a minute late.
        """
        if not self.named_in_pacific_time:
            return self.start, self.start + _ONE_HOUR
        local = self.start.replace(tzinfo=PACIFIC)
        return local.astimezone(UTC), local.astimezone(UTC) + _ONE_HOUR

    def __add__(self, hours: int) -> Hour:
        try:
            return Hour(self.start + hours * _ONE_HOUR)
        except OverflowError:
            raise UsageError(f"{self} {hours:+} hours is out of range", hint=_range_sentence()) from None

    def __sub__(self, hours: int) -> Hour:
        return self + -hours

    def __str__(self) -> str:
        return _name(self.start)


@dataclass(frozen=True, slots=True)
class HourRange:
    """All hours from ``first`` to ``last``, both inclusive, in order.

    Raises:
        UsageError: If ``last`` comes before ``first``.
    """

    first: Hour
    last: Hour

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise UsageError(f"the range ends ({self.last}) before it starts ({self.first})")

    def __iter__(self) -> Iterator[Hour]:
        return (self.first + step for step in range(len(self)))

    def __len__(self) -> int:
        return int((self.last.start - self.first.start) / _ONE_HOUR) + 1

    def __contains__(self, hour: Hour) -> bool:
        return self.first <= hour <= self.last

    def __str__(self) -> str:
        return f"{self.first}..{self.last}"


def newest_finished_hour(now: datetime | None = None) -> Hour:
    """Returns the last hour that has ended, whether it is published or not.

    Args:
        now: The current time (aware); None for that of the system clock.
    """
    return _current_hour(now) - 1


def _current_hour(now: datetime | None = None) -> Hour:
    return Hour.containing(datetime.now(UTC) if now is None else now)


def _name(start: datetime) -> str:
    return f"{start:%Y-%m-%d}-{start.hour}"


def _range_sentence() -> str:
    return f"the archive has hours from {FIRST_HOUR} to {newest_finished_hour()}"


_FIRST_START: Final = datetime(2011, 2, 12, 0, tzinfo=UTC)
FIRST_HOUR: Final = Hour(_FIRST_START)
"""The archive's first hour (https://www.gharchive.org)."""
PACIFIC_HOURS: Final = HourRange(Hour(_PACIFIC_FIRST), Hour(_PACIFIC_LAST))
"""The hours whose files the archive named in US Pacific local time."""
