from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.warehouse.duckdb_engine import connect
from etl.warehouse.models import Column, Model, by_name, models
from etl.warehouse.transpile import Dialect, shaped, tables_of, translate

NOON = datetime(2015, 1, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with connect() as connection:
        yield connection


def asked(database: duckdb.DuckDBPyConnection, sql: str, **parameters: datetime) -> list[tuple[Any, ...]]:
    return database.execute(translate(sql, Dialect.DUCKDB, parameters)).fetchall()


def test_parameters_become_literals(database: duckdb.DuckDBPyConnection) -> None:
    (row,) = asked(database, "SELECT UNIX_MICROS(CAST(@start AS TIMESTAMP)) AS at", start=NOON)
    assert row == (int(NOON.timestamp()) * 1_000_000,)


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(UsageError, match="@end"):
        translate("SELECT @end AS at", Dialect.SPARK, {"start": NOON})


def test_hashes_are_hexadecimal(database: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT TO_HEX(SHA256('ключ')) AS hash"
    assert asked(database, sql) == [(hashlib.sha256("ключ".encode()).hexdigest(),)]
    assert translate(sql, Dialect.SPARK, {}) == "SELECT SHA2('ключ', 256) AS hash"


def test_json_is_read_once_a_row(database: duckdb.DuckDBPyConnection) -> None:
    sql = "SELECT JSON_VALUE(p, '$.a') AS a, JSON_VALUE(p, '$.b.c') AS c, JSON_VALUE(p, '$.a') AS again FROM t"
    made = translate(sql, Dialect.DUCKDB, {})
    assert made.upper().count("['$.A', '$.B.C']") == 3, "equal calls, which DuckDB makes once"
    row = """SELECT '{"a": 1, "b": {"c": "x"}}' AS p"""
    assert asked(database, f"WITH t AS ({row}) {sql}") == [("1", "x", "1")]


@pytest.mark.parametrize(
    ("document", "value", "names"),
    [
        (r'{"a": "\\ud83d"}', r"\ud83d", ["a"]),
        (r'{"a": "x", "b": "\ud83d\ude00"}', "x", ["a", "b"]),
        ("null", None, []),
        ("[1]", None, []),
        ('{"a": null}', None, ["a"]),
        ("not JSON", None, None),
        (None, None, None),
    ],
)
def test_odd_documents_are_no_errors(
    database: duckdb.DuckDBPyConnection, document: str | None, value: str | None, names: list[str] | None
) -> None:
    sql = "SELECT JSON_VALUE(p, '$.a') AS a, JSON_KEYS(PARSE_JSON(p, wide_number_mode => 'round'), 1) AS k FROM t"
    database.execute("CREATE OR REPLACE TEMP TABLE t AS SELECT CAST(? AS VARCHAR) AS p", [document])
    ((found, keys),) = asked(database, sql)
    assert found == value
    assert (keys if keys is None else sorted(keys)) == names


def test_a_key_that_a_document_has_twice_counts_once(database: duckdb.DuckDBPyConnection) -> None:
    database.execute(
        "CREATE OR REPLACE TEMP TABLE events_base AS SELECT 'PushEvent' AS type, NULL::VARCHAR AS action,"
        " CAST(? AS TIMESTAMPTZ) AS created_at, unnest(?) AS payload",
        [NOON, ['{"a": 1, "a": 2, "b": 3}', '{"b": 1, "a": 2}', '{"a": 1}', "[]", None]],
    )
    query = by_name(models())["drift_daily"].query
    rows = asked(database, query, start=NOON.replace(hour=0), end=NOON.replace(hour=23))
    assert {value: events for _, _, kind, value, events, *_ in rows if kind == "field"} == {"a": 3, "b": 2}


def test_counting_where_a_condition_is_never_known_gives_zero(database: duckdb.DuckDBPyConnection) -> None:
    assert asked(database, "SELECT COUNTIF(CAST(NULL AS BOOL)) AS n FROM (SELECT 1 AS x)") == [(0,)]


def test_duckdb_writes_out_what_is_named_twice_but_never_payloads() -> None:
    made = translate("WITH a AS (SELECT payload FROM t), b AS (SELECT n FROM t) SELECT 1", Dialect.DUCKDB, {})
    assert "a AS NOT MATERIALIZED (" in made
    assert "b AS (" in made


def test_an_array_keeps_its_order_in_spark() -> None:
    made = translate("SELECT ARRAY_AGG(n ORDER BY t, n) AS a FROM x", Dialect.SPARK, {})
    assert "SORT_ARRAY(COLLECT_LIST(STRUCT(t AS k0, n AS k1, n AS value)))" in made
    with pytest.raises(UsageError, match="ascending"):
        translate("SELECT ARRAY_AGG(n ORDER BY t DESC) AS a FROM x", Dialect.SPARK, {})


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        (
            "SELECT JSON_VALUE(doc, '$.a') AS a, JSON_VALUE(doc, '$.b.c') AS c FROM x",
            (
                "SELECT IF(doc_is_twice, FROM_JSON(doc, 'MAP<STRING, STRING>')['a'], doc_read.`a`) AS a,"
                " IF(doc_is_twice, GET_JSON_OBJECT(FROM_JSON(doc, 'MAP<STRING, STRING>')['b'], '$.c'),"
                " doc_read.`b`['c']) AS c"
                " FROM (SELECT *, FROM_JSON(doc, '`a` STRING, `b` MAP<STRING, STRING>') AS doc_read,"
                " SIZE(doc_keys) > SIZE(ARRAY_DISTINCT(doc_keys)) AS doc_is_twice"
                " FROM (SELECT *, JSON_OBJECT_KEYS(doc) AS doc_keys FROM x) AS x) AS x"
            ),
        ),
        (
            "SELECT JSON_VALUE(doc, '$.a') AS a, JSON_VALUE(doc, '$.a.b') AS b FROM x",
            "SELECT GET_JSON_OBJECT(doc, '$.a') AS a, GET_JSON_OBJECT(doc, '$.a.b') AS b FROM x",
        ),
        (
            "SELECT JSON_VALUE(x.doc, '$.a') AS a FROM x CROSS JOIN y",
            "SELECT GET_JSON_OBJECT(x.doc, '$.a') AS a FROM x CROSS JOIN y",
        ),
    ],
    ids=["fields of one schema", "no schema has both", "two tables"],
)
def test_spark_reads_a_document_once_where_it_can(sql: str, said: str) -> None:
    assert translate(sql, Dialect.SPARK, {}) == said


