"""Bytes that can be looked at before they are taken."""

from __future__ import annotations

from collections.abc import Iterable


class Peekable:
    """A stream of bytes with a view of what comes next.

    Args:
        pieces: The stream in pieces of any size.

    Attributes:
        position: How many bytes were taken.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray()
        self._taken = 0
        self.position = 0

    def peek(self, size: int) -> bytes:
        """Returns the next bytes; fewer than ``size`` only at the end."""
        if len(self._held) - self._taken < size:
            del self._held[: self._taken]
            self._taken = 0
        while len(self._held) - self._taken < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        return bytes(self._held[self._taken : self._taken + size])

    def take(self, size: int) -> None:
        """Passes over bytes that were peeked at."""
        self._taken += size
        self.position += size
