"""Builds one table from plain events, which are read as columns, and from events that are read one by one.

What makes it fast (measured in ``benchmarks/README.md``):

* ``payload``, ``actor``, ``repo`` and ``org`` are copied byte for byte from the source by code that releases the
  interpreter lock (``etl.events.native.scanner``); the payload is never parsed into values;
* entities recur within an hour, so their bytes are dictionary-encoded first, and only distinct values are read
  (``etl.events.entities``); their columns are Arrow dictionaries, which the Parquet writer uses as they are;
* the events of each block are sorted by type, so a row group is sorted by slicing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain, repeat
from typing import Any, Final, cast

import pyarrow as pa
import pyarrow.compute as pc

from etl.events import arrow
from etl.events.batch import EventColumns
from etl.events.entities import read_entities
from etl.events.record import ENTITY_FIELDS, Row, join_object
from etl.events.schema import ARROW_SCHEMA, NAMES

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

PARQUET_SCHEMA: Final = pa.schema(
    [
        pa.field(field.name, pa.dictionary(pa.int32(), field.type))
        if field.type == pa.string() and field.name not in {"id", "payload"}
        else field
        for field in ARROW_SCHEMA
    ],
)
"""Schema of the tables of ``to_table``: the event schema, with dictionary-encoded strings where values recur."""


def to_table(parts: Sequence[EventColumns], rows: Sequence[Row]) -> pa.Table:
    """Returns a table of the events, sorted by type and then by position in the source.

    Args:
        parts: Plain events; may be empty.
        rows: Events that were read one by one; may be empty.

    Returns:
        A table with ``PARQUET_SCHEMA``; all chunks of a column have the same dictionary.
    """
    if not rows:
        return _columns_table(parts)
    exact = _rows_table(sorted(rows, key=lambda row: str(row["type"] or "")))
    if not parts:
        return exact
    both = pa.concat_tables([_columns_table(parts), exact]).unify_dictionaries()
    return both.take(pc.sort_indices(both["type"].cast(pa.string())))


def _rows_table(rows: Sequence[Row]) -> pa.Table:
    columns = []
    for field in ARROW_SCHEMA:
        values = [row[field.name] for row in rows]
        present = [value for value in values if value is not None]
        places = arrow.places(value is not None for value in values)
        columns.append(_make_array(field.type, present).take(places).cast(PARQUET_SCHEMA.field(field.name).type))
    return pa.Table.from_arrays(columns, schema=PARQUET_SCHEMA)


def _make_array(kind: pa.DataType, values: list[Any]) -> pa.Array[Any]:
    """Returns an array of values of one column without nulls."""
    if kind == pa.string():
        return arrow.text(values)
    if kind == pa.int64():
        return arrow.int64(values)
    if kind == pa.bool_():
        return arrow.boolean(values)
    return arrow.int64((value - _EPOCH) // _MICROSECOND for value in values).cast(kind)


def _columns_table(parts: Sequence[EventColumns]) -> pa.Table:
    runs = sorted(_runs(parts), key=lambda run: run[0])
    columns: dict[str, pa.Array[Any] | pa.ChunkedArray[Any]] = {
        "id": _gather([part.ids for part in parts], runs),
        "type": _types(runs),
        "public": _gather([part.public for part in parts], runs),
        "created_at": _gather([part.created_at for part in parts], runs),
        # Payloads are nearly all of the bytes, so they are not copied.
        "payload": pa.chunked_array([parts[part].payload.slice(start, size) for _, part, start, size in runs]),
    }
    left: dict[str, tuple[pa.Array[Any], pa.Array[Any]]] = {}
    for entity in ENTITY_FIELDS:
        encoded = pa.chunked_array([part.entities[entity] for part in parts]).dictionary_encode()
        chunks = cast("list[pa.DictionaryArray[Any, Any]]", encoded.chunks)
        indices = _gather([chunk.indices for chunk in chunks], runs)
        fields, rest = read_entities(entity, chunks[0].dictionary)
        left[entity] = indices, rest
        columns |= {f"{entity}_{key}": _spread(values, indices) for key, values in fields.items()}
    columns["other"] = _other(left)
    return pa.Table.from_arrays([columns[name] for name in NAMES], schema=PARQUET_SCHEMA)


def _runs(parts: Sequence[EventColumns]) -> Iterator[tuple[str, int, int, int]]:
    """Yields each run of events of one type: type, number of the part, start in the part, and length."""
    for number, part in enumerate(parts):
        start = 0
        for name, size in part.types:
            yield name, number, start, size
            start += size


def _types(runs: Sequence[tuple[str, int, int, int]]) -> pa.Array[Any]:
    names = list(dict.fromkeys(name for name, _, _, _ in runs))
    place = {name: at for at, name in enumerate(names)}
    indices = arrow.int32(chain.from_iterable(repeat(place[name], size) for name, _, _, size in runs))
    return pa.DictionaryArray.from_arrays(indices, arrow.text(names))


def _gather(arrays: Sequence[pa.Array[Any]], runs: Iterable[tuple[str, int, int, int]]) -> pa.Array[Any]:
    return pa.concat_arrays([arrays[part].slice(start, size) for _, part, start, size in runs])


def _spread(values: pa.Array[Any], indices: pa.Array[Any]) -> pa.Array[Any]:
    """Returns a column with the value of each row; strings are dictionary-encoded.

    Encoding again is needed even if nearly all values are distinct: two repositories may have the same name. The
    Parquet writer (Arrow 25) allocates space for every value of a dictionary but writes equal values once, so the rest
    of the page would contain arbitrary memory: the text of another column, or an e-mail address that was treated.
    """
    return (values.dictionary_encode() if values.type == pa.string() else values).take(indices)


def _other(left: dict[str, tuple[pa.Array[Any], pa.Array[Any]]]) -> pa.Array[Any]:
    """Returns the column ``other``, which nearly always depends on the actor only."""
    used = {entity: (indices, rest) for entity, (indices, rest) in left.items() if rest.null_count < len(rest)}
    if len(used) > 1:
        return _other_of_several(used)
    for entity, (indices, rest) in used.items():
        return _spread(arrow.wrap(f'{{"{entity}":', rest, "}"), indices)
    indices, rest = left["actor"]
    return _spread(rest, indices)


def _other_of_several(left: dict[str, tuple[pa.Array[Any], pa.Array[Any]]]) -> pa.Array[Any]:
    rests = [(entity, rest.to_pylist()) for entity, (_, rest) in left.items()]
    rows = zip(*(indices.to_pylist() for indices, _ in left.values()), strict=True)
    found = [
        {entity: value.encode() for (entity, rest), at in zip(rests, row, strict=True) if (value := rest[at])}
        for row in rows
    ]
    values = arrow.utf8([join_object(dict(members)) for members in found if members])
    return values.take(arrow.places(bool(members) for members in found)).dictionary_encode()
