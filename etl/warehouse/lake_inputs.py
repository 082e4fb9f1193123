"""The lake as input of a build: which hours have events of which days, and in which version.

An hour's events lie on one day or two, or, since late ones are published with those of the hour in which they were
crawled, on several. The manifest knows the first and the last instant only, so an hour's times are read once for each
version of it, and remembered in the warehouse (``state/hours.msgpack``) by the generation of its manifest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from itertools import islice
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from etl.coverage.coverage import COVERAGE_SCHEMA
from etl.coverage.index import generations_of
from etl.errors import StoreError
from etl.events import arrow
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import manifest_key
from etl.lake.manifest import decode
from etl.storage.store import Store

_KEY: Final = "state/hours.msgpack"
_VERSION: Final = 1
MARGIN: Final = timedelta(days=1)
"""How far in the future an event may lie: clocks differ."""
LAKE_COVERAGE_SCHEMA: Final = COVERAGE_SCHEMA.append(pa.field("events_set_aside", pa.int64()))
"""The coverage as models read it: with the events of each hour that lie outside of the archive's span."""

_AT_ONCE: Final = 8
_A_BATCH: Final = 256


@dataclass(frozen=True)
class Days:
    """Days from ``first`` to ``last``, both included; None means unlimited."""

    first: date | None = None
    last: date | None = None

    def __contains__(self, day: str) -> bool:
        """Returns whether a day (2015-01-01) is in the range."""
        early = self.first is not None and day < self.first.isoformat()
        late = self.last is not None and day > self.last.isoformat()
        return not (early or late)

    def touch(self, first: datetime, last: datetime) -> bool:
        """Returns whether a period overlaps with the range."""
        early = self.first is not None and last.date() < self.first
        late = self.last is not None and first.date() > self.last
        return not (early or late)


