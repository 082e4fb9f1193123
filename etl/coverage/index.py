"""A monthly index of the manifests, so that a query for all hours does not have to read 137,000 files.

The index is only a cache: each row has the generation of the manifest it was read from, and a row is ignored if that
manifest is gone or has another generation. If the index is lost, outdated, or written by two programs at once, the
result is the same; it only takes longer.
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

INDEX_VERSION: Final = b"3"
"""Increase it when ``FACTS_SCHEMA`` changes; an index of another version is rebuilt."""

_VERSION_KEY: Final = b"gharchive.index"
_MAX_READERS: Final = 16
_UTC: Final = pa.timestamp("us", "UTC")

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def described(name: str, type_: pa.DataType, description: str, *, nullable: bool = True) -> pa.Field[Any]:
    """Returns a field with its description in the metadata."""
    return pa.field(name, type_, nullable=nullable, metadata={"description": description})


FACTS_SCHEMA: Final = pa.schema(
    [
        described("hour", pa.string(), "The hour's name, as the archive writes it.", nullable=False),
        described("hour_start", _UTC, "The hour's name, read as a time in UTC.", nullable=False),
        described("status", pa.string(), "Status of the hour.", nullable=False),
        described("reason", pa.string(), "Why the hour is not complete."),
        described("events", pa.int64(), "Events in the lake."),
        described("documents", pa.int64(), "Documents in the source's file, readable or not."),
        described("unreadable", pa.int64(), "Documents that could not be read."),
        described("duplicates", pa.int64(), "Events that duplicate an earlier one of the hour."),
        described("types", pa.string(), "Number of events by type, a JSON object."),
        # The same data once more: parsing the JSON of all hours takes a quarter of the time of a query.
        described("type_names", pa.string(), "Event types, one per line."),
        described("type_counts", pa.list_(pa.field("element", pa.int64())), "Number of events of each of these types."),
        described("era", pa.string(), "Format of the documents, A to D; several letters if the hour mixes them."),
        described("source", pa.string(), "Address the hour was downloaded from."),
        described("source_bytes", pa.int64(), "Compressed bytes received from the source."),
        described("parquet_bytes", pa.int64(), "Size of the events file in bytes."),
        described("first_created_at", _UTC, "Earliest created_at of the hour."),
        described("last_created_at", _UTC, "Latest created_at of the hour."),
        described("emails", pa.string(), "E-mail policy applied to the hour."),
        described("schema_version", pa.int32(), "Version of the event schema."),
        described("attempts", pa.int32(), "Attempts at the hour so far."),
        described("finished_at", _UTC, "When the last attempt ended."),
        described("seconds", pa.float64(), "Duration of the last attempt in seconds."),
        described("asked_at", _UTC, "When the sources of the hour were last asked."),
    ]
)
"""Columns of the index that describe an hour, taken from its manifest."""

_KEY_COLUMNS: Final = ("hour", "hour_start", "generation")
"""Columns that identify a row and its manifest's generation."""
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
    """Returns the contents of the manifests of a range, and updates the index if it can be written.

    Args:
        store: The lake's store.
        hours: The hours.
        columns: Columns to read; counts by type are half of all bytes.
        rebuild: Read every manifest and ignore the index.
        write: Whether to update the index.

    Returns:
        A table with these columns of ``FACTS_SCHEMA``, in schema order, with one row per hour that has a manifest, in
        chronological order. An unreadable manifest results in a row with status ``failed``.

    Raises:
        StoreError: If the lake cannot be read.
    """
    present = _present(store, _whole_months(hours))
    names = [name for name in _INDEX_SCHEMA.names if name in {*_KEY_COLUMNS, *columns}]
    with ThreadPoolExecutor(_MAX_READERS) as readers:
        # Only after the manifests are listed: both at once would be slower.
        index = {} if rebuild else {month: readers.submit(_read, store, month, names) for month in present}
        parts = [
            _refreshed(store, readers, month, index[month].result() if month in index else None, named, write=write)
            for month, named in present.items()
        ]
    rows = pa.concat_tables([part.select(names) for part in parts] or [arrow.table([], _INDEX_SCHEMA).select(names)])
    selected = [name for name in FACTS_SCHEMA.names if name in columns]
    return _within(rows, hours).select(selected).replace_schema_metadata(None)


def _present(store: Store, hours: HourRange) -> dict[str, dict[str, str]]:
    """Returns the generations of existing manifests, by month and by the hour's name."""
    present: dict[str, dict[str, str]] = defaultdict(dict)
    for name, generation in generations_of(store, hours).items():
        present[name[:7]][name] = generation
    return present


def generations_of(store: Store, hours: HourRange) -> dict[str, str]:
    """Returns the generation of each existing manifest, by the hour's name, in chronological order.

    Args:
        store: The lake's store.
        hours: The hours. Asking for all hours is cheap if the lake has few of them.

    Raises:
        StoreError: If the lake cannot be read.
    """
    keys = manifest_keys(hours, within=store.folders(MANIFESTS))
    found = store.generations(list(keys.values()))
    return {name: found[key] for name, key in keys.items() if key in found}


def _within(rows: pa.Table, hours: HourRange) -> pa.Table:
    """Returns the rows of a range; the rows are in chronological order."""
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
    """Returns a month's rows, updated from the manifests, and writes the month's index if anything changed."""
    # Fast path: nearly always nothing has changed, and there are 137,000 hours to check.
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
    """Returns whether the rows match these manifests exactly: all of them, in this order."""
    wanted = {"hour": arrow.text(list(present)), "generation": arrow.text(list(present.values()))}
    return all(rows[name].combine_chunks().equals(values) for name, values in wanted.items())


def _current_rows(rows: pa.Table, present: Mapping[str, str]) -> pa.Table:
    """Returns the rows whose manifest has not changed since they were read."""
    pairs = zip(rows["hour"].to_pylist(), rows["generation"].to_pylist(), strict=True)
    same = [present.get(str(hour)) == generation for hour, generation in pairs]
    return rows if all(same) else rows.filter(arrow.boolean(same))


def _read(store: Store, month: str, columns: list[str]) -> pa.Table | None:
    """Reads columns of a month's index; returns None if there is none, or it has another format."""
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
    """Writes a month's index; a failure is only logged, since the lake may be read-only."""
    sink = io.BytesIO()
    # lz4 halves the time to read it: the index is small, and every query reads all of it.
    pq.write_table(rows, sink, compression="lz4", use_dictionary=["type_names"])  # type: ignore[arg-type]
    try:
        store.write(index_key(month), sink.getvalue())
    except StoreError as error:
        _log.debug("index not written", month=month, cause=error.message)


def _read_row(store: Store, name: str, generation: str) -> dict[str, Any] | None:
    """Reads one manifest into a row; returns None if it was deleted meanwhile.

    The generation is looked up before the content is read. If the manifest changes in between, the row has an outdated
    generation, and the next reader ignores it.
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
        "asked_at": manifest.asked_at or manifest.finished_at,
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

    A type's name is external data and could contain a line break, which would shift all following counts. Line breaks
    are replaced: such a type is never large.
    """
    names = [name.replace("\n", " ") for name in types]
    return {"type_names": "\n".join(names), "type_counts": list(types.values())}


def _whole_months(hours: HourRange) -> HourRange:
    """Extends a range to whole months, since an index object covers a month."""
    first = hours.first.start.replace(day=1, hour=0)
    next_month = (hours.last.start.replace(day=1, hour=0) + timedelta(days=32)).replace(day=1)
    return HourRange(Hour(max(first, FIRST_HOUR.start)), Hour(next_month - timedelta(hours=1)))