def test_spark_broadcasts_the_subqueries_that_a_model_names() -> None:
    sql = "WITH few AS (SELECT a FROM x) SELECT x.a FROM x INNER JOIN few ON few.a = x.a"
    assert translate(sql, Dialect.SPARK, {}) == sql
    hinted = sql.replace("SELECT x.a", "SELECT /*+ BROADCAST(few) */ x.a")
    assert translate(sql, Dialect.SPARK, {}, broadcast=("few",)) == hinted
    assert translate(sql, Dialect.DUCKDB, {}, broadcast=("few",)) == sql


@pytest.mark.parametrize("model", [model for model in models() if model.broadcast], ids=lambda model: str(model.name))
def test_what_a_model_broadcasts_is_joined(model: Model) -> None:
    parameters = dict.fromkeys(("start", "end", "built_at"), NOON)
    made = translate(model.query, Dialect.SPARK, parameters, broadcast=model.broadcast)
    for name in model.broadcast:
        assert re.search(rf"BROADCAST\([^)]*\b{name}\b", made)


def test_a_query_is_shaped_to_its_columns(database: duckdb.DuckDBPyConnection) -> None:
    columns = [Column(name="n", type="INT64", description="a number"), Column(name="t", type="STRING", description="x")]
    made = shaped("SELECT 'x' AS t, SUM(1) AS n, 5 AS more", columns, Dialect.DUCKDB)
    described = database.execute(f"DESCRIBE {made}").fetchall()
    assert [(name, kind) for name, kind, *_ in described] == [("n", "BIGINT"), ("t", "VARCHAR")]


def test_tables_are_those_that_a_query_does_not_define() -> None:
    assert tables_of("WITH a AS (SELECT x FROM b) SELECT x, y FROM a, UNNEST(x) AS y JOIN c USING (z)") == {"b", "c"}


@pytest.mark.parametrize("dialect", Dialect)
def test_every_model_can_be_said_in_every_dialect(dialect: Dialect) -> None:
    parameters = dict.fromkeys(("start", "end", "built_at"), NOON)
    for model in models():
        for sql in ([model.query] if model.query else []) + [check.sql for check in model.checks]:
            said = translate(sql, dialect, parameters)
            assert not any(f"@{name}" in said for name in parameters)


# A merge is asked of its own rows together with new ones: that has to be the same as asking all rows at once.
TIMES = st.integers(0, 5).map(lambda hour: NOON.replace(hour=hour))
NAMES = st.tuples(st.sampled_from(["actor", "repo"]), st.integers(1, 2), st.sampled_from("ab"), TIMES, TIMES)
ROWS = st.lists(NAMES, max_size=6)


@settings(deadline=None, max_examples=40)
@given(earlier=ROWS, later=ROWS)
def test_a_merge_may_be_asked_bit_by_bit(
    database: duckdb.DuckDBPyConnection, earlier: list[Any], later: list[Any]
) -> None:
    for name in ("names", "drift"):
        model = by_name(models())[name]
        columns = [column.name for column in model.columns]
        kinds = ["TIMESTAMPTZ" if column.type == "TIMESTAMP" else "VARCHAR" for column in model.columns]
        listed = ", ".join(f"{column} {kind}" for column, kind in zip(columns, kinds, strict=True))
        query = translate(model.query, Dialect.DUCKDB, {})
        table = model.reads[0]

        def given_by(rows: list[Any], table: str = table, listed: str = listed, query: str = query) -> set[Any]:
            database.execute(f"CREATE OR REPLACE TEMP TABLE {table} ({listed})")
            for row in rows:
                database.execute(f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?)", list(row))  # noqa: S608 -- models of ours
            return set(database.execute(query).fetchall())

        assert given_by([*given_by(earlier), *later]) == given_by([*earlier, *later])
