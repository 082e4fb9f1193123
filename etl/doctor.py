"""Checks whether an environment is ready: credentials, lake, warehouse, dataset, clock and archive.

A check does what the pipeline would do, with the same code. If that fails, the result has the same error, hint and exit
code as the pipeline would have. Nothing is left behind: the one object that is written is removed again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from etl.archive.availability import sizes, survey
from etl.archive.fetch import newest_published
from etl.archive.retry import FetchPolicy
from etl.archive.source import Source, file_name, mask_credentials
from etl.archive.sources import source_at
from etl.coverage.index import facts
from etl.coverage.policies import REPROCESS_HINT, describe, other_policies
from etl.errors import EtlError, ExitCode, NotPublishedError, StoreError, missing_extra
from etl.events.emails import EmailPolicy
from etl.events.native.scanner import load_scanner
from etl.hours import FIRST_HOUR, HourRange, newest_finished_hour
from etl.plural import plural
from etl.settings import Settings
from etl.storage import gcs
from etl.storage.gcs_store import GcsStore
from etl.storage.local_store import FolderStore, free_bytes
from etl.storage.store import ABSENT, Store
from etl.warehouse.bigquery.client import DatasetName, connect, explained
from etl.warehouse.models import Kind, models

if TYPE_CHECKING:
    from google.api_core.retry import Retry
    from google.auth.credentials import Credentials
    from google.cloud.bigquery import Client

CHECKS: Final = ("reader", "emails", "credentials", "lake", "warehouse", "dataset", "archive", "clock")
"""What can be checked, in the order in which to fix it."""

_STORAGE: Final = "https://storage.googleapis.com"
_EMULATOR: Final = "STORAGE_EMULATOR_HOST"
_KEY_FILE: Final = "GOOGLE_APPLICATION_CREDENTIALS"
_SCOPE: Final = "https://www.googleapis.com/auth/cloud-platform"
_PATIENCE_SECONDS: Final = 30.0
_PROBE: Final = b"written by `python etl doctor` to see whether it may; safe to delete\n"
_ROOM: Final = 5 << 30
"""Bytes free below which a disk is called short: some thirty modern hours, or the temporaries of a few."""
_ATTEMPTS: Final = 2
_LOOK_BACK: Final = 24
_HOURS_AT_ONCE: Final = 4
_LATE: Final = timedelta(hours=3)
_SKEW_TOLD: Final = timedelta(seconds=30)
_SKEW_ALLOWED: Final = timedelta(seconds=90)
"""What is left of a lease when it is renewed (``etl.storage.lease``). With a larger skew two runs do the same work."""


class State(StrEnum):
    """Result of a check."""

    OK = "ok"
    WARN = "warn"
    """It works, and somebody should know."""
    FAIL = "fail"
    SKIPPED = "skipped"
    """There was nothing to check."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Finding of one check.

    Attributes:
        name: What was checked.
        state: Result of the check.
        found: What was found, in one sentence.
        hint: What to do; None if there is nothing to do.
        code: The exit code that the pipeline would have; ``OK`` unless the check failed.
    """

    name: str
    state: State
    found: str
    hint: str | None = None
    code: ExitCode = ExitCode.OK


@dataclass(frozen=True, slots=True)
class DoctorOptions:
    """Options of an examination.

    Attributes:
        settings: The settings of the environment.
        policy: Timeouts and retries for sources; at most two attempts.
        checks: Which of ``CHECKS`` to run.
        read_only: Do not write anything, for users who only read the lake.
        clock: Returns the current time (aware, UTC).
    """

    settings: Settings
    policy: FetchPolicy
    checks: Collection[str] = CHECKS
    read_only: bool = False
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)


def examine(plan: DoctorOptions) -> Iterator[Finding]:
    """Runs the checks one after the other. A failure does not stop the next check.

    Yields:
        The findings, in the order in which to fix them.
    """
    for check in CHECKS:
        if check in plan.checks:
            yield from _RUNS[check](plan)


def worst(findings: Iterable[Finding]) -> ExitCode:
    """Returns the exit code of the first check that failed; ``OK`` if none did."""
    return next((finding.code for finding in findings if finding.state is State.FAIL), ExitCode.OK)


def _tried(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except EtlError as error:
        return _failed(name, error)


def _failed(name: str, error: EtlError) -> Finding:
    return Finding(name, State.FAIL, error.message, error.hint, error.exit_code)


def _reader() -> Finding:
    if load_scanner() is None:
        slow = "it is not compiled here, so that each line is read by itself: an hour takes ten times as long"
        return Finding(
            "reader", State.WARN, slow, "in a checkout run `make setup`; elsewhere install the program by pip"
        )
    return Finding("reader", State.OK, "compiled for this machine")


def _emails(settings: Settings) -> Finding:
    if settings.emails == "keep":
        return Finding(
            "e-mails",
            State.WARN,
            "addresses are kept in clear text",
            "set emails to hash, with an email_key, unless you need the addresses",
        )
    key = "a keyed hash (HMAC-SHA-256)" if settings.email_key is not None else "a plain hash (SHA-1)"
    return Finding("e-mails", State.OK, f"become {key}" if settings.emails == "hash" else "are dropped")


# ------------------------------------------------------------------------------------------------------- credentials
def _credentials(plan: DoctorOptions) -> Finding:
    name = "credentials"
    places = (plan.settings.lake, plan.settings.warehouse, *plan.settings.sources)
    if plan.settings.dataset is None and not any(gcs.is_address(place) for place in places):
        return Finding(name, State.SKIPPED, "nothing here lies in Google Cloud")
    if endpoint := os.environ.get(_EMULATOR):
        return Finding(
            name,
            State.WARN,
            f"{_EMULATOR} is set: every gs:// address is looked for at {mask_credentials(endpoint)}",
            f"unset {_EMULATOR} unless you mean to use an emulator",
        )
    return _described(_default_credentials())


def _default_credentials() -> Credentials:
    try:
        import google.auth  # noqa: PLC0415 -- Google's libraries are optional
        from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError  # noqa: PLC0415
        from google.auth.transport.requests import Request  # noqa: PLC0415
    except ImportError as error:
        raise missing_extra("google-auth", "gcp") from error
    try:
        found: Credentials = google.auth.default(scopes=[_SCOPE])[0]
        found.refresh(Request())  # type: ignore[no-untyped-call]
    except DefaultCredentialsError as error:
        if os.environ.get(_KEY_FILE):
            raise StoreError(
                f"the file that {_KEY_FILE} names holds no credentials", hint=f"unset {_KEY_FILE}, then {gcs.LOGIN}"
            ) from error
        raise StoreError("no Google Cloud credentials found on this machine", hint=gcs.LOGIN) from error
    except GoogleAuthError as error:
        # The library's own words may quote what the key file or the token's server said.
        raise StoreError(
            f"Google gives no token for the credentials found here ({type(error).__name__})",
            hint=f"{gcs.LOGIN}; on a machine of Google's, see that it has a service account",
        ) from error
    return found


def _described(credentials: Credentials) -> Finding:
    from google.auth import compute_engine, external_account, impersonated_credentials  # noqa: PLC0415
    from google.oauth2 import service_account  # noqa: PLC0415

    account = str(getattr(credentials, "service_account_email", None) or "")
    if isinstance(credentials, service_account.Credentials):
        return Finding(
            "credentials",
            State.WARN,
            f"a key file of {account}, which anybody who copies it can use until it is revoked",
            "use an identity without a key: the machine's own, or workload identity federation (docs/how-to/cloud.md)",
        )
    kinds = (
        (compute_engine.Credentials, f"this machine's service account {account}"),
        (impersonated_credentials.Credentials, f"impersonation of {account}"),
        (external_account.Credentials, f"workload identity federation {f'as {account}' if account else ''}"),
    )
    text = next((text for kind, text in kinds if isinstance(credentials, kind)), "a person's login")
    return Finding("credentials", State.OK, text.strip())


# ------------------------------------------------------------------------------------------------- lake and warehouse
def _lake(plan: DoctorOptions) -> Iterator[Finding]:
    """Yields a finding for the lake, and one more if it works and has hours with other e-mail policies."""
    settings = plan.settings
    finding = _tried("lake", lambda: _place("lake", settings.lake, read_only=plan.read_only))
    yield finding
    if finding.state is State.FAIL:
        return
    policy = EmailPolicy.of(settings.emails, settings.email_key_bytes).name
    hours = HourRange(FIRST_HOUR, newest_finished_hour(plan.clock()))
    stored = facts(_store_at(settings.lake), hours, columns=["emails"], write=False)
    if others := other_policies(stored["emails"], policy):
        yield Finding("stored e-mails", State.WARN, describe(others, policy), REPROCESS_HINT)


def _place(name: str, address: str, *, read_only: bool) -> Finding:
    if not gcs.is_address(address) and not Path(address).is_dir():
        return _no_folder_yet(name, Path(address))
    store = _store_at(address)
    if read_only:
        next(iter(store.list("")), None)
        return Finding(name, State.OK, f"{store.address} can be listed")
    _write_and_remove(store)
    done = f"an object was written to {store.address}, read, listed and removed"
    return Finding(name, State.OK, done) if gcs.is_address(address) else _with_room(name, Path(address), done)


def _store_at(address: str) -> Store:
    """Returns the store that the pipeline uses, with shorter timeouts for a bucket."""
    if gcs.is_address(address):
        return GcsStore(*gcs.split(address), retry_timeout=_PATIENCE_SECONDS)
    return FolderStore(Path(address))


def _write_and_remove(store: Store) -> None:
    """Writes, reads, lists and removes a small object, as a run does: each of these needs its own permission."""
    key = f"doctor-{uuid4().hex}.txt"
    with _step("create"):
        made = store.write(key, _PROBE, if_generation=ABSENT)
    try:
        with _step("read"):
            if store.read(key) != _PROBE:
                raise StoreError(f"{store.url(key)} gives back other bytes than were written")
        with _step("list"):
            if key not in [info.key for info in store.list(key)]:
                raise StoreError(f"{store.url(key)} was written and is not listed")
    finally:
        with _step("delete"):
            store.delete(key, if_generation=made.generation)


@contextmanager
def _step(verb: str) -> Iterator[None]:
    """Adds to a store's error in which step it happened."""
    try:
        yield
    except StoreError as error:
        raise StoreError(f"cannot {verb} an object: {error.message}", hint=error.hint) from error


