"""Downloads an hour as a stream of exactly the bytes of one version of the file.

An interrupted download resumes where it stopped. The received bytes are checked against the announced length and
against the sidecar manifest that some mirrors publish. The gzip checksum is checked on decompression.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from types import TracebackType
from typing import Final, Self

import structlog

from etl.archive.retry import FetchPolicy, retrying
from etl.archive.sidecar import SidecarManifest, parse_sidecar
from etl.archive.source import (
    Body,
    HourNotFound,
    NotModified,
    Promise,
    Source,
    SourceChangedError,
    TransientSourceError,
    is_html_type,
)
from etl.archive.sources import source_at
from etl.errors import NotPublishedError, SourceUnreachableError
from etl.hours import FIRST_HOUR, Hour, newest_finished_hour

CHUNK_BYTES: Final = 1 << 16
_STRETCH_BYTES: Final = 1 << 16
_MAX_TRANSFER_FACTOR: Final = 4
"""Limit of all bytes transferred for a file, as a multiple of ``FetchPolicy.max_bytes``. It includes what a server
without range support sends again."""
_MAX_IDLE_BYTES: Final = 64 << 20
"""Maximum number of consecutive bytes that yield no text, for a file of unknown size. A damaged hour may yield no text
at all, but every known source sends the size of its files."""
_GZIP_MAGIC: Final = b"\x1f\x8b"

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def open_sources(addresses: Iterable[str], policy: FetchPolicy) -> tuple[Source, ...]:
    """Returns a source for each address, in the same order, with the policy's timeouts.

    Raises:
        UsageError: If an address is not that of a source.
        StoreError: If an address is a bucket and there are no credentials.
    """
    return tuple(
        source_at(address, connect_timeout=policy.connect_timeout, read_timeout=policy.read_timeout)
        for address in addresses
    )


def open_download(
    source: Source,
    hour: Hour,
    policy: FetchPolicy,
    *,
    unless_etag: str | None = None,
    promise: Promise | None = None,
) -> Download | None:
    """Starts downloading one hour: receives the first bytes and checks that they are not a web page.

    Args:
        source: The source to download from.
        hour: The hour to download.
        policy: Timeouts, retries and limits.
        unless_etag: ETag of the version the caller has; that version is not downloaded again.
        promise: What the source said of the hour before; a sidecar manifest in it is not requested again.

    Returns:
        The download, which the caller closes; None if the source's version still is ``unless_etag``.

    Raises:
        HourNotFound: If the source answers that it does not have the hour.
        SourceUnreachableError: If the source is down or does not send an hour.
    """
    download = Download(source, hour, policy, unless_etag=unless_etag, promise=promise)
    with ExitStack() as stack:
        stack.callback(download.close)
        try:
            download.begin()
        except NotModified:
            return None
        stack.pop_all()
    return download


class Download:
    """Download of one hour. Iterate over it once to get the bytes in chunks of at least 64 KiB (the last is shorter).

    Created by ``open_download``. It is a context manager that releases the connection.

    Attributes:
        address: URL or path of the file, without credentials.
        etag: Version of the file as reported by the source; None if there is none.
        last_modified: Modification time of this version, as an HTTP date; None if unknown.
        size: Size of the file in bytes; None if unknown.
        received: Bytes received so far, including those not yet yielded.
        attempts: Requests for the file so far.
        resumed: Number of these requests that resumed in the middle of the file.
        redirected_to: The final URL if the request was redirected; None otherwise.
        sidecar: The hour's sidecar manifest, once it was verified against the file at the end; None if there is none.
    """

    def __init__(
        self,
        source: Source,
        hour: Hour,
        policy: FetchPolicy,
        *,
        unless_etag: str | None = None,
        promise: Promise | None = None,
    ) -> None:
        self.address = source.url(hour)
        self.etag: str | None = None
        self.last_modified: str | None = None
        self.size: int | None = None
        self.received = 0
        self.attempts = 0
        self.resumed = 0
        self.redirected_to: str | None = None
        self.sidecar: SidecarManifest | None = None
        self._source = source
        self._hour = hour
        self._unless_etag = unless_etag
        self._promise = promise
        self._retrying = retrying(policy)
        self._max_bytes = policy.max_bytes
        self._transferred = 0
        self._text_at: int | None = None
        self._sha256 = hashlib.sha256()
        self._pending = bytearray()
        self._body: Body | None = None
        self._ended = False
        self._closed = threading.Event()

    @property
    def sha256(self) -> str:
        """Hex digest of the ``received`` bytes; of the whole file at the end."""
        return self._sha256.hexdigest()

    def begin(self) -> None:
        """Requests the file and reads its first bytes.

        Raises:
            HourNotFound: If the source answers that it does not have the hour.
            NotModified: If its version still is ``unless_etag``.
            SourceUnreachableError: If the source is down or does not send an hour.
        """
        self._fill(_STRETCH_BYTES)
        if not self._pending:
            raise SourceUnreachableError(f"{self.address} is empty")
        content_type = None if self._body is None else self._body.content_type
        if _is_html_page(self._pending, content_type):
            raise SourceUnreachableError(
                f"{self.address}: the server sent an HTML page instead of an hour",
                hint="a proxy or sign-in page may be in the way; open the address in a browser",
            )

    def __iter__(self) -> Iterator[bytes]:
        """Yields the file's bytes.

        Raises:
            SourceChangedError: If the file is replaced during the download; a new download may succeed.
            SourceUnreachableError: If all attempts failed or the file is not as announced. All bytes received
                until then have been yielded.
        """
        while not self._ended:
            try:
                self._fill(CHUNK_BYTES)
            except SourceUnreachableError:
                if self._pending:
                    yield self._take()
                raise
            if len(self._pending) >= CHUNK_BYTES:
                yield self._take()
        if self._pending:
            yield self._take()
        self._check()

    def with_progress_check(self, text: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the text decompressed from the bytes; lets a file of unknown size fail once it yields no more text."""
        self._text_at = 0
        for piece in text:
            if piece:
                self._text_at = self.received
            yield piece

    def close(self) -> None:
        """Releases the connection and stops waiting for bytes and retrying."""
        self._closed.set()
        self._disconnect()

    def __enter__(self) -> Self:
        """Returns the download itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the download."""
        self.close()

    def _disconnect(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _take(self) -> bytes:
        chunk = bytes(self._pending)
        self._pending.clear()
        return chunk

    def _fill(self, size: int) -> None:
        """Receives until ``size`` bytes are pending or the file ends; the count of attempts restarts every 64 KiB."""
        while not self._ended and len(self._pending) < size:
            self._retrying(self._receive_until, self.received + _STRETCH_BYTES)

    def _receive_until(self, position: int) -> None:
        """Receives up to a position in the file. If the connection is lost, the received bytes are kept."""
        while not self._ended and self.received < position:
            if self._closed.is_set():
                raise SourceUnreachableError(f"{self.address}: the download was cancelled")
            body = self._body or self._open()
            self._body = body
            try:
                piece = body.read(_STRETCH_BYTES)
                self._check_piece(piece)
            except TransientSourceError:
                self._disconnect()
                if self._closed.is_set():
                    continue
                raise
            self._sha256.update(piece)
            self._pending += piece
            self.received += len(piece)
            self._count(len(piece))
            self._ended = not piece

    def _count(self, size: int) -> None:
        """Counts received bytes, and fails if the file is too large or is sent again too often."""
        self._transferred += size
        if self.received > self._max_bytes:
            raise self._too_large(f"the file has more than {self._max_bytes:,} bytes")
        if self._transferred > _MAX_TRANSFER_FACTOR * self._max_bytes:
            raise self._too_large(f"the server sent {self._transferred:,} bytes, most of them repeatedly")
        if self.size is None and self._text_at is not None and self.received > self._text_at + _MAX_IDLE_BYTES:
            raise SourceUnreachableError(f"{self.address}: {_MAX_IDLE_BYTES:,} bytes in a row contain no text")

    def _too_large(self, what: str) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"{self.address}: {what}, too much for an hour",
            hint="if it is an hour, increase max_compressed_gib",
        )

    def _check_piece(self, piece: bytes) -> None:
        if not piece and self.size is not None and self.received < self.size:
            raise TransientSourceError(self.address, f"the body ended after {self.received} of {self.size} bytes")

    def _open(self) -> Body:
        self.attempts += 1
        if self.received == 0:
            body = self._source.open(self._hour, unless_etag=self._unless_etag)
            with ExitStack() as stack:
                stack.enter_context(body)
                self._check_first(body)
                stack.pop_all()
            return body
        with ExitStack() as stack:
            body = stack.enter_context(self._reopen())
            self._check_same(body)
            self._skip_to_position(body)
            stack.pop_all()
        self.resumed += 1
        return body

    def _check_first(self, body: Body) -> None:
        """Stores the file's properties from the first response; fails if it is not a whole file or too large."""
        self.etag, self.last_modified, self.size = body.etag, body.last_modified, body.size
        self.redirected_to = body.redirected_to
        if body.start != 0:
            raise SourceUnreachableError(
                f"{self.address}: requested the whole file, but the response starts at byte {body.start}"
            )
        if self.size is not None and self.size > self._max_bytes:
            raise self._too_large(f"the file has {self.size:,} bytes")

    def _reopen(self) -> Body:
        try:
            return self._source.open(self._hour, start=self.received, etag=self.etag, last_modified=self.last_modified)
        except HourNotFound as error:
            raise self._changed("no longer exists") from error

    def _check_same(self, body: Body) -> None:
        """Compares the file's properties in this response with those in the first one.

        Some servers support ranges but not If-Range (Alibaba's object store, which hosts the mirror, does not
        document it), so they may send the rest of another version with status 206.
        """
        if self.etag is not None and body.etag is not None:
            if _without_weak_prefix(self.etag) != _without_weak_prefix(body.etag):
                raise self._changed(f"was replaced during the download (ETag {self.etag}, now {body.etag})")
        elif self.last_modified is not None and body.last_modified not in {None, self.last_modified}:
            raise self._changed(
                f"was replaced during the download (modified {self.last_modified}, now {body.last_modified})"
            )
        if self.size is not None and body.size is not None and self.size != body.size:
            raise self._changed(f"was replaced during the download ({self.size} bytes, now {body.size})")

    def _skip_to_position(self, body: Body) -> None:
        """Skips the bytes received before, if the source sends the file from its beginning.

        They are compared with those bytes, because not every server sends an ETag.
        """
        if body.start == self.received:
            return
        if body.start != 0:
            raise SourceUnreachableError(
                f"{self.address}: requested the rest from byte {self.received}, "
                f"but the response starts at byte {body.start}"
            )
        digest, left = hashlib.sha256(), self.received
        while left:
            piece = body.read(min(left, _STRETCH_BYTES))
            if not piece:
                raise self._changed(f"was replaced during the download (it now ends before byte {self.received})")
            digest.update(piece)
            self._count(len(piece))
            left -= len(piece)
        if digest.digest() != self._sha256.digest():
            raise self._changed("was replaced during the download (its first bytes differ)")

    def _changed(self, what: str) -> SourceChangedError:
        return SourceChangedError(f"{self.address} {what}", hint="run the hour again")

    def _check(self) -> None:
        """Verifies the received file against its announced length and its sidecar manifest."""
        self.close()
        if self.size is not None and self.received != self.size:
            raise SourceUnreachableError(f"{self.address}: received {self.received} of {self.size} bytes")
        if self._promise is not None and self._promise.sidecar_asked:
            sidecar = self._promise.sidecar
            if sidecar is None or self._contradiction(sidecar) is None:
                self.sidecar = sidecar
                return
            # It was read before the file. Both may have been replaced since.
        sidecar = self._fetch_sidecar()
        if sidecar is not None and (error := self._contradiction(sidecar)) is not None:
            raise error
        self.sidecar = sidecar

    def _contradiction(self, sidecar: SidecarManifest) -> SourceUnreachableError | None:
        """Returns the error if the received file is not the one that a sidecar manifest describes."""
        if sidecar.compressed_bytes not in {None, self.received}:
            return self._mismatch(f"received {self.received} bytes", f"{sidecar.compressed_bytes}")
        if sidecar.sha256 not in {None, self.sha256}:
            return self._mismatch(f"received SHA-256 {self.sha256}", f"{sidecar.sha256}")
        return None

    def _mismatch(self, received: str, announced: str) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"{self.address}: {received}, but its sidecar manifest says {announced}",
            hint="the mirror may be replacing the hour right now; try again later, or use another --source",
        )

    def _fetch_sidecar(self) -> SidecarManifest | None:
        """Returns the hour's sidecar manifest; None if there is none or it cannot be read.

        An unreadable sidecar manifest does not invalidate a complete download: it is logged, and the lake's manifest
        states that the hour was not verified against one.
        """
        try:
            content = self._retrying(self._source.sidecar, self._hour)
        except SourceUnreachableError as error:
            _log.warning("cannot read sidecar manifest", url=self.address, cause=error.message)
            return None
        if content is None:
            return None
        sidecar = parse_sidecar(content)
        if sidecar is None:
            _log.warning("sidecar manifest has an unknown format", url=self.address, bytes=len(content))
        return sidecar


