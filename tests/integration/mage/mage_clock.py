"""A program that asks Mage's own code when a trigger's run is dated, and which runs a backfill has.

It reads one order a line as JSON and answers each with a line: ``["fires", cron, now]`` gives the execution date of the
run that is current at ``now``, ``["backfill", start, end]`` the variables of all runs of a backfill by the hour. Mage
is imported here and not in the tests: it changes logging, warnings and the environment of whoever imports it.
"""

from __future__ import annotations

import json
import sys
from contextlib import redirect_stdout
from datetime import UTC, datetime, tzinfo
from importlib import import_module
from types import ModuleType
from typing import Any, Self
from unittest.mock import patch

from typing_extensions import override


def _pinned(at: datetime) -> type[datetime]:
    """The class of times, whose clock stands still."""

    class Pinned(datetime):
        @classmethod
        @override
        def now(cls, tz: tzinfo | None = None) -> Self:
            return cls.fromtimestamp(at.timestamp(), tz)

    return Pinned


def _fires(schedules: ModuleType, cron: str, now: str) -> str:
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    with patch.object(schedules, "datetime", _pinned(at)):
        date = schedules.PipelineSchedule(schedule_interval=cron, schedule_type="time").current_execution_date()
    return str(date.isoformat())


def _backfill(schedules: ModuleType, service: ModuleType, start: str, end: str) -> list[dict[str, Any]]:
    backfill = schedules.Backfill(
        start_datetime=datetime.fromisoformat(start),
        end_datetime=datetime.fromisoformat(end),
        interval_type=schedules.Backfill.IntervalType.HOUR,
        interval_units=1,
    )
    runs: list[dict[str, Any]] = service.preview_run_dates(backfill)
    return runs


def main() -> None:
    """Does one order a line until the input ends."""
    answers = sys.stdout
    # What Mage says while it is imported is no answer.
    with redirect_stdout(sys.stderr):
        schedules = import_module("mage_ai.orchestration.db.models.schedules")
        service = import_module("mage_ai.orchestration.backfills.service")
        for line in sys.stdin:
            what, *terms = json.loads(line)
            told = _fires(schedules, *terms) if what == "fires" else _backfill(schedules, service, *terms)
            answers.write(json.dumps(told) + "\n")
            answers.flush()


if __name__ == "__main__":
    main()
