"""What the manifests say, rolled up by month, so that a question about all hours need not read 137,000 files.

The index is a copy that is never believed: each row carries the generation of the manifest it was taken from,
and a row whose manifest has another one now, or none, does not count. So the index may be lost, old, or written
by two programs at once, and the answer stays the manifests'; it only takes longer.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import structlog

from etl.coverage import arrays
from etl.errors import StoreError
from etl.events import arrow
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.lake.layout import MANIFESTS, index_key, manifest_key, manifest_keys
from etl.lake.manifest import Manifest, Status, decode
from etl.storage.store import Store

INDEX_VERSION: Final = b"2"
"""Changes with ``FACTS_SCHEMA``; an index of another version is made anew."""

_VERSION_KEY: Final = b"gharchive.index"
_MAX_READERS: Final = 16
_UTC: Final = pa.timestamp("us", "UTC")

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def described(name: str, type_: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field[Any]:
    """Makes a field that carries what it means."""
    return pa.field(name, type_, nullable=nullable, metadata={"description": description})


FACTS_SCHEMA: Final = pa.schema(
    [
        described("hour", pa.string(), "The hour's name, as the archive writes it.", nullable=False),
        described("hour_start", _UTC, "The instant the name says, read as UTC.", nullable=False),
        described("status", pa.string(), "What is known of the hour.", nullable=False),
        described("reason", pa.string(), "Why the hour is not complete."),
        described("events", pa.int64(), "Events in the lake."),
        described("documents", pa.int64(), "Documents met in the source's file, readable or not."),
        described("unreadable", pa.int64(), "Documents that could not be read."),
        described("duplicates", pa.int64(), "Events that say the same as an earlier one of the hour."),
        described("types", pa.string(), "Events by type, a JSON object."),
        # The same once more: to parse all hours' JSON takes a quarter of the time of a question about them.
        described("type_names", pa.string(), "The types, a line each."),
        described("type_counts", pa.list_(pa.field("element", pa.int64())), "The events of each of these types."),
        described("era", pa.string(), "The form of the documents, A to D; several letters where an hour mixes them."),
        described("source", pa.string(), "Address the hour came from."),
        described("source_bytes", pa.int64(), "Compressed bytes received from there."),
        described("parquet_bytes", pa.int64(), "Size of the events file."),
        described("first_created_at", _UTC, "Earliest created_at of the hour."),
        described("last_created_at", _UTC, "Latest created_at of the hour."),
        described("emails", pa.string(), "The e-mail policy the hour went through."),
        described("schema_version", pa.int32(), "Version of the events' columns."),
        described("attempts", pa.int32(), "Attempts at the hour so far."),
        described("finished_at", _UTC, "When the last attempt ended."),
        described("seconds", pa.float64(), "How long the last attempt took."),
    ]
)
"""What a manifest says of its hour, as a row."""

_KEY_COLUMNS: Final = ("hour", "hour_start", "generation")
"""What tells whether the rest is still true, and of when."""
_INDEX_SCHEMA: Final = pa.schema(
    [*FACTS_SCHEMA, pa.field("generation", pa.string(), nullable=False)], metadata={_VERSION_KEY: INDEX_VERSION}
)


def facts(
    store: Store,
    hours: HourRange,
    *,
    columns: Collection[str] = FACTS_SCHEMA.names,
    rebuild: bool = False,
    write: bool = True,
) -> pa.Table:
    """Tells what the manifests say of some hours, and brings the index up to date where it can be written.

    Args:
        store: Where the lake lies.
        hours: Which hours.
        columns: Columns to read; half of all bytes are counts by type.
        rebuild: Read every manifest, whatever the index says.
        write: Whether the index may be brought up to date.

    Returns:
        A table of these columns of ``FACTS_SCHEMA``, in its order, a row for each hour that has a manifest, in the
        order of the hours. A manifest that cannot be read gives a row with status ``failed``.

    Raises:
        StoreError: If the lake cannot be read.
    """
    present = _present(store, _whole_months(hours))
    names = [name for name in _INDEX_SCHEMA.names if name in {*_KEY_COLUMNS, *columns}]
    with ThreadPoolExecutor(_MAX_READERS) as readers:
        # Not before: the readers would take turns with the looks at the manifests, and all take longer.
        index = {} if rebuild else {month: readers.submit(_read, store, month, names) for month in present}
        parts = [
            _refreshed(store, readers, month, index[month].result() if month in index else None, named, write=write)
            for month, named in present.items()
        ]
    rows = pa.concat_tables([part.select(names) for part in parts] or [arrow.table([], _INDEX_SCHEMA).select(names)])
    told = [name for name in FACTS_SCHEMA.names if name in columns]
    return _within(rows, hours).select(told).replace_schema_metadata(None)


def _present(store: Store, hours: HourRange) -> dict[str, dict[str, str]]:
    """Returns the generations of the manifests there are, by month, and within it by the hour's name."""
    present: dict[str, dict[str, str]] = defaultdict(dict)
    for name, generation in generations_of(store, hours).items():
        present[name[:7]][name] = generation
    return present


def generations_of(store: Store, hours: HourRange) -> dict[str, str]:
    """Returns the generation of each manifest that is there, by the hour's name, in the order of the hours.

    Args:
        store: Where the lake is.
        hours: Which hours; in a lake that holds few of them, asking for all is cheap.

    Raises:
        StoreError: If the lake cannot be read.
    """
    keys = manifest_keys(hours, within=store.folders(MANIFESTS))
    found = store.generations(list(keys.values()))
    return {name: found[key] for name, key in keys.items() if key in found}


