"""Runs an hour as the command line does, without its process, and reads what came of it."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import pyarrow.parquet as pq

from etl.archive.retry import FetchPolicy
from etl.archive.source import Source
from etl.archive.sources import source_at
from etl.events.emails import EmailPolicy
from etl.events.schema import ARROW_SCHEMA
from etl.hour_pipeline import HourResult, ProgressCallback, RunOptions, run_hour
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Manifest, encode
from etl.practice.generator import generate_hour

HOUR: Final = Hour.of(2015, 1, 1, 15)
PATH: Final = f"/{HOUR}.json.gz"
COMPANION_PATH: Final = f"/{HOUR}.manifest.json"
QUICK: Final = FetchPolicy(
    connect_timeout=5, read_timeout=10, attempts=3, backoff_first=0.001, backoff_max=0.002, retry_after_max=0.05
)
ERAS: Final = {
    "A": Hour.of(2011, 4, 5, 6),
    "B": Hour.of(2013, 6, 7, 8),
    "C": Hour.of(2019, 1, 2, 3),
    "D": Hour.of(2025, 12, 15, 16),
}


def now() -> datetime:
    """The time, as the pipeline asks for it."""
    return datetime.now(UTC)


def run(
    lake: Lake,
    *sources: Source | str | Path,
    hour: Hour = HOUR,
    emails: str | EmailPolicy = "hash",
    watch: ProgressCallback | None = None,
    clock: Callable[[], datetime] = now,
    **options: Any,
) -> HourResult:
    """Runs an hour; sources are addresses or ready, options those of ``RunOptions``."""
    ready = [
        source_at(str(source), connect_timeout=QUICK.connect_timeout, read_timeout=QUICK.read_timeout)
        if isinstance(source, str | Path)
        else source
        for source in sources
    ]
    policy = emails if isinstance(emails, EmailPolicy) else EmailPolicy.of(emails)
    chosen = RunOptions(**{"emails": policy, "fetch": QUICK, **options})
    return run_hour(hour, lake=lake, sources=ready, options=chosen, progress=watch, clock=clock)


def documents(events: int, *, hour: Hour = HOUR, seed: int = 0) -> list[bytes]:
    """The documents of a practice hour, each with its line end."""
    return list(generate_hour(hour, events=events, seed=seed))


def packed(lines: Iterable[bytes]) -> bytes:
    """A gzip file of them."""
    return gzip.compress(b"".join(lines), 1, mtime=0)


def put(folder: Path, content: bytes, hour: Hour = HOUR) -> Path:
    """Makes a folder an archive that has this hour; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{hour}.json.gz").write_bytes(content)
    return folder


def stored_rows(lake: Lake, hour: Hour = HOUR) -> list[dict[str, Any]]:
    """The hour's events in the order of the file."""
    with lake.store.open(events_key(hour)) as file:
        table = pq.ParquetFile(file).read()
    assert table.schema.equals(ARROW_SCHEMA)
    return list(table.to_pylist())


def quarantined(lake: Lake, hour: Hour = HOUR) -> list[dict[str, Any]]:
    """The rows of the hour's quarantine; none where it has none."""
    manifest = lake.manifest(hour)
    facts = None if manifest is None or manifest.content is None else manifest.content.quarantine_file
    if facts is None:
        return []
    with lake.store.open(facts.key) as file:
        return list(pq.ParquetFile(file).read().to_pylist())


def metadata_of(parquet: pq.ParquetFile) -> dict[bytes, bytes]:
    """The key-value section of a parquet file."""
    return parquet.metadata.metadata or {}


def sound(lake: Lake, hour: Hour = HOUR) -> Manifest:
    """Returns the hour's manifest, after holding all of the hour against it."""
    assert lake.verify(hour, ARROW_SCHEMA) == []
    manifest = lake.manifest(hour)
    assert manifest is not None
    return manifest


def backdate(lake: Lake, hour: Hour) -> None:
    """Changes an hour's manifest to that of a run five minutes after the end of the hour."""
    ended = hour.window[1] + timedelta(minutes=5)
    early = msgspec.structs.replace(sound(lake, hour), started_at=ended, finished_at=ended, asked_at=None)
    lake.store.write(manifest_key(hour), encode(early))


def objects(lake: Lake) -> dict[str, str]:
    """All that is stored in a lake: key and SHA-256 of the bytes."""
    found = {}
    for info in lake.store.list(""):
        content = lake.store.read(info.key)
        assert content is not None
        found[info.key] = hashlib.sha256(content).hexdigest()
    return found
