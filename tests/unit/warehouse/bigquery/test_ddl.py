"""The tables as BigQuery's API takes them, and how days become conditions."""

from __future__ import annotations

import json
import re
from datetime import date, timedelta
from itertools import pairwise

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from etl.cli.main import front
from etl.errors import UsageError
from etl.report.looker_studio import MARTS
from etl.warehouse.bigquery.builder import _spans
from etl.warehouse.bigquery.client import DatasetName
from etl.warehouse.bigquery.dataset import _day, within_reach
from etl.warehouse.bigquery.ddl import DATASET, PROJECT, REPORTING, cut_of, filled, reported, resources
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Kind, by_name, models

BY_NAME = by_name(models())
TABLES = [each for each in resources() if "view" not in each]
VIEWS = [each for each in resources() if "view" in each]
LABEL = re.compile(r"[a-z0-9_-]{1,63}")
"""https://cloud.google.com/bigquery/docs/labels-intro"""


def test_every_model_is_a_table_or_a_view_and_every_mart_a_view_for_reports() -> None:
    places = [(each["tableReference"]["datasetId"], each["tableReference"]["tableId"]) for each in resources()]
    assert sorted(name for dataset, name in places if dataset == DATASET) == sorted(BY_NAME)
    assert [name for dataset, name in places if dataset == REPORTING] == [model.name for model in reported()]
    assert len(set(places)) == len(places)
    assert {each["tableReference"]["tableId"] for each in TABLES} == {
        model.name for model in models() if model.kind is not Kind.VIEW
    }


def test_reports_read_what_the_dashboard_in_looker_studio_is_made_of() -> None:
    names = {model.name for model in reported()}
    assert set(MARTS) <= names
    assert not [name for name in names if name.endswith("_daily")], "what another mart is made of is not read itself"


@pytest.mark.parametrize("resource", resources(), ids=lambda each: "-".join(each["tableReference"].values()))
def test_a_resource_says_all_that_its_model_says(resource: dict[str, object]) -> None:
    model = BY_NAME[resource["tableReference"]["tableId"]]  # type: ignore[index]
    assert (resource["friendlyName"], resource["description"]) == (model.title, model.description)
    fields = resource["schema"]["fields"]  # type: ignore[index]
    assert [(field["name"], field["description"]) for field in fields] == [
        (column.name, column.description) for column in model.columns
    ]
    for key, value in resource["labels"].items():  # type: ignore[attr-defined]
        assert LABEL.fullmatch(key)
        assert LABEL.fullmatch(value)
    if "view" not in resource:
        assert resource.get("clustering", {"fields": []})["fields"] == list(model.cluster)  # type: ignore[index]
        assert ("timePartitioning" in resource) is (model.partition is not None)


def test_queries_over_events_must_say_which_days_they_want() -> None:
    required = {each["tableReference"]["tableId"] for each in TABLES if each.get("requirePartitionFilter")}
    assert required == {"events_base"}


def test_places_for_names_are_where_they_are_said_to_be() -> None:
    for resource in resources():
        places = {**resource, "tableReference": {}, "view": {}}
        assert not re.search(r"\{(project|dataset|reporting_dataset)\}", json.dumps(places))
        whole = filled(resource, project="a-project", dataset="tables", reporting="reports")
        assert not re.search(r"\{\w+\}", json.dumps({**whole, "description": "", "schema": {}}))
        assert whole["tableReference"]["projectId"] == "a-project"
    for view in VIEWS:
        assert f"`{PROJECT}`.`{DATASET}`.`" in view["view"]["query"]
        assert REPORTING not in view["view"]["query"]


def test_by_the_hour_only_the_events_are_cut_another_way() -> None:
    days, hours = ({each["tableReference"]["tableId"]: each for each in resources(cut)} for cut in ("day", "hour"))
    changed = [name for name in days if days[name] != hours[name]]
    assert changed == ["events_base"]
    assert hours["events_base"]["timePartitioning"] == {"type": "HOUR", "field": "created_at"}
    assert cut_of(BY_NAME["actors"], "hour") is None


def test_the_command_prints_them() -> None:
    for words, cut in (((), "day"), (("--events-by", "hour"), "hour")):
        done = CliRunner().invoke(front, ["schema", "--tables", *words])
        assert json.loads(done.output) == resources("day" if cut == "day" else "hour")


@pytest.mark.parametrize(
    ("words", "said"),
    [(("--tables", "--format", "arrow"), "--tables prints JSON only"), (("--events-by", "hour"), "requires --tables")],
)
def test_flags_that_contradict_each_other(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(front, ["schema", *words])
    assert isinstance(done.exception, UsageError)
    assert said in str(done.exception)


DAYS = st.lists(st.integers(0, 60).map(lambda number: date(2019, 1, 1) + timedelta(days=number)), max_size=30)


@given(DAYS)
def test_spans_hold_the_days_they_were_made_of_and_no_others(days: list[date]) -> None:
    found = list(_spans([day.isoformat() for day in days]))
    bounds = [(date.fromisoformat(first), date.fromisoformat(last)) for first, last in found]
    within = [first + timedelta(days=n) for first, last in bounds for n in range((last - first).days + 1)]
    assert within == sorted(set(days))
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(bounds)]
    assert all(gap > timedelta(days=1) for gap in gaps), "two that touch would be one"


@pytest.mark.parametrize(
    ("partition_id", "day"),
    [
        (None, "all"),
        ("20190102", "2019-01-02"),
        ("2019010223", "2019-01-02"),
        ("__NULL__", None),
        ("__UNPARTITIONED__", None),
        ("201901", None),
    ],
)
def test_the_day_a_partition_belongs_to(partition_id: str | None, day: str | None) -> None:
    assert _day(partition_id) == day


def test_days_that_no_partition_can_have_are_left_out() -> None:
    assert within_reach(Days()) == Days(date(1960, 1, 1), date(2159, 12, 31))
    assert within_reach(Days(date(2015, 1, 1), date(9999, 12, 31))) == Days(date(2015, 1, 1), date(2159, 12, 31))
    assert "0001-01-01" not in within_reach(Days(date(1, 1, 1), None))


@pytest.mark.parametrize("text", ["my-project.gharchive", "example.com:my-project.gharchive", "abcdef.g_1"])
def test_names_of_datasets(text: str) -> None:
    name = DatasetName.parse(text)
    assert str(name) == text
    assert name.quoted("t") == f"`{name.project}`.`{name.dataset}`.`t`"


@pytest.mark.parametrize(
    "text", ["", "gharchive", "my-project.", "my-project.a.b", "my-project.a`b", "p.a", "My-P.a-b"]
)
def test_what_is_no_name_of_a_dataset(text: str) -> None:
    with pytest.raises(UsageError, match="is not the name of a dataset"):
        DatasetName.parse(text)
