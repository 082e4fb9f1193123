"""A store in a folder, with atomic writes.

A file is written under ``.tmp/`` in the folder, where no glob over ``events/`` or ``manifests/`` finds it, flushed to
disk, and renamed. Only this last step holds the commit lock, which serializes writers; the operating system releases it
if a process dies. Each temporary file has a lock of its own that its writer holds, so that the next writer can detect
and remove the files of killed ones.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING, BinaryIO, Final
from uuid import uuid4

from filelock import FileLock, Timeout
from typing_extensions import override

from etl.errors import ConflictError, StoreError
from etl.storage.store import ABSENT, ObjectInfo, checked

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

_TEMPORARIES: Final = ".tmp"
_COMMIT_LOCK: Final = "commit.lock"
_LOCKS: Final = "locks"
_COMMIT_TIMEOUT_SECONDS: Final = 60.0
_BUFFER_BYTES: Final = 1 << 20
_LONGEST_WRITE_SECONDS: Final = 3600.0

_HINTS: Final = {
    errno.ENOSPC: "free some space on that disk, or choose another folder for the lake",
    errno.EDQUOT: "the disk quota is exceeded: free some space, or choose another folder for the lake",
    errno.EFBIG: "the file size limit is exceeded: see `ulimit -f`, or choose another disk for the lake",
    errno.EACCES: "give this user read and write permission, or choose another folder for the lake",
    errno.EPERM: "give this user read and write permission, or choose another folder for the lake",
    errno.EROFS: "the disk is mounted read-only: choose another folder for the lake",
    errno.ENOTDIR: "a file is in the place of a folder: move it away, or choose another folder for the lake",
    errno.EEXIST: "a file is in the place of a folder: move it away, or choose another folder for the lake",
    errno.EISDIR: "a folder is in the place of a file: move it away, or choose another folder for the lake",
    errno.EXDEV: "the whole lake must be on one disk: replace the linked folder with a real one",
    errno.ENAMETOOLONG: "choose a folder with a shorter path for the lake",
}
_DEFAULT_HINT: Final = "check the path and the disk"


def free_bytes(folder: Path) -> int:
    """Returns the free bytes on the disk of a folder, which need not exist yet.

    Raises:
        StoreError: If the disk cannot be queried.
    """
    standing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir())
    with _explained("read", standing):
        return shutil.disk_usage(standing).free


class FolderStore:
    """A ``Store`` in a folder of a local or mounted disk. The first write creates the folder.

    Args:
        root: The folder.
    """

    def __init__(self, root: Path) -> None:
        self._given = root
        self._root = root.absolute()
        self._temporaries = self._root / _TEMPORARIES

    @property
    def address(self) -> str:
        """The folder as the user entered it."""
        return str(self._given)

    def url(self, key: str) -> str:
        """Returns the absolute path of an object."""
        return str(self._path(key))

    def stat(self, key: str) -> ObjectInfo | None:
        """Returns the metadata of a file; None if it does not exist."""
        path = self._path(key)
        with _explained("read", path):
            return _info(key, path)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Yields the files whose key starts with ``prefix``, in key order."""
        folder = prefix.rpartition("/")[0]
        if folder:
            checked(folder)
        return self._walk(folder, prefix)

    def folders(self, folder: str) -> frozenset[str]:
        """Returns the names of the direct subfolders of a folder; none if it does not exist."""
        path = self._path(folder)
        with _explained("read", path):
            try:
                with os.scandir(path) as entries:
                    return frozenset(entry.name for entry in entries if entry.is_dir())
            except FileNotFoundError:
                return frozenset()

    def generations(self, keys: Sequence[str]) -> dict[str, str]:
        """Returns the generation of each of these files that exists, by key."""
        root = f"{self._root}/"
        found: dict[str, str] = {}
        # The keys of a day share the folder two levels up. If it does not exist, 24 lookups are saved; and lookups
        # relative to it are faster.
        with _explained("read", self._root):
            for folder, group in groupby(keys, key=lambda key: key.rsplit("/", 2)[0]):
                with suppress(FileNotFoundError), _opened(root + folder) as place:
                    for key in group:
                        # Like `_facts`, but with fewer calls per file: there may be 137,000 files.
                        within = key[len(folder) + 1 :]
                        try:
                            facts = os.stat(within, dir_fd=place)
                        except FileNotFoundError:
                            continue
                        if S_ISREG(facts.st_mode):
                            found[key] = _generation(facts)
        return found

    def read(self, key: str) -> bytes | None:
        """Returns the content of a small file; None if it does not exist."""
        path = self._path(key)
        with _explained("read", path):
            try:
                return path.read_bytes()
            except FileNotFoundError:
                return None

    def open(self, key: str) -> BinaryIO:
        """Opens a file as a seekable stream, which is not affected if the file is replaced."""
        path = self._path(key)
        with _explained("read", path):
            return io.BufferedReader(_File(path, "rb"), _BUFFER_BYTES)

    @contextmanager
    def writer(self, key: str, *, if_generation: str | None = None) -> Iterator[BinaryIO]:
        """Streams a new file, which is put in place and durable when the block ends without an exception."""
        with self._draft(key, if_generation) as draft:
            yield draft.stream

    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo:
        """Writes a small file under the same rules as ``writer``; returns its metadata."""
        with self._draft(key, if_generation) as draft:
            draft.stream.write(content)
        return draft.became

    def take(self, key: str, path: Path) -> ObjectInfo:
        """Moves a file on the same disk into the store."""
        with self._draft(key, None) as draft, _explained("move", path):
            path.replace(draft.path)
        return draft.became

    def delete(self, key: str, *, if_generation: str | None = None) -> None:
        """Deletes a file, if it exists."""
        path = self._path(key)
        if self.stat(key) is None:
            return
        with _explained("remove", path), self._commit_lock():
            self._demand(key, if_generation)
            path.unlink(missing_ok=True)
            _sync_folder(path.parent)

    def leftovers(self) -> builtins.list[ObjectInfo]:
        """Returns the temporary files of dead writers; for a read-only lake, those that are older than an hour."""
        if not self._temporaries.is_dir():
            return []
        try:
            with self._commit_lock():
                return [info for part, info in self._drafts() if _is_dead(part)]
        except OSError:  # The lake is read-only.
            return [info for _, info in self._drafts() if time.time() - info.modified > _LONGEST_WRITE_SECONDS]

    def sweep(self) -> builtins.list[ObjectInfo]:
        """Removes the temporary files of dead writers and returns them."""
        if not self._temporaries.is_dir():
            return []
        with _explained("remove", self._temporaries), self._commit_lock():
            dead = [info for part, info in self._drafts() if _is_dead(part)]
            self._sweep()
        return dead

    def _drafts(self) -> Iterator[tuple[Path, ObjectInfo]]:
        for part in sorted(self._temporaries.glob("*.part")):
            if (info := _info(f"{_TEMPORARIES}/{part.name}", part)) is not None:
                yield part, info

    @contextmanager
    def lock(self, key: str) -> Iterator[bool]:
        """Locks a name during the block; yields False immediately if another living owner holds the lock."""
        folder = self._temporaries / _LOCKS
        # Not thread-local: a generator may be closed in another thread than the one it was started in.
        held = FileLock(folder / f"{checked(key).replace('/', '%')}.lock", thread_local=False)
        with _explained("lock", Path(held.lock_file)):
            folder.mkdir(parents=True, exist_ok=True)
            # Under the commit lock, like the removal below: nobody may lock a file that has just been unlinked.
            with self._commit_lock(), suppress(Timeout):
                held.acquire(timeout=0)
        try:
            yield held.is_locked
        finally:
            if held.is_locked:
                self._unlock(held)

    def _unlock(self, held: FileLock) -> None:
        # It does no harm if the file cannot be removed: the name can be locked again.
        with suppress(OSError, StoreError), self._commit_lock():
            Path(held.lock_file).unlink(missing_ok=True)
            held.release()
        held.release()

    def _path(self, key: str) -> Path:
        if checked(key).split("/")[0] == _TEMPORARIES:
            raise StoreError(f"invalid key {key!r}", hint=f"{_TEMPORARIES} is reserved for temporary files")
        return self._root / key

    def _walk(self, folder: str, prefix: str) -> Iterator[ObjectInfo]:
        path = self._root / folder
        with _explained("read", path):
            try:
                with os.scandir(path) as entries:
                    names = [(entry.name, entry.is_dir()) for entry in entries]
            except FileNotFoundError:
                return
        # "a-b" sorts before "a/b", so folders are sorted with their slash.
        for name in sorted(name + "/" * is_folder for name, is_folder in names):
            key = f"{folder}/{name}" if folder else name
            if key == f"{_TEMPORARIES}/":
                continue
            if key.endswith("/"):
                if key.startswith(prefix) or prefix.startswith(key):
                    yield from self._walk(key[:-1], prefix)
            elif key.startswith(prefix) and (info := _info(key, path / name)) is not None:
                yield info

    @contextmanager
    def _draft(self, key: str, if_generation: str | None) -> Iterator[_Draft]:
        path = self._path(key)
        with _explained("write", path):
            _make_folders(self._temporaries)
            with self._commit_lock():
                self._sweep()
                draft = _Draft(self._temporaries / uuid4().hex)
        try:
            yield draft
            with _explained("write", path):
                draft.flush_to_disk()
                with self._commit_lock():
                    self._demand(key, if_generation)
                    draft.became = self._put(draft.path, key)
        finally:
            draft.discard()

    @contextmanager
    def _commit_lock(self) -> Iterator[None]:
        lock = FileLock(self._temporaries / _COMMIT_LOCK, poll_interval=0.01)
        try:
            lock.acquire(timeout=_COMMIT_TIMEOUT_SECONDS)
        except Timeout as error:
            raise StoreError(
                f"another process has held {lock.lock_file} for {_COMMIT_TIMEOUT_SECONDS:.0f} seconds",
                hint="that process hangs, since the lock is only held briefly; find it with `fuser`",
            ) from error
        try:
            yield
        finally:
            lock.release()

    def _demand(self, key: str, if_generation: str | None) -> None:
        if if_generation is None:
            return
        present = _info(key, self._path(key))
        if (ABSENT if present is None else present.generation) != if_generation:
            raise ConflictError(
                f"{self._path(key)} was changed by another writer in the meantime; nothing was overwritten",
                hint="run it again if the other run did not do the same work",
            )

    def _put(self, draft: Path, key: str) -> ObjectInfo:
        path = self._path(key)
        _set_later_time(draft, than=path)
        _make_folders(path.parent)
        draft.replace(path)
        _sync_folder(path.parent)
        became = _info(key, path)
        if became is None:
            raise StoreError(f"{path} was removed right after it was written", hint=_DEFAULT_HINT)
        return became

    def _sweep(self) -> None:
        """Removes the files of killed writers. The caller holds the commit lock."""
        others = (path for path in self._temporaries.iterdir() if path.name not in {_COMMIT_LOCK, _LOCKS})
        for left in {path.with_suffix("") for path in others}:
            owner = _owner_lock(left)
            with suppress(Timeout), owner.acquire(timeout=0):
                _part(left).unlink(missing_ok=True)
                Path(owner.lock_file).unlink(missing_ok=True)


