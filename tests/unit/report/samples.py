"""Coverage tables for tests: a few hours written by hand, and fifteen made-up years of them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final

import pyarrow as pa

from etl.coverage.coverage import COVERAGE_SCHEMA
from etl.hours import Hour, HourRange

NOW: Final = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
WITH_EVENTS: Final = ("complete", "partial", "suspect")
SOURCE: Final = "https://data.gharchive.org/{hour}.json.gz"

_FIRST: Final = Hour.of(2011, 2, 12, 0)
_LAST: Final = Hour.of(2026, 11, 21, 11)
_HOLES: Final = (
    ("2012-03-10-9", "2012-03-10-21", "https://github.com/igrigorik/gharchive.org/issues/52"),
    ("2016-10-21-18", "2016-10-21-18", "https://github.com/igrigorik/gharchive.org/issues/141"),
    ("2018-10-21-23", "2018-10-22-1", "https://github.com/igrigorik/gharchive.org/issues/200"),
    ("2019-09-12-8", "2019-09-13-5", "https://github.com/igrigorik/gharchive.org/issues/204"),
    ("2020-08-21-9", "2020-08-23-15", "https://github.com/igrigorik/gharchive.org/issues/232"),
    ("2021-10-25-4", "2021-10-30-11", "https://github.com/igrigorik/gharchive.org/issues/261"),
)
_SHARES: Final = {
    "PushEvent": 0.52,
    "CreateEvent": 0.13,
    "WatchEvent": 0.09,
    "IssueCommentEvent": 0.08,
    "PullRequestEvent": 0.07,
    "IssuesEvent": 0.05,
    "ForkEvent": 0.04,
    "DeleteEvent": 0.02,
}


_BLANK: Final[Mapping[str, Any]] = dict.fromkeys(COVERAGE_SCHEMA.names)


def row(hour: str, status: str, **others: Any) -> dict[str, Any]:
    """One row: plausible facts where the hour has events, none where it has not, and what is given besides."""
    return _row(Hour.parse(hour), status, **others)


def table(rows: Iterable[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(list(rows), schema=COVERAGE_SCHEMA)


def _row(at: Hour, status: str, **others: Any) -> dict[str, Any]:
    blank = {**_BLANK} | {"hour": str(at), "hour_start": at.start, "status": status}
    blank["window_start"] = at.window[0]
    if status in WITH_EVENTS:
        blank |= _content(at, others.get("events", 10_000), others.get("types"))
    if status != "absent":
        blank |= {"attempts": 1, "finished_at": NOW - timedelta(days=3), "seconds": 1.25}
    return blank | others


def history(first: Hour = _FIRST, last: Hour = _LAST, seed: int = 4) -> pa.Table:
    """Every hour of a made-up lake: growth, days and weeks, the known gaps, collapses, and work that is under way."""
    dice = Random(seed)  # noqa: S311 - the world's dice, nobody's secret
    holes = {
        hour: source
        for begin, end, source in _HOLES
        for hour in HourRange(Hour.parse(begin), Hour.parse(end))
        if first <= hour <= last
    }
    return table(_made_up(hour, holes.get(hour), dice) for hour in HourRange(first, last))


def every_hour() -> pa.Table:
    """Every hour of the archive; the facts of two years are repeated, farther apart than deflate can see (32 KiB)."""
    hours = list(HourRange(_FIRST, _LAST))
    two_years = history(_LAST - 17_520, _LAST)
    repeated = pa.concat_tables([two_years] * (len(hours) // two_years.num_rows + 1)).slice(0, len(hours))
    for name, values in (("hour", map(str, hours)), ("hour_start", (hour.start for hour in hours))):
        column = pa.array(list(values), COVERAGE_SCHEMA.field(name).type)
        repeated = repeated.set_column(COVERAGE_SCHEMA.get_field_index(name), COVERAGE_SCHEMA.field(name), column)
    return repeated


def _made_up(hour: Hour, hole: str | None, dice: Random) -> dict[str, Any]:
    name, at = str(hour), hour.start
    if hole is not None:
        reason = f"404 at {SOURCE.format(hour=name)}"
        return _row(hour, "missing", reason=reason, hole=hole, next_try=NOW + timedelta(days=5))
    if at >= datetime(2026, 11, 21, 8, tzinfo=UTC):
        return _row(hour, "pending", reason=f"404 at {SOURCE.format(hour=name)}", next_try=NOW - timedelta(minutes=5))
    if datetime(2017, 3, 1, tzinfo=UTC) <= at < datetime(2017, 5, 20, tzinfo=UTC):
        return _row(hour, "absent", next_try=NOW)
    return _tried(hour, dice)


def _tried(hour: Hour, dice: Random) -> dict[str, Any]:
    at, lot = hour.start, dice.random()
    if lot < 0.00008:
        return _row(hour, "failed", reason="the source answered 503 three times", next_try=NOW)
    events = _volume(at, dice)
    if at >= datetime(2026, 8, 15, tzinfo=UTC) or datetime(2021, 10, 7, tzinfo=UTC) <= at < datetime(
        2021, 11, 1, tzinfo=UTC
    ):
        events = events // 20 + dice.randrange(50)
        reason = f"{events:,} events, where the same hours of the weeks around have {events * 18:,}"
        return _row(hour, "suspect", reason=reason, **_drawn(events, at, dice))
    if lot > 0.9995:
        reason = "the gzip stream was cut short"
        drawn = _drawn(events, at, dice) | {"unreadable": dice.randrange(1, 400)}
        return _row(hour, "partial", reason=reason, next_try=NOW + timedelta(hours=20), **drawn)
    return _row(hour, "complete", **_drawn(events, at, dice))


def _volume(at: datetime, dice: Random) -> int:
    years = (at - _FIRST.start).total_seconds() / 86400 / 365.25
    grown = 2_500 * math.exp(0.42 * years) / (1 + 0.011 * math.exp(0.42 * years))
    day = 1 + 0.38 * math.sin((at.hour - 9) / 24 * 2 * math.pi)
    week = 0.68 if at.weekday() >= 5 else 1.08
    return int(grown * day * week * dice.uniform(0.92, 1.08))


def _drawn(events: int, at: datetime, dice: Random) -> dict[str, Any]:
    """Facts with dice in every digit, so that they deflate no better than real ones."""
    types = {name: int(events * share * dice.uniform(0.8, 1.2)) for name, share in _SHARES.items()}
    return {
        "events": events,
        "documents": events,
        "duplicates": dice.randrange(3),
        "types": json.dumps(types),
        "source_bytes": int(events * dice.uniform(420, 560)),
        "parquet_bytes": int(events * dice.uniform(330, 430)),
        "first_created_at": at + timedelta(seconds=dice.randrange(3)),
        "last_created_at": at + timedelta(seconds=3600 - dice.randrange(1, 40)),
        "attempts": 1 + (dice.random() < 0.03),
        "finished_at": NOW - timedelta(days=3, seconds=-dice.randrange(86_400)),
        "seconds": round(events / 90_000 * dice.uniform(0.8, 1.4), 3),
    }


def _content(at: Hour, events: int, types: str | None) -> dict[str, Any]:
    return {
        "events": events,
        "documents": events,
        "unreadable": 0,
        "duplicates": 0,
        "types": types or json.dumps({name: int(events * share) for name, share in _SHARES.items()}),
        "era": "A" if at.start.year < 2012 else "B" if at.named_in_pacific_time else "C",
        "source": SOURCE.format(hour=at),
        "source_bytes": events * 500,
        "parquet_bytes": events * 380,
        "first_created_at": at.start,
        "last_created_at": at.start + timedelta(minutes=59, seconds=59),
        "emails": "hash",
        "schema_version": 1,
    }
