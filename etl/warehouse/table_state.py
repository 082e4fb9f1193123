"""The warehouse's tables: parquet files in a folder or a bucket, a file a partition, replaced whole.

::

    tables/events_base/2015-01-01.parquet
    tables/names/all.parquet
    tables/build_log/20261121T141500Z-0a1b2c3d.parquet
    state/events_base.json

A partition appears in one step, so a reader sees the old one or the new one. The state says what each was made from. It
is written after the files, and an entry counts only while its file is the one it was written for: after a crash between
the two, that partition is made again.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from etl.errors import StoreError
from etl.lake.integrity import sha256_of
from etl.lake.lake import store_at
from etl.storage import gcs
from etl.storage.store import ObjectInfo, Store

ALL: Final = "all"
"""The partition of a table that is in one piece."""
TABLES: Final = "tables"
BUILD_LOG: Final = "build_log"
"""The table in which builds write what they did."""

_STATE: Final = "state"
_STATE_VERSION: Final = 1
_STAGING: Final = ".staging"
_CHUNK_BYTES: Final = 1 << 20
"""Larger pieces are given back to the system after each use, which takes longer than to copy them."""


class Built(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A built partition.

    Attributes:
        fingerprint: What it was made from: the model and its inputs.
        definition: Fingerprint of the model alone; empty if a version before this field built it.
        generation: Of its file in the store.
        rows: Rows in it.
        bytes: Bytes of its file.
        lineage: Stays the same as long as new versions of the partition only add to what older ones said.
        sha256: Digest of its file, by which a copy of it is known again; empty where it is not known.
    """

    fingerprint: str
    generation: str
    rows: int
    bytes: int
    lineage: str
    sha256: str = ""
    definition: str = ""


