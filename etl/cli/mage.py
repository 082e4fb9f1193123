"""The command ``mage``: a Mage server on this machine, and backfills with one."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import rich_click as click

from etl.cli.command_base import Command, Group
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, TABLE, print_json, takes_format
from etl.cli.ranges import takes_hours
from etl.errors import IncompleteError, StoreError
from etl.hours import Hour, HourRange
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from etl.mage.client import RunCounts
    from etl.mage.server import Ready, ServerOptions
    from etl.settings import Loaded

_DEMO_FIRST: Final = "2015-01-01-0"
_DEMO_HOURS: Final = 6
_DEMO_EVENTS: Final = 500
_NAMED: Final = 10
_FOLDERS: Final = frozenset({"lake", "warehouse", "spool"})
_PASSWORD: Final = "MAGE_PASSWORD"  # noqa: S105 -- the name of a variable


@click.group(
    cls=Group,
    examples=(
        ("mage serve", "a server on this machine: http://127.0.0.1:6789"),
        ("mage backfill 2015-01-01 2015-01-02", "ask it for two days, and follow"),
    ),
)
def mage() -> None:
    """Run the pipelines on a Mage server, by the clock and from its web page."""


@mage.command(
    cls=Command,
    examples=(
        ("mage serve", "on this machine only; triggers are off, pipelines can be edited"),
        ("mage serve --schedules", "as in production: triggers fire, nothing can be edited"),
        ("mage serve --demo", "with a made-up archive and a backfill of six of its hours"),
        ("mage serve --schedules --host 0.0.0.0", "in a container, behind something that terminates TLS"),
    ),
)
@click.option("--port", type=click.IntRange(1, 65535), default=6789, show_default=True, help="The port.")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDR", help="The address to listen on.")
@click.option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".mage_data"),
    show_default=True,
    metavar="DIR",
    help="Where the server keeps its database, logs and outputs.",
)
@click.option(
    "--project",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="The Mage project; by default the folder mage_pipeline here or beside the program.",
)
@click.option("--schedules", is_flag=True, help="Fire the triggers, and let nobody edit anything.")
@click.option("--demo", is_flag=True, help="Fetch from a made-up archive, and begin with a backfill.")
@with_session("sources", "lake", "warehouse")
def serve(
    session: Session,
    port: int,
    host: str,
    folder: Path,
    project: Path | None,
    *,
    schedules: bool,
    demo: bool,
) -> None:
    """Start a Mage server with this project, until Ctrl-C.

    The first start creates an owner and shows the password once. Flags for lake and sources also hold for the server's
    runs. What the server itself writes goes to server.log in its folder; with --schedules, as in a container, to the
    standard streams.
    """
    from etl.mage import server

    settings = session.settings
    plan = server.ServerOptions(
        project=(project or server.find_project()).absolute(),
        folder=folder,
        host=host,
        port=port,
        schedules=schedules,
        spool=Path(settings.spool),
        log=None if schedules else folder / "server.log",
    )
    environment = dict(os.environ) | environment_of(session.loaded)
    try:
        (_demo if demo else _serve)(session, plan, environment)
    except KeyboardInterrupt:
        session.out.print("Mage has ended")


@mage.command(
    cls=Command,
    examples=(
        ("mage backfill 2015-01-01-0 2015-01-01-15", "sixteen hours, both ends included"),
        ("mage backfill 2015-01-01 2015-01-31 --address https://mage.example.org", "a month, by another server"),
        ("mage backfill 2015-01-01 2015-01-01 --no-follow", "only ask for it"),
    ),
)
@takes_hours(required=True)
@click.option("--address", default="http://127.0.0.1:6789", show_default=True, metavar="URL", help="The server.")
@click.option(
    "--user", default="owner@localhost", show_default=True, metavar="NAME", help="Who asks; somebody who may edit."
)
@click.option("--refresh", is_flag=True, help="Ask the source for newer versions of hours that are there already.")
@click.option(
    "--accept-partial", is_flag=True, help="Store hours too that are more damaged than allowed, or hold no event."
)
@click.option("--follow/--no-follow", default=True, help="Wait until all runs have ended.")
@takes_format()
@with_session()
def backfill(  # noqa: PLR0913 -- the arguments of a command are its flags
    session: Session,
    hours: HourRange,
    address: str,
    user: str,
    *,
    refresh: bool,
    accept_partial: bool,
    follow: bool,
    form: str,
) -> None:
    """Have a Mage server bring all hours of a range, and follow it.

    The password is taken from the environment variable MAGE_PASSWORD, or asked for.
    """
    from etl.mage.client import MageClient

    client = MageClient(address, user, _password(user))
    number = client.start_backfill(hours, variables={"refresh": refresh, "accept_partial": accept_partial})
    page = f"{client.address}/pipelines/gharchive_hour/backfills/{number}"
    if form == TABLE:
        session.out.print(f"backfill {number} of {hours}: {plural(len(hours), 'hour')}; its page is {page}")
    if not follow:
        if form == JSON:
            print_json({"backfill": number, "page": page, "hours": len(hours), "runs": None})
        return
    counts = client.follow(number, _telling(session))
    if form == JSON:
        print_json({"backfill": number, "page": page, "hours": len(hours), "runs": counts.statuses})
    else:
        session.out.print(f"{hours}: {_words(counts)}")
    if counts.not_completed:
        failed = client.not_completed(number)
        named = ", ".join(map(str, failed[:_NAMED])) + (" ..." if len(failed) > _NAMED else "")
        raise IncompleteError(
            f"{len(failed):,} of {plural(counts.total, 'run')} did not end well: {named}",
            hint=f"{page} has their logs, and lets you retry them",
        )


def _serve(session: Session, plan: ServerOptions, environment: dict[str, str]) -> NoReturn:
    """Starts a server and waits until it ends, which is an error."""
    from etl.mage import server

    with server.serving(plan, environment) as (ready, process):
        server.await_health(plan, process)
        _say_ready(session, plan, ready)
        raise _ended(plan, server.supervise(plan, process))


def _demo(session: Session, plan: ServerOptions, environment: dict[str, str]) -> NoReturn:
    """Starts a server with a generated archive and a new lake, and a backfill of some hours."""
    from etl.mage import server
    from etl.mage.client import MageClient
    from etl.practice.server import Generated, PracticeServer

    first = Hour.parse(_DEMO_FIRST)
    hours = HourRange(first, first + (_DEMO_HOURS - 1))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gharchive-mage-")))
        archive = stack.enter_context(PracticeServer(Generated(hours, events=_DEMO_EVENTS), manifests=True))
        log = None if plan.log is None else stack.enter_context(_temporary_log())
        plan = replace(plan, folder=folder / "mage", spool=folder / "spool", log=log)
        environment |= {
            "GHARCHIVE_SOURCES": archive.address,
            "GHARCHIVE_LAKE": str(folder / "lake"),
            "GHARCHIVE_WAREHOUSE": str(folder / "warehouse"),
            "GHARCHIVE_SPOOL": str(folder / "spool"),
        }
        ready, process = stack.enter_context(server.serving(plan, environment))
        server.await_health(plan, process)
        _say_ready(session, plan, ready)
        client = MageClient(plan.address, server.OWNER, ready.environment["DEFAULT_OWNER_PASSWORD"])
        number = client.start_backfill(hours)
        session.out.print(f"demo: backfill {number} of {hours}, of a made-up archive, into {folder / 'lake'}")
        counts = client.follow(number, _telling(session))
        session.out.print(f"demo: {_words(counts)}; see {plan.address}/pipelines/gharchive_hour/backfills/{number}")
        raise _ended(plan, process.wait())


def _ended(plan: ServerOptions, code: int) -> StoreError:
    from etl.mage.server import log_hint

    return StoreError(f"the Mage server ended by itself, with code {code}", hint=log_hint(plan))


def _say_ready(session: Session, plan: ServerOptions, ready: Ready) -> None:
    from etl.mage.server import OWNER

    session.out.print(f"Mage is at {plan.address} until Ctrl-C; its triggers are {'on' if plan.schedules else 'off'}")
    if plan.log is not None:
        session.out.print(f"the server's log is {plan.log}", soft_wrap=True)
    if ready.new_password is not None:
        session.out.print(f"sign in as {OWNER} with the password {ready.new_password} (it is shown this once)")


@contextmanager
def _temporary_log() -> Iterator[Path]:
    """Yields a log file outside of the folder that the demo removes; it is kept only after an error."""
    handle, name = tempfile.mkstemp(prefix="gharchive-mage-", suffix=".log")
    os.close(handle)
    try:
        yield Path(name)
    except KeyboardInterrupt:
        Path(name).unlink()
        raise


def _telling(session: Session) -> Callable[[RunCounts], None]:
    """Returns a callback that prints the progress of a backfill on a terminal when it changes."""
    told = ""

    def tell(counts: RunCounts) -> None:
        nonlocal told
        if session.err.is_terminal and (words := _words(counts)) != told:
            told = words
            session.err.print(words, style="dim")

    return tell


def _words(counts: RunCounts) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in sorted(counts.statuses.items()))


def _password(user: str) -> str:
    return os.environ.get(_PASSWORD) or str(click.prompt(f"Password of {user}", hide_input=True, err=True))


def environment_of(loaded: Loaded) -> dict[str, str]:
    """Returns the settings as environment variables, so that a server's runs use those of this command.

    A setting that is only a default is left to its default; folders become absolute, since a run may work elsewhere.
    """
    from pydantic import SecretStr

    from etl.settings import ENV_PREFIX

    given = {}
    for name, origin in loaded.origins.items():
        value = getattr(loaded.settings, name)
        if name in _FOLDERS:
            value = value if "://" in value else str(Path(value).absolute())
        elif origin == "default":
            continue
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        given[ENV_PREFIX + name.upper()] = json.dumps(value) if isinstance(value, tuple) else str(value)
    return given
