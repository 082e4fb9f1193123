"""A Google Cloud Storage bucket as a source."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final

from typing_extensions import override

from etl.archive.source import (
    Body,
    ClosingBody,
    Describing,
    HourNotFound,
    NotModified,
    Promise,
    SourceChangedError,
    TransientSourceError,
    check_sidecar_size,
    file_name,
    sidecar_name,
)
from etl.errors import SourceUnreachableError
from etl.hours import Hour
from etl.storage import gcs

if TYPE_CHECKING:
    from google.cloud.storage import Blob, Bucket

_WINDOW: Final = 8 << 20
"""Bytes of one range request: large enough to hide its latency, small enough for memory."""


class GcsSource(Describing):
    """Hours as objects under ``gs://bucket/prefix``.

    The version of an object is its generation. Every range request is pinned to it, so a replaced object is detected
    even if its size is the same.

    Args:
        address: ``gs://bucket`` or ``gs://bucket/prefix``.
        timeout: Seconds to wait for each response.

    Raises:
        UsageError: If the address has no bucket, or the client library is not installed.
        StoreError: If there are no usable credentials.
    """

    def __init__(self, address: str, *, timeout: float) -> None:
        bucket, prefix = gcs.split(address)
        self.address: Final = address
        self._prefix = f"{prefix}/" if prefix else ""
        self._bucket: Bucket = gcs.client().bucket(bucket)
        self._timeout = timeout

    def url(self, hour: Hour) -> str:
        """Returns the ``gs://`` address of the hour's file."""
        return f"{self.address}/{file_name(hour)}"

    def open(
        self,
        hour: Hour,
        *,
        start: int = 0,
        etag: str | None = None,  # noqa: ARG002 -- the caller compares the version it gets
        last_modified: str | None = None,  # noqa: ARG002
        unless_etag: str | None = None,
    ) -> Body:
        """Looks up the object; its bytes are requested as they are read. See ``Source.open``."""
        blob = self._blob(file_name(hour))
        if blob is None:
            raise HourNotFound(self.url(hour))
        body = GcsBody(blob, self.url(hour), start, self._timeout)
        if unless_etag is not None and body.etag == unless_etag:
            raise NotModified
        return body

    @override
    def _sidecar(self, hour: Hour, timeout: float | None) -> bytes | None:
        name = sidecar_name(hour)
        blob = self._blob(name, timeout)
        if blob is None:
            return None
        url = f"{self.address}/{name}"
        check_sidecar_size(url, blob.size)
        seconds = self._timeout if timeout is None else timeout
        with _translated_errors(url, seconds):
            content: bytes = blob.download_as_bytes(retry=None, timeout=seconds)
        return content

    @override
    def _look(self, hour: Hour, timeout: float) -> Promise | None:
        blob = self._blob(file_name(hour), timeout)
        return None if blob is None else Promise(blob.size, str(blob.generation))

    def exists(self, hour: Hour) -> bool:
        """Returns whether the hour's object exists."""
        return self._blob(file_name(hour)) is not None

    def _blob(self, name: str, timeout: float | None = None) -> Blob | None:
        seconds = self._timeout if timeout is None else timeout
        with _translated_errors(f"{self.address}/{name}", seconds):
            return self._bucket.get_blob(self._prefix + name, retry=None, timeout=seconds)


class GcsBody(ClosingBody):
    """Body that reads one generation of an object with range requests."""

    def __init__(self, blob: Blob, url: str, start: int, timeout: float) -> None:
        self.etag: str | None = str(blob.generation)
        self.last_modified: str | None = format_datetime(blob.updated, usegmt=True)
        self.content_type: str | None = blob.content_type
        self.size: int | None = blob.size
        self.start = start
        self._blob = blob
        self._url = url
        self._end: int = blob.size
        self._next = start
        self._window = memoryview(b"")
        self._timeout = timeout

    def read(self, n: int) -> bytes:
        """Reads up to ``n`` bytes; see ``Body.read``."""
        if not self._window and self._next < self._end:
            self._window = memoryview(self._download())
            self._next += len(self._window)
        piece, self._window = bytes(self._window[:n]), self._window[n:]
        return piece

    def close(self) -> None:
        """Discards the buffered bytes."""
        self._window = memoryview(b"")
        self._next = self._end

    def _download(self) -> bytes:
        with _translated_errors(self._url, self._timeout):
            content: bytes = self._blob.download_as_bytes(
                start=self._next,
                end=min(self._next + _WINDOW, self._end) - 1,  # inclusive
                if_generation_match=self._blob.generation,
                raw_download=True,  # otherwise an object with Content-Encoding: gzip is decompressed
                checksum=None,  # a range has none
                retry=None,
                timeout=self._timeout,
            )
        return content


@contextmanager
def _translated_errors(url: str, timeout: float) -> Iterator[None]:
    """Translates the exceptions of the client library, which ``gcs.client`` has imported before."""
    import requests  # noqa: PLC0415 -- only needed here
    from google.api_core import exceptions  # noqa: PLC0415 -- Google's libraries are optional
    from google.auth.exceptions import GoogleAuthError, TransportError  # noqa: PLC0415
    from google.cloud.storage.exceptions import DataCorruption, InvalidResponse  # noqa: PLC0415

    try:
        yield
    except exceptions.GoogleAPICallError as error:
        raise _error_for_status(url, int(error.code or 0)) from error
    except InvalidResponse as error:
        raise _error_for_status(url, int(error.response.status_code)) from error
    except (requests.Timeout, exceptions.RetryError) as error:
        raise TransientSourceError(url, f"timed out after {timeout:g} s") from error
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError, TransportError) as error:
        raise TransientSourceError(url, "connection failed") from error
    except DataCorruption as error:
        raise TransientSourceError(url, "the received data does not match its checksum") from error
    except GoogleAuthError as error:
        raise SourceUnreachableError(f"{url}: the credentials were rejected", hint=gcs.LOGIN) from error


def _error_for_status(url: str, status: int) -> SourceUnreachableError:
    # 404 means that the object was deleted after the lookup; the lookup itself returns None for a missing object.
    if status in {404, 412, 416}:
        return SourceChangedError(f"{url} was replaced during the download (HTTP {status})")
    if status in {408, 429} or status >= 500:  # noqa: PLR2004 -- HTTP status codes
        return TransientSourceError(url, f"HTTP {status}")
    hint = "grant the account roles/storage.objectViewer on the bucket" if status in {401, 403} else None
    return SourceUnreachableError(f"{url}: HTTP {status}", hint=hint)
