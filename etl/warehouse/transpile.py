"""Translates BigQuery's SQL to the dialects of DuckDB and Spark.

sqlglot does nearly all of it. What it does not do, or does so that engines would differ, is done here on its syntax
tree: parameters become literals, JSON is parsed once a row, hashes are hexadecimal, keys of JSON objects are listed,
and arrays keep their order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, cast

from etl.errors import UsageError, missing_extra
from etl.warehouse.models import Column

if TYPE_CHECKING:
    from sqlglot import exp

DUCKDB_MACROS: Final = (
    "CREATE OR REPLACE TEMP MACRO json_texts(doc, paths) AS TRY(json_extract_string(doc, paths))",
    "CREATE OR REPLACE TEMP MACRO json_names(doc) AS TRY(json_keys(doc))",
)
"""What has to be run on a DuckDB connection before a translated query."""


_WIDE: Final = "payload"
"""The column that holds nearly all bytes."""
_PLACE: Final = re.compile(r"'@([a-z_]+)'")


class Dialect(StrEnum):
    """SQL dialects, by sqlglot's names."""

    BIGQUERY = "bigquery"
    DUCKDB = "duckdb"
    SPARK = "spark"


Parameters = Mapping[str, datetime]
"""Values for ``@name`` in a query: instants, aware."""


def translate(sql: str, dialect: Dialect, parameters: Parameters, *, broadcast: tuple[str, ...] = ()) -> str:
    """Returns a query in an engine's dialect, with literals for its parameters.

    Args:
        sql: One query in BigQuery's dialect.
        dialect: The engine's.
        parameters: Values of its parameters.
        broadcast: Subqueries (``WITH``) whose result is small, which Spark broadcasts when they are joined.

    Raises:
        UsageError: If sqlglot is not installed, or a parameter has no value.
    """
    return _PLACE.sub(lambda place: _literal(place[1], parameters), _template(sql, dialect, broadcast))


@cache
def _template(sql: str, dialect: Dialect, broadcast: tuple[str, ...]) -> str:
    """Returns a query in an engine's dialect with placeholders; a build runs it for many days."""
    tree = _with_places(_parsed(sql))
    if dialect is not Dialect.BIGQUERY:
        tree = _named_alike(tree)
    if dialect is Dialect.DUCKDB:
        tree = _for_duckdb(tree)
    if dialect is Dialect.SPARK:
        tree = _for_spark(tree, broadcast)
    return tree.sql(dialect=dialect.value, comments=False)


def _literal(name: str, parameters: Parameters) -> str:
    if name not in parameters:
        raise UsageError(f"the query wants a value for @{name}, which it does not get")
    return f"'{parameters[name].isoformat(sep=' ', timespec='microseconds')}'"


def shaped(sql: str, columns: Iterable[Column], dialect: Dialect) -> str:
    """Wraps a translated query so that it returns exactly these columns, in these types and this order."""
    from sqlglot import exp  # noqa: PLC0415 -- comes with the extra

    casts = [
        exp.alias_(exp.cast(exp.column(column.name, quoted=True), _kind(column), dialect="bigquery"), column.name)
        for column in columns
    ]
    return f"SELECT {', '.join(cast.sql(dialect=dialect.value) for cast in casts)} FROM ({sql}) AS given"  # noqa: S608


def tables_of(sql: str) -> set[str]:
    """Returns the tables that a query reads, without those it defines itself."""
    from sqlglot import exp  # noqa: PLC0415 -- comes with the extra

    tree = _parsed(sql)
    own = {cte.alias for cte in tree.find_all(exp.CTE)}
    return {table.name for table in tree.find_all(exp.Table)} - own - {""}


def _parsed(sql: str) -> exp.Expression:
    try:
        import sqlglot  # noqa: PLC0415 -- comes with the extra
    except ModuleNotFoundError as error:
        raise missing_extra("sqlglot", "warehouse") from error
    return cast("exp.Expression", sqlglot.parse_one(sql, read="bigquery"))


def _kind(column: Column) -> exp.DataType:
    from sqlglot import exp  # noqa: PLC0415

    return exp.DataType.build(column.type, dialect="bigquery")


