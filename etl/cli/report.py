"""``report`` and ``serve``: the dashboard of the warehouse, as a file, live, or as a link to Looker Studio."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.build import DayType
from etl.cli.front import Command
from etl.cli.session import Session, with_session
from etl.cli.status import write_whole
from etl.errors import UsageError

if TYPE_CHECKING:
    from datetime import date

    from etl.report.server import LivePage

_OUT: Final = Path("report.html")


@click.command(
    cls=Command,
    examples=(
        ("report", "all that is in the warehouse, as report.html"),
        ("report 2015-01-01 2015-01-31 --out january.html", "a month"),
        ("report --looker-studio my-project.gharchive", "links that open the marts in Looker Studio"),
    ),
)
@click.argument("first", metavar="[FROM", required=False, type=DayType())
@click.argument("last", metavar="[TO]]", required=False, type=DayType())
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Where to write the page; {_OUT} if not given.",
)
@click.option(
    "--looker-studio",
    metavar="PROJECT.DATASET",
    help="Write no page: print links that open reports on the tables of this dataset in BigQuery.",
)
@click.option(
    "--template",
    metavar="REPORT_ID",
    help="With --looker-studio: one link, to a copy of your own report whose data sources have the marts' names.",
)
@with_session("warehouse")
def report(
    session: Session,
    first: date | None,
    last: date | None,
    out: Path | None,
    looker_studio: str | None,
    template: str | None,
) -> None:
    """Write the dashboard: one HTML file that needs no network, with filters by day, type, user and repository.

    FROM and TO are days, both included. Run `build` first. docs/dashboard.md says how each figure is counted.
    """
    if looker_studio is not None:
        if out is not None or first is not None:
            raise UsageError("--looker-studio writes no page", hint="leave out --out, FROM and TO")
        _print_links(session, looker_studio, template)
        return
    if template is not None:
        raise UsageError("--template is for --looker-studio", hint="name the dataset with --looker-studio")
    if first is not None and last is not None and last < first:
        raise UsageError(f"the range ends ({last}) before it begins ({first})")
    from etl.cli.tables import size_text

    path = _OUT if out is None else out
    content = dashboard_page(session.settings.warehouse, first, last).encode()
    write_whole(path, content)
    session.out.print(f"the dashboard is in {path} ({size_text(len(content))}); open it in a browser")


@click.command(
    cls=Command,
    examples=(
        ("serve", "the dashboard at http://127.0.0.1:8000/, of coverage at /coverage"),
        ("serve 2015-01-01 2015-01-31 --port 0", "a month, wherever there is room"),
    ),
)
@click.argument("first", metavar="[FROM", required=False, type=DayType())
@click.argument("last", metavar="[TO]]", required=False, type=DayType())
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@with_session("lake", "warehouse")
def serve(session: Session, first: date | None, last: date | None, port: int) -> None:
    """Show the dashboard and the lake's coverage on this machine, to nobody else, until Ctrl-C.

    Reload the page to see what `build` has changed since.
    """
    from etl.report.server import PageServer

    server = PageServer({"/": _live_dashboard(session, first, last), "/coverage": _live_coverage(session)}, port)
    session.out.print(f"the dashboard is at {server.address}, the lake's coverage at {server.address}coverage")
    session.out.file.flush()
    server.serve()


def dashboard_page(address: str, first: date | None, last: date | None) -> str:
    """Makes the dashboard of the warehouse at an address, from one day to another, both included."""
    from etl.report import cube, dashboard
    from etl.warehouse.tables import Warehouse

    warehouse = Warehouse.at(address)
    counts = cube.read(warehouse, first, last)
    return dashboard.render(counts, warehouse=warehouse.address, now=datetime.now(UTC))


def _live_dashboard(session: Session, first: date | None, last: date | None) -> LivePage:
    from etl.report.server import LivePage
    from etl.warehouse.tables import TABLES, Warehouse

    store = Warehouse.at(session.settings.warehouse).store
    return LivePage(
        version=lambda: [(info.key, info.generation) for info in store.list(f"{TABLES}/")],
        render=lambda: dashboard_page(session.settings.warehouse, first, last),
    )


def _live_coverage(session: Session) -> LivePage:
    from etl.lake.coverage import coverage
    from etl.report import coverage_page
    from etl.report.server import LivePage

    def render() -> str:
        lake, now = session.lake(), datetime.now(UTC)
        table = coverage(lake, None, thresholds=session.thresholds(), now=now)
        return coverage_page.render(table, lake=lake.address, now=now)

    # What is due, and what is late, changes with the clock, so this page is made for each request.
    return LivePage(version=lambda: datetime.now(UTC), render=render)


def _print_links(session: Session, dataset: str, template: str | None) -> None:
    from etl.report import looker_studio

    if template is not None:
        session.out.print(looker_studio.link_to_template(dataset, template), soft_wrap=True)
        return
    for table, link in looker_studio.links(dataset).items():
        session.out.print(table, style="bold")
        session.out.print(link, soft_wrap=True)
