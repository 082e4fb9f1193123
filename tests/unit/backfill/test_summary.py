"""The sums of a backfill, and what programs read of them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from etl.backfill import Ending, HourReport, Summary
from etl.errors import StoreError
from etl.hours import Hour, HourRange

FIRST = Hour.of(2015, 1, 1, 0)


def summary(*endings: Ending, stopped: StoreError | None = None) -> Summary:
    reports = [
        HourReport(hour=FIRST + number, ending=ending, fetched=ending is Ending.STORED, events=10, source_bytes=100)
        for number, ending in enumerate(endings)
    ]
    hours = HourRange(FIRST, FIRST + max(0, len(endings) - 1))
    return Summary(hours=hours, reports=reports, seconds=1.5, workers=2, stopped=stopped)


@given(endings=st.lists(st.sampled_from(Ending), min_size=1, max_size=50))
def test_no_hour_is_lost_in_the_sums(endings: list[Ending]) -> None:
    found = summary(*endings)
    shares = found.shares()
    assert {ending: share.hours for ending, share in shares.items()} == {
        ending: endings.count(ending) for ending in Ending if ending in endings
    }
    assert sum(share.events for share in shares.values()) == 10 * endings.count(Ending.STORED)
    assert len(found.left) + sum(share.hours for ending, share in shares.items() if ending.is_fine) == len(endings)
    assert bool(found.left) is bool(found.counts())


@given(endings=st.lists(st.sampled_from(Ending), min_size=1, max_size=20))
def test_json_says_the_same(endings: list[Ending]) -> None:
    found = summary(*endings)
    said = json.loads(json.dumps(found.as_json()))
    assert said["complete"] is not bool(found.left)
    assert {name: share["hours"] for name, share in said["endings"].items()} == {
        ending.value: share.hours for ending, share in found.shares().items()
    }
    assert [told["hour"] for told in said["told"]] == [str(report.hour) for report in found.told]


def test_an_hour_kept_against_its_source_is_done_but_told() -> None:
    found = summary(Ending.STORED, Ending.KEPT)
    assert found.left == []
    assert [report.ending for report in found.told] == [Ending.KEPT]


def test_what_was_given_up_is_not_complete() -> None:
    said = summary(Ending.STORED, stopped=StoreError("the disk is full")).as_json()
    assert (said["complete"], said["stopped"]) == (False, "the disk is full")


def test_the_counts_are_words() -> None:
    found = summary(Ending.MISSING, Ending.STORED, Ending.FAILED, Ending.MISSING)
    assert found.counts() == "2 missing, 1 failed"
