"""What every kind of source must do, and the signals by which it says how the asking went.

A source makes exactly one attempt per call. Whether to try again, and when, is decided in one place for
all kinds of sources (``etl.archive.fetch``); a source only says whether trying again can help.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Final, Protocol, Self

from etl.archive.sidecar import Companion, parse_companion
from etl.errors import NotPublishedError, SourceUnreachableError
from etl.hours import Hour

_USER: Final = re.compile(r"(?<=://)[^/?#]*@")
COMPANION_MAX_BYTES: Final = 1 << 20
"""The largest ``*.manifest.json`` that is read; the mirror's are a few kilobytes."""


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
    sidecar: Companion | None = None
    sidecar_asked: bool = False

    @property
    def amount(self) -> Amount:
        """How much it is."""
        return Amount(None if self.sidecar is None else self.sidecar.event_count, self.bytes)


class Body(Protocol):
    """The bytes of one hour's file as they arrive; a context manager that frees the connection.

    Attributes:
        etag: The source's name for this version of the file, with its quotes; None if it gives none.
        last_modified: When this version was made, as an HTTP date; None if not said.
        size: Bytes of the whole file, however few of them this body delivers; None if not said.
        start: Position in the file of the first byte this body delivers. It is 0 when the rest was asked
            for and the source sends everything, because it cannot send parts or because the file changed.
        content_type: The media type as the source says it, None if it does not.
        redirected_to: The address that answered, when a redirect led to another one; without password and query.
    """

    etag: str | None
    last_modified: str | None
    size: int | None
    start: int
    content_type: str | None
    redirected_to: str | None

    def read(self, n: int) -> bytes:
        """Reads 1 to ``n`` bytes, as they come; ``b""`` at the end of the body.

        Raises:
            TransientSourceError: If the stream broke off.
        """

    def close(self) -> None:
        """Frees what the body holds; bytes not yet read are lost."""

    def __enter__(self) -> Self:
        """Returns the body itself."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the body."""


class Source(Protocol):
    """One place that has hours under the archive's names.

    Every method but ``url`` raises ``TransientSourceError`` when trying again can help and another
    ``SourceUnreachableError`` when it cannot.
    """

    @property
    def address(self) -> str:
        """What a person typed to name this place, without a slash at the end and without a password."""

    def url(self, hour: Hour) -> str:
        """The address of one hour's file, fit to be shown and stored: without a password."""

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
            hour: Which hour.
            start: The first byte wanted. A source may ignore it; ``Body.start`` tells.
            etag: The version that ``start`` belongs to; another version is sent from its beginning.
            last_modified: The same, where there is no strong etag.
            unless_etag: A version that is not wanted again.

        Raises:
            HourNotFound: If the source plainly says that it does not have the hour.
            NotModified: If the file still is the version ``unless_etag``.
            SourceChangedError: If the rest of that version can no longer be had.
        """

    def companion(self, hour: Hour) -> bytes | None:
        """Reads the ``*.manifest.json`` that some mirrors publish beside the hour; None when there is none."""

    def exists(self, hour: Hour) -> bool:
        """Asks whether the hour is there, without reading it."""

    def describe(self, hour: Hour, *, timeout: float) -> Promise | None:
        """Asks how much of the hour is there, without reading it; None if the source does not have it.

        Args:
            hour: Which hour.
            timeout: Seconds to wait for a connection and for an answer, in place of the source's own.
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
                sidecar = parse_companion(self._sidecar(hour, timeout) or b"")
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

    def companion(self, hour: Hour) -> bytes | None:
        """Reads the manifest beside the hour; see ``Source.companion``."""
        content = self._sidecar(hour, None)
        if content is not None:
            self._expects_sidecar = True
        return content


class HourNotFound(NotPublishedError):  # noqa: N818 -- a signal between two modules; it seldom reaches a person
    """The source answers, and says that it does not have the hour (404, 410, no such file)."""

    def __init__(self, url: str) -> None:
        super().__init__(f"{url} is not there", hint="an hour appears a few minutes after it is over, or never did")
        self.url = url


class NotModified(Exception):  # noqa: N818 -- not an error
    """The file still is the version the caller has."""


class SourceChangedError(SourceUnreachableError):
    """The file was replaced while it was read: what has arrived is useless, a new download may succeed."""


class TransientSourceError(SourceUnreachableError):
    """The attempt failed in a way that another one may not.

    Attributes:
        url: What was asked for.
        cause: Why it failed, in words.
        retry_after: Seconds the source asked to be left alone; None if it did not say.
        attempts: Tries after which more are useless; None where only the policy bounds them.
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
    """The half of ``Body`` that is the same for all: being a context manager that calls ``close``."""

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
    """The archive's name for the hour's file."""
    return f"{hour}.json.gz"


def companion_name(hour: Hour) -> str:
    """The mirror's name for the manifest beside it."""
    return f"{hour}.manifest.json"


def check_companion_size(url: str, size: int) -> None:
    """Refuses a companion that is too large to be one.

    Raises:
        SourceUnreachableError: If it has more than ``COMPANION_MAX_BYTES``.
    """
    if size > COMPANION_MAX_BYTES:
        raise SourceUnreachableError(f"{url} is larger than {COMPANION_MAX_BYTES} bytes, which no manifest is")


def is_html_type(content_type: str | None) -> bool:
    """Returns whether a Content-Type names an HTML page."""
    return content_type is not None and content_type.partition(";")[0].strip().lower() in {
        "text/html",
        "application/xhtml+xml",
    }


def mask_credentials(url: str) -> str:
    """Puts ``***`` in the place of ``user:password`` in a URL."""
    return _USER.sub("***@", url)