def _within(rows: pa.Table, hours: HourRange) -> pa.Table:
    """Cuts off the rows before and after a range; they are in the order of the hours."""
    starts = arrays.numbers(rows["hour_start"].cast(pa.int64()))
    ends = [int(end.timestamp()) * 1_000_000 for end in (hours.first.start, hours.last.start)]
    first, last = np.searchsorted(starts, ends[0], "left"), np.searchsorted(starts, ends[1], "right")
    return rows.slice(int(first), int(last - first))


def _refreshed(
    store: Store,
    readers: ThreadPoolExecutor,
    month: str,
    rows: pa.Table | None,
    present: Mapping[str, str],
    *,
    write: bool,
) -> pa.Table:
    """Returns a month's rows as the manifests now are, and writes them down, whole, if that is news."""
    # Nearly always nothing changed; there are 137,000 hours to find that of.
    if rows is not None and _are_current(rows, present):
        return rows
    if rows is not None and rows.column_names != _INDEX_SCHEMA.names:
        rows = _read(store, month, _INDEX_SCHEMA.names)
    kept = arrow.table([], _INDEX_SCHEMA) if rows is None else _current_rows(rows, present)
    known = set(kept["hour"].to_pylist())
    changed = [name for name in present if name not in known]
    read = [row for row in readers.map(lambda name: _read_row(store, name, present[name]), changed) if row is not None]
    fresh = arrow.table(read, _INDEX_SCHEMA)
    made = pa.concat_tables([kept, fresh]).sort_by("hour_start").replace_schema_metadata(_INDEX_SCHEMA.metadata)
    if write:
        _write(store, month, made)
    return made


def _are_current(rows: pa.Table, present: Mapping[str, str]) -> bool:
    """Whether rows are of these very manifests, all of them, in their order."""
    wanted = {"hour": arrow.text(list(present)), "generation": arrow.text(list(present.values()))}
    return all(rows[name].combine_chunks().equals(values) for name, values in wanted.items())


def _current_rows(rows: pa.Table, present: Mapping[str, str]) -> pa.Table:
    """Leaves the rows whose manifest is the one they were taken from."""
    pairs = zip(rows["hour"].to_pylist(), rows["generation"].to_pylist(), strict=True)
    same = [present.get(str(hour)) == generation for hour, generation in pairs]
    return rows if all(same) else rows.filter(arrow.boolean(same))


def _read(store: Store, month: str, columns: list[str]) -> pa.Table | None:
    """Reads columns of a month's index; None when there is none, or none that this program understands."""
    content = store.read(index_key(month))
    if content is None:
        return None
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
        understood = file.schema_arrow.equals(_INDEX_SCHEMA, check_metadata=True)
        return file.read(columns=columns, use_threads=False) if understood else None
    except (pa.ArrowException, OSError, ValueError):
        return None


def _write(store: Store, month: str, rows: pa.Table) -> None:
    """Writes a month's index, or does without: the lake may be one that this program may only read."""
    sink = io.BytesIO()
    # What is read in half the time: the index is small, and all of it is read for every question.
    pq.write_table(rows, sink, compression="lz4", use_dictionary=["type_names"])  # type: ignore[arg-type]
    try:
        store.write(index_key(month), sink.getvalue())
    except StoreError as error:
        _log.debug("index not written", month=month, cause=error.message)


def _read_row(store: Store, name: str, generation: str) -> dict[str, Any] | None:
    """Reads one manifest into a row; None when it is gone by now.

    The generation was looked up before the content is read: should it change in between, the row is of a
    generation that no longer is, and the next reader passes it over.
    """
    hour = Hour.parse(name)
    content = store.read(manifest_key(hour))
    if content is None:
        return None
    try:
        columns = _manifest_columns(decode(content, of=hour))
    except StoreError as error:
        columns = {"status": Status.FAILED.value, "reason": error.message}
    return {"hour": name, "hour_start": hour.start, "generation": generation, **columns}


def _manifest_columns(manifest: Manifest) -> dict[str, Any]:
    columns: dict[str, Any] = {
        "status": manifest.status.value,
        "reason": manifest.reason,
        "attempts": manifest.attempts,
        "finished_at": manifest.finished_at,
        "seconds": manifest.seconds,
    }
    if manifest.events_file is not None:
        columns["parquet_bytes"] = manifest.events_file.bytes
    if (content := manifest.content) is not None:
        columns |= {
            "events": content.events,
            "documents": content.documents,
            "unreadable": content.unreadable,
            "duplicates": content.duplicates,
            "types": msgspec.json.encode(content.types).decode(),
            **type_columns(content.types),
            "era": content.era,
            "source": content.source.address,
            "source_bytes": content.source.bytes,
            "first_created_at": content.first_created_at,
            "last_created_at": content.last_created_at,
            "emails": content.emails,
            "schema_version": content.schema_version,
        }
    return columns


def type_columns(types: Mapping[str, int]) -> dict[str, Any]:
    """Returns ``type_names`` and ``type_counts`` of an hour.

    A type's name comes from outside and could hold a line's end, which would shift all counts behind it. It is
    written without: no such type is ever large.
    """
    names = [name.replace("\n", " ") for name in types]
    return {"type_names": "\n".join(names), "type_counts": list(types.values())}


def _whole_months(hours: HourRange) -> HourRange:
    """Widens a range to the months it touches: an index object is of a whole month."""
    first = hours.first.start.replace(day=1, hour=0)
    next_month = (hours.last.start.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
    return HourRange(Hour(max(first, FIRST_HOUR.start)), Hour(next_month - timedelta(hours=1)))
