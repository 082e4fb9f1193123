"""A build by DuckDB: what it builds, what it skips, and how it recovers from errors."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ChecksFailedError, StoreError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.warehouse import build as building
from etl.warehouse.build import BuildOptions, planned
from etl.warehouse.duckdb_views import opened
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import LAKE_COVERAGE, LAKE_EVENTS, Check, Model, Severity, models
from etl.warehouse.table_builder import PartitionOutcome
from etl.warehouse.table_state import Warehouse
from tests.integration.running import ERAS, documents, now, run
from tests.integration.warehouse.comparing import answer, built, counts, differences, files, outcomes, stored

ROOT: Final = Path(__file__).parents[3]
FIRST: Final = Hour.of(2019, 1, 2, 3)


def event(number: int, **changes: Any) -> bytes:
    """A small event of 2019, as GitHub writes it."""
    said: dict[str, Any] = {
        "id": str(number),
        "type": "WatchEvent",
        "actor": {"id": 7, "login": "ann"},
        "repo": {"id": 70, "name": "ann/tool"},
        "payload": {"action": "started"},
        "public": True,
        "created_at": "2019-01-02T03:10:00Z",
        **changes,
    }
    return json.dumps(said).encode() + b"\n"


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake"))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse.at(str(tmp_path / "warehouse"))


def other(tmp_path: Path, lake: Lake) -> Warehouse:
    """The warehouse of an undisturbed build."""
    made = Warehouse.at(str(tmp_path / "undisturbed"))
    built(made, lake)
    return made


def todo(warehouse: Warehouse, lake: Lake, **options: Any) -> set[tuple[str, str, str]]:
    found = planned(warehouse, lake, BuildOptions(**options), now=now())
    return {(task.model.name, task.partition, str(task.reason)) for task in found}


def test_the_real_hours_give_the_numbers_that_are_known(tmp_path: Path, warehouse: Warehouse, real_data: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    for name in ("2011-02-15-0", "2013-02-15-0", "2015-01-01-0", "2015-01-01-4", "2015-01-01-15"):
        run(lake, real_data / "archive", hour=Hour.parse(name))
    built(warehouse, lake)
    assert answer(warehouse, "SELECT count(*) FROM events") == [(1_639 + 6_851 + 7_702 + 5_869 + 11_351,)]
    assert answer(
        warehouse,
        "SELECT sum(events), sum(events) FILTER (WHERE type = 'PushEvent') FROM activity_hourly"
        " WHERE hour = '2015-01-01 15:00:00+00'",
    ) == [(11_351, 5_815)]
    assert answer(warehouse, "SELECT count(*) FROM coverage WHERE status = 'complete'") == [(5,)]
    assert todo(warehouse, lake) == set()


def test_a_copied_lake_and_warehouse_are_up_to_date(tmp_path: Path, warehouse: Warehouse, lake: Lake) -> None:
    stored(lake, tmp_path, FIRST, [event(1), event(2)])
    built(warehouse, lake)
    for name, place in (("lake", lake.address), ("warehouse", warehouse.address)):
        shutil.copytree(place, tmp_path / "elsewhere" / name, copy_function=shutil.copyfile)
    moved = Warehouse.at(str(tmp_path / "elsewhere" / "warehouse")), Lake.at(str(tmp_path / "elsewhere" / "lake"))
    assert todo(*moved) == set()
    assert built(*moved) == []


def test_a_plan_reads_no_more_than_there_is(tmp_path: Path, warehouse: Warehouse, lake: Lake) -> None:
    spread = [event(number, created_at=f"2019-01-0{1 + number % 3}T03:10:00Z") for number in range(60)]
    stored(lake, tmp_path, FIRST, spread)
    stored(lake, tmp_path, FIRST + 1, [event(99)])
    there = sum(info.size for info in lake.store.list("events/"))
    found = planned(warehouse, lake, BuildOptions(), now=now())
    from_lake = {task.partition: task.bytes for task in found if LAKE_EVENTS in task.model.reads}
    assert len(from_lake) == 3
    assert 0 < sum(from_lake.values()) <= there
    # Nothing is built yet, so nothing is said of what is read of tables.
    assert {task.bytes for task in found if not {LAKE_EVENTS, LAKE_COVERAGE} & set(task.model.reads)} == {0}


RAW: Final = """
CREATE TEMP TABLE raw AS SELECT * FROM read_ndjson({files}, columns = {{
    type: 'VARCHAR', created_at: 'TIMESTAMPTZ', payload: 'JSON',
    actor: 'STRUCT(id BIGINT, login VARCHAR)', repo: 'STRUCT(id BIGINT, name VARCHAR)'
}})
"""
ASKED: Final = {
    "actions": (
        "SELECT actor.id, type, payload ->> '$.action', count(*) FROM raw GROUP BY ALL",
        "SELECT actor_id, type, action, sum(events) FROM actions GROUP BY ALL",
    ),
    "hours": (
        (
            "SELECT date_trunc('hour', created_at), type, count(*), sum((payload ->> '$.size')::BIGINT)"
            " FILTER (WHERE type = 'PushEvent') FROM raw GROUP BY ALL"
        ),
        "SELECT hour, type, sum(events), sum(commits) FROM activity_hourly GROUP BY ALL",
    ),
    "repositories": (
        (
            "SELECT repo.id, count(*) FILTER (WHERE type = 'WatchEvent'),"
            " count(DISTINCT (actor.id, date_trunc('day', created_at))) FILTER (WHERE type = 'WatchEvent'),"
            " count(*) FILTER (WHERE type = 'ForkEvent'),"
            " count(*) FILTER (WHERE type = 'PullRequestEvent' AND (payload ->> '$.action') = 'closed'"
            " AND (payload ->> '$.pull_request.merged') = 'true'),"
            " count(*) FILTER (WHERE type = 'IssuesEvent' AND (payload ->> '$.action') = 'opened')"
            " FROM raw GROUP BY ALL"
        ),
        (
            "SELECT repo_id, sum(star_events), sum(stars), sum(forks), sum(pull_requests_merged), sum(issues_opened)"
            " FROM repositories GROUP BY ALL"
        ),
    ),
    "names": (
        "SELECT actor.id, max_by(actor.login, (created_at, actor.login)) FROM raw GROUP BY ALL",
        "SELECT DISTINCT actor_id, last_actor_login FROM events",
    ),
}


def test_the_tables_say_what_the_raw_json_says(lake: Lake, warehouse: Warehouse, real_data: Path) -> None:
    names = ("2015-01-01-0", "2015-01-01-4", "2015-01-01-15")
    for name in names:
        run(lake, real_data / "archive", hour=Hour.parse(name))
    built(warehouse, lake)
    raw = [str(real_data / f"archive/{name}.json.gz") for name in names]
    with opened(warehouse) as connection:
        connection.execute(RAW.format(files=raw))
        for what, (by_hand, by_table) in ASKED.items():
            expected = set(connection.execute(by_hand).fetchall())
            found = set(connection.execute(by_table).fetchall())
            # Not compared by assert, which would print logins.
            assert (len(expected - found), len(found - expected)) == (0, 0), what
            assert expected, what


@pytest.mark.parametrize("era", ERAS)
def test_every_event_of_every_era_is_there_once(tmp_path: Path, lake: Lake, warehouse: Warehouse, era: str) -> None:
    lines = documents(60, hour=ERAS[era])
    stored(lake, tmp_path / "archive", ERAS[era], [*lines, *lines[:5]])
    built(warehouse, lake)
    distinct = len({json.dumps(json.loads(line), sort_keys=True) for line in lines})
    assert counts(warehouse)["events"] == distinct
    assert answer(warehouse, "SELECT count(DISTINCT event_key) FROM events") == [(distinct,)]


def test_an_empty_lake_gives_empty_tables(lake: Lake, warehouse: Warehouse) -> None:
    assert built(warehouse, lake) == []
    assert set(counts(warehouse).values()) == {0}


def test_building_again_changes_nothing(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    first = built(warehouse, lake)
    before = {model.name: files(warehouse, model.name) for model in models()}
    assert {entry.outcome for entry in first} == {PartitionOutcome.BUILT}
    assert built(warehouse, lake) == []
    assert {model.name: files(warehouse, model.name) for model in models()} == before
    assert counts(warehouse)["build_log"] == len(first)


def test_a_dry_run_says_what_a_build_does_and_changes_nothing(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    said = todo(warehouse, lake)
    assert not Path(warehouse.address).exists()
    done = built(warehouse, lake)
    assert {(name, partition) for name, partition, _ in said} == {(done.model, done.partition_id) for done in done}


def test_a_new_hour_touches_its_day_alone(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    for days in range(3):
        stored(lake, tmp_path / "archive", FIRST + 24 * days)
    built(warehouse, lake)
    before = {model.name: files(warehouse, model.name) for model in models()}
    stored(lake, tmp_path / "archive", FIRST + 25)
    entries = built(warehouse, lake)
    assert {entry.partition_id for entry in entries} == {"2019-01-03", "all"}
    for model in models():
        if model.partition is not None and model.is_stored:
            after = files(warehouse, model.name)
            changed = {key for key in after if after[key] != before[model.name].get(key)}
            assert all(key.endswith("/2019-01-03.parquet") for key in changed), model.name
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_a_rename_that_comes_later_is_seen_in_every_row(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    built(warehouse, lake)
    before = files(warehouse, "events_base")
    later = FIRST + 48
    renamed = {"created_at": "2019-01-04T03:00:00Z", "repo": {"id": 70, "name": "ann/better"}}
    stored(lake, tmp_path / "archive", later, [event(2, actor={"id": 7, "login": "anna"}, **renamed)])
    built(warehouse, lake)
    said = "SELECT actor_login, last_actor_login, repo_name, last_repo_name FROM events ORDER BY created_at"
    assert answer(warehouse, said) == [
        ("ann", "anna", "ann/tool", "ann/better"),
        ("anna", "anna", "ann/better", "ann/better"),
    ]
    assert answer(warehouse, "SELECT login, former_logins FROM actors") == [("anna", ["ann"])]
    assert answer(warehouse, "SELECT DISTINCT last_repo_name FROM repositories") == [("ann/better",)]
    after = files(warehouse, "events_base")
    assert {key: after[key] for key in before} == before, "no old partition is written again for a new name"


def test_a_late_event_lands_in_its_own_day(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    stored(lake, tmp_path / "archive", FIRST + 48, [event(2, created_at="2019-01-04T03:00:00Z")])
    built(warehouse, lake)
    late = [event(3, created_at="2019-01-02T23:59:59Z"), event(4, created_at="2019-01-05T03:00:00Z")]
    stored(lake, tmp_path / "archive", FIRST + 72, late)
    entries = built(warehouse, lake)
    assert {entry.partition_id for entry in entries} == {"2019-01-02", "2019-01-05", "all"}
    assert answer(warehouse, "SELECT day, star_events FROM repositories ORDER BY day") == [
        (date(2019, 1, 2), 2),
        (date(2019, 1, 4), 1),
        (date(2019, 1, 5), 1),
    ]
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_copies_in_two_hours_count_once_and_the_earliest_stays(
    tmp_path: Path, lake: Lake, warehouse: Warehouse
) -> None:
    stored(lake, tmp_path / "archive", FIRST + 1, [event(1, payload={"action": "started", "n": 2}), event(2)])
    built(warehouse, lake)
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    built(warehouse, lake)
    assert answer(warehouse, "SELECT archive_hour FROM events ORDER BY archive_hour") == [
        ("2019-01-02-3",),
        ("2019-01-02-4",),
    ]


def test_an_hour_refreshed_with_more_events_changes_its_days_alone(
    tmp_path: Path, lake: Lake, warehouse: Warehouse
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    stored(lake, tmp_path / "archive", FIRST + 24, [event(2, created_at="2019-01-03T03:00:00Z")])
    built(warehouse, lake)
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(3)])
    entries = built(warehouse, lake)
    assert {entry.partition_id for entry in entries} == {"2019-01-02", "all"}
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_an_hour_replaced_by_one_that_takes_events_back(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    renamed = event(2, actor={"id": 7, "login": "anna"}, created_at="2019-01-03T03:00:00Z")
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    stored(lake, tmp_path / "archive", FIRST + 24, [renamed, event(5, created_at="2019-01-03T03:30:00Z")])
    stored(lake, tmp_path / "archive", FIRST + 48, [event(6, created_at="2019-01-04T03:30:00Z")])
    built(warehouse, lake)
    stored(lake, tmp_path / "archive", FIRST + 24, [event(5, created_at="2019-01-03T03:30:00Z")])
    built(warehouse, lake)
    assert answer(warehouse, "SELECT login, former_logins FROM actors") == [("ann", None)]
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_a_day_that_lost_all_its_events_goes(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    stored(lake, tmp_path / "archive", FIRST + 24, [event(2, created_at="2019-01-03T03:00:00Z")])
    built(warehouse, lake)
    for key in (events_key(FIRST), manifest_key(FIRST)):
        lake.store.delete(key)
    entries = built(warehouse, lake)
    assert ("events_base", "2019-01-02", "removed") in outcomes(entries)
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_only_the_days_asked_for_are_touched(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    for days in range(3):
        stored(lake, tmp_path / "archive", FIRST + 24 * days)
    entries = built(warehouse, lake, Days(date(2019, 1, 3), date(2019, 1, 3)))
    assert {entry.partition_id for entry in entries} == {"2019-01-03", "all"}
    built(warehouse, lake)
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_full_rebuilds_everything(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    first = built(warehouse, lake)
    again = built(warehouse, lake, full=True)
    assert outcomes(again) == outcomes(first)
    assert {entry.reason for entry in again} == {"full"}


def test_half_a_surrogate_pair_does_not_hide_an_event(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    pull = {"action": "closed", "number": 5, "pull_request": {"merged": True, "title": "half \ud83d"}}
    stored(lake, tmp_path / "archive", FIRST, [event(1, type="PullRequestEvent", payload=pull), event(2)])
    built(warehouse, lake)
    said = "SELECT action, number, is_merged FROM events WHERE type = 'PullRequestEvent'"
    assert answer(warehouse, said) == [("closed", 5, True)]
    assert answer(warehouse, "SELECT count(*) FROM drift WHERE value = 'pull_request'") == [(1,)]


@pytest.mark.parametrize(
    ("payload", "merged"),
    [
        ({"action": "merged"}, True),
        ({"action": "closed", "pull_request": {"merged": True}}, True),
        ({"action": "closed", "pull_request": {"merged": False}}, False),
        ({"action": "closed", "pull_request": {"id": 1}}, None),
        ({"action": "opened"}, False),
        ({}, None),
    ],
)
def test_a_merge_is_recognized_by_the_rule_of_its_era(
    tmp_path: Path, lake: Lake, warehouse: Warehouse, payload: dict[str, Any], *, merged: bool | None
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1, type="PullRequestEvent", payload=payload)])
    built(warehouse, lake)
    assert answer(warehouse, "SELECT is_merged FROM events") == [(merged,)]


def test_commits_of_a_trimmed_push_are_unknown(tmp_path: Path, lake: Lake, warehouse: Warehouse) -> None:
    pushes = [event(1, type="PushEvent", payload={"size": 3}), event(2, type="PushEvent", payload={"push_id": 1})]
    stored(lake, tmp_path / "archive", FIRST, [*pushes, event(3)])
    entries = built(warehouse, lake)
    assert answer(warehouse, "SELECT type, push_commits FROM events ORDER BY 2 NULLS FIRST, 1") == [
        ("PushEvent", None),
        ("WatchEvent", None),
        ("PushEvent", 3),
    ]
    assert answer(warehouse, "SELECT commits, pushes FROM repositories") == [(3, 2)]
    assert [entry.detail for entry in entries if entry.detail] == ["pushes_tell_commits (1 row)"]


# ------------------------------------------------------------------------------------------------ checks and crashes


def with_check(name: str, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets a model have one more check."""
    changed = tuple(
        model.model_copy(update={"checks": (*model.checks, check)}) if model.name == name else model
        for model in models()
    )

    def found() -> tuple[Model, ...]:
        return changed

    monkeypatch.setattr(building, "models", found)


