"""The interface of sources and the exceptions they raise.

A source makes exactly one attempt per call. Retries are handled in one place for all sources (``etl.archive.retry``);
a source only tells by its exceptions whether a retry can help.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Protocol, Self

from etl.archive.sidecar import SidecarManifest, parse_sidecar
from etl.errors import NotPublishedError, SourceUnreachableError
from etl.hours import Hour

_USER: Final = re.compile(r"(?<=://)[^/?#]*@")
SIDECAR_MAX_BYTES: Final = 1 << 20
"""Maximum size of a sidecar manifest (``*.manifest.json``); the mirror's have a few kilobytes."""


@dataclass(frozen=True, slots=True)
class Amount:
    """How much of an hour there is somewhere; None for what is not known.

    Attributes:
        events: Documents.
        bytes: Compressed bytes.
    """

    events: int | None
    bytes: int | None

    @property
    def is_known(self) -> bool:
        """Whether anything is known."""
        return self.events is not None or self.bytes is not None


@dataclass(frozen=True, slots=True)
class Promise:
    """What a source says that it has of an hour, before any of it is read.

    Attributes:
        bytes: Compressed bytes of the file; None if not said.
        etag: The source's name for this version of the file; None if not said.
        sidecar: The manifest beside the file; None if there is none or it was not asked for.
        sidecar_asked: Whether it was asked for.
    """

    bytes: int | None
    etag: str | None = None
    sidecar: SidecarManifest | None = None
    sidecar_asked: bool = False

    @property
    def amount(self) -> Amount:
        """How much it is."""
        return Amount(None if self.sidecar is None else self.sidecar.event_count, self.bytes)


class Body(Protocol):
    """A stream of one hour's file. It is a context manager that releases the connection.

    Attributes:
        etag: Version of the file as reported by the source, including quotes; None if there is none.
        last_modified: Modification time of this version, as an HTTP date; None if unknown.
        size: Size of the whole file in bytes, even if this body delivers only a part; None if unknown.
        start: Offset in the file of the first byte that this body delivers. It is 0 if the rest was requested but
            the source sends the whole file, because it does not support ranges or because the file changed.
        content_type: The media type; None if the source sends none.
        redirected_to: The final URL if the request was redirected, without credentials and query.
    """

    etag: str | None
    last_modified: str | None
    size: int | None
    start: int
    content_type: str | None
    redirected_to: str | None

    def read(self, n: int) -> bytes:
        """Reads 1 to ``n`` bytes as they arrive; returns ``b""`` at the end of the body.

        Raises:
            TransientSourceError: If the connection was lost.
        """

    def close(self) -> None:
        """Releases the connection or file and discards unread bytes."""

    def __enter__(self) -> Self:
        """Returns the body itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the body."""


class Source(Protocol):
    """A location that serves hours under the archive's file names.

    Every method except ``url`` raises ``TransientSourceError`` if a retry can help, and another
    ``SourceUnreachableError`` if it cannot.
    """

    @property
    def address(self) -> str:
        """The address as the user entered it, without a trailing slash and without credentials."""

    def url(self, hour: Hour) -> str:
        """Returns the address of one hour's file without credentials, safe to show and store."""

    def open(
        self,
        hour: Hour,
        *,
        start: int = 0,
        etag: str | None = None,
        last_modified: str | None = None,
        unless_etag: str | None = None,
    ) -> Body:
        """Opens the hour's file.

        Args:
            hour: The hour to open.
            start: Offset of the first byte requested. A source may ignore it; see ``Body.start``.
            etag: ETag of the version that ``start`` refers to. Another version is sent from its beginning.
            last_modified: Modification time of that version, used if there is no strong ETag.
            unless_etag: ETag of a version that should not be sent.

        Raises:
            HourNotFound: If the source answers that it does not have the hour.
            NotModified: If the file's ETag still is ``unless_etag``.
            SourceChangedError: If the rest of that version is no longer available.
        """

    def sidecar(self, hour: Hour) -> bytes | None:
        """Reads the hour's sidecar manifest (``*.manifest.json``); returns None if there is none."""

    def exists(self, hour: Hour) -> bool:
        """Returns whether the source has the hour, without downloading it."""

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:
        """Returns how much of the hour the source has, without downloading it; None if it does not have the hour.

        Args:
            hour: The hour to describe.
            timeout: Seconds to wait for a connection and for an answer; overrides the source's own timeouts.
        """


