"""Columns to numpy and back: what Arrow's own ways give, without what these import."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.coverage import arrays

NUMBERS = st.lists(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=9), min_size=1, max_size=3)
TEXTS = st.lists(st.lists(st.none() | st.text(max_size=3), max_size=9), min_size=1, max_size=3)


def column(parts: list[list[Any]], kind: pa.DataType) -> pa.ChunkedArray[Any]:
    """A column in parts, each of which begins in the middle of what it was cut from."""
    return pa.chunked_array([pa.array([None, *part], kind)[1:] for part in parts])


@settings(deadline=None)
@given(NUMBERS)
def test_numbers(parts: list[list[int]]) -> None:
    assert arrays.numbers(column(parts, pa.int64())).tolist() == [*chain.from_iterable(parts)]


@settings(deadline=None)
@given(st.lists(st.lists(st.none() | st.integers(-9, 9), max_size=9), min_size=1), st.integers(-9, 9))
def test_counts_have_a_number_for_null(parts: list[list[int | None]], absent: int) -> None:
    wanted = [absent if value is None else value for value in [*chain.from_iterable(parts)]]
    assert arrays.counts(column(parts, pa.int64()), absent=absent).tolist() == wanted


@settings(deadline=None)
@given(TEXTS)
def test_texts(parts: list[list[str | None]]) -> None:
    assert arrays.texts(column(parts, pa.string())).tolist() == [*chain.from_iterable(parts)]


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from(["a", "b", ""]), max_size=9), min_size=1), st.sampled_from(["a", ""]))
def test_equal_texts_are_flagged(parts: list[list[str]], value: str) -> None:
    found = arrays.equals(column(parts, pa.string()), value)
    assert found.tolist() == [text == value for text in [*chain.from_iterable(parts)]]


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-(2**63), 2**63 - 1), st.booleans()), max_size=20))
def test_integers_and_booleans_are_made(pairs: list[tuple[int, bool]]) -> None:
    values = np.array([number for number, _ in pairs], dtype=np.int64)
    flags = np.array([flag for _, flag in pairs], dtype=np.bool_)
    made = arrays.integers(values, absent=flags)
    made.validate(full=True)
    assert made.to_pylist() == [None if flag else number for number, flag in pairs]
    assert arrays.integers(values).to_pylist() == values.tolist()
    assert arrays.booleans(flags).to_pylist() == flags.tolist()
    assert arrays.flags(arrays.booleans(flags)).tolist() == flags.tolist()
