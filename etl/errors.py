"""The errors that are reported to users. Each kind has its own exit code, and most have a hint.

The command line prints ``error: <message>`` and ``hint: <next step>`` for them, but never a traceback.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """Exit codes of all commands. Schedulers depend on them, so a number never changes its meaning."""

    OK = 0
    """Success, or nothing to do."""
    UNEXPECTED = 1
    """Unexpected error: a bug in this program."""
    USAGE = 2
    """Invalid flags, settings or hours."""
    NOT_PUBLISHED = 3
    """Every source answers that it does not have the hour (404)."""
    SHRINK_REFUSED = 4
    """The source has fewer events than the lake; the lake was not changed."""
    SOURCE_UNREACHABLE = 5
    """No source could be read completely, and at least one did not answer 404."""
    STORE_FAILED = 6
    """The lake could not be read or written."""
    DAMAGED = 7
    """The hour was stored as ``partial``: more of it was unreadable than ``max_damage`` allows."""
    VERIFY_FAILED = 8
    """A stored hour does not match its manifest."""
    INCOMPLETE = 9
    """Some hours of a range are neither complete nor known gaps in the archive."""
    CHECKS_FAILED = 10
    """A check of a model failed; the partitions concerned were not changed."""
    BATCH_FAILED = 11
    """A Spark batch in the cloud failed or was cancelled, or could not be submitted or monitored."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM (128 + SIGINT, as in shells)."""


class EtlError(Exception):
    """Base class of the errors that are reported to users.

    Args:
        message: What went wrong and where, in one sentence. It must not contain archive content.
        hint: What to do about it, in one sentence; None if there is nothing to do.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EtlError):
    """A flag, a setting or an hour is invalid."""

    exit_code = ExitCode.USAGE


def missing_extra(what: str, extra: str, *, note: str = "") -> UsageError:
    """Returns the error for an optional library that is not installed.

    The hint does not use a package index: it works for a checkout and for a wheel from any source.

    Args:
        what: What is not installed, as the subject of a sentence.
        extra: The extra in ``pyproject.toml`` that provides it.
        note: A condition to append to the hint.
    """
    hint = f"add the extra {extra}: `make setup` or pip install '.[{extra}]' in a checkout, else pip install 'FILE.whl"
    return UsageError(f"{what} is not installed", hint=f"{hint}[{extra}]'{note}")


class NotPublishedError(EtlError):
    """No source has the hour; it may be too recent, or missing permanently."""

    exit_code = ExitCode.NOT_PUBLISHED


class ShrinkRefusedError(EtlError):
    """The new download has fewer events than the stored hour."""

    exit_code = ExitCode.SHRINK_REFUSED


class SourceUnreachableError(EtlError):
    """A source is down, too slow, or does not send an hour."""

    exit_code = ExitCode.SOURCE_UNREACHABLE


class StoreError(EtlError):
    """The lake cannot be read or written."""

    exit_code = ExitCode.STORE_FAILED


class ConflictError(StoreError):
    """Another writer changed the object since it was read; nothing was overwritten."""


class DamagedError(EtlError):
    """More of the hour was unreadable than allowed; the readable part was stored as ``partial``."""

    exit_code = ExitCode.DAMAGED


class GateError(DamagedError):
    """An hour failed a quality check before it was stored; the lake was not changed."""


class VerifyError(EtlError):
    """A stored hour does not match its manifest."""

    exit_code = ExitCode.VERIFY_FAILED


class IncompleteError(EtlError):
    """Some hours of a range are not complete."""

    exit_code = ExitCode.INCOMPLETE


class ChecksFailedError(EtlError):
    """New rows of a table failed a required check; the old rows were kept."""

    exit_code = ExitCode.CHECKS_FAILED


class BatchError(EtlError):
    """A Spark batch in the cloud failed, or could not be submitted or monitored."""

    exit_code = ExitCode.BATCH_FAILED
