"""The end of a test run: how many tests ran, which were left out for what reason, and the command that brings each."""

from __future__ import annotations

from collections import Counter
from typing import Final

import pytest

from tests.tools import SEPARATOR

_OTHERWISE: Final = "-"
_PREFIX: Final = "Skipped: "
_WIDEST: Final = 90


def write_summary(reporter: pytest.TerminalReporter) -> None:
    """Writes a table of the tests that ran and that were left out.

    Args:
        reporter: What pytest writes its own report with; its ``stats`` hold the reports by outcome.
    """
    ran = sum(len(reporter.stats.get(outcome, [])) for outcome in ("passed", "failed", "xfailed", "xpassed"))
    skipped = Counter(_parts(report) for report in reporter.stats.get("skipped", []))
    reporter.section("tests left out" if skipped else "nothing was left out")
    reporter.write_line(f"{ran:>6}  ran")
    for (reason, command), count in sorted(skipped.items(), key=lambda item: (-item[1], item[0])):
        reporter.write_line(f"{count:>6}  left out: {reason[:_WIDEST]}")
        if command != _OTHERWISE:
            reporter.write_line(f"{'':>6}  to run:   {command}")


def _parts(report: pytest.TestReport) -> tuple[str, str]:
    """Returns the reason of a skip, and the command that would bring what is missing."""
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason, _, command = text.removeprefix(_PREFIX).partition(SEPARATOR)
    return reason, command or _OTHERWISE
