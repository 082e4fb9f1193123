"""Builds Arrow arrays directly from buffers.

``pa.array`` inspects every value and, if pandas is installed, imports it first, which takes most of a second. These
functions build the same arrays from what the decoder has anyway: contiguous bytes and machine integers.
"""

from __future__ import annotations

import io
from array import array
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import json

# The published stubs lack some overloads.
_compute: Final[Any] = pc


def binary(values: Sequence[bytes]) -> pa.Array[Any]:
    """Returns a binary array."""
    return _joined(pa.binary(), list(map(len, values)), b"".join(values))


def utf8(values: Sequence[bytes]) -> pa.Array[Any]:
    """Returns a string array from bytes that are known to be valid UTF-8."""
    return _joined(pa.string(), list(map(len, values)), b"".join(values))


def text(values: Sequence[str]) -> pa.Array[Any]:
    """Returns a string array."""
    joined = "".join(values)
    if joined.isascii():
        return _joined(pa.string(), list(map(len, values)), joined.encode())
    return utf8([value.encode() for value in values])


def int64(values: Iterable[int]) -> pa.Array[Any]:
    """Returns an int64 array."""
    return _fixed(pa.int64(), array("q", values))


def int32(values: Iterable[int]) -> pa.Array[Any]:
    """Returns an int32 array."""
    return _fixed(pa.int32(), array("i", values))


def boolean(values: Iterable[int]) -> pa.Array[Any]:
    """Returns a boolean array."""
    flags = bytes(values)
    return pa.Array.from_buffers(pa.uint8(), len(flags), [None, pa.py_buffer(flags)]).cast(pa.bool_())


def places(present: Iterable[bool]) -> pa.Array[Any]:
    """Returns the index of each row among the rows that are present; null for the others (int32)."""
    flags = bytes(present)
    counted = array("i", accumulate(flags, initial=0))
    return pa.Array.from_buffers(pa.int32(), len(flags), [bits(flags), pa.py_buffer(counted)])


def bits(flags: bytes | memoryview) -> pa.Buffer:
    """Packs one byte per flag into one bit per flag, as in Arrow's validity bitmaps."""
    # The same as the values of a boolean array.
    packed: Any = boolean(flags).buffers()[1]
    return packed  # type: ignore[no-any-return]


def nulls(count: int, kind: pa.DataType) -> pa.Array[Any]:
    """Returns an array of nulls."""
    return pa.nulls(count, kind)  # type: ignore[no-any-return, call-overload]  # stubs lag


def lengths(values: pa.Array[Any]) -> memoryview:
    """Returns the length in bytes of each string or binary value; there must be no nulls."""
    _, counts = _compute.binary_length(values).buffers()
    return memoryview(counts).cast("i")[: len(values)]


def wrap(before: str, values: pa.Array[Any], after: str) -> pa.Array[Any]:
    """Adds a prefix and a suffix to every value; nulls stay null."""
    parts = text([before, after, ""])
    wrapped: pa.Array[Any] = _compute.binary_join_element_wise(parts[0], values, parts[1], parts[2])
    return wrapped


def data_of(values: pa.Array[Any]) -> memoryview:
    """Returns a view of the concatenated bytes of a string array's values."""
    _, offsets, data = values.buffers()
    if offsets is None or data is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("i")
    return memoryview(data)[ends[values.offset] : ends[values.offset + len(values)]]


def _joined(kind: pa.DataType, lengths: list[int], data: bytes) -> pa.Array[Any]:
    offsets = array("i", accumulate(lengths, initial=0))
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _fixed(kind: pa.DataType, values: array[int]) -> pa.Array[Any]:
    return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values)])


def table(rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """Returns a table of rows, built by Arrow's JSON reader: ``pa.Table.from_pylist`` would import pandas.

    Args:
        rows: JSON values and aware datetimes by column; missing values are null.
        schema: The schema of the table.

    Raises:
        pa.ArrowInvalid: If a value has another type, or a column is unknown.
    """
    if not rows:
        return pa.Table.from_batches([], schema=schema)
    lines = io.BytesIO(msgspec.json.Encoder().encode_lines(rows))
    # The JSON reader does not support non-nullable columns.
    relaxed = pa.schema([field.with_nullable(nullable=True) for field in schema])
    options = json.ParseOptions(explicit_schema=relaxed, unexpected_field_behavior="error")
    return json.read_json(lines, parse_options=options).cast(schema)
