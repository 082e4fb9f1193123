"""``run``: fetch one hour into the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import HOUR, Session, with_session
from etl.cli.output import JSON, TABLE, takes_format
from etl.errors import DamagedError, UsageError
from etl.hours import Hour
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.archive.source import Source
    from etl.hour_pipeline import HourResult, RunOptions
    from etl.lake.lake import Lake
    from etl.lake.manifest import Manifest, Replaced

_PARTS: Final = ("year", "month", "day", "hour")
_TOP_TYPES: Final = 8
_WHICH: Final = "Hour in UTC (default: the newest published hour)"


@click.command(
    cls=Command,
    first_panel=_WHICH,
    examples=(
        ("--year=2015 --month=1 --day=1 --hour=15", "fetch one hour into lake/"),
        ("", "fetch the newest published hour"),
        ("--at 2015-01-01-15 --format json | jq .status", "print the manifest for a program"),
        ("--at 2015-01-01-15 --source ./downloads", "read files you already have"),
        ("--at 2015-01-01-15 --lake gs://my-bucket/lake", "store into a bucket"),
        ("--at 2015-01-01-15 --refresh", "check whether the source has a newer version"),
    ),
)
@click.option("--year", type=int, metavar="YYYY", panel=_WHICH, help="2011 or later; needs --month, --day and --hour.")
@click.option("--month", type=int, metavar="MM", panel=_WHICH, help="1 to 12.")
@click.option("--day", type=int, metavar="DD", panel=_WHICH, help="1 to 31.")
@click.option("--hour", type=int, metavar="HH", panel=_WHICH, help="0 to 23.")
@click.option("--at", type=HOUR, panel=_WHICH, help="The hour in one word: 2015-01-01-15.")
@click.option("--refresh", is_flag=True, help="Check the source for a newer version of a complete hour.")
@click.option(
    "--recheck",
    is_flag=True,
    help="Ask all sources, and replace a complete hour if one of them has clearly more of it.",
)
@click.option("--force", is_flag=True, help="Process the hour again, and store it even if it now has fewer events.")
@takes_format(help="JSON is the hour's manifest.")
@with_session("sources", "completeness", "lake", "emails", "max_damage")
def run(
    session: Session, at: Hour | None, *, refresh: bool, recheck: bool, force: bool, form: str, **parts: int | None
) -> None:
    """Fetch one hour of GH Archive into the lake.

    Downloads the hour, decodes every event into the common schema, and publishes the result as a whole or not at
    all. Running it again is safe and free: a complete hour is skipped.
    """
    chosen = chosen_hour(at, parts)
    lake, sources = session.lake(), session.sources()
    options = session.run_options(refresh=refresh, recheck=recheck, force=force)
    hour = chosen or _newest(sources, session)
    run_and_report(session, hour, lake=lake, sources=sources, options=options, form=form)


def chosen_hour(at: Hour | None, parts: dict[str, int | None]) -> Hour | None:
    """Returns the hour that the flags name; None if none of them was given.

    Raises:
        UsageError: If the flags are incomplete, contradict each other or name an impossible hour.
    """
    given = {name: value for name in _PARTS if (value := parts.get(name)) is not None}
    if at is not None:
        if given:
            raise UsageError(f"--at cannot be combined with {_flags(given)}")
        return at
    if not given:
        return None
    if missing := [name for name in _PARTS if name not in given]:
        raise UsageError(
            f"{_flags(_PARTS)} are required together; missing: {_flags(missing)}",
            hint="use all four, or --at 2015-01-01-15, or none of them for the newest hour",
        )
    return Hour.of(**given)


def run_and_report(
    session: Session, hour: Hour, *, lake: Lake, sources: Sequence[Source], options: RunOptions, form: str = TABLE
) -> HourResult:
    """Processes an hour with a progress bar and prints the result, also if the hour was stored with damage.

    Raises:
        EtlError: As ``run_hour`` does.
    """
    from etl.cli.progress import watching
    from etl.hour_pipeline import run_hour

    before = lake.manifest(hour)
    try:
        with watching(str(hour), session.err) as watch:
            result = run_hour(hour, lake=lake, sources=sources, options=options, progress=watch)
    except DamagedError:
        stored = lake.manifest(hour)
        if stored is not None:
            headline = _unchanged_line(stored) if stored == before else _stored_line(stored)
            _print(session, lake, stored, headline=headline, form=form)
        raise
    _print(session, lake, result.manifest, headline=_headline(result, options), form=form)
    return result


def _newest(sources: Sequence[Source], session: Session) -> Hour:
    from etl.archive.fetch import newest_published

    return newest_published(sources, session.fetch_policy())


def _print(session: Session, lake: Lake, manifest: Manifest, *, headline: str, form: str) -> None:
    from etl.lake.manifest import encode

    if form == JSON:
        click.echo(encode(manifest), nl=False)
        return
    session.out.print(headline)
    _print_summary(session, lake, manifest)


def _print_summary(session: Session, lake: Lake, manifest: Manifest) -> None:
    from etl.cli.formatting import created_text, facts_table, printable, size_text, types_table

    content, file = manifest.content, manifest.events_file
    if content is None or file is None:
        return
    quarantine, replaced = content.quarantine_file, manifest.replaced
    session.out.print(
        facts_table(
            (
                ("reason", manifest.reason and printable(manifest.reason)),
                ("file", f"{lake.store.url(file.key)} ({size_text(file.bytes)})"),
                ("source", f"{printable(content.source.address)} ({size_text(content.source.bytes)})"),
                ("redirected to", content.source.redirected_to and printable(content.source.redirected_to)),
                ("replaced", None if replaced is None else _replaced_text(replaced)),
                ("created", created_text(content)),
                (
                    "quarantine",
                    None
                    if quarantine is None
                    else f"{lake.store.url(quarantine.key)} ({plural(quarantine.rows, 'row')})",
                ),
            )
        )
    )
    if content.types:
        session.out.print(types_table(content.types, _TOP_TYPES))


def _replaced_text(replaced: Replaced) -> str:
    """Describes the version of the source's file that was replaced."""
    from etl.cli.formatting import printable, size_text, time_text

    version = "" if replaced.etag is None else f", etag {printable(replaced.etag)}"
    return (
        f"a version with {plural(replaced.events, 'event')} ({size_text(replaced.bytes)}{version}),"
        f" stored {time_text(replaced.written_at)}"
    )


def _headline(result: HourResult, options: RunOptions) -> str:
    from etl.hour_pipeline import Outcome

    if result.outcome is not Outcome.UNCHANGED:
        return _stored_line(result.manifest)
    manifest = result.manifest
    if options.refresh:
        return _unchanged_line(manifest)
    return f"{_state_of(manifest)}; nothing was done (--refresh checks for a newer version, --force processes it again)"


def _unchanged_line(manifest: Manifest) -> str:
    return f"{_state_of(manifest)}, and the source has nothing newer; nothing was done"


def _state_of(manifest: Manifest) -> str:
    events = "" if manifest.content is None else f" with {plural(manifest.content.events, 'event')}"
    return f"{manifest.hour} is {manifest.status} already{events}"


def _stored_line(manifest: Manifest) -> str:
    events = 0 if manifest.content is None else manifest.content.events
    rate = f", {events / manifest.seconds:,.0f} events/s" if events and manifest.seconds > 0 else ""
    return f"{manifest.hour} is {manifest.status}: {plural(events, 'event')} in {manifest.seconds:.1f} s{rate}"


def _flags(names: Any) -> str:  # noqa: ANN401 -- any collection of texts
    return ", ".join(f"--{name}" for name in names)
