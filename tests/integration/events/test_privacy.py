"""No address gets past the policy, whatever a document is packed in, written in, and damaged by."""

from __future__ import annotations

import gzip
import io
import os
import random
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.archive.documents import blocks
from etl.archive.folder_source import FolderSource
from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_damaged
from etl.errors import EtlError
from etl.events.decode import Decoder, splitter
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions, run_hour
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.parquet import Quarantine

LAKES: Final = 60
"""How many files become hours of a lake."""
EXAMPLES: Final = int(os.environ.get("PRIVACY_EXAMPLES", "1000"))
"""How many files are read without a lake, which takes a tenth of the time; CI tries ten thousand."""
HOUR: Final = Hour.parse("2015-01-01-15")
LOCAL: Final = "zebulon.quux"
ADDRESS: Final = f"{LOCAL}@host.example"
ENCODINGS: Final = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
DOCUMENT: Final = (
    '{"id":"%d","type":"PushEvent","actor":{"id":1,"login":"ann"},"repo":{"id":1,"name":"ann/one"},"payload":%s,'
    '"public":true,"created_at":"2015-01-01T15:00:01Z"}'
)
PAYLOADS: Final = (
    '{"commits":[{"author":{"email":"ADDRESS","name":"Ann"},"message":"m"}]}',
    '{"body":"by <ADDRESS>, thanks"}',
    '{"body":"x\\nADDRESS"}',
    '{"shas":[["0123456789abcdef0123456789abcdef01234567","ADDRESS","m","n"]]}',
    '{"ADDRESS":1}',
)


def zipped(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("hour.json", data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    found: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return found


CONTAINERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "stored": lambda data: gzip.compress(data, 0),
    "zstd": zstd,
    "zip": zipped,
}


def drawn_file(dice: random.Random) -> bytes:
    """Draws a file: containers in sequence, each with documents that have the address, perhaps damaged in and out."""
    return _harmed(b"".join(_drawn_part(dice) for _ in range(dice.randint(1, 3))), dice)


def _drawn_part(dice: random.Random) -> bytes:
    written = dice.choice([ADDRESS, ADDRESS.replace("@", "\\u0040"), ADDRESS.replace("@", "%40")])
    documents = [
        DOCUMENT % (number, dice.choice(PAYLOADS).replace("ADDRESS", written)) for number in range(dice.randint(1, 3))
    ]
    text = dice.choice(["\n", "", ",\n", "\r\n"]).join(documents).encode(dice.choice(ENCODINGS))
    return CONTAINERS[dice.choice(sorted(CONTAINERS))](_harmed(text, dice))


def _harmed(data: bytes, dice: random.Random) -> bytes:
    for _ in range(dice.randint(0, 2)):
        start, end = sorted((dice.randint(0, len(data)), dice.randint(0, len(data))))
        put = dice.choice([bytes(7), dice.randbytes(dice.randint(0, 9))])
        data = dice.choice(
            [
                data[start:],
                data[:end] + data[start:],
                data[:start] + put + data[start:],
                data[:start] + data[start + 3 :],
            ]
        )
    return data


def shows(data: bytes) -> bool:
    """Whether bytes show the name of the address, in any encoding; in quarantine a cut name may be left."""
    return any(LOCAL.encode(encoding) + "@".encode(encoding) in data for encoding in ENCODINGS[0::2])


@pytest.mark.timeout(0)
@settings(max_examples=LAKES, deadline=None, suppress_health_check=list(HealthCheck))
@given(dice=st.randoms(use_true_random=False), mode=st.sampled_from(["hash", "drop"]))
def test_no_address_is_in_any_file_log_or_error(dice: random.Random, mode: str) -> None:
    file = drawn_file(dice)
    said = io.StringIO()
    folder = Path(tempfile.mkdtemp())
    try:
        (folder / "2015-01-01-15.json.gz").write_bytes(file)
        with redirect_stdout(said), redirect_stderr(said):
            lake = Lake.at(str(folder / "lake"))
            try:
                source = FolderSource(str(folder), folder)
                run_hour(HOUR, lake=lake, sources=[source], options=RunOptions(emails=EmailPolicy.of(mode)))
            except EtlError as error:
                said.write(f"{error.message} {error.hint}")
        for path in (folder / "lake").rglob("*"):
            if path.is_file():
                assert not shows(path.read_bytes())
            if path.suffix == ".parquet":
                for column in pq.read_table(path).columns:
                    for value in column.to_pylist():
                        held = value if isinstance(value, bytes) else str(value).encode()
                        if shows(held) or LOCAL.encode() + b"%40" in held:
                            raise AssertionError(f"an address is shown in {path.name}: {held!r}")
        assert not shows(said.getvalue().encode())
    finally:
        shutil.rmtree(folder)


REVEALED: Final = re.compile(rb"zebulon\.quux(?:@|%40)[\w-]+\.[A-Za-z]")
"""The name with a host behind it; where damage took the dot out of the host, it is no address any more."""


def stored(file: bytes, policy: EmailPolicy) -> list[bytes]:
    """The values that a run would write for a file: all columns of events and of quarantine."""
    for way in (inflate, inflate_damaged):
        quarantine = Quarantine(policy)
        decoder = Decoder(policy, quarantine.add)
        try:
            text = way([file], quarantine.add, max_expanded=1 << 20)
            groups = [decoder.add(decoder.read(block)) for block in blocks(text, quarantine.add, split=splitter())]
        except BrokenStreamError:
            continue
        tables = [group.table() for group in (*groups, decoder.rest()) if group is not None and len(group)]
        found = quarantine.finish()
        tables += [pq.read_table(found)] if found is not None else []
        quarantine.close()
        columns = [column for table in tables for column in table.columns]
        values = [value for column in columns for value in column.to_pylist() if value is not None]
        return [value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass") for value in values]
    raise AssertionError("careful reading gave up")


@pytest.mark.timeout(0)
@pytest.mark.parametrize("mode", ["hash", "drop"])
def test_no_address_is_in_what_thousands_of_files_give(mode: str) -> None:
    policy = EmailPolicy.of(mode)
    for seed in range(EXAMPLES // 2):
        values = stored(drawn_file(random.Random(seed)), policy)  # noqa: S311 -- no secret
        shown = [value for value in values if REVEALED.search(value.replace(b"\0", b""))]
        assert shown == [], f"an address is shown; the seed of the file is {seed}"
