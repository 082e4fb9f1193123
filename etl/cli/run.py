"""``run``: one hour from the archive into the lake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import HOUR, Session, with_session
from etl.cli.output import JSON, TABLE, takes_format
from etl.errors import DamagedError, UsageError
from etl.hours import Hour
from etl.plural import plural
from etl.runtime.arrow_memory import keep_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.archive.source import Source
    from etl.hour_pipeline import HourResult, RunOptions
    from etl.lake.lake import Lake
    from etl.lake.manifest import Manifest, Replaced

_PARTS: Final = ("year", "month", "day", "hour")
_TOP_TYPES: Final = 8
_WHICH: Final = "Which hour (UTC; none of these: the newest that is published)"


@click.command(
    cls=Command,
    first_panel=_WHICH,
    examples=(
        ("--year=2015 --month=1 --day=1 --hour=15", "one hour, into the folder lake/"),
        ("", "the newest hour that is published"),
        ("--at 2015-01-01-15 --format json | jq .status", "the manifest, for a program"),
        ("--at 2015-01-01-15 --source ./downloads", "from files you have already"),
        ("--at 2015-01-01-15 --lake gs://my-bucket/lake", "into a bucket"),
        ("--at 2015-01-01-15 --refresh", "ask whether the source has a newer version"),
    ),
)
@click.option("--year", type=int, metavar="YYYY", panel=_WHICH, help="2011 or later; all four parts are needed.")
@click.option("--month", type=int, metavar="MM", panel=_WHICH, help="1 to 12.")
@click.option("--day", type=int, metavar="DD", panel=_WHICH, help="1 to 31.")
@click.option("--hour", type=int, metavar="HH", panel=_WHICH, help="0 to 23.")
@click.option("--at", type=HOUR, panel=_WHICH, help="The same in one word: 2015-01-01-15.")
@click.option("--refresh", is_flag=True, help="Ask the source even if the hour is complete already.")
@click.option("--force", is_flag=True, help="Make the hour anew, and replace it even by one with fewer events.")
@takes_format(help="It is the hour's manifest.")
@with_session("sources", "lake", "emails", "max_damage")
def run(session: Session, at: Hour | None, *, refresh: bool, force: bool, form: str, **parts: int | None) -> None:
    """Bring one hour of GH Archive into the lake.

    The hour is downloaded, every event is given the one schema, and the result is put in its place at once or
    not at all. Running it again is free and safe: an hour that is complete is left alone.
    """
    keep_memory()
    chosen = chosen_hour(at, parts)
    lake, sources = session.lake(), session.sources()
    options = session.run_options(refresh=refresh, force=force)
    hour = chosen or _newest(sources, session)
    run_and_report(session, hour, lake=lake, sources=sources, options=options, form=form)


def chosen_hour(at: Hour | None, parts: dict[str, int | None]) -> Hour | None:
    """Makes an hour of the flags; None when none of them was given.

    Raises:
        UsageError: If they say too little, too much, or nothing possible.
    """
    given = {name: value for name in _PARTS if (value := parts.get(name)) is not None}
    if at is not None:
        if given:
            raise UsageError(f"--at says the whole hour, so {_flags(given)} cannot be given with it")
        return at
    if not given:
        return None
    if missing := [name for name in _PARTS if name not in given]:
        raise UsageError(
            f"an hour needs all four of {_flags(_PARTS)}; missing: {_flags(missing)}",
            hint="give all four, or --at 2015-01-01-15, or none of them for the newest hour",
        )
    return Hour.of(**given)


def run_and_report(
    session: Session, hour: Hour, *, lake: Lake, sources: Sequence[Source], options: RunOptions, form: str = TABLE
) -> HourResult:
    """Runs an hour with progress, and prints what became of it, also when it was stored with damage.

    Raises:
        EtlError: What ``run_hour`` raises.
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
    """Says which version of the source's file the hour held before."""
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
    return (
        f"{_standing(manifest)}; nothing was done (--refresh asks the source for a newer version, --force fetches it"
        " again)"
    )


def _unchanged_line(manifest: Manifest) -> str:
    return f"{_standing(manifest)}, and the source has nothing newer; nothing was done"


def _standing(manifest: Manifest) -> str:
    events = "" if manifest.content is None else f" with {plural(manifest.content.events, 'event')}"
    return f"{manifest.hour} is {manifest.status} already{events}"


def _stored_line(manifest: Manifest) -> str:
    events = 0 if manifest.content is None else manifest.content.events
    rate = f", {events / manifest.seconds:,.0f} events/s" if events and manifest.seconds > 0 else ""
    return f"{manifest.hour} is {manifest.status}: {plural(events, 'event')} in {manifest.seconds:.1f} s{rate}"


def _flags(names: Any) -> str:  # noqa: ANN401 -- any collection of texts
    return ", ".join(f"--{name}" for name in names)
