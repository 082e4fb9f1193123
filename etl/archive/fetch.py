"""Downloading an hour: a stream of exactly the bytes of one version of the file, whatever the wire does.

A stream that breaks off is taken up again where it stopped. What arrives is checked for length, and
against the manifest that some mirrors publish beside the hour; the gzip's own checksum is checked by the
one who inflates it.
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
from etl.archive.sidecar import Companion, parse_companion
from etl.archive.source import (
    Body,
    HourNotFound,
    NotModified,
    Source,
    SourceChangedError,
    TransientSourceError,
    is_html_type,
)
from etl.archive.sources import source_at
from etl.errors import NotPublishedError, SourceUnreachableError
from etl.hours import FIRST_HOUR, Hour, newest_finished_hour

__all__ = [
    "Companion",
    "Download",
    "FetchPolicy",
    "HourNotFound",
    "SourceChangedError",
    "newest_published",
    "open_download",
    "open_sources",
]

CHUNK_BYTES: Final = 1 << 16
_STRETCH_BYTES: Final = 1 << 16
_MOST_TRANSFERS: Final = 4
"""So many times ``FetchPolicy.max_bytes`` may come, counting what a server without ranges sends again."""
_MOST_IDLE_BYTES: Final = 64 << 20
"""Most bytes without any text in them, of a file whose size the source does not say. A damaged hour, which may lack
text from its first byte to its last, comes with a size from every source that is known."""
_GZIP_MAGIC: Final = b"\x1f\x8b"

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def open_sources(addresses: Iterable[str], policy: FetchPolicy) -> tuple[Source, ...]:
    """Makes sources of addresses, in their order, with the policy's timeouts.

    Raises:
        UsageError: If an address cannot be a source.
        StoreError: If a bucket is named and there are no credentials.
    """
    return tuple(
        source_at(address, connect_timeout=policy.connect_timeout, read_timeout=policy.read_timeout)
        for address in addresses
    )


def open_download(
    source: Source, hour: Hour, policy: FetchPolicy, *, unless_etag: str | None = None
) -> Download | None:
    """Opens the download of one hour; its first bytes have arrived and look like an hour.

    Args:
        source: Where from.
        hour: Which hour.
        policy: How patient to be.
        unless_etag: The version the caller has; that one is not downloaded again.

    Returns:
        The download, to be closed by the caller; None if the source still has ``unless_etag``.

    Raises:
        HourNotFound: If the source says that it does not have the hour.
        SourceUnreachableError: If it is down, or what it sends is no hour.
    """
    download = Download(source, hour, policy, unless_etag=unless_etag)
    with ExitStack() as stack:
        stack.callback(download.close)
        try:
            download.begin()
        except NotModified:
            return None
        stack.pop_all()
    return download


class Download:
    """One hour on its way here: iterate it once for its bytes, in chunks of about 1 MiB.

    Made by ``open_download``; a context manager that frees the connection.

    Attributes:
        address: URL or path of the file, without a password.
        etag: The source's name for this version of the file; None if it gives none.
        last_modified: When this version was made, as an HTTP date; None if not said.
        size: Bytes of the file; None if not said.
        received: Bytes that have arrived so far, including those not handed on yet.
        attempts: Requests for the file so far.
        resumed: How many of them went on in the middle of the file.
        redirected_to: The address that sent the file, when a redirect led to another one; None if none did.
        companion: What the mirror's manifest says of the hour, checked against what arrived; known at the
            end, None when there is none.
    """

    def __init__(self, source: Source, hour: Hour, policy: FetchPolicy, *, unless_etag: str | None = None) -> None:
        self.address = source.url(hour)
        self.etag: str | None = None
        self.last_modified: str | None = None
        self.size: int | None = None
        self.received = 0
        self.attempts = 0
        self.resumed = 0
        self.redirected_to: str | None = None
        self.companion: Companion | None = None
        self._source = source
        self._hour = hour
        self._unless_etag = unless_etag
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
        """Hex digest of the ``received`` bytes; at the end, of the file."""
        return self._sha256.hexdigest()

    def begin(self) -> None:
        """Requests the file and reads its first bytes.

        Raises:
            HourNotFound: If the source says that it does not have the hour.
            NotModified: If it still has the version that is not wanted.
            SourceUnreachableError: If it is down, or what it sends is no hour.
        """
        self._fill(_STRETCH_BYTES)
        if not self._pending:
            raise SourceUnreachableError(f"{self.address} is empty")
        content_type = None if self._body is None else self._body.content_type
        if _is_page(self._pending, content_type):
            raise SourceUnreachableError(
                f"{self.address}: the server sends an HTML page instead of an hour",
                hint="a proxy or a sign-in page may stand between; open the address in a browser",
            )

    def __iter__(self) -> Iterator[bytes]:
        """Yields the file's bytes.

        Raises:
            SourceChangedError: If the file is replaced while it is read; a new download may succeed.
            SourceUnreachableError: If the source is given up, or what arrived is not what was announced.
                Everything that had arrived was yielded before.
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

    def watching(self, text: Iterable[bytes]) -> Iterator[bytes]:
        """Yields what is inflated from the bytes; a file of unknown size is given up when it yields no more text."""
        self._text_at = 0
        for piece in text:
            if piece:
                self._text_at = self.received
            yield piece

    def close(self) -> None:
        """Frees the connection; bytes that have not arrived are not waited for, nor asked for again."""
        self._closed.set()
        self._hang_up()

    def __enter__(self) -> Self:
        """Returns the download itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes the download."""
        self.close()

    def _hang_up(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.close()

    def _take(self) -> bytes:
        chunk = bytes(self._pending)
        self._pending.clear()
        return chunk

    def _fill(self, size: int) -> None:
        """Lets bytes arrive until ``size`` are pending or the file has ended; each stretch has its own tries."""
        while not self._ended and len(self._pending) < size:
            self._retrying(self._receive_until, self.received + _STRETCH_BYTES)

    def _receive_until(self, position: int) -> None:
        """Receives up to a position in the file. On a break all that has arrived is kept."""
        while not self._ended and self.received < position:
            if self._closed.is_set():
                raise SourceUnreachableError(f"{self.address}: the download was given up")
            body = self._body or self._open()
            self._body = body
            try:
                piece = body.read(_STRETCH_BYTES)
                self._check_piece(piece)
            except TransientSourceError:
                self._hang_up()
                if self._closed.is_set():
                    continue
                raise
            self._sha256.update(piece)
            self._pending += piece
            self.received += len(piece)
            self._count(len(piece))
            self._ended = not piece

    def _count(self, size: int) -> None:
        """Counts bytes that came, and refuses a file that is too large or comes again too often."""
        self._transferred += size
        if self.received > self._max_bytes:
            raise self._too_large(f"sends more than {self._max_bytes:,} bytes")
        if self._transferred > _MOST_TRANSFERS * self._max_bytes:
            raise self._too_large(f"sent {self._transferred:,} bytes, most of them again and again")
        if self.size is None and self._text_at is not None and self.received > self._text_at + _MOST_IDLE_BYTES:
            raise SourceUnreachableError(f"{self.address}: it sent {_MOST_IDLE_BYTES:,} bytes that hold nothing")

    def _too_large(self, how: str) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"{self.address}: it {how}, which no hour has",
            hint="if it really is an hour, set max_compressed_gib higher",
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
        """Notes what the first answer says of the file, and refuses one that is none of a whole hour."""
        self.etag, self.last_modified, self.size = body.etag, body.last_modified, body.size
        self.redirected_to = body.redirected_to
        if body.start != 0:
            raise SourceUnreachableError(f"{self.address}: asked for the file, got it from byte {body.start}")
        if self.size is not None and self.size > self._max_bytes:
            raise self._too_large(f"announces {self.size:,} bytes")

    def _reopen(self) -> Body:
        try:
            return self._source.open(self._hour, start=self.received, etag=self.etag, last_modified=self.last_modified)
        except HourNotFound as error:
            raise self._changed("is not there any more") from error

    def _check_same(self, body: Body) -> None:
        """Compares what the source says of the file now with what it said at first.

        Some servers know ranges but not If-Range (Alibaba's object store, where the mirror lies, documents
        none), so the rest of another version can come under status 206.
        """
        if self.etag is not None and body.etag is not None:
            if _opaque(self.etag) != _opaque(body.etag):
                raise self._changed(f"was replaced while it was read (etag {self.etag}, now {body.etag})")
        elif self.last_modified is not None and body.last_modified not in {None, self.last_modified}:
            raise self._changed(f"was replaced while it was read (of {self.last_modified}, now {body.last_modified})")
        if self.size is not None and body.size is not None and self.size != body.size:
            raise self._changed(f"changed while it was read ({self.size} bytes, now {body.size})")

    def _skip_to_position(self, body: Body) -> None:
        """Passes over what has arrived before, where the source begins again at 0.

        It must be the same bytes: that is compared, as not every server names versions.
        """
        if body.start == self.received:
            return
        if body.start != 0:
            raise SourceUnreachableError(
                f"{self.address}: asked for the rest from byte {self.received}, got it from byte {body.start}"
            )
        digest, left = hashlib.sha256(), self.received
        while left:
            piece = body.read(min(left, _STRETCH_BYTES))
            if not piece:
                raise self._changed(f"was replaced while it was read (ends before byte {self.received} now)")
            digest.update(piece)
            self._count(len(piece))
            left -= len(piece)
        if digest.digest() != self._sha256.digest():
            raise self._changed("was replaced while it was read (it begins with other bytes now)")

    def _changed(self, how: str) -> SourceChangedError:
        return SourceChangedError(f"{self.address} {how}", hint="run the hour again")

    def _check(self) -> None:
        """Compares what has arrived with what was announced."""
        self.close()
        if self.size is not None and self.received != self.size:
            raise SourceUnreachableError(f"{self.address}: received {self.received} bytes, announced were {self.size}")
        companion = self._fetch_companion()
        if companion is None:
            return
        if companion.compressed_bytes not in {None, self.received}:
            raise self._disagree(f"received {self.received} bytes", f"{companion.compressed_bytes}")
        if companion.sha256 not in {None, self.sha256}:
            raise self._disagree(f"received SHA-256 {self.sha256}", f"{companion.sha256}")
        self.companion = companion

    def _disagree(self, received: str, announced: str) -> SourceUnreachableError:
        return SourceUnreachableError(
            f"{self.address}: {received}, the manifest beside it says {announced}",
            hint="the mirror may be in the middle of replacing the hour; try again later, or name another source",
        )

    def _fetch_companion(self) -> Companion | None:
        """Reads the manifest beside the hour.

        One that cannot be had is no reason to throw away an hour that arrived whole: it is logged, and the
        lake's manifest says that there was none to agree with.
        """
        try:
            content = self._retrying(self._source.companion, self._hour)
        except SourceUnreachableError as error:
            _log.warning("the manifest beside an hour cannot be read", url=self.address, cause=error.message)
            return None
        if content is None:
            return None
        companion = parse_companion(content)
        if companion is None:
            _log.warning("the manifest beside an hour is not understood", url=self.address, bytes=len(content))
        return companion


def newest_published(
    sources: Sequence[Source], policy: FetchPolicy, *, now: datetime | None = None, look_back: int = 72
) -> Hour:
    """Finds the newest hour that any source has; never the hour that is running.

    Args:
        sources: Whom to ask, in this order.
        policy: How patient to be. A source that is given up once is not asked for older hours.
        now: An aware instant; the clock's when None.
        look_back: How many hours to ask for, the newest first.

    Raises:
        NotPublishedError: If every source answers and none has one of these hours.
        SourceUnreachableError: If none has one and at least one source could not be asked.
    """
    asking, down = list(sources), list[SourceUnreachableError]()
    hour = newest = newest_finished_hour(now)
    for back in range(look_back):
        if not asking or newest.start < (FIRST_HOUR + back).start:
            break
        hour = newest - back
        for source in tuple(asking):
            try:
                if retrying(policy)(source.exists, hour):
                    return hour
            except SourceUnreachableError as error:
                _log.warning("a source is left out", source=source.address, cause=error.message)
                down.append(error)
                asking.remove(source)
    if down:
        raise SourceUnreachableError("; ".join(error.message for error in down), hint=down[0].hint)
    raise NotPublishedError(
        f"no source has an hour from {hour} to {newest}",
        hint="the archive publishes an hour some minutes after it is over; is the clock right?",
    )


def _is_page(first: bytes | bytearray, content_type: str | None) -> bool:
    """Tells an HTML or XML page from an hour; an hour with a damaged gzip header is no page."""
    return not first.startswith(_GZIP_MAGIC) and (is_html_type(content_type) or first.lstrip().startswith(b"<"))


def _opaque(etag: str) -> str:
    """Leaves out the mark of a weak etag, which a cache on the way may add or take off."""
    return etag.removeprefix("W/")
