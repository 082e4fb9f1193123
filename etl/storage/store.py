"""What the lake asks of the place it lies in, be it a folder or a bucket.

Everything is a whole object under a relative key with forward slashes. An object appears at once or not at
all, and a write can demand that nobody changed the object since it was looked at: its *generation* (an
opaque text) must be the same. ``ABSENT`` is the generation of what does not exist.
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
    """What a store knows of an object without reading it.

    Attributes:
        key: The relative key, as in ``etl.lake.layout``.
        size: Bytes.
        generation: Changes whenever the object's content is replaced; never ``ABSENT``.
        modified: When this generation was written, in seconds since 1970 (UTC), by the clock of the place.
    """

    key: str
    size: int
    generation: str
    modified: float


class Store(Protocol):
    """A folder or a bucket. Every method raises ``StoreError`` when the place cannot be used."""

    @property
    def address(self) -> str:
        """What a person would type to name this place: a path or ``gs://bucket/prefix``."""

    def stat(self, key: str) -> ObjectInfo | None:
        """Looks at one object; None when there is none."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the objects whose key starts with ``prefix``, in key order; temporaries never."""

    def folders(self, folder: str) -> frozenset[str]:
        """Returns the names of the folders directly in a folder; none where there is no such folder.

        Args:
            folder: What their keys begin with, without a slash at the end.
        """

    def generations(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns the generation of each of these objects that exists, by key.

        For many keys that lie close together this is far cheaper than ``list`` in a folder and than ``stat`` in
        a bucket.
        """

    def read(self, key: str) -> bytes | None:
        """Reads a small object whole; None when there is none."""

    def open(self, key: str) -> BinaryIO:
        """Opens an object for seeking reads; raises ``StoreError`` when there is none."""

    def writer(self, key: str, *, if_generation: str | None = None) -> AbstractContextManager[BinaryIO]:
        """Streams a new object that becomes visible, whole and durable, when the block ends well.

        When the block raises, nothing changes and what was written is thrown away. With
        ``if_generation`` the object is replaced only if its generation is still that one
        (``ABSENT``: only if there is none), else ``ConflictError`` is raised when the block ends.
        """

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo:
        """Writes a small object whole, under the same rules, and says what it became."""

    def take(self, key: str, path: Path) -> ObjectInfo:
        """Makes an object of a finished file, whole and durable, and says what it became.

        The file has to lie on this machine, for a folder on the same disk, and is gone afterwards: a folder takes it
        without copying a byte.
        """

    def delete(self, key: str, *, if_generation: str | None = None) -> None:
        """Removes an object; there being none is not an error.

        With ``if_generation`` only that generation is removed; another one stays, with ``ConflictError``.
        """

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """Lists what killed writers left unfinished; their keys cannot be read or written.

        Changes nothing, so that it can be asked of a lake that may only be read.
        """

    def sweep(self) -> builtins.list[ObjectInfo]:
        """Removes what killed writers left unfinished, never what a living one writes, and says what it was."""

    def lock(self, key: str) -> AbstractContextManager[bool]:
        """Holds a name alone during the block; gives False at once where another living owner has it.

        The name is no object and need not be one's key. What a dead owner held is free again: at once in a
        folder, after two minutes in a bucket. It keeps writers from doing the same work twice, and is not what
        the lake's soundness rests on: that is ``if_generation``.
        """

    def url(self, key: str) -> str:
        """The address of one object as other tools (DuckDB, Spark, BigQuery) take it."""


def checked(key: str) -> str:
    """Returns the key if it stays inside its store.

    Raises:
        StoreError: If it is absolute, climbs with ``..``, or is a folder's name rather than an object's.
    """
    parts = key.split("/")
    if any(part in ("", ".", "..") for part in parts) or set(key) & {"\\", "\0"}:
        raise StoreError(f"{key!r} is no key of a lake", hint="keys are relative, with forward slashes")
    return key