def test_a_check_that_must_hold_keeps_the_old_partition(
    tmp_path: Path, lake: Lake, warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    built(warehouse, lake)
    before = {model.name: files(warehouse, model.name) for model in models() if model.is_stored}
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(2)])
    stored(lake, tmp_path / "archive", FIRST + 24, [event(3, created_at="2019-01-03T03:00:00Z")])
    with monkeypatch.context() as patch:
        two = Check(
            name="not_two",
            severity=Severity.FAIL,
            why="a test",
            sql="SELECT type FROM events_base WHERE DATE(created_at) = '2019-01-02'",
        )
        with_check("events_base", two, patch)
        with pytest.raises(ChecksFailedError, match=r"1 partition was refused.*events_base 2019-01-02: not_two"):
            built(warehouse, lake)
    for name in ("events_base", "repositories_daily"):
        after = files(warehouse, name)
        assert {key: after[key] for key in before[name]} == before[name]
        assert len(after) == 2, "the other day is built"
    assert answer(warehouse, "SELECT partition_id, detail FROM build_log WHERE outcome = 'refused'") == [
        ("2019-01-02", "not_two (2 rows)")
    ]
    built(warehouse, lake)
    assert differences(warehouse, other(tmp_path, lake)) == {}


def test_a_file_that_is_no_parquet_stops_the_build_and_the_rest_stays(
    tmp_path: Path, lake: Lake, warehouse: Warehouse
) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    built(warehouse, lake)
    before = files(warehouse, "events_base")
    stored(lake, tmp_path / "archive", FIRST + 24)
    Path(lake.store.url(events_key(FIRST + 24))).write_bytes(b"nothing of the kind")
    with pytest.raises(StoreError, match="cannot be read as parquet"):
        built(warehouse, lake)
    assert files(warehouse, "events_base") == before