def newest_published(
    sources: Sequence[Source], policy: FetchPolicy, *, now: datetime | None = None, look_back: int = 72
) -> Hour:
    """Returns the newest hour that any source has; never the current hour.

    Args:
        sources: The sources to ask, in order.
        policy: Timeouts and retries. A source that failed is not asked for older hours.
        now: The current time (aware); None for that of the system clock.
        look_back: Number of hours to look for, newest first.

    Raises:
        NotPublishedError: If every source answers and none has one of these hours.
        SourceUnreachableError: If none has one and at least one source failed.
    """
    reachable, down = list(sources), list[SourceUnreachableError]()
    hour = newest = newest_finished_hour(now)
    for back in range(look_back):
        if not reachable or newest.start < (FIRST_HOUR + back).start:
            break
        hour = newest - back
        for source in tuple(reachable):
            try:
                if retrying(policy)(source.exists, hour):
                    return hour
            except SourceUnreachableError as error:
                _log.warning("skipping unreachable source", source=source.address, cause=error.message)
                down.append(error)
                reachable.remove(source)
    if down:
        raise SourceUnreachableError("; ".join(error.message for error in down), hint=down[0].hint)
    raise NotPublishedError(
        f"no source has an hour from {hour} to {newest}",
        hint="hours are published a few minutes after they end; check this machine's clock",
    )


def _is_html_page(first: bytes | bytearray, content_type: str | None) -> bool:
    """Returns whether the first bytes are an HTML or XML page; an hour with a damaged gzip header is not."""
    return not first.startswith(_GZIP_MAGIC) and (is_html_type(content_type) or first.lstrip().startswith(b"<"))


def _without_weak_prefix(etag: str) -> str:
    """Removes the prefix of a weak ETag, which a cache may add or remove."""
    return etag.removeprefix("W/")