class TableState(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The state of a table.

    Attributes:
        version: Version of this form.
        definition: Fingerprint of the model that a merge was made with.
        partitions: Its partitions, by name.
        taken: For a merge, what it has taken in: the fingerprint and lineage of each partition it read.
    """

    version: int = _STATE_VERSION
    definition: str = ""
    partitions: dict[str, Built] = {}
    taken: dict[str, tuple[str, str]] = {}


_DECODER: Final = msgspec.json.Decoder(TableState)


class Warehouse:
    """The tables in a store.

    Args:
        store: The store that has them.
    """

    def __init__(self, store: Store) -> None:
        self.store = store

    @classmethod
    def at(cls, address: str) -> Warehouse:
        """Returns the warehouse at ``gs://bucket/prefix`` or in a folder; see ``store_at`` for the errors."""
        return cls(store_at(address))

    @property
    def address(self) -> str:
        """The address of this warehouse, as a user would type it."""
        return self.store.address

    def state(self, table: str) -> tuple[TableState, list[str]]:
        """Reads the state of a table.

        Returns:
            The state without entries that the files contradict, and the partitions with a file that it does not
            know.

        Raises:
            StoreError: If the warehouse cannot be read.
        """
        state = self.recalled(table)
        present = {info.key: info for info in self.files(table)}
        borne_out = (
            (partition, self._borne_out(built, present.get(partition_key(table, partition))))
            for partition, built in state.partitions.items()
        )
        state.partitions = {partition: built for partition, built in borne_out if built is not None}
        unknown = (partition_of(table, key) for key in present)
        return state, [
            partition for partition in unknown if partition is not None and partition not in state.partitions
        ]

    def _borne_out(self, built: Built, info: ObjectInfo | None) -> Built | None:
        """Returns the state of a partition if its file is the one that was built, or a copy of it."""
        if info is None or info.generation == built.generation:
            return None if info is None else built
        if not built.sha256 or info.size != built.bytes:
            return None
        with self.store.open(info.key) as file:
            copied = sha256_of(file) == built.sha256
        return msgspec.structs.replace(built, generation=info.generation) if copied else None

    def adopt_copies(self) -> None:
        """Saves the generations of copied files, so that they are not read every time.

        Raises:
            StoreError: If the warehouse cannot be read or written.
        """
        for info in list(self.store.list(f"{_STATE}/")):
            table = info.key.removeprefix(f"{_STATE}/").removesuffix(".json")
            if info.key != f"{_STATE}/{table}.json":
                continue
            before, (now, _) = self.recalled(table), self.state(table)
            if any(before.partitions[name] != built for name, built in now.partitions.items()):
                self.save_state(table, now)

    def recalled(self, table: str) -> TableState:
        """Reads the saved state of a table, even if it is outdated.

        Raises:
            StoreError: If the warehouse cannot be read.
        """
        content = self.store.read(f"{_STATE}/{table}.json")
        return TableState() if content is None else _decoded(content)

    def save_state(self, table: str, state: TableState) -> None:
        """Saves the state of a table.

        Raises:
            StoreError: If the warehouse cannot be written.
        """
        self.store.write(f"{_STATE}/{table}.json", msgspec.json.encode(state))

    def files(self, table: str) -> Iterator[ObjectInfo]:
        """Yields a table's Parquet files.

        Raises:
            StoreError: If the warehouse cannot be read.
        """
        return (info for info in self.store.list(f"{TABLES}/{table}/") if info.key.endswith(".parquet"))

    def publish(self, key: str, path: Path) -> ObjectInfo:
        """Moves a finished local Parquet file to its place, atomically.

        Raises:
            StoreError: If the warehouse cannot be written.
        """
        return self.store.take(key, path)

    def remove(self, table: str, partition: str) -> None:
        """Removes a partition.

        Raises:
            StoreError: If the warehouse cannot be written.
        """
        self.store.delete(partition_key(table, partition))

    @contextmanager
    def building(self) -> Iterator[Path]:
        """Locks the warehouse during a build, and yields a folder for temporary files.

        Raises:
            StoreError: If another build is running, or the warehouse cannot be written.
        """
        with self.store.lock("build") as ours:
            if not ours:
                raise StoreError(
                    f"another build of {self.address} is running", hint="wait for it to end, then run it again"
                )
            self.adopt_copies()
            with self._staging() as folder:
                yield folder

    @contextmanager
    def _staging(self) -> Iterator[Path]:
        if gcs.is_address(self.address):
            with tempfile.TemporaryDirectory(prefix="gharchive-build-") as name:
                yield Path(name)
            return
        folder = Path(self.address).absolute() / _STAGING
        # Only one build runs at a time, so what is there was left by one that was killed.
        shutil.rmtree(folder, ignore_errors=True)
        try:
            folder.mkdir(parents=True)
        except OSError as error:
            raise StoreError(f"cannot write {folder}: {error.strerror or type(error).__name__}") from error
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


class LocalCache:
    """Provides stored objects as local files; those in a bucket are downloaded.

    Args:
        folder: The folder for downloaded files.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, store: Store, key: str) -> str:
        """Returns the path of an object. It ends with the key, so that folders named ``date=...`` keep their meaning.

        Raises:
            StoreError: If it cannot be read.
        """
        if not gcs.is_address(store.address):
            return store.url(key)
        path = self._folder / "fetched" / store.address.removeprefix(gcs.SCHEME).replace("/", "_") / key
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            with store.open(key) as source, path.open("wb") as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
        return str(path)

    def clear(self) -> None:
        """Removes downloaded files: objects may change, and disk space is limited."""
        shutil.rmtree(self._folder / "fetched", ignore_errors=True)


def partition_key(table: str, partition: str) -> str:
    """Returns the key of a partition's file."""
    return f"{TABLES}/{table}/{partition}.parquet"


def partition_of(table: str, key: str) -> str | None:
    """Returns the partition whose file has this key; None if it is another kind of key."""
    partition = key.removeprefix(f"{TABLES}/{table}/").removesuffix(".parquet")
    return partition if partition_key(table, partition) == key and "/" not in partition else None


def _decoded(content: bytes) -> TableState:
    try:
        state = _DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return TableState()
    return state if state.version == _STATE_VERSION else TableState()
