"""What is known to be wrong with the archive's history: hours it does not have, and hours it has too little of.

The list itself is data: ``known_gaps.toml`` beside this module, each entry with its source.
"""

from __future__ import annotations

from enum import StrEnum
from functools import cache
from pathlib import Path
from typing import Final

import msgspec

from etl.hours import Hour

_DATA: Final = Path(__file__).with_name("known_gaps.toml")


class HoleKind(StrEnum):
    """What kind of hole it is."""

    NEVER = "never"
    """There was no such hour by the clock that the files were named by: nobody will ever have it."""
    LOST = "lost"
    """The archive has none of these hours; another source may."""
    PART = "part"
    """The archive has some of these hours."""


class Hole(msgspec.Struct, frozen=True, kw_only=True):
    """Hours that the archive is known not to have.

    Attributes:
        first: The first of them.
        last: The last of them, included.
        kind: Whether that is all of them, and for good.
        what: Why, in words.
        source: Where that is told.
    """

    first: Hour
    last: Hour
    kind: HoleKind
    what: str
    source: str

    @property
    def reason(self) -> str:
        """What to say of an hour in it that no source has."""
        return f"known hole of the archive: {self.what} ({self.source})"


class VolumeDrop(msgspec.Struct, frozen=True, kw_only=True):
    """Hours of which the archive is known to hold far too few events.

    Attributes:
        first: The first of them.
        last: The last of them, included; None while it goes on.
        what: What happened, in words.
        source: Where that is told.
    """

    first: Hour
    last: Hour | None
    what: str
    source: str

    def touches(self, first: Hour, last: Hour) -> bool:
        """Whether any hour from ``first`` to ``last``, both included, is one of these."""
        return self.first <= last and (self.last is None or first <= self.last)


def known_hole(hour: Hour) -> Hole | None:
    """Returns the hole that an hour lies in; None when it is not known to be missing.

    An hour in a hole of kind ``part`` may well be there. So may any other, at another source: a hole says what
    a 404 means, not whether to ask.
    """
    return next((hole for hole in known_holes() if hole.first <= hour <= hole.last), None)


def known_holes() -> tuple[Hole, ...]:
    """All known holes, in the order of their hours, none of which lies in two of them."""
    return _read()[0]


def known_collapses() -> tuple[VolumeDrop, ...]:
    """All spans with far too few events, in the order of their hours."""
    return _read()[1]


class _HoleEntry(msgspec.Struct, forbid_unknown_fields=True):
    first: str
    kind: HoleKind
    what: str
    source: str
    last: str | None = None


class _CollapseEntry(msgspec.Struct, forbid_unknown_fields=True):
    first: str
    what: str
    source: str
    last: str | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    hole: list[_HoleEntry]
    collapse: list[_CollapseEntry]


@cache
def _read() -> tuple[tuple[Hole, ...], tuple[VolumeDrop, ...]]:
    file = msgspec.toml.decode(_DATA.read_bytes(), type=_File)
    holes = (
        Hole(
            first=Hour.parse(entry.first),
            last=Hour.parse(entry.last or entry.first),
            kind=entry.kind,
            what=entry.what,
            source=entry.source,
        )
        for entry in file.hole
    )
    collapses = (
        VolumeDrop(
            first=Hour.parse(entry.first),
            last=None if entry.last is None else Hour.parse(entry.last),
            what=entry.what,
            source=entry.source,
        )
        for entry in file.collapse
    )
    return tuple(holes), tuple(collapses)
