"""``submit``: run the Spark jobs as Dataproc Serverless batches, and follow them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import rich_click as click
from typing_extensions import override

from etl.cli.backfill import MAX_WORKERS, Rate, takes_reprocessing
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
_LOG_TAIL: Final = 100_000
"""Number of characters at the end of a log in which the final error is looked for."""
_PLACE: Final = ("spark_project", "spark_region", "spark_image", "spark_account", "spark_subnet", "spark_bucket")
_NOWHERE: Final = "a batch runs on other machines, which cannot read it; use a bucket: gs://bucket/prefix"


@dataclass(frozen=True, kw_only=True)
class _How:
    """Options common to all batches."""

    name: str | None
    properties: tuple[tuple[str, str], ...]
    limit: int
    no_wait: bool
    dry_run: bool
    every: float


class Property(click.ParamType):
    """A Spark property; converts to its name and value."""

    name = "property"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        match = _PROPERTY.fullmatch(str(value))
        if match is None:
            raise UsageError(f"{value!r} is not a property", hint="write it as spark.executor.cores=8")
        return match["name"], match["value"]


def _shared_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options of all batches to a command."""
    for option in reversed(
        (
            click.option("--name", metavar="NAME", help="Name of the batch. Default: a name with the current time."),
            click.option(
                "--property",
                "properties",
                type=Property(),
                multiple=True,
                metavar="NAME=VALUE",
                help="Spark property; may be repeated.",
            ),
            click.option(
                "--limit",
                type=LengthType(),
                default="24h",
                show_default=True,
                metavar="SPAN",
                help="Cancel the batch after this time.",
            ),
            click.option(
                "--no-wait", is_flag=True, help="Submit the batch and return; `submit follow` shows it later."
            ),
            click.option("--dry-run", is_flag=True, help="Print the request without submitting it."),
            _pause,
        )
    ):
        command = option(command)
    return command


_pause = click.option(
    "--every", type=click.FloatRange(0.05, 600), default=10.0, show_default=True, metavar="SECONDS",
    help="Polling interval.",
)  # fmt: skip


@click.group(
    cls=Group,
    examples=(
        ("submit build --dry-run", "print the request"),
        ("submit build", "build the tables in the cloud, and wait"),
        ("submit backfill 2015-01-01 2024-12-31", "fetch ten years on a cluster"),
        ("submit follow gharchive-build-20261121-141500-0a1b2c", "follow an earlier batch"),
    ),
)
def submit() -> None:
    """Run a Spark job on Dataproc Serverless, and follow it until it ends.

    The job runs in the container image named by --image, built with `docker build --target spark`. Its log and its
    cost are shown.
    """


@submit.command(
    cls=Command,
    examples=(
        (
            "submit build --lake gs://b/lake --warehouse gs://b/tables --region us-central1 --image IMAGE",
            "build what changed",
        ),
        ("submit build 2015-01-01 2015-12-31 --full", "rebuild a year"),
    ),
)
@takes_days
@click.option("--full", is_flag=True, help="Rebuild partitions that are up to date, too.")
@_shared_options
@with_session("lake", "warehouse", *_PLACE)
def build(session: Session, days: Days, *, full: bool, **how: Any) -> None:  # noqa: ANN401
    """Build the tables of a warehouse in a bucket, like `build --engine spark` on one machine."""
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
@takes_reprocessing
@click.option(
    "--workers", type=click.IntRange(1, MAX_WORKERS), metavar="N", help="Maximum number of hours in parallel."
)
@click.option("--max-rate", type=Rate(), metavar="RATE", help="Maximum download rate per second over all workers.")
@_shared_options
@with_session("sources", "completeness", "lake", "emails", "max_damage", *_PLACE)
def backfill(session: Session, hours: HourRange, **rest: Any) -> None:  # noqa: ANN401
    """Fetch all hours of a range into a lake in a bucket, distributed over the executors of a cluster."""
    settings = session.settings
    _refuse_secret(settings)
    words = [str(hours.first), str(hours.last)]
    words += [f"--{name}" for name in ("refresh", "recheck", "force") if rest.pop(name)]
    for flag in ("workers", "max_rate"):
        value = rest.pop(flag)
        words += [] if value is None else [f"--{flag.replace('_', '-')}", str(value)]
    for source in settings.sources:
        words += ["--source", _elsewhere(source)]
    words += ["--completeness", settings.completeness]
    words += ["--lake", _bucket(settings.lake), "--emails", settings.emails, "--max-damage", str(settings.max_damage)]
    _send(session, "backfill", words, _How(**rest))


@submit.command(cls=Command, examples=(("submit follow NAME", "show its state, log and cost"),))
@click.argument("name")
@_pause
@with_session("spark_project", "spark_region")
def follow(session: Session, name: str, every: float) -> None:
    """Follow an earlier batch until it ends."""
    _await(session, _batches(session.settings), name, every)


@submit.command(cls=Command, examples=(("submit cancel NAME", "stop a batch; submit it again to resume"),))
@click.argument("name")
@with_session("spark_project", "spark_region")
def cancel(session: Session, name: str) -> None:
    """Cancel a batch. No hour or table is left half written."""
    _batches(session.settings).cancel(name)
    session.out.print(f"{name} is being cancelled; follow it with: {session.program} submit follow {name}")


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
    session.err.print(f"submitted {order.name} to {place.region}")
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
        said = (said + piece)[-_LOG_TAIL:]
        click.echo(piece, nl=False)

    try:
        batch = follow_batch(batches, name, pause=every, tell=session.err.print, log=log)
    except KeyboardInterrupt:
        session.err.print(f"{name} is still running; follow it with: {session.program} submit follow {name}")
        raise
    _print_cost(session, name, batch)
    refuse_failure(name, batch, said)


def _print_cost(session: Session, name: str, batch: Any) -> None:  # noqa: ANN401 -- of Dataproc's client
    from etl.spark.dataproc import PRICES, cost_of

    cost = cost_of(batch)
    if cost is None:
        session.err.print(f"{name}: its usage is not available yet")
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
            "a container image is required",
            hint="set it with --image or GHARCHIVE_SPARK_IMAGE; `docker build --target spark` builds it",
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
        raise UsageError("a Google Cloud project is required", hint="set it with --project or GHARCHIVE_SPARK_PROJECT")
    return project


def _region(settings: Settings) -> str:
    if settings.spark_region is None:
        raise UsageError("a region is required", hint="set it with --region, as in --region us-central1")
    return settings.spark_region


def _bucket(address: str) -> str:
    from etl.storage import gcs

    if not gcs.is_address(address):
        raise UsageError(f"{address} is a local folder", hint=_NOWHERE)
    gcs.split(address)
    return address


def _elsewhere(source: str) -> str:
    if "://" not in source:
        raise UsageError(f"{source} is a local folder", hint=_NOWHERE)
    if urlsplit(source).password is not None:
        raise UsageError(
            "a source contains a password, which everybody with access to the batches could read",
            hint="use a source without a password, or run `backfill` on one machine",
        )
    return source


def _refuse_secret(settings: Settings) -> None:
    """Fails if an e-mail key is set: everybody with access to the batches could read it."""
    if settings.email_key is not None:
        raise UsageError(
            "email_key is not sent to a batch, so the batch would hash addresses differently",
            hint="run `backfill` on a machine that has the key, or use --emails drop without a key",
        )
