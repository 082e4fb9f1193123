"""What became of the hours of a range: a report of each, and the sums."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from etl.archive.known_gaps import known_gap
from etl.errors import ExitCode, SourceUnreachableError, StoreError
from etl.hours import Hour, HourRange
from etl.lake.manifest import Status


class HourOutcome(StrEnum):
    """What a backfill may end with for an hour."""

    STORED = "stored"
    """It is in the lake now, complete."""
    REPLACED = "replaced"
    """It was in the lake, and was replaced by the source's newer version."""
    UNCHANGED = "unchanged"
    """It was already complete."""
    KEPT = "kept"
    """It is complete in the lake; the source has fewer events now, so the lake kept its version."""
    KNOWN_GAP = "hole"
    """No source has it: a known gap of the archive."""
    PARTIAL = "partial"
    """It is in the lake with damage."""
    SUSPECT = "suspect"
    """It is in the lake, and its file held no events."""
    MISSING = "missing"
    """No source has it, and it is too old to be published later."""
    PENDING = "pending"
    """No source has it yet."""
    FAILED = "failed"
    """The last attempt ended in an error."""
    LOCKED = "locked"
    """Another run was processing it until the end."""

    @property
    def is_fine(self) -> bool:
        """Returns whether nothing is left to do for such an hour."""
        return self in _FINE


_FIGURES: Final = re.compile(r"\b[0-9a-f]{32,}\b|(?<!HTTP )\b\d[\d,.]*", re.ASCII)
"""Digests and numbers, except HTTP status codes."""
_FINE: Final = frozenset(
    {HourOutcome.STORED, HourOutcome.REPLACED, HourOutcome.UNCHANGED, HourOutcome.KEPT, HourOutcome.KNOWN_GAP}
)
_BY_STATUS: Final = {
    Status.COMPLETE: HourOutcome.UNCHANGED,
    Status.PARTIAL: HourOutcome.PARTIAL,
    Status.SUSPECT: HourOutcome.SUSPECT,
    Status.MISSING: HourOutcome.MISSING,
    Status.PENDING: HourOutcome.PENDING,
    Status.FAILED: HourOutcome.FAILED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class HourReport:
    """What became of one hour.

    Attributes:
        hour: Which hour.
        outcome: What it ended with.
        reason: Why it is not complete, in words; None where there is nothing to say.
        hint: What to do about it; None where nobody knows.
        code: The exit code that running this hour alone would have had; OK where nothing was run.
        fetched: Whether it was fetched in this run; the counts below are of what was fetched.
        events: Events of the hour.
        source_bytes: Compressed bytes of its file at the source.
        parquet_bytes: Bytes of its events in the lake.
        seconds: How long it took in this run.
    """

    hour: Hour
    outcome: HourOutcome
    reason: str | None = None
    hint: str | None = None
    code: ExitCode = ExitCode.OK
    fetched: bool = False
    events: int = 0
    source_bytes: int = 0
    parquet_bytes: int = 0
    seconds: float = 0.0

    @property
    def cause(self) -> str | None:
        """The reason of a failure without names of hours and figures, to compare hours by; None for other outcomes.

        The exit code is part of it: a full disk and a silent source are two causes, whatever words they share.
        """
        if self.outcome is not HourOutcome.FAILED:
            return None
        return f"{int(self.code)} {_FIGURES.sub('#', str(self.reason))}"


def report_for_status(hour: Hour, status: Status | None, reason: str | None = None) -> HourReport:
    """Returns a report from an hour's status in the lake, without a run; None means that the lake has no status."""
    if status is None:
        return HourReport(hour=hour, outcome=HourOutcome.PENDING, reason="it was not requested yet")
    outcome = _BY_STATUS[status]
    if outcome is HourOutcome.MISSING and known_gap(hour) is not None:
        outcome = HourOutcome.KNOWN_GAP
    return HourReport(hour=hour, outcome=outcome, reason=reason)


@dataclass(frozen=True, kw_only=True)
class Share:
    """The totals of the hours with one outcome.

    Attributes:
        hours: How many they are.
        events: Events of those that were fetched.
        source_bytes: Compressed bytes of those.
        parquet_bytes: Bytes of those in the lake.
        seconds: Seconds spent on all of them, added up over the workers.
    """

    hours: int
    events: int
    source_bytes: int
    parquet_bytes: int
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What became of a range.

    Attributes:
        hours: The range.
        reports: A report of each hour in it, in order.
        seconds: From beginning to end.
        workers: How many hours at once.
        stopped: Why the rest was left, by many hours in a row that failed with the same cause; None when nothing was.
    """

    hours: HourRange
    reports: Sequence[HourReport]
    seconds: float
    workers: int
    stopped: StoreError | SourceUnreachableError | None = None

    @property
    def left(self) -> list[HourReport]:
        """The hours that are neither complete nor known gaps."""
        return [report for report in self.reports if not report.outcome.is_fine]

    @property
    def fetched(self) -> int:
        """How many hours came from a source in this run."""
        return sum(report.fetched for report in self.reports)

    @property
    def told(self) -> list[HourReport]:
        """The hours to list: those, and the ones kept although their source has fewer events."""
        return [report for report in self.reports if not report.outcome.is_fine or report.outcome is HourOutcome.KEPT]

    def shares(self) -> dict[HourOutcome, Share]:
        """Returns the totals of each outcome that occurred."""
        by_outcome: dict[HourOutcome, list[HourReport]] = {outcome: [] for outcome in HourOutcome}
        for report in self.reports:
            by_outcome[report.outcome].append(report)
        return {outcome: _share(reports) for outcome, reports in by_outcome.items() if reports}

    def counts(self) -> str:
        """The outcomes that leave something to do, in words: ``3 missing, 1 failed``."""
        return ", ".join(
            f"{share.hours:,} {outcome}" for outcome, share in self.shares().items() if not outcome.is_fine
        )

    def as_json(self) -> dict[str, Any]:
        """The same in JSON's types; a contract with programs that read it."""
        return {
            "from": str(self.hours.first),
            "to": str(self.hours.last),
            "hours": len(self.reports),
            "complete": not self.left and self.stopped is None,
            "stopped": None if self.stopped is None else self.stopped.message,
            "seconds": round(self.seconds, 3),
            "workers": self.workers,
            "endings": {
                outcome.value: {
                    "hours": share.hours,
                    "events": share.events,
                    "source_bytes": share.source_bytes,
                    "parquet_bytes": share.parquet_bytes,
                    "seconds": round(share.seconds, 3),
                }
                for outcome, share in self.shares().items()
            },
            "told": [
                {"hour": str(report.hour), "ending": report.outcome.value, "reason": report.reason}
                for report in self.told
            ],
        }


def _share(reports: Iterable[HourReport]) -> Share:
    all_of_it = list(reports)
    fetched = [report for report in all_of_it if report.fetched]
    return Share(
        hours=len(all_of_it),
        events=sum(report.events for report in fetched),
        source_bytes=sum(report.source_bytes for report in fetched),
        parquet_bytes=sum(report.parquet_bytes for report in fetched),
        seconds=sum(report.seconds for report in all_of_it),
    )