def _no_folder_yet(name: str, folder: Path) -> Finding:
    if folder.exists():
        raise StoreError(f"{folder} is a file, and the {name} has to be a folder", hint=f"name another --{name}")
    parent = _existing_parent(folder)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise StoreError(f"{folder} does not exist and cannot be made in {parent}", hint=f"name another --{name}")
    return _with_room(name, parent, f"{folder} does not exist yet and will be made")


def _existing_parent(folder: Path) -> Path:
    """Returns the nearest parent folder that exists."""
    return next(parent for parent in folder.absolute().parents if parent.is_dir())


def _with_room(name: str, folder: Path, done: str) -> Finding:
    free = free_bytes(folder)
    text = f"{done}; {free / (1 << 30):,.1f} GiB are free"
    if free < _ROOM:
        return Finding(name, State.WARN, text, "a modern hour takes some 0.15 GiB: make room, or name another folder")
    return Finding(name, State.OK, text)


# ----------------------------------------------------------------------------------------------------------- BigQuery
def _dataset(plan: DoctorOptions) -> Finding:
    check = "BigQuery dataset"
    if plan.settings.dataset is None:
        return Finding(check, State.SKIPPED, "none is named", "name it, if there is one: --dataset PROJECT.DATASET")
    name = DatasetName.parse(plan.settings.dataset)
    with explained(str(name)):
        client = connect(name)
        retry = _retry()
        found = client.get_dataset(str(name), retry=retry, timeout=_PATIENCE_SECONDS)
        tables = {table.table_id for table in client.list_tables(found, retry=retry, timeout=_PATIENCE_SECONDS)}
    _may_query(client, name)
    expected = [model.name for model in models() if model.kind is not Kind.VIEW]
    missing = [table for table in expected if table not in tables]
    if len(missing) < len(expected):
        _may_use(client, name, next(table for table in expected if table in tables), read_only=plan.read_only)
    if missing:
        return Finding(
            check,
            State.WARN,
            f"{len(missing)} of {len(expected)} tables are not there yet: {', '.join(missing)}",
            "make them with Terraform (docs/how-to/cloud.md), or let the first build do it",
        )
    return Finding(check, State.OK, f"{name} in {found.location} has all {len(expected)} tables")


