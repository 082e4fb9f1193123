"""A program that gives the compiled reader text that was cut and changed at random, at the very end of its memory.

Usage: ``python -m tests.unit.events.scan_fuzz LIBRARY ROUNDS SEED``. It says how many texts were read and how many were
refused. What it looks for, nobody can see from within: reading or writing one byte too far. So it is run with a library
that checks every access itself, and ends the program at the first that is wrong.
"""

from __future__ import annotations

import ctypes
import random
import sys
from typing import Final

from etl.hours import Hour
from etl.practice.generator import generate_hour

_MARKS: Final = (
    *(b'"', b",", b":", b"{", b"}", b"[", b"]", b" ", b"\n", b"\\", b"\\u00", b"\\ud83d", b"\xf0\x9f"),
    b"0",
)
_TEXTS: Final = 5


def changed(text: bytes, dice: random.Random) -> bytes:
    """Cuts a text anywhere or not, changes some bytes of what is left, and has it end in the middle of something."""
    some = bytearray(text[: dice.choice((len(text), dice.randrange(1, len(text) + 1)))])
    for _ in range(dice.choice((0, 0, 1, 2, 5))):
        place = dice.randrange(len(some) + 1)
        some[place : place + dice.randrange(2)] = dice.choice((*_MARKS, bytes([dice.randrange(256)])))
    return bytes(some) + dice.choice((b"", dice.choice(_MARKS)))


def read(code: ctypes.CDLL, text: bytes) -> int:
    """Has one text read; all memory is as large as it has to be, and no larger."""
    exact = (ctypes.c_char * len(text)).from_buffer_copy(text)
    events, types = (ctypes.c_char * len(text))(), (ctypes.c_char * (64 * 24))()
    summary = (ctypes.c_int64 * (3 + _TEXTS))()
    count: int = code.scan(exact, ctypes.c_int64(len(text)), ctypes.c_uint64(1), events, types, summary)
    if count >= 0:
        sizes = (summary[0], 4 * count, 8 * count, 8 * count, count, _TEXTS * 4 * (count + 1), sum(summary[3:]))
        places = [(ctypes.c_char * size)() for size in sizes]
        code.lay_out(exact, events, ctypes.c_int64(count), types, summary, *places)
    return count


def main() -> None:
    """Reads as many texts as it was told."""
    library, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    code = ctypes.CDLL(library)
    code.scan.restype = ctypes.c_int64
    dice = random.Random(seed)  # noqa: S311 -- no secret
    lines = [*generate_hour(Hour.of(2011, 6, 7, 8), events=30), *generate_hour(Hour.of(2025, 12, 7, 8), events=30)]
    counts = [read(code, changed(b"".join(dice.sample(lines, dice.randrange(1, 4))), dice)) for _ in range(rounds)]
    counts += [read(code, b"".join(line.replace(b"Event", b"%d" % number) for number, line in enumerate(lines * 20)))]
    print(sum(count > 0 for count in counts), "read,", sum(count < 0 for count in counts), "refused")  # noqa: T201


if __name__ == "__main__":
    main()
