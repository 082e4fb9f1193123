"""Parquet files of the lake: the events of an hour, and the quarantine of unreadable data.

Events are written in row groups of 100,000 rows (fewer if they are large), each sorted by type and then by position in
the source. With the page index of the file, a query for one type only reads the pages of that type; and payloads of the
same type compress well together. The Arrow schema is not stored, so that all readers see plain strings instead of
dictionaries.
"""

from __future__ import annotations

import io
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import IOBase
from typing import BinaryIO, Final, cast

import pyarrow as pa
import pyarrow.parquet as pq

from etl.archive.damage import Damage, OffsetBase
from etl.errors import StoreError
from etl.events import arrow
from etl.events.columns import PARQUET_SCHEMA
from etl.events.decode import ROW_GROUP_ROWS, RowGroup
from etl.events.emails import EmailPolicy
from etl.events.schema import NAMES
from etl.lake.manifest import CONTENT_KEY, Content, encode_content

_COMPRESSION: Final = "zstd"
_LEVEL: Final = 2
"""Sorted by type, level 2 produces smaller files than level 3 unsorted, in three quarters of the time."""
_PAGE_BYTES: Final = 2 << 20
_DICTIONARY_BYTES: Final = 8 << 20
_SINK_BYTES: Final = 8 << 20
_UNIQUE: Final = frozenset({"id", "payload"})
"""Columns whose values are nearly unique, so that a dictionary would not save space."""
_NEVER_FILTERED: Final = frozenset({"payload", "other"})
"""Columns without statistics, in addition to all URLs: no query filters by them."""

_PENDING_BYTES: Final = 8 << 20
_PENDING_ROWS: Final = 10_000
"""Quarantined data is written when this many bytes or rows are pending."""

_QUARANTINE_FIELDS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("place", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int64()),
    ("reason", pa.string()),
    ("event_kept", pa.bool_()),
    ("bytes", pa.binary()),
)
QUARANTINE_SCHEMA: Final = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _QUARANTINE_FIELDS])
"""One row per run of bytes: its position in the downloaded file (``gzip``) or in its text (``text``), its length, why
it could not be read as it is, whether it was repaired and kept as an event, and the bytes themselves, in which e-mail
addresses are treated by the hour's policy."""


class EventsWriter:
    """Writes row groups on its own thread, while the next one is being read.

    Args:
        sink: Stream to write the Parquet file to.
    """

    def __init__(self, sink: BinaryIO) -> None:
        # The Parquet writer makes many small writes, each of which would have to wait for the interpreter lock.
        self._sink = pa.BufferedOutputStream(pa.PythonFile(cast("IOBase", sink), mode="w"), _SINK_BYTES)
        self._file = pq.ParquetWriter(
            self._sink,
            PARQUET_SCHEMA,
            compression=_COMPRESSION,
            compression_level=_LEVEL,
            use_dictionary=[name for name in NAMES if name not in _UNIQUE],  # type: ignore[arg-type]  # stubs lag
            write_statistics=[name for name in NAMES if name not in _NEVER_FILTERED and not name.endswith("_url")],
            data_page_size=_PAGE_BYTES,
            dictionary_pagesize_limit=_DICTIONARY_BYTES,
            write_page_index=True,
            store_schema=False,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        self._running: Future[None] | None = None

    def write(self, group: RowGroup) -> None:
        """Starts writing a row group once the previous one is written, so that at most two are in memory.

        Raises:
            StoreError: If the previous one could not be written.
        """
        # Not on the other thread: creating the table takes many short steps, each of which would wait for the decoder.
        table = [group.table()]
        self._wait()
        self._running = self._thread.submit(self._write, table)

    def finish(self, content: Content) -> None:
        """Finishes the file, with the hour's content in its metadata.

        Raises:
            StoreError: If it cannot be written.
        """
        self._wait()
        self._file.add_key_value_metadata({CONTENT_KEY.decode(): encode_content(content).decode()})
        self._file.close()
        self._sink.flush()

    def close(self) -> None:
        """Stops writing; an unfinished file is left as it is."""
        self._thread.shutdown(cancel_futures=True)
        self._file.is_open = False

    def _write(self, table: list[pa.Table]) -> None:
        """Writes the table in the list and releases it, so that its memory can be reused."""
        self._file.write_table(table.pop(), row_group_size=ROW_GROUP_ROWS * 2)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


class Quarantine:
    """Collects damage in a temporary Parquet file, and counts it.

    Args:
        emails: How e-mail addresses are handled.

    Attributes:
        count: Number of runs of bytes, by reason.
        bytes: Number of bytes, by reason.
        unreadable: Number of documents that are not in the events file.
        repaired: Number of repaired events.
        rows: Rows of the file so far.
    """

    def __init__(self, emails: EmailPolicy) -> None:
        self.count: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.unreadable = 0
        self.repaired = 0
        self.rows = 0
        self._emails = emails
        self._pending: list[Damage] = []
        self._pending_bytes = 0
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, damage: Damage) -> None:
        """Adds a run of bytes."""
        self.count[damage.reason] += 1
        self.bytes[damage.reason] += len(damage.data)
        self.unreadable += damage.lost
        self.repaired += damage.kept
        if damage.data:
            self._pending.append(damage)
            self._pending_bytes += len(damage.data)
        if self._pending_bytes >= _PENDING_BYTES or len(self._pending) >= _PENDING_ROWS:
            self._flush()

    def finish(self) -> BinaryIO | None:
        """Returns the finished file, positioned at its start; None if it would be empty."""
        self._flush()
        if self._writer is None or self._file is None:
            return None
        with _temporary_space():
            self._writer.close()
            self._file.flush()
        self._file.seek(io.SEEK_SET)
        return self._file

    def close(self) -> None:
        """Removes the temporary file."""
        # Closing flushes buffers. If the disk is full, that error was raised before.
        with suppress(OSError):
            if self._writer is not None:
                self._writer.close()
        with suppress(OSError):
            if self._file is not None:
                self._file.close()

    def _flush(self) -> None:
        if not self._pending:
            return
        if self._writer is None:
            self._file = tempfile.TemporaryFile(prefix="quarantine-")  # noqa: SIM115  # closed by close()
            self._writer = pq.ParquetWriter(self._file, QUARANTINE_SCHEMA, compression=_COMPRESSION)
        with _temporary_space():
            self._writer.write_table(self._table())
        self.rows += len(self._pending)
        self._pending.clear()
        self._pending_bytes = 0

    def _table(self) -> pa.Table:
        pending = self._pending
        columns = [
            arrow.text([damage.place.value for damage in pending]),
            arrow.int64(damage.offset for damage in pending),
            arrow.int64(len(damage.data) for damage in pending),
            arrow.text([damage.reason.value for damage in pending]),
            arrow.boolean(damage.kept for damage in pending),
            arrow.binary([self._treated(damage) for damage in pending]),
        ]
        return pa.Table.from_arrays(columns, schema=QUARANTINE_SCHEMA)

    def _treated(self, damage: Damage) -> bytes:
        if damage.place is not OffsetBase.TEXT:
            return self._emails.scrub_bytes(damage.data)
        return self._emails.scrub_damaged(self._emails.scrub(damage.data))


@contextmanager
def _temporary_space() -> Iterator[None]:
    """Translates errors of writing to the folder for temporary files."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"cannot write quarantined data to {tempfile.gettempdir()}: {error.strerror or error}",
            hint="free some space there, or set TMPDIR to another folder",
        ) from error
