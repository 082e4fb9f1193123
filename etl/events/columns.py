"""Many plain events at once, as columns, and the one table that these and events read one by one become.

What makes it fast, each step measured (``benchmarks/README.md``):

* ``payload``, ``actor``, ``repo`` and ``org`` are taken as they stand in the source, byte for byte, by code that
  leaves the interpreter free (``etl.events.native.scanner``): the payload is never parsed into values, only copied;
* the three entities recur within an hour, so their bytes are made a dictionary first, and only the distinct
  ones are read (``etl.events.entities``); their columns leave as Arrow dictionaries, which the parquet writer takes
  as they are;
* events are put in order of type block by block, so that a row group is brought into order of type by slicing.
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
"""The schema of ``to_table``'s tables: the nineteen columns, with text that recurs as dictionaries."""


def to_table(parts: Sequence[EventColumns], rows: Sequence[Row]) -> pa.Table:
    """Makes one table of the nineteen columns, in order of type, and within a type in order of arrival.

    Args:
        parts: Sound events; may be empty.
        rows: Events that were read one by one; may be empty.

    Returns:
        A table in which text that recurs is dictionary-encoded; every column's dictionary is the same throughout.
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
    """Makes an array of values of one column, none of them null."""
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
        # The payloads are nearly all of the bytes: they stay where they are.
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
    """Yields every run of one type: its name, its part, where it starts there, and its length."""
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
    """Returns a column with one value in every row, text as a dictionary.

    The search for what is different is needed even where nearly all is: two repositories may have one name. The parquet
    writer (Arrow 25) makes room for every value of a dictionary, writes equal ones once, and leaves in the rest of the
    page whatever lies in memory: another column's text, or an address that was treated since.
    """
    return (values.dictionary_encode() if values.type == pa.string() else values).take(indices)


def _other(left: dict[str, tuple[pa.Array[Any], pa.Array[Any]]]) -> pa.Array[Any]:
    """Makes the column ``other``; nearly always it depends on the actor alone."""
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
