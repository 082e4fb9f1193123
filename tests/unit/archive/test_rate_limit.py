"""Going slowly: never faster than asked, and no slower."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.archive.rate_limit import RateLimiter


class Time:
    """A clock that only moves when somebody sleeps or a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept += seconds
        self.now += seconds


@given(
    rate=st.floats(1, 1e9),
    burst=st.floats(0, 2),
    steps=st.lists(st.tuples(st.integers(0, 1 << 20), st.floats(0, 3)), min_size=1, max_size=40),
)
def test_from_any_instant_on_no_more_passes_than_the_rate_allows(
    rate: float, burst: float, steps: list[tuple[int, float]]
) -> None:
    time = Time()
    throttle = RateLimiter(rate, burst=burst, clock=time.clock, sleep=time.sleep)
    passed: list[tuple[float, int]] = []
    for count, pause in steps:
        time.now += pause
        begun = time.now
        throttle(count)
        passed.append((begun, count))
        since = [when for when, _ in passed]
        for start in since:
            total = sum(amount for when, amount in passed if when >= start)
            assert total <= rate * (time.now - start + burst) * (1 + 1e-9) + 1e-3


@given(rate=st.floats(1000, 1e9), counts=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=40))
def test_without_pauses_it_takes_what_the_rate_says(rate: float, counts: list[int]) -> None:
    time = Time()
    throttle = RateLimiter(rate, burst=0.0, clock=time.clock, sleep=time.sleep)
    for count in counts:
        throttle(count)
    assert time.slept == pytest.approx(sum(counts) / rate, rel=1e-3)


def test_slow_bytes_cost_nothing() -> None:
    time = Time()
    throttle = RateLimiter(100.0, clock=time.clock, sleep=time.sleep)
    for _ in range(10):
        time.now += 1
        throttle(50)
    assert time.slept == 0
