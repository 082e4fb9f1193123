"""Many sound events at once, as columns: the fast reading of the Events API form.

What makes it fast, each step measured (``benchmarks/README.md``):

* a block of lines is decoded in one call, and ``payload``, ``actor``, ``repo`` and ``org`` come out as views of
  the block's own bytes: the payload is never parsed, only joined into an Arrow buffer;
* the three entities recur within an hour, so their bytes are made a dictionary first, and only the distinct
  ones are read (``etl.events.entities``); their columns leave as Arrow dictionaries, which the parquet writer takes
  as they are;
* events are put in order of type block by block, so that a row group is brought into order of type by slicing.

What makes it safe is one law: **every byte of a block is accounted for**. The least number of bytes in
which the decoded values can be written is counted; if the block has just as many, there was nothing else in it,
no key twice, no white space, no escape. A block that has more is not sound and is read by ``etl.events.record``.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import chain, groupby, repeat
from operator import attrgetter
from typing import Any, Final, cast

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Raw
from msgspec.structs import astuple

from etl.events import arrow
from etl.events.emails import EmailPolicy, spells_addresses
from etl.events.entities import read_entities
from etl.events.record import ENTITY_FIELDS, Row, join_object
from etl.events.schema import ARROW_SCHEMA, NAMES
from etl.events.times import events_api_text, parse_time

_ABSENT: Final = Raw(b"")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Event(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """An event of the Events API form, its values as they stand in the source; ``Raw`` ones are views of it."""

    id: str
    type: str
    actor: Raw
    repo: Raw
    payload: Raw
    public: bool
    created_at: str
    org: Raw = _ABSENT


_EVENTS: Final = msgspec.json.Decoder(Event)
_KEYS: Final = ("id", "type", "actor", "repo", "payload", "public", "created_at")
_STRINGS: Final = ("id", "type", "created_at")
# Braces, commas and the line end, each key with its quotes and colon, and the quotes of the three strings.
_FRAME: Final = 2 + len(_KEYS) - 1 + 1 + sum(len(key) + 3 for key in _KEYS) + 2 * len(_STRINGS) + len("false")
_ORG_FRAME: Final = len(',"org":')
PUSH: Final = "PushEvent"
# Escapes of the characters that an address, or the key of one, is made of.
_MAY_SPELL: Final = r"\\u00(?:2[5bdeBDE]|3[0-9]|[46]|5[0-9abdfABDF]|7[0-9a-eA-E])"


class EventColumns:
    """The sound events of one block, as columns, in order of type.

    Attributes:
        types: Each type with the number of its events, in their order here.
        keys: A 64-bit hash of (id, type, created_at) for each event, comparable within this process.
        first: Earliest ``created_at``.
        last: Latest ``created_at``.
        ids: Ids (string).
        payload: Payloads (string).
        public: Whether public (bool).
        created_at: Times (timestamp).
        entities: Actors, repositories and organizations as they stand in the source (binary); an absent one is
            empty.
        least_bytes: The fewest bytes of lines that say these events; see the module's law.
        bytes: Bytes held.
    """

    def __init__(self, events: list[Event], moments: Mapping[str, int], arena: arrow.Arena | None) -> None:
        events.sort(key=attrgetter("type"))
        ids, types, actors, repos, payloads, public, written, orgs = zip(*map(astuple, events), strict=True)
        times = [moments[text] for text in written]
        self.entities = {"actor": arrow.binary(actors), "repo": arrow.binary(repos), "org": arrow.binary(orgs)}
        self.types = [(name, len(list(run))) for name, run in groupby(types)]
        self.keys = array("q", map(hash, zip(ids, types, written, strict=True)))
        self.first, self.last = (_EPOCH + edge * _MICROSECOND for edge in (min(times), max(times)))
        self.ids = arrow.text(ids)
        self.payload = arrow.utf8(payloads) if arena is None else arena.utf8(payloads)
        self.public = arrow.boolean(public)
        self.created_at = arrow.int64(times).cast(ARROW_SCHEMA.field("created_at").type)
        self.least_bytes = (
            len(events) * _FRAME
            - sum(public)  # "true" is shorter than "false"
            + sum(map(bool, orgs)) * _ORG_FRAME
            + sum(map(arrow.bytes_of, (self.ids, self.payload, *self.entities.values())))
            + sum(len(name) * count for name, count in self.types)
            + sum(map(len, written))
        )
        self.bytes = self.payload.nbytes + sum(column.nbytes for column in self.entities.values())

    def __len__(self) -> int:
        return len(self.ids)

    def scrub_bare_fields(self, emails: EmailPolicy) -> None:
        """Treats the addresses without ``@`` in pushes; they are rare, so all pushes are looked at together."""
        start = 0
        for name, size in self.types:
            pushes = self.payload.slice(start, size) if name == PUSH else None
            if pushes is not None and emails.has_bare_fields(arrow.data_of(pushes)):
                texts = cast("list[str]", pushes.to_pylist())
                treated = arrow.utf8([emails.scrub_bare_fields(text.encode()) for text in texts])
                parts = [self.payload.slice(0, start), treated, self.payload.slice(start + size)]
                self.payload = pa.concat_arrays(parts)
            start += size


def read_events(lines: bytes, emails: EmailPolicy) -> list[Event] | None:
    """Reads lines of the Events API form; what was read is not accounted for yet.

    Args:
        lines: One or more whole lines; addresses with ``@`` were treated already.
        emails: What becomes of addresses.

    Returns:
        The events, or None when they have to be read one by one.
    """
    if not _is_utf8(lines) or (not emails.keeps and _spells_addresses(lines)):
        return None
    try:
        return _EVENTS.decode_lines(lines) or None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def to_columns(
    lines: bytes, events: list[Event], emails: EmailPolicy, arena: arrow.Arena | None = None
) -> EventColumns | None:
    """Makes columns of the events that ``read_events`` found in lines, if these hold nothing else.

    Args:
        lines: What was read.
        events: What was found; brought into another order.
        emails: What becomes of addresses without ``@``.
        arena: Where the payloads are laid; None for memory of their own.

    Returns:
        The columns, or None when not every byte of the lines is accounted for.
    """
    written = {event.created_at for event in events}
    moments = {text: moment for text in written if (moment := _usual_time(text)) is not None}
    if len(moments) < len(written):
        return None
    columns = EventColumns(events, moments, arena)
    if columns.least_bytes != len(lines) + (not lines.endswith(b"\n")):
        return None
    columns.scrub_bare_fields(emails)
    return columns


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
    """Gives every row its value, text as a dictionary of what is different.

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


def _spells_addresses(lines: bytes) -> bool:
    """Whether an address may be spelled as escapes, which only the exact reading looks for."""
    return arrow.matches(lines, _MAY_SPELL) and spells_addresses(lines)


def _is_utf8(data: bytes) -> bool:
    try:
        arrow.utf8([data]).validate(full=True)
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
