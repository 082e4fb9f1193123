"""Leases: locks in a bucket. A lease is a small object with an expiry time, renewed as long as its owner lives.

The store's generations decide who acquires a lease first, and who takes over an expired one. Expiry depends on clocks:
those of two machines may differ by less than the time that is left of a lease when it is renewed. If they differ by
more, two runs may do the same work, but the lake stays consistent.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import uuid4

import msgspec
import structlog

from etl.errors import ConflictError, StoreError
from etl.storage.store import ABSENT, ObjectInfo, checked

LOCKS: Final = "locks/"
"""Key prefix of leases. They are not objects of the lake, and are only listed with this prefix."""

_LEASE: Final = timedelta(seconds=120)
_RENEWALS_A_LEASE: Final = 4
_LAST_WORD_SECONDS: Final = 10.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class _LeaseStore(Protocol):
    """The part of ``Store`` that leases use."""

    def stat(self, key: str) -> ObjectInfo | None: ...
    def read(self, key: str) -> bytes | None: ...
    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo: ...
    def delete(self, key: str, *, if_generation: str | None = None) -> None: ...


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """Content of the lease object.

    Attributes:
        owner: Machine, process and a unique ID.
        expires_at: Expiry time (UTC).
    """

    owner: str
    expires_at: datetime


@contextmanager
def leased(
    place: _LeaseStore,
    name: str,
    *,
    lease: timedelta = _LEASE,
    clock: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[bool]:
    """Locks a name with a lease during the block.

    Args:
        place: The store of the lease.
        name: The name to lock; it becomes part of the key.
        lease: Time until the lease expires if it is not renewed, that is, if its owner has died.
        clock: Returns the current time (aware, UTC).

    Yields:
        Whether the lease is held; False immediately if another owner's lease has not expired.

    Raises:
        StoreError: If the store cannot be read or written.
    """
    held = _Lease(place, f"{LOCKS}{checked(name)}.json", lease, clock)
    if not held.take():
        yield False
        return
    held.keep()
    try:
        yield True
    finally:
        held.release()


class _Lease:
    """The lease of one owner."""

    def __init__(self, place: _LeaseStore, key: str, lease: timedelta, clock: Callable[[], datetime]) -> None:
        self._place = place
        self._key = key
        self._lease = lease
        self._clock = clock
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
        self._generation = ABSENT
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._renew_until_over, name="lease", daemon=True)

    def take(self) -> bool:
        """Acquires the lease if it is free or expired; returns whether it was acquired."""
        if self._write(ABSENT):
            return True
        found = self._place.stat(self._key)
        held = self._read()
        if found is None or held is None:
            # It was released just now. The next attempt can acquire it.
            return False
        if held.owner == self._owner:
            # The write was retried: the first request created the object, the second one found it.
            self._generation = found.generation
            return True
        return held.expires_at <= self._clock() and self._write(found.generation)

    def keep(self) -> None:
        """Starts a thread that renews the lease."""
        self._keeper.start()

    def release(self) -> None:
        """Releases the lease. If that fails, the lease expires."""
        self._over.set()
        self._keeper.join(_LAST_WORD_SECONDS)
        try:
            self._place.delete(self._key, if_generation=self._generation)
        except StoreError as error:
            _log.warning("cannot release lease; it will expire", lease=self._key, cause=error.message)

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._lease.total_seconds() / _RENEWALS_A_LEASE):
            try:
                renewed = self._write(self._generation)
            except StoreError as error:
                _log.warning("cannot renew lease", lease=self._key, cause=error.message)
                continue
            if not renewed:
                _log.warning("another run took over the lease", lease=self._key)
                return

    def _write(self, generation: str) -> bool:
        record = LeaseRecord(owner=self._owner, expires_at=self._clock() + self._lease)
        try:
            self._generation = self._place.write(
                self._key, msgspec.json.encode(record), if_generation=generation
            ).generation
        except ConflictError:
            return False
        return True

    def _read(self) -> LeaseRecord | None:
        content = self._place.read(self._key)
        try:
            return None if content is None else msgspec.json.decode(content, type=LeaseRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Not written by this program. It must not block an hour forever.
            return LeaseRecord(owner="", expires_at=datetime.min.replace(tzinfo=UTC))
