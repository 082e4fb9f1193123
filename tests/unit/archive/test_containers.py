"""Whatever an hour is packed in and whatever its text is written in: the text comes out, in UTF-8."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable
from hashlib import sha256
from typing import Final

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.damage import Damage, DamageReason
from etl.archive.gzip_stream import BrokenStreamError, inflate, inflate_damaged
from tests.unit.archive.builders import LINES, in_pieces, member

pytestmark = pytest.mark.timeout(120)

TEXT: Final = b"".join(LINES[:40]) + '{"id":"1","type":"Event","payload":{"a":"zoë 中 😀"}}\n'.encode()
ENCODINGS: Final = (*("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"),)


class _Unseekable(io.RawIOBase):
    """A sink that cannot go back, so that a ZIP's sizes stand behind its members."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        piece = bytes(data)  # type: ignore[call-overload]  # bytes, or a view of them
        self.written += piece
        return len(piece)


def zipped(text: bytes, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        file.writestr("2015-01-01-15.json", text)
    return buffer.getvalue()


def streamed_zip(text: bytes) -> bytes:
    sink = _Unseekable()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("2015-01-01-15.json", text)
    return bytes(sink.written)


def zstd(text: bytes) -> bytes:
    found: bytes = pa.Codec("zstd").compress(text, asbytes=True)
    return found


def zstd_of_unknown_size(text: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(text)
    return sink.getvalue().to_pybytes()


CONTAINERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "gzip without compression": lambda text: member(text, level=0),
    "zstd": zstd,
    "zstd of unknown size": zstd_of_unknown_size,
    "zip": zipped,
    "stored zip": lambda text: zipped(text, zipfile.ZIP_STORED),
    "streamed zip": streamed_zip,
    "gzip in zstd": lambda text: zstd(gzip.compress(text)),
}


def read(file: bytes, size: int = 1_000) -> tuple[bytes, list[Damage]]:
    """Reads as the pipeline does."""
    damage: list[Damage] = []
    pieces = in_pieces(file, size)
    try:
        return b"".join(inflate(pieces, damage.append, max_expanded=1 << 30)), damage
    except BrokenStreamError:
        damage.clear()
        return b"".join(inflate_damaged(pieces, damage.append, max_expanded=1 << 30)), damage


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("container", CONTAINERS)
def test_the_text_comes_out_of_any_container_in_any_encoding(container: str, encoding: str) -> None:
    file = CONTAINERS[container](TEXT.decode().encode(encoding))
    for size in (len(file), 1_000, 7):
        assert read(file, size) == (TEXT, [])
    damage: list[Damage] = []
    assert b"".join(inflate_damaged([file], damage.append, max_expanded=1 << 30)) == TEXT
    assert damage == []


@settings(max_examples=100, deadline=None)
@given(
    parts=st.lists(
        st.tuples(st.sampled_from(sorted(CONTAINERS)), st.sampled_from(ENCODINGS))
        # Nothing says where plain text in one encoding ends and plain text in another begins.
        .filter(lambda part: part[0] != "plain" or part[1] == "utf-8"),
        max_size=4,
    )
)
def test_containers_may_follow_each_other(parts: list[tuple[str, str]]) -> None:
    file = b"".join(CONTAINERS[container](TEXT.decode().encode(encoding)) for container, encoding in parts)
    text, damage = read(file)
    assert text == TEXT * len(parts)
    assert damage == []


@pytest.mark.parametrize("container", ["gzip", "zstd", "zip", "streamed zip"])
def test_a_container_that_ends_early_gives_what_had_come(container: str) -> None:
    # Several blocks of zstd, which are up to 128 KiB of text each, and none can be read before it is whole.
    text = b"".join(b'{"id":"%d","sha":"%s"}\n' % (n, sha256(b"%d" % n).hexdigest().encode()) for n in range(9_000))
    file = CONTAINERS[container](text)
    found, damage = read(file[: len(file) * 2 // 3])
    assert found
    assert text.startswith(found)
    assert [run.reason for run in damage] == [DamageReason.TRUNCATED_GZIP]


@pytest.mark.parametrize("container", ["zstd", "zip"])
def test_a_broken_container_costs_none_behind(container: str) -> None:
    file = bytearray(CONTAINERS[container](TEXT))
    # One bit may decode to other text, which only a checksum would show; zstd has none here.
    file[60:108] = b"\xff" * 48
    found, damage = read(bytes(file) + member(LINES[0]))
    assert found.endswith(LINES[0])
    assert damage


def test_text_behind_a_broken_stream_is_read() -> None:
    # Its first block is of a kind that does not exist. In the middle of a block any bytes may decode to something.
    file = member(TEXT)[:10] + b"\xff" * 40 + TEXT
    found, damage = read(file)
    assert found.endswith(TEXT)
    assert damage


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_lost_byte_costs_a_few_lines_and_not_the_rest(encoding: str) -> None:
    wide = TEXT.decode().encode(encoding)
    at = len(wide) // 2 + 1
    found, damage = read(wide[:at] + wide[at + 1 :])
    lost = set(TEXT.splitlines()) - set(found.splitlines())
    assert len(lost) <= 2
    assert damage == []
