"""The command ``demo``: from an hour of the archive to the dashboard, with generated hours if there is no network."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.run import run_and_report
from etl.errors import EtlError
from etl.hours import Hour
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from etl.archive.source import Source
    from etl.lake.lake import Lake

_PATIENCE_SECONDS: Final = 3.0
_PRACTICE_LAKE: Final = "demo/lake"
_PRACTICE_WAREHOUSE: Final = "demo/warehouse"
_PRACTICE_PAGE: Final = Path("demo/report.html")
_PAGE: Final = Path("report.html")
_TABLE_LIBRARIES: Final = ("duckdb", "sqlglot")
"""What tables and the dashboard need beyond the core: the extra ``report``."""
_QUERY: Final = """\
SELECT repo_name, count(*) AS events
FROM read_parquet('{files}', hive_partitioning = true)
GROUP BY repo_name ORDER BY events DESC, repo_name LIMIT 5"""


@click.command(
    cls=Command,
    examples=(
        ("demo", "one hour of the real archive, or a made-up one where there is no network, up to the dashboard"),
        ("demo --practice", "a made-up one in any case"),
    ),
)
@click.option("--practice", is_flag=True, help="Do not try the network.")
@with_session("sources", "lake", "warehouse")
def demo(session: Session, *, practice: bool) -> None:
    """Fetch one hour, make tables of it and draw them: a first look that needs no account and no network.

    The hour is 2015-01-01-15. Made-up hours go to the folder demo, so that they never mix with real ones, unless
    --lake and --warehouse say otherwise. Running it again is safe.
    """
    hour = Hour.parse("2015-01-01-15")
    reached = None if practice else _reached(session, hour)
    if reached is not None:
        session.out.print(f"demo: {hour} from {reached.address}")
        _fetch_and_ask(session, session.lake(), hour, [reached])
        _build_and_draw(session, session.lake(), hour, session.settings.warehouse, _PAGE)
        return
    lake = session.lake() if session.loaded.origins["lake"] != "default" else _practice_lake()
    warehouse = session.settings.warehouse if session.loaded.origins["warehouse"] != "default" else _PRACTICE_WAREHOUSE
    with _practice_source(hour) as source:
        why = "asked for" if practice else "no source can be reached"
        session.out.print(f"demo: {hour} of the practice archive ({why}): its events are made up")
        _fetch_and_ask(session, lake, hour, [source])
    _build_and_draw(session, lake, hour, warehouse, _PRACTICE_PAGE)


def _reached(session: Session, hour: Hour) -> Source | None:
    """Returns the first source that answers within a few seconds and has the hour."""
    from etl.archive.fetch import open_sources

    policy = replace(session.fetch_policy(), connect_timeout=_PATIENCE_SECONDS, read_timeout=_PATIENCE_SECONDS)
    for quick, patient in zip(open_sources(session.settings.sources, policy), session.sources(), strict=True):
        session.err.print(f"demo: asking {quick.address} ...")
        try:
            if quick.exists(hour):
                return patient
        except EtlError as error:
            session.err.print(f"demo: {error.message}")
    return None


@contextmanager
def _practice_source(hour: Hour) -> Iterator[Source]:
    from etl.archive.sources import source_at
    from etl.practice.generator import provide_hour
    from etl.practice.server import PracticeServer

    # Made before it is asked for, so that the time of the run is the pipeline's own.
    with TemporaryDirectory(prefix="gharchive-demo-") as folder:
        provide_hour(hour, Path(folder))
        with PracticeServer(Path(folder), manifests=True) as server:
            yield source_at(server.address)


def _practice_lake() -> Lake:
    from etl.lake.lake import Lake

    return Lake.at(_PRACTICE_LAKE)


def _fetch_and_ask(session: Session, lake: Lake, hour: Hour, sources: Sequence[Source]) -> None:
    run_and_report(session, hour, lake=lake, sources=sources, options=session.run_options())
    query = _QUERY.format(files=f"{lake.address}/events/*/*/*.parquet".replace("'", "''"))
    session.out.print("\nThe lake is plain parquet. In DuckDB, for example:\n")
    session.out.print(f"{query};\n", style="cyan")
    answer = _answer(query) if "://" not in lake.address else None
    if answer is not None:
        from etl.cli.formatting import listing, printable

        rows = [(printable(name), f"{events:,}") for name, events in answer]
        session.out.print(listing(("repo_name", "events"), rows, right=("events",)))


def _build_and_draw(session: Session, lake: Lake, hour: Hour, warehouse: str, page: Path) -> None:
    """Builds the tables of the hour's day and the dashboard, if the libraries are installed."""
    missing = [name for name in _TABLE_LIBRARIES if find_spec(name) is None]
    if missing:
        session.out.print(
            f"Tables and dashboard are left out: this installation has no {' and no '.join(missing)}. The extra report"
            " brings them; in a checkout: make demo, pip install '.[report]', or"
            " uvx --from '.[report]' gharchive-etl demo"
        )
        return
    from etl.cli.report import dashboard_page
    from etl.cli.status import write_whole
    from etl.warehouse.build import BuildOptions, build
    from etl.warehouse.lake_inputs import Days
    from etl.warehouse.table_state import Warehouse

    day = hour.start.date()
    days = Days(day, day)
    options = BuildOptions(days=days, thresholds=session.thresholds())
    made = build(Warehouse.at(warehouse), lake, options)
    session.out.print(
        f"Tables of {day} are in {warehouse}: {plural(len(made), 'partition')} made, the others were up to date."
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_whole(page, dashboard_page(warehouse, days).encode())
    session.out.print(f"The dashboard: open {page.resolve().as_uri()} in a browser.")
    flag = "" if lake.address == session.settings.lake else f" --lake {lake.address}"
    session.out.print(f"Next: {session.program} show {hour} --events 5{flag}")


def _answer(query: str) -> list[tuple[str | None, int]] | None:
    """Runs a query with DuckDB; returns None if it is not installed."""
    try:
        import duckdb
    except ModuleNotFoundError:
        return None
    with duckdb.connect() as connection:
        return [(str(name), int(events)) for name, events in connection.execute(query).fetchall()]
