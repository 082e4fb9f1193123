"""Which hour the flags of ``run`` mean."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.cli.run import chosen_hour
from etl.errors import UsageError
from etl.hours import Hour

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

PARTS = {"year": 2015, "month": 1, "day": 1, "hour": 15}


def test_four_parts_are_an_hour() -> None:
    assert chosen_hour(None, dict(PARTS)) == Hour.parse("2015-01-01-15")


def test_midnight_is_a_given_hour() -> None:
    assert chosen_hour(None, {**PARTS, "hour": 0}) == Hour.parse("2015-01-01-0")


def test_one_word_is_an_hour() -> None:
    assert chosen_hour(Hour.parse("2015-01-01-15"), dict.fromkeys(PARTS)) == Hour.parse("2015-01-01-15")


def test_no_flag_means_none() -> None:
    assert chosen_hour(None, dict.fromkeys(PARTS)) is None


@given(st.sets(st.sampled_from(tuple(PARTS)), min_size=1, max_size=3))
def test_what_is_missing_is_named(given_parts: AbstractSet[str]) -> None:
    with pytest.raises(UsageError) as caught:
        chosen_hour(None, {name: value if name in given_parts else None for name, value in PARTS.items()})

    missing = caught.value.message.partition("missing: ")[2].split(", ")
    assert set(missing) == {f"--{name}" for name in PARTS if name not in given_parts}


@given(st.sets(st.sampled_from(tuple(PARTS)), min_size=1))
def test_one_word_and_parts_contradict(given_parts: AbstractSet[str]) -> None:
    with pytest.raises(UsageError, match="--at cannot be combined"):
        chosen_hour(Hour.parse("2015-01-01-15"), {name: PARTS[name] for name in given_parts})


@pytest.mark.parametrize("wrong", [{"month": 13}, {"day": 32}, {"hour": 24}, {"year": 2010}, {"year": 9999}])
def test_an_impossible_hour_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        chosen_hour(None, {**PARTS, **wrong})
