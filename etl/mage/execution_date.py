"""The hour of a Mage run: its execution date minus a lag that is always set.

Mage names a run by the time it fires at. A trigger at minute 20 fires in the hour after the one it is for, which is the
newest that is published; a backfill's run is named by the very hour it is for. Nothing in a run tells the two apart
for sure, so each pipeline and trigger says ``lag_hours`` and nothing is inferred.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from etl.errors import UsageError
from etl.hours import Hour

_MOST_LAG: Final = 24 * 366
_HOUR_SECONDS: Final = 3600


def hour_of_run(variables: Mapping[str, Any]) -> Hour:
    """Returns the hour that a run is for.

    Args:
        variables: The variables that Mage passes to a block: ``execution_date`` (an aware ``datetime``, or a naive
            one or a text, which are UTC, as Mage stores them), ``lag_hours``, and in a backfill of more than one run
            ``interval_seconds``.

    Raises:
        UsageError: If one of them is absent or makes no sense.
    """
    lag = whole_number(variables, "lag_hours", least=0, most=_MOST_LAG)
    _refuse_other_intervals(variables, lag)
    return Hour.containing(_instant(variables.get("execution_date")) - timedelta(hours=lag))


def whole_number(variables: Mapping[str, Any], name: str, *, least: int, most: int) -> int:
    """Reads an integer variable, which the web page may pass as text.

    Raises:
        UsageError: If it is absent, no whole number, or out of bounds.
    """
    value = variables.get(name)
    if value is None:
        raise UsageError(
            f"the variable {name} is not set", hint="set it in the pipeline, in its trigger or in the backfill"
        )
    try:
        number = int(str(value))
    except ValueError:
        number = least - 1
    if isinstance(value, bool) or not least <= number <= most:
        raise UsageError(f"the variable {name} is {value!r}; it must be a whole number from {least} to {most}")
    return number


def yes_or_no(variables: Mapping[str, Any], name: str) -> bool:
    """Reads a boolean variable, which the web page may pass as text.

    Raises:
        UsageError: If it is absent or neither.
    """
    value = str(variables.get(name)).lower()
    if value not in {"true", "false"}:
        raise UsageError(f"the variable {name} is {variables.get(name)!r}; it must be true or false")
    return value == "true"


def _refuse_other_intervals(variables: Mapping[str, Any], lag: int) -> None:
    """Rejects a daily backfill (one hour a day) or one by the minute (each hour sixty times)."""
    seconds = variables.get("interval_seconds")
    if lag == 0 and seconds is not None and int(seconds) != _HOUR_SECONDS:
        raise UsageError(
            f"this run is one of a series by {int(seconds)} seconds, and an hour has {_HOUR_SECONDS}",
            hint="make a backfill with the interval type hour and the interval unit 1",
        )


def _instant(value: object) -> datetime:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise UsageError(f"the execution date {value!r} is no time") from None
    if not isinstance(value, datetime):
        raise UsageError(
            "the run has no execution date", hint="start it by a trigger or a backfill, not block by block"
        )
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
