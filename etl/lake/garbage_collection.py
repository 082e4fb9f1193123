"""What lies in the lake and belongs to no hour: files that no manifest names, strangers, unfinished files.

A file is called an orphan only once it is an hour old: before that it may be a living writer's, which puts the
quarantine in its place before the events that speak of it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from etl.errors import ConflictError, StoreError
from etl.hours import Hour, HourRange
from etl.lake.integrity import inner_problems, read_footer
from etl.lake.lake import Lake
from etl.lake.layout import (
    EVENTS,
    MANIFESTS,
    QUARANTINE,
    events_key,
    hour_of_key,
    hours_prefix,
    manifest_key,
    quarantine_prefix,
)
from etl.lake.manifest import decode
from etl.storage.store import ObjectInfo

__all__ = ["Inventory", "Orphan", "find_orphans", "remove_orphan", "take_inventory"]

_OLD_ENOUGH_SECONDS: Final = 3600.0
_QUARANTINE_END: Final = r"[0-9a-f]{12}\.parquet"
_NO_MANIFEST_NAMES_IT: Final = "no manifest names it"
_NOT_OF_THE_LAYOUT: Final = "its name is none of the lake's"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file that belongs to no hour.

    Attributes:
        info: The file.
        reason: Why it is one, in words.
        hour: The hour by its name; None for a stranger.
    """

    info: ObjectInfo
    reason: str
    hour: Hour | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one listing of the lake found, by hour.

    Attributes:
        manifests: Hours with a manifest, and the manifest's file.
        events: Hours with an events file.
        quarantine: Hours with quarantine files.
        strangers: Files whose names this program never gives. Those that are named like no hour at all are looked
            for only where all hours are.
    """

    manifests: dict[Hour, ObjectInfo] = field(default_factory=dict)
    events: dict[Hour, ObjectInfo] = field(default_factory=dict)
    quarantine: dict[Hour, list[ObjectInfo]] = field(default_factory=dict)
    strangers: list[ObjectInfo] = field(default_factory=list)

    @property
    def hours(self) -> list[Hour]:
        """The hours there are, sound or not: those with a manifest or events."""
        return sorted(self.manifests.keys() | self.events.keys())


def take_inventory(lake: Lake, hours: HourRange | None = None) -> Inventory:
    """Lists the files of all hours, or of some.

    Nothing but ``events/``, ``quarantine/`` and ``manifests/`` is looked at: what else lies beside them may be
    anybody's.

    Raises:
        StoreError: If the lake cannot be read.
    """
    found = Inventory()
    for root in (EVENTS, QUARANTINE, MANIFESTS):
        for info in lake.store.list(hours_prefix(root, hours)):
            hour = hour_of_key(info.key)
            if hour is not None and (hours is None or hour in hours):
                _sort_in(found, root, hour, info)
            elif hour is None and hours is None:
                found.strangers.append(info)
    return found


def find_orphans(
    lake: Lake, inventory: Inventory, unsound: Collection[Hour], *, now: datetime | None = None
) -> Iterator[Orphan]:
    """Yields the files that no hour needs, in the order of hours and names, strangers last.

    Args:
        lake: The lake.
        inventory: What was found in it.
        unsound: Hours whose events may not be named; those of all others are taken to be.
        now: The time; the clock's when None.

    Raises:
        StoreError: If the lake cannot be read.
    """
    latest = (datetime.now(UTC) if now is None else now).timestamp() - _OLD_ENOUGH_SECONDS
    unnamed = {hour: inventory.events[hour] for hour in unsound if hour in inventory.events}
    for hour in sorted(inventory.quarantine.keys() | unnamed.keys()):
        files = [*inventory.quarantine.get(hour, ()), *filter(None, [unnamed.get(hour)])]
        if old := [info for info in files if info.modified <= latest]:
            needed = _needed(lake, hour)
            yield from (Orphan(info, _NO_MANIFEST_NAMES_IT, hour) for info in old if not needed.has(info.key))
    for info in inventory.strangers:
        if info.modified <= latest:
            yield Orphan(info, _NOT_OF_THE_LAYOUT, None)


def remove_orphan(lake: Lake, orphan: Orphan) -> bool:
    """Removes an orphan, if it still is one and no run is at its hour; tells whether it did.

    Raises:
        StoreError: If the lake cannot be read or written.
    """
    hour = orphan.hour
    if hour is None:
        return _removed(lake, orphan)
    with lake.lock(hour) as alone:
        return alone and not _needed(lake, hour).has(orphan.info.key) and _removed(lake, orphan)


@dataclass(frozen=True, slots=True)
class _Needed:
    """The files an hour needs; all of them where that cannot be told."""

    keys: frozenset[str] | None

    def has(self, key: str) -> bool:
        return self.keys is None or key in self.keys


def _needed(lake: Lake, hour: Hour) -> _Needed:
    """Asks the manifest and the events file itself: after a crash the file is right and the manifest is old."""
    content = lake.store.read(manifest_key(hour))
    try:
        manifest = None if content is None else decode(content, of=hour)
    except StoreError:
        return _Needed(None)
    keys: set[str] = set()
    if manifest is not None and manifest.events_file is not None:
        keys.add(manifest.events_file.key)
    contents = [None if manifest is None else manifest.content, None]
    if lake.store.stat(events_key(hour)) is not None:
        with lake.store.open(events_key(hour)) as file:
            footer = read_footer(file, hour)
            if footer is not None and (footer.agrees_with(manifest) or not inner_problems(file, footer.content)):
                keys.add(events_key(hour))
                contents.append(footer.content)
    files = (content.quarantine_file for content in contents if content is not None)
    return _Needed(frozenset(keys | {facts.key for facts in files if facts is not None}))


def _removed(lake: Lake, orphan: Orphan) -> bool:
    try:
        lake.store.delete(orphan.info.key, if_generation=orphan.info.generation)
    except ConflictError:
        return False
    return True


def _sort_in(found: Inventory, root: str, hour: Hour, info: ObjectInfo) -> None:
    if root == QUARANTINE and re.fullmatch(_QUARANTINE_END, info.key.removeprefix(quarantine_prefix(hour))):
        found.quarantine.setdefault(hour, []).append(info)
    elif info.key == events_key(hour):
        found.events[hour] = info
    elif info.key == manifest_key(hour):
        found.manifests[hour] = info
    else:
        found.strangers.append(info)
