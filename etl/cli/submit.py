"""``submit``: the two jobs of Spark, sent to Dataproc Serverless and followed to their end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import rich_click as click
from typing_extensions import override

from etl.cli.backfill import MAX_WORKERS, Rate
from etl.cli.command_base import Command, Group
from etl.cli.context import Session, with_session
from etl.cli.ranges import LengthType, takes_days, takes_hours
from etl.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from etl.hours import HourRange
    from etl.settings import Settings
    from etl.spark.dataproc import Batches, DataprocTarget, JobName
    from etl.warehouse.lake_inputs import Days

_PROPERTY: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._-]*)=(?P<value>.*)", re.ASCII)
_REMEMBERED: Final = 100_000
"""So many signs of a log are looked through for its last word."""
_PLACE: Final = ("spark_project", "spark_region", "spark_image", "spark_account", "spark_subnet", "spark_bucket")
_NOWHERE: Final = "a batch runs on other machines, which do not see it; name a place in a bucket: gs://bucket/prefix"


@dataclass(frozen=True, kw_only=True)
class _How:
    """The options that all batches have."""

    name: str | None
    properties: tuple[tuple[str, str], ...]
    limit: int
    no_wait: bool
    dry_run: bool
    every: float


class Property(click.ParamType):
    """A property of Spark as a person types it; gives name and value."""

    name = "property"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        match = _PROPERTY.fullmatch(str(value))
        if match is None:
            raise UsageError(f"{value!r} is no property", hint="write it as spark.executor.cores=8")
        return match["name"], match["value"]


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of all batches to a command."""
    for option in reversed(
        (
            click.option("--name", metavar="NAME", help="The batch's name; without this, one that tells the time."),
            click.option(
                "--property",
                "properties",
                type=Property(),
                multiple=True,
                metavar="NAME=VALUE",
                help="A property of Spark; may be given several times.",
            ),
            click.option(
                "--limit",
                type=LengthType(),
                default="24h",
                show_default=True,
                metavar="SPAN",
                help="Cancel it after so long.",
            ),
            click.option("--no-wait", is_flag=True, help="Only send it; `submit follow` looks at it later."),
            click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing."),
            _pause,
        )
    ):
        command = option(command)
    return command


_pause = click.option(
    "--every", type=click.FloatRange(0.05, 600), default=10.0, show_default=True, metavar="SECONDS",
    help="Between two looks at it.",
)  # fmt: skip


@click.group(
    cls=Group,
    examples=(
        ("submit build --dry-run", "what would be sent"),
        ("submit build", "build the tables in the cloud, and wait"),
        ("submit backfill 2015-01-01 2024-12-31", "ten years, over the executors of a cluster"),
        ("submit follow gharchive-build-20261121-141500-0a1b2c", "look at one that was sent before"),
    ),
)
def submit() -> None:
    """Send a job to Dataproc Serverless, which runs it on machines of its own, and follow it to its end.

    It runs in the image that --image names, made by `docker build --target spark`. Its log is shown, and what it cost.
    """


@submit.command(
    cls=Command,
    examples=(
        (
            "submit build --lake gs://b/lake --warehouse gs://b/tables --region us-central1 --image IMAGE",
            "what changed",
        ),
        ("submit build 2015-01-01 2015-12-31 --full", "a year anew"),
    ),
)
@takes_days
@click.option("--full", is_flag=True, help="Make what is up to date anew as well.")
@_shared_options
@with_session("lake", "warehouse", *_PLACE)
def build(session: Session, days: Days, *, full: bool, **how: Any) -> None:  # noqa: ANN401
    """Build the tables of a warehouse in a bucket, as `build --engine spark` does on one machine."""
    settings = session.settings
    words = [day.isoformat() for day in (days.first, days.last) if day is not None]
    words += ["--full"] if full else []
    words += ["--lake", _bucket(settings.lake), "--warehouse", _bucket(settings.warehouse)]
    _send(session, "build", words, _How(**how))


@submit.command(
    cls=Command,
    examples=(
        ("submit backfill 2024-01-01 2024-12-31 --lake gs://b/lake --region us-central1 --image IMAGE", "a year"),
        ("submit backfill --last 2w --property spark.dynamicAllocation.maxExecutors=20", "on 20 executors at most"),
    ),
)
@takes_hours(required=True)
@click.option("--refresh", is_flag=True, help="Ask the source for newer versions of hours that are there already.")
@click.option("--force", is_flag=True, help="Make every hour anew, and replace it even by one with fewer events.")
@click.option("--workers", type=click.IntRange(1, MAX_WORKERS), metavar="N", help="Hours at once, at most.")
@click.option("--max-rate", type=Rate(), metavar="RATE", help="Fetch no more than this a second, over all workers.")
@_shared_options
@with_session("sources", "lake", "emails", "max_damage", *_PLACE)
def backfill(session: Session, hours: HourRange, **rest: Any) -> None:  # noqa: ANN401
    """Bring all hours of a range into a lake in a bucket, spread over the executors of a cluster."""
    settings = session.settings
    _refuse_secret(settings)
    words = [str(hours.first), str(hours.last)]
    words += [f"--{name}" for name in ("refresh", "force") if rest.pop(name)]
    for flag in ("workers", "max_rate"):
        value = rest.pop(flag)
        words += [] if value is None else [f"--{flag.replace('_', '-')}", str(value)]
    for source in settings.sources:
        words += ["--source", _elsewhere(source)]
    words += ["--lake", _bucket(settings.lake), "--emails", settings.emails, "--max-damage", str(settings.max_damage)]
    _send(session, "backfill", words, _How(**rest))


