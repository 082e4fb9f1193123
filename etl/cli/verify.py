"""``verify``: check stored hours against their manifests, and repair them."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import rich_click as click

from etl.cli.command_base import Command
from etl.cli.context import Session, with_session
from etl.cli.output import JSON, print_json, takes_format
from etl.cli.ranges import takes_hours
from etl.errors import ShrinkRefusedError, StoreError, VerifyError
from etl.plural import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from etl.backfill.repair import Repair
    from etl.hours import Hour, HourRange
    from etl.lake.garbage_collection import Inventory, Orphan
    from etl.lake.lake import Lake
    from etl.lake.manifest import Status
    from etl.storage.store import ObjectInfo

_MAX_WORKERS: Final = 32
_UNFINISHED: Final = "a killed run left it unfinished"


@dataclass
class _Findings:
    """Results of a verification.

    Attributes:
        checked: Number of hours checked.
        bytes: Total size of their files.
        bad: Bad hours and their problems, without those that were repaired.
        shrunk: Bad hours whose source now has fewer events.
        empty: Number of sound hours without events, by status.
        repaired: Number of repaired hours.
        repairs: Result of each repair.
        orphans: Files that belong to no hour and were kept.
        removed: Files that belonged to no hour and were removed.
        reasons: Why these files belong to no hour, by key.
    """

    checked: int = 0
    bytes: int = 0
    bad: dict[Hour, tuple[str, ...]] = field(default_factory=dict)
    shrunk: set[Hour] = field(default_factory=set)
    empty: Counter[Status] = field(default_factory=Counter)
    repaired: int = 0
    repairs: list[dict[str, str | None]] = field(default_factory=list)
    orphans: list[ObjectInfo] = field(default_factory=list)
    removed: list[ObjectInfo] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)

    def as_json(self, hours: HourRange | None) -> dict[str, Any]:
        """Returns the results as JSON types. Programs depend on this format."""
        return {
            "from": None if hours is None else str(hours.first),
            "to": None if hours is None else str(hours.last),
            "checked": self.checked,
            "sound": self.checked - len(self.bad) - self.empty.total(),
            "without_events": {str(status): count for status, count in self.empty.items()},
            "repaired": self.repaired,
            "not_in_lake": 0 if hours is None else len(hours) - self.checked,
            "bytes": self.bytes,
            "bad": [{"hour": str(hour), "problems": list(problems)} for hour, problems in self.bad.items()],
            "repairs": self.repairs,
            "orphans": [
                {"key": info.key, "bytes": info.size, "reason": self.reasons[info.key], "removed": removed}
                for files, removed in ((self.removed, True), (self.orphans, False))
                for info in files
            ],
        }


@click.command(
    cls=Command,
    examples=(
        ("verify 2015-01-01-15", "compare the hour's files with its manifest"),
        ("verify 2015-01-01 2015-01-31 --lake gs://my-bucket/lake", "a month in a bucket"),
        ("verify", "all hours in the lake"),
        ("verify --repair --source ./downloads", "repair bad hours from files you have"),
        ("verify --prune", "remove files that belong to no hour"),
        ("verify --format json | jq -r '.bad[].hour'", "print the bad hours for a program"),
    ),
)
@takes_hours()
@click.option("--deep", is_flag=True, help="Decode every value of every file.")
@click.option(
    "--repair",
    is_flag=True,
    help="Repair bad hours, from their own file if possible, else from the source. A source with fewer events is not"
    " used.",
)
@click.option("--prune", is_flag=True, help="Remove files that belong to no hour and are older than an hour.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    show_default="processors + 4, at most 32",
    help="Hours to check in parallel.",
)
@takes_format(help="JSON lists bad hours, repairs and orphaned files.")
@with_session("sources", "completeness", "lake", "emails", "max_damage")
def verify(session: Session, hours: HourRange | None, **how: Any) -> None:  # noqa: ANN401
    """Check stored hours byte for byte: sizes, checksums, rows and schema.

    Without a range, the whole lake is checked. Nothing is changed without --repair or --prune. Orphaned files, which
    belong to no hour, are listed; they do no harm and do not count as bad. Hours without events, such as failed ones,
    are counted separately.
    """
    _Verification(session, hours, **how).run()


class _Verification:
    """One run of the command."""

    def __init__(
        self,
        session: Session,
        hours: HourRange | None,
        *,
        deep: bool,
        repair: bool,
        prune: bool,
        workers: int | None,
        form: str,
    ) -> None:
        self._session = session
        self._hours = hours
        self._deep = deep
        self._prune = prune
        self._form = form
        self._workers = workers or min(_MAX_WORKERS, (os.cpu_count() or 1) + 4)
        self._lake: Lake = session.lake()
        # Opened first, to fail early if an address is wrong.
        self._sources = session.sources() if repair else None
        self._found = _Findings()

    def run(self) -> None:
        """Runs the verification and prints the results.

        Raises:
            VerifyError: If an hour is bad, or there is no hour.
            ShrinkRefusedError: If the only bad hours are those whose source now has fewer events.
            StoreError: If the lake cannot be read or written.
        """
        from etl.lake.garbage_collection import take_inventory

        # Sweeps first: the next write, such as a repair, would sweep silently.
        swept = self._lake.store.sweep() if self._prune else []
        inventory = take_inventory(self._lake, self._hours)
        self._check(inventory)
        if self._sources is not None:
            self._repair()
        self._tell_leftovers(swept)
        self._treat_orphans(take_inventory(self._lake, self._hours) if self._found.repaired else inventory)
        self._sum_up()
        self._conclude()

    def _check(self, inventory: Inventory) -> None:
        from etl.cli.progress import counting
        from etl.events.schema import ARROW_SCHEMA
        from etl.lake.integrity import check_hours

        hours = inventory.hours
        verdicts = check_hours(self._lake.store, hours, ARROW_SCHEMA, deep=self._deep, workers=self._workers)
        with counting("hours", self._session.err, out=self._session.out) as progress:
            progress.begin("verifying", len(hours))
            for verdict in verdicts:
                self._found.checked += 1
                self._found.bytes += verdict.bytes
                progress.advance(verdict.bytes)
                if verdict.empty is not None:
                    self._found.empty[verdict.empty] += 1
                if verdict.problems:
                    self._found.bad[verdict.hour] = verdict.problems
                    self._print(f"{verdict.hour}: {'; '.join(verdict.problems)}")

    def _repair(self) -> None:
        from etl.backfill.repair import RepairOutcome

        for hour, repair in self._repairs():
            self._print(f"{hour}: {repair.outcome}{'' if repair.note is None else f': {repair.note}'}")
            self._found.repairs.append({"hour": str(hour), "outcome": str(repair.outcome), "note": repair.note})
            if repair.outcome.is_sound:
                self._found.repaired += 1
                del self._found.bad[hour]
            elif repair.outcome is RepairOutcome.SHRUNK:
                self._found.shrunk.add(hour)

    def _repairs(self) -> Iterator[tuple[Hour, Repair]]:
        """Repairs each bad hour. An error in one of them does not stop the others."""
        from etl.backfill.repair import Repair, RepairOutcome
        from etl.lake.integrity import ERRORS_IN_A_ROW

        in_a_row = 0
        for hour in list(self._found.bad):
            try:
                repair = self._repaired(hour)
                in_a_row = 0
            except StoreError as error:
                in_a_row += 1
                if in_a_row >= ERRORS_IN_A_ROW:
                    raise
                repair = Repair(hour, RepairOutcome.LEFT, error.message)
            yield hour, repair

    def _repaired(self, hour: Hour) -> Repair:
        from etl.backfill.repair import repair_hour
        from etl.cli.progress import watching

        with watching(str(hour), self._session.err) as watch:
            return repair_hour(
                hour,
                lake=self._lake,
                sources=self._sources or (),
                options=self._session.run_options(),
                deep=self._deep,
                watch=watch,
            )

    def _tell_leftovers(self, swept: Iterable[ObjectInfo]) -> None:
        for info in swept:
            self._tell(info, _UNFINISHED, removed=True)
        for info in self._lake.store.leftovers():
            self._tell(info, _UNFINISHED, removed=False)

    def _treat_orphans(self, inventory: Inventory) -> None:
        from etl.lake.garbage_collection import find_orphans

        for orphan in list(find_orphans(self._lake, inventory, self._found.bad)):
            # A folder without any hour is probably not a lake, so its other files are not removed.
            ours = orphan.hour is not None or bool(inventory.hours)
            self._tell(orphan.info, orphan.reason, removed=self._prune and ours and self._removed(orphan))

    def _removed(self, orphan: Orphan) -> bool:
        from etl.events.schema import ARROW_SCHEMA
        from etl.lake.garbage_collection import remove_orphan
        from etl.lake.layout import events_key, manifest_key

        if not remove_orphan(self._lake, orphan):
            return False
        hour = orphan.hour
        if hour is not None and hour in self._found.bad:
            gone = all(self._lake.store.stat(key(hour)) is None for key in (events_key, manifest_key))
            if gone or not self._lake.verify(hour, ARROW_SCHEMA):
                del self._found.bad[hour]
                self._found.repaired += 1
        return True

    def _tell(self, info: ObjectInfo, reason: str, *, removed: bool) -> None:
        from etl.cli.formatting import size_text

        (self._found.removed if removed else self._found.orphans).append(info)
        self._found.reasons[info.key] = reason
        word = "removed" if removed else "orphan"
        self._print(f"{word}: {self._lake.address}/{info.key} ({size_text(info.size)}): {reason}")

    def _sum_up(self) -> None:
        found = self._found
        if self._form == JSON:
            print_json(found.as_json(self._hours))
            return
        if self._hours is not None and len(self._hours) == 1:
            if found.checked and not found.bad and not found.repaired:
                self._print(f"{self._hours.first}: {self._soundness(self._hours.first)}")
        elif found.checked:
            self._print(self._hours_line())
        if found.orphans or found.removed:
            self._print(self._orphans_line())

    def _soundness(self, hour: Hour) -> str:
        status = next(iter(self._found.empty), None)
        if status is None:
            return "sound"
        return f"no events are stored, as its manifest says: it is {status} (`show {hour}` has the reason)"

    def _hours_line(self) -> str:
        from etl.cli.formatting import size_text

        found = self._found
        empty = found.empty.total()
        sound = found.checked - len(found.bad) - empty
        line = f"{plural(found.checked, 'hour')} verified, {size_text(found.bytes)}: {sound:,} sound"
        if found.repaired:
            line += f" ({found.repaired:,} of them put right)"
        if empty:
            statuses = ", ".join(f"{count:,} {status}" for status, count in found.empty.most_common())
            line += f", {empty:,} without events ({statuses})"
        if found.bad:
            line += f", {len(found.bad):,} bad"
        absent = 0 if self._hours is None else len(self._hours) - found.checked
        return line + (f"; {absent:,} of the range {'is' if absent == 1 else 'are'} not in the lake" if absent else "")

    def _orphans_line(self) -> str:
        from etl.cli.formatting import size_text

        parts = [
            f"{len(files):,} {what}, {size_text(sum(info.size for info in files))}"
            for files, what in ((self._found.removed, "removed"), (self._found.orphans, "left"))
            if files
        ]
        hint = "" if self._prune else " (--prune removes them)"
        return f"files that belong to no hour: {'; '.join(parts)}{hint}"

    def _conclude(self) -> None:
        found = self._found
        if not found.checked:
            raise VerifyError(
                f"there is nothing to verify: {self._which()} in the lake {self._lake.address}",
                hint="`status` lists the hours in the lake; use --lake to choose another lake",
            )
        if not found.bad:
            return
        message = (
            f"{len(found.bad):,} of {plural(found.checked, 'hour')}"
            f" {'does not match its manifest' if len(found.bad) == 1 else 'do not match their manifests'}"
        )
        if found.bad.keys() <= found.shrunk:
            raise ShrinkRefusedError(
                f"{message}, and their sources now have fewer events",
                hint="another --source may have the whole hours; `run --force` stores what there is",
            )
        raise VerifyError(message, hint=self._way_out())

    def _which(self) -> str:
        if self._hours is None:
            return "no hour is"
        return f"no hour of {self._hours} is" if len(self._hours) > 1 else f"{self._hours.first} is not"

    def _way_out(self) -> str:
        if self._sources is None:
            return "`verify --repair` repairs them from the source"
        return "the lines above say why each was left; another --source may have it"

    def _print(self, line: str) -> None:
        """Prints a line, unless the output is JSON, which is one document at the end."""
        from etl.cli.formatting import printable

        if self._form == JSON:
            return
        self._session.out.print(printable(line))
