"""The list of known gaps: order, completeness of entries, and lookup."""

from __future__ import annotations

from itertools import pairwise

import pytest

from etl.archive.known_gaps import GapKind, KnownGap, VolumeDrop, known_gap, known_gaps, known_volume_drops
from etl.hours import Hour


def test_gaps_are_ordered_and_do_not_overlap() -> None:
    assert all(gap.first <= gap.last for gap in known_gaps())
    assert all(before.last < after.first for before, after in pairwise(known_gaps()))


def test_every_entry_has_a_description_and_a_source() -> None:
    entries: list[KnownGap | VolumeDrop] = [*known_gaps(), *known_volume_drops()]
    for entry in entries:
        assert entry.what
        assert entry.source.startswith(("https://github.com/igrigorik/gharchive.org/issues/", "docs/"))


@pytest.mark.parametrize("name", ["2012-03-11-2", "2013-03-10-2", "2014-03-09-2"])
def test_hours_skipped_by_daylight_saving_time_never_existed(name: str) -> None:
    hour = Hour.parse(name)
    gap = known_gap(hour)
    assert gap is not None
    assert gap.kind is GapKind.NEVER
    # In that time zone the previous hour ended when the next one started.
    assert (hour - 1).window[1] == (hour + 1).window[0]


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2012-03-10-9", "2012-03-10-21"),
        ("2016-10-21-18", "2016-10-21-18"),
        ("2018-10-21-23", "2018-10-22-1"),
        ("2019-09-12-8", "2019-09-13-5"),
        ("2020-08-21-9", "2020-08-23-15"),
    ],
)
def test_a_gap_contains_its_ends_but_not_its_neighbours(first: str, last: str) -> None:
    begin, end = Hour.parse(first), Hour.parse(last)
    for hour in (begin, end):
        found = known_gap(hour)
        assert found is not None
        assert (found.first, found.last, found.kind) == (begin, end, GapKind.LOST)
        assert found.source in found.reason
    assert known_gap(begin - 1) is None
    assert known_gap(end + 1) is None


def test_a_volume_drop_touches_ranges_that_overlap_it() -> None:
    ended = next(drop for drop in known_volume_drops() if drop.last is not None)
    assert ended.last is not None
    assert ended.touches(ended.last, ended.last + 1)
    assert ended.touches(ended.first - 5, ended.first)
    assert not ended.touches(ended.last + 1, ended.last + 9)
    assert not ended.touches(ended.first - 9, ended.first - 1)
    open_ended = next(drop for drop in known_volume_drops() if drop.last is None)
    assert open_ended.touches(open_ended.first + 1000, open_ended.first + 1001)
