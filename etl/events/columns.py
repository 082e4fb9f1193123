"""Many sound events at once, as columns: the fast reading of the Events API form.

What makes it fast, each step measured (``benchmarks/README.md``):

* a block of lines is decoded in one call, and ``payload``, ``actor``, ``repo`` and ``org`` come out as views of
  the block's own bytes: the payload is never parsed, only joined into an Arrow buffer;
* the three entities recur within an hour, so their bytes are made a dictionary first, and only the distinct
  ones are parsed; their columns leave as Arrow dictionaries, which the parquet writer takes as they are;
* events are put in order of type block by block, so that a row group is brought into order of type by slicing.

What makes it safe is one law: **every byte of a block is accounted for**. The least number of bytes in
which the decoded values can be written is counted; if the block has just as many, there was nothing else in it,
no key twice, no white space, no escape. A block that has more is not sound and is read by ``etl.events.record``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import accumulate, groupby
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw

from etl.events.emails import EmailPolicy
from etl.events.record import ENTITY_FIELDS, Nested, Row, join_other, read_entity
from etl.events.schema import ARROW_SCHEMA, NAMES
from etl.events.times import events_api_text, parse_time

_ABSENT: Final = Raw(b"")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_Int64 = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class _Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: str
    type: str
    actor: Raw
    repo: Raw
    payload: Raw
    public: bool
    created_at: str
    org: Raw = _ABSENT


# A default of None in a field that is no union: an absent key is allowed, an explicit null is not.
class _Actor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: _Int64 = None  # type: ignore[assignment]
    login: str = None  # type: ignore[assignment]
    gravatar_id: str = None  # type: ignore[assignment]
    avatar_url: str = None  # type: ignore[assignment]
    url: str = None  # type: ignore[assignment]
    display_login: Raw = None  # type: ignore[assignment]


class _Repo(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    id: _Int64 = None  # type: ignore[assignment]
    name: str = None  # type: ignore[assignment]
    url: str = None  # type: ignore[assignment]


_EVENTS: Final = msgspec.json.Decoder(_Event)
_ENTITIES: Final[dict[str, msgspec.json.Decoder[Any]]] = {
    "actor": msgspec.json.Decoder(_Actor),
    "repo": msgspec.json.Decoder(_Repo),
    "org": msgspec.json.Decoder(_Actor),
}
_KEYS: Final = ("id", "type", "actor", "repo", "payload", "public", "created_at")
_STRINGS: Final = ("id", "type", "created_at")
# Braces, commas and the line end, each key with its quotes and colon, and the quotes of the three strings.
_FRAME: Final = 2 + len(_KEYS) - 1 + 1 + sum(len(key) + 3 for key in _KEYS) + 2 * len(_STRINGS)
_ORG_FRAME: Final = len(',"org":')


class EventColumns:
    """The sound events of one block, as columns, in order of type.

    Attributes:
        types: Each type with the number of its events, in their order here.
        keys: A 64-bit hash of (id, type, created_at) for each event, comparable within this process.
        first: Earliest ``created_at``.
        last: Latest ``created_at``.
        payload: The payloads (string).
        bytes: Bytes held.
    """

    def __init__(self, events: list[_Event], emails: EmailPolicy) -> None:
        events.sort(key=attrgetter("type"))
        ids = [event.id for event in events]
        types = [event.type for event in events]
        written = [event.created_at for event in events]
        times = [_usual_time(text) for text in written]
        self.types = [(name, len(list(run))) for name, run in groupby(types)]
        self.keys = array("q", map(hash, zip(ids, types, written, strict=True)))
        self.first = _EPOCH + min(times) * _MICROSECOND
        self.last = _EPOCH + max(times) * _MICROSECOND
        self.ids = pa.array(ids, pa.string())
        self.public = pa.array([event.public for event in events], pa.bool_())
        self.created_at = pa.array(times, pa.int64()).cast(ARROW_SCHEMA.field("created_at").type)
        self.entities = {
            "actor": _strings([event.actor for event in events]).dictionary_encode(),
            "repo": _strings([event.repo for event in events]).dictionary_encode(),
            "org": _strings([event.org for event in events]).dictionary_encode(),
        }
        self.payload = _strings(_without_bare_fields([event.payload for event in events], self.types, emails))
        self.bytes = self.payload.nbytes + sum(column.nbytes for column in self.entities.values())

    def __len__(self) -> int:
        return len(self.ids)


def decode_columns(lines: bytes, emails: EmailPolicy) -> EventColumns | None:
    """Reads lines of the Events API form, if all of them are sound.

    Args:
        lines: One or more whole lines; addresses with ``@`` were treated already.
        emails: What becomes of addresses without ``@``.

    Returns:
        The events, or None when anything at all stands in the way of reading every byte of them.
    """
    if not _is_utf8(lines):
        return None
    try:
        events = _EVENTS.decode_lines(lines)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    if not events or _least_bytes(events) != len(lines) + (not lines.endswith(b"\n")):
        return None
    if None in map(_usual_time, {event.created_at for event in events}):
        return None
    return EventColumns(events, emails)


def to_table(parts: Sequence[EventColumns], rows: Sequence[Row]) -> pa.Table:
    """Makes one table of the nineteen columns, in order of type, and within a type in order of arrival.

    Args:
        parts: Sound events; may be empty.
        rows: Events that were read one by one; may be empty.

    Returns:
        A table in which text that recurs is dictionary-encoded; every column's dictionary is the same throughout.
    """
    tables = [_columns_table(parts)] if parts else []
    if rows:
        exact = pa.Table.from_pylist(sorted(rows, key=lambda row: str(row["type"] or "")), schema=ARROW_SCHEMA)
        tables.append(exact.cast(PARQUET_SCHEMA))
    if len(tables) == 1:
        return tables[0]
    both = pa.concat_tables(tables).unify_dictionaries()
    return both.take(pc.sort_indices(both["type"].cast(pa.string())))


_PLAIN_TEXT: Final = frozenset({"id", "payload"})
PARQUET_SCHEMA: Final = pa.schema(
    [
        pa.field(field.name, pa.dictionary(pa.int32(), field.type))
        if field.type == pa.string() and field.name not in _PLAIN_TEXT
        else field
        for field in ARROW_SCHEMA
    ],
)
"""The schema of ``to_table``'s tables: the nineteen columns, with text that recurs as dictionaries."""