class Describing:
    """The half of ``Source.describe`` that is the same for all sources behind a network.

    The manifest beside an hour says how many events there are, and saves the question for the file. But most sources
    have none, so it is asked for first only as long as the last question for one found it.
    """

    _expects_sidecar = True

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:
        """Asks how much of the hour is there; see ``Source.describe``."""
        asked, sidecar = self._expects_sidecar, None
        if asked:
            with suppress(SourceUnreachableError):
                sidecar = parse_sidecar(self._sidecar(hour, timeout) or b"")
            if sidecar is not None and sidecar.event_count is not None:
                return Promise(sidecar.compressed_bytes, sidecar=sidecar, sidecar_asked=True)
            self._expects_sidecar = False
        promise = self._look(hour, timeout)
        return promise and replace(promise, sidecar=sidecar, sidecar_asked=asked)

    def _sidecar(self, hour: Hour, timeout: float | None) -> bytes | None:
        """Reads the manifest beside the hour; None when there is none."""
        raise NotImplementedError

    def _look(self, hour: Hour, timeout: float) -> Promise | None:
        """Looks at the hour's file without reading it; None when there is none."""
        raise NotImplementedError

    def sidecar(self, hour: Hour) -> bytes | None:
        """Reads the manifest beside the hour; see ``Source.sidecar``."""
        content = self._sidecar(hour, None)
        if content is not None:
            self._expects_sidecar = True
        return content


class HourNotFound(NotPublishedError):  # noqa: N818 -- a signal between two modules; it seldom reaches a person
    """The source answered that it does not have the hour (404, 410, no such file)."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} does not exist", hint="hours are published a few minutes after they end")
        self.url = url


class NotModified(Exception):  # noqa: N818 -- not an error
    """The caller already has the current version of the file."""


class SourceChangedError(SourceUnreachableError):
    """The file was replaced during the download. What was received is useless, but a new download may succeed."""


class TransientSourceError(SourceUnreachableError):
    """The attempt failed, but a retry may succeed.

    Attributes:
        url: The requested address.
        cause: Why it failed, as text.
        retry_after: Seconds the source asked to wait; None if it did not say.
        attempts: Number of attempts after which more are useless; None if only the policy limits them.
    """

    def __init__(self, url: str, cause: str, *, retry_after: float | None = None, attempts: int | None = None) -> None:
        super().__init__(f"{url}: {cause}")
        self.url = url
        self.cause = cause
        self.retry_after = retry_after
        self.attempts = attempts


class _Closeable(Protocol):
    def close(self) -> None: ...


class ClosingBody:
    """Mixin for ``Body`` classes: a context manager that calls ``close``."""

    redirected_to: str | None = None

    def __enter__(self) -> Self:
        """Returns the body itself."""
        return self

    def __exit__(
        self: _Closeable,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Closes the body."""
        self.close()


def file_name(hour: Hour) -> str:
    """Returns the archive's name for the hour's file."""
    return f"{hour}.json.gz"


def sidecar_name(hour: Hour) -> str:
    """Returns the mirror's name for the hour's sidecar manifest."""
    return f"{hour}.manifest.json"


def check_sidecar_size(url: str, size: int) -> None:
    """Checks that a sidecar manifest is not too large.

    Raises:
        SourceUnreachableError: If it has more than ``SIDECAR_MAX_BYTES``.
    """
    if size > SIDECAR_MAX_BYTES:
        raise SourceUnreachableError(
            f"{url} is larger than {SIDECAR_MAX_BYTES} bytes, the limit for a sidecar manifest"
        )


def is_html_type(content_type: str | None) -> bool:
    """Returns whether a Content-Type names an HTML page."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() in {
        "text/html",
        "application/xhtml+xml",
    }


def mask_credentials(url: str) -> str:
    """Replaces ``user:password`` in a URL with ``***``."""
    return _USER.sub("***@", url)
