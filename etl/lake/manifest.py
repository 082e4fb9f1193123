"""The manifest: all that anyone would ask of an hour later, in one small JSON file, written last."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.hours import Hour

MANIFEST_VERSION: Final = 2
"""Version 1 had neither ``replaced`` nor ``redirected_to``; it is read as if they were None."""

CONTENT_KEY: Final = b"gharchive.content"
"""Under this key the parquet file's own key-value section holds its ``Content``, as ``encode_content`` writes it."""


class Status(StrEnum):
    """What is known of an hour."""

    COMPLETE = "complete"
    """All of it is in the lake."""
    PARTIAL = "partial"
    """It is in the lake, but damage went above the warning line or the source broke off."""
    MISSING = "missing"
    """Every source says 404, and the hour is old enough for that to be final."""
    PENDING = "pending"
    """Not published yet, or 404 while young."""
    SUSPECT = "suspect"
    """It is in the lake, but its volume is far from its neighbours'."""
    FAILED = "failed"
    """The last attempt ended in an error; the reason says which."""

    @property
    def has_events(self) -> bool:
        """Whether an hour of this status has a parquet file."""
        return self in (Status.COMPLETE, Status.PARTIAL, Status.SUSPECT)


class SourceFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an hour came from, and what was received.

    Attributes:
        address: URL or path of the hour's file.
        etag: The source's own version of the file, to ask later whether it changed; None if it names none.
        last_modified: As the source says it.
        bytes: Compressed bytes received.
        sha256: Hex digest of exactly these bytes.
        sidecar: Whether a manifest published beside the hour (``*.manifest.json``) was there and agreed.
        interrupted: Whether the compressed stream broke off, so that more may exist than was read.
        redirected_to: The address that sent the file, when a redirect led there; None if ``address`` itself did.
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
    """One kind of damage met in an hour.

    Attributes:
        reason: Why the bytes could not be read as they stood (``etl.archive.documents.Reason``).
        count: How many runs of bytes.
        bytes: How many bytes in all.
    """

    reason: str
    count: int
    bytes: int


class FileFacts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A parquet file of the lake.

    Attributes:
        key: Relative key in the lake.
        bytes: Size.
        rows: Rows.
        sha256: Hex digest of the file.
    """

    key: str
    bytes: int
    rows: int
    sha256: str


class Content(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an hour holds. It depends on the source's bytes and the settings alone, never on the clock.

    It also stands in the parquet file's own key-value section, so that a file tells what it is without
    its manifest, and a manifest can be made again from its file.

    Attributes:
        hour: The hour's name.
        status: ``complete``, ``partial`` or ``suspect``.
        reason: Why it is not ``complete``; None when it is.
        era: ``A`` to ``D``, of the documents as they were found; several letters where an hour mixes them.
        source: Where it came from.
        documents: Documents met, readable or not: ``events + unreadable``.
        events: Rows of the parquet file.
        unreadable: Documents that are only in quarantine.
        repaired: Events that were kept although some of their bytes had to be repaired; those are in quarantine too.
        duplicates: Events that say the same as an earlier one of the hour by (id, type, created_at), or, where
            there is no id, by the whole record, key order and escapes aside. They are kept; the warehouse leaves them
            out by the same rule, and copies in other hours too.
        types: Events by type.
        first_created_at: Earliest ``created_at`` (UTC), None without events.
        last_created_at: Latest ``created_at`` (UTC), None without events.
        damage: What was met, by reason.
        quarantine_file: Where the exact bytes of the damage lie; None without damage.
        schema_version: Version of the nineteen columns.
        emails: The e-mail policy the events went through.
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
    """The version of the source's file that an hour held before.

    Attributes:
        address: Where it came from.
        etag: The source's own version of that file; None if it named none.
        bytes: Its compressed bytes.
        sha256: Hex digest of these.
        status: The hour's status then.
        events: The hour's events then.
        written_at: When it was stored (UTC).
    """

    address: str
    etag: str | None
    bytes: int
    sha256: str
    status: Status
    events: int
    written_at: datetime


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole manifest.

    Attributes:
        version: Version of this form.
        hour: The hour's name.
        status: What is known of the hour.
        reason: Why it is not ``complete``.
        content: What it holds; None without a parquet file.
        events_file: The parquet file; None without one.
        started_at: When the last attempt began (UTC).
        finished_at: When it ended (UTC).
        attempts: Attempts at this hour so far, this one included.
        replaced: The version of the source's file before this one; None if the hour has held one version only.
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

    @property
    def seconds(self) -> float:
        """How long the last attempt took."""
        return (self.finished_at - self.started_at).total_seconds()


class _Versioned(msgspec.Struct, frozen=True):
    """What every version of a manifest has."""

    version: int


_NOT_JSON_OF_OURS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""The library lets the last two through: a field's name that is no UTF-8, and what is nested too deeply."""


def replaced_by(before: Manifest | None, content: Content) -> Replaced | None:
    """Returns what an hour's manifest says of the version before this content.

    The same bytes of the source, stored again, are no new version: what was known of the one before stays.

    Args:
        before: The manifest that the hour had; None without one.
        content: What the hour holds now.
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
    """Writes what an hour holds as compact JSON, the value of ``CONTENT_KEY``."""
    return msgspec.json.encode(content)


def decode_content(content: bytes) -> Content | None:
    """Reads what ``encode_content`` wrote; None when it is something else."""
    try:
        return _CONTENT_DECODER.decode(content)
    except _NOT_JSON_OF_OURS:
        return None


def is_of_later_version(content: bytes) -> bool:
    """Whether this is a manifest of a version that only a newer program reads."""
    try:
        return _VERSION_DECODER.decode(content).version > MANIFEST_VERSION
    except _NOT_JSON_OF_OURS:
        return False


def encode(manifest: Manifest) -> bytes:
    """Writes a manifest as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(content: bytes, *, of: Hour) -> Manifest:
    """Reads a manifest.

    Args:
        content: The file's bytes.
        of: The hour it should be of.

    Raises:
        StoreError: If it is no manifest, or of another hour or a later version.
    """
    try:
        manifest = _DECODER.decode(content)
    except _NOT_JSON_OF_OURS as error:
        raise StoreError(
            f"the manifest of {of} cannot be read: {error}",
            hint="run the hour again with --force to write it anew",
        ) from error
    if not 1 <= manifest.version <= MANIFEST_VERSION or manifest.hour != str(of):
        raise StoreError(
            f"the manifest of {of} is of hour {manifest.hour} in version {manifest.version}",
            hint=f"this program reads versions 1 to {MANIFEST_VERSION}; run the hour again with --force",
        )
    return manifest
