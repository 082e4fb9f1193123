"""What the warehouse makes of records whose meaning depends on their time, or that are not what they should be.

``test_engines.py`` builds the same lakes with Spark too, and compares all rows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from etl.hours import Hour
from etl.lake.lake import Lake
from etl.report import aggregates, dashboard
from etl.warehouse.lake_inputs import archive_span
from etl.warehouse.table_state import Warehouse
from tests.integration.running import now
from tests.integration.warehouse.comparing import answer, built, stored
from tests.integration.warehouse.test_build import event


class Rule(NamedTuple):
    """Records by hour, and for queries in DuckDB's SQL the rows that they must return."""

    hours: Mapping[str, Sequence[bytes]]
    answers: Mapping[str, Sequence[tuple[Any, ...]]]


NO_REPOSITORY: Final = {"url": "https://api.github.dev/repos//", "name": "/"}


def _in_2011(number: int, type_: str, payload: Mapping[str, Any]) -> bytes:
    return event(number, type=type_, repo=NO_REPOSITORY, payload=payload, created_at=f"2011-02-12T00:00:{number:02}Z")


def _pull(number: int, action: str, time: str, **said: Any) -> bytes:
    payload = {"action": action, "number": number, "pull_request": {"number": number, **said}}
    return event(number, type="PullRequestEvent", payload=payload, created_at=time)


def _review(number: int, action: str, state: str) -> bytes:
    payload = {"action": action, "review": {"id": 9, "state": state}, "pull_request": {"number": 1}}
    time = f"2026-03-01T10:{number:02}:00Z"
    return event(number, type="PullRequestReviewEvent", payload=payload, created_at=time)


def _comment(number: int, type_: str, payload: Mapping[str, Any]) -> bytes:
    return event(number, type=type_, payload=payload, created_at=f"2019-01-02T03:00:{number:02}Z")


def _of_size(number: int, size: str) -> bytes:
    """A push whose size is written like this."""
    push = event(number, type="PushEvent", payload={"number": "SIZE", "size": "SIZE"})
    return push.replace(b'"SIZE"', size.encode())


def _written(number: int, payload: bytes, type_: str = "PushEvent") -> bytes:
    """An event with a payload of these bytes."""
    time = f"2019-01-03T03:00:{number:02}Z"
    return event(number, type=type_, payload="PAYLOAD", created_at=time).replace(b'"PAYLOAD"', payload)


def _merge(**changes: Any) -> dict[str, Any]:
    """A merge of June 2012, when records had no id."""
    return {
        "type": "PullRequestEvent",
        "created_at": "2012-06-14T15:02:20-07:00",
        "public": True,
        "actor": "ann",
        "url": "https://github.com/ann/one/pull/1",
        "repository": {"id": 10, "name": "one", "owner": "ann", "url": "https://github.com/ann/one"},
        "payload": {"action": "closed", "number": 1, "pull_request": {"merged": True, "title": "\u00e9/"}},
        **changes,
    }


def _star(minute: int, login: str = "ann", **changes: Any) -> bytes:
    """A star of the last night of 2014, as the file named in Pacific time has it."""
    record = {
        "type": "WatchEvent",
        "created_at": f"2014-12-31T16:{minute:02}:00-08:00",
        "public": True,
        "actor": login,
        "actor_attributes": {"login": login, "type": "User"},
        "url": "https://github.com/ann/one",
        "repository": {"id": 10, "name": "one", "owner": "ann", "url": "https://github.com/ann/one"},
        "payload": {"action": "started"},
        **changes,
    }
    return _line(record)


def _star_with_id(number: int, minute: int, login: str = "ann") -> bytes:
    """The same star as the file named in UTC has it."""
    time = f"2015-01-01T00:{minute:02}:00Z"
    return event(number, actor={"id": 1, "login": login}, repo={"id": 10, "name": "ann/one"}, created_at=time)


def _line(record: Any, *, ascii_only: bool = True) -> bytes:
    return json.dumps(record, ensure_ascii=ascii_only).encode() + b"\n"