def test_two_builds_do_not_run_at_once(lake: Lake, warehouse: Warehouse) -> None:
    with warehouse.building(), pytest.raises(StoreError, match="another build"):
        built(Warehouse.at(warehouse.address), lake)


@pytest.mark.parametrize("table", ["events_base", "names_daily", "names", "actors"])
def test_a_lost_state_costs_time_and_nothing_else(tmp_path: Path, lake: Lake, warehouse: Warehouse, table: str) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    built(warehouse, lake)
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    (Path(warehouse.address) / f"state/{table}.json").write_text("{", encoding="utf-8")
    built(warehouse, lake)
    assert differences(warehouse, other(tmp_path, lake)) == {}
    assert built(warehouse, lake) == []


def start(lake: Lake, warehouse: Warehouse) -> subprocess.Popen[bytes]:
    program = (
        "import sys; from etl.lake.lake import Lake; from etl.warehouse.table_state import Warehouse;"
        "from etl.warehouse.build import BuildOptions, build;"
        "build(Warehouse.at(sys.argv[2]), Lake.at(sys.argv[1]), BuildOptions())"
    )
    return subprocess.Popen([sys.executable, "-c", program, lake.address, warehouse.address], cwd=ROOT)


@pytest.mark.timeout(900)
def test_a_build_killed_at_any_instant_is_finished_by_the_next(tmp_path: Path, lake: Lake) -> None:
    for hours in (0, 1, 24, 48):
        stored(lake, tmp_path / "archive", FIRST + hours, events=60)
    earlier = Warehouse.at(str(tmp_path / "earlier"))
    built(earlier, lake)
    stored(lake, tmp_path / "archive", FIRST + 1, [*documents(60, hour=FIRST + 1), event(1)])
    stored(lake, tmp_path / "archive", FIRST + 49, [event(2, created_at="2019-01-02T05:00:00Z")])
    undisturbed = other(tmp_path, lake)
    dice = random.Random(5)  # noqa: S311 -- no secret
    killed = 0
    began = time.monotonic()
    assert start(lake, Warehouse.at(str(shutil.copytree(earlier.address, tmp_path / "timed")))).wait() == 0
    whole = time.monotonic() - began
    for number in range(8):
        disturbed = Warehouse.at(str(shutil.copytree(earlier.address, tmp_path / f"disturbed-{number}")))
        process = start(lake, disturbed)
        time.sleep(whole * dice.uniform(0.25, 1))
        process.send_signal(signal.SIGKILL)
        killed += process.wait() == -signal.SIGKILL
        built(disturbed, lake)
        assert differences(disturbed, undisturbed) == {}
        assert built(disturbed, lake) == []
        assert not (Path(disturbed.address) / ".staging").exists()
        shutil.rmtree(disturbed.address)
    assert killed > 0


