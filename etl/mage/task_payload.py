"""The data passed between blocks: the hour, its state, and facts about it. Never the events themselves."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import msgspec

from etl.errors import UsageError
from etl.hours import Hour
from etl.lake.manifest import SourceAnswer

_RUN: Final = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)


class State(StrEnum):
    """The state of an hour."""

    FETCHED = "fetched"
    """Its file is in staging, byte for byte as at the source."""
    SHAPED = "shaped"
    """Its events are in staging as parquet with the schema, and with a manifest."""
    STORED = "stored"
    """It is in the lake now."""
    REPLACED = "replaced"
    """It was in the lake, and was replaced by the source's newer version."""
    UNCHANGED = "unchanged"
    """It was already in the lake."""
    KEPT = "kept"
    """The source has fewer events than the lake, or none: the lake kept its version."""
    MISSING = "missing"
    """No source has it, and it is too old to be published later."""
    PENDING = "pending"
    """No source has it yet; the catch-up asks again."""
    LOCKED = "locked"
    """Another run is processing it."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The origin of a staged file, as its source reported it.

    Attributes:
        source: The address of the source, without a password.
        url: The address of the file, likewise.
        etag: The source's tag for this version; None if it sent none.
        last_modified: As sent by the source.
        bytes: Compressed bytes.
        sha256: Hex digest of them.
        sidecar: Whether there was a sidecar manifest, which matched.
        event_count: The number of documents in the sidecar manifest; None if it has none.
    """

    source: str
    url: str
    etag: str | None
    last_modified: str | None
    bytes: int
    sha256: str
    sidecar: bool
    event_count: int | None


class TaskPayload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One hour in progress.

    Attributes:
        hour: Its name.
        run: The run that processes it; with the hour, the name of its staging folder.
        state: The state of the hour.
        started_at: When the run started with it (UTC).
        reason: Why the hour is not in the lake, or was not stored again; None if it was stored.
        origin: The origin of its file; None without one.
        sources: The answer of each source; empty if they were not asked.
        status: The manifest's status; None before there is one.
        events: Number of events.
        unreadable: Number of documents that could not be read.
        bytes: Size of its parquet file.
    """

    hour: str
    run: str
    state: State
    started_at: datetime
    reason: str | None = None
    origin: Origin | None = None
    sources: list[SourceAnswer] = []
    status: str | None = None
    events: int | None = None
    unreadable: int | None = None
    bytes: int | None = None

    @property
    def the_hour(self) -> Hour:
        """Returns the hour."""
        return Hour.parse(self.hour)

    def as_dict(self) -> dict[str, Any]:
        """Returns the payload in JSON's types, as Mage stores a block's output."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        return given


def read_task_payload(value: object) -> TaskPayload:
    """Reads the output of ``TaskPayload.as_dict``. Data from Mage's store is validated like any external input.

    Raises:
        UsageError: If the value is no payload.
    """
    try:
        payload = msgspec.convert(value, TaskPayload)
    except msgspec.ValidationError as error:
        raise UsageError(f"the block before gave no payload: {error}") from None
    # Both name folders, so neither may be anything else.
    if not _RUN.fullmatch(payload.run) or str(payload.the_hour) != payload.hour:
        raise UsageError("the block before gave a payload of no hour, or of no run")
    return payload
