"""Reads actors, repositories and organizations into columns; each distinct value is read once.

Compiled code reads plain values together: objects that only have members with a column, without duplicate keys, white
space and escapes. Values that are not plain are isolated by halving, and read one by one like the entities of a single
record.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import pyarrow as pa

from etl.events import arrow
from etl.events.native.scanner import load_scanner
from etl.events.record import ENTITY_FIELDS, join_object, read_entity
from etl.events.schema import ARROW_SCHEMA

_DISPLAY_LOGIN: Final = "display_login"
_MEMBERS: Final = {
    entity: (*keys, *((_DISPLAY_LOGIN,) if entity == "actor" else ())) for entity, keys in ENTITY_FIELDS.items()
}


class Entities(NamedTuple):
    """Distinct entities: their columns by key, and the JSON to store in ``other`` (null if there is none)."""

    columns: dict[str, pa.Array[Any]]
    left: pa.Array[Any]

    def take(self, places: pa.Array[Any]) -> Entities:
        """Returns the entities at these indices, and nulls for null indices."""
        return Entities({key: values.take(places) for key, values in self.columns.items()}, self.left.take(places))


def read_entities(entity: str, raws: pa.Array[Any]) -> Entities:
    """Reads the distinct values of an entity.

    Args:
        entity: ``actor``, ``repo`` or ``org``.
        raws: The original bytes of each (binary); empty for an absent one.

    Returns:
        One row per value, all null for an absent one.
    """
    lengths = arrow.lengths(raws)
    if all(lengths):
        return _concat(entity, list(_entity_runs(entity, raws)))
    present = list(map(bool, lengths))
    found = _concat(entity, list(_entity_runs(entity, raws.filter(arrow.boolean(present)))))
    return found.take(arrow.places(present))


def _entity_runs(entity: str, raws: pa.Array[Any]) -> Iterator[Entities]:
    """Reads entities together if they are plain; otherwise isolates those that are not by halving."""
    if not len(raws):
        return
    plain = _plain_entities(entity, raws)
    if plain is not None:
        yield plain
    elif len(raws) == 1:
        yield _exact_entity(entity, raws[0].as_py())
    else:
        middle = len(raws) // 2
        yield from _entity_runs(entity, raws.slice(0, middle))
        yield from _entity_runs(entity, raws.slice(middle))


def _plain_entities(entity: str, raws: pa.Array[Any]) -> Entities | None:
    """Reads entities together; returns None if one of them is not plain."""
    scan = load_scanner()
    columns = None if scan is None else scan.entities(raws, _MEMBERS[entity])
    if columns is None:
        return None
    logins = columns.pop(_DISPLAY_LOGIN, arrow.nulls(len(raws), pa.string()))
    return Entities(columns, arrow.wrap(f'{{"{_DISPLAY_LOGIN}":"', logins, '"}'))


def _exact_entity(entity: str, raw: bytes) -> Entities:
    keys = ENTITY_FIELDS[entity]
    values, left = read_entity(raw, keys)
    fields = {key: _one(kind, value) for (key, kind), value in zip(_entity_columns(entity), values, strict=True)}
    rest = [] if left is None else [join_object(left)]
    return Entities(fields, arrow.utf8(rest).take(arrow.places([left is not None])))


def _one(kind: pa.DataType, value: Any) -> pa.Array[Any]:  # noqa: ANN401 -- a value of that type
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