def _backwards(value: Any) -> Any:
    return {key: _backwards(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


_WITHOUT_TIMES: Final = (
    # On both sides of each change between UTC, Pacific standard time and Pacific daylight time.
    *("2012-03-10-8", "2012-03-10-22", "2012-03-11-1", "2012-03-11-3", "2012-11-04-1", "2012-11-04-2"),
    *("2013-03-10-1", "2013-03-10-3", "2013-11-03-1", "2013-11-03-2", "2014-03-09-1", "2014-03-09-3"),
    *("2014-11-02-1", "2014-11-02-2", "2014-12-31-23", "2015-01-01-0"),
)
RULES: Final[Mapping[str, Rule]] = {
    "a slash is no repository": Rule(
        {
            "2011-02-12-0": [
                _in_2011(1, "PushEvent", {"repo": "ann/one", "size": 1}),
                _in_2011(2, "FollowEvent", {"target": {"login": "bob"}}),
                _in_2011(3, "WatchEvent", {"repo": "/", "action": "started"}),
                _in_2011(4, "ForkEvent", {"repo": {"name": "ann/one"}}),
                event(5, repo={"id": 5, "name": "bob/two"}, created_at="2011-02-12T00:00:05Z"),
            ]
        },
        {
            "SELECT repo_name FROM events ORDER BY created_at": [
                ("ann/one",),
                (None,),
                (None,),
                (None,),
                ("bob/two",),
            ],
            "SELECT last_repo_name, pushes FROM repositories ORDER BY ALL": [("ann/one", 1), ("bob/two", 0)],
        },
    ),
    "closed is unmerged once merged is an action": Rule(
        {
            "2025-10-06-1": [
                _pull(1, "closed", "2025-10-06T01:00:00Z", merged=True),
                _pull(2, "closed", "2025-10-06T01:00:00Z", merged=False),
            ],
            "2025-10-20-1": [_pull(3, "closed", "2025-10-20T01:00:00Z")],
            "2025-12-17-6": [
                _pull(4, "closed", "2025-12-17T06:23:20Z"),
                _pull(5, "closed", "2025-12-17T06:23:21Z"),
                _pull(6, "closed", "2025-12-17T06:23:21Z", merged=True),
            ],
            "2026-03-01-10": [
                _pull(7, "merged", "2026-03-01T10:01:00Z"),
                _pull(8, "closed", "2026-03-01T10:02:00Z"),
                _pull(9, "opened", "2026-03-01T10:03:00Z"),
            ],
        },
        {
            "SELECT number, is_merged FROM events ORDER BY number": [
                (1, True),
                (2, False),
                (3, None),
                (4, None),
                (5, False),
                (6, True),
                (7, True),
                (8, False),
                (9, False),
            ],
            (
                "SELECT day::VARCHAR, pull_requests_merged, pull_requests_closed_unmerged, pull_requests_closed_unknown"
                " FROM repositories ORDER BY day"
            ): [("2025-10-06", 1, 1, 0), ("2025-10-20", 0, 0, 1), ("2025-12-17", 1, 1, 1), ("2026-03-01", 1, 1, 0)],
        },
    ),
    "a review counts once": Rule(
        {
            "2026-03-01-10": [
                _review(1, "created", "created"),
                _review(2, "updated", "updated"),
                _review(3, "dismissed", "dismissed"),
                _review(4, "created", "APPROVED"),
                _review(5, "created", "changes_requested"),
                _review(6, "created", "commented"),
            ]
        },
        {
            "SELECT reviews FROM contributors": [(4,)],
            "SELECT action, review_state FROM events ORDER BY created_at": [
                ("created", None),
                ("updated", None),
                ("dismissed", "dismissed"),
                ("created", "approved"),
                ("created", "changes_requested"),
                ("created", "commented"),
            ],
        },
    ),
    "comments on pull requests are distinguished from those on issues": Rule(
        {
            "2019-01-02-3": [
                _comment(1, "IssueCommentEvent", {"issue": {"html_url": "i", "pull_request": {"html_url": "p"}}}),
                _comment(2, "IssueCommentEvent", {"issue": {"html_url": "i"}}),
                # So it was written in early 2012 for an issue.
                _comment(3, "IssueCommentEvent", {"issue": {"html_url": "i", "pull_request": {"html_url": None}}}),
                _comment(4, "IssueCommentEvent", {"issue_id": 1, "comment_id": 2}),
                _comment(5, "PullRequestReviewCommentEvent", {"comment": {}}),
                _comment(6, "CommitCommentEvent", {"comment": {}}),
            ]
        },
        {
            "SELECT is_on_pull_request FROM events ORDER BY created_at": [
                (True,),
                (False,),
                (False,),
                (None,),
                (True,),
                (None,),
            ],
            "SELECT comments, comments_on_pull_requests, comments_on_issues FROM contributors": [(6, 2, 2)],
        },
    ),
    "days outside of the archive's span are set aside": Rule(
        {
            "2015-01-01-15": [
                event(1, created_at="2015-01-01T15:00:01Z"),
                event(2, created_at="9999-12-31T00:00:00Z"),
                event(3, created_at="0001-01-01T00:00:00Z"),
                event(4, created_at="2011-02-11T23:59:59Z"),
                event(5, created_at="2011-02-12T00:00:00Z"),
            ]
        },
        {
            "SELECT created_at::DATE::VARCHAR FROM events ORDER BY 1": [("2011-02-12",), ("2015-01-01",)],
            "SELECT hour, events, events_set_aside FROM coverage WHERE events > 0": [("2015-01-01-15", 5, 3)],
        },
    ),
    "a number is a whole one of 31 bits, however it is written": Rule(
        {
            "2019-01-02-3": [
                _of_size(number, size)
                for number, size in enumerate(
                    [
                        "9223372036854775807",
                        "2147483648",
                        "2147483647",
                        "1e2",
                        "1E+2",
                        "1.0",
                        "0.2e1",
                        "2.5",
                        "-1",
                        "-0",
                        "1e400",
                        "123456789012345678901234567890",
                        '"12"',
                        '"12\\n"',
                        '" 12"',
                        '"0x10"',
                        '"1_000"',
                        '"1d"',
                        '"1e2e3"',
                        '"NaN"',
                        "true",
                        "[1]",
                    ]
                )
            ]
        },
        {
            f"SELECT {column} FROM events WHERE {column} IS NOT NULL ORDER BY 1": [  # noqa: S608 -- columns of ours
                (0,),
                (1,),
                (2,),
                (12,),
                (100,),
                (100,),
                (2147483647,),
            ]
            for column in ("push_commits", "number")
        }
        | {"SELECT SUM(commits) FROM activity_hourly": [(2147483647 + 215,)]},
    ),
    "of keys that come twice the first counts": Rule(
        {
            "2019-01-03-3": [
                _written(1, b'{"size": 1, "size": 2}'),
                _written(2, b'{"size": null, "size": 2}'),
                _written(3, b'{"size": 1, "size": null, "action": "a"}'),
                _written(
                    4, b'{"pull_request": {"merged": true, "merged": false}, "action": "closed"}', "PullRequestEvent"
                ),
                _written(5, b'{"pull_request": {"number": 1}, "pull_request": {"number": 2}}', "PullRequestEvent"),
                _written(6, b'{"issue": {"pull_request": {"html_url": "p"}}, "issue": {}}', "IssueCommentEvent"),
                _written(7, b'{"issue": "{\\"number\\": 7}", "number": {"number": 8}}', "IssuesEvent"),
            ]
        },
        {
            "SELECT push_commits, number, action, is_merged, is_on_pull_request FROM events ORDER BY created_at": [
                (1, None, None, None, None),
                (None, None, None, None, None),
                (1, None, "a", None, None),
                (None, None, "closed", True, None),
                (None, 1, None, None, None),
                (None, None, None, None, True),
                (None, None, None, None, None),
            ],
        },
    ),
    "half a surrogate pair is left out": Rule(
        {
            "2019-01-03-4": [
                _written(number, b'{"action": "%s", "size": 1, "%s": 1}' % (text, text))
                for number, text in enumerate(
                    [
                        rb"a\ud83d",
                        rb"\uDE00b",
                        rb"\ud83d\ude00",
                        rb"\ud83d\ud83d\ude00\ude00c",
                        rb"\\ud83d",
                        rb"\\\ud83d",
                        rb"\ud83dA",
                        rb"\u00e9\ud83d\"",
                    ]
                )
            ]
        },
        {
            query: [
                ("a",),
                ("b",),
                ("\U0001f600",),
                ("\U0001f600c",),
                ("\\ud83d",),
                ("\\",),
                ("A",),
                ('\u00e9"',),
            ]
            for query in (
                "SELECT action FROM events ORDER BY created_at",
                "SELECT value FROM drift WHERE kind = 'field' AND value NOT IN ('action', 'size') ORDER BY first_seen",
            )
        },
    ),
    "records without an id are the same when they say the same": Rule(
        {
            "2012-06-14-15": [
                _line(_merge()),
                _line(_backwards(_merge())),
                _line(_merge(), ascii_only=False).replace(b"/", rb"\/"),
                _line(_merge(url="https://github.com/ann/one/pull/2")),
            ],
            # The same once more, in the next file.
            "2012-06-14-16": [_line(_backwards(_merge()))],
        },
        {
            "SELECT count(*), count(DISTINCT event_key), min(archive_hour) FROM events": [(2, 2, "2012-06-14-15")],
            "SELECT sum(pull_requests_merged) FROM repositories": [(2,)],
            "SELECT hour, duplicates FROM coverage WHERE events > 0": [("2012-06-14-15", 2), ("2012-06-14-16", 0)],
        },
    ),
    "a number of a record without an id may be spelled in any way": Rule(
        {
            "2012-06-14-15": [
                _line(_merge(repository=None)).replace(b'"number": 1', b'"number": %s' % number)
                for number in (b"1.0", b"1", b"10e-1", b'"1"')
            ]
            + [
                _line(_merge()).replace(b'"id": 10', b'"id": %s' % number)
                for number in (b"10", b"1e1", b"10.0", b'"10"', b"10.5")
            ],
            "2012-06-14-16": [_line(_merge()).replace(b'"id": 10', b'"id": 1E+1')],
        },
        {
            "SELECT repo_id, number, count(*) FROM events GROUP BY ALL ORDER BY ALL": [(10, 1, 1), (None, 1, 4)],
            "SELECT hour, duplicates FROM coverage WHERE events > 0": [("2012-06-14-15", 4), ("2012-06-14-16", 0)],
        },
    ),
    "the night in which ids began is there once": Rule(
        {
            "2014-12-31-15": [_star(0, created_at="2014-12-31T15:59:00-08:00")],
            "2014-12-31-16": [
                *map(_star, range(4)),
                _star(5, "BOB"),
                # Two in one second, of which the other file has one.
                _star(6),
                _star(6, url="https://github.com/ann/one#again"),
                _star(7, type="ForkEvent"),
            ],
            "2015-01-01-0": [
                *(_star_with_id(20 + minute, minute) for minute in range(4)),
                _star_with_id(25, 5, "bob"),
                _star_with_id(26, 6),
                _star_with_id(27, 7),
                _star_with_id(28, 8),
            ],
        },
        {
            "SELECT type, count(*), count(actor_id) FROM events GROUP BY type ORDER BY type": [
                ("ForkEvent", 1, 0),
                ("WatchEvent", 10, 8),
            ],
            "SELECT created_at::VARCHAR FROM events WHERE actor_id IS NULL ORDER BY 1": [
                ("2014-12-31 23:59:00+00",),
                ("2015-01-01 00:06:00+00",),
                ("2015-01-01 00:07:00+00",),
            ],
        },
    ),
    "a record without a time happened when the hour of its file began": Rule(
        {hour: [_star(0, created_at=None, url=f"https://github.com/ann/one#{hour}")] for hour in _WITHOUT_TIMES},
        {
            "SELECT archive_hour, created_at::VARCHAR FROM events ORDER BY ALL": sorted(
                (hour, f"{Hour.parse(hour).window[0]:%Y-%m-%d %H:%M:%S}+00") for hour in _WITHOUT_TIMES
            )
        },
    ),
    "a user stars a repository once": Rule(
        {
            "2019-01-05-3": [
                *(event(number, created_at=f"2019-01-05T03:00:0{number}Z") for number in range(3)),
                event(3, actor={"id": 8, "login": "bob"}, created_at="2019-01-05T03:00:03Z"),
                event(4, actor={"login": "8"}, created_at="2019-01-05T03:00:04Z"),
                event(5, actor=None, created_at="2019-01-05T03:00:05Z"),
            ]
        },
        {"SELECT stars, star_events FROM repositories": [(4, 6)]},
    ),
}


def store_all(lake: Lake, folder: Path, rule: Rule) -> None:
    """Stores the hours of a rule."""
    for hour, lines in rule.hours.items():
        stored(lake, folder, Hour.parse(hour), lines)


@pytest.mark.parametrize("name", RULES)
def test_a_rule_holds(tmp_path: Path, name: str) -> None:
    lake, warehouse = Lake.at(str(tmp_path / "lake")), Warehouse.at(str(tmp_path / "warehouse"))
    store_all(lake, tmp_path / "archive", RULES[name])
    built(warehouse, lake)
    for query, rows in RULES[name].answers.items():
        assert answer(warehouse, query) == rows, query


def test_the_dashboard_shows_how_many_events_were_set_aside(tmp_path: Path) -> None:
    lake, warehouse = Lake.at(str(tmp_path / "lake")), Warehouse.at(str(tmp_path / "warehouse"))
    store_all(lake, tmp_path / "archive", RULES["days outside of the archive's span are set aside"])
    built(warehouse, lake)
    found = aggregates.read(warehouse)
    # The page begins with the first day of which an hour is stored; the event of 2011 stands in a file of 2015.
    assert (found.first, found.last, found.total) == (date(2015, 1, 1), date(2015, 1, 1), 1)
    assert "3 events of the lake are not shown" in dashboard.render(found, warehouse="warehouse", now=now())


def test_an_event_of_tomorrow_is_kept_and_one_of_the_day_after_is_set_aside() -> None:
    span = archive_span(datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert [day in span for day in ("2011-02-11", "2011-02-12", "2026-03-02", "2026-03-03")] == [
        False,
        True,
        True,
        False,
    ]
