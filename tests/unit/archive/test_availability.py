"""In which order sources are fetched, by what they promise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.archive.availability import BYTES_AN_EVENT, Answer, clearly_more, ranked
from etl.archive.sidecar import SidecarManifest
from etl.archive.source import Amount, Promise
from etl.archive.sources import source_at

DOWN = "down"
_SOURCE = source_at("http://localhost")


def answer(place: int, what: Promise | str | None) -> Answer:
    if isinstance(what, str):
        return Answer(_SOURCE, str(place), cause=what)
    return Answer(_SOURCE, str(place), promise=what)


def promise(*, events: int | None = None, size: int | None = None) -> Promise:
    return Promise(size, sidecar=None if events is None else SidecarManifest(events, size, None))


def order(*what: Promise | str | None) -> list[int]:
    return [int(each.url) for each in ranked(answer(place, each) for place, each in enumerate(what))]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ((promise(size=100), promise(size=105)), [0, 1]),
        ((promise(size=100), promise(size=106)), [1, 0]),
        ((promise(events=1000), promise(events=1050)), [0, 1]),
        ((promise(events=1000), promise(events=1051)), [1, 0]),
        # Events count, not how well somebody compresses.
        ((promise(events=1000, size=900), promise(events=1200, size=600)), [1, 0]),
        # One of them says no number of events, so bytes are what all have in common.
        ((promise(events=1000, size=900), promise(size=1000)), [1, 0]),
        ((promise(size=4_000_000), promise(events=624_300, size=361_000_000)), [1, 0]),
        # The third exceeds the first and not the second.
        ((promise(size=100), promise(size=104), promise(size=108)), [1, 2, 0]),
        ((None, DOWN, Promise(None), promise(size=1)), [3, 2, 1, 0]),
        ((DOWN, None, DOWN), [0, 2, 1]),
        ((promise(size=0), promise(size=0)), [0, 1]),
        ((promise(size=0), promise(size=1)), [1, 0]),
    ],
)
def test_the_fullest_comes_first_and_within_five_per_cent_the_order_decides(
    what: tuple[Promise | str | None, ...], expected: list[int]
) -> None:
    assert order(*what) == expected


@pytest.mark.parametrize(
    ("events", "size", "expected"),
    [
        (1000, 1900 * BYTES_AN_EVENT, [0, 1]),
        (1000, 2100 * BYTES_AN_EVENT, [1, 0]),
        (1900, 1000 * BYTES_AN_EVENT, [0, 1]),
    ],
)
def test_an_estimate_decides_only_beyond_its_error(events: int, size: int, expected: list[int]) -> None:
    """No unit is common to both, so the events of the second are estimated by the size of its file."""
    assert order(promise(events=events), promise(size=size)) == expected
    assert order(promise(size=size), promise(events=1000 * events)) == [1, 0]


def test_an_estimate_goes_by_the_bytes_an_event_of_a_source_that_says_both() -> None:
    dense = promise(events=1000, size=10_000)
    assert order(promise(events=1500), dense, promise(size=40_000)) == [2, 0, 1]


_PROMISES = st.builds(
    promise, events=st.none() | st.integers(0, 10**7), size=st.none() | st.integers(0, 10**9)
) | st.sampled_from([None, DOWN])


@given(st.lists(_PROMISES, max_size=6))
def test_every_answer_is_ranked_once_and_the_first_is_not_clearly_exceeded(what: list[Promise | str | None]) -> None:
    places = order(*what)
    assert sorted(places) == list(range(len(what)))
    for unit in ("events", "bytes"):
        sizes = [getattr(each.amount, unit) if isinstance(each, Promise) else None for each in what]
        known = [size for size in sizes if size is not None]
        if len(known) == len(what) > 0:
            assert 1.05 * known[places[0]] >= max(known)
            break


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Amount(106, None), Amount(100, 1), True),
        (Amount(105, None), Amount(100, 1), False),
        (Amount(None, 106), Amount(100, 100), True),
        (Amount(100, 900), Amount(100, 100), False),
        (Amount(100, None), Amount(None, 100), None),
        (Amount(None, None), Amount(100, 100), None),
    ],
)
def test_amounts_are_compared_in_a_unit_that_both_have(one: Amount, other: Amount, expected: bool | None) -> None:  # noqa: FBT001
    assert clearly_more(one, other) is expected