def _columns_table(parts: Sequence[EventColumns]) -> pa.Table:
    runs = sorted(_runs(parts), key=lambda run: run[0])
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        "id": _gather([part.ids for part in parts], runs),
        "type": pa.array([name for name, _, _, size in runs for _ in range(size)], pa.string()).dictionary_encode(),
        "public": _gather([part.public for part in parts], runs),
        "created_at": _gather([part.created_at for part in parts], runs),
        # The payloads are nearly all of the bytes: they stay where they are.
        "payload": pa.chunked_array([parts[part].payload.slice(start, size) for _, part, start, size in runs]),
    }
    left: dict[str, tuple[pa.Array, list[Nested | None]]] = {}
    for entity, keys in ENTITY_FIELDS.items():
        chunks = pa.chunked_array([part.entities[entity] for part in parts]).unify_dictionaries().chunks
        indices = _gather([chunk.indices for chunk in chunks], runs)
        fields, rest = _read_entities(entity, chunks[0].dictionary)
        left[entity] = indices, rest
        for key, values in zip(keys, fields, strict=True):
            columns[f"{entity}_{key}"] = _spread(values, indices)
    columns["other"] = _other(left)
    return pa.Table.from_arrays([columns[name] for name in NAMES], schema=PARQUET_SCHEMA)


def _runs(parts: Sequence[EventColumns]) -> Iterator[tuple[str, int, int, int]]:
    """Yields every run of one type: its name, its part, where it starts there, and its length."""
    for number, part in enumerate(parts):
        start = 0
        for name, size in part.types:
            yield name, number, start, size
            start += size


def _gather(arrays: Sequence[pa.Array], runs: Iterable[tuple[str, int, int, int]]) -> pa.Array:
    return pa.concat_arrays([arrays[part].slice(start, size) for _, part, start, size in runs])


def _spread(values: pa.Array, indices: pa.Array) -> pa.Array:
    """Gives every row its value; text as a dictionary, in which a null may not stand but its index may."""
    if values.type != pa.string():
        return values.take(indices)
    if values.null_count:
        places = pa.array(
            accumulate((value.is_valid for value in values), initial=0),
            pa.int32(),
        ).slice(0, len(values))
        places = pc.if_else(values.is_valid(), places, pa.scalar(None, pa.int32()))
        return pa.DictionaryArray.from_arrays(places.take(indices), values.drop_null())
    return pa.DictionaryArray.from_arrays(indices, values)


def _read_entities(entity: str, distinct: pa.Array) -> tuple[list[pa.Array], list[Nested | None]]:
    """Parses the distinct values of an entity.

    Returns:
        A column for each of the entity's keys, and what goes to ``other``, both one item a distinct value.
    """
    keys = ENTITY_FIELDS[entity]
    raws = [raw.encode() for raw in distinct.to_pylist()]
    values: list[Any] = []
    left: list[Nested | None] = []
    for chunk, sound in _sound_chunks(raws, _ENTITIES[entity], keys):
        if sound is not None:
            values += sound
            left += map(_display_login, sound) if entity != "repo" else [None] * len(sound)
        else:
            found, rest = read_entity(chunk[0], keys) if chunk[0] else ([None] * len(keys), None)
            values.append(_Exact(**dict(zip(keys, found, strict=True))))
            left.append(rest)
    types = [pa.int64() if key == "id" else pa.string() for key in keys]
    columns = [
        pa.array(list(map(attrgetter(key), values)), kind) for key, kind in zip(keys, types, strict=True)
    ]
    return columns, left


