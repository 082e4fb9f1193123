"""Repair of a stored hour that is not sound: from its own file if possible, else from the source.

A repair takes nothing away. An hour that turns out sound is left alone, one that another run is at too, and one that
has fewer events at its source now than the lake knew of stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from etl.archive.source import Source
from etl.errors import ConflictError, DamagedError, EtlError, ShrinkRefusedError, StoreError
from etl.events.schema import ARROW_SCHEMA
from etl.hour_pipeline import ProgressCallback, RunOptions, run_hour
from etl.hours import Hour
from etl.lake.integrity import sha256_of
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Manifest, decode, is_of_later_version

_BUSY: Final = "another run is at work on it"


class RepairOutcome(StrEnum):
    """The outcome of a repair."""

    SOUND = "sound"
    """It was already sound."""
    RECOVERED = "recovered"
    """Its manifest was rebuilt from the events file."""
    REMADE = "downloaded again"
    """It was downloaded again."""
    NOTED = "noted"
    """It has no events; its manifest was rewritten with the reason."""
    SHRUNK = "kept"
    """The source has fewer events now; nothing was changed."""
    LEFT = "left"
    """It could not be repaired now."""

    @property
    def is_sound(self) -> bool:
        """Returns whether the hour is sound now."""
        return self not in (RepairOutcome.SHRUNK, RepairOutcome.LEFT)


@dataclass(frozen=True, slots=True)
class Repair:
    """What became of an hour.

    Attributes:
        hour: The hour.
        outcome: What was done.
        note: Why nothing was, or what there is to know besides; None when there is nothing.
    """

    hour: Hour
    outcome: RepairOutcome
    note: str | None = None


def repair_hour(
    hour: Hour,
    *,
    lake: Lake,
    sources: Sequence[Source],
    options: RunOptions,
    deep: bool = False,
    watch: ProgressCallback | None = None,
) -> Repair:
    """Repairs an hour.

    Args:
        hour: Which hour.
        lake: Where it lies.
        sources: Where to fetch it from, in order of trust.
        options: How; an hour made by another e-mail policy than theirs is left as it is.
        deep: Hold sound what decodes to its last value only, as ``check_hour`` does.
        watch: Told of progress.

    Raises:
        StoreError: If the lake cannot be read or written.
    """
    with lake.lock(hour) as alone:
        if not alone:
            return Repair(hour, RepairOutcome.LEFT, _BUSY)
        if not lake.verify(hour, ARROW_SCHEMA, deep=deep):
            return Repair(hour, RepairOutcome.SOUND)
        content = lake.store.read(manifest_key(hour))
        if content is not None and is_of_later_version(content):
            return Repair(hour, RepairOutcome.LEFT, "a newer version of this program wrote its manifest")
        present = _decoded(content, hour)
        if not _was_changed_in_place(lake, present):
            present = lake.recover(hour)
            if not lake.verify(hour, ARROW_SCHEMA, deep=True):
                return Repair(hour, RepairOutcome.RECOVERED)
        if other := _other_policy(present, options):
            return Repair(hour, RepairOutcome.LEFT, other)
        return _fetched_again(hour, lake, sources, replace(options, reprocess=True, force=False), watch)


def _fetched_again(
    hour: Hour, lake: Lake, sources: Sequence[Source], options: RunOptions, watch: ProgressCallback | None
) -> Repair:
    note, made = None, RepairOutcome.REMADE
    try:
        run_hour(hour, lake=lake, sources=sources, options=options, progress=watch)
    except DamagedError as error:
        note = error.message
    except ConflictError:
        return Repair(hour, RepairOutcome.LEFT, _BUSY)
    except ShrinkRefusedError as error:
        return Repair(hour, RepairOutcome.SHRUNK, error.message)
    except StoreError:
        raise
    except EtlError as error:
        # A run begins with a recovery, and notes it when there is nothing to fetch.
        note, made = (
            error.message,
            RepairOutcome.RECOVERED if lake.store.stat(events_key(hour)) else RepairOutcome.NOTED,
        )
    problems = lake.verify(hour, ARROW_SCHEMA, deep=True)
    if problems:
        return Repair(hour, RepairOutcome.LEFT, note or "; ".join(problems))
    return Repair(hour, made, note)


def _decoded(content: bytes | None, hour: Hour) -> Manifest | None:
    try:
        return None if content is None else decode(content, of=hour)
    except StoreError:
        return None


def _was_changed_in_place(lake: Lake, manifest: Manifest | None) -> bool:
    """Returns whether the events have their original size but other bytes.

    Then a manifest that disagrees is to be believed rather than the file: a disk has erred, perhaps in what the
    file says of itself. A file of another size is another publication's, whose writer was killed.
    """
    facts = None if manifest is None else manifest.events_file
    info = None if facts is None else lake.store.stat(facts.key)
    if facts is None or info is None or info.size != facts.bytes:
        return False
    with lake.store.open(facts.key) as file:
        return sha256_of(file) != facts.sha256


def _other_policy(present: Manifest | None, options: RunOptions) -> str | None:
    content = None if present is None else present.content
    if content is None or content.emails == options.emails.name:
        return None
    return (
        f"it was made with e-mails {content.emails!r}, and would be made with {options.emails.name!r} now; "
        "repair it with the settings of then, or run it with --force"
    )
