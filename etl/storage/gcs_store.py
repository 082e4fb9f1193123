"""A store in a Google Cloud Storage bucket.

An upload becomes visible when its last request is completed; until then it is an invisible session that Google
eventually discards. The last request has the generation that the object must still have, so the second of two
concurrent writers is rejected. A download is bound to the generation it started with.
"""

from __future__ import annotations

import builtins
import io
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from typing_extensions import override

from etl.errors import ConflictError, StoreError
from etl.storage import gcs
from etl.storage.lease import LOCKS, leased
from etl.storage.store import ABSENT, ObjectInfo, checked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer
    from google.cloud.storage import Blob
    from google.cloud.storage.fileio import BlobWriter

_UPLOAD_CHUNK_BYTES: Final = 8 << 20
"""Buffer size of an upload; each chunk is one request, which is retried on its own."""
_READ_AHEAD_BYTES: Final = 1 << 20
_BATCH_KEYS: Final = 10_000
_MAX_LISTINGS: Final = 8
_RETRY_TIMEOUT_SECONDS: Final = 120.0
_CONTENT_TYPES: Final = {"parquet": "application/vnd.apache.parquet", "json": "application/json"}


class GcsStore:
    """A ``Store`` under a prefix of a bucket.

    Args:
        bucket: Name of the bucket, which must exist.
        prefix: Prefix of all keys, without leading and trailing slashes; may be empty.
        retry_timeout: Seconds during which a request is retried if Google cannot be reached or asks to wait.

    Raises:
        UsageError: If google-cloud-storage is not installed.
        StoreError: If there are no credentials.
    """

    def __init__(self, bucket: str, prefix: str = "", *, retry_timeout: float = _RETRY_TIMEOUT_SECONDS) -> None:
        self._client = gcs.client()
        self._bucket = self._client.bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._retry = _retry(retry_timeout)
        self._bucket_exists = False

    @property
    def address(self) -> str:
        """``gs://bucket/prefix``."""
        return f"{gcs.SCHEME}{self._bucket.name}/{self._prefix}".rstrip("/")

    def url(self, key: str) -> str:
        """``gs://bucket/prefix/key``."""
        return f"{self.address}/{checked(key)}"

    def stat(self, key: str) -> ObjectInfo | None:
        """Returns the metadata of an object; None if it does not exist."""
        blob = self._look(key)
        return None if blob is None else _info(key, blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the objects whose key starts with ``prefix``, in key order, with one request per page."""
        folder = prefix.rpartition("/")[0]
        if folder:
            checked(folder)
        return self._pages(prefix)

    def folders(self, folder: str) -> frozenset[str]:
        """Returns the names of the direct subfolders, with one request per thousand."""
        checked(folder)
        with gcs.explained(f"{self.address}/{folder}"):
            listing = self._client.list_blobs(
                self._bucket,
                prefix=f"{self._prefix}{folder}/",
                delimiter="/",
                fields="prefixes,nextPageToken",
                retry=self._retry,
            )
            for _ in listing:
                pass  # prefixes are collected while the pages are read
            return frozenset(prefix.rstrip("/").rpartition("/")[2] for prefix in listing.prefixes)

    def generations(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns the generation of each of these objects that exists, by key, with one request per thousand."""
        ordered = sorted(keys)
        batches = [ordered[first : first + _BATCH_KEYS] for first in range(0, len(ordered), _BATCH_KEYS)]
        with ThreadPoolExecutor(_MAX_LISTINGS) as pool:
            return {key: generation for found in pool.map(self._list_batch, batches) for key, generation in found}

    def read(self, key: str) -> bytes | None:
        """Returns the content of a small object, verified by its checksum; None if it does not exist."""
        try:
            with gcs.explained(self.url(key), absent=_AbsentError):
                content: bytes = self._blob(key).download_as_bytes(retry=self._retry)
        except _AbsentError:
            self._require_bucket()
            return None
        return content

    def open(self, key: str) -> BinaryIO:
        """Opens an object as a seekable stream. Reads fail if the object is replaced meanwhile."""
        found = self._look(key)
        if found is None:
            raise StoreError(f"{self.url(key)} does not exist", hint="run `python etl status` to list the lake's hours")
        # A blob from a lookup is downloaded by the server's link, which need not have the generation.
        blob = self._bucket.blob(found.name, generation=found.generation)
        return io.BufferedReader(_Download(blob, found.size, self.url(key), self._retry), _READ_AHEAD_BYTES)

    @contextmanager
    def writer(self, key: str, *, if_generation: str | None = None) -> Iterator[BinaryIO]:
        """Streams a new object, which becomes visible when the block ends without an exception."""
        upload = _Upload(self._start(key, if_generation), self.url(key))
        try:
            yield cast("BinaryIO", upload)
        except BaseException:
            upload.abandon()
            raise
        upload.finish()

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo:
        """Writes a small object in one request, under the same rules as ``writer``; returns its metadata."""
        blob = self._blob(key)
        with gcs.explained(self.url(key)):
            blob.upload_from_string(
                content,
                content_type=_content_type(key),
                if_generation_match=_number(if_generation),
                checksum="crc32c",
                retry=self._retry,
            )
        return _info(key, blob)

    def take(self, key: str, path: Path) -> ObjectInfo:
        """Uploads a file and removes it."""
        with path.open("rb") as file, self.writer(key) as stream:
            shutil.copyfileobj(file, stream, _READ_AHEAD_BYTES)
        path.unlink()
        info = self.stat(key)
        if info is None:
            raise StoreError(f"{self.url(key)} was removed right after it was written")
        return info

    def copy(self, source: str, key: str) -> ObjectInfo:
        """Copies an object within the bucket atomically, without downloading it."""
        blob = self._blob(key)
        with gcs.explained(self.url(source)):
            token = None
            while True:
                # A large object may take several requests; the copy appears with the last one.
                token, _, _ = blob.rewrite(self._blob(source), token=token, retry=self._retry)
                if token is None:
                    break
        return _info(key, blob)

    def delete(self, key: str, *, if_generation: str | None = None) -> None:
        """Deletes an object, if it exists."""
        try:
            with gcs.explained(self.url(key), absent=_AbsentError):
                self._blob(key).delete(if_generation_match=_number(if_generation), retry=self._retry)
        except _AbsentError:
            self._require_bucket()

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """Returns nothing: unfinished uploads cannot be listed, and Google discards them within a week."""
        return []

    def sweep(self) -> builtins.list[ObjectInfo]:
        """Does nothing; see ``leftovers``."""
        return []

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Locks a name with a lease during the block; yields False immediately if another living owner holds it."""
        return leased(self, key)

    def _blob(self, key: str) -> Blob:
        return self._bucket.blob(f"{self._prefix}{checked(key)}")

    def _look(self, key: str) -> Blob | None:
        with gcs.explained(self.url(key)):
            blob = self._bucket.get_blob(f"{self._prefix}{key}", retry=self._retry)
        if blob is None:
            self._require_bucket()
        return blob

    def _require_bucket(self) -> None:
        """Fails if the bucket does not exist: Google answers 404 for that too, but it is not an empty lake."""
        if self._bucket_exists:
            return
        with gcs.explained(f"{gcs.SCHEME}{self._bucket.name}"):
            # Readers of the lake may list objects, but may not get the bucket's metadata.
            next(iter(self._client.list_blobs(self._bucket, max_results=1, retry=self._retry)), None)
        self._bucket_exists = True

    def _pages(self, prefix: str) -> Iterator[ObjectInfo]:
        with gcs.explained(f"{self.address}/{prefix}"):
            for blob in self._client.list_blobs(
                self._bucket,
                prefix=f"{self._prefix}{prefix}",
                fields="items(name,size,generation,updated),nextPageToken",
                retry=self._retry,
            ):
                key = blob.name.removeprefix(self._prefix)
                # The web console creates objects for folders; leases are not objects of the lake.
                if not key.endswith("/") and (not key.startswith(LOCKS) or prefix.startswith(LOCKS)):
                    yield _info(key, blob)

    def _list_batch(self, keys: Sequence[str]) -> builtins.list[tuple[str, str]]:
        """Returns the generations of objects with sorted keys by listing the range from the first to the last key."""
        wanted = set(keys)
        with gcs.explained(f"{self.address}/{keys[0]}"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=self._prefix or None,
                start_offset=f"{self._prefix}{keys[0]}",
                # Exclusive.
                end_offset=f"{self._prefix}{keys[-1]}\0",
                fields="items(name,generation),nextPageToken",
                retry=self._retry,
            )
            named = ((blob.name.removeprefix(self._prefix), blob) for blob in blobs)
            return [(key, str(blob.generation)) for key, blob in named if key in wanted]

    def _start(self, key: str, if_generation: str | None) -> BlobWriter:
        writer: BlobWriter = self._blob(key).open(
            "wb",
            chunk_size=_UPLOAD_CHUNK_BYTES,
            ignore_flush=True,
            content_type=_content_type(key),
            if_generation_match=_number(if_generation),
            checksum="crc32c",
            # Retries are safe: a session stores each byte once, and reports if it is already complete.
            retry=self._retry,
        )
        return writer


class _AbsentError(StoreError):
    """Google answered 404, for the object or its bucket."""


class _Upload(io.RawIOBase):
    """Stream for an upload. Closing it does not create the object; only ``finish`` does."""

    def __init__(self, writer: BlobWriter, url: str) -> None:
        self._writer = writer
        self._url = url

    @override
    def writable(self) -> bool:
        return True

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        with _sending(self._url):
            written: int = self._writer.write(data)
        return written

    @override
    def tell(self) -> int:
        position: int = self._writer.tell()
        return position

    def finish(self) -> None:
        """Sends the remaining bytes and completes the upload."""
        try:
            with _sending(self._url):
                self._writer.close()
        finally:
            self._disarm()

    def abandon(self) -> None:
        """Cancels the upload session. If that fails, the session stays invisible and expires within a week."""
        try:
            with gcs.explained(self._url):
                self._writer.terminate()
        except StoreError:
            pass
        finally:
            self._disarm()

    def _disarm(self) -> None:
        # The garbage collector closes an unclosed BlobWriter, which would complete the upload with what was written
        # so far. With its buffer closed, there is nothing to complete.
        self._writer._buffer.close()  # noqa: SLF001


class _Download(io.RawIOBase):
    """One generation of an object as a seekable stream; every read is one range request."""

    def __init__(self, blob: Blob, size: int, url: str, retry: object) -> None:
        self._blob = blob
        self._url = url
        self._retry = retry
        self._size = size
        self._position = 0

    @override
    def readable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def tell(self) -> int:
        return self._position

    @override
    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise ValueError(f"negative seek position {origin + offset}")
        self._position = origin + offset
        return self._position

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        target = memoryview(buffer).cast("B")
        wanted = min(len(target), self._size - self._position)
        if wanted <= 0:
            return 0
        received = self._fetch(self._position, self._position + wanted)
        target[: len(received)] = received
        self._position += len(received)
        return len(received)

    @override
    def readall(self) -> bytes:
        if self._position >= self._size:
            return b""
        content = self._fetch(self._position, self._size)
        self._position = self._size
        return content

    def _fetch(self, start: int, stop: int) -> bytes:
        try:
            with gcs.explained(self._url, absent=_AbsentError):
                content: bytes = self._blob.download_as_bytes(
                    start=start,
                    end=stop - 1,
                    raw_download=True,
                    checksum=None,  # Google only has one for the whole object.
                    retry=self._retry,
                )
        except _AbsentError as error:
            raise ConflictError(
                f"{self._url} was replaced or removed while it was being read",
                hint="try again to read the current version",
            ) from error
        if len(content) != stop - start:
            raise StoreError(
                f"{self._url}: received {len(content)} of {stop - start} requested bytes",
                hint="try again",
            )
        return content


@contextmanager
def _sending(url: str) -> Iterator[None]:
    try:
        with gcs.explained(url):
            yield
    except ValueError as error:
        # Google may store only the first part of a chunk. The library cannot resume from there and raises ValueError.
        raise StoreError(f"the upload of {url} was interrupted; nothing was changed", hint="try again") from error


def _retry(timeout: float) -> object:
    from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415

    return DEFAULT_RETRY.with_timeout(timeout)


def _number(generation: str | None) -> int | None:
    if generation is None:
        return None
    return 0 if generation == ABSENT else int(generation)


def _info(key: str, blob: Blob) -> ObjectInfo:
    return ObjectInfo(key=key, size=int(blob.size), generation=str(blob.generation), modified=blob.updated.timestamp())


def _content_type(key: str) -> str:
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