def _retry() -> Retry:
    """Returns the client's retry policy with a shorter deadline than its ten minutes."""
    from google.cloud.bigquery import DEFAULT_RETRY  # noqa: PLC0415

    return DEFAULT_RETRY.with_timeout(_PATIENCE_SECONDS)


def _may_query(client: Client, name: DatasetName) -> None:
    """Sends a dry-run query, which costs nothing."""
    from google.cloud.bigquery import QueryJobConfig  # noqa: PLC0415

    with explained(f"queries in the project {name.project}"):
        client.query("SELECT 1", job_config=QueryJobConfig(dry_run=True), retry=_retry(), timeout=_PATIENCE_SECONDS)


def _may_use(client: Client, name: DatasetName, table: str, *, read_only: bool) -> None:
    asked = ["bigquery.tables.getData"] if read_only else ["bigquery.tables.getData", "bigquery.tables.updateData"]
    with explained(table):
        answer = client.test_iam_permissions(name.table(table), asked, retry=_retry(), timeout=_PATIENCE_SECONDS)
    if refused := [permission for permission in asked if permission not in answer.get("permissions", [])]:
        role = "dataViewer" if read_only else "dataEditor"
        raise StoreError(
            f"the account lacks {' and '.join(refused)} on the table {table}",
            hint=f"grant it roles/bigquery.{role} on the dataset {name}",
        )


