"""``report`` and ``serve``: the dashboard of the warehouse, as a file, live, or as a link to Looker Studio."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, print_json, takes_format
from etl.cli.ranges import takes_days
from etl.cli.status import write_whole
from etl.errors import UsageError
from etl.plural import plural

if TYPE_CHECKING:
    from etl.report.server import LivePage
    from etl.warehouse.lake_inputs import Days

_OUT: Final = Path("report.html")
_COVERAGE_PATH: Final = "/coverage"


@click.command(
    cls=Command,
    examples=(
        ("report", "all that is in the warehouse, as report.html"),
        ("report 2015-01-01 2015-01-31 --out january.html", "a month"),
        ("report --coverage coverage.html", "with the lake's coverage as a second page; each links to the other"),
        ("report --looker-studio my-project.gharchive", "links that open the marts in Looker Studio"),
    ),
)
@takes_days
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help=f"Where to write the page; {_OUT} if not given.",
)
@click.option(
    "--coverage",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the lake's coverage page there too; the two pages link to each other.",
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
@takes_format(help="It says where the page is, or has the links.")
@with_session("lake", "warehouse")
def report(
    session: Session,
    days: Days,
    out: Path | None,
    coverage: Path | None,
    looker_studio: str | None,
    template: str | None,
    form: str,
) -> None:
    """Write the dashboard: one HTML file that needs no network, with filters by day, type, user and repository.

    Run `build` first; with --lake, this says how much `build` has yet to do. docs/how-to/dashboard.md says how
    each figure is counted.
    """
    if looker_studio is not None:
        if out is not None or coverage is not None or days.first is not None:
            raise UsageError("--looker-studio writes no page", hint="leave out --out, --coverage, FROM and TO")
        _print_links(session, looker_studio, template, form)
        return
    if template is not None:
        raise UsageError("--template is for --looker-studio", hint="name the dataset with --looker-studio")
    from etl.cli.formatting import size_text

    path = _OUT if out is None else out
    if coverage is not None and coverage.absolute() == path.absolute():
        raise UsageError(f"both pages cannot be in {path}", hint="name another file with --coverage")
    link = None if coverage is None else _link(path, coverage)
    content = dashboard_page(session.settings.warehouse, days, coverage=link).encode()
    write_whole(path, content)
    if coverage is not None:
        write_whole(coverage, _coverage_page(session, dashboard=_link(coverage, path)).encode())
    behind = None if session.loaded.origins["lake"] == "default" else _behind(session, days)
    if form == JSON:
        pages = {"page": str(path), "coverage": None if coverage is None else str(coverage)}
        print_json({**pages, "bytes": len(content), "partitions_behind": behind})
        return
    session.out.print(f"the dashboard is in {path} ({size_text(len(content))}); open it in a browser")
    if coverage is not None:
        session.out.print(f"the lake's coverage is in {coverage}")
    if behind:
        session.out.print(
            f"{plural(behind, 'partition is', 'partitions are')} behind the lake {session.settings.lake};"
            " `build` updates them"
        )


@click.command(
    cls=Command,
    examples=(
        ("serve", "the dashboard at http://127.0.0.1:8000/, of coverage at /coverage"),
        ("serve 2015-01-01 2015-01-31 --port 0", "a month, wherever there is room"),
    ),
)
@takes_days
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0 takes a free one.")
@with_session("lake", "warehouse")
def serve(session: Session, days: Days, port: int) -> None:
    """Show the dashboard and the lake's coverage on this machine, to nobody else, until Ctrl-C.

    Reload the page to see what `build` has changed since.
    """
    from etl.report.server import PageServer

    _require_dashboard(session.settings.warehouse)
    server = PageServer({"/": _live_dashboard(session, days), _COVERAGE_PATH: _live_coverage(session)}, port)
    session.out.print(f"the dashboard is at {server.address}, the lake's coverage at {server.address}coverage")
    session.out.file.flush()
    server.serve()


def dashboard_page(address: str, days: Days, *, coverage: str | None = None) -> str:
    """Renders the dashboard of a warehouse.

    Args:
        address: The warehouse.
        days: The days it shows.
        coverage: The link to the coverage page; none if None.
    """
    from etl.report import aggregates, dashboard
    from etl.warehouse.table_state import Warehouse

    warehouse = Warehouse.at(address)
    counts = aggregates.read(warehouse, days.first, days.last)
    return dashboard.render(counts, warehouse=warehouse.address, now=datetime.now(UTC), coverage=coverage)


def _require_dashboard(address: str) -> None:
    """Raises an error at the start if every request would fail: without the library or a local warehouse."""
    from etl.report import vega_bundle
    from etl.warehouse.duckdb_views import opened
    from etl.warehouse.table_state import Warehouse

    with opened(Warehouse.at(address)):
        vega_bundle.library()


def _coverage_page(session: Session, *, dashboard: str) -> str:
    from etl.coverage.coverage import coverage
    from etl.report import coverage_page

    lake, now = session.lake(), datetime.now(UTC)
    table = coverage(lake, None, thresholds=session.thresholds(), now=now)
    return coverage_page.render(table, lake=lake.address, now=now, dashboard=dashboard)


def _link(page: Path, other: Path) -> str:
    """Returns the relative link from one file to another."""
    return quote(Path(os.path.relpath(other.absolute(), page.absolute().parent)).as_posix())


def _behind(session: Session, days: Days) -> int:
    """Returns how many partitions `build` would build from the lake."""
    from etl.warehouse.build import BuildOptions, planned
    from etl.warehouse.table_state import Warehouse

    options = BuildOptions(days=days, thresholds=session.thresholds())
    return len(planned(Warehouse.at(session.settings.warehouse), session.lake(), options, now=datetime.now(UTC)))


def _live_dashboard(session: Session, days: Days) -> LivePage:
    from etl.report.server import LivePage
    from etl.warehouse.table_state import TABLES, Warehouse

    store = Warehouse.at(session.settings.warehouse).store
    return LivePage(
        version=lambda: [(info.key, info.generation) for info in store.list(f"{TABLES}/")],
        render=lambda: dashboard_page(session.settings.warehouse, days, coverage=_COVERAGE_PATH),
    )


def _live_coverage(session: Session) -> LivePage:
    from etl.report.server import LivePage

    # What is due, and what is late, changes with the clock, so this page is rendered for each request.
    return LivePage(version=lambda: datetime.now(UTC), render=lambda: _coverage_page(session, dashboard="/"))


def _print_links(session: Session, dataset: str, template: str | None, form: str) -> None:
    from etl.report import looker_studio

    if template is not None:
        link = looker_studio.link_to_template(dataset, template)
        print_json({"template": link}) if form == JSON else session.out.print(link, soft_wrap=True)
        return
    links = looker_studio.links(dataset)
    if form == JSON:
        print_json(links)
        return
    for table, link in links.items():
        session.out.print(table, style="bold")
        session.out.print(link, soft_wrap=True)
