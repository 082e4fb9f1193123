"""What all commands share: flags for settings, the loaded settings, logging and consoles."""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import rich_click as click
from rich.markup import escape
from typing_extensions import override

from etl.cli.command_base import SETTINGS_PANEL
from etl.errors import UsageError
from etl.hours import Hour

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

    from etl.archive.retry import FetchPolicy
    from etl.archive.source import Source
    from etl.coverage.anomalies import Thresholds
    from etl.hour_pipeline import RunOptions
    from etl.lake.lake import Lake
    from etl.settings import Loaded, Settings

_PIPE_WIDTH: Final = 200
"""Width when standard output is not a terminal, so that paths are not wrapped."""
_EVERYWHERE: Final = ("log_format", "log_level", "secrets_file")


class HourType(click.ParamType):
    """An hour on the command line; converts to an ``Hour``."""

    name = "hour"

    @override
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Hour:
        return value if isinstance(value, Hour) else Hour.parse(value)

    @override
    def get_metavar(self, param: click.Parameter, ctx: click.Context | None = None) -> str:
        return "HOUR"


HOUR: Final = HourType()


def _flag(*names: str, default: str, help: str, **attributes: Any) -> Callable[..., Any]:  # noqa: A002, ANN401
    """Returns a flag for a setting. Its click default is "not given"; the help shows the setting's default."""
    text = f"{escape(help)} [dim]{escape(f'[default: {default}]')}[/dim]"
    return click.option(*names, help=text, panel=SETTINGS_PANEL, **attributes)


def _choice_flag(name: str, *choices: str, help: str) -> Callable[..., Any]:  # noqa: A002
    return _flag(name, type=click.Choice(choices), default=choices[0], help=help)


_FLAGS: Final[dict[str, Callable[..., Any]]] = {
    "sources": _flag(
        "--source",
        "--sources",
        "sources",
        multiple=True,
        metavar="ADDR",
        default="GH Archive, then OpenDigger's mirror",
        help="Where to fetch hours: a URL, gs://bucket/prefix or a folder with the archive's file names."
        " Repeat it for several sources, the most trusted first: --source A --source B, or --sources A,B."
        " Environment: GHARCHIVE_SOURCES or GHARCHIVE_SOURCE.",
    ),
    "completeness": _choice_flag(
        "--completeness",
        "fullest",
        "first",
        help="Which source of an hour to use: the one that has the most of it, or the first that has it.",
    ),
    "lake": _flag("--lake", metavar="ADDR", default="lake", help="Folder or gs://bucket/prefix of the lake."),
    "warehouse": _flag(
        "--warehouse", metavar="ADDR", default="warehouse", help="Folder or gs://bucket/prefix of the tables."
    ),
    "dataset": _flag("--dataset", metavar="PROJECT.DATASET", default="none", help="BigQuery dataset of the tables."),
    "reporting_dataset": _flag(
        "--reporting-dataset",
        metavar="PROJECT.DATASET",
        default="none",
        help="BigQuery dataset for views that reports read without access to the tables.",
    ),
    "events_by": _choice_flag("--events-by", "day", "hour", help="Partition granularity of events_base in BigQuery."),
    "spark_project": _flag(
        "--project",
        "spark_project",
        metavar="ID",
        default="that of the credentials",
        help="Google Cloud project to run in.",
    ),
    "spark_region": _flag(
        "--region", "spark_region", metavar="REGION", default="none", help="Google Cloud region to run in."
    ),
    "spark_image": _flag("--image", "spark_image", metavar="IMAGE", default="none", help="Container image to run."),
    "spark_account": _flag(
        "--account", "spark_account", metavar="E-MAIL", default="the project's", help="Service account to run as."
    ),
    "spark_subnet": _flag(
        "--subnet", "spark_subnet", metavar="NAME", default="the region's", help="Subnetwork to run in."
    ),
    "spark_bucket": _flag(
        "--bucket",
        "spark_bucket",
        metavar="NAME",
        default="Google's own",
        help="Bucket for the batch's files and logs.",
    ),
    "emails": _choice_flag(
        "--emails",
        "hash",
        "keep",
        "drop",
        help="How to treat e-mail addresses. With GHARCHIVE_EMAIL_KEY set, hash is a keyed hash (HMAC).",
    ),
    "max_damage": _flag(
        "--max-damage",
        metavar="SHARE",
        default="1%",
        help="Share of an hour that may be unreadable before it is partial, as 0.01 or 1%.",
    ),
    "log_format": _choice_flag(
        "--log-format",
        "auto",
        "plain",
        "json",
        help="auto: readable on a terminal, JSON in the cloud, key=value elsewhere.",
    ),
    "log_level": _flag(
        "--log-level",
        type=click.Choice(("debug", "info", "warning", "error")),
        default="info",
        help="Minimum severity to log; debug also shows tracebacks.",
    ),
    "secrets_file": _flag(
        "--secrets-file", metavar="FILE", default="secrets.json", help="JSON file with settings, secret or not."
    ),
}


