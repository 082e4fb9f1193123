"""Encodes a coverage table for a page: 137,000 hours take about two megabytes of text.

The table becomes a JSON object of columns with one value per hour, from the first hour to the last, deflated and
base64-encoded. So data of the lake is never markup or code in the page: it consists of letters, digits, ``+``, ``/``
and ``=``. ``templates/coverage.js`` decodes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc

from etl.coverage.coverage import ABSENT
from etl.hours import PACIFIC_HOURS
from etl.lake.manifest import Status
from etl.report.page import packed

STATUSES: Final = (
    Status.COMPLETE.value,
    Status.PARTIAL.value,
    Status.SUSPECT.value,
    Status.PENDING.value,
    Status.MISSING.value,
    Status.FAILED.value,
    ABSENT,
)
"""All statuses, in display order."""

NAME: Final = "\0"
"""Placeholder for the hour's name inside a text, so that hours with equal sources share one text."""

COLUMNS: Final = (
    "hour",
    "status",
    "reason",
    "hole",
    "next_try",
    "events",
    "unreadable",
    "duplicates",
    "types",
    "era",
    "source",
    "source_bytes",
    "parquet_bytes",
    "first_created_at",
    "last_created_at",
    "emails",
    "schema_version",
    "attempts",
    "finished_at",
    "seconds",
)
"""The columns of a coverage table that the page shows."""

_TOP_TYPES: Final = 4
_LONGEST_TYPE: Final = 40
_DIGITS: Final = 4
_HOUR_SECONDS: Final = 3600
_NOWHERE: Final = -1
_NO_TYPE: Final[tuple[str | None, int]] = (None, 0)

_Values = list[Any]


def pack(table: pa.Table, now: datetime) -> str:
    """Encodes a coverage table.

    Args:
        table: One row per hour, in any order. It must have ``COLUMNS``; other columns are ignored.
        now: When the page is rendered.

    Returns:
        The JSON, deflated and base64-encoded.

    Raises:
        ValueError: If a column is missing, an hour has two rows, or a status is not in ``STATUSES``.
    """
    return packed(columns(table, now))


def columns(table: pa.Table, now: datetime) -> dict[str, Any]:
    """Returns the JSON object that ``pack`` encodes; see there."""
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"not a coverage table: it has no {', '.join(missing)}")
    head = {"now": int(now.timestamp()), "statuses": STATUSES}
    if not table.num_rows:
        return head | {"first": 0, "count": 0}
    places = _hours_since_1970(table["hour"])
    first, last = min(places), max(places)
    spread = _Spread([place - first for place in places], last - first + 1)
    names: _Values = table["hour"].to_pylist()
    return head | {
        "first": first,
        "count": last - first + 1,
        "pacific": _pacific(first, last),
        "status": _statuses(spread(table["status"].to_pylist())),
        "events": spread(table["events"].to_pylist()),
        "unreadable": spread(table["unreadable"].to_pylist()),
        "duplicates": spread(table["duplicates"].to_pylist()),
        "attempts": spread(table["attempts"].to_pylist()),
        "seconds": spread(_rounded(table["seconds"])),
        "source_bytes": spread(_leading_digits(table["source_bytes"])),
        "parquet_bytes": spread(_leading_digits(table["parquet_bytes"])),
        "first_created": _after_the_hour(spread(_seconds(table["first_created_at"])), first),
        "last_created": _after_the_hour(spread(_seconds(table["last_created_at"])), first),
        "next_try": _steps(spread(_seconds(table["next_try"]))),
        "finished": _steps(spread(_seconds(table["finished_at"]))),
        **{
            name: _words(spread(_without_name(table[name].to_pylist(), names)))
            for name in ("reason", "hole", "era", "source", "emails")
        },
        "schema_version": _words(spread(table["schema_version"].to_pylist())),
        "types": _top_types(spread(table["types"].to_pylist())),
    }


class _Spread:
    """Aligns the values of rows with their hours; an hour without a row has the value None.

    Args:
        places: The index of each row's hour, starting at 0.
        count: Number of hours.
    """

    def __init__(self, places: list[int], count: int) -> None:
        if len(set(places)) != len(places):
            raise ValueError("a coverage table has one row an hour, but in this one some hours have several")
        self._places = places
        self._count = count
        self._in_order = places == list(range(count))

    def __call__(self, values: _Values) -> _Values:
        if self._in_order:
            return values
        spread: _Values = [None] * self._count
        for place, value in zip(self._places, values, strict=True):
            spread[place] = value
        return spread


