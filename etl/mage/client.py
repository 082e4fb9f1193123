"""Asks a Mage server for a backfill and follows it, over the API that Mage's own pages use (0.9.80).

The API answers most errors with status 200 and an object ``error`` (mage-ai#2928), so that is what is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from etl.errors import SourceUnreachableError, UsageError
from etl.hours import Hour, HourRange

API_KEY: Final = "zkWlN0PkIKSN0C11CfUHUj84OT5XOJ6tDZ6bDRO2"
"""Names Mage's own page as the client; it is the same in every installation and grants no access by itself."""
PIPELINE: Final = "gharchive_hour"

_TIMEOUT_SECONDS: Final = 60.0
_MOST_RUNS: Final = 100_000
_DONE: Final = frozenset({"completed", "failed", "cancelled"})


class RunCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The progress of a backfill.

    Attributes:
        backfill: Its number.
        total: Hours of it.
        statuses: How many of their runs have which status; a retried hour counts by its last run.
    """

    backfill: int
    total: int
    statuses: dict[str, int]

    @property
    def is_through(self) -> bool:
        """Whether every run has ended, one way or another."""
        return sum(count for status, count in self.statuses.items() if status in _DONE) >= self.total

    @property
    def not_completed(self) -> int:
        """Hours whose run failed."""
        return sum(count for status, count in self.statuses.items() if status in _DONE - {"completed"})


class MageClient:
    """A client that is signed in to a server.

    Args:
        address: ``http://host:port``.
        user: Name or e-mail address of a user who may edit.
        password: The user's password.

    Raises:
        UsageError: If the server refuses name and password.
        SourceUnreachableError: If it does not answer.
    """

    def __init__(self, address: str, user: str, password: str) -> None:
        self.address = address.rstrip("/")
        self._session = requests.Session()
        self._session.headers["X-API-KEY"] = API_KEY
        given = {"password": password, "email" if "@" in user else "username": user}
        # The page keeps the same token in this cookie; the API's own header would want what is sealed in it.
        self._session.cookies.set("oauth_token", self._ask("POST", "sessions", {"session": given})["session"]["token"])

    def start_backfill(self, hours: HourRange, *, variables: Mapping[str, Any] | None = None) -> int:
        """Creates and starts a backfill with a run for each hour of a range, both ends included.

        Args:
            hours: Which hours.
            variables: Variables of all its runs, over those of the pipeline.

        Returns:
            Its number.

        Raises:
            UsageError: If the server refuses.
            SourceUnreachableError: If it does not answer.
        """
        made = self._ask("POST", f"pipelines/{PIPELINE}/backfills", {"backfill": {"name": f"{hours}"}})["backfill"]
        number = int(made["id"])
        values = {
            "name": str(hours),
            "start_datetime": _instant(hours.first),
            "end_datetime": _instant(hours.last),
            "interval_type": "hour",
            "interval_units": 1,
            "variables": {"lag_hours": 0, "wait_minutes": 0} | dict(variables or {}),
        }
        self._ask("PUT", f"backfills/{number}", {"backfill": values})
        self._ask("PUT", f"backfills/{number}", {"backfill": {"status": "initial"}})
        return number

    def counts(self, backfill: int) -> RunCounts:
        """Returns the progress of a backfill."""
        told = self._ask("GET", f"backfills/{backfill}", include_run_count="true")["backfill"]
        return RunCounts(
            backfill=backfill,
            total=int(told["total_run_count"]),
            statuses={str(status): int(count) for status, count in told["run_status_counts"].items()},
        )

    def runs(self, backfill: int) -> list[dict[str, Any]]:
        """Returns the runs of a backfill as in the API, newest first; a retried hour has several."""
        told = self._ask("GET", "pipeline_runs", backfill_id=backfill, _limit=_MOST_RUNS)
        found: list[dict[str, Any]] = told["pipeline_runs"]
        return sorted(found, key=lambda run: int(run["id"]), reverse=True)

    def not_completed(self, backfill: int) -> list[Hour]:
        """Returns the hours of a backfill whose last run did not succeed, in order."""
        last: dict[Hour, str] = {}
        for run in self.runs(backfill):
            last.setdefault(hour_of(run), str(run["status"]))
        return sorted(hour for hour, status in last.items() if status != "completed")

    def follow(self, backfill: int, told: Callable[[RunCounts], None], *, every: float = 2.0) -> RunCounts:
        """Waits until all runs of a backfill have ended.

        Args:
            backfill: Its number.
            told: Told each time how far it is.
            every: Seconds between two looks.
        """
        while not (counts := self.counts(backfill)).is_through:
            told(counts)
            time.sleep(every)
        told(counts)
        return counts

    def _ask(self, method: str, path: str, body: object = None, **query: object) -> dict[str, Any]:
        patiently = Retrying(
            retry=retry_if_exception_type(requests.ConnectionError),
            stop=stop_after_attempt(4 if method == "GET" else 1),
            wait=wait_exponential(multiplier=0.5),
            reraise=True,
        )
        try:
            answer = patiently(
                self._session.request,
                method,
                f"{self.address}/api/{path}",
                json=body,
                params={name: str(value) for name, value in query.items()},
                timeout=_TIMEOUT_SECONDS,
            )
            told: dict[str, Any] = answer.json()
        except requests.RequestException as error:
            raise SourceUnreachableError(
                f"the Mage server at {self.address} does not answer ({type(error).__name__})",
                hint="is it running? `python etl mage serve` starts one",
            ) from error
        if problem := told.get("error"):
            raise UsageError(
                f"the Mage server at {self.address} says no: {_reason(problem)}",
                hint="name a user with --user, and the password in MAGE_PASSWORD or when you are asked for it",
            )
        return told


def _reason(problem: Mapping[str, Any]) -> str:
    """Returns an error's message on one line: some of Mage's contain a traceback."""
    said = str(problem.get("exception") or problem.get("message") or "no reason given")
    return said.strip().splitlines()[-1][:200]


def _instant(hour: Hour) -> str:
    """Returns an hour in the API's form: UTC without a zone."""
    return f"{hour.start.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def hour_of(run: Mapping[str, Any]) -> Hour:
    """Returns the hour of a backfill's run, by its execution date.

    Raises:
        UsageError: If it has none.
    """
    instant = datetime.fromisoformat(str(run["execution_date"]))
    return Hour.containing(instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant)
