"""Where things lie in the lake: the same relative keys in a folder and in a bucket.

::

    events/date=2015-01-01/hour=15/2015-01-01-15.parquet
    quarantine/date=2015-01-01/hour=15/2015-01-01-15.0a1b2c3d4e5f.parquet
    manifests/date=2015-01-01/hour=15/2015-01-01-15.json

A quarantine file carries the start of its own SHA-256 in its name: it is written before the events it
belongs to, so it must not replace the one that the present manifest still points at.
"""

from __future__ import annotations

import re
from typing import Final

from etl.errors import UsageError
from etl.hours import Hour

EVENTS: Final = "events"
QUARANTINE: Final = "quarantine"
MANIFESTS: Final = "manifests"

_HOUR_IN_KEY: Final = re.compile(
    rf"(?:{EVENTS}|{QUARANTINE}|{MANIFESTS})/date=(?P<date>\d{{4}}-\d{{2}}-\d{{2}})/hour=(?P<hour>\d{{1,2}})"
    r"/(?P=date)-(?P=hour)(?:\.[0-9a-f]{12})?\.(?:parquet|json)",
    re.ASCII,
)


def events_key(hour: Hour) -> str:
    """Key of the hour's events."""
    return f"{EVENTS}/{_partition(hour)}/{hour}.parquet"


def quarantine_key(hour: Hour, sha256: str) -> str:
    """Key of the bytes of the hour that could not be read, by the hex SHA-256 of the file that holds them."""
    return f"{quarantine_prefix(hour)}{sha256[:12]}.parquet"


def quarantine_prefix(hour: Hour) -> str:
    """What the keys of all quarantine files of the hour begin with."""
    return f"{QUARANTINE}/{_partition(hour)}/{hour}."


def manifest_key(hour: Hour) -> str:
    """Key of the hour's manifest, written last."""
    return f"{MANIFESTS}/{_partition(hour)}/{hour}.json"


def hour_of_key(key: str) -> Hour | None:
    """Gives the hour a key of this layout belongs to, or None when it is no such key."""
    match = _HOUR_IN_KEY.fullmatch(key)
    if match is None:
        return None
    try:
        return Hour.parse(f"{match['date']}-{match['hour']}")
    except UsageError:
        return None


def _partition(hour: Hour) -> str:
    return f"date={hour.date}/hour={hour.hour}"
