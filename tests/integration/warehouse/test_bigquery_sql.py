"""Every statement in BigQuery's dialect, checked by Google's own SQL analyzer."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse.bigquery.builder import BigQueryTarget, build
from etl.warehouse.bigquery.ddl import create, create_all, create_sources, filled, resources
from etl.warehouse.build import BuildOptions, retracted_rows_query
from etl.warehouse.models import Kind, Model, by_name, models
from tests import tools
from tests.integration.warehouse.bigquery_server import BigQuery
from tests.integration.warehouse.comparing import stored
from tests.integration.warehouse.test_build import event

STORED: Final = [model for model in models() if model.query]
STAGED: Final = re.compile(r"staged_(\w+)_[0-9a-f]{12}")
PARTITIONS: Final = """CREATE TABLE `my-project`.gharchive.INFORMATION_SCHEMA.PARTITIONS (
  table_name STRING, partition_id STRING, total_rows INT64, total_logical_bytes INT64, last_modified_time TIMESTAMP
)"""
"""As https://cloud.google.com/bigquery/docs/information-schema-partitions has it."""


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the analyzer says: a line for each error, and for each query its columns."""
    folder = tmp_path_factory.mktemp("sql")
    catalog = folder / "catalog.sql"
    catalog.write_text(";\n".join([*create_sources(), *create_all()]) + ";\n", encoding="utf-8")
    elsewhere = _written(folder, "dataset", ";\n".join(create_all("my-project.warehouse")))
    return checked([catalog, elsewhere, *(_written(folder, name, sql) for name, sql in statements())])


def checked(files: list[Path]) -> list[dict[str, Any]]:
    """Has the analyzer look at files in their order; skips where there is none."""
    done = subprocess.run(
        [tools.get("sql-analyzer"), "--columns", "--json", *files],
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def statements() -> Iterator[tuple[str, str]]:
    for model in STORED:
        yield f"{model.name}.query", model.query
        for check in model.checks:
            yield f"{model.name}.check.{check.name}", check.sql
        if model.grows is not None:
            rows = f"SELECT * FROM {model.name}"  # noqa: S608 -- a table of ours
            asked = retracted_rows_query(model.grows)
            yield f"{model.name}.grows", f"WITH old_rows AS ({rows}), new_rows AS ({rows}) {asked}"


def _written(folder: Path, name: str, sql: str) -> Path:
    path = folder / f"{name}.sql"
    path.write_text(f"{sql.rstrip()};\n", encoding="utf-8")
    return path


def test_every_statement_is_right(analysed: list[dict[str, Any]]) -> None:
    assert [line for line in analysed if "error" in line] == []
    checked = {Path(line["file"]).stem for line in analysed if "statements" in line}
    assert checked == {"catalog", "dataset", *(name for name, _ in statements())}


@pytest.mark.parametrize("model", STORED, ids=lambda model: str(model.name))
def test_a_query_gives_the_columns_of_its_schema(model: Model, analysed: list[dict[str, Any]]) -> None:
    (found,) = (
        line["columns"] for line in analysed if Path(line["file"]).stem == f"{model.name}.query" and "columns" in line
    )
    assert [(column["name"], column["type"]) for column in found] == [
        (column.name, column.type) for column in model.columns
    ]


@pytest.mark.parametrize("model", models(), ids=lambda model: str(model.name))
def test_a_table_is_created_with_the_columns_of_its_schema(model: Model, analysed: list[dict[str, Any]]) -> None:
    created = [
        line["columns"]
        for line in analysed
        if Path(line["file"]).stem == "catalog" and model.name in str(line.get("result", "")).split()[-1:]
    ]
    assert [[(column["name"], column["type"]) for column in columns] for columns in created] == [
        [(column.name, column.type) for column in model.columns]
    ]


def test_every_view_of_the_api_is_right(tmp_path: Path) -> None:
    """Those for reports, too: they read tables of the other dataset only, and give the columns they are said to."""
    catalog = _written(tmp_path, "catalog", ";\n".join(create_all("my-project.gharchive")))
    views = [filled(each, project="my-project", dataset="gharchive", reporting="reports") for each in resources()]
    views = [view for view in views if "view" in view]
    names = [f"{view['tableReference']['datasetId']}.{view['tableReference']['tableId']}" for view in views]
    found = checked(
        [catalog, *(_written(tmp_path, name, view["view"]["query"]) for name, view in zip(names, views, strict=True))]
    )
    assert [line for line in found if "error" in line] == []
    columns = {Path(line["file"]).stem: line["columns"] for line in found if "columns" in line}
    for name, view in zip(names, views, strict=True):
        said = [field["name"] for field in view["schema"]["fields"]]
        assert [column["name"] for column in columns[name]] == said, name
        read = set(re.findall(r"`my-project`\.`(\w+)`\.`(\w+)`", view["view"]["query"]))
        assert {dataset for dataset, _ in read} == {"gharchive"}
        assert all(by_name(models())[table].kind is not Kind.VIEW for _, table in read)


def test_every_query_that_a_build_sends_is_right(
    tmp_path: Path, google: BigQuery, place: BigQueryTarget, gcs_address: str
) -> None:
    lake = Lake.at(f"{gcs_address}/lake")
    for days, lines in ((0, [event(1)]), (1, [event(2, created_at="2019-01-03T03:00:00Z")]), (0, [event(1), event(3)])):
        stored(lake, tmp_path / "archive", Hour.of(2019, 1, 2, 3) + 24 * days, lines)
        build(place, lake, BuildOptions())
    sent = [told for told in google.jobs("query") if "TRUNCATE" not in told["query"]]
    tables = {name[0]: name[1] for told in sent for name in re.findall(r"(staged_(\w+)_[0-9a-f]{12})", str(told))}
    staged = [
        create(by_name(models())[model], "my-project.gharchive").replace(f".{model}`", f".{table}`", 1)
        for table, model in tables.items()
    ]
    known = [*create_sources(), *create_all("my-project.gharchive"), *staged, PARTITIONS]
    catalog = _written(tmp_path, "catalog", ";\n".join(known))
    files = [_written(tmp_path, f"{number:04d}", told["query"]) for number, told in enumerate(sent)]
    found = checked([catalog, *files])
    assert [line for line in found if "error" in line] == []
    columns = {Path(line["file"]).stem: line["columns"] for line in found if "columns" in line}
    made = {}
    for number, told in enumerate(sent):
        if "destinationTable" in told:
            match = STAGED.fullmatch(told["destinationTable"]["tableId"])
            assert match is not None
            made[match[1]] = [(each["name"], each["type"]) for each in columns[f"{number:04d}"]]
    assert made == {
        model.name: [(column.name, column.type) for column in model.columns] for model in models() if model.is_stored
    }
