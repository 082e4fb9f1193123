"""Finds and removes orphans in the lake: files that no manifest refers to, and files with unknown names.

A file is an orphan only if it is at least an hour old. A newer one may belong to a running writer, which stores the
quarantine file before the events file that refers to it.
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
_NOT_REFERENCED: Final = "no manifest refers to it"
_UNKNOWN_NAME: Final = "its name is not one that the lake uses"


@dataclass(frozen=True, slots=True)
class Orphan:
    """A file that belongs to no hour.

    Attributes:
        info: The file.
        reason: Why it is an orphan, as text.
        hour: The hour in its name; None if the name is unknown.
    """

    info: ObjectInfo
    reason: str
    hour: Hour | None


@dataclass(frozen=True, slots=True)
class Inventory:
    """The files of the lake by hour, from one listing.

    Attributes:
        manifests: Manifest of each hour that has one.
        events: Events file of each hour that has one.
        quarantine: Quarantine files of each hour that has any.
        unknown: Files with names that this program does not use. Those whose name has no hour are only listed if the
            inventory covers all hours.
    """

    manifests: dict[Hour, ObjectInfo] = field(default_factory=dict)
    events: dict[Hour, ObjectInfo] = field(default_factory=dict)
    quarantine: dict[Hour, list[ObjectInfo]] = field(default_factory=dict)
    unknown: list[ObjectInfo] = field(default_factory=list)

    @property
    def hours(self) -> list[Hour]:
        """The hours with a manifest or an events file, valid or not."""
        return sorted(self.manifests.keys() | self.events.keys())


def take_inventory(lake: Lake, hours: HourRange | None = None) -> Inventory:
    """Lists the files of all hours, or of a range.

    Only ``events/``, ``quarantine/`` and ``manifests/`` are listed; other files next to them are not the lake's.

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
                found.unknown.append(info)
    return found


def find_orphans(
    lake: Lake, inventory: Inventory, unsound: Collection[Hour], *, now: datetime | None = None
) -> Iterator[Orphan]:
    """Yields the files that no hour needs, ordered by hour and name; files with unknown names come last.

    Args:
        lake: The lake.
        inventory: Its files.
        unsound: Hours whose manifest may not refer to their events file; all other hours are assumed to be valid.
        now: The current time; None for that of the system clock.

    Raises:
        StoreError: If the lake cannot be read.
    """
    latest = (datetime.now(UTC) if now is None else now).timestamp() - _OLD_ENOUGH_SECONDS
    unnamed = {hour: inventory.events[hour] for hour in unsound if hour in inventory.events}
    for hour in sorted(inventory.quarantine.keys() | unnamed.keys()):
        files = [*inventory.quarantine.get(hour, ()), *filter(None, [unnamed.get(hour)])]
        if old := [info for info in files if info.modified <= latest]:
            needed = _needed(lake, hour)
            yield from (Orphan(info, _NOT_REFERENCED, hour) for info in old if not needed.has(info.key))
    for info in inventory.unknown:
        if info.modified <= latest:
            yield Orphan(info, _UNKNOWN_NAME, None)


def remove_orphan(lake: Lake, orphan: Orphan) -> bool:
    """Removes an orphan if it still is one and no run has locked its hour; returns whether it was removed.

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
    """The files that an hour needs; None if that is unknown, so that all files are kept."""

    keys: frozenset[str] | None

    def has(self, key: str) -> bool:
        return self.keys is None or key in self.keys


def _needed(lake: Lake, hour: Hour) -> _Needed:
    """Returns the files referenced by the manifest or the events file: after a crash the manifest may be outdated."""
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
        found.unknown.append(info)
