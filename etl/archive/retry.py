"""When to ask a source again, how long to wait before, and what to say when it was asked often enough."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NoReturn

import structlog
from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    wait_exponential,
    wait_random,
)

from etl.archive.source import TransientSourceError
from etl.errors import SourceUnreachableError

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """How patient to be with a source. All times are seconds.

    Attributes:
        connect_timeout: How long to wait for a connection.
        read_timeout: How long to wait for the head of an answer, and for each 64 KiB of a body.
        attempts: Tries before a source is given up; two where its host name cannot be resolved. In a download the
            count starts again whenever 64 KiB have arrived, so that a large hour may break off more often than a
            small one.
        backoff_first: Wait before the second try, doubled with every further one. Up to this much is added
            by chance, lest many clients come back at the same instant.
        backoff_max: The longest of these waits, before chance adds to it.
        retry_after_max: The longest wait that a source may ask for with Retry-After.
        max_bytes: Most bytes of one hour's file. The largest known one has 361 MB.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 6
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    retry_after_max: float = 300.0
    max_bytes: int = 1 << 30


def retrying(policy: FetchPolicy) -> Retrying:
    """Makes what calls a function again while it raises ``TransientSourceError``.

    The last such error becomes a ``SourceUnreachableError`` that says how often it was tried; every other
    error passes at once. The waits are ``time.sleep``, which Ctrl-C interrupts.
    """
    return Retrying(
        retry=retry_if_exception_type(TransientSourceError),
        stop=partial(_is_enough, policy),
        wait=_Wait(policy),
        before_sleep=_log_retry,
        retry_error_callback=_give_up,
    )


def _is_enough(policy: FetchPolicy, state: RetryCallState) -> bool:
    """Whether it was tried as often as the policy allows, or as often as helps with this error."""
    useful = _error(state).attempts
    return state.attempt_number >= (policy.attempts if useful is None else min(useful, policy.attempts))


class _Wait:
    """Exponential backoff with jitter, or as long as the source asks for if that is longer."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._asked_max = policy.retry_after_max
        self._backoff = wait_exponential(multiplier=policy.backoff_first, max=policy.backoff_max)
        self._jitter = wait_random(0, policy.backoff_first)

    def __call__(self, state: RetryCallState) -> float:
        asked = _error(state).retry_after or 0.0
        return max(self._backoff(state) + self._jitter(state), min(asked, self._asked_max))


def _error(state: RetryCallState) -> TransientSourceError:
    error = None if state.outcome is None else state.outcome.exception()
    if not isinstance(error, TransientSourceError):
        raise TypeError("only transient errors are tried again")
    return error


def _log_retry(state: RetryCallState) -> None:
    error = _error(state)
    _log.warning(
        "trying a source again",
        url=error.url,
        attempt=state.attempt_number,
        wait=round(state.upcoming_sleep, 3),
        cause=error.cause,
    )


def _give_up(state: RetryCallState) -> NoReturn:
    error = _error(state)
    tries = "attempt" if state.attempt_number == 1 else "attempts"
    raise SourceUnreachableError(
        f"{error.url}: {error.cause}; given up after {state.attempt_number} {tries}",
        hint="try again later, or name another source",
    ) from error
