"""``schema``: the nineteen columns, in the words of each engine, and the warehouse's tables as BigQuery takes them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, cast

import rich_click as click

from etl.cli.command_base import Command
from etl.errors import UsageError

if TYPE_CHECKING:
    from etl.warehouse.bigquery.ddl import Cut


@click.command(
    cls=Command,
    examples=(
        ("schema", "the data dictionary"),
        ("schema --format bigquery > schema.json", "for `bq mk --table --schema schema.json`"),
        ("schema --format spark", "for `StructType.fromJson`"),
        ("schema --tables > tables.json", "every table and view of the warehouse, for Terraform"),
    ),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("markdown", "json", "bigquery", "spark", "arrow")),
    default=None,
    help="markdown is the default: a table on a terminal, Markdown elsewhere. json, bigquery and spark are one JSON"
    " document each; json is BigQuery's form.",
)
@click.option(
    "--tables",
    is_flag=True,
    help="Instead of the lake's columns: the warehouse's tables and views as a JSON array of BigQuery's own resources,"
    " with {project}, {dataset} and {reporting_dataset} where names belong.",
)
@click.option(
    "--events-by",
    type=click.Choice(("day", "hour")),
    default=None,
    help="With --tables: how events_base is cut; day if not given.",
)
def schema(form: str | None, events_by: str | None, *, tables: bool) -> None:
    """Print the one schema that every hour of every year has, or the tables that are made of it."""
    if tables:
        if form not in {None, "json"}:
            raise UsageError("--tables is JSON only", hint="leave out --format")
        _print_tables(cast("Cut", events_by or "day"))
        return
    if events_by is not None:
        raise UsageError("--events-by is for --tables", hint="the lake is cut by the hour in any case")
    from etl.events import schema as columns

    texts = {
        "markdown": columns.markdown,
        "json": columns.bigquery_json,
        "bigquery": columns.bigquery_json,
        "spark": columns.spark_json,
        "arrow": columns.arrow_text,
    }
    if form is None and sys.stdout.isatty():
        _draw(columns.markdown())
    else:
        click.echo(texts[form or "markdown"]())


def _draw(markdown: str) -> None:
    """Prints Markdown as a terminal can show it."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(markdown))


def _print_tables(events_by: Cut) -> None:
    import json

    from etl.warehouse.bigquery.ddl import resources

    found: list[dict[str, Any]] = resources(events_by)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
