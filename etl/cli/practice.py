"""``practice``: made-up hours in the archive's own forms, as files or from a local server."""

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
    "--events", type=click.IntRange(min=0), metavar="N", help="Events an hour; 300000 make one as large as in 2024."
)
_SEED = click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Another seed, another world.")


@click.group(
    cls=Group,
    examples=(
        ("practice make 2015-01-01 --out practice", "a day as files"),
        ("practice serve", "an archive on this machine"),
    ),
)
def practice() -> None:
    """Make up hours in the archive's own forms, to try things without the network.

    People, repositories and texts in them are invented; the forms of all eras are the real ones.
    """


@practice.command(
    cls=Command,
    examples=(
        ("practice make 2015-01-01 --out practice", "a day"),
        ("--at 2015-01-01-15 --source practice --lake lake-practice", "and then one of its hours into a lake"),
        ("practice make 2024-05-21-0 2024-05-21-0 --out big --events 300000", "an hour of today's size"),
    ),
)
@takes_hours(required=True)
@click.option(
    "--out",
    required=True,
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder for the files, named as the archive names them.",
)
@_EVENTS
@_SEED
def make(hours: HourRange, out: Path, events: int | None, seed: int) -> None:
    """Write practice hours as files, each with its manifest.

    Files that are there already and were made the same way are kept.
    """
    from etl.practice.generator import write_archive

    count = len(write_archive(hours, out, events=events, seed=seed))
    click.echo(f"{plural(count, 'hour is', 'hours are')} in {out}")
    if count < len(hours):
        click.echo(f"{plural(len(hours) - count, 'other hour')} never existed in the real archive either")


@practice.command(
    cls=Command,
    examples=(
        ("practice serve", "all hours from 2011 to now, each made when it is asked for"),
        ("--at 2015-01-01-15 --source http://127.0.0.1:8080 --lake lake-practice", "and meanwhile, elsewhere"),
        ("practice serve --from 2015-01-01 --to 2015-01-01", "a day; all other hours are 404"),
        ("practice serve --folder practice", "files made before"),
        ("practice serve --faults plan.yaml", "an archive that fails as the plan says"),
    ),
)
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option(
    "--from", "first", type=HoursType(), metavar="HOUR|DAY", help="The first hour there is; else the archive's first."
)
@click.option(
    "--to", "last", type=HoursType(), metavar="HOUR|DAY", help="The last hour there is; else the newest that is over."
)
@_EVENTS
@_SEED
@click.option(
    "--folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Serve the files of this folder, and make up none.",
)
@click.option(
    "--faults",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="A plan (YAML) of what goes wrong; /faults.json counts what did.",
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
    """Serve a practice archive on this machine, until Ctrl-C.

    With --faults it fails on order: 404s that end, errors, broken connections, files that are cut, shrunk or
    changed. docs/how-to/practice.md describes the plan.
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
    click.echo(f"a practice archive is at {server.address} until Ctrl-C; fetch from it with --source {server.address}")