class _Exact(msgspec.Struct, gc=False):
    """An entity that was read by ``read_entity``."""

    id: Any = None
    login: Any = None
    name: Any = None
    gravatar_id: Any = None
    avatar_url: Any = None
    url: Any = None


def _display_login(actor: _Actor) -> Nested | None:
    return None if actor.display_login is None else {"display_login": bytes(actor.display_login)}


def _sound_chunks(
    raws: list[bytes], decoder: msgspec.json.Decoder[Any], keys: tuple[str, ...]
) -> Iterator[tuple[list[bytes], list[Any] | None]]:
    """Decodes values together where they are sound, and finds the ones that are not by halving."""
    try:
        decoded = decoder.decode_lines(b"\n".join(raws))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        decoded = []
    if len(decoded) == len(raws) and _least_entity_bytes(decoded, keys) == sum(map(len, raws)):
        yield raws, decoded
    elif len(raws) == 1:
        yield raws, None
    else:
        middle = len(raws) // 2
        yield from _sound_chunks(raws[:middle], decoder, keys)
        yield from _sound_chunks(raws[middle:], decoder, keys)


def _least_entity_bytes(entities: list[Any], keys: tuple[str, ...]) -> int:
    total = 0
    for key in (*keys, "display_login"):
        if not hasattr(entities[0], key):
            continue
        values = [value for entity in entities if (value := getattr(entity, key)) is not None]
        size = map(len, map(str, values)) if key == "id" else map(len, values)
        quotes = 2 if key not in {"id", "display_login"} else 0
        total += sum(size) + len(values) * (len(key) + 3 + quotes + 1)
    return total + len(entities)  # of each: two braces, and one comma less than values


def _other(left: dict[str, tuple[pa.Array, list[Nested | None]]]) -> pa.Array:
    """Makes the column ``other``; nearly always it depends on the actor alone."""
    used = [entity for entity, (_, rest) in left.items() if any(value is not None for value in rest)]
    if not used:
        indices, _ = next(iter(left.values()))
        return pa.nulls(len(indices), pa.string()).dictionary_encode().cast(PARQUET_SCHEMA.field("other").type)
    if len(used) == 1:
        indices, rest = left[used[0]]
        return _spread(
            pa.array([None if value is None else join_other({used[0]: value}) for value in rest], pa.string()),
            indices,
        )
    rows = zip(*(left[entity][0].to_pylist() for entity in used), strict=True)
    texts = [
        join_other({entity: value for entity, at in zip(used, row, strict=True) if (value := left[entity][1][at])})
        for row in rows
    ]
    return pa.array(texts, pa.string()).dictionary_encode()


def _without_bare_fields(
    payloads: list[Raw], types: list[tuple[str, int]], emails: EmailPolicy
) -> Sequence[Raw | bytes]:
    """Treats the addresses without ``@`` in pushes; they are rare, so all pushes are looked at together first."""
    start = 0
    for name, size in types:
        if name == PUSH and emails.has_bare_fields(b"\n".join(payloads[start : start + size])):
            treated = [emails.scrub_bare_fields(bytes(payload)) for payload in payloads[start : start + size]]
            return [*payloads[:start], *treated, *payloads[start + size :]]
        start += size
    return payloads


PUSH: Final = "PushEvent"


def _least_bytes(events: list[_Event]) -> int:
    """Counts the bytes of the shortest lines that say these events; see the module's law."""
    orgs = [len(event.org) for event in events]
    return (
        len(events) * _FRAME
        + (len(orgs) - orgs.count(0)) * _ORG_FRAME
        + sum(orgs)
        + sum([len(event.id) + len(event.type) + len(event.created_at) + (4 if event.public else 5) for event in events])
        + sum([len(event.actor) + len(event.repo) + len(event.payload) for event in events])
    )


def _strings(values: Sequence[Raw | bytes]) -> pa.StringArray:
    """Joins bytes that are known to be UTF-8 into an Arrow array."""
    offsets = array("i", accumulate(map(len, values), initial=0))
    return pa.StringArray.from_buffers(len(values), pa.py_buffer(offsets), pa.py_buffer(b"".join(values)))


def _is_utf8(data: bytes) -> bool:
    text = pa.StringArray.from_buffers(1, pa.py_buffer(array("i", (0, len(data)))), pa.py_buffer(data))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


@lru_cache(maxsize=1 << 14)
def _usual_time(text: str) -> int | None:
    """Microseconds since 1970 of a time written as the Events API does; None for any other text."""
    time = parse_time(text)
    if time is None or events_api_text(time) != text:
        return None
    return (time - _EPOCH) // _MICROSECOND
