"""The dashboard's aggregates: events by hour, type, action, user and repository, small enough for a page.

All figures come from the warehouse: events from the view ``events``, the named users and repositories from
the marts ``contributors`` and ``repositories``, completeness from the mart ``coverage``. All charts use one table of
counts, so that a filter on one chart applies to all. A page has no room for millions of users: the least active ones
are counted together, so that the table stays below ``MAX_ROWS``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from etl.coverage.coverage import ABSENT
from etl.errors import UsageError
from etl.hours import newest_finished_hour
from etl.lake.manifest import Status
from etl.report.page_data import STATUSES
from etl.warehouse.duckdb_views import opened
from etl.warehouse.table_state import Warehouse

if TYPE_CHECKING:
    import duckdb

MAX_ROWS: Final = 250_000
"""Maximum rows of counts in a page: about two megabytes of text, and 0.1 s for each change of a filter."""

LISTED: Final = 16_000
"""Default number of users, and of repositories, listed by name."""

FEWEST_LISTED: Final = 30
"""With fewer, the charts would mostly show what is not listed."""

_CUBE: Final = """
CREATE TEMP TABLE cube AS
WITH
  listed_actors AS (
    SELECT last_actor_login AS name, ROW_NUMBER() OVER (ORDER BY SUM(events) DESC, last_actor_login) AS rank
    FROM contributors
    WHERE day BETWEEN $first AND $last AND last_actor_login IS NOT NULL
    GROUP BY last_actor_login
    QUALIFY rank <= $listed
  ),
  repository_sums AS (
    SELECT
      last_repo_name AS name, SUM(events) AS events, SUM(stars) AS stars, SUM(forks) AS forks,
      SUM(pull_requests_merged) AS merged
    FROM repositories
    WHERE day BETWEEN $first AND $last AND last_repo_name IS NOT NULL
    GROUP BY last_repo_name
  ),
  listed_repositories AS (
    SELECT
      name,
      LEAST(
        ROW_NUMBER() OVER (ORDER BY events DESC, name), ROW_NUMBER() OVER (ORDER BY stars DESC, events DESC, name),
        ROW_NUMBER() OVER (ORDER BY forks DESC, events DESC, name),
        ROW_NUMBER() OVER (ORDER BY merged DESC, events DESC, name)
      ) AS rank
    FROM repository_sums
    QUALIFY rank <= $listed
  )
SELECT
  EPOCH(DATE_TRUNC('hour', created_at))::BIGINT // 3600 AS hour,
  type,
  action,
  CASE
    WHEN type IS DISTINCT FROM 'PullRequestEvent' THEN NULL
    WHEN is_merged THEN 'merged'
    WHEN action = 'closed' AND is_merged IS NULL THEN 'unknown'
    WHEN action = 'closed' THEN 'unmerged'
  END AS outcome,
  is_bot,
  CASE WHEN last_actor_login IS NULL THEN '' ELSE listed_actors.name END AS actor,
  listed_actors.rank AS actor_rank,
  CASE WHEN last_repo_name IS NULL THEN '' ELSE listed_repositories.name END AS repository,
  listed_repositories.rank AS repository_rank,
  COUNT(*) AS events
FROM events
LEFT JOIN listed_actors ON listed_actors.name = last_actor_login
LEFT JOIN listed_repositories ON listed_repositories.name = last_repo_name
WHERE created_at >= $begin AND created_at < $end
GROUP BY ALL
"""

_SMALLER: Final = """
SELECT
  hour, type, action, outcome, is_bot,
  CASE WHEN actor_rank IS NULL OR actor_rank <= $listed THEN actor END AS actor,
  CASE WHEN repository_rank IS NULL OR repository_rank <= $listed THEN repository END AS repository,
  SUM(events)::BIGINT AS events
