"""What the warehouse makes of records whose meaning depends on their time, or that are not what they should be.

``test_engines.py`` builds the same lakes with Spark too, and compares all rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse.tables import Warehouse
from tests.integration.warehouse.comparing import answer, built, stored
from tests.integration.warehouse.test_build import event


class Rule(NamedTuple):
    """Records by hour, and for queries in DuckDB's SQL the rows that they must return."""

    hours: Mapping[str, Sequence[bytes]]
    answers: Mapping[str, Sequence[tuple[Any, ...]]]


NO_REPOSITORY: Final = {"url": "https://api.github.dev/repos//", "name": "/"}


def _in_2011(number: int, type_: str, payload: Mapping[str, Any]) -> bytes:
    return event(number, type=type_, repo=NO_REPOSITORY, payload=payload, created_at=f"2011-02-12T00:00:{number:02}Z")


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
            "SELECT repo_name FROM events ORDER BY action_time": [
                ("ann/one",),
                (None,),
                (None,),
                (None,),
                ("bob/two",),
            ],
            "SELECT last_repo_name, pushes FROM repositories ORDER BY ALL": [("ann/one", 1), ("bob/two", 0)],
        },
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
