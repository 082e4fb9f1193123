"""Ranges of hours and days on the command line: one rule, one parser and one help text for all commands.

FROM TO includes both ends. FROM alone is that one hour or day. Without either, the command decides.
"""

from __future__ import annotations

import functools
import inspect
import re
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from typing_extensions import override

from etl.errors import UsageError
from etl.hours import FIRST_HOUR, Hour, HourRange, newest_finished_hour

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.warehouse.lake_inputs import Days

_DAY: Final = re.compile(r"\d{4}-\d{1,2}-\d{1,2}", re.ASCII)
_NOW: Final = "now"
_HOURS_HELP: Final = (
    "FROM and TO are hours (2015-01-01-15) or whole days (2015-01-01) in UTC, both included. FROM alone is that one"
    " hour or day. `now` is the newest hour that is over, as in `2015-01-01 now`."
)
_DAYS_HELP: Final = (
    "FROM and TO are days (2015-01-01) in UTC, both included. FROM alone is that one day. `now` is today, as in"
    " `2015-01-01 now`."
)
_HOUR_FORMS: Final = "write an hour as 2015-01-01-15 or 2015-01-01T15:00:00Z, a day as 2015-01-01 (UTC), or `now`"
_DAY_FORMS: Final = "write a day as 2015-01-01, or `now` for today; events belong to the UTC day they happened on"
_LENGTH: Final = re.compile(r"(?P<count>\d{1,6})\s*(?P<unit>[hdw])", re.ASCII)
_HOURS_A_UNIT: Final = {"h": 1, "d": 24, "w": 168}


class LengthType(click.ParamType):
    """A length of time such as 72h, 3d or 2w; converts to a number of hours."""

    name = "span"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        match = _LENGTH.fullmatch(str(value).strip())
        hours = 0 if match is None else int(match["count"]) * _HOURS_A_UNIT[match["unit"]]
        if not hours:
            raise UsageError(f"{value!r} is not a length of time", hint="write 72h, 3d or 2w")
        return hours


class HoursType(click.ParamType):
    """An hour, a day or ``now``; converts to the range of its hours."""

    name = "hours"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> HourRange:
        if isinstance(value, HourRange):
            return value
        text = str(value).strip()
        if text == _NOW:
            return HourRange(newest_finished_hour(), newest_finished_hour())
        if _DAY.fullmatch(text):
            day = _calendar_day(text)
            if day > datetime.now(UTC).date():
                raise UsageError(f"day {day} is in the future", hint=f"the newest hour is {newest_finished_hour()}")
            first = Hour(datetime(day.year, day.month, day.day, tzinfo=UTC))
            return HourRange(first, first + 23)
        if not Hour.is_written(text):
            raise UsageError(f"{text!r} is neither an hour nor a day", hint=_HOUR_FORMS)
        hour = Hour.parse(text)
        return HourRange(hour, hour)


class DayType(click.ParamType):
    """A day or ``now``; converts to a ``date``."""

    name = "day"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        if isinstance(value, date):
            return value
        text = str(value).strip()
        if text == _NOW:
            return datetime.now(UTC).date()
        if not _DAY.fullmatch(text):
            raise UsageError(f"{text!r} is not a day", hint=_DAY_FORMS)
        return _calendar_day(text)


def takes_hours(*, required: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds FROM, TO and ``--last SPAN`` to a command, which is called with ``hours`` in their place.

    ``hours`` is an ``HourRange`` that ends at the newest finished hour at the latest, or None if no range was given.

    Args:
        required: Fail if no range is given.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        def run(
            *args: Any,  # noqa: ANN401
            first: HourRange | None,
            last: HourRange | None,
            span: int | None,
            **given: Any,  # noqa: ANN401
        ) -> None:
            hours = hour_range(first, last, span)
            if required and hours is None:
                raise UsageError(
                    "a range of hours is required", hint="add FROM, FROM and TO, or --last 72h; see --help"
                )
            command(*args, hours=hours, **given)

        run = click.option(
            "--last", "span", type=LengthType(), metavar="SPAN", help="The last 72h, 3d or 2w, instead of FROM and TO."
        )(run)
        return _with_ends(run, HoursType(), _HOURS_HELP)

    return decorate


def takes_days(command: Callable[..., None]) -> Callable[..., None]:
    """Adds FROM and TO to a command, which is called with ``days`` in their place.

    ``days`` is a ``Days``, unbounded if no range was given.
    """

    @functools.wraps(command)
    def run(*args: Any, first: date | None, last: date | None, **given: Any) -> None:  # noqa: ANN401
        command(*args, days=day_range(first, last), **given)

    return _with_ends(run, DayType(), _DAYS_HELP)


def hour_range(first: HourRange | None, last: HourRange | None, span: int | None = None) -> HourRange | None:
    """Returns the range of FROM, TO and ``--last``, up to the newest finished hour; None if none of them is given.

    Raises:
        UsageError: If they contradict each other, or no hour of the range has finished.
    """
    newest = newest_finished_hour()
    if span is not None:
        if first is not None:
            raise UsageError("--last cannot be combined with FROM and TO")
        return hours_back_from(newest, span)
    if first is None:
        return None
    hours = HourRange(first.first, (last or first).last)
    if hours.first > newest:
        raise UsageError(f"hour {hours.first} has not finished yet", hint=f"the newest finished hour is {newest}")
    return HourRange(hours.first, min(hours.last, newest))


def hours_back_from(newest: Hour, count: int) -> HourRange:
    """Returns the ``count`` hours that end with ``newest``, fewer where the archive begins later."""
    return HourRange(Hour(max(newest.start - timedelta(hours=count - 1), FIRST_HOUR.start)), newest)


def day_range(first: date | None, last: date | None) -> Days:
    """Returns the days of FROM and TO.

    Raises:
        UsageError: If the last comes before the first.
    """
    from etl.warehouse.lake_inputs import Days

    last = last or first
    if first is not None and last is not None and last < first:
        raise UsageError(f"the range ends ({last}) before it starts ({first})")
    return Days(first, last)


def _with_ends(command: Callable[..., None], kind: click.ParamType, help_text: str) -> Callable[..., None]:
    command = click.argument("last", metavar="[TO]]", required=False, type=kind)(command)
    command = click.argument("first", metavar="[FROM", required=False, type=kind)(command)
    command.__doc__ = f"{inspect.cleandoc(command.__doc__ or '')}\n\n{help_text}"
    return command


def _calendar_day(text: str) -> date:
    try:
        return date(*map(int, text.split("-")))
    except ValueError as error:
        raise UsageError(f"{text} is not a valid date: {error}") from None
