from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from etl.errors import UsageError
from etl.warehouse.duckdb_engine import connect
from etl.warehouse.models import MODELS_FOLDER, SOURCES, Kind, Model, Severity, by_name, models, read_models
from etl.warehouse.transpile import Dialect, tables_of, translate


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the models to spoil."""
    return Path(shutil.copytree(MODELS_FOLDER, tmp_path / "models"))


def test_each_model_comes_after_those_it_reads() -> None:
    seen: set[str] = set(SOURCES)
    for model in models():
        assert set(model.reads) <= seen, model.name
        seen.add(model.name)


@pytest.mark.parametrize("model", [model for model in models() if model.query], ids=lambda model: str(model.name))
def test_a_query_reads_what_its_metadata_says(model: Model) -> None:
    assert tables_of(model.query) == set(model.reads)


@pytest.mark.parametrize("model", [model for model in models() if model.is_stored], ids=lambda model: str(model.name))
def test_what_is_stored_is_checked_and_its_checks_read_it_alone(model: Model) -> None:
    assert any(check.severity is Severity.FAIL for check in model.checks)
    assert len({check.name for check in model.checks}) == len(model.checks)
    for check in model.checks:
        assert tables_of(check.sql) == {model.name}


def test_what_people_chart_is_there() -> None:
    events = by_name(models())["events"]
    asked = (
        "event_key type created_at built_at actor_id last_actor_login repo_id last_repo_name org_id last_org_login"
        " actor_login repo_name org_login action ref_type number is_bot push_commits payload archive_hour"
    )
    assert events.kind is Kind.VIEW
    assert set(asked.split()) <= {column.name for column in events.columns}


def test_the_table_of_events_is_cut_by_day_and_wants_a_filter() -> None:
    partition = by_name(models())["events_base"].partition
    assert partition is not None
    assert (partition.field, partition.by, partition.require_filter) == ("created_at", "day", True)


def test_the_fingerprint_changes_with_what_the_rows_depend_on_alone() -> None:
    model = by_name(models())["activity_hourly"]
    assert model.model_copy(update={"title": "Else"}).fingerprint == model.fingerprint
    assert model.model_copy(update={"checks": ()}).fingerprint == model.fingerprint
    assert model.model_copy(update={"query": f"-- a comment\n{model.query}"}).fingerprint == model.fingerprint
    assert model.model_copy(update={"broadcast": ("events_base",)}).fingerprint == model.fingerprint
    assert model.model_copy(update={"query": model.query + " "}).fingerprint != model.fingerprint
    assert model.model_copy(update={"columns": model.columns[1:]}).fingerprint != model.fingerprint
    assert model.model_copy(update={"partition": None}).fingerprint != model.fingerprint


@pytest.mark.parametrize(
    ("name", "file", "before", "after", "said"),
    [
        ("names", "metadata.yaml", "kind: merge", "kind: heap", "kind"),
        ("names", "metadata.yaml", "[names_daily]", "[nobody]", "nobody, which no model makes"),
        ("names", "metadata.yaml", "[names_daily]", "[actors]", "reads itself"),
        ("names", "metadata.yaml", "owner:", "colour: red\nowner:", "colour"),
        ("names", "metadata.yaml", "[kind, id]", "[kind, it]", "columns that it does not have"),
        ("names", "metadata.yaml", "[names_daily]", "[names_daily, events_base]", "a merge reads one table"),
        ("names", "schema.yaml", "type: INT64", "type: INT", "type"),
        ("names", "schema.yaml", "name: kind", "name: id", "two columns have the same name"),
        ("names", "checks.yaml", "name: seen_in_order", "severity: maybe", "severity"),
        ("names", "checks.yaml", "unique: [kind, id, name]", "unique: [kind, it]", "columns that it does not have"),
        ("names", "checks.yaml", "unique: [kind, id, name]", "name: nothing", "one of unique, not_null and sql"),
        ("names", "checks.yaml", "name: seen_in_order", "severity: warn", "needs a name"),
        ("names", "checks.yaml", "name: seen_in_order", "name: unique", "two checks have the same name"),
        ("names", "metadata.yaml", "kind: merge", "kind: view", "only stored tables have checks"),
        ("names", "metadata.yaml", "kind: merge", "kind: log", "a log has no query"),
        ("dimensions", "query.sql", "{{ kind }}", "{{ sort }}", "cannot be rendered"),
    ],
)
def test_an_invalid_model_is_refused(folder: Path, name: str, file: str, before: str, after: str, said: str) -> None:
    path = folder / name / file
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after, 1), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_models(folder)


def test_invalid_yaml_is_refused(folder: Path) -> None:
    (folder / "names/schema.yaml").write_text("- [", encoding="utf-8")
    with pytest.raises(UsageError, match="is not valid YAML"):
        read_models(folder)


def test_what_is_said_of_a_column_is_the_same_in_every_table() -> None:
    """A column that two tables share has one type."""
    types: dict[str, set[str]] = {}
    for model in models():
        for column in model.columns:
            types.setdefault(column.name, set()).add(column.type)
    assert {name: found for name, found in types.items() if len(found) > 1} == {"hour": {"STRING", "TIMESTAMP"}}


def test_a_template_makes_a_table_for_each_entry() -> None:
    found = by_name(models())
    for name, kind in (("actors", "actor"), ("orgs", "org"), ("repos", "repo")):
        model = found[name]
        assert f"kind = '{kind}'" in model.query
        assert model.key == (f"{kind}_id",)
        assert not [text for text in (model.query, model.title, model.description) if "{{" in text]


@pytest.mark.parametrize(
    ("check", "rows", "violations"),
    [
        ("unique", [("actor", 1, "ann"), ("actor", 2, "ann"), ("repo", 1, "ann")], 0),
        ("unique", [("actor", 1, "ann"), ("actor", 1, "ann"), ("actor", 1, "ann"), (None, 1, "a"), (None, 1, "a")], 2),
        ("not_null", [("actor", 1, "ann")], 0),
        ("not_null", [("actor", None, "ann"), ("actor", 1, None), (None, None, None), ("actor", 1, "ann")], 3),
    ],
)
def test_built_in_checks_count_violations(
    folder: Path, check: str, rows: list[tuple[object, ...]], violations: int
) -> None:
    (folder / "names/checks.yaml").write_text(
        "- {why: a test, unique: [kind, id, name]}\n- {why: a test, not_null: [id, name], severity: warn}\n"
    )
    (found,) = (each for each in by_name(read_models(folder))["names"].checks if each.name == check)
    with connect() as database:
        database.execute("CREATE TABLE names (kind VARCHAR, id BIGINT, name VARCHAR)")
        database.executemany("INSERT INTO names VALUES (?, ?, ?)", rows)
        assert len(database.execute(translate(found.sql, Dialect.DUCKDB, {})).fetchall()) == violations


def test_bigquery_gets_what_is_written() -> None:
    sql = "SELECT id FROM names WHERE first_seen > last_seen"
    assert translate(sql, Dialect.BIGQUERY, {}) == sql
