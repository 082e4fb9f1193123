"""Retry policy for requests to sources: when to retry, how long to wait and when to give up."""

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
from etl.plural import plural

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchPolicy:
    """Timeouts, retries and limits of downloads. All times are in seconds.

    Attributes:
        connect_timeout: Time to wait for a connection.
        read_timeout: Time to wait for the response headers, and for each 64 KiB of a body.
        attempts: Attempts before giving up on a source; at most two if its host name cannot be resolved. In a
            download the count restarts with every 64 KiB received, so a large file may be interrupted more often
            than a small one.
        backoff_first: Wait before the second attempt; it doubles with each further attempt. Jitter of up to the
            same amount is added, so that many clients do not retry at the same instant.
        backoff_max: Maximum wait before jitter is added.
        retry_after_max: Maximum wait that a source may request with Retry-After.
        max_bytes: Maximum size of one hour's file in bytes. The largest known file has 361 MB.
        ask_timeout: Time that all sources together have to say how much of an hour they hold.
    """

    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 6
    backoff_first: float = 1.0
    backoff_max: float = 60.0
    retry_after_max: float = 300.0
    max_bytes: int = 1 << 30
    ask_timeout: float = 5.0


def retrying(policy: FetchPolicy) -> Retrying:
    """Returns a retrier that calls a function again while it raises ``TransientSourceError``.

    The last such error becomes a ``SourceUnreachableError`` that states the number of attempts. Every other
    error is raised at once. It waits with ``time.sleep``, which Ctrl-C interrupts.
    """
    return Retrying(
        retry=retry_if_exception_type(TransientSourceError),
        stop=partial(_should_stop, policy),
        wait=_BackoffWait(policy),
        before_sleep=_log_retry,
        retry_error_callback=_give_up,
    )


def _should_stop(policy: FetchPolicy, state: RetryCallState) -> bool:
    """Returns whether the maximum number of attempts of the policy, or of this error, is reached."""
    limit = _error(state).attempts
    return state.attempt_number >= (policy.attempts if limit is None else min(limit, policy.attempts))


class _BackoffWait:
    """Exponential backoff with jitter, or the wait that the source requests if that is longer."""

    def __init__(self, policy: FetchPolicy) -> None:
        self._retry_after_max = policy.retry_after_max
        self._backoff = wait_exponential(multiplier=policy.backoff_first, max=policy.backoff_max)
        self._jitter = wait_random(0, policy.backoff_first)

    def __call__(self, state: RetryCallState) -> float:
        requested = _error(state).retry_after or 0.0
        return max(self._backoff(state) + self._jitter(state), min(requested, self._retry_after_max))


def _error(state: RetryCallState) -> TransientSourceError:
    error = None if state.outcome is None else state.outcome.exception()
    if not isinstance(error, TransientSourceError):
        raise TypeError("only transient errors are retried")
    return error


def _log_retry(state: RetryCallState) -> None:
    error = _error(state)
    _log.warning(
        "request failed, retrying",
        url=error.url,
        attempt=state.attempt_number,
        wait=round(state.upcoming_sleep, 3),
        cause=error.cause,
    )


def _give_up(state: RetryCallState) -> NoReturn:
    error = _error(state)
    raise SourceUnreachableError(
        f"{error.url}: {error.cause}; gave up after {plural(state.attempt_number, 'attempt')}",
        hint="try again later, or use another --source",
    ) from error
