"""Converts between Arrow columns and numpy arrays without pandas.

Arrow's own conversions (``to_numpy``, ``pa.array``, ``pa.scalar``, ``as_py`` of a timestamp) import pandas if it is
installed. That import takes a tenth of the time of a coverage query for all hours.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from etl.events.arrow import bits, boolean, text

Column: TypeAlias = "pa.Array[Any] | pa.ChunkedArray[Any]"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def numbers(column: Column) -> npt.NDArray[Any]:
    """Returns a numeric column without nulls as a read-only array of the same type."""
    if not len(column):
        return np.empty(0, np.dtype(str(column.type)))
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    given: npt.NDArray[Any] = np.from_dlpack(whole)
    return given


def counts(column: Column, *, absent: int = 0) -> npt.NDArray[np.int64]:
    """Returns an int64 column as an array, with nulls replaced by ``absent``."""
    return numbers(pc.fill_null(column, integers(np.array([absent]))[0]))


def objects(column: Column) -> list[Any]:
    """Returns a column as Python values; timestamps become aware datetimes in UTC."""
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    micros = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in micros]


def texts(column: Column) -> npt.NDArray[np.object_]:
    """Returns a string column as an object array, with None for null; equal strings share one object."""
    if not len(column):  # Arrow would import pandas for an empty column
        return np.array([], dtype=np.object_)
    whole: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    words = np.array([*encoded.dictionary.to_pylist(), None], dtype=np.object_)
    given: npt.NDArray[np.object_] = words[counts(encoded.indices.cast(pa.int64()), absent=len(words) - 1)]
    return given


def equals(column: Column, value: str) -> npt.NDArray[np.bool_]:
    """Returns which values of a string column without nulls equal ``value``."""
    return flags(pc.equal(column, text([value])[0]))


def flags(column: Column) -> npt.NDArray[np.bool_]:
    """Returns a boolean column without nulls as an array."""
    return numbers(column.cast(pa.uint8())).astype(np.bool_)


def integers(values: npt.NDArray[np.int64], *, absent: npt.NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """Returns an int64 column from an array, with null where ``absent`` is true."""
    valid = None if absent is None else bits((~absent).tobytes())
    return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(values.astype(np.int64).tobytes())])


def booleans(values: npt.NDArray[np.bool_]) -> pa.Array[Any]:
    """Returns a boolean column from an array."""
    return boolean(values.tobytes())
