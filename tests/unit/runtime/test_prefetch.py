"""Reading ahead: in order, errors included, and neither side waits for one that has gone."""

from __future__ import annotations

import threading
from collections.abc import Callable
from itertools import count, islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.runtime.prefetch import read_ahead

pytestmark = pytest.mark.timeout(60)

PATIENCE = 30
"""Seconds until something that must happen counts as hanging; nothing waits so long unless it fails."""

Put = Callable[[int], None]
depths = st.integers(1, 5)


class HiccupError(Exception):
    pass


class Producer:
    """Puts numbers from 0 on, and tells when it has ended.

    Args:
        stop: How many to put; None for no end.
        error: What to raise behind the last.
    """

    def __init__(self, stop: int | None = None, error: BaseException | None = None) -> None:
        self.put = 0
        self.ended = threading.Event()
        self._stop = stop
        self._error = error

    def __call__(self, put: Put) -> None:
        try:
            for number in count() if self._stop is None else range(self._stop):
                put(number)
                self.put += 1
            if self._error is not None:
                raise self._error
        finally:
            self.ended.set()


@settings(max_examples=100, deadline=None)
@given(items=st.lists(st.one_of(st.none(), st.integers(), st.binary())), depth=depths)
def test_items_come_in_order(items: list[object], depth: int) -> None:
    def produce(put: Callable[[object], None]) -> None:
        for item in items:
            put(item)

    assert list(read_ahead(produce, depth=depth)) == items


@settings(max_examples=50, deadline=None)
@given(
    before=st.integers(0, 20),
    depth=depths,
    error=st.sampled_from([HiccupError("late"), KeyboardInterrupt(), SystemExit(3), StopIteration(), MemoryError()]),
)
def test_an_error_of_the_producer_comes_behind_what_it_put(before: int, depth: int, error: BaseException) -> None:
    found = []
    reading = read_ahead(Producer(before, error), depth=depth)
    # A StopIteration that leaves a generator turns into a RuntimeError: not even that one goes by unseen.
    with pytest.raises((type(error), RuntimeError)) as caught:
        for number in reading:
            found.append(number)  # noqa: PERF402  # what came before the error counts
    assert found == list(range(before))
    assert error in (caught.value, caught.value.__cause__)
    with pytest.raises(StopIteration):
        next(reading)


@settings(max_examples=100, deadline=None)
@given(taken=st.integers(1, 20), depth=depths)
def test_the_producer_stops_when_the_consumer_leaves(taken: int, depth: int) -> None:
    producer = Producer()
    reading = read_ahead(producer, depth=depth)
    assert list(islice(reading, taken)) == list(range(taken))
    del reading
    assert producer.ended.wait(PATIENCE)
    assert producer.put < taken + depth, "no more may wait than was asked for"


def test_an_error_of_the_consumer_stops_the_producer() -> None:
    producer = Producer()
    with pytest.raises(HiccupError):
        for number in read_ahead(producer):
            if number == 3:
                raise HiccupError
    assert producer.ended.wait(PATIENCE)


def test_a_producer_that_fails_when_the_consumer_has_gone_bothers_nobody() -> None:
    left, ended = threading.Event(), threading.Event()

    def produce(put: Put) -> None:
        put(0)
        try:
            assert left.wait(PATIENCE)
            raise HiccupError
        finally:
            ended.set()

    reading = read_ahead(produce)
    assert next(reading) == 0
    del reading
    left.set()
    # An error that leaves a thread is a warning, and warnings are errors here.
    assert ended.wait(PATIENCE)


def test_a_producer_that_puts_while_it_tidies_up_is_not_held() -> None:
    ended = threading.Event()

    def produce(put: Put) -> None:
        try:
            for number in count():
                put(number)
        finally:
            try:
                put(-1)
            finally:
                ended.set()

    reading = read_ahead(produce, depth=1)
    assert next(reading) == 0
    del reading
    assert ended.wait(PATIENCE)


def test_the_producer_works_while_the_consumer_does() -> None:
    made = [threading.Event() for _ in range(3)]

    def produce(put: Put) -> None:
        for number, event in enumerate(made):
            event.set()
            put(number)

    for number in read_ahead(produce):
        assert made[min(number + 1, 2)].wait(PATIENCE), "the next item is made while this one is in use"


def test_nothing_is_produced_for_nobody() -> None:
    producer = Producer(1)
    reading = read_ahead(producer)
    del reading
    assert not producer.ended.is_set()
    assert producer.put == 0
