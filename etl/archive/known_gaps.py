"""Known problems of the archive's history: missing hours and hours with far too few events.

The list is in ``known_gaps.toml`` next to this module. Every entry names its source.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from etl.hours import Hour

_DATA: Final = Path(__file__).with_name("known_gaps.toml")


class GapKind(StrEnum):
    """Kind of a known gap."""

    NEVER = "never"
    """The hour does not exist in the time zone of the file names, so no source can have it."""
    LOST = "lost"
    """The archive has none of these hours; another source may."""
    PART = "part"
    """The archive has some of these hours."""


class KnownGap(msgspec.Struct, frozen=True, kw_only=True):
    """A range of hours that are known to be missing from the archive.

    Attributes:
        first: First hour.
        last: Last hour, inclusive.
        kind: Whether all hours of the range are missing, and whether that is final.
        what: What happened, as text.
        source: Where it is documented.
    """

    first: Hour
    last: Hour
    kind: GapKind
    what: str
    source: str

    @property
    def reason(self) -> str:
        """The reason recorded for an hour of this gap that no source has."""
        return f"known gap in the archive: {self.what} ({self.source})"


class VolumeDrop(msgspec.Struct, frozen=True, kw_only=True):
    """A range of hours for which the archive is known to have far too few events.

    Attributes:
        first: First hour.
        last: Last hour, inclusive; None if it has not ended.
        what: What happened, as text.
        source: Where it is documented.
    """

    first: Hour
    last: Hour | None
    what: str
    source: str

    def touches(self, first: Hour, last: Hour) -> bool:
        """Returns whether the range overlaps ``first`` to ``last``, both inclusive."""
        return self.first <= last and (self.last is None or first <= self.last)


def known_gap(hour: Hour) -> KnownGap | None:
    """Returns the known gap that contains an hour; None if the hour is not known to be missing.

    An hour in a gap of kind ``part`` may exist. Any other may exist at another source: a gap says what
    a 404 means, not whether to ask.
    """
    return next((gap for gap in known_gaps() if gap.first <= hour <= gap.last), None)


def known_gaps() -> tuple[KnownGap, ...]:
    """Returns all known gaps in chronological order; they do not overlap."""
    return _read()[0]


def known_volume_drops() -> tuple[VolumeDrop, ...]:
    """Returns all ranges with far too few events, in chronological order."""
    return _read()[1]


class _GapEntry(msgspec.Struct, forbid_unknown_fields=True):
    first: str
    kind: GapKind
    what: str
    source: str
    last: str | None = None


class _VolumeDropEntry(msgspec.Struct, forbid_unknown_fields=True):
    first: str
    what: str
    source: str
    last: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    gap: list[_GapEntry]
    volume_drop: list[_VolumeDropEntry]


@cache
def _read() -> tuple[tuple[KnownGap, ...], tuple[VolumeDrop, ...]]:
    file = msgspec.toml.decode(_DATA.read_bytes(), type=_File)
    gaps = (
        KnownGap(
            first=Hour.parse(entry.first),
            last=Hour.parse(entry.last or entry.first),
            kind=entry.kind,
            what=entry.what,
            source=entry.source,
        )
        for entry in file.gap
    )
    volume_drops = (
        VolumeDrop(
            first=Hour.parse(entry.first),
            last=None if entry.last is None else Hour.parse(entry.last),
            what=entry.what,
            source=entry.source,
        )
        for entry in file.volume_drop
    )
    return tuple(gaps), tuple(volume_drops)
