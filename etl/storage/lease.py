"""A name held alone in a bucket: a small object that says until when, renewed as long as its owner lives.

The store's generations decide who comes first, also when a lease that has run out is taken over. Whether it
has run out is told by clocks, so those of two machines may be apart by less than the part of a lease that is
left when it is renewed. Should they be further apart, two runs do the same work, and the lake stays sound.
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
"""What the keys of leases begin with; they are no objects of the lake and are listed by their own prefix only."""

_LEASE: Final = timedelta(seconds=120)
_RENEWALS_A_LEASE: Final = 4
_LAST_WORD_SECONDS: Final = 10.0

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class _Place(Protocol):
    """What a lease needs of a store."""

    def stat(self, key: str) -> ObjectInfo | None: ...
    def read(self, key: str) -> bytes | None: ...
    def write(self, key: str, content: bytes, *, if_generation: str | None = None) -> ObjectInfo: ...
    def delete(self, key: str, *, if_generation: str | None = None) -> None: ...


class LeaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What the object says.

    Attributes:
        owner: Machine, process, and a number that no other lease has.
        expires_at: Until when it holds (UTC).
    """

    owner: str
    expires_at: datetime


@contextmanager
def leased(
    place: _Place, name: str, *, lease: timedelta = _LEASE, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> Iterator[bool]:
    """Holds a name alone during the block.

    Args:
        place: Where the lease is kept.
        name: What is held; part of a key.
        lease: How long it holds when it is not renewed, that is, after its owner died.
        clock: Tells the time (aware, UTC).

    Yields:
        Whether the name is held; False at once where another owner's lease has not run out.

    Raises:
        StoreError: If the place cannot be read or written.
    """
    held = _Lease(place, f"{LOCKS}{checked(name)}.json", lease, clock)
    if not held.take():
        yield False
        return
    held.keep()
    try:
        yield True
    finally:
        held.give_back()


class _Lease:
    """One owner's claim to a name."""

    def __init__(self, place: _Place, key: str, lease: timedelta, clock: Callable[[], datetime]) -> None:
        self._place = place
        self._key = key
        self._lease = lease
        self._clock = clock
        self._owner = f"{socket.gethostname()}:{os.getpid()}:{uuid4().hex}"
        self._generation = ABSENT
        self._over = threading.Event()
        self._keeper = threading.Thread(target=self._renew_until_over, name="lease", daemon=True)

    def take(self) -> bool:
        """Takes the name if nobody has it, or if the lease of who has it ran out."""
        if self._write(ABSENT):
            return True
        found = self._place.stat(self._key)
        held = self._terms()
        if found is None or held is None:
            # Given back at this very moment: whoever tries again will have it.
            return False
        if held.owner == self._owner:
            # A request that was repeated on the way: the first one made the object, the second found it there.
            self._generation = found.generation
            return True
        return held.expires_at <= self._clock() and self._write(found.generation)

    def keep(self) -> None:
        """Begins to renew the lease, on a thread."""
        self._keeper.start()

    def give_back(self) -> None:
        """Returns the name back. Should the store not hear of it, the lease runs out by itself."""
        self._over.set()
        self._keeper.join(_LAST_WORD_SECONDS)
        try:
            self._place.delete(self._key, if_generation=self._generation)
        except StoreError as error:
            _log.warning("a lease was not given back; it runs out by itself", lease=self._key, cause=error.message)

    def _renew_until_over(self) -> None:
        while not self._over.wait(self._lease.total_seconds() / _RENEWALS_A_LEASE):
            try:
                renewed = self._write(self._generation)
            except StoreError as error:
                _log.warning("a lease could not be renewed", lease=self._key, cause=error.message)
                continue
            if not renewed:
                _log.warning("a lease was taken over by another run", lease=self._key)
                return

    def _write(self, generation: str) -> bool:
        terms = LeaseRecord(owner=self._owner, expires_at=self._clock() + self._lease)
        try:
            self._generation = self._place.write(
                self._key, msgspec.json.encode(terms), if_generation=generation
            ).generation
        except ConflictError:
            return False
        return True

    def _terms(self) -> LeaseRecord | None:
        content = self._place.read(self._key)
        try:
            return None if content is None else msgspec.json.decode(content, type=LeaseRecord)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Nobody of ours wrote that; it must not block an hour for ever.
            return LeaseRecord(owner="", expires_at=datetime.min.replace(tzinfo=UTC))