def _with_places(tree: exp.Expression) -> exp.Expression:
    from sqlglot import exp  # noqa: PLC0415

    def place(node: exp.Expression) -> exp.Expression:
        if not isinstance(node, exp.Parameter):
            return node
        return exp.cast(exp.Literal.string(f"@{node.name}"), exp.DataType.Type.TIMESTAMPTZ)

    return tree.transform(place)


def _named_alike(tree: exp.Expression) -> exp.Expression:
    """Replaces functions that the two engines name differently or do not have."""
    from sqlglot import exp  # noqa: PLC0415

    def replaced(node: exp.Expression) -> exp.Expression:
        # BigQuery's hashes are bytes, and TO_HEX makes text of them; the others' are hexadecimal text at once.
        if isinstance(node, exp.LowerHex) and isinstance(node.this, exp.SHA2 | exp.SHA2Digest):
            return exp.Anonymous(this="hex_sha256", expressions=[node.this.this])
        if isinstance(node, exp.JSONKeysAtDepth):
            # A key that the document has twice the others name twice: the query has to make one of them.
            first = node.find(exp.ParseJSON)
            if first is not None and isinstance(first.this, exp.Column):
                return exp.Anonymous(this="json_names", expressions=[first.this])
        return node

    return tree.transform(replaced)


def _for_duckdb(tree: exp.Expression) -> exp.Expression:
    from sqlglot import exp  # noqa: PLC0415

    for cte in tree.find_all(exp.CTE):
        # Else what is named twice would be written out whole, with all payloads, before it is read.
        if any(column.name == _WIDE for column in cte.find_all(exp.Column)):
            cte.set("materialized", False)  # noqa: FBT003 -- how a part of a tree is set
    for select in tree.find_all(exp.Select):
        _parse_json_once(select)

    def renamed(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Anonymous) and node.name == "hex_sha256":
            return exp.Anonymous(this="sha256", expressions=node.expressions)
        if isinstance(node, exp.CountIf):
            # DuckDB's own gives null, not zero, where the condition is null in all rows.
            return exp.Count(this=exp.Case().when(node.this, exp.Literal.number(1)))
        return node

    return tree.transform(renamed)


def _parse_json_once(select: exp.Select) -> None:
    """Merges all ``JSON_VALUE(column, path)`` of a select into one call; equal calls are evaluated once per row."""
    from sqlglot import exp  # noqa: PLC0415

    calls: dict[str, list[exp.JSONExtractScalar]] = {}
    for projection in select.expressions:
        for call in projection.find_all(exp.JSONExtractScalar):
            calls.setdefault(call.this.sql(), []).append(call)
    for same in calls.values():
        paths = list(dict.fromkeys(call.expression.sql(dialect="bigquery") for call in same))
        listed = f"[{', '.join(paths)}]"
        for call in same:
            position = paths.index(call.expression.sql(dialect="bigquery")) + 1
            document = call.this.sql(dialect="duckdb")
            call.replace(exp.maybe_parse(f"json_texts({document}, {listed})[{position}]", dialect="duckdb"))


def _for_spark(tree: exp.Expression, broadcast: tuple[str, ...]) -> exp.Expression:
    from sqlglot import exp  # noqa: PLC0415

    for select in list(tree.find_all(exp.Select)):
        _read_json_once(select)
    _broadcast(tree, broadcast)

    def renamed(node: exp.Expression) -> exp.Expression:
        if isinstance(node, exp.Anonymous) and node.name == "hex_sha256":
            return exp.Anonymous(this="sha2", expressions=[*node.expressions, exp.Literal.number(256)])
        if isinstance(node, exp.Anonymous) and node.name == "json_names":
            return exp.maybe_parse(f"json_object_keys({node.expressions[0].sql(dialect='spark')})")
        if isinstance(node, exp.RegexpReplace):
            # A group is $1 to Java.
            node.set("replacement", exp.Literal.string(re.sub(r"\\(\d)", r"$\1", node.args["replacement"].name)))
        if isinstance(node, exp.ArrayAgg) and isinstance(node.this, exp.Order):
            return _ordered_array(node.this)
        return node

    return tree.transform(renamed)


