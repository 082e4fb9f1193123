"""Every statement in BigQuery's dialect, held against Google's own SQL analyzer."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from etl.warehouse.bigquery import create_all, create_sources
from etl.warehouse.build import taken_back
from etl.warehouse.models import Model, models

CHECK: Final = Path(__file__).parents[3] / "../shared/bigquery/check"
STORED: Final = [model for model in models() if model.query]


@pytest.fixture(scope="module")
def analysed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the analyzer says: a line for each error, and for each query its columns."""
    if not CHECK.is_file():
        pytest.skip("no SQL analyzer: put the BigQuery SQL check into ../shared/bigquery (needs Java 17 and Maven)")
    folder = tmp_path_factory.mktemp("sql")
    catalog = folder / "catalog.sql"
    catalog.write_text(";\n".join([*create_sources(), *create_all()]) + ";\n", encoding="utf-8")
    elsewhere = _written(folder, "dataset", ";\n".join(create_all("my-project.warehouse")))
    files = [catalog, elsewhere, *(_written(folder, name, sql) for name, sql in statements())]
    done = subprocess.run(
        [CHECK.resolve(), "--columns", "--json", *files], capture_output=True, text=True, check=False, timeout=280
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def statements() -> Iterator[tuple[str, str]]:
    for model in STORED:
        yield f"{model.name}.query", model.query
        for check in model.checks:
            yield f"{model.name}.check.{check.name}", check.sql
        if model.grows is not None:
            rows = f"SELECT * FROM {model.name}"  # noqa: S608 -- a table of ours
            asked = taken_back(model.grows)
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
