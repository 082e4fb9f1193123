"""A build by BigQuery's own client, against a server that stands in for BigQuery (see ``bigquery_server``)."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ChecksFailedError, StoreError, UsageError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.warehouse.bigquery.builder import BigQueryTarget, build, plan
from etl.warehouse.bigquery.client import DatasetName
from etl.warehouse.build import BuildOptions
from etl.warehouse.duckdb_views import opened
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Check, Severity, models
from etl.warehouse.table_builder import Entry
from etl.warehouse.table_state import Warehouse
from tests.integration.running import ERAS, HOUR, now, run
from tests.integration.warehouse.bigquery_server import BigQuery, RefusedError, Seen
from tests.integration.warehouse.comparing import COMPARED, built, outcomes, rows_of, stored
from tests.integration.warehouse.test_build import event, with_check

FIRST: Final = Hour.of(2019, 1, 2, 3)


@pytest.fixture
def lake(gcs_address: str) -> Lake:
    return Lake.at(f"{gcs_address}/lake")


def brought(place: BigQueryTarget, lake: Lake, **options: Any) -> list[Entry]:
    return build(place, lake, BuildOptions(**options))


def differences(google: BigQuery, tmp_path: Path, lake: Lake) -> dict[str, tuple[int, int]]:
    """Rows by table and view that only BigQuery's or only DuckDB's build of the same lake has."""
    other = Warehouse.at(str(tmp_path / f"by-duckdb-{len(list(tmp_path.iterdir()))}"))
    built(other, lake)
    found = {}
    with opened(other) as connection:
        for model in COMPARED:
            columns = [column.name for column in model.columns if column.name not in ("built_at", "former_logins")]
            columns = [name for name in columns if name != "former_names"]
            ours, theirs = (
                rows_of(google.sql, model.name, columns),
                rows_of(connection, model.name, columns),
            )
            if ours != theirs:
                found[model.name] = (len(ours), len(theirs))
    return found


def destinations(google: BigQuery, kind: str) -> list[str]:
    return [told["destinationTable"]["tableId"] for told in google.jobs(kind) if "destinationTable" in told]


def test_it_makes_the_tables_that_duckdb_makes(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    for hour in ERAS.values():
        stored(lake, tmp_path / "archive", hour)
    entries = brought(place, lake)
    assert {str(entry.outcome) for entry in entries} == {"built"}
    assert differences(google, tmp_path, lake) == {}
    assert google.ask("SELECT count(*) FROM build_log") == [(len(entries),)]
    assert google.names("gharchive") == {model.name for model in models()}, "nothing that was staged is left"
    for model in models():
        there = google.table("gharchive", model.name)
        assert "expirationTime" not in there, "a copy may bring the end of what was staged"
        assert all(field["description"] for field in there["schema"]["fields"])


def test_a_real_hour_gives_the_numbers_that_are_known(
    google: BigQuery, place: BigQueryTarget, lake: Lake, real_data: Path
) -> None:
    run(lake, real_data / "archive", hour=HOUR)
    brought(place, lake)
    assert google.ask(
        "SELECT sum(events), sum(events) FILTER (WHERE type = 'PushEvent') FROM activity_hourly"
        " WHERE hour = '2015-01-01 15:00:00+00'"
    ) == [(11_351, 5_815)]
    assert google.ask("SELECT count(*) FROM events") == [(11_351,)]


def test_building_again_asks_one_question(tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    brought(place, lake)
    google.seen.clear()
    said: list[str] = []
    assert build(place, lake, BuildOptions(), told=said.append) == []
    assert said == ["BigQuery bills the queries of this build with 0.000 GB"]
    (asked,) = google.jobs("query")
    assert "INFORMATION_SCHEMA.PARTITIONS" in asked["query"]
    assert not google.jobs("copy")
    assert not google.jobs("load")


def test_a_day_is_staged_checked_and_copied_over_its_partition(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    for days in range(3):
        stored(lake, tmp_path / "archive", FIRST + 24 * days)
    brought(place, lake)
    before = google.partitions("gharchive", "events_base")
    google.seen.clear()
    stored(lake, tmp_path / "archive", FIRST + 25)
    entries = brought(place, lake)
    assert {entry.partition_id for entry in entries} == {"2019-01-03", "all"}
    assert differences(google, tmp_path, lake) == {}

    after = google.partitions("gharchive", "events_base")
    assert {partition for partition in after if after[partition] != before.get(partition)} == {"20190103"}
    copies = [told for told in google.jobs("copy") if "events_base" in told["destinationTable"]["tableId"]]
    (copy,) = copies
    assert copy["destinationTable"]["tableId"] == "events_base$20190103"
    assert copy["sourceTables"][0]["tableId"].endswith("$20190103")
    assert (copy["writeDisposition"], copy["createDisposition"]) == ("WRITE_TRUNCATE", "CREATE_NEVER")
    assert all(
        "$20190103" in name for name in destinations(google, "copy") if name.partition("$")[0].endswith("_daily")
    )

    staged = [told for told in google.jobs("query") if "tableDefinitions" in told and "lake_events" in str(told)]
    (query,) = staged
    (definition,) = query["tableDefinitions"].values()
    assert sorted(uri.rpartition("/")[2] for uri in definition["sourceUris"]) == [
        "2019-01-03-3.parquet",
        "2019-01-03-4.parquet",
    ], "only the files that hold events of the day are read"
    assert definition["sourceFormat"] == "PARQUET"
    assert query["writeDisposition"] == "WRITE_EMPTY"
    assert [(each["name"], each["parameterType"]["type"]) for each in query["queryParameters"]] == [
        ("built_at", "TIMESTAMP"),
        ("start", "TIMESTAMP"),
        ("end", "TIMESTAMP"),
    ]


def test_every_read_of_a_cut_table_names_its_days(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    """BigQuery refuses other queries of ``events_base``, and bills for all of its days where it does not."""
    for days in (0, 1, 5):
        stored(lake, tmp_path / "archive", FIRST + 24 * days)
    brought(place, lake)
    reads = [told["query"] for told in google.jobs("query") if "`events_base`" in told["query"]]
    assert reads
    for query in reads:
        (condition,) = {part.partition("\n")[0] for part in query.split("`gharchive`.`events_base` WHERE ")[1:]}
        assert condition == (
            "(created_at >= TIMESTAMP '2019-01-02 00:00:00+00:00' AND"
            " created_at < TIMESTAMP '2019-01-04 00:00:00+00:00')"
            " OR (created_at >= TIMESTAMP '2019-01-07 00:00:00+00:00' AND"
            " created_at < TIMESTAMP '2019-01-08 00:00:00+00:00')"
        )


def test_what_happens_later_is_seen_as_everywhere(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    renamed = {"created_at": "2019-01-04T03:00:00Z", "repo": {"id": 70, "name": "ann/better"}}
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    brought(place, lake)
    stored(lake, tmp_path / "archive", FIRST + 48, [event(2, actor={"id": 7, "login": "anna"}, **renamed)])
    brought(place, lake)
    said = "SELECT last_actor_login, last_repo_name FROM events"
    assert google.ask(said) == [("anna", "ann/better"), ("anna", "ann/better")]
    stored(lake, tmp_path / "archive", FIRST + 72, [event(3, created_at="2019-01-02T23:59:59Z")])
    entries = brought(place, lake)
    assert {entry.partition_id for entry in entries} == {"2019-01-02", "all"}, "a late event lands in its own day"
    assert differences(google, tmp_path, lake) == {}
    stored(lake, tmp_path / "archive", FIRST + 48, [event(4, created_at="2019-01-04T03:00:00Z")])
    brought(place, lake)
    assert google.ask("SELECT DISTINCT last_actor_login FROM events") == [("ann",)], "a name was taken back"
    for key in (events_key(FIRST + 48), manifest_key(FIRST + 48)):
        lake.store.delete(key)
    entries = brought(place, lake)
    assert ("events_base", "2019-01-04", "removed") in outcomes(entries)
    assert "20190104" not in google.partitions("gharchive", "events_base")
    assert differences(google, tmp_path, lake) == {}


def test_a_check_that_must_hold_keeps_the_old_partition(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    brought(place, lake)
    before = google.partitions("gharchive", "events_base")
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(2)])
    stored(lake, tmp_path / "archive", FIRST + 24, [event(3, created_at="2019-01-03T03:00:00Z")])
    sql = "SELECT type FROM events_base WHERE DATE(created_at) = '2019-01-02'"
    with monkeypatch.context() as patch:
        with_check("events_base", Check(name="not_two", severity=Severity.FAIL, why="a test", sql=sql), patch)
        with pytest.raises(ChecksFailedError, match=r"events_base 2019-01-02: not_two \(2 rows\)"):
            brought(place, lake)
    after = google.partitions("gharchive", "events_base")
    assert after["20190102"] == before["20190102"]
    assert "20190103" in after, "the other day is built"
    brought(place, lake)
    assert differences(google, tmp_path, lake) == {}


# ------------------------------------------------------------------------------------------------ when things go wrong


def failing(google: BigQuery, kind: str, reason: str, times: int) -> None:
    """Lets the next jobs of a kind fail."""
    left = times

    def failed(told: dict[str, Any]) -> str | None:
        nonlocal left
        if kind in told and left > 0:
            left -= 1
            return reason
        return None

    google.failing = failed


@pytest.mark.parametrize(
    ("kind", "reason"), [("query", "rateLimitExceeded"), ("copy", "backendError"), ("load", "internalError")]
)
def test_a_job_that_fails_for_a_moment_is_sent_again(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake, kind: str, reason: str
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    failing(google, kind, reason, 2)
    brought(place, lake)
    assert google.ask("SELECT count(*) FROM events") == [(1,)]
    assert google.ask("SELECT count(*) > 0 FROM build_log") == [(True,)]


def test_jobs_are_waited_for_and_sent_again_when_they_fail_late(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    google.slow = 5
    failing(google, "query", "rateLimitExceeded", 1)
    brought(place, lake)
    assert google.slow == 0
    assert google.ask("SELECT count(*) FROM events") == [(1,)]


def test_an_answer_that_is_lost_does_no_work_twice(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    google.lose_answers = 5
    brought(place, lake)
    assert google.lose_answers == 0
    assert differences(google, tmp_path, lake) == {}


@pytest.mark.parametrize(
    ("reason", "said", "hint"),
    [
        ("quotaExceeded", "a quota of BigQuery is used up", "within 24 hours"),
        ("accessDenied", "refuses access", "roles/bigquery.dataEditor"),
        ("invalidQuery", "could not do events_base 2019-01-02: invalidQuery", "the console"),
        ("backendError", "could not do events_base 2019-01-02: backendError", "as it was"),
    ],
)
def test_a_job_that_fails_for_good_is_explained(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake, reason: str, said: str, hint: str
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    google.failing = lambda told: reason if "tableDefinitions" in told.get("query", {}) else None
    with pytest.raises(StoreError, match=said) as caught:
        brought(place, lake)
    assert hint in (caught.value.hint or "")
    if reason.startswith("i"):
        assert "someone@example.com" not in str(caught.value)


def test_a_build_that_stops_before_any_request_is_finished_by_the_next(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    """At four of the requests that change something, chosen by dice, the rest of a build is refused."""
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(5, actor={"id": 8, "login": "bea"})])
    brought(place, lake)
    dice = random.Random(7)  # noqa: S311 -- no secret
    for number in range(4):
        stored(
            lake, tmp_path / "archive", FIRST, [event(1), event(10 + number, actor={"id": 7, "login": f"a{number}"})]
        )
        left = dice.randrange(20 * number, 20 * number + 20)

        def stop(seen: Seen) -> None:
            nonlocal left
            left -= seen.method in ("bigquery.jobs.insert", "bigquery.tables.insert", "bigquery.tables.delete")
            if left < 0:
                raise RefusedError(400, "stopped")

        google.before = stop
        with pytest.raises(StoreError):
            brought(place, lake)
        google.before = lambda _: None
        brought(place, lake)
        assert differences(google, tmp_path, lake) == {}, f"stopped before request {left}"
    assert brought(place, lake) == []


def test_two_builds_do_not_run_at_once(place: BigQueryTarget, lake: Lake, google: BigQuery) -> None:
    store = place.opened().store
    with Warehouse(store).building(), pytest.raises(StoreError, match="another build"):
        brought(place, lake)
    assert google.names("gharchive") == set()


def test_a_partition_that_somebody_else_wrote_is_made_again(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    brought(place, lake)
    dataset = place.opened()
    (model,) = (model for model in models() if model.name == "activity_hourly")
    dataset.remove(model, "2019-01-02")
    entries = brought(place, lake)
    assert ("activity_hourly", "2019-01-02", "built") in outcomes(entries)
    assert differences(google, tmp_path, lake) == {}


# ---------------------------------------------------------------------------------------------------- plans and limits


def test_a_dry_run_tells_bytes_and_changes_nothing(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    stored(lake, tmp_path / "archive", FIRST)
    first = plan(place, lake, BuildOptions(), now=now())
    assert {task.model.name for task in first} == {model.name for model in models() if model.is_stored}
    assert google.names("gharchive") == set()
    brought(place, lake)
    stored(lake, tmp_path / "archive", FIRST + 1)
    google.seen.clear()
    second = {task.model.name: task.bytes for task in plan(place, lake, BuildOptions(), now=now())}
    assert second["activity_hourly"] == 4096, "as BigQuery says"
    assert second["events_base"] > 0
    kinds = {seen.method for seen in google.seen}
    assert kinds == {"bigquery.datasets.get", "bigquery.jobs.insert", "bigquery.jobs.getQueryResults"}
    assert len(google.jobs("query")) == 2, "all but the questions for partitions are dry runs"


def test_only_the_days_asked_for_are_touched(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    for days in range(3):
        stored(lake, tmp_path / "archive", FIRST + 24 * days)
    brought(place, lake, days=Days(date(2019, 1, 3), date(2019, 1, 3)))
    assert set(google.partitions("gharchive", "events_base")) == {"20190103"}


def test_by_the_hour(tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake) -> None:
    hourly = replace(place, events_by="hour")
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(2, created_at="2019-01-02T05:10:00Z")])
    brought(hourly, lake)
    assert google.table("gharchive", "events_base")["timePartitioning"] == {"type": "HOUR", "field": "created_at"}
    assert set(google.partitions("gharchive", "events_base")) == {"2019010203", "2019010205"}
    assert set(google.partitions("gharchive", "activity_hourly")) == {"20190102"}, "all others stay cut by day"
    assert differences(google, tmp_path, lake) == {}
    stored(lake, tmp_path / "archive", FIRST, [event(1), event(3, created_at="2019-01-02T06:10:00Z")])
    brought(hourly, lake)
    assert set(google.partitions("gharchive", "events_base")) == {"2019010203", "2019010206"}
    assert differences(google, tmp_path, lake) == {}
    assert brought(hourly, lake) == []
    with pytest.raises(StoreError, match="is cut by hour of created_at, and should be by day of created_at"):
        brought(place, lake)


def test_more_hours_than_a_table_may_have_are_refused(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, lake: Lake
) -> None:
    hourly = replace(place, events_by="hour")
    days = [(date(2020, 1, 1) + timedelta(days=number)).isoformat() for number in range(416)]
    hourly.opened().refuse_too_many(days)
    stored(lake, tmp_path / "archive", FIRST, [event(1)])
    brought(hourly, lake)
    with pytest.raises(UsageError, match="417 days by the hour are more than the 10,000 partitions"):
        hourly.opened().refuse_too_many(days)
    hourly.opened().refuse_too_many(days[1:])
    place.opened().refuse_too_many(days)
    assert google.names("gharchive") == {model.name for model in models()}


def test_what_lies_in_a_folder_cannot_be_read_by_bigquery(
    tmp_path: Path, place: BigQueryTarget, google: BigQuery
) -> None:
    with pytest.raises(UsageError, match="is a folder, which BigQuery cannot read"):
        brought(place, Lake.at(str(tmp_path / "lake")))
    with pytest.raises(UsageError, match="is a folder, which BigQuery cannot read"):
        brought(replace(place, warehouse="warehouse"), Lake.at(str(tmp_path / "lake")))
    assert google.names("gharchive") == set()


def test_a_dataset_that_is_not_there(place: BigQueryTarget, lake: Lake, google: BigQuery) -> None:
    nowhere = replace(place, dataset=DatasetName("my-project", "nowhere"))
    with pytest.raises(StoreError, match=r"my-project.nowhere does not exist in BigQuery") as caught:
        brought(nowhere, lake)
    assert "bq mk" in (caught.value.hint or "")
    assert google.jobs("query") == []