class _Draft:
    """A temporary file, with a lock that shows other writers that its own writer lives.

    Args:
        place: Path of the temporary file without its suffix.
    """

    became: ObjectInfo

    def __init__(self, place: Path) -> None:
        self.path = _part(place)
        self._owner = _owner_lock(place)
        self._owner.acquire(timeout=0)
        self._raw = _File(self.path, "xb")
        self._buffered = io.BufferedWriter(self._raw, _BUFFER_BYTES)
        self.stream: BinaryIO = self._buffered

    def flush_to_disk(self) -> None:
        """Flushes all bytes to disk. A rename without that could survive a power failure without the bytes."""
        self._buffered.flush()
        # Opened by name, since `take` may have moved another file there.
        with self.path.open("rb") as whole:
            os.fsync(whole.fileno())

    def discard(self) -> None:
        """Removes the temporary file, if it was not moved. If that fails, the next writer removes it."""
        with suppress(OSError):
            # The raw file first: closing the buffer would write the rest of the file.
            self._raw.close()
            self.path.unlink(missing_ok=True)
            Path(self._owner.lock_file).unlink(missing_ok=True)
        self._owner.release()


class _File(io.FileIO):
    """A file whose errors have its path and a hint."""

    @override
    def write(self, data: ReadableBuffer, /) -> int:
        with _explained("write", self._path()):
            return super().write(data)

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int:
        with _explained("read", self._path()):
            return super().readinto(buffer)

    @override
    def readall(self) -> bytes:
        with _explained("read", self._path()):
            return super().readall()

    def _path(self) -> Path:
        return Path(str(self.name))


