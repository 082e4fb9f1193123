"""``practice``: generate synthetic hours as files or from a local server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from etl.cli.command_base import Command, Group
from etl.cli.ranges import HoursType, takes_hours
from etl.hours import FIRST_HOUR, HourRange, newest_finished_hour
from etl.plural import plural

if TYPE_CHECKING:
    from etl.practice.server import PracticeServer

_EVENTS = click.option(
    "--events", type=click.IntRange(min=0), metavar="N", help="Events per hour; 300000 is the size of an hour of 2024."
)
_SEED = click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the random generator."
)


@click.group(
    cls=Group,
    examples=(
        ("practice make 2015-01-01 --out practice", "write a day of hours as files"),
        ("practice serve", "serve an archive on this machine"),
    ),
)
def practice() -> None:
    """Generate synthetic hours in the archive's format, to try things without a network.

    People, repositories and texts are invented; the formats of all eras are the real ones.
    """


@practice.command(
    cls=Command,
    examples=(
        ("practice make 2015-01-01 --out practice", "write one day"),
        ("--at 2015-01-01-15 --source practice --lake lake-practice", "then fetch one of its hours"),
        ("practice make 2024-05-21-0 2024-05-21-0 --out big --events 300000", "write an hour of realistic size"),
    ),
)
@takes_hours(required=True)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for the files, which have the archive's names.",
)
@_EVENTS
@_SEED
def make(hours: HourRange, out: Path, events: int | None, seed: int) -> None:
    """Write practice hours as files, each with its sidecar manifest.

    Existing files that were generated with the same options are kept.
    """
    from etl.practice.generator import write_archive

    count = len(write_archive(hours, out, events=events, seed=seed))
    click.echo(f"{plural(count, 'hour is', 'hours are')} in {out}")
    if count < len(hours):
        click.echo(f"{plural(len(hours) - count, 'other hour')} never existed in the real archive either")


@practice.command(
    cls=Command,
    examples=(
        ("practice serve", "serve all hours since 2011, generated on request"),
        ("--at 2015-01-01-15 --source http://127.0.0.1:8080 --lake lake-practice", "fetch one, in another terminal"),
        ("practice serve --from 2015-01-01 --to 2015-01-01", "serve one day; all other hours are 404"),
        ("practice serve --folder practice", "serve existing files"),
        ("practice serve --faults plan.yaml", "serve with planned failures"),
    ),
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="Port; 0 for a free one.")
@click.option("--from", "first", type=HoursType(), metavar="HOUR|DAY", help="First hour. Default: the archive's first.")
@click.option(
    "--to", "last", type=HoursType(), metavar="HOUR|DAY", help="Last hour. Default: the newest finished hour."
)
@_EVENTS
@_SEED
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Serve the files in this folder instead of generated hours.",
)
@click.option(
    "--faults",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Fault plan in YAML; /faults.json counts the faults that occurred.",
)
def serve(
    port: int,
    first: HourRange | None,
    last: HourRange | None,
    events: int | None,
    seed: int,
    folder: Path | None,
    faults: Path | None,
) -> None:
    """Serve a practice archive on this machine until Ctrl-C.

    With --faults it fails as planned: temporary 404s, errors, broken connections, and truncated, shrunk or changed
    files. docs/how-to/practice.md describes the plan.
    """
    from etl.practice.faults import FaultyServer, read_plan
    from etl.practice.server import Generated, PracticeServer

    hours = HourRange(
        FIRST_HOUR if first is None else first.first, newest_finished_hour() if last is None else last.last
    )
    source = Generated(hours, events=events, seed=seed) if folder is None else folder
    if faults is None:
        server = PracticeServer(source, port, manifests=True)
    else:
        server = FaultyServer(source, read_plan(faults), port, manifests=True)
    _say_ready(server)
    server.serve()


def _say_ready(server: PracticeServer) -> None:
    click.echo(f"serving a practice archive at {server.address} until Ctrl-C; use it with --source {server.address}")
