"""A byte stream with lookahead."""

from __future__ import annotations

from collections.abc import Iterable


class Peekable:
    """A byte stream with lookahead.

    Args:
        pieces: The stream, in chunks of any size.

    Attributes:
        position: Number of bytes consumed.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._held = bytearray()
        self._taken = 0
        self.position = 0

    def peek(self, size: int) -> bytes:
        """Returns the next ``size`` bytes without consuming them; fewer only at the end."""
        if len(self._held) - self._taken < size:
            del self._held[: self._taken]
            self._taken = 0
        while len(self._held) - self._taken < size and (piece := next(self._pieces, None)) is not None:
            self._held += piece
        return bytes(self._held[self._taken : self._taken + size])

    def take(self, size: int) -> None:
        """Consumes bytes that were peeked at."""
        self._taken += size
        self.position += size
