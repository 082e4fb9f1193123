"""``settings``: show all settings and where each value comes from."""

from __future__ import annotations

from dataclasses import asdict

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, print_json, takes_format


@click.command(
    cls=Command,
    examples=(
        ("settings", "show all settings; secrets are masked"),
        ("settings --format json | jq -r '.[] | select(.origin != \"default\") | .name'", "list changed settings"),
        ("settings --secrets-file other.json", "read another file"),
    ),
)
@takes_format()
@with_session("sources", "lake", "emails", "max_damage")
def settings(session: Session, form: str) -> None:
    """Show every setting, its value and where the value comes from.

    Precedence: flags, environment (GHARCHIVE_LAKE), .env, secrets.json, defaults. An unknown key in any of them is an
    error.
    """
    from etl.cli.formatting import listing, printable

    shown = session.loaded.shown()
    if form == JSON:
        print_json([asdict(setting) for setting in shown])
        return
    rows = [
        (
            setting.name,
            printable(", ".join(setting.value) if isinstance(setting.value, list) else setting.value) or "-",
            printable(setting.origin),
            setting.meaning,
        )
        for setting in shown
    ]
    session.out.print(listing(("setting", "value", "from", "meaning"), rows))