FROM cube
GROUP BY ALL
"""

_COVERAGE: Final = """
WITH hours AS (
  SELECT UNNEST(GENERATE_SERIES(CAST($begin AS TIMESTAMPTZ), CAST($newest AS TIMESTAMPTZ), INTERVAL 1 HOUR)) AS start
)
SELECT EPOCH(hours.start)::BIGINT // 3600 AS hour, COALESCE(coverage.status, $absent) AS status
FROM hours
LEFT JOIN coverage ON coverage.window_start = hours.start
-- Two files cover the same hour where clocks went forward, and where names changed from Pacific time to UTC.
QUALIFY ROW_NUMBER() OVER (PARTITION BY hours.start ORDER BY coverage.status = 'complete' DESC, coverage.hour) = 1
ORDER BY hours.start
"""

_STORED: Final = [status.value for status in Status if status.has_events]

_DAYS: Final = """
WITH days AS (
  SELECT DISTINCT hour::DATE AS day FROM activity_hourly
), stored AS (
  SELECT DISTINCT window_start::DATE AS day FROM coverage WHERE status IN (SELECT UNNEST($stored))
)
SELECT MIN(days.day), MAX(days.day), MIN(stored.day), MAX(stored.day)
FROM days
LEFT JOIN stored ON stored.day = days.day
"""

_Kind = Literal["actor", "repository"]


@dataclass(frozen=True, slots=True)
class Listing:
    """The number of users, or repositories, listed by name.

    Attributes:
        of: All in the range.
        listed: Those that the page names; the others are counted together.
    """

    of: int
    listed: int


@dataclass(frozen=True, slots=True)
class Cube:
    """The counts behind a dashboard.

    Attributes:
        first: The first day, in UTC.
        last: The last day.
        events: One row per combination of ``hour`` (since 1970), ``type``, ``action``, ``outcome`` (of a pull request:
            merged, unmerged or unknown; null for other events), ``is_bot``, ``actor``, ``repository`` (null for those
            counted together, empty if the record names none), with its number of ``events``.
        actors: Number of users listed by name.
        repositories: Number of repositories listed by name.
        coverage: ``hour`` (since 1970) and ``status`` of each hour, in order.
        set_aside: Events of the whole lake that no chart shows, because their time is outside the archive's range.
    """

    first: date
    last: date
    events: pa.Table
    actors: Listing
    repositories: Listing
    coverage: pa.Table
    set_aside: int = 0

    @property
    def total(self) -> int:
        """Number of events."""
        return int(pc.sum(self.events["events"]).as_py() or 0)

    @property
    def complete(self) -> int:
        """Number of hours that are complete in the lake."""
        return self.coverage["status"].to_pylist().count(Status.COMPLETE.value)


def read(
    warehouse: Warehouse, first: date | None = None, last: date | None = None, *, max_rows: int = MAX_ROWS
) -> Cube:
    """Computes the aggregates of a dashboard.

    Args:
        warehouse: A warehouse in a folder.
        first: The first day, in UTC; by default the first day with events and a stored hour.
        last: The last day; by default the last such day.
        max_rows: Maximum rows of counts.

    Raises:
        StoreError: If the warehouse cannot be read.
        UsageError: If it is in a bucket, has no events in these days, or the counts do not fit into a page.
    """
    with opened(warehouse) as connection:
        days = _days(connection, warehouse, first, last)
        bounds = {"begin": f"{days[0]} 00:00:00+00", "end": f"{days[1] + timedelta(days=1)} 00:00:00+00"}
        connection.execute(_CUBE, {"first": days[0], "last": days[1], "listed": LISTED, **bounds})
        events = _small_enough(connection, days, max_rows)
        return Cube(
            *days,
            events=events,
            actors=_listing(connection, events, days, "actor"),
            repositories=_listing(connection, events, days, "repository"),
            coverage=_coverage(connection, days),
            set_aside=_set_aside(connection),
        )


def columns(cube: Cube) -> dict[str, Any]:
    """Returns the JSON object that ``dashboard.js`` reads: distinct names, and rows as columns of their indices."""
    events = cube.events.sort_by([(name, "ascending") for name in cube.events.column_names])
    kinds = _Numbers()
    actors = _Numbers()
    repositories = _Numbers()
    names = ("type", "action", "outcome", "is_bot", "actor", "repository")
    rows = zip(*(events[name].to_pylist() for name in names), strict=True)
    of = [
        (kinds[kind, action, outcome], actors[actor, bot], repositories[repository])
        for kind, action, outcome, bot, actor, repository in rows
    ]
    return {
        "first": cube.first.isoformat(),
        "last": cube.last.isoformat(),
        "kinds": kinds.names,
        "actors": actors.names,
        "repositories": repositories.names,
        "listed": {
            "actors": [cube.actors.listed, cube.actors.of],
            "repositories": [cube.repositories.listed, cube.repositories.of],
        },
        "rows": {
            "hour": _steps(events["hour"]),
            "kind": [row[0] for row in of],
            "actor": [row[1] for row in of],
            "repository": [row[2] for row in of],
            "events": events["events"].to_pylist(),
        },
        "statuses": STATUSES,
        "coverage": {
            "hour": _steps(cube.coverage["hour"]),
            "status": "".join(str(STATUSES.index(status)) for status in cube.coverage["status"].to_pylist()),
        },
    }


class _Numbers:
    """Assigns consecutive indices to names, in order of first use."""

    def __init__(self) -> None:
        self._numbers: dict[Any, int] = {}

    def __getitem__(self, name: Any) -> int:  # noqa: ANN401 -- whatever JSON holds
        return self._numbers.setdefault(name, len(self._numbers))

    @property
    def names(self) -> list[Any]:
        return list(self._numbers)


def _days(
    connection: duckdb.DuckDBPyConnection, warehouse: Warehouse, first: date | None, last: date | None
) -> tuple[date, date]:
    """Returns the requested days; by default those with events and a stored hour.

    Late events may belong to days without a stored hour. Such days are shown only on request.
    """
    ((*found, first_stored, last_stored),) = connection.execute(_DAYS, {"stored": _STORED}).fetchall()
    if found[0] is None:
        raise UsageError(
            f"there are no events in the warehouse {warehouse.address}", hint="run `python etl build` first"
        )
    days = (first or first_stored or found[0], last or last_stored or found[1])
    if days[1] < days[0] or days[1] < found[0] or found[1] < days[0]:
        raise UsageError(
            f"there are no events from {days[0]} to {days[1]} in the warehouse {warehouse.address}",
            hint=f"it holds days from {found[0]} to {found[1]}",
        )
    return days


def _coverage(connection: duckdb.DuckDBPyConnection, days: tuple[date, date]) -> pa.Table:
    """Returns the status of each finished hour; an hour that the mart does not have is absent."""
    first, last = (datetime.combine(day, time(), UTC) for day in days)
    newest = min(last + timedelta(hours=23), newest_finished_hour().start)
    return _table(connection, _COVERAGE, {"begin": first, "newest": newest, "absent": ABSENT})


def _set_aside(connection: duckdb.DuckDBPyConnection) -> int:
    ((count,),) = connection.execute("SELECT COALESCE(SUM(events_set_aside), 0)::BIGINT FROM coverage").fetchall()
    return int(count)


def _small_enough(connection: duckdb.DuckDBPyConnection, days: tuple[date, date], max_rows: int) -> pa.Table:
    """Returns the counts with as many listed names as fit into ``max_rows``."""
    for listed in _halving():
        events = _table(connection, _SMALLER, {"listed": listed})
        if events.num_rows <= max_rows:
            return events
    raise UsageError(
        f"{days[0]} to {days[1]} has more to count than fits into a page ({max_rows:,} rows)",
        hint="name fewer days, or chart the marts in Looker Studio (docs/how-to/dashboard.md)",
    )


def _halving() -> Iterator[int]:
    listed = LISTED
    while listed >= FEWEST_LISTED:
        yield listed
        listed //= 2


_ALL: Final[dict[_Kind, str]] = {
    "actor": "SELECT COUNT(DISTINCT last_actor_login) FROM contributors WHERE day BETWEEN $first AND $last",
    "repository": "SELECT COUNT(DISTINCT last_repo_name) FROM repositories WHERE day BETWEEN $first AND $last",
}


def _listing(connection: duckdb.DuckDBPyConnection, events: pa.Table, days: tuple[date, date], kind: _Kind) -> Listing:
    ((count,),) = connection.execute(_ALL[kind], {"first": days[0], "last": days[1]}).fetchall()
    return Listing(of=count, listed=sum(bool(name) for name in events[kind].unique().to_pylist()))


def _steps(hours: pa.ChunkedArray[Any]) -> list[int]:
    """Delta-encodes hours: the deltas are mostly zeros, which compress well."""
    steps: list[int] = np.diff(hours.to_numpy(), prepend=0).tolist()
    return steps


def _table(connection: duckdb.DuckDBPyConnection, query: str, parameters: dict[str, Any]) -> pa.Table:
    table: pa.Table = connection.sql(query, params=parameters).to_arrow_table()
    return table
