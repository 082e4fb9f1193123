"""``schema``: the nineteen columns, in the words of each engine."""

from __future__ import annotations

import rich_click as click

from etl.cli.front import Command


@click.command(
    cls=Command,
    examples=(
        ("schema", "the data dictionary"),
        ("schema --format bigquery > schema.json", "for `bq mk --table --schema schema.json`"),
        ("schema --format spark", "for `StructType.fromJson`"),
    ),
)
@click.option(
    "--format",
    "form",
    type=click.Choice(("markdown", "bigquery", "spark", "arrow")),
    default="markdown",
    show_default=True,
    help="Whose words.",
)
def schema(form: str) -> None:
    """Print the one schema that every hour of every year has."""
    from etl.events import schema as columns

    texts = {
        "markdown": columns.markdown,
        "bigquery": columns.bigquery_json,
        "spark": columns.spark_json,
        "arrow": columns.arrow_text,
    }
    click.echo(texts[form]())
