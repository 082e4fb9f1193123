"""Columns as numpy's arrays and back, without pandas.

Arrow's own ways (``to_numpy``, ``pa.array``, ``pa.scalar``, ``as_py`` of a time) import pandas first wherever it is
installed, which takes as long as a tenth of all hours' coverage.
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
    """Returns a column of numbers, none of them null, in its own type; it cannot be written to."""
    if not len(column):
        return np.empty(0, np.dtype(str(column.type)))
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    given: npt.NDArray[Any] = np.from_dlpack(whole)
    return given


def counts(column: Column, *, absent: int = 0) -> npt.NDArray[np.int64]:
    """Returns an int64 column, with another number for null."""
    return numbers(pc.fill_null(column, integers(np.array([absent]))[0]))


def objects(column: Column) -> list[Any]:
    """Returns a column as Python's values, times as aware ones in UTC."""
    if not pa.types.is_timestamp(column.type):
        return column.to_pylist()
    micros = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    return [None if value is None else _EPOCH + timedelta(microseconds=value) for value in micros]


def texts(column: Column) -> npt.NDArray[np.object_]:
    """Returns a column of texts as objects, with None for null; those that are equal are one object."""
    if not len(column):  # for which Arrow would import pandas
        return np.array([], dtype=np.object_)
    whole: Any = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    encoded = whole.dictionary_encode()
    words = np.array([*encoded.dictionary.to_pylist(), None], dtype=np.object_)
    given: npt.NDArray[np.object_] = words[counts(encoded.indices.cast(pa.int64()), absent=len(words) - 1)]
    return given


def are(column: Column, value: str) -> npt.NDArray[np.bool_]:
    """Says which texts of a column, none of them null, are this one."""
    return flags(pc.equal(column, text([value])[0]))


def flags(column: Column) -> npt.NDArray[np.bool_]:
    """Returns a column of booleans, none of them null."""
    return numbers(column.cast(pa.uint8())).astype(np.bool_)


def integers(values: npt.NDArray[np.int64], *, absent: npt.NDArray[np.bool_] | None = None) -> pa.Array[Any]:
    """Makes an int64 column, with null where ``absent`` says so."""
    valid = None if absent is None else bits((~absent).tobytes())
    return pa.Array.from_buffers(pa.int64(), len(values), [valid, pa.py_buffer(values.astype(np.int64).tobytes())])


def booleans(values: npt.NDArray[np.bool_]) -> pa.Array[Any]:
    """Makes a boolean column."""
    return boolean(values.tobytes())
