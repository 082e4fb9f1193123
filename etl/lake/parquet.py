"""The parquet files of the lake: the events of an hour, and the quarantine of what could not be read.

Events are in row groups of 100,000, or of fewer if they are large, each in order of type, then of arrival. With
the page index that stands in the file, a reader that wants one type reads the pages of that type, and as the
payloads of one type resemble each other they compress well. No Arrow schema is stored, so that every reader sees
plain strings, not dictionaries.
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
"""Sorted by type, level 2 makes smaller files than level 3 unsorted, in three quarters of its time."""
_PAGE_BYTES: Final = 2 << 20
_DICTIONARY_BYTES: Final = 8 << 20
_SINK_BYTES: Final = 8 << 20
_UNIQUE: Final = frozenset({"id", "payload"})
"""Columns whose values hardly recur: a dictionary of them would be as long as they are."""
_NEVER_FILTERED: Final = frozenset({"payload", "other"})
"""Besides the addresses of pictures and pages, the columns by whose bounds no reader skips anything."""

_WAITING_BYTES: Final = 8 << 20
_WAITING_ROWS: Final = 10_000
"""What is set aside is written when so much has come, by bytes or by rows."""

_QUARANTINE_FIELDS: Final[tuple[tuple[str, pa.DataType], ...]] = (
    ("place", pa.string()),
    ("offset", pa.int64()),
    ("length", pa.int64()),
    ("reason", pa.string()),
    ("event_kept", pa.bool_()),
    ("bytes", pa.binary()),
)
QUARANTINE_SCHEMA: Final = pa.schema([pa.field(name, kind, nullable=False) for name, kind in _QUARANTINE_FIELDS])
"""A run of bytes a row: where it stood in the downloaded file (``gzip``) or in its text (``text``), how long it was,
why it could not be read as it stood, whether an event was made of it all the same, and the bytes themselves, in
which addresses are treated by the hour's policy."""


class EventsWriter:
    """Writes row groups, one at a time, on a thread of its own while the next one is being read.

    Args:
        sink: Where the parquet file goes.
    """

    def __init__(self, sink: BinaryIO) -> None:
        # The writer puts many small pieces; each alone would wait for the decoding thread to let go of the interpreter.
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
        """Takes a row group as soon as the one before is written, so that at most two are in memory.

        Raises:
            StoreError: If the one before could not be written.
        """
        # Made here, not on the thread: it is many short steps, each of which would wait for the decoder there.
        table = [group.table()]
        self._wait()
        self._running = self._thread.submit(self._write, table)

    def finish(self, content: Content) -> None:
        """Ends the file, with the hour's content in its key-value section.

        Raises:
            StoreError: If it cannot be written.
        """
        self._wait()
        self._file.add_key_value_metadata({CONTENT_KEY.decode(): encode_content(content).decode()})
        self._file.close()
        self._sink.flush()

    def close(self) -> None:
        """Stops writing; a file that was not finished is left as it is."""
        self._thread.shutdown(cancel_futures=True)
        self._file.is_open = False

    def _write(self, table: list[pa.Table]) -> None:
        """Writes the one table in the list and lets go of it, so that its memory can be used again."""
        self._file.write_table(table.pop(), row_group_size=ROW_GROUP_ROWS * 2)

    def _wait(self) -> None:
        if self._running is not None:
            self._running.result()


class Quarantine:
    """Collects what could not be read in a temporary parquet file, and counts it.

    Args:
        emails: How addresses in it are treated.

    Attributes:
        count: Runs of bytes, by reason.
        bytes: Bytes, by reason.
        unreadable: Documents that became no event.
        repaired: Events that were repaired.
        rows: Rows of the file so far.
    """

    def __init__(self, emails: EmailPolicy) -> None:
        self.count: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.unreadable = 0
        self.repaired = 0
        self.rows = 0
        self._emails = emails
        self._waiting: list[Damage] = []
        self._waiting_bytes = 0
        self._file: BinaryIO | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, damage: Damage) -> None:
        """Takes a run of bytes."""
        self.count[damage.reason] += 1
        self.bytes[damage.reason] += len(damage.data)
        self.unreadable += damage.lost
        self.repaired += damage.kept
        if damage.data:
            self._waiting.append(damage)
            self._waiting_bytes += len(damage.data)
        if self._waiting_bytes >= _WAITING_BYTES or len(self._waiting) >= _WAITING_ROWS:
            self._flush()

    def finish(self) -> BinaryIO | None:
        """Returns the finished file, at its start; None when no bytes came."""
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
        # Closing writes what is still held; where there is no room for it, there was an error that says so.
        with suppress(OSError):
            if self._writer is not None:
                self._writer.close()
        with suppress(OSError):
            if self._file is not None:
                self._file.close()

    def _flush(self) -> None:
        if not self._waiting:
            return
        if self._writer is None:
            self._file = tempfile.TemporaryFile(prefix="quarantine-")  # noqa: SIM115  # closed by close()
            self._writer = pq.ParquetWriter(self._file, QUARANTINE_SCHEMA, compression=_COMPRESSION)
        with _temporary_space():
            self._writer.write_table(self._table())
        self.rows += len(self._waiting)
        self._waiting.clear()
        self._waiting_bytes = 0

    def _table(self) -> pa.Table:
        waiting = self._waiting
        columns = [
            arrow.text([damage.place.value for damage in waiting]),
            arrow.int64(damage.offset for damage in waiting),
            arrow.int64(len(damage.data) for damage in waiting),
            arrow.text([damage.reason.value for damage in waiting]),
            arrow.boolean(damage.kept for damage in waiting),
            arrow.binary([self._treated(damage) for damage in waiting]),
        ]
        return pa.Table.from_arrays(columns, schema=QUARANTINE_SCHEMA)

    def _treated(self, damage: Damage) -> bytes:
        if damage.place is not OffsetBase.TEXT:
            return self._emails.scrub_bytes(damage.data)
        return self._emails.scrub_damaged(self._emails.scrub(damage.data))


@contextmanager
def _temporary_space() -> Iterator[None]:
    """Explains why what is set aside cannot be written to the folder for temporary files."""
    try:
        yield
    except OSError as error:
        raise StoreError(
            f"what could not be read cannot be set aside in {tempfile.gettempdir()}: {error.strerror or error}",
            hint="make room there, or name another folder in the environment variable TMPDIR",
        ) from error
