"""Reads text as the pipeline does, and compares records as JSON."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
from typing_extensions import override

from etl.archive.damage import Damage
from etl.archive.documents import blocks
from etl.events.columns import PARQUET_SCHEMA
from etl.events.decode import Decoder, RowGroup
from etl.events.emails import EmailPolicy

KEY: Final = b"a key that is for tests alone"
Rows = list[dict[str, Any]]


def policy(name: str) -> EmailPolicy:
    """The policy of that name; ``keyed`` is ``hash`` with a key."""
    return EmailPolicy.of("hash", KEY) if name == "keyed" else EmailPolicy.of(name)


def read(lines: Iterable[bytes], emails: str, *, block_size: int = 8 << 20) -> Rows:
    """Reads sound documents through blocks, decoder and table; in order of type."""
    group = decode(lines, emails, block_size=block_size)
    table = group.table()
    assert table.schema.equals(PARQUET_SCHEMA)
    table.validate(full=True)
    rows: Rows = table.to_pylist()
    return rows


def decode(lines: Iterable[bytes], emails: str, *, block_size: int = 8 << 20) -> RowGroup:
    """Reads sound documents, too few to fill a row group."""
    damages: list[Damage] = []
    decoder = Decoder(policy(emails), damages.append)
    for block in blocks([b"".join(line + b"\n" for line in lines)], damages.append, size=block_size):
        full = decoder.add(decoder.read(block)) is not None
        assert not full
    refused = [damage.reason for damage in damages]  # never the bytes: a failure would print them
    assert not refused
    return decoder.rest()


def unsound(line: bytes) -> bytes:
    """The same record in bytes that only the exact reading takes."""
    return b"{ " + line[1:]


class Lines(list[bytes]):
    """Documents, one a line. They may hold addresses: a failing test prints their number."""

    @override
    def __repr__(self) -> str:
        return f"<{len(self)} lines>"

    def some(self, most: int) -> Lines:
        """About so many of them, evenly spread."""
        return Lines(self[:: max(1, len(self) // most)])


def archive_lines(file: Path) -> Lines:
    """The documents of a gzip file."""
    return Lines(line for line in gzip.decompress(file.read_bytes()).split(b"\n") if line)


def real_lines(real_data: Path) -> dict[str, Lines]:
    """Every real record at hand, by where it is from."""
    found = {file.name: archive_lines(file) for file in hours(real_data)}
    found["fixtures"] = Lines(compact(file.read_bytes()) for file in sorted(real_data.glob("fixtures/*/*_raw.json")))
    for file in [*sorted(real_data.glob("samples/*")), real_data / "odd/one-very-long-line.jsonl"]:
        text = file.read_bytes()
        if file.suffix == ".jsonl":
            found[file.name] = Lines(line for line in text.split(b"\n") if line)
        else:
            records = text if text.lstrip().startswith(b"[") else b"[" + text + b"]"
            found[file.name] = Lines(compact(bytes(record)) for record in _LIST.decode(records))
    return found


def hours(real_data: Path) -> list[Path]:
    """The whole hours."""
    return sorted(real_data.glob("archive/*.json.gz"))


def parse(text: bytes | str) -> Any:
    """Parses JSON; a number that is no int stays as it is written."""
    return _JSON.decode(text)


def texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value, keys included."""
    if isinstance(value, dict):
        for key, part in value.items():
            yield key
            yield from texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from texts(part)
    elif isinstance(value, str):
        yield value


def canonical(record: bytes | str) -> bytes:
    """The same text for records that are equal as JSON."""
    return msgspec.json.encode(parse(record), order="deterministic")


def compact(record: bytes) -> bytes:
    """The same bytes without white space between them, so on one line."""
    return msgspec.json.format(record, indent=-1)


_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_JSON: Final = msgspec.json.Decoder(float_hook=lambda digits: {"number": digits})