def _read_json_once(select: exp.Select) -> None:
    """Lets Spark parse a document once for all ``JSON_VALUE(column, path)`` of a select from one table.

    ``get_json_object`` reads it again for each path. ``from_json`` takes the last of keys that come twice in a struct,
    where the other engines take the first; a map keeps both, and is asked for the first. So objects inside of the
    document are read as maps, and a document with such keys at its top is read as a map, too.
    """
    from sqlglot import exp  # noqa: PLC0415 -- comes with the extra

    calls: dict[str, list[exp.JSONExtractScalar]] = {}
    for projection in select.expressions:
        for call in projection.find_all(exp.JSONExtractScalar):
            calls.setdefault(call.this.name, []).append(call)
    table = select.args["from_"].this if select.args.get("from_") and not select.args.get("joins") else None
    if not isinstance(table, exp.Table):
        return
    for column, same in calls.items():
        paths = {call: [part.this for part in call.expression.expressions[1:]] for call in same}
        schema = _schema(list(paths.values()))
        if schema is None:
            continue
        name = table.alias_or_name
        read = exp.select("*", f"FROM_JSON({column}, '{schema}') AS {column}_read", dialect="spark")
        keys = f"SELECT *, JSON_OBJECT_KEYS({column}) AS {column}_keys FROM {table.sql()}"  # noqa: S608 -- a model's
        twice = f"SIZE({column}_keys) > SIZE(ARRAY_DISTINCT({column}_keys)) AS {column}_is_twice"
        table.replace(read.select(twice, dialect="spark").from_(f"({keys}) AS {name}", dialect="spark").subquery(name))
        table = select.args["from_"].this
        for call, path in paths.items():
            call.replace(exp.maybe_parse(_field(column, path), dialect="spark"))


def _schema(paths: list[list[object]]) -> str | None:
    """Returns the schema of a document that has these paths; None if one is not plain, or part of another."""
    fields: dict[str, str] = {}
    for path in paths:
        if not path or not all(isinstance(name, str) and name.isidentifier() for name in path):
            return None
        kind = "STRING" if len(path) == 1 else "MAP<STRING, STRING>"
        if fields.setdefault(str(path[0]), kind) != kind:
            return None
    return ", ".join(f"`{name}` {kind}" for name, kind in fields.items())


def _field(column: str, path: list[object]) -> str:
    first, *rest = map(str, path)
    from_map = f"FROM_JSON({column}, 'MAP<STRING, STRING>')['{first}']"
    from_struct = f"{column}_read.`{first}`"
    if rest:
        from_map = f"GET_JSON_OBJECT({from_map}, '$.{'.'.join(rest)}')"
        from_struct = f"{from_struct}['{rest[0]}']"
    if rest[1:]:
        from_struct = f"GET_JSON_OBJECT({from_struct}, '$.{'.'.join(rest[1:])}')"
    return f"IF({column}_is_twice, {from_map}, {from_struct})"


def _broadcast(tree: exp.Expression, subqueries: tuple[str, ...]) -> None:
    """Adds a broadcast hint to each join with a small subquery: Spark cannot know its size in advance."""
    from sqlglot import exp  # noqa: PLC0415

    for select in tree.find_all(exp.Select):
        small = [join.alias_or_name for join in select.args.get("joins") or () if join.alias_or_name in subqueries]
        if small:
            select.set("hint", exp.Hint(expressions=[exp.func("BROADCAST", *map(exp.to_identifier, small))]))


def _ordered_array(order: exp.Order) -> exp.Expression:
    """Sorts a collected array by its sort keys: Spark collects in any order."""
    from sqlglot import exp  # noqa: PLC0415

    if any(part.args.get("desc") for part in order.expressions):
        raise UsageError("ARRAY_AGG in a model is in ascending order, for Spark's sake")
    keys = [part.this.sql(dialect="spark") for part in order.expressions]
    fields = ", ".join(f"{key} AS k{number}" for number, key in enumerate(keys))
    value = order.this.sql(dialect="spark")
    return exp.Anonymous(
        this="TRANSFORM",
        expressions=[
            exp.maybe_parse(f"SORT_ARRAY(COLLECT_LIST(STRUCT({fields}, {value} AS value)))", dialect="spark"),
            exp.Lambda(this=exp.column("value", table="item"), expressions=[exp.to_identifier("item")]),
        ],
    )
