"""Actors, repositories and organizations as columns: each distinct one is read once.

They are parsed together, by a law: **every byte is accounted for**. The fewest bytes that say what was read are as
many as were read, so there was nothing else: no key twice, no white space, no escape. Where it does not hold, halving
finds the ones to blame, and those are read as single records are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa
from pyarrow.json import ParseOptions, ReadOptions, read_json

from etl.events import arrow
from etl.events.record import ENTITY_FIELDS, join_object, read_entity
from etl.events.schema import ARROW_SCHEMA

_DISPLAY_LOGIN: Final = "display_login"
_ENTITY_SCHEMAS: Final = {
    entity: pa.schema(
        [
            pa.field(key, pa.int64() if key == "id" else pa.string())
            for key in (*keys, *((_DISPLAY_LOGIN,) if entity == "actor" else ()))
        ],
    )
    for entity, keys in ENTITY_FIELDS.items()
}


class Entities(NamedTuple):
    """Distinct entities: their columns by key, and the JSON of what goes to ``other``, null where nothing does."""

    columns: dict[str, pa.Array[Any]]
    left: pa.Array[Any]

    def take(self, places: pa.Array[Any]) -> Entities:
        """Gives the entities at some places, nulls at null."""
        return Entities({key: values.take(places) for key, values in self.columns.items()}, self.left.take(places))


def read_entities(entity: str, raws: pa.Array[Any]) -> Entities:
    """Reads the distinct values of an entity.

    Args:
        entity: ``actor``, ``repo`` or ``org``.
        raws: The bytes of each (binary); empty for an absent one.

    Returns:
        One row for each, all null for an absent one.
    """
    lengths = arrow.lengths(raws)
    if all(lengths):
        return _concat(entity, list(_entity_runs(entity, raws)))
    present = list(map(bool, lengths))
    found = _concat(entity, list(_entity_runs(entity, raws.filter(arrow.boolean(present)))))
    return found.take(arrow.places(present))


def _entity_runs(entity: str, raws: pa.Array[Any]) -> Iterator[Entities]:
    """Parses entities together where they are sound, and finds the ones that are not by halving."""
    if not len(raws):
        return
    sound = _sound_entities(entity, raws)
    if sound is not None:
        yield sound
    elif len(raws) == 1:
        yield _exact_entity(entity, raws[0].as_py())
    else:
        middle = len(raws) // 2
        yield from _entity_runs(entity, raws.slice(0, middle))
        yield from _entity_runs(entity, raws.slice(middle))


def _sound_entities(entity: str, raws: pa.Array[Any]) -> Entities | None:
    """Parses entities in one go, by the module's law; None if it does not hold for them."""
    # Arrow's reader ends the process on a line that is no object (25.0).
    if not arrow.all_start_with(raws, "{"):
        return None
    lines = arrow.as_lines(raws)
    schema = _ENTITY_SCHEMAS[entity]
    try:
        table = read_json(
            pa.BufferReader(lines),  # type: ignore[arg-type]  # stubs lag
            read_options=ReadOptions(use_threads=False, block_size=lines.size + 1),
            parse_options=ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
        )
    except pa.ArrowException:
        return None
    columns = {key: table[key].combine_chunks() for key in schema.names}
    least_bytes = len(raws)  # of each: two braces, and one comma less than keys
    for key, values in columns.items():
        written = values.cast(pa.string())
        quotes = 0 if key == "id" else 2
        least_bytes += (len(values) - values.null_count) * (len('"":,') + len(key) + quotes)
        least_bytes += arrow.bytes_of(written)
    if len(table) != len(raws) or least_bytes != arrow.bytes_of(raws):
        return None
    logins = columns.pop(_DISPLAY_LOGIN, arrow.nulls(len(raws), pa.string()))
    return Entities(columns, arrow.wrap(f'{{"{_DISPLAY_LOGIN}":"', logins, '"}'))


def _exact_entity(entity: str, raw: bytes) -> Entities:
    keys = ENTITY_FIELDS[entity]
    values, left = read_entity(raw, keys)
    fields = {key: _one(kind, value) for (key, kind), value in zip(_entity_columns(entity), values, strict=True)}
    rest = [] if left is None else [join_object(left)]
    return Entities(fields, arrow.utf8(rest).take(arrow.places([left is not None])))


def _one(kind: pa.DataType, value: Any) -> pa.Array[Any]:  # noqa: ANN401 -- what the kind says
    values = [] if value is None else [value]
    made: pa.Array[Any] = arrow.int64(values) if kind == pa.int64() else arrow.text(values)
    return made.take(arrow.places([value is not None]))


def _entity_columns(entity: str) -> list[tuple[str, pa.DataType]]:
    return [(key, ARROW_SCHEMA.field(f"{entity}_{key}").type) for key in ENTITY_FIELDS[entity]]


def _concat(entity: str, runs: list[Entities]) -> Entities:
    def joined(arrays: list[pa.Array[Any]], kind: pa.DataType) -> pa.Array[Any]:
        return pa.concat_arrays(arrays) if arrays else arrow.nulls(0, kind)

    columns = {key: joined([run.columns[key] for run in runs], kind) for key, kind in _entity_columns(entity)}
    return Entities(columns, joined([run.left for run in runs], pa.string()))