@submit.command(cls=Command, examples=(("submit follow NAME", "its state, its log, and what it cost"),))
@click.argument("name")
@_pause
@with_session("spark_project", "spark_region")
def follow(session: Session, name: str, every: float) -> None:
    """Follow a batch that was sent before to its end."""
    _await(session, _batches(session.settings), name, every)


@submit.command(cls=Command, examples=(("submit cancel NAME", "end it; sent again, it goes on from there"),))
@click.argument("name")
@with_session("spark_project", "spark_region")
def cancel(session: Session, name: str) -> None:
    """Ask Google to end a batch. Hours and tables are as they were, or whole."""
    _batches(session.settings).cancel(name)
    session.out.print(f"{name} is asked to end; look at it with: {session.program} submit follow {name}")


def _send(session: Session, job: JobName, words: list[str], how: _How) -> None:
    from etl.spark.dataproc import Batches, Order, new_name, request_of

    place = _place(session.settings)
    order = Order(
        job=job,
        arguments=(*words, "--log-format", "json"),
        name=how.name or new_name(job),
        properties=dict(how.properties),
        limit=timedelta(hours=how.limit),
    )
    request = request_of(place, order)
    if how.dry_run:
        session.out.print_json(type(request).to_json(request, including_default_value_fields=False))
        return
    batches = Batches(place.project, place.region)
    batches.send(request)
    session.err.print(f"{order.name} was sent to {place.region}")
    if how.no_wait:
        session.out.print(order.name)
        return
    _await(session, batches, order.name, how.every)


def _await(session: Session, batches: Batches, name: str, every: float) -> None:
    from etl.spark.dataproc import follow as follow_batch
    from etl.spark.dataproc import refuse_failure

    said = ""

    def log(piece: str) -> None:
        nonlocal said
        said = (said + piece)[-_REMEMBERED:]
        click.echo(piece, nl=False)

    try:
        batch = follow_batch(batches, name, pause=every, tell=session.err.print, log=log)
    except KeyboardInterrupt:
        session.err.print(f"{name} goes on; look at it with: {session.program} submit follow {name}")
        raise
    _print_cost(session, name, batch)
    refuse_failure(name, batch, said)


def _print_cost(session: Session, name: str, batch: Any) -> None:  # noqa: ANN401 -- of Dataproc's client
    from etl.spark.dataproc import PRICES, cost_of

    cost = cost_of(batch)
    if cost is None:
        session.err.print(f"{name}: Google has not counted yet what it used")
        return
    session.err.print(
        f"{name} used {cost.dcu_hours:,.2f} DCU hours and {cost.shuffle_gb_hours:,.1f} GB hours of shuffle storage,"
        f" about ${cost.dollars:,.2f} ({PRICES})"
    )


def _batches(settings: Settings) -> Batches:
    from etl.spark.dataproc import Batches

    return Batches(_project(settings), _region(settings))


def _place(settings: Settings) -> DataprocTarget:
    from etl.spark.dataproc import DataprocTarget

    if settings.spark_image is None:
        raise UsageError(
            "there is no image to run in",
            hint="name it with --image or GHARCHIVE_SPARK_IMAGE; `docker build --target spark` makes it",
        )
    return DataprocTarget(
        project=_project(settings),
        region=_region(settings),
        image=settings.spark_image,
        account=settings.spark_account,
        subnet=settings.spark_subnet,
        bucket=settings.spark_bucket,
    )


def _project(settings: Settings) -> str:
    from etl.spark.dataproc import default_project

    project = settings.spark_project or default_project()
    if project is None:
        raise UsageError("there is no project to run in", hint="name it with --project or GHARCHIVE_SPARK_PROJECT")
    return project


def _region(settings: Settings) -> str:
    if settings.spark_region is None:
        raise UsageError("there is no region to run in", hint="name it with --region, as in --region us-central1")
    return settings.spark_region


def _bucket(address: str) -> str:
    from etl.storage import gcs

    if not gcs.is_address(address):
        raise UsageError(f"{address} is a folder of this machine", hint=_NOWHERE)
    gcs.split(address)
    return address


def _elsewhere(source: str) -> str:
    if "://" not in source:
        raise UsageError(f"{source} is a folder of this machine", hint=_NOWHERE)
    if urlsplit(source).password is not None:
        raise UsageError(
            "a source has a password in it, which everybody could read who may look at batches",
            hint="name one without, or backfill with processes (`backfill`)",
        )
    return source


def _refuse_secret(settings: Settings) -> None:
    """Does not send a key for everybody to read who may look at batches, nor leave it out in silence."""
    if settings.email_key is not None:
        raise UsageError(
            "a batch does not get email_key, and would hash addresses otherwise than this machine does",
            hint="backfill with processes (`backfill`), whose machine has the key, or with --emails drop and no key",
        )
