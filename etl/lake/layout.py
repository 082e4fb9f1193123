"""Keys of the lake's objects, relative to a folder or bucket prefix.

::

    events/date=2015-01-01/hour=15/2015-01-01-15.parquet
    quarantine/date=2015-01-01/hour=15/2015-01-01-15.0a1b2c3d4e5f.parquet
    manifests/date=2015-01-01/hour=15/2015-01-01-15.json
    index/2015-01.parquet

The name of a quarantine file has the first digits of its SHA-256: the file is written before the events it belongs to,
so it must not replace the one that the current manifest refers to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Container
from datetime import timedelta
from typing import Final

from etl.errors import UsageError
from etl.hours import Hour, HourRange

EVENTS: Final = "events"
QUARANTINE: Final = "quarantine"
MANIFESTS: Final = "manifests"
INDEX: Final = "index"

_HOUR_IN_KEY: Final = re.compile(
    rf"(?:{EVENTS}|{QUARANTINE}|{MANIFESTS})/date=(?P<date>\d{{4}}-\d{{2}}-\d{{2}})/hour=(?P<hour>\d{{1,2}})"
    r"/(?P=date)-(?P=hour)(?:\.[0-9a-f]{12})?\.(?:parquet|json)",
    re.ASCII,
)


def events_key(hour: Hour) -> str:
    """Returns the key of the hour's events file."""
    return f"{EVENTS}/{_partition(hour)}/{hour}.parquet"


def quarantine_key(hour: Hour, sha256: str) -> str:
    """Returns the key of the hour's quarantine file with this SHA-256 (hex)."""
    return f"{quarantine_prefix(hour)}{sha256[:12]}.parquet"


def quarantine_prefix(hour: Hour) -> str:
    """Returns the prefix of the keys of all quarantine files of the hour."""
    return f"{QUARANTINE}/{_partition(hour)}/{hour}."


def manifest_key(hour: Hour) -> str:
    """Returns the key of the hour's manifest."""
    return f"{MANIFESTS}/{_partition(hour)}/{hour}.json"


def manifest_keys(hours: HourRange, *, within: Container[str] | None = None) -> dict[str, str]:
    """Returns the keys of the manifests of many hours, by the hour's name, in chronological order.

    Args:
        hours: The hours; it is fast enough for all hours of the archive.
        within: Only hours in these folders of ``MANIFESTS`` (``date=2015-01-01``).
    """
    first, days = hours.first.start, (hours.last.start.date() - hours.first.start.date()).days + 1
    dates = [f"{first + timedelta(days=day):%Y-%m-%d}" for day in range(days)]
    ends = {dates[-1]: hours.last.hour + 1}
    begins = {dates[0]: hours.first.hour}
    return {
        (name := f"{date}-{hour}"): f"{MANIFESTS}/date={date}/hour={hour}/{name}.json"
        for date in dates
        if within is None or f"date={date}" in within
        for hour in range(begins.get(date, 0), ends.get(date, 24))
    }


def index_key(month: str) -> str:
    """Returns the key of the index of a month such as ``2015-01``."""
    return f"{INDEX}/{month}.parquet"


def hours_prefix(root: str, hours: HourRange | None) -> str:
    """Returns a common prefix of the keys of a range (None: all hours) in ``EVENTS``, ``QUARANTINE`` or ``MANIFESTS``.

    Keys of other hours may have it as well.
    """
    if hours is None:
        return f"{root}/"
    # Character by character: all days from 2015-01-05 to 2015-01-31 start with "2015-01-".
    return f"{root}/date={os.path.commonprefix([hours.first.date, hours.last.date])}"  # noqa: RUF071


def hour_of_key(key: str) -> Hour | None:
    """Returns the hour that a key belongs to; None if the key is not of this layout."""
    match = _HOUR_IN_KEY.fullmatch(key)
    if match is None:
        return None
    try:
        return Hour.parse(f"{match['date']}-{match['hour']}")
    except UsageError:
        return None


def _partition(hour: Hour) -> str:
    return f"date={hour.date}/hour={hour.hour}"
