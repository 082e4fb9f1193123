"""Limits the download rate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_BURST_SECONDS: Final = 0.5


class RateLimiter:
    """Limits the total rate of all downloads that share it. Not thread-safe.

    Args:
        rate: Bytes per second.
        burst: Seconds' worth of bytes that may pass at once after a pause.
        clock: Monotonic clock, in seconds.
        sleep: Function that waits a number of seconds.
    """

    def __init__(
        self,
        rate: float,
        *,
        burst: float = _BURST_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._burst = burst
        self._clock = clock
        self._sleep = sleep
        self._paid_until = clock() - burst

    def __call__(self, count: int) -> None:
        """Accounts for ``count`` bytes and blocks until they are within the rate."""
        now = self._clock()
        self._paid_until = max(self._paid_until, now - self._burst) + count / self._rate
        if self._paid_until > now:
            self._sleep(self._paid_until - now)
