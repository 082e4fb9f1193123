"""``schema``: the lake's columns in several formats, and the warehouse's tables as BigQuery resources."""

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
    help="Output format. Default: markdown, drawn as a table on a terminal. json is the same as bigquery.",
)
@click.option(
    "--tables",
    is_flag=True,
    help="Print the warehouse's tables and views instead, as a JSON array of BigQuery resources with the placeholders"
    " {project}, {dataset} and {reporting_dataset}.",
)
@click.option(
    "--events-by",
    type=click.Choice(("day", "hour")),
    default=None,
    help="Partition granularity of events_base, with --tables. Default: day.",
)
def schema(form: str | None, events_by: str | None, *, tables: bool) -> None:
    """Print the schema of the lake's hours, or the warehouse's tables."""
    if tables:
        if form not in {None, "json"}:
            raise UsageError("--tables prints JSON only", hint="remove --format")
        _print_tables(cast("Cut", events_by or "day"))
        return
    if events_by is not None:
        raise UsageError("--events-by requires --tables", hint="the lake is always partitioned by hour")
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
    """Prints Markdown on a terminal."""
    from rich.console import Console
    from rich.markdown import Markdown

    Console().print(Markdown(markdown))


def _print_tables(events_by: Cut) -> None:
    import json

    from etl.warehouse.bigquery.ddl import resources

    found: list[dict[str, Any]] = resources(events_by)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
