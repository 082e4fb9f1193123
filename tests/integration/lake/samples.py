"""Small hours for the tests of the lake: content that differs by a number, and parquet files that carry it."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from etl.hours import Hour
from etl.lake.lake import Lake, Publication
from etl.lake.manifest import (
    CONTENT_KEY,
    Content,
    DamageCounts,
    FileFacts,
    Manifest,
    SourceFacts,
    Status,
    encode_content,
)

HOUR = Hour.of(2015, 1, 1, 15)
STARTED = datetime(2025, 6, 1, 12, 0, tzinfo=UTC)
SCHEMA = pa.schema([("id", pa.string()), ("payload", pa.string())])


@dataclass(frozen=True)
class Sample:
    """One version of an hour: ``number`` events, and ``number % 3`` rows in quarantine, so none for 3, 6, ..."""

    number: int
    hour: Hour = HOUR

    @property
    def quarantine(self) -> bytes | None:
        rows = self.number % 3
        return _parquet(pa.table({"raw": [f"damage {self.number}"] * rows}), {}) if rows else None

    def content(self, quarantine_file: FileFacts | None) -> Content:
        source = f"source {self.number}".encode()
        return Content(
            hour=str(self.hour),
            status=Status.COMPLETE,
            reason=None,
            era="C",
            source=SourceFacts(
                address=f"https://data.gharchive.org/{self.hour}.json.gz",
                etag=f'"{self.number}"',
                last_modified=None,
                bytes=len(source),
                sha256=hashlib.sha256(source).hexdigest(),
                sidecar=False,
                interrupted=False,
            ),
            documents=self.number,
            events=self.number,
            unreadable=0,
            repaired=0,
            duplicates=0,
            types={"PushEvent": self.number},
            first_created_at=self.hour.start,
            last_created_at=self.hour.start,
            damage=[DamageCounts(reason="not_json", count=1, bytes=3)] if quarantine_file else [],
            quarantine_file=quarantine_file,
            schema_version=1,
            emails="hash",
            software="gharchive-etl test",
        )

    def events(self, content: Content) -> bytes:
        rows = range(self.number)
        table = pa.table(
            {"id": [str(row) for row in rows], "payload": [f"{{{self.number}}}" for _ in rows]}, schema=SCHEMA
        )
        return _parquet(table, {CONTENT_KEY: encode_content(content)})


def fill(publication: Publication, sample: Sample) -> Content:
    """Writes a sample into a publication, up to but without the finish."""
    quarantine = sample.quarantine
    facts = None if quarantine is None else publication.quarantine(io.BytesIO(quarantine), sample.number % 3)
    content = sample.content(facts)
    events = sample.events(content)
    publication.events.write(events[:100])
    publication.events.write(events[100:])
    return content


def publish(lake: Lake, number: int, hour: Hour = HOUR) -> Manifest:
    """Publishes a sample."""
    with lake.publish(hour) as publication:
        return publication.finish(fill(publication, Sample(number, hour)), started_at=STARTED)


def _parquet(table: pa.Table, metadata: dict[bytes, bytes]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), sink)
    return sink.getvalue()
