"""Tables that DuckDB built, loaded by Google's own client (see ``bigquery_server``)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import StoreError, UsageError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse.bigquery.builder import BigQueryTarget
from etl.warehouse.bigquery.dataset import Dataset
from etl.warehouse.bigquery.loader import Loaded, load, steps
from etl.warehouse.bigquery.schema_sync import ensure
from etl.warehouse.duckdb_views import opened
from etl.warehouse.lake_inputs import Days
from etl.warehouse.models import Kind, models
from etl.warehouse.table_state import Warehouse
from tests.integration.warehouse.bigquery_server import BigQuery
from tests.integration.warehouse.comparing import COMPARED, built, rows_of, stored
from tests.integration.warehouse.test_build import event

FIRST: Final = Hour.of(2019, 1, 2, 3)


class Home:
    """A lake in a folder, a warehouse in a bucket, and a dataset."""

    def __init__(self, folder: Path, place: BigQueryTarget) -> None:
        self.folder = folder
        self.place = place
        self.lake = Lake.at(str(folder / "lake"))
        self.warehouse = Warehouse.at(place.warehouse)

    def stored(self, hour: Hour, lines: list[bytes]) -> None:
        stored(self.lake, self.folder / "archive", hour, lines)

    def opened(self) -> Dataset:
        dataset = self.place.opened()
        ensure(dataset.jobs, self.place.dataset, None, self.place.events_by)
        return dataset

    def loaded(self, days: Days | None = None) -> list[Loaded]:
        built(self.warehouse, self.lake)
        return load(self.warehouse, self.opened(), days or Days())


@pytest.fixture
def home(tmp_path: Path, place: BigQueryTarget, google: BigQuery) -> Iterator[Home]:
    held = Home(tmp_path, place)
    held.stored(FIRST, [event(1), event(2, actor={"id": 8, "login": "bea"})])
    held.stored(FIRST + 24, [event(3, created_at="2019-01-03T03:00:00Z")])
    yield held
    dropped = [seen.path["tableId"] for seen in google.seen if seen.method == "bigquery.tables.delete"]
    assert [name for name in dropped if "$" not in name and not name.startswith("staged_")] == []


def differences(google: BigQuery, home: Home) -> list[str]:
    """Tables and views that are not what DuckDB reads from the files."""
    near = Warehouse.at(str(home.folder / f"near-{len(list(home.folder.iterdir()))}"))
    for info in home.warehouse.store.list("tables/"):
        near.store.write(info.key, home.warehouse.store.read(info.key) or b"")
    found = []
    with opened(near) as connection:
        for model in [*COMPARED, *(model for model in models() if model.kind is Kind.LOG)]:
            columns = [column.name for column in model.columns]
            if rows_of(google.sql, model.name, columns) != rows_of(connection, model.name, columns):
                found.append(model.name)
    return found


def loads(google: BigQuery) -> dict[str, str]:
    """The write disposition of each load job, by its destination."""
    return {told["destinationTable"]["tableId"]: told["writeDisposition"] for told in google.jobs("load")}


def done(found: list[Loaded]) -> set[tuple[str, str, str]]:
    return {(each.step.model.name, each.step.partition, str(each.step.action)) for each in found}


def test_each_partition_is_one_load_job_that_replaces_it(google: BigQuery, home: Home) -> None:
    home.loaded()
    assert differences(google, home) == []
    sent = loads(google)
    for model in models():
        if model.partition is not None and model.is_stored:
            assert {name for name in sent if name.startswith(f"{model.name}$")} == {
                f"{model.name}$20190102",
                f"{model.name}$20190103",
            }
    assert {kind for name, kind in sent.items() if "$" in name} == {"WRITE_TRUNCATE"}
    assert {kind for name, kind in sent.items() if "$" not in name} == {"WRITE_TRUNCATE_DATA"}
    (uris,) = {
        tuple(told["sourceUris"])
        for told in google.jobs("load")
        if told["destinationTable"]["tableId"] == "names_daily$20190102"
    }
    assert uris == (f"{home.warehouse.address}/tables/names_daily/2019-01-02.parquet",)
    described = google.table("gharchive", "actors")["schema"]["fields"]
    assert all(field["description"] for field in described)


def test_only_what_changed_is_loaded(google: BigQuery, home: Home) -> None:
    home.loaded()
    google.seen.clear()
    home.place.opened()
    assert load(home.warehouse, home.opened(), Days()) == []
    assert loads(google) == {}
    home.stored(FIRST + 24, [event(4, created_at="2019-01-03T03:00:00Z"), event(5, created_at="2019-01-05T03:00:00Z")])
    found = done(home.loaded())
    assert {partition for name, partition, _ in found if name == "events_base"} == {"2019-01-03", "2019-01-05"}
    assert differences(google, home) == []


def test_a_day_that_is_gone_goes(google: BigQuery, home: Home) -> None:
    home.loaded()
    home.stored(FIRST + 24, [event(4)])
    assert ("events_base", "2019-01-03", "remove") in done(home.loaded())
    assert "20190103" not in google.partitions("gharchive", "events_base")
    assert differences(google, home) == []


def test_only_the_days_asked_for_are_loaded(google: BigQuery, home: Home) -> None:
    home.loaded(Days(date(2019, 1, 3), date(2019, 1, 3)))
    assert set(google.partitions("gharchive", "events_base")) == {"20190103"}
    home.loaded()
    assert differences(google, home) == []


def test_by_the_hour_a_day_is_parted_in_a_table_nobody_looks_at(google: BigQuery, home: Home) -> None:
    home.place = replace(home.place, events_by="hour")
    home.stored(FIRST, [event(1), event(2, created_at="2019-01-02T05:10:00Z")])
    home.loaded()
    assert set(google.partitions("gharchive", "events_base")) == {"2019010203", "2019010205", "2019010303"}
    assert differences(google, home) == []
    assert google.names("gharchive") == {model.name for model in models()}
    assert list(steps(home.warehouse, home.opened(), Days())) == []


def test_a_load_that_stops_is_finished_by_the_next(google: BigQuery, home: Home) -> None:
    left = 7

    def failed(told: dict[str, Any]) -> str | None:
        nonlocal left
        left -= "load" in told
        return "quotaExceeded" if left < 0 else None

    google.failing = failed
    with pytest.raises(StoreError, match="a quota of BigQuery is used up") as caught:
        home.loaded()
    assert "goes on where it stopped" in (caught.value.hint or "")
    google.failing = lambda _: None
    first = set(loads(google)) - {None}
    google.seen.clear()
    home.loaded()
    assert len(set(loads(google))) < len(first | set(loads(google))), "what was loaded is not loaded again"
    assert differences(google, home) == []


def test_another_number_of_rows_than_was_built_is_an_error(
    google: BigQuery, home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(home.warehouse, home.lake)
    dataset = home.opened()
    state, unknown = home.warehouse.state("events_base")
    state.partitions = {
        name: replace_rows(partition, partition.rows + 1) for name, partition in state.partitions.items()
    }
    monkeypatch.setattr(home.warehouse, "state", lambda _: (state, unknown))
    with pytest.raises(StoreError, match=r"loaded 2 rows of events_base 2019-01-02, its file has 3|2019-01-03"):
        load(home.warehouse, dataset, Days())
    assert google.jobs("load")


def replace_rows(partition: Any, rows: int) -> Any:
    return type(partition)(
        fingerprint=partition.fingerprint,
        generation=partition.generation,
        rows=rows,
        bytes=partition.bytes,
        lineage=partition.lineage,
    )


def test_a_plan_changes_nothing(google: BigQuery, home: Home) -> None:
    built(home.warehouse, home.lake)
    found = list(steps(home.warehouse, home.place.opened(), Days()))
    assert {step.model.name for step in found} == {model.name for model in models() if model.kind is not Kind.VIEW}
    assert all(step.bytes > 0 for step in found)
    assert google.names("gharchive") == set()


def test_a_warehouse_in_a_folder_cannot_be_loaded(tmp_path: Path, home: Home) -> None:
    with pytest.raises(UsageError, match="is a folder, which BigQuery cannot read"):
        load(Warehouse.at(str(tmp_path / "warehouse")), home.place.opened(), Days())
