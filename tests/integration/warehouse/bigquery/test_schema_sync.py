"""How BigQuery's tables and views follow the models (see ``bigquery_server``)."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

import pytest

from etl.errors import ConflictError, StoreError
from etl.warehouse.bigquery.builder import BigQueryTarget
from etl.warehouse.bigquery.client import DatasetName, Jobs, JobTimeouts, connect
from etl.warehouse.bigquery.ddl import PROJECT, Cut, filled, resources
from etl.warehouse.bigquery.schema_sync import ensure
from tests.integration.warehouse.bigquery_server import BigQuery, RefusedError, Seen

DATASET: Final = DatasetName("my-project", "gharchive")
REPORTING: Final = DatasetName("my-project", "gharchive_reporting")
_ROOT: Final = "my-project.gharchive"


@pytest.fixture
def jobs(google: BigQuery, place: BigQueryTarget) -> Jobs:
    assert google.url
    return Jobs(connect(DATASET), DATASET, place.patience)


def ensured(jobs: Jobs, reporting: DatasetName | None = None, events_by: Cut = "day") -> list[str]:
    return ensure(jobs, DATASET, reporting, events_by)


def changes(google: BigQuery) -> list[str]:
    """What was asked of the server but to look."""
    return [seen.method for seen in google.seen if not seen.method.endswith((".get", ".list"))]


def described(there: Mapping[str, Any]) -> dict[str, str | None]:
    return {field["name"]: field.get("description") for field in there["schema"]["fields"]}


def test_all_tables_and_views_are_created_with_all_that_is_said_of_them(google: BigQuery, jobs: Jobs) -> None:
    done = ensured(jobs, REPORTING)
    assert len([line for line in done if line.startswith("created ")]) == len(resources())
    for resource in resources():
        whole = filled(resource, project="my-project", dataset="gharchive", reporting="gharchive_reporting")
        place = whole["tableReference"]
        there = google.table(place["datasetId"], place["tableId"])
        assert {key: there.get(key) for key in whole} == whole, "descriptions of a view's columns too"
        assert PROJECT not in str(there)
    google.seen.clear()
    assert ensured(jobs, REPORTING) == []
    assert changes(google) == []


def test_the_views_for_reports_may_read_the_tables(google: BigQuery, jobs: Jobs) -> None:
    before = google.datasets["gharchive"]["access"]
    done = ensured(jobs, REPORTING)
    access = google.datasets["gharchive"]["access"]
    assert access[: len(before)] == before, "who had a right has it still"
    views = [entry["view"]["tableId"] for entry in access if "view" in entry]
    assert sorted(views) == sorted(google.names("gharchive_reporting"))
    assert f"authorised my-project.gharchive_reporting.events in {_ROOT}" in done
    assert len(google.datasets["gharchive_reporting"]["access"]) == 1, "and nothing may read those by this"


def test_a_dataset_that_is_authorised_as_a_whole_is_left_as_it_is(google: BigQuery, jobs: Jobs) -> None:
    """So does Terraform, which would take the entry of each view away again."""
    place = {"projectId": "my-project", "datasetId": "gharchive_reporting"}
    google.datasets["gharchive"]["access"].append({"dataset": {"dataset": place, "targetTypes": ["VIEWS"]}})
    before = list(google.datasets["gharchive"]["access"])
    ensured(jobs, REPORTING)
    assert google.datasets["gharchive"]["access"] == before
    assert "bigquery.datasets.patch" not in changes(google)


def test_without_a_dataset_for_reports_nobody_is_authorised(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    assert google.names("gharchive_reporting") == set()
    assert not [entry for entry in google.datasets["gharchive"]["access"] if "view" in entry]


def test_a_table_gains_a_column(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    there = google.table("gharchive", "activity_hourly")
    (gone,) = there["schema"]["fields"][-1:]
    google.sql.execute(f'ALTER TABLE "my-project".gharchive.activity_hourly DROP COLUMN {gone["name"]}')
    there["schema"]["fields"] = there["schema"]["fields"][:-1]
    assert ensured(jobs) == [f"changed {_ROOT}.activity_hourly"]
    assert google.table("gharchive", "activity_hourly")["schema"]["fields"][-1] == gone


def test_words_are_brought_up_to_date_and_the_words_of_others_are_kept(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    table, view = google.table("gharchive", "actors"), google.table("gharchive", "events")
    table |= {"description": "old", "labels": {"goog-terraform-provisioned": "true"}}
    table["schema"]["fields"][0]["description"] = "old"
    view["schema"]["fields"][0]["description"] = "old"
    wanted = {resource["tableReference"]["tableId"]: resource for resource in resources()}
    assert sorted(ensured(jobs)) == [f"changed {_ROOT}.actors", f"changed {_ROOT}.events"]
    assert table["description"] == wanted["actors"]["description"]
    assert table["labels"] == {"goog-terraform-provisioned": "true", **wanted["actors"]["labels"]}
    assert table["schema"] == wanted["actors"]["schema"]
    assert described(view) == described(wanted["events"])


def test_a_view_with_another_query_gets_ours_and_its_words(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    view = google.table("gharchive", "contributors")
    wanted = view["view"]["query"]
    view["view"] = {"query": "SELECT 1 AS one", "useLegacySql": False}
    assert ensured(jobs) == [f"changed the query of {_ROOT}.contributors"]
    assert view["view"]["query"] == wanted
    assert all(described(view).values()), "a new query takes the words away, so they are said again"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"type": "FLOAT"},
            "the column hour of my-project.gharchive.activity_hourly is FLOAT, and should be TIMESTAMP",
        ),
        ({"mode": "REQUIRED"}, "is REQUIRED, and should be NULLABLE"),
        ({"name": "minute"}, "has a column minute, which its model has not"),
    ],
)
def test_a_column_that_is_another_one_is_refused(
    google: BigQuery, jobs: Jobs, change: dict[str, str], said: str
) -> None:
    ensured(jobs)
    google.table("gharchive", "activity_hourly")["schema"]["fields"][0] |= change
    google.seen.clear()
    with pytest.raises(StoreError, match=said) as caught:
        ensured(jobs)
    assert "never drops" in (caught.value.hint or "")
    assert changes(google) == []


def test_another_cut_and_another_kind_are_refused(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    with pytest.raises(StoreError, match="is cut by day of created_at, and should be by hour of created_at"):
        ensured(jobs, events_by="hour")
    google.table("gharchive", "actors")["type"] = "EXTERNAL"
    with pytest.raises(StoreError, match="actors is a external, and should be a table"):
        ensured(jobs)


def test_types_by_their_other_names_are_no_difference(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    names = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}
    for field in google.table("gharchive", "events_base")["schema"]["fields"]:
        field["type"] = names.get(field["type"], field["type"])
    assert ensured(jobs) == []


def test_a_change_that_somebody_else_made_meanwhile_is_not_lost(google: BigQuery, jobs: Jobs) -> None:
    ensured(jobs)
    table = google.table("gharchive", "actors")
    table["description"] = "old"

    def meanwhile(seen: Seen) -> None:
        if seen.method == "bigquery.tables.patch":
            table["etag"] = "another"

    google.before = meanwhile
    with pytest.raises(ConflictError, match="was changed by somebody else"):
        ensured(jobs)
    assert table["description"] == "old"


def test_a_dataset_for_reports_has_to_be_in_the_same_project(jobs: Jobs) -> None:
    with pytest.raises(StoreError, match="is in another project"):
        ensured(jobs, replace(REPORTING, project="elsewhere"))


def test_a_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        # Bound and not listening: nobody answers there, and nobody else can take it meanwhile.
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(StoreError, match=r"BigQuery could not be reached for my-project.gharchive \("):
            Jobs(connect(DATASET), DATASET, JobTimeouts(request=0.1))


def test_rights_that_are_missing_are_named(google: BigQuery, jobs: Jobs) -> None:
    def refuse(seen: Seen) -> None:
        if seen.method == "bigquery.tables.insert":
            raise RefusedError(403, "accessDenied", "Permission bigquery.tables.create denied")

    google.before = refuse
    with pytest.raises(StoreError, match=r"refuses access to .*bigquery.tables.create denied") as caught:
        ensured(jobs)
    assert "roles/bigquery.dataEditor" in (caught.value.hint or "")
