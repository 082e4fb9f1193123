"""Time formats of the archive.

* ``2015-01-01T15:00:00Z``: eras A, C and D;
* ``2013-02-15T00:00:39-08:00``: era B from August 2012, in US Pacific time, with daylight saving time;
* ``2012/03/10 22:36:55 -0800``: the first months of era B.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

_ISO: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?(?:Z|[+-]\d\d:\d\d)", re.ASCII)
_EARLY: Final = "%Y/%m/%d %H:%M:%S %z"
_PACIFIC: Final = ZoneInfo("America/Los_Angeles")


def parse_time(text: str) -> datetime | None:
    """Parses a time of any era and returns it in UTC; None if it is invalid or has no time zone."""
    try:
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
        return datetime.strptime(text, _EARLY).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def events_api_text(time: datetime) -> str:
    """Formats a UTC time as in eras A, C and D."""
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"


def timeline_text(time: datetime) -> str:
    """Formats a UTC time as in most of era B."""
    return time.astimezone(_PACIFIC).isoformat(timespec="seconds")
