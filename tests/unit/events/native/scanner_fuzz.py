"""A program that gives the compiled reader text that was cut and changed at random, at the very end of its memory.

Usage: ``python -m tests.unit.events.native.scanner_fuzz LIBRARY ROUNDS SEED``. It prints how many texts were read and
how many were refused. It looks for reads and writes out of bounds, so it runs with a library that checks every access
and ends the program at the first that is wrong.
"""

from __future__ import annotations

import ctypes
import random
import sys
from itertools import accumulate
from typing import Final

from etl.hours import Hour
from etl.practice.generator import generate_hour

_MARKS: Final = (
    *(b'"', b",", b":", b"{", b"}", b"[", b"]", b" ", b"\n", b"\\", b"\\u00", b"\\ud83d", b"\xf0\x9f", b"0"),
    *(b"%", b"%25", b"#64;", b"00064;", b"x40;"),
)
_TEXTS: Final = 5
_MEMBERS: Final = 7
ENTITIES: Final = (
    b'{"id":1,"login":"ann","display_login":"ann","gravatar_id":"","url":"u","avatar_url":"a"}',
    b'{"id":-12345678901234567,"name":"ann/tool","url":"\xc3\xa4"}',
    b'{"login":"b"}',
)


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
    code.hidden(exact, ctypes.c_int64(len(text)))
    count: int = code.scan(exact, ctypes.c_int64(len(text)), ctypes.c_uint64(1), events, types, summary)
    if count >= 0:
        sizes = (summary[0], 4 * count, 8 * count, 8 * count, count, _TEXTS * 4 * (count + 1), sum(summary[3:]))
        places = [(ctypes.c_char * size)() for size in sizes]
        code.lay_out(exact, events, ctypes.c_int64(count), types, summary, *places)
    return count


def read_entities(code: ctypes.CDLL, texts: list[bytes]) -> int:
    """Has some entities read, one behind the other."""
    data = b"".join(texts)
    exact = (ctypes.c_char * len(data)).from_buffer_copy(data)
    ends = (ctypes.c_int32 * (len(texts) + 1))(*accumulate(map(len, texts), initial=0))
    found = (ctypes.c_char * (72 * len(texts)))()
    having, sizes = (ctypes.c_int64 * _MEMBERS)(), (ctypes.c_int64 * _MEMBERS)()
    count = ctypes.c_int64(len(texts))
    sound: int = code.scan_entities(exact, ends, count, ctypes.c_uint32(127), found, having, sizes)
    for member, size in enumerate(sizes if sound >= 0 else []):
        places = [(ctypes.c_char * room)() for room in (len(texts), 8 * len(texts), 4 * (len(texts) + 1), size)]
        code.lay_out_member(exact, found, count, ctypes.c_uint32(member), *places)
    return sound


def main() -> None:
    """Reads the requested number of texts."""
    library, rounds, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    code = ctypes.CDLL(library)
    code.scan.restype = code.scan_entities.restype = ctypes.c_int64
    dice = random.Random(seed)  # noqa: S311 -- no secret
    lines = [*generate_hour(Hour.of(2011, 6, 7, 8), events=30), *generate_hour(Hour.of(2025, 12, 7, 8), events=30)]
    counts = [read(code, changed(b"".join(dice.sample(lines, dice.randrange(1, 4))), dice)) for _ in range(rounds)]
    counts += [read(code, b"".join(line.replace(b"Event", b"%d" % number) for number, line in enumerate(lines * 20)))]
    for share in (0, 0.2):
        for _ in range(rounds):
            texts = [changed(text, dice) if dice.random() < share else text for text in dice.choices(ENTITIES, k=3)]
            counts.append(read_entities(code, texts))
    print(sum(count >= 0 for count in counts), "read,", sum(count < 0 for count in counts), "refused")  # noqa: T201


if __name__ == "__main__":
    main()