# ---------------------------------------------------------------------------------------------------- archive and clock
def _archive(plan: DoctorOptions) -> Iterator[Finding]:
    """Yields a finding for each source. A source that is down is a failure only if all others are, too."""
    findings = [_source(address, plan) for address in plan.settings.sources]
    works = any(finding.state is not State.FAIL for finding in findings)
    for finding in findings:
        if finding.state is State.FAIL and works:
            yield replace(finding, state=State.WARN, code=ExitCode.OK)
        else:
            yield finding
    if len(findings) > 1 and works:
        yield from _last_day(plan)


def _last_day(plan: DoctorOptions) -> Iterator[Finding]:
    """Yields for each source how much of the last day it has, compared with the fullest source of each hour."""
    last = newest_finished_hour(plan.clock())
    hours = HourRange(max(FIRST_HOUR, last - (_LOOK_BACK - 1)), last)
    sources = [_opened(address, plan.policy) for address in plan.settings.sources]
    with ThreadPoolExecutor(_HOURS_AT_ONCE) as threads:
        answers = list(threads.map(lambda hour: survey(sources, hour, timeout=plan.policy.ask_timeout), hours))
    sizes_of_hours = [sizes(each) for each in answers]
    fullest = sum(max(each) for each in sizes_of_hours)
    for place, source in enumerate(sources):
        present = sum(each[place].promise is not None for each in answers)
        share = f"; {sum(each[place] for each in sizes_of_hours) / fullest:.0%} of the fullest hours" if fullest else ""
        name = f"last day of {mask_credentials(source.address)}"
        yield Finding(name, State.OK, f"{present} of {plural(len(hours), 'hour')}{share}")


def _source(address: str, plan: DoctorOptions) -> Finding:
    name = f"source {mask_credentials(address)}"
    return _tried(name, lambda: _newest(name, _opened(address, plan.policy), plan))