@pytest.mark.timeout(900)
def test_a_build_that_stops_between_any_two_writes_is_finished_by_the_next(
    tmp_path: Path, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Copies the warehouse before the first, the second ... write of a build: what a crash there leaves."""
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    disturbed = Warehouse.at(str(tmp_path / "disturbed"))
    built(disturbed, lake)
    stored(lake, tmp_path / "archive", FIRST, [event(2, actor={"id": 7, "login": "anna"})])
    undisturbed = other(tmp_path, lake)
    copies: list[Path] = []
    replace_file = Path.replace

    def copy_and_replace(path: Path, target: Path) -> Path:
        copies.append(tmp_path / f"after-{len(copies)}-writes")
        shutil.copytree(disturbed.address, copies[-1])
        return replace_file(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", copy_and_replace)
        built(disturbed, lake)
    assert len(copies) > 20
    for copy in copies:
        left = Warehouse.at(str(copy))
        built(left, lake)
        assert differences(left, undisturbed) == {}, copy.name
        shutil.rmtree(copy)


def test_a_warehouse_in_a_bucket_of_a_lake_in_a_bucket(tmp_path: Path, gcs_address: str) -> None:
    lake, warehouse = Lake.at(f"{gcs_address}/lake"), Warehouse.at(f"{gcs_address}/warehouse")
    stored(lake, tmp_path / "archive", FIRST)
    first = built(warehouse, lake)
    assert built(warehouse, lake) == []
    stored(lake, tmp_path / "archive", FIRST + 24)
    second = built(warehouse, lake)
    assert {entry.partition_id for entry in second} == {"2019-01-03", "all"}
    near = Warehouse.at(str(tmp_path / "near"))
    for info in warehouse.store.list("tables/"):
        content = warehouse.store.read(info.key)
        assert content is not None
        near.store.write(info.key, content)
    assert differences(near, other(tmp_path, lake)) == {}
    assert counts(near)["build_log"] == len(first) + len(second)
