"""Events of a block as columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, cast

import pyarrow as pa

from etl.events import arrow
from etl.events.emails import EmailPolicy

PUSH: Final = "PushEvent"


@dataclass(slots=True)
class EventColumns:
    """The events of a block as columns, sorted by type.

    Attributes:
        types: The types in order, each with its number of events.
        keys: A 64-bit hash of (id, type, created_at) for each event (int64), comparable within this process.
        first: Earliest ``created_at``.
        last: Latest ``created_at``.
        ids: IDs (string).
        payload: Payloads (string).
        public: Whether the event is public (bool).
        created_at: Times (timestamp).
        entities: Original bytes of actors, repositories and organizations (binary); empty if absent.
    """

    types: list[tuple[str, int]]
    keys: pa.Array[Any]
    first: datetime
    last: datetime
    ids: pa.Array[Any]
    payload: pa.Array[Any]
    public: pa.Array[Any]
    created_at: pa.Array[Any]
    entities: dict[str, pa.Array[Any]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def bytes(self) -> int:
        """Approximate size in bytes."""
        return self.payload.nbytes + sum(column.nbytes for column in self.entities.values())

    def scrub_bare_fields(self, emails: EmailPolicy) -> None:
        """Treats addresses without ``@`` in pushes; they are rare, so all pushes are searched at once."""
        start = 0
        for name, size in self.types:
            pushes = self.payload.slice(start, size) if name == PUSH else None
            if pushes is not None and emails.has_bare_fields(arrow.data_of(pushes)):
                texts = cast("list[str]", pushes.to_pylist())
                treated = arrow.utf8([emails.scrub_bare_fields(text.encode()) for text in texts])
                parts = [self.payload.slice(0, start), treated, self.payload.slice(start + size)]
                self.payload = pa.concat_arrays(parts)
            start += size
