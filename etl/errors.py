"""Every error a person can meet, each with its own exit code and a next step.

The command line prints ``error: <message>`` and, where there is one, ``hint: <next step>``; it never
prints a traceback for one of these.
"""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


class ExitCode(IntEnum):
    """The exit codes of every command: a contract with schedulers, so a number never changes its meaning."""

    OK = 0
    """Done, or nothing to do."""
    UNEXPECTED = 1
    """A defect of this program."""
    USAGE = 2
    """Bad flags, bad settings, an impossible hour."""
    NOT_PUBLISHED = 3
    """Every source says the hour is not there (404)."""
    SHRINK_REFUSED = 4
    """The source now holds fewer events than the lake; the lake's hour was kept."""
    SOURCE_UNREACHABLE = 5
    """No source could be read to the end, and at least one did not plainly say 404."""
    STORE_FAILED = 6
    """The lake could not be read or written."""
    DAMAGED = 7
    """The hour was stored as ``partial``: more was unreadable than ``max_damage`` allows."""
    VERIFY_FAILED = 8
    """A stored hour does not match its manifest."""
    INCOMPLETE = 9
    """Some hours of a range are neither complete nor known gaps in the archive."""
    CHECKS_FAILED = 10
    """A check of a model did not hold; the partitions concerned stayed as they were."""
    BATCH_FAILED = 11
    """A batch of Spark in the cloud failed or was cancelled, or could not be sent or followed."""
    INTERRUPTED = 130
    """Stopped by Ctrl-C or SIGTERM (128 + SIGINT, the shell's convention)."""


class EtlError(Exception):
    """Base of all errors that are explained to a person.

    Args:
        message: What went wrong and where, in one sentence. Must not hold archive content.
        hint: What to do about it, in one sentence, or None when there is nothing to do.
    """

    exit_code: ClassVar[ExitCode] = ExitCode.UNEXPECTED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(EtlError):
    """A flag, a setting or an hour that cannot be right."""

    exit_code = ExitCode.USAGE


def missing_extra(what: str, extra: str, *, note: str = "") -> UsageError:
    """Returns the error for an optional library that is not installed.

    The hint names no package index: it works from a checkout and from a wheel, wherever that came from.

    Args:
        what: What is not installed, as the subject of a sentence.
        extra: The extra of ``pyproject.toml`` that brings it.
        note: A condition to add to the hint.
    """
    hint = f"add the extra {extra}: `make setup` or pip install '.[{extra}]' in a checkout, else pip install 'FILE.whl"
    return UsageError(f"{what} is not installed", hint=f"{hint}[{extra}]'{note}")


class NotPublishedError(EtlError):
    """No source has the hour; it may be too young, or missing for good."""

    exit_code = ExitCode.NOT_PUBLISHED


class ShrinkRefusedError(EtlError):
    """The new download holds fewer events than the stored hour."""

    exit_code = ExitCode.SHRINK_REFUSED


class SourceUnreachableError(EtlError):
    """A source is down, too slow, or sends what is not an hour."""

    exit_code = ExitCode.SOURCE_UNREACHABLE


class StoreError(EtlError):
    """The lake cannot be read or written."""

    exit_code = ExitCode.STORE_FAILED


class ConflictError(StoreError):
    """Another writer changed the object since it was looked at; nothing was overwritten."""


class DamagedError(EtlError):
    """More of the hour was unreadable than allowed; what could be read was stored as ``partial``."""

    exit_code = ExitCode.DAMAGED


class GateError(DamagedError):
    """An hour did not pass a gate on its way to the lake, which was left as it was."""


class VerifyError(EtlError):
    """A stored hour does not match its manifest."""

    exit_code = ExitCode.VERIFY_FAILED


class IncompleteError(EtlError):
    """Some hours of a range are not complete, for the reasons above."""

    exit_code = ExitCode.INCOMPLETE


class ChecksFailedError(EtlError):
    """New rows of a table broke a check that must hold; the old ones were kept."""

    exit_code = ExitCode.CHECKS_FAILED


class BatchError(EtlError):
    """A batch of Spark in the cloud failed, or could not be sent or followed."""

    exit_code = ExitCode.BATCH_FAILED
