"""The manifest of an hour: a small JSON file with everything known about it, written last."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.hours import Hour

MANIFEST_VERSION: Final = 3
"""Version 1 has neither ``replaced`` nor ``redirected_to``, version 2 neither ``sources`` nor ``asked_at``; they are
read as None or empty."""

CONTENT_KEY: Final = b"gharchive.content"
"""Key of a Parquet file's metadata whose value is its ``Content``, as written by ``encode_content``."""


class Status(StrEnum):
    """Status of an hour."""

    COMPLETE = "complete"
    """The lake has the whole hour."""
    PARTIAL = "partial"
    """The lake has the hour, but too much of it was unreadable, or the source's file is incomplete."""
    MISSING = "missing"
    """Every source answered 404, and the hour is old enough for that to be final."""
    PENDING = "pending"
    """Not published yet: every source answered 404, and the hour is recent."""
    SUSPECT = "suspect"
    """The lake has the hour, but its volume is far from that of comparable hours."""
    FAILED = "failed"
    """The last attempt ended with an error, given as the reason."""

    @property
    def has_events(self) -> bool:
        """Whether an hour of this status has a Parquet file."""
        return self in (Status.COMPLETE, Status.PARTIAL, Status.SUSPECT)


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The source of an hour and the file received from it.

    Attributes:
        address: URL or path of the hour's file.
        etag: Version of the file as reported by the source, to check later whether it changed; None if there is none.
        last_modified: Modification time as reported by the source.
        bytes: Compressed bytes received.
        sha256: Hex digest of these bytes.
        sidecar: Whether the file was verified against a sidecar manifest (``*.manifest.json``).
        interrupted: Whether the compressed stream is corrupt or ended early, so that more events may exist.
        redirected_to: The final URL if the request was redirected; None otherwise.
    """

    address: str
    etag: str | None
    last_modified: str | None
    bytes: int
    sha256: str
    sidecar: bool = msgspec.field(name="companion")
    interrupted: bool
    redirected_to: str | None = None


class DamageCounts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Damage of one kind in an hour.

    Attributes:
        reason: Why the bytes could not be read as they are (``etl.archive.damage.DamageReason``).
        count: Number of runs of bytes.
        bytes: Total number of bytes.
    """

    reason: str
    count: int
    bytes: int


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Parquet file of the lake.

    Attributes:
        key: Relative key in the lake.
        bytes: Size in bytes.
        rows: Number of rows.
        sha256: Hex digest of the file.
    """

    key: str
    bytes: int
    rows: int
    sha256: str


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Content of a stored hour. It depends only on the source's bytes and the settings, never on the clock.

    It is also stored in the Parquet file's metadata, so that a file is self-describing and a manifest can be rebuilt
    from it.

    Attributes:
        hour: The hour's name.
        status: ``complete``, ``partial`` or ``suspect``.
        reason: Why the hour is not ``complete``; None if it is.
        era: Format of the documents, ``A`` to ``D``; several letters if the hour mixes them.
        source: The source of the hour.
        documents: Number of documents, readable or not: ``events + unreadable``.
        events: Number of rows of the Parquet file.
        unreadable: Number of documents that are only in quarantine.
        repaired: Number of events of which some bytes were repaired; the original bytes are in quarantine.
        duplicates: Number of events that equal an earlier one of the hour in (id, type, created_at), or, without an id,
            in the whole record except for key order and escapes. They are kept; the warehouse drops them by the same
            rule, and also those that equal an event of another hour.
        types: Number of events by type.
        first_created_at: Earliest ``created_at`` (UTC); None without events.
        last_created_at: Latest ``created_at`` (UTC); None without events.
        damage: Damage by reason.
        quarantine_file: File with the original bytes of the damage; None without damage.
        schema_version: Version of the event schema.
        emails: The e-mail policy applied to the events.
        software: Name and version of the program that wrote the file.
    """

    hour: str
    status: Status
    reason: str | None
    era: str
    source: SourceFacts
    documents: int
    events: int
    unreadable: int
    repaired: int
    duplicates: int
    types: dict[str, int]
    first_created_at: datetime | None
    last_created_at: datetime | None
    damage: list[DamageCounts]
    quarantine_file: FileFacts | None
    schema_version: int
    emails: str
    software: str


class Replaced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The previous version of an hour's source file.

    Attributes:
        address: URL or path of the file.
        etag: Version of the file as reported by the source; None if there was none.
        bytes: Size of the compressed file.
        sha256: Hex digest of the file.
        status: The hour's status at that time.
        events: The hour's number of events at that time.
        written_at: When it was stored (UTC).
    """

    address: str
    etag: str | None
    bytes: int
    sha256: str
    status: Status
    events: int
    written_at: datetime


class SourceReply(StrEnum):
    """A source's reply to a request for an hour."""

    PROMISED = "promised"
    """It has the hour."""
    ABSENT = "absent"
    """It does not have the hour."""
    DOWN = "down"
    """It did not answer, or did not deliver what it promised."""


class SourceAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One source that was asked for an hour.

    Attributes:
        address: URL or path of its file.
        answer: Its reply.
        cause: Why it did not answer or could not be read; None if there was no error.
        bytes: Compressed bytes: as received if the file was read to its end, else as promised; None if unknown.
        etag: ETag of the file; None if unknown.
        sha256: Hex digest of the file: as received, else as in the sidecar manifest; None if unknown.
        promised_events: Documents announced by the sidecar manifest; None without one.
        documents: Documents found in it; None if it was not read to its end.
        events: Those of them that became events.
        taken: Whether the hour is stored from it.
        why: Why it was taken, or not.
    """

    address: str
    answer: SourceReply
    cause: str | None = None
    bytes: int | None = None
    etag: str | None = None
    sha256: str | None = None
    promised_events: int | None = None
    documents: int | None = None
    events: int | None = None
    taken: bool = False
    why: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The manifest of an hour.

    Attributes:
        version: Version of the manifest format.
        hour: The hour's name.
        status: Status of the hour.
        reason: Why it is not ``complete``.
        content: Content of the hour; None without a Parquet file.
        events_file: The Parquet file; None without one.
        started_at: When the last attempt started (UTC).
        finished_at: When it ended (UTC).
        attempts: Attempts at this hour so far, including this one.
        replaced: The previous version of the source file; None if the hour has only had one version.
        sources: The sources that were last asked for it, in the configured order.
        asked_at: When they were asked again after it was stored (UTC); None if they were not.
    """

    version: int = MANIFEST_VERSION
    hour: str
    status: Status
    reason: str | None = None
    content: Content | None = None
    events_file: FileFacts | None = None
    started_at: datetime
    finished_at: datetime
    attempts: int
    replaced: Replaced | None = None
    sources: list[SourceAnswer] = []
    asked_at: datetime | None = None

    @property
    def seconds(self) -> float:
        """Duration of the last attempt."""
        return (self.finished_at - self.started_at).total_seconds()


class _Versioned(msgspec.Struct, frozen=True):
    """The fields that all versions of a manifest have."""

    version: int


_NOT_JSON_OF_OURS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""msgspec raises the last two for a field name that is not UTF-8 and for too deep nesting."""


def replaced_by(before: Manifest | None, content: Content) -> Replaced | None:
    """Returns the previous version of the source file for a new manifest.

    If the source file did not change, the previous version does not change either.

    Args:
        before: The hour's previous manifest; None if there is none.
        content: The new content of the hour.
    """
    if before is None or before.content is None:
        return None
    source = before.content.source
    if source.sha256 == content.source.sha256:
        return before.replaced
    return Replaced(
        address=source.redirected_to or source.address,
        etag=source.etag,
        bytes=source.bytes,
        sha256=source.sha256,
        status=before.content.status,
        events=before.content.events,
        written_at=before.finished_at,
    )


_DECODER: Final = msgspec.json.Decoder(Manifest)
_VERSION_DECODER: Final = msgspec.json.Decoder(_Versioned)
_CONTENT_DECODER: Final = msgspec.json.Decoder(Content)


def encode_content(content: Content) -> bytes:
    """Encodes a content as compact JSON, the value of ``CONTENT_KEY``."""
    return msgspec.json.encode(content)


def decode_content(content: bytes) -> Content | None:
    """Decodes the result of ``encode_content``; returns None for anything else."""
    try:
        return _CONTENT_DECODER.decode(content)
    except _NOT_JSON_OF_OURS:
        return None


def is_of_later_version(content: bytes) -> bool:
    """Returns whether this is a manifest of a later version, which this program cannot read."""
    try:
        return _VERSION_DECODER.decode(content).version > MANIFEST_VERSION
    except _NOT_JSON_OF_OURS:
        return False


def encode(manifest: Manifest) -> bytes:
    """Encodes a manifest as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes, *, of: Hour) -> Manifest:
    """Decodes a manifest.

    Args:
        content: The file's bytes.
        of: The hour it must belong to.

    Raises:
        StoreError: If it is not a manifest, or it belongs to another hour or has a later version.
    """
    try:
        manifest = _DECODER.decode(content)
    except _NOT_JSON_OF_OURS as error:
        raise StoreError(
            f"cannot read the manifest of {of}: {error}",
            hint="run the hour again with --force to rewrite it",
        ) from error
    if not 1 <= manifest.version <= MANIFEST_VERSION or manifest.hour != str(of):
        raise StoreError(
            f"the manifest of {of} has hour {manifest.hour} and version {manifest.version}",
            hint=f"this program supports versions 1 to {MANIFEST_VERSION}; run the hour again with --force",
        )
    return manifest