class KnownHour(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One version of an hour of the lake.

    Attributes:
        generation: Of its manifest.
        sha256: Of its events file; empty when it has none.
        key: Of its events file in the lake.
        bytes: Of its events file.
        days: Events by day; None when they were not asked for yet.
    """

    generation: str
    sha256: str = ""
    key: str = ""
    bytes: int = 0
    days: dict[str, int] | None = None


class _Known(msgspec.Struct, forbid_unknown_fields=True):
    version: int = _VERSION
    lake: str = ""
    hours: dict[str, KnownHour] = {}


@dataclass(frozen=True)
class DayInput:
    """The files that a day's events are read from.

    Attributes:
        fingerprint: Changes when another hour holds events of the day, or one of them was replaced.
        keys: The events files in the lake.
        bytes: The part of their bytes that the day's events take, by their number.
    """

    fingerprint: str
    keys: tuple[str, ...]
    bytes: int


@dataclass(frozen=True)
class LakeDays:
    """The contents of the lake, by the days on which events happened.

    Attributes:
        days: What each day's events are made from, by day (2015-01-01), in order.
        set_aside: Events whose day lies outside of the archive's span, by hour; no day of ``days`` holds them. An hour
            whose times were not read is not among them.
    """

    days: dict[str, DayInput]
    set_aside: dict[str, int]


def archive_span(now: datetime) -> Days:
    """Returns the days on which an event of the archive can have happened: from its first one to a day from now.

    A time outside of it is damage, and would make a table of thousands of years.
    """
    return Days(FIRST_HOUR.start.date(), (now + MARGIN).date())


def days_of(lake: Lake, memory: Store, days: Days, *, now: datetime, remember: bool = True) -> LakeDays:
    """Returns for each day of the archive's span which hours of the lake have events of it.

    Args:
        lake: The lake.
        memory: The warehouse's store, where the result is cached.
        days: Days of interest: the times of hours that hold none of these are not read.
        now: The current time (aware, UTC).
        remember: Whether to update the cache.

    Returns:
        Days that have events, those outside of the days of interest included as far as they are known.

    Raises:
        StoreError: If the lake cannot be read, or the warehouse cannot be written.
    """
    recalled = _recalled(memory)
    # A lake that was copied or moved has other generations and the same files.
    known = recalled.hours if recalled.lake == lake.address else {}
    named = generations_of(lake.store, HourRange(FIRST_HOUR, Hour.containing(now)))
    kept = {name: hour for name, hour in known.items() if named.get(name) == hour.generation}
    asked = [name for name in named if name not in kept or kept[name].days is None]
    found = dict(_looked_at(lake, asked, named, days, recalled.hours))
    fresh = {**kept, **found}
    if remember and fresh != known:
        memory.write(_KEY, msgspec.msgpack.encode(_Known(lake=lake.address, hours=fresh)))
    span = archive_span(now)
    return LakeDays(_by_day(fresh, span), _set_aside(fresh, span))


def _recalled(memory: Store) -> _Known:
    content = memory.read(_KEY)
    if content is None:
        return _Known()
    try:
        known = msgspec.msgpack.decode(content, type=_Known)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return _Known()
    return known if known.version == _VERSION else _Known()


def _looked_at(
    lake: Lake, names: Iterable[str], named: dict[str, str], days: Days, recalled: Mapping[str, KnownHour]
) -> Iterator[tuple[str, KnownHour]]:
    waiting = iter(names)
    with ThreadPoolExecutor(_AT_ONCE) as readers:
        while batch := list(islice(waiting, _A_BATCH)):
            hours = readers.map(lambda name: _known_hour(lake, name, named[name], days, recalled.get(name)), batch)
            yield from zip(batch, hours, strict=True)


def _known_hour(lake: Lake, name: str, generation: str, days: Days, recalled: KnownHour | None) -> KnownHour:
    hour = Hour.parse(name)
    content = lake.store.read(manifest_key(hour))
    manifest = None if content is None else decode(content, of=hour)
    if manifest is None or manifest.content is None or manifest.events_file is None:
        return KnownHour(generation, days={})
    file = manifest.events_file
    if recalled is not None and recalled.sha256 == file.sha256 and recalled.days is not None:
        return KnownHour(generation, file.sha256, file.key, file.bytes, recalled.days)
    first, last = manifest.content.first_created_at, manifest.content.last_created_at
    # An event without a time counts as of the file's hour, which first and last know nothing of.
    first, last = min(first or hour.start, hour.start), max(last or hour.start, hour.start)
    counts = _counts(lake.store, file.key, hour) if days.touch(first, last) else None
    return KnownHour(generation, file.sha256, file.key, file.bytes, counts)


def _counts(store: Store, key: str, hour: Hour) -> dict[str, int]:
    """Counts an hour's events by day, by the rule of the model ``events_base``."""
    try:
        with store.open(key) as file:
            times = pq.ParquetFile(file).read(columns=["created_at"])["created_at"]
    except (pa.ArrowException, KeyError) as error:
        raise StoreError(
            f"{store.url(key)} cannot be read as parquet", hint="`verify` tells more; `run --force` downloads it again"
        ) from error
    # Whole days are counted as numbers: a date may lie where Python has no calendar.
    start: Any = arrow.int64([int(hour.window[0].timestamp()) * 1_000_000]).cast(times.type)[0]
    numbers = pc.fill_null(times, start).cast(pa.date32(), safe=False).cast(pa.int32())
    counted: Counter[str] = Counter()
    for pair in pc.value_counts(numbers).to_pylist():
        counted[(date(1970, 1, 1) + timedelta(days=pair["values"])).isoformat()] += pair["counts"]
    return dict(counted)


def _by_day(hours: dict[str, KnownHour], span: Days) -> dict[str, DayInput]:
    members: dict[str, list[tuple[str, KnownHour]]] = {}
    for name, hour in hours.items():
        for day in hour.days or ():
            if day in span:
                members.setdefault(day, []).append((name, hour))
    return {
        day: _day_input(day, sorted(found, key=lambda member: member[1].key)) for day, found in sorted(members.items())
    }


def _set_aside(hours: dict[str, KnownHour], span: Days) -> dict[str, int]:
    read = ((name, hour.days) for name, hour in hours.items() if hour.days is not None)
    return {name: sum(count for day, count in days.items() if day not in span) for name, days in read}


def _day_input(day: str, members: list[tuple[str, KnownHour]]) -> DayInput:
    text = "\n".join(f"{name} {hour.sha256}" for name, hour in members)
    return DayInput(
        fingerprint=sha256(text.encode()).hexdigest()[:32],
        keys=tuple(hour.key for _, hour in members),
        bytes=sum(_bytes_of_day(day, hour) for _, hour in members),
    )


def _bytes_of_day(day: str, hour: KnownHour) -> int:
    """Returns the share of an hour's file, in bytes, that a day's events take up."""
    days = hour.days or {}
    return hour.bytes * days.get(day, 0) // max(1, sum(days.values()))


def bounds(first: str, last: str) -> tuple[datetime, datetime]:
    """Returns the bounds ``[start, end)`` of a range of days, both included."""
    start, end = (datetime.combine(date.fromisoformat(day), datetime.min.time(), UTC) for day in (first, last))
    # A record may name the last day that there is.
    return start, end + min(timedelta(days=1), datetime.max.replace(tzinfo=UTC) - end)