def _hours_since_1970(names: pa.ChunkedArray[Any]) -> list[int]:
    """Returns the index of each hour by its name; by ``hour_start``, two hours collide where clocks change."""
    starts: _Values = pc.strptime(names, format="%Y-%m-%d-%H", unit="s").cast(pa.int64()).to_pylist()
    return [start // _HOUR_SECONDS for start in starts]


def _pacific(first: int, last: int) -> list[int] | None:
    """Returns the indices, relative to ``first``, of the first and last hour named in US Pacific time."""
    begin, end = (int(hour.start.timestamp()) // _HOUR_SECONDS for hour in (PACIFIC_HOURS.first, PACIFIC_HOURS.last))
    if end < first or last < begin:
        return None
    return [max(begin, first) - first, min(end, last) - first]


def _statuses(values: _Values) -> str:
    """Returns one digit per hour, and a dot for an hour that is not in the table."""
    digits: dict[str | None, str] = {status: str(number) for number, status in enumerate(STATUSES)}
    digits[None] = "."
    if unknown := set(values) - set(digits):
        raise ValueError(f"statuses unknown to the page: {', '.join(sorted(map(str, unknown)))}")
    return "".join(digits[value] for value in values)


def _seconds(instants: pa.ChunkedArray[Any]) -> _Values:
    """Returns instants as whole seconds since 1970."""
    seconds: _Values = instants.cast(pa.timestamp("s", tz="UTC"), safe=False).cast(pa.int64()).to_pylist()
    return seconds


def _after_the_hour(instants: _Values, first: int) -> _Values:
    """Returns instants as seconds after the start of their hour: small numbers compress well."""
    return [
        None if instant is None else instant - (first + number) * _HOUR_SECONDS
        for number, instant in enumerate(instants)
    ]


def _steps(instants: _Values) -> _Values:
    """Delta-encodes instants: consecutive hours are mostly processed one after the other."""
    steps: _Values = []
    before = 0
    for instant in instants:
        steps.append(None if instant is None else instant - before)
        before = before if instant is None else instant
    return steps


def _rounded(seconds: pa.ChunkedArray[Any]) -> _Values:
    rounded: _Values = pc.round(seconds, ndigits=2).to_pylist()
    return rounded


def _leading_digits(sizes: pa.ChunkedArray[Any]) -> _Values:
    """Rounds sizes to four digits: the page shows three, and the rest would be a quarter of its bytes."""
    return [
        None if size is None else round(size, _DIGITS - len(str(size))) if size else 0 for size in sizes.to_pylist()
    ]


def _without_name(texts: _Values, names: Sequence[str]) -> _Values:
    """Replaces each hour's name by ``NAME``."""
    return [
        None if text is None else text.replace(NAME, "\N{REPLACEMENT CHARACTER}").replace(name, NAME)
        for text, name in zip(texts, names, strict=True)
    ]


def _words(values: _Values) -> dict[str, _Values]:
    """Dictionary-encodes values: the distinct values, and the index of each hour's value."""
    numbers, number_of = _numbering()
    return {"of": [_NOWHERE if value is None else number_of(value) for value in values], "words": list(numbers)}


def _top_types(values: _Values) -> dict[str, _Values]:
    """Returns the most frequent types of each hour by rank: the index of the type, and its share in percent."""
    numbers, number_of = _numbering()
    decoder = msgspec.json.Decoder(dict[str, int])
    kinds: list[_Values] = [[] for _ in range(_TOP_TYPES)]
    shares: list[_Values] = [[] for _ in range(_TOP_TYPES)]
    for value in values:
        top = _largest({} if value is None else decoder.decode(value))
        for rank in range(_TOP_TYPES):
            name, share = next(top, _NO_TYPE)
            kinds[rank].append(_NOWHERE if name is None else number_of(name[:_LONGEST_TYPE]))
            shares[rank].append(share)
    return {"kinds": kinds, "shares": shares, "words": list(numbers)}


def _largest(types: dict[str, int]) -> Iterator[tuple[str, int]]:
    total = sum(types.values())
    ordered = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    return ((name, round(100 * count / total)) for name, count in ordered[:_TOP_TYPES] if count)


def _numbering() -> tuple[dict[Any, int], Callable[[Any], int]]:
    """Returns an empty dictionary, and a function that assigns each new value the next index in it."""
    numbers: dict[Any, int] = {}
    return numbers, lambda value: numbers.setdefault(value, len(numbers))
