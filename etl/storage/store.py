"""The interface of stores: a folder or a bucket.

A store has objects under relative keys with forward slashes. Writes are atomic. A write can require that the object has
not changed since it was read: that its *generation* (an opaque string) is still the same. ``ABSENT`` is the generation
of an object that does not exist.
"""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from etl.errors import StoreError

ABSENT: Final = ""
"""The generation of an object that does not exist: ``if_generation=ABSENT`` means "only create"."""


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """Metadata of an object.

    Attributes:
        key: The relative key, as in ``etl.lake.layout``.
        size: Size in bytes.
        generation: Changes whenever the object's content is replaced; never ``ABSENT``.
        modified: When this generation was written, in seconds since 1970 (UTC), by the clock of the store.
    """

    key: str
    size: int
    generation: str
    modified: float


class Store(Protocol):
    """A folder or a bucket. Every method raises ``StoreError`` if the store cannot be used."""

    @property
    def address(self) -> str:
        """The address as a user would enter it: a path or ``gs://bucket/prefix``."""

    def stat(self, key: str) -> ObjectInfo | None:
        """Returns the metadata of an object; None if it does not exist."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the objects whose key starts with ``prefix``, in key order, without temporary files."""

    def folders(self, folder: str) -> frozenset[str]:
        """Returns the names of the direct subfolders of a folder; none if it does not exist.

        Args:
            folder: Key of the folder, without a trailing slash.
        """

    def generations(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns the generation of each of these objects that exists, by key.

        For many keys that are close together this is far cheaper than ``list`` in a folder, or ``stat`` in a bucket.
        """

    def read(self, key: str) -> bytes | None:
        """Returns the content of a small object; None if it does not exist."""

    def open(self, key: str) -> BinaryIO:
        """Opens an object as a seekable stream; raises ``StoreError`` if it does not exist."""

    def writer(self, key: str, *, if_generation: str | None = None) -> AbstractContextManager[BinaryIO]:
        """Streams a new object, which becomes visible and durable when the block ends without an exception.

        If the block raises, nothing changes and the written data is discarded. With ``if_generation`` the object is
        only replaced if it still has that generation (``ABSENT``: if it does not exist); otherwise ``ConflictError`` is
        raised at the end of the block.
        """

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo:
        """Writes a small object under the same rules as ``writer``; returns its metadata."""

    def take(self, key: str, path: Path) -> ObjectInfo:
        """Moves a finished local file into the store, atomically and durably; returns its metadata.

        For a folder, the file must be on the same disk; it is moved without copying.
        """

    def delete(self, key: str, *, if_generation: str | None = None) -> None:
        """Deletes an object, if it exists.

        With ``if_generation`` only that generation is deleted; for another one, ``ConflictError`` is raised.
        """

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """Returns the unfinished files of killed writers; their keys cannot be read or written.

        It changes nothing, so it also works for a read-only lake.
        """

    def sweep(self) -> builtins.list[ObjectInfo]:
        """Removes the unfinished files of killed writers, but not those of running ones; returns the removed files."""

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Locks a name during the block; yields False immediately if another living owner holds the lock.

        The name need not be the key of an object. The lock of a dead owner is released at once in a folder, and after
        two minutes in a bucket. Locks only prevent writers from doing the same work twice; the lake's consistency
        depends on ``if_generation``.
        """

    def url(self, key: str) -> str:
        """Returns the address of an object for other tools (DuckDB, Spark, BigQuery)."""


def checked(key: str) -> str:
    """Returns the key if it is valid.

    Raises:
        StoreError: If it is absolute, contains ``..``, or is the name of a folder.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or set(key) & {"\\", "\0"}:
        raise StoreError(f"invalid key {key!r}", hint="keys are relative, with forward slashes")
    return key