def _opened(address: str, policy: FetchPolicy) -> Source:
    return source_at(address, connect_timeout=policy.connect_timeout, read_timeout=policy.read_timeout)


def _newest(name: str, source: Source, plan: DoctorOptions) -> Finding:
    policy = replace(plan.policy, attempts=min(_ATTEMPTS, plan.policy.attempts))
    try:
        hour = newest_published((source,), policy, now=plan.clock(), look_back=_LOOK_BACK)
    except NotPublishedError as error:
        return Finding(name, State.WARN, error.message, "it answers, but new hours have to come from another source")
    age = newest_finished_hour(plan.clock()).start - hour.start
    if age > _LATE:
        return Finding(
            name, State.WARN, f"the newest hour is {hour}, {age / timedelta(hours=1):.0f} hours behind", "see --source"
        )
    return Finding(name, State.OK, f"the newest hour is {hour}")


def _clock(plan: DoctorOptions) -> Finding:
    for url in _web_places(plan):
        offset = _offset(url, plan)
        if offset is not None:
            return _judged(offset, url)
    return Finding("clock", State.SKIPPED, "no web server answered that it could be compared with")


def _judged(offset: timedelta, url: str) -> Finding:
    seconds = offset.total_seconds()
    text = f"{abs(seconds):,.0f} s {'ahead of' if seconds > 0 else 'behind'} {mask_credentials(url)}"
    hint = "let the machine's clock be set by NTP, such as: timedatectl set-ntp true"
    if abs(offset) >= _SKEW_ALLOWED:
        return Finding("clock", State.FAIL, text, hint, ExitCode.STORE_FAILED)
    if abs(offset) >= _SKEW_TOLD:
        return Finding("clock", State.WARN, text, hint)
    return Finding("clock", State.OK, text)


def _web_places(plan: DoctorOptions) -> Sequence[str]:
    newest = newest_finished_hour(plan.clock())
    places = [
        f"{address.rstrip('/')}/{file_name(newest)}"
        for address in plan.settings.sources
        if address.startswith(("http://", "https://"))
    ]
    if any(gcs.is_address(place) for place in (plan.settings.lake, plan.settings.warehouse)):
        places.append(os.environ.get(_EMULATOR) or _STORAGE)
    return places


def _offset(url: str, plan: DoctorOptions) -> timedelta | None:
    """Returns how far this machine's clock is ahead of a server's, in whole seconds; None if that is not known."""
    import requests  # noqa: PLC0415 -- takes a tenth of a second

    timeout = (plan.policy.connect_timeout, plan.policy.read_timeout)
    before = plan.clock()
    try:
        with requests.head(url, timeout=timeout, allow_redirects=False) as answer:
            told = _told(answer.headers)
    except requests.RequestException:
        return None
    return None if told is None else before + (plan.clock() - before) / 2 - told


def _told(headers: Mapping[str, str]) -> datetime | None:
    """Returns the time in a server's response; a cache keeps the original date and adds the age."""
    try:
        # An HTTP date is GMT by definition.
        date = parsedate_to_datetime(headers.get("Date", "")).replace(tzinfo=UTC)
        return date + timedelta(seconds=int(headers.get("Age", "0")))
    except (ValueError, OverflowError):
        return None


def _alone(name: str, check: Callable[[DoctorOptions], Finding]) -> Callable[[DoctorOptions], Iterable[Finding]]:
    return lambda plan: [_tried(name, lambda: check(plan))]


_RUNS: Final[Mapping[str, Callable[[DoctorOptions], Iterable[Finding]]]] = {
    "reader": _alone("reader", lambda _plan: _reader()),
    "emails": _alone("e-mails", lambda plan: _emails(plan.settings)),
    "credentials": _alone("credentials", _credentials),
    "lake": _lake,
    "warehouse": _alone(
        "warehouse", lambda plan: _place("warehouse", plan.settings.warehouse, read_only=plan.read_only)
    ),
    "dataset": _alone("BigQuery dataset", _dataset),
    "archive": _archive,
    "clock": _alone("clock", _clock),
}
