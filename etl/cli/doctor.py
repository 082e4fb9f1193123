"""``doctor``: whether this environment can do the work, and what to mend where it cannot."""

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
"""What a check can fail by."""


@click.command(
    cls=Command,
    examples=(
        ("doctor", "look at what the settings name"),
        ("doctor --lake gs://my-bucket/lake --dataset my-project.gharchive", "a bucket and a dataset"),
        ("doctor credentials lake", "only these, as for an account that may do no more"),
        ("doctor --read-only", "for those who may only read: nothing is written"),
        ("doctor --format json | jq -r '.[] | select(.state == \"fail\")'", "what failed, for other tools"),
    ),
)
@click.argument("checks", metavar="[CHECK]...", nargs=-1, type=click.Choice(CHECKS))
@click.option("--read-only", is_flag=True, help="Write nothing: look only whether the lake can be read.")
@takes_format()
@with_session("sources", "lake", "warehouse", "dataset", "emails")
def doctor(session: Session, checks: tuple[str, ...], read_only: bool, form: str) -> None:  # noqa: FBT001
    """Check the reader, credentials, lake, warehouse, dataset, archive and clock, and say what to mend.

    Each is tried for real: a small object is written to lake and warehouse, read, listed and removed. The exit code is
    that of the first check that failed, and 0 when all that is wrong are warnings.

    CHECK is one of reader, emails, credentials, lake, warehouse, dataset, archive, clock; all of them when none is
    named.
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
            hint="each says what to do about it; mend the first one first, the others may follow from it",
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
    session.out.print(listing(("check", "state", "what was found", "what to do"), rows))
