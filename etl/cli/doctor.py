"""``doctor``: check the environment and suggest fixes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, print_json, takes_format
from etl.errors import SourceUnreachableError, StoreError, UsageError
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl.doctor import Finding

# Written again here, so that --help needs not import what the checks need; a test compares.
CHECKS: Final = ("reader", "emails", "credentials", "lake", "warehouse", "dataset", "archive", "clock")
_STYLES: Final = {"ok": "green", "warn": "yellow", "fail": "bold red", "skipped": "dim"}


_ERRORS: Final = {error.exit_code: error for error in (UsageError, SourceUnreachableError, StoreError)}
"""The errors of failed checks, by exit code."""


@click.command(
    cls=Command,
    examples=(
        ("doctor", "check everything that the settings name"),
        ("doctor --lake gs://my-bucket/lake --dataset my-project.gharchive", "check a bucket and a dataset"),
        ("doctor credentials lake", "run only these checks"),
        ("doctor --read-only", "write nothing, for an account with read access"),
        ("doctor --format json | jq -r '.[] | select(.state == \"fail\")'", "print failed checks for a program"),
    ),
)
@click.argument("checks", metavar="[CHECK]...", nargs=-1, type=click.Choice(CHECKS))
@click.option("--read-only", is_flag=True, help="Write nothing; only check that the lake can be read.")
@takes_format()
@with_session("sources", "lake", "warehouse", "dataset", "emails")
def doctor(session: Session, checks: tuple[str, ...], read_only: bool, form: str) -> None:  # noqa: FBT001
    """Check the reader, credentials, lake, warehouse, dataset, archive and clock, and suggest fixes.

    Each check does real work: it writes a small object to the lake and the warehouse, reads, lists and removes it. The
    exit code is that of the first failed check, or 0 if there are only warnings.

    CHECK is one of reader, emails, credentials, lake, warehouse, dataset, archive, clock. Default: all.
    """
    from etl.doctor import DoctorOptions, State, examine, worst

    plan = DoctorOptions(session.settings, session.fetch_policy(), checks=checks or CHECKS, read_only=read_only)
    findings = list(examine(plan))
    if form == JSON:
        print_json([asdict(finding) for finding in findings])
    else:
        _print(session, findings)
    failed = [finding.name for finding in findings if finding.state is State.FAIL]
    if failed:
        raise _ERRORS[worst(findings)](
            f"{len(failed)} of {plural(len(findings), 'check')} failed: {', '.join(failed)}",
            hint="fix the first failure first; the others may be caused by it",
        )


def _print(session: Session, findings: Sequence[Finding]) -> None:
    from rich.text import Text

    from etl.cli.formatting import listing, printable

    rows = [
        (
            finding.name,
            Text(finding.state.value, style=_STYLES[finding.state.value]),
            printable(finding.found),
            printable(finding.hint),
        )
        for finding in findings
    ]
    session.out.print(listing(("check", "state", "result", "fix"), rows))
