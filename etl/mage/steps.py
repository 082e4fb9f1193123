"""The three steps of an hour, one per block: fetch it to staging, decode it there, publish it in the lake.

Together they do what ``etl.hour_pipeline.run_hour`` does in one call, and use it: the middle step is a run of the
pipeline, from the staged file into a lake of its own in the staging folder, and the last one publishes that lake's hour
in the real one. A quality check in between may reject the hour; the real lake then stays unchanged.

Each step can be retried from its payload alone: if the staging folder has been emptied meanwhile, by a killed process
or a failed step, the hour is fetched again.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NoReturn

import msgspec
import structlog

from etl.archive.fetch import Download, open_download, open_sources
from etl.archive.source import HourNotFound, Source
from etl.errors import ConflictError, DamagedError, SourceUnreachableError, StoreError
from etl.events.schema import SCHEMA_VERSION
from etl.hour_pipeline import RunOptions, choose_sources, record_absence, run_hour
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.manifest import Content, Manifest, SourceAnswer, SourceReply, Status
from etl.mage import quality_checks
from etl.mage.staging import RememberedSource, StagedSource, StagingFolder
from etl.mage.task_payload import Origin, State, TaskPayload
from etl.run_options import run_options
from etl.settings import Settings
from etl.source_selection import Candidate, SourceChoice, asks_before_reading, records

_LOOK_EVERY_SECONDS: Final = 30.0
_COPY_BYTES: Final = 8 << 20

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, kw_only=True)
class StepOptions:
    """Options of the three steps.

    Attributes:
        lake: The target lake.
        sources: The sources, in order of trust.
        run_options: Options of the hour pipeline.
        staging: The staging folder for hours between two steps.
        accept_partial: Whether an hour with more damage than allowed, or without any event, passes the gate.
    """

    lake: Lake
    sources: Sequence[Source]
    run_options: RunOptions
    staging: StagingFolder
    accept_partial: bool = False


def step_options(settings: Settings, *, refresh: bool = False, accept_partial: bool = False) -> StepOptions:
    """Creates the options from the settings.

    Raises:
        UsageError: If an address is invalid.
        StoreError: If a bucket is named and there are no credentials.
    """
    run = run_options(settings, refresh=refresh)
    return StepOptions(
        lake=Lake.at(settings.lake),
        sources=open_sources(settings.sources, run.fetch),
        run_options=run,
        staging=StagingFolder(Path(settings.spool).absolute()),
        accept_partial=accept_partial,
    )


def fetch(hour: Hour, run: str, options: StepOptions, *, wait_seconds: float = 0.0) -> TaskPayload:
    """Downloads an hour's file to staging, unless the lake has it or no source does.

    Args:
        hour: The hour.
        run: Name of the run.
        options: Options of the steps.
        wait_seconds: How long to wait for an hour that no source has yet.

    Returns:
        The payload: ``fetched``, ``unchanged``, ``kept``, ``missing`` or ``pending``. An absent hour is recorded in the
        lake, as by ``run``.

    Raises:
        SourceUnreachableError: If no source sent it and not all answered 404; recorded in the lake.
        StoreError: If the lake cannot be read or written, or the staging folder cannot.
    """
    options.staging.sweep()
    payload = TaskPayload(hour=str(hour), run=run, state=State.FETCHED, started_at=datetime.now(UTC))
    present = options.lake.recover(hour)
    if _is_settled(present, options):
        return _with_facts(payload, present, state=State.UNCHANGED)
    until = time.monotonic() + wait_seconds
    try:
        while (answer := _from_best_of(payload, present, options)).is_absent and (left := until - time.monotonic()) > 0:
            _log.info("not published yet, waiting", hour=str(hour), seconds_left=round(left))
            time.sleep(min(_LOOK_EVERY_SECONDS, left))
        if answer.origin is None:
            if _keeps_what_it_has(present, answer, options.run_options):
                return _unchanged(payload, present, answer.sources, options)
            return _record_absence(payload, answer, options)
    except BaseException:
        options.staging.discard(payload)
        raise
    if _same_as_stored(present, answer.origin, options.run_options):
        options.staging.discard(payload)
        return _unchanged(payload, present, answer.sources, options)
    return msgspec.structs.replace(payload, origin=answer.origin, sources=answer.sources)


def shape(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    """Decodes a fetched hour into the schema: parquet, quarantine and manifest, in the staging folder.

    Args:
        payload: The result of ``fetch``.
        options: Options of the steps.

    Returns:
        The payload, ``shaped``, also if it is damaged: the quality check decides. A payload that was not fetched
        is returned as is.

    Raises:
        SourceUnreachableError: If the staging folder was emptied and no source sends the hour again.
        StoreError: If the staging folder cannot be written.
    """
    if payload.state is not State.FETCHED:
        return payload
    payload = _staged(payload, options)
    if payload.state is not State.FETCHED or payload.origin is None:
        return payload
    hour = payload.the_hour
    lake = Lake.at(str(options.staging.lake(payload)))
    run = replace(options.run_options, force=True, refresh=False, recheck=False)
    try:
        # Always download again: a file that exists is left from a killed attempt.
        run_hour(hour, lake=lake, sources=_staged_and_others(payload, payload.origin, options), options=run)
    except DamagedError as error:
        _log.warning("an hour is damaged", hour=payload.hour, cause=error.message)
    except BaseException:
        options.staging.discard(payload)
        raise
    return _with_facts(payload, lake.manifest(hour), state=State.SHAPED)


def publish(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    """Publishes a shaped hour in the lake, and always removes it from staging.

    Args:
        payload: The result of ``shape``.
        options: Options of the steps.

    Returns:
        The payload, ``stored``, ``replaced``, or ``kept`` where the lake has more events; ``unchanged`` where another
        run was faster, ``locked`` if another run is processing it. A payload that was not shaped is returned as is.

    Raises:
        GateError: If the hour had to be fetched again and fails a check.
        SourceUnreachableError: If the staging folder was emptied and no source sends the hour again.
        StoreError: If the lake cannot be written, or the staging folder cannot be read.
    """
    if payload.state is not State.SHAPED:
        options.staging.discard(payload)
        return payload
    try:
        payload = _shaped_staged(payload, options)
        if payload.state is not State.SHAPED:
            return payload
        with options.lake.lock(payload.the_hour) as alone:
            if not alone:
                return msgspec.structs.replace(payload, state=State.LOCKED, reason="another run is at it")
            return _published(payload, options)
    finally:
        options.staging.discard(payload)


def process(hour: Hour, run: str, options: StepOptions) -> TaskPayload:
    """Runs all steps of an hour, with the quality checks between them.

    Raises:
        GateError: If a quality check fails; the lake is unchanged.
        SourceUnreachableError: If no source sent it.
        StoreError: If the lake or the staging folder cannot be read or written.
    """
    payload = fetch(hour, run, options)
    quality_checks.check_fetched(payload, options.staging)
    payload = shape(payload, options)
    check_shaped(payload, options)
    payload = publish(payload, options)
    quality_checks.check_published(payload, options.lake)
    return payload


def check_shaped(payload: TaskPayload, options: StepOptions) -> None:
    """The quality check before publishing: records the reason of a rejection in the lake and empties staging.

    An hour that already has events in the lake stays unchanged, including its manifest.

    Raises:
        GateError: If the check fails.
        StoreError: If the lake cannot be written, or the staging folder cannot be read.
    """
    try:
        quality_checks.check_shaped(payload, options.staging, accept_partial=options.accept_partial)
    except quality_checks.GateError as error:
        options.lake.record(
            payload.the_hour,
            Status.FAILED,
            error.message,
            started_at=payload.started_at,
            finished_at=datetime.now(UTC),
        )
        options.staging.discard(payload)
        raise


@dataclass(frozen=True)
class _Answer:
    """The answers of the sources.

    Attributes:
        origin: The file that is in staging now; None if no source delivered the hour.
        choice: The sources: those worth reading, and all.
        errors: The errors of the sources that did not answer 404.
    """

    origin: Origin | None
    choice: SourceChoice
    errors: Sequence[SourceUnreachableError]

    @property
    def is_absent(self) -> bool:
        return self.origin is None and bool(self.choice.order) and not self.errors

    @property
    def sources(self) -> list[SourceAnswer]:
        return records(self.choice.asked) if self.choice.surveyed else []


def _from_best_of(payload: TaskPayload, present: Manifest | None, options: StepOptions) -> _Answer:
    """Downloads the hour from the first source, in order of preference, that sends all of it."""
    hour = payload.the_hour
    choice = choose_sources(hour, options.sources, options.run_options, present)
    errors, origin = [], None
    for candidate in choice.order:
        try:
            origin = _download(payload, candidate, options)
            break
        except HourNotFound:
            candidate.failed(SourceReply.ABSENT, "it does not have the hour")
        except SourceUnreachableError as error:
            _log.warning("source given up", hour=payload.hour, source=candidate.source.address, cause=error.message)
            candidate.failed(SourceReply.DOWN, "it could not be read", error.message)
            errors.append(error)
    return _Answer(origin, choice, errors)


def _staged_and_others(payload: TaskPayload, origin: Origin, options: StepOptions) -> list[Source]:
    """Returns the staged file as a source, and the other sources with their recorded answers."""
    staged = StagedSource(options.staging.file(payload), origin)
    answers = {answer.address: answer for answer in payload.sources}
    sources: list[Source] = []
    for source in options.sources:
        url = source.url(payload.the_hour)
        if url == origin.url:
            sources.append(staged)
        elif url in answers:
            sources.append(RememberedSource(source, answers[url]))
    return sources if staged in sources else [staged]


def _download(payload: TaskPayload, candidate: Candidate, options: StepOptions) -> Origin:
    source = candidate.source
    if candidate.reply is SourceReply.ABSENT:
        raise HourNotFound(candidate.url)
    download = open_download(source, payload.the_hour, options.run_options.fetch, promise=candidate.promise)
    if download is None:
        _refuse_not_modified(source.url(payload.the_hour))
    options.staging.made(payload)
    path = options.staging.file(payload)
    with download:
        try:
            with path.open("wb") as file:
                for chunk in download:
                    file.write(chunk)
        except OSError as error:
            raise StoreError(
                f"the staging folder {options.staging.root} cannot be written: "
                f"{error.strerror or type(error).__name__}",
                hint="make room there, or name another folder by the setting `spool`",
            ) from error
    return _origin(source, download)


def _refuse_not_modified(url: str) -> NoReturn:
    raise SourceUnreachableError(f"{url} says 304 to a plain request")


def _origin(source: Source, download: Download) -> Origin:
    return Origin(
        source=source.address,
        url=download.address,
        etag=download.etag,
        last_modified=download.last_modified,
        bytes=download.received,
        sha256=download.sha256,
        sidecar=download.sidecar is not None,
        event_count=None if download.sidecar is None else download.sidecar.event_count,
    )


def _record_absence(payload: TaskPayload, answer: _Answer, options: StepOptions) -> TaskPayload:
    """Records in the lake that no source delivered the hour.

    Raises:
        SourceUnreachableError: If not all sources answered 404.
    """
    hour = payload.the_hour
    error = record_absence(
        hour,
        answer.choice.asked,
        answer.errors,
        lake=options.lake,
        options=options.run_options,
        started_at=payload.started_at,
    )
    if isinstance(error, SourceUnreachableError):
        raise error
    manifest = options.lake.manifest(hour)
    states = {Status.MISSING: State.MISSING, Status.PENDING: State.PENDING}
    state = State.KEPT if manifest is None else states.get(manifest.status, State.KEPT)
    return _with_facts(payload, manifest, state=state, reason=error.message)


def _is_settled(present: Manifest | None, options: StepOptions) -> bool:
    """Whether the lake has the hour, and nobody asked for a newer version or a fuller source of it."""
    wanted = options.run_options
    return (
        present is not None
        and present.status.has_events
        and present.status is not Status.PARTIAL
        and not wanted.refresh
        and not (wanted.recheck and asks_before_reading(options.sources, wanted.completeness))
    )


def _keeps_what_it_has(present: Manifest | None, answer: _Answer, options: RunOptions) -> bool:
    """Whether nothing was fetched for an hour with events because no source has more of it."""
    return present is not None and present.status.has_events and (options.recheck or not answer.choice.order)


def _unchanged(
    payload: TaskPayload, present: Manifest | None, sources: Sequence[SourceAnswer], options: StepOptions
) -> TaskPayload:
    """Leaves the hour as it is, and notes what its sources say now."""
    if sources:
        present = options.lake.record_sources(payload.the_hour, sources, asked_at=datetime.now(UTC))
    return _with_facts(payload, present, state=State.UNCHANGED)


def _same_as_stored(present: Manifest | None, origin: Origin, options: RunOptions) -> bool:
    """Whether the lake's hour was made of these very bytes, on the same options."""
    content = None if present is None else present.content
    return (
        content is not None
        and content.source.sha256 == origin.sha256
        and (content.emails, content.schema_version) == (options.emails.name, SCHEMA_VERSION)
    )


