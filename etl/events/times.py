"""The ways in which the archive writes a time.

* ``2015-01-01T15:00:00Z``: eras A, C and D;
* ``2013-02-15T00:00:39-08:00``: era B from August 2012, in US Pacific time, with its summer;
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
    """Reads a time of any era as UTC; None when it is none, or says no zone."""
    try:
        if _ISO.fullmatch(text):
            return datetime.fromisoformat(text).astimezone(UTC)
        return datetime.strptime(text, _EARLY).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def events_api_text(time: datetime) -> str:
    """Writes a UTC time as eras A, C and D do."""
    return f"{time:%Y-%m-%dT%H:%M:%S}Z"


def timeline_text(time: datetime) -> str:
    """Writes a UTC time as most of era B does."""
    return time.astimezone(_PACIFIC).isoformat(timespec="seconds")
