"""Going slowly on purpose: a limit to how fast bytes are taken from a source."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_BURST_SECONDS: Final = 0.5


class Throttle:
    """Keeps what passes below a rate, over all downloads that share it; to be used by one thread at a time.

    Args:
        rate: Bytes a second.
        burst: Seconds of that rate that may pass at once after a pause.
        clock: Seconds that never go back.
        sleep: Waits so many seconds.
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
        """Lets ``count`` bytes pass, after the wait that they cost."""
        now = self._clock()
        self._paid_until = max(self._paid_until, now - self._burst) + count / self._rate
        if self._paid_until > now:
            self._sleep(self._paid_until - now)
