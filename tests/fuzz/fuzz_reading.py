"""A coverage-guided fuzzer of reading: containers, encodings, documents, addresses, the compiled reader.

Usage: ``make fuzz ARGS="-max_total_time=600"``. Each file is read twice under one policy: by the compiled reader and by
its definition in Python. The fuzzer stops, and keeps the file that was the cause, when

* reading raises anything but the errors that a run reports,
* the two readings differ in a row, in what is damaged, or in a count,
* an address that is in clear in the file is in clear in what would be stored.
"""

from __future__ import annotations

import gzip
import sys
import zipfile
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import atheris

with atheris.instrument_imports(include=["etl"]):
    from etl.archive.damage import Damage, OffsetBase
    from etl.archive.documents import blocks
    from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_damaged
    from etl.archive.splitting import split
    from etl.errors import EtlError
    from etl.events import decode, entities
    from etl.events.decode import Decoder, splitter
    from etl.events.emails import EmailPolicy
    from etl.hours import Hour
    from etl.practice.generator import generate_hour

ADDRESS: Final = b"zebulon.quux@host.example"
POLICIES: Final = (
    EmailPolicy.of("hash"),
    EmailPolicy.of("drop"),
    EmailPolicy.of("hash", b"0123456789abcdef"),
    EmailPolicy.of("keep"),
)
_MOST_EXPANDED: Final = 4 << 20


def expand(file: bytes) -> tuple[list[bytes], list[Damage]] | None:
    """Returns the text of a file as a run reads it, and its damage; None if the run would refuse it."""
    for way in (inflate, inflate_damaged):
        damage: list[Damage] = []
        try:
            return list(way([file], damage.append, max_expanded=_MOST_EXPANDED)), damage
        except BrokenStreamError:
            continue
        except EtlError:
            return None
    raise AssertionError("careful reading gave up")


def read(text: list[bytes], policy: EmailPolicy) -> tuple[list[Any], list[str], int]:
    """Returns the damage of a text, its rows, and the number of duplicates."""
    damage: list[Damage] = []
    decoder = Decoder(policy, damage.append)
    for block in blocks(text, damage.append, split=splitter()):
        decoder.add(decoder.read(block))
    group = decoder.rest()
    rows = sorted(map(str, group.table().to_pylist())) if len(group) else []
    found = sorted((run.reason, run.offset, run.data, run.kept, run.lost) for run in damage)
    return found, rows, decoder.counts.duplicates


def read_by_definition(text: list[bytes], policy: EmailPolicy) -> tuple[list[Any], list[str], int]:
    """Does what ``read`` does, without compiled code."""
    with (
        patch.object(decode, "load_scanner", lambda: None),
        patch.object(entities, "load_scanner", lambda: None),
        patch.object(sys.modules[__name__], "splitter", lambda: split),
    ):
        return read(text, policy)


def check(data: bytes) -> None:
    """Reads one file; its first byte chooses the policy."""
    if not data:
        return
    policy = POLICIES[data[0] % len(POLICIES)]
    expanded = expand(data[1:])
    if expanded is None:
        return
    text, damage = expanded
    compiled = read(text, policy)
    if compiled != read_by_definition(text, policy):
        raise AssertionError("the compiled reader and its definition differ")
    if not policy.keeps:
        stored = [policy.scrub_damaged(policy.scrub(run[2])) for run in compiled[0]]
        stored += [policy.scrub_bytes(run.data) for run in damage if run.place is not OffsetBase.TEXT]
        stored += [row.encode(errors="surrogatepass") for row in compiled[1]]
        if any(ADDRESS in part for part in stored):
            raise AssertionError("an address would be stored in clear")


def seeds(folder: Path) -> None:
    """Writes what the fuzzer begins with: hours of all eras with the address in them, packed in each container."""
    folder.mkdir(parents=True, exist_ok=True)
    for hour in ("2011-02-15-0", "2013-02-15-0", "2015-01-01-15", "2024-05-21-15", "2025-12-15-0"):
        lines = [line for line in generate_hour(Hour.parse(hour), events=30) if len(line) < 1_500][:3]
        text = b"".join(lines).replace(b"hello", ADDRESS) + b'{"type":"PushEvent","email":"%s"}\n' % ADDRESS
        zipped = BytesIO()
        with zipfile.ZipFile(zipped, "w", zipfile.ZIP_DEFLATED) as file:
            file.writestr("hour.json", text)
        packed = (text, gzip.compress(text), gzip.compress(text, 0), zipped.getvalue(), text.decode().encode("utf-16"))
        for number, file_ in enumerate(packed):
            for policy in range(len(POLICIES)):
                (folder / f"{hour}-{number}-{policy}").write_bytes(bytes([policy]) + file_)


def main() -> None:
    """Fuzzes until it is stopped, or fails."""
    corpus = Path("build/fuzz/corpus")
    seeds(corpus)
    atheris.Setup([*sys.argv, str(corpus), "-artifact_prefix=build/fuzz/", "-max_len=4096", "-timeout=20"], check)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
