"""The queries that pages show run over a lake in which something is wrong with nearly everything."""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import duckdb
import pytest

from etl.errors import DamagedError
from etl.hours import Hour
from etl.lake.lake import Lake
from tests.integration.running import documents, packed, put, run
from tests.integration.warehouse.comparing import stored
from tests.integration.warehouse.test_build import event
from tests.integration.warehouse.test_rules import RULES
from tests.pages import SQL_PAGES, macro, queries

HOUR: Final = Hour.of(2015, 1, 1, 17)
CUT: Final = "cut here \ud83d"


def push(number: int, payload: Any) -> bytes:
    return event(number, type="PushEvent", payload=payload, created_at="2015-01-01T17:00:01Z")


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with the hours of all rules, and one of payloads that are not what they should be."""
    folder = tmp_path_factory.mktemp("lake")
    lake = Lake.at(str(folder / "lake"))
    hours: dict[str, list[bytes]] = {}
    for rule in RULES.values():
        for name, lines in rule.hours.items():
            hours.setdefault(name, []).extend(lines)
    for name, lines in hours.items():
        stored(lake, folder / "archive", Hour.parse(name), lines)
    pull = {"action": "closed", "pull_request": {"merged": True, "title": CUT}}
    lines = [
        push(1, {"size": 1}),
        push(2, {"size": 2, "commits": [{"message": CUT}]}),
        push(3, {"size": 2**63 - 1}),
        push(4, {"size": "1e400", "ref": None}),
        push(5, None),
        push(6, []),
        push(7, "text"),
        event(8, type="PullRequestEvent", payload=pull, created_at="2015-01-01T17:00:01Z"),
        event(9, created_at="2015-01-01T17:00:02Z"),
        event(10, repo={"name": "/"}, created_at="2015-01-01T17:00:03Z"),
        event(11, repo={"name": "/"}, created_at="2015-01-01T17:00:04Z"),
        b'{"id": "12", "type": "PushEvent", \xff\n',
        b"\x00\x00\n",
    ]
    for hour, content in ((HOUR, packed(lines)), (HOUR + 1, b"\x1f\x8b broken")):
        put(folder / "archive", content, hour)
        with suppress(DamagedError):
            run(lake, folder / "archive", hour=hour)
    stored(lake, folder / "archive", Hour.of(2013, 6, 7, 8), documents(40, hour=Hour.of(2013, 6, 7, 8)))
    return lake


def answers(page: str, lake: Lake) -> list[list[tuple[Any, ...]]]:
    """What each query of a page returns."""
    with duckdb.connect() as connection:
        connection.execute(macro())
        return [connection.execute(query.replace("'lake/", f"'{lake.address}/")).fetchall() for query in queries(page)]


@pytest.mark.parametrize("page", SQL_PAGES)
def test_every_query_runs(page: str, lake: Lake) -> None:
    assert len(answers(page, lake)) == len(queries(page)) > 0


def test_the_first_query_of_the_readme_shows_no_repository_named_slash(lake: Lake) -> None:
    names = [name for name, _ in answers("README.md", lake)[0]]
    assert "ann/tool" in names
    assert "/" not in names


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (r'{"a": "x", "b": "\ud83d"}', "x"),
        (r'{"a": "cut \ud83d"}', "cut "),
        (r'{"a": "\ud83d\ude00\ude00"}', "\U0001f600"),
        (r'{"a": "\\ud83d"}', r"\ud83d"),
        (r'{"a": "\\\ud83d"}', "\\"),
        ("[]", None),
        ("null", None),
        (None, None),
        ("no JSON", None),
    ],
)
def test_the_macro_reads_any_payload(document: str | None, text: str | None) -> None:
    with duckdb.connect() as connection:
        connection.execute(macro())
        assert connection.execute("SELECT json_text(?, '$.a')", [document]).fetchall() == [(text,)]
