"""Chance that falls the same way everywhere: the randomness behind the practice archive.

Only ``getrandbits`` and ``random`` of the Mersenne Twister are used, whose output Python keeps the same from
version to version, and only whole numbers are computed from them: logarithms and powers differ in the last bit
between C libraries, and one such bit would change every byte that follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from random import Random
from typing import Final, TypeVar

_Item = TypeVar("_Item")
_MASK: Final = (1 << 64) - 1


def mix(value: int) -> int:
    """Scatters a whole number over 64 bits (the finaliser of SplitMix64): equal in, equal out."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def fingerprint(*key: object) -> int:
    """Makes 64 bits of a few texts and numbers; never of objects whose ``repr`` holds an address."""
    return int.from_bytes(blake2b(repr(key).encode(), digest_size=8).digest(), "big")


class Dice:
    """A stream of chance that depends on its key alone.

    Attributes:
        bits: ``bits(n)`` gives n random bits as a whole number.
        unit: ``unit()`` gives a number in [0, 1).
    """

    __slots__ = ("bits", "unit")

    def __init__(self, key: int) -> None:
        stream = Random(key)  # noqa: S311 - made-up data wants repeatable chance, not secret chance
        self.bits = stream.getrandbits
        self.unit = stream.random

    def below(self, count: int) -> int:
        """Draws 0 <= n < count."""
        return self.bits(64) * count >> 64

    def between(self, low: int, high: int) -> int:
        """Draws low <= n <= high."""
        return low + (self.bits(64) * (high - low + 1) >> 64)

    def pick(self, items: Sequence[_Item]) -> _Item:
        """Draws one of the items."""
        return items[self.bits(32) * len(items) >> 32]

    def octave(self, low: int, high: int) -> int:
        """Draws 0 <= n < 2**high, small numbers far more often.

        Each doubling from ``2**low`` on is as likely as the one before, which makes the popularity of n fall
        as 1/n: Zipf's law in steps, without a logarithm.
        """
        octave = self.between(low, high)
        if octave == low:
            return self.bits(low) if low else 0
        return (1 << octave - 1) + self.bits(octave - 1)

    def sha(self) -> str:
        """Draws a commit hash, 40 hex digits."""
        return f"{self.bits(160):040x}"