_HOW_LOUD: Final[dict[str, Callable[..., Any]]] = {
    "quiet": click.option("-q", "--quiet", is_flag=True, help="Show no progress; log only warnings and errors."),
    "verbose": click.option("-v", "--verbose", is_flag=True, help="Log details (log level debug)."),
}


@dataclass(frozen=True, slots=True)
class Session:
    """One run of a command: its settings and consoles.

    Attributes:
        loaded: The settings and their origins.
        out: Standard output, for results.
        err: Standard error, for progress.
        program: Name of the program as the user typed it.
    """

    loaded: Loaded
    out: Console
    err: Console
    program: str

    @classmethod
    def open(cls, flags: dict[str, Any], *, program: str) -> Session:
        """Loads the settings, configures logging and opens the consoles.

        Raises:
            UsageError: If a setting is invalid.
        """
        import structlog

        from etl.runtime import logs
        from etl.settings import load

        quiet, verbose = bool(flags.pop("quiet", False)), bool(flags.pop("verbose", False))
        if quiet or verbose:
            flags["log_level"] = _level_of(flags.get("log_level"), quiet=quiet)
        if quiet and verbose:
            raise UsageError("--quiet and --verbose cannot be used together")
        loaded = load(flags)
        settings = loaded.settings
        logs.configure(settings.log_format, settings.log_level, scrub=scrub_of(settings))
        for warning in loaded.warnings:
            structlog.get_logger(__name__).warning(warning)
        return cls(loaded=loaded, out=_console(stderr=False), err=_console(stderr=True, quiet=quiet), program=program)

    @property
    def settings(self) -> Settings:
        """The settings without their origins."""
        return self.loaded.settings

    def lake(self) -> Lake:
        """Opens the lake."""
        from etl.lake.lake import Lake

        return Lake.at(self.settings.lake)

    def sources(self) -> tuple[Source, ...]:
        """Opens the sources, in order of trust."""
        from etl.archive.fetch import open_sources

        return open_sources(self.settings.sources, self.fetch_policy())

    def fetch_policy(self) -> FetchPolicy:
        """Returns the timeouts and retries of downloads."""
        from etl.run_options import fetch_policy

        return fetch_policy(self.settings)

    def run_options(self, *, refresh: bool = False, recheck: bool = False, force: bool = False) -> RunOptions:
        """Returns the options of the hour pipeline."""
        from etl.run_options import run_options

        return run_options(self.settings, refresh=refresh, recheck=recheck, force=force)

    def email_policy(self) -> str:
        """Returns the name of the e-mail policy, as manifests record it."""
        from etl.events.emails import EmailPolicy

        return EmailPolicy.of(self.settings.emails, self.settings.email_key_bytes).name

    def thresholds(self) -> Thresholds:
        """Returns the thresholds for suspect hours."""
        from etl.coverage.anomalies import Thresholds

        settings = self.settings
        return Thresholds(
            low=settings.suspect_low,
            high=settings.suspect_high,
            type_low=settings.suspect_type_low,
            type_high=settings.suspect_type_high,
            weeks=settings.suspect_weeks,
            min_events=settings.suspect_min_events,
        )


def with_session(*settings: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the flags of these settings, and those common to all commands, to a command.

    The command receives a ``Session`` in their place.
    """
    names = (*settings, *_EVERYWHERE)

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(command)
        @click.pass_context
        def run(context: click.RichContext, /, **given: Any) -> None:  # noqa: ANN401
            flags = {name: given.pop(name) for name in (*names, *_HOW_LOUD)}
            command(Session.open(flags, program=str(context.find_root().info_name)), **given)

        for name in reversed(names):
            run = _FLAGS[name](run)
        for option in reversed(tuple(_HOW_LOUD.values())):
            run = option(run)
        return run

    return decorate


def scrub_of(settings: Settings) -> Callable[[str], str]:
    """Returns the function that removes e-mail addresses from log messages; it can be pickled."""
    if settings.emails == "keep":
        return str
    from etl.events.emails import scrub_text

    return scrub_text


def _level_of(named: object, *, quiet: bool) -> str:
    """Returns the log level for --quiet or --verbose."""
    if named is not None:
        flag = "--quiet" if quiet else "--verbose"
        raise UsageError(f"--log-level cannot be combined with {flag}", hint="use one of them")
    return "warning" if quiet else "debug"


def _console(*, stderr: bool, quiet: bool = False) -> Console:
    from rich.console import Console as RichConsole

    class PipeConsole(RichConsole):
        """A console that reports a closed pipe as ``BrokenPipeError``."""

        @override
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else _PIPE_WIDTH
    return PipeConsole(stderr=stderr, quiet=quiet, width=width, highlight=False, markup=False, emoji=False)
