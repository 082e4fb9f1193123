"""The lake in a bucket of Google Cloud Storage.

An upload becomes visible, whole, when its last request is answered; until then it is a session that nobody
sees and that Google throws away. That last request carries the generation the object must still have, so
that of two writers the second is turned away. A download is bound to the generation it began with.
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
"""What a stream holds in memory; each chunk is one request, repeated alone when it fails."""
_READ_AHEAD_BYTES: Final = 1 << 20
_STRETCH_KEYS: Final = 10_000
_STRETCHES_AT_ONCE: Final = 8
_PATIENCE_SECONDS: Final = 120.0
_CONTENT_TYPES: Final = {"parquet": "application/vnd.apache.parquet", "json": "application/json"}


class GcsStore:
    """A ``Store`` under a prefix of a bucket.

    Args:
        bucket: The bucket's name; it has to exist.
        prefix: What all keys are put under, without slashes at its ends; may be empty.
        patience: For how many seconds a request is repeated while Google cannot be reached or asks to wait.

    Raises:
        UsageError: If google-cloud-storage is not installed.
        StoreError: If there are no credentials.
    """

    def __init__(self, bucket: str, prefix: str = "", *, patience: float = _PATIENCE_SECONDS) -> None:
        self._client = gcs.client()
        self._bucket = self._client.bucket(bucket)
        self._prefix = f"{prefix}/" if prefix else ""
        self._retry = _retry(patience)
        self._bucket_was_seen = False

    @property
    def address(self) -> str:
        """``gs://bucket/prefix``."""
        return f"{gcs.SCHEME}{self._bucket.name}/{self._prefix}".rstrip("/")

    def url(self, key: str) -> str:
        """``gs://bucket/prefix/key``."""
        return f"{self.address}/{checked(key)}"

    def stat(self, key: str) -> ObjectInfo | None:
        """Looks at one object; None when there is none."""
        blob = self._look(key)
        return None if blob is None else _info(key, blob)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the objects whose key starts with ``prefix``, in key order, a page of them a request."""
        folder = prefix.rpartition("/")[0]
        if folder:
            checked(folder)
        return self._pages(prefix)

    def folders(self, folder: str) -> frozenset[str]:
        """Returns the names that end in a slash directly below a prefix, a thousand of them a request."""
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
                pass  # the listing collects prefixes while its pages are read
            return frozenset(prefix.rstrip("/").rpartition("/")[2] for prefix in listing.prefixes)

    def generations(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns the generation of each of these objects that exists, by key, for a request a thousand of them."""
        ordered = sorted(keys)
        stretches = [ordered[first : first + _STRETCH_KEYS] for first in range(0, len(ordered), _STRETCH_KEYS)]
        with ThreadPoolExecutor(_STRETCHES_AT_ONCE) as askers:
            return {key: generation for found in askers.map(self._stretch, stretches) for key, generation in found}

    def read(self, key: str) -> bytes | None:
        """Reads a small object whole, by its checksum; None when there is none."""
        try:
            with gcs.explained(self.url(key), absent=_AbsentError):
                content: bytes = self._blob(key).download_as_bytes(retry=self._retry)
        except _AbsentError:
            self._see_bucket()
            return None
        return content

    def open(self, key: str) -> BinaryIO:
        """Opens an object for seeking reads; they fail when it is replaced meanwhile, and never mix two of them."""
        found = self._look(key)
        if found is None:
            raise StoreError(f"{self.url(key)} does not exist", hint="list the hours of the lake to see what is there")
        # A blob that was looked up downloads by a link of the server's, which need not name the generation.
        blob = self._bucket.blob(found.name, generation=found.generation)
        return io.BufferedReader(_Download(blob, found.size, self.url(key), self._retry), _READ_AHEAD_BYTES)

    @contextmanager
    def writer(self, key: str, *, if_generation: str | None = None) -> Iterator[BinaryIO]:
        """Streams a new object that becomes visible, whole, when the block ends well."""
        upload = _Upload(self._start(key, if_generation), self.url(key))
        try:
            yield cast("BinaryIO", upload)
        except BaseException:
            upload.abandon()
            raise
        upload.finish()

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo:
        """Writes a small object whole in one request, under the same rules, and says what it became."""
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
            raise StoreError(f"{self.url(key)} was removed as soon as it was written")
        return info

    def copy(self, source: str, key: str) -> ObjectInfo:
        """Copies an object within the bucket, whole and at once; Google does it, and no bytes come here."""
        blob = self._blob(key)
        with gcs.explained(self.url(source)):
            token = None
            while True:
                # A large object may take several requests, of which the last one makes the copy appear.
                token, _, _ = blob.rewrite(self._blob(source), token=token, retry=self._retry)
                if token is None:
                    break
        return _info(key, blob)

    def delete(self, key: str, *, if_generation: str | None = None) -> None:
        """Removes an object; there being none is not an error."""
        try:
            with gcs.explained(self.url(key), absent=_AbsentError):
                self._blob(key).delete(if_generation_match=_number(if_generation), retry=self._retry)
        except _AbsentError:
            self._see_bucket()

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """None: what was not finished is in no list, and Google throws it away within a week."""
        return []

    def sweep(self) -> builtins.list[ObjectInfo]:
        """Finds nothing to remove."""
        return []

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Holds a name alone during the block by a lease; gives False at once where another living owner has it."""
        return leased(self, key)

    def _blob(self, key: str) -> Blob:
        return self._bucket.blob(f"{self._prefix}{checked(key)}")

    def _look(self, key: str) -> Blob | None:
        with gcs.explained(self.url(key)):
            blob = self._bucket.get_blob(f"{self._prefix}{key}", retry=self._retry)
        if blob is None:
            self._see_bucket()
        return blob

    def _see_bucket(self) -> None:
        """Fails when the bucket does not exist: Google answers 404 for that too, and no lake is an empty lake."""
        if self._bucket_was_seen:
            return
        with gcs.explained(f"{gcs.SCHEME}{self._bucket.name}"):
            # Listing needs no more rights than a reader of the lake has; asking for the bucket itself would.
            next(iter(self._client.list_blobs(self._bucket, max_results=1, retry=self._retry)), None)
        self._bucket_was_seen = True

    def _pages(self, prefix: str) -> Iterator[ObjectInfo]:
        with gcs.explained(f"{self.address}/{prefix}"):
            for blob in self._client.list_blobs(
                self._bucket,
                prefix=f"{self._prefix}{prefix}",
                fields="items(name,size,generation,updated),nextPageToken",
                retry=self._retry,
            ):
                key = blob.name.removeprefix(self._prefix)
                # The web console makes objects named like folders; a lease is no object of the lake's.
                if not key.endswith("/") and (not key.startswith(LOCKS) or prefix.startswith(LOCKS)):
                    yield _info(key, blob)

    def _stretch(self, keys: Sequence[str]) -> builtins.list[tuple[str, str]]:
        """Looks at objects with ordered keys by listing what lies between the first and the last of them."""
        wanted = set(keys)
        with gcs.explained(f"{self.address}/{keys[0]}"):
            blobs = self._client.list_blobs(
                self._bucket,
                prefix=self._prefix or None,
                start_offset=f"{self._prefix}{keys[0]}",
                # The first name that is not listed any more.
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
            # Repeating is safe: a session takes each byte once, and says so when it is already complete.
            retry=self._retry,
        )
        return writer


class _AbsentError(StoreError):
    """Google answered 404, for the object or its bucket."""


class _Upload(io.RawIOBase):
    """The stream a writer is given. Closing it ends nothing: only ``finish`` makes the object."""

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
        """Sends the rest and the word that this was all."""
        try:
            with _sending(self._url):
                self._writer.close()
        finally:
            self._disarm()

    def abandon(self) -> None:
        """Returns the session up. Should Google not hear of it, the session stays invisible and ends in a week."""
        try:
            with gcs.explained(self._url):
                self._writer.terminate()
        except StoreError:
            pass
        finally:
            self._disarm()

    def _disarm(self) -> None:
        # A BlobWriter that was not closed is closed by the garbage collector, which would complete the
        # upload with what had been written so far. With its buffer closed there is nothing to complete.
        self._writer._buffer.close()  # noqa: SLF001


class _Download(io.RawIOBase):
    """One generation of an object as a seekable file; every read is one ranged request."""

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
            raise ValueError(f"a position cannot be negative: {origin + offset}")
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
                    checksum=None,  # Google has one of the whole object only.
                    retry=self._retry,
                )
        except _AbsentError as error:
            raise ConflictError(
                f"{self._url} was replaced or removed while it was read",
                hint="run it again to read what is there now",
            ) from error
        if len(content) != stop - start:
            raise StoreError(
                f"{self._url} gave {len(content)} bytes where {stop - start} were asked for",
                hint="run it again",
            )
        return content


@contextmanager
def _sending(url: str) -> Iterator[None]:
    try:
        with gcs.explained(url):
            yield
    except ValueError as error:
        # Google may keep only the first part of a chunk; the library cannot go on from there and says it so.
        raise StoreError(f"the upload of {url} broke off, and nothing was changed", hint="run it again") from error


def _retry(patience: float) -> object:
    from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415

    return DEFAULT_RETRY.with_timeout(patience)


def _number(generation: str | None) -> int | None:
    if generation is None:
        return None
    return 0 if generation == ABSENT else int(generation)


def _info(key: str, blob: Blob) -> ObjectInfo:
    return ObjectInfo(key=key, size=int(blob.size), generation=str(blob.generation), modified=blob.updated.timestamp())


def _content_type(key: str) -> str:
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")