def _staged(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    """Returns a payload whose file is in the staging folder, whole; fetches it again where it is not."""
    path = options.staging.file(payload)
    if payload.origin is not None and path.is_file() and _sha256(path) == payload.origin.sha256:
        return payload
    _log.warning("the staging folder was emptied; the hour is fetched again", hour=payload.hour, run=payload.run)
    return fetch(payload.the_hour, payload.run, options)


def _shaped_staged(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    """Returns a payload whose shaped hour is in the staging folder; brings it there again where it is not."""
    if options.staging.lake(payload).is_dir():
        return payload
    again = _staged(msgspec.structs.replace(payload, state=State.FETCHED), options)
    quality_checks.check_fetched(again, options.staging)
    again = shape(again, options)
    check_shaped(again, options)
    return again


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _published(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    hour = payload.the_hour
    made = Lake.at(str(options.staging.lake(payload)))
    content, key = quality_checks.made_of(made, hour)
    shaped = made.manifest(hour)
    sources = [] if shaped is None else shaped.sources
    try:
        with options.lake.publish(hour) as publication:
            current = None if publication.current is None else publication.current.content
            if current is not None and content.events < current.events:
                if len(sources) > 1:
                    options.lake.record_sources(hour, sources, asked_at=datetime.now(UTC))
                return msgspec.structs.replace(payload, state=State.KEPT, reason=_shrunk(content, current))
            if content.quarantine_file is not None:
                with closing(made.store.open(content.quarantine_file.key)) as unreadable:
                    publication.quarantine(unreadable, content.quarantine_file.rows)
            with closing(made.store.open(key)) as events:
                shutil.copyfileobj(events, publication.events, _COPY_BYTES)
            manifest = publication.finish(content, started_at=payload.started_at, sources=sources)
    except ConflictError:
        return _overtaken(payload, options)
    return _with_facts(payload, manifest, state=State.STORED if current is None else State.REPLACED)


def _overtaken(payload: TaskPayload, options: StepOptions) -> TaskPayload:
    """Returns the result if another run published the hour meanwhile."""
    present = options.lake.manifest(payload.the_hour)
    if present is None or not present.status.has_events:
        raise StoreError(f"{payload.hour} was changed by another run while it was published", hint="run it again")
    return _with_facts(payload, present, state=State.UNCHANGED, reason="another run was faster")


def _shrunk(content: Content, current: Content) -> str:
    return (
        f"it holds {content.events:,} events at its source now, the lake has {current.events:,}; the lake keeps its own"
    )


def _with_facts(
    payload: TaskPayload, manifest: Manifest | None, *, state: State, reason: str | None = None
) -> TaskPayload:
    """Copies the facts of a manifest to a payload."""
    if manifest is None:
        return msgspec.structs.replace(payload, state=state, reason=reason)
    content, file = manifest.content, manifest.events_file
    return msgspec.structs.replace(
        payload,
        state=state,
        reason=reason or manifest.reason,
        status=manifest.status.value,
        events=None if content is None else content.events,
        unreadable=None if content is None else content.unreadable,
        bytes=None if file is None else file.bytes,
    )