@contextmanager
def _explained(doing: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot {doing} {path}: {error.strerror or type(error).__name__}",
            hint=_HINTS.get(error.errno or 0, _DEFAULT_HINT),
        ) from error


@contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Opens a folder, for lookups relative to it."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield place
    finally:
        os.close(place)


def _facts(path: Path) -> os.stat_result | None:
    """Returns the stat result of a file; None if it does not exist."""
    try:
        facts = path.stat()
    except FileNotFoundError:
        return None
    return facts if S_ISREG(facts.st_mode) else None


def _info(key: str, path: Path) -> ObjectInfo | None:
    facts = _facts(path)
    if facts is None:
        return None
    return ObjectInfo(key=key, size=facts.st_size, generation=_generation(facts), modified=facts.st_mtime)


def _generation(facts: os.stat_result) -> str:
    return f"{facts.st_mtime_ns:x}-{facts.st_ino:x}-{facts.st_size:x}"


def _set_later_time(draft: Path, *, than: Path) -> None:
    """Makes the new generation differ from all previous ones; the kernel's timestamps may repeat within 4 ms."""
    now = time.time_ns()
    with suppress(FileNotFoundError):
        now = max(now, than.stat().st_mtime_ns + 1)
    os.utime(draft, ns=(now, now))


def _make_folders(folder: Path) -> None:
    """Creates a folder and its parents durably."""
    changed = []
    missing = folder
    while not missing.exists():
        missing = missing.parent
        changed.append(missing)
    folder.mkdir(parents=True, exist_ok=True)
    for parent in changed:
        _sync_folder(parent)


def _sync_folder(folder: Path) -> None:
    """Makes the folder's entries durable."""
    if os.name == "nt":  # Windows cannot open folders, and does not need this.
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _part(place: Path) -> Path:
    return place.with_suffix(".part")


def _is_dead(part: Path) -> bool:
    """Returns whether the file's writer is dead. The caller holds the commit lock."""
    owner = _owner_lock(part.with_suffix(""))
    if not Path(owner.lock_file).exists():
        return True
    try:
        owner.acquire(timeout=0)
    except Timeout:
        return False
    owner.release()
    return True


def _owner_lock(place: Path) -> FileLock:
    # Not thread-local: a stream may be opened in one thread and closed in another.
    return FileLock(place.with_suffix(".lock"), thread_local=False)
