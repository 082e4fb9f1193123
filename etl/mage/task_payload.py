"""What blocks hand on: which hour, how far it has come, and what is known of it. Never the events themselves."""

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
    """How far an hour has come, or what became of it."""

    FETCHED = "fetched"
    """Its file lies in the spool, byte for byte as the source has it."""
    SHAPED = "shaped"
    """Its events lie in the spool as parquet of the one schema, with a manifest."""
    STORED = "stored"
    """It is in the lake now."""
    REPLACED = "replaced"
    """It was in the lake, and is now as the source has it."""
    UNCHANGED = "unchanged"
    """The lake had it already."""
    KEPT = "kept"
    """The lake has it, and its source has fewer events now, or none: the lake kept its own."""
    MISSING = "missing"
    """No source has it, and it is too old to come by itself."""
    PENDING = "pending"
    """No source has it yet; the catch-up asks again."""
    LOCKED = "locked"
    """Another run is at it."""


class Origin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a file in the spool came from, as its source said.

    Attributes:
        source: The address of the source, without a password.
        url: The address of the file, likewise.
        etag: The source's name for this version; None if it gave none.
        last_modified: As the source said it.
        bytes: Compressed bytes.
        sha256: Hex digest of them.
        sidecar: Whether a manifest was beside it, which agreed.
        event_count: The documents that this manifest announces; None if it says nothing of them.
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
        run: The run that brings it; with the hour the name of its folder in the spool.
        state: How far it has come.
        started_at: When the run began with it (UTC).
        reason: Why the hour is not in the lake, or was not stored again; None if it was stored.
        origin: Where its file came from; None without one.
        sources: What each source said when they were asked; empty if they were not.
        status: The manifest's status; None before there is one.
        events: Events of it.
        unreadable: Documents that could not be read.
        bytes: Of its parquet file.
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
        """The hour as a value."""
        return Hour.parse(self.hour)

    def as_dict(self) -> dict[str, Any]:
        """In JSON's types, as Mage stores what a block gives."""
        given: dict[str, Any] = msgspec.to_builtins(self)
        return given


def read_task_payload(value: object) -> TaskPayload:
    """Reads what ``TaskPayload.as_dict`` gave; what comes back from Mage's store is checked like anything from outside.

    Raises:
        UsageError: If it is something else.
    """
    try:
        payload = msgspec.convert(value, TaskPayload)
    except msgspec.ValidationError as error:
        raise UsageError(f"the block before gave no payload: {error}") from None
    # Both name folders, so neither may be anything else.
    if not _RUN.fullmatch(payload.run) or str(payload.the_hour) != payload.hour:
        raise UsageError("the block before gave a payload of no hour, or of no run")
    return payload
