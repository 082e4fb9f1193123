"""Formats manifests, events and settings for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich import box
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from etl.lake.manifest import Status
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from etl.lake.manifest import Content, Manifest

_STYLES: Final = {
    Status.COMPLETE: "green",
    Status.PARTIAL: "yellow",
    Status.SUSPECT: "yellow",
    Status.PENDING: "cyan",
    Status.MISSING: "dim",
    Status.FAILED: "red",
}


_KILO: Final = 1000
"""From this size on, the exact number of bytes is shown in brackets."""


def printable(value: object, width: int | None = None) -> str:
    """Makes text from the archive safe to print on a terminal.

    Args:
        value: The value to print; None prints as an empty string.
        width: Maximum length; longer text is cut and ends in an ellipsis.
    """
    text = "" if value is None else str(value)
    if width is not None and len(text) > width:
        text = text[: width - 1] + "…"
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def status_text(status: Status) -> Text:
    """Returns the status in its colour."""
    return Text(status.value, style=_STYLES[status])


def size_text(count: int) -> str:
    """Returns a size in bytes with a decimal unit."""
    return decimal(count)


def exact_size_text(count: int) -> str:
    """Returns a size with a unit and the exact number of bytes."""
    text = plural(count, "byte")
    return text if count < _KILO else f"{size_text(count)} ({text})"


def time_text(instant: datetime | None) -> str:
    """Returns a UTC time to the second."""
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S} UTC"


def created_text(content: Content) -> str | None:
    """Returns the times of the first and the last event; None for an hour without events."""
    if content.first_created_at is None:
        return None
    return f"{time_text(content.first_created_at)} to {time_text(content.last_created_at)}"


def facts_table(facts: Iterable[tuple[str, str | Text | None]]) -> Table:
    """Returns a table of names and values; rows without a value are left out."""
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts:
        if value:
            table.add_row(name, value)
    return table


def listing(columns: Sequence[str], rows: Iterable[Sequence[str | Text]], *, right: Sequence[str] = ()) -> Table:
    """Returns a table with a header.

    Args:
        columns: The column names.
        rows: The cells.
        right: Columns to align to the right.
    """
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    return table


def types_table(types: Mapping[str, int], limit: int | None = None) -> Table:
    """Returns events by type, the most frequent first; types beyond the limit share one row."""
    ordered = sorted(types.items(), key=lambda item: (-item[1], item[0]))
    shown = ordered[:limit]
    total = sum(types.values()) or 1
    rows = [(printable(name, 60), f"{count:,}", f"{count / total:.1%}") for name, count in shown]
    if rest := ordered[len(shown) :]:
        count = sum(count for _, count in rest)
        rows.append((f"{len(rest)} more", f"{count:,}", f"{count / total:.1%}"))
    return listing(("type", "events", "share"), rows, right=("events", "share"))


def sources_table(manifest: Manifest) -> Table:
    """Returns a table of the sources that were asked for an hour, with their answers and why each was taken or not."""
    rows = [
        (
            printable(answer.address),
            printable(answer.answer.value if answer.cause is None else f"{answer.answer.value}: {answer.cause}", 80),
            "" if answer.bytes is None else f"{answer.bytes:,}",
            "" if answer.promised_events is None else f"{answer.promised_events:,}",
            "" if answer.events is None else f"{answer.events:,}",
            "yes" if answer.taken else "no",
            printable(answer.why),
        )
        for answer in manifest.sources
    ]
    numbers = ("bytes", "promised", "events")
    return listing(("source", "answer", *numbers, "taken", "reason"), rows, right=numbers)


def manifest_facts(manifest: Manifest, url: str | None) -> list[tuple[str, str | Text | None]]:
    """Returns what a manifest says, except the counts by type.

    Args:
        manifest: The manifest.
        url: Address of the events file; None if there is none.
    """
    facts: list[tuple[str, str | Text | None]] = [
        ("hour", manifest.hour),
        ("status", status_text(manifest.status)),
        ("reason", manifest.reason and printable(manifest.reason)),
    ]
    if manifest.content is None:
        facts.append(("events", "none are stored"))
    else:
        facts += _content_facts(manifest.content)
    if manifest.events_file is not None:
        file = manifest.events_file
        facts += [
            ("file", url),
            ("", f"{exact_size_text(file.bytes)}, {plural(file.rows, 'row')}"),
            ("", f"SHA-256 {file.sha256}"),
        ]
    return [
        *facts,
        ("attempt", f"number {manifest.attempts}, {time_text(manifest.started_at)}, {manifest.seconds:.1f} s"),
    ]


def _content_facts(content: Content) -> list[tuple[str, str | Text | None]]:
    source = content.source
    marks = [mark for mark, there in (("interrupted", source.interrupted), ("sidecar agreed", source.sidecar)) if there]
    quarantine = content.quarantine_file
    return [
        ("era", content.era),
        ("events", f"{content.events:,} of {plural(content.documents, 'document')}"),
        ("created", created_text(content)),
        ("duplicates", f"{content.duplicates:,}"),
        ("repaired", f"{content.repaired:,}"),
        ("unreadable", f"{content.unreadable:,}"),
        *(
            ("damage", f"{damage.reason}: {plural(damage.count, 'time')}, {plural(damage.bytes, 'byte')}")
            for damage in content.damage
        ),
        (
            "quarantine",
            None
            if quarantine is None
            else f"{quarantine.key}, {plural(quarantine.rows, 'row')}, {size_text(quarantine.bytes)}",
        ),
        ("source", printable(source.address)),
        ("", f"{exact_size_text(source.bytes)}{''.join(f', {mark}' for mark in marks)}"),
        ("", f"SHA-256 {source.sha256}"),
        ("", source.etag and f"etag {printable(source.etag)}"),
        ("", source.last_modified and f"last modified {printable(source.last_modified)}"),
        ("e-mails", content.emails),
        ("made by", f"{content.software}, schema version {content.schema_version}"),
    ]
