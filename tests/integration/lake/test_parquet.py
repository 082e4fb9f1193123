"""What stands in the parquet files, and that the engines people use read it as it is meant."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.damage import Damage, DamageReason, OffsetBase
from etl.archive.documents import Block
from etl.errors import StoreError
from etl.events import decode as decoding
from etl.events.decode import Decoder, RowGroup
from etl.events.emails import EmailPolicy
from etl.events.schema import ARROW_SCHEMA, COLUMNS, NAMES, spark_json
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.lake.manifest import CONTENT_KEY, Content, Manifest, decode_content
from etl.lake.parquet import QUARANTINE_SCHEMA, EventsWriter, Quarantine
from tests import tools
from tests.integration.lake.samples import Sample
from tests.integration.running import ERAS, documents, metadata_of, packed, put, run, sound, stored_rows

EVENTS = 500
MODERN = ERAS["C"]
_DUCKDB_TYPES = {"STRING": "VARCHAR", "INT64": "BIGINT", "BOOL": "BOOLEAN", "TIMESTAMP": "TIMESTAMP WITH TIME ZONE"}


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A lake with an hour of every era, each with one cut document in quarantine."""
    folder = tmp_path_factory.mktemp("filled")
    lake = Lake.at(str(folder / "lake"))
    for hour in ERAS.values():
        lines = [*documents(EVENTS, hour=hour), b'{"id":"1","type":"Cut\n']
        run(lake, put(folder / "archive", packed(lines), hour), hour=hour)
        sound(lake, hour)
    return lake


def path_of(lake: Lake, key: str) -> Path:
    return Path(lake.address) / key


def known(lake: Lake, hour: Hour) -> tuple[Manifest, Content]:
    manifest = lake.manifest(hour)
    assert manifest is not None
    assert manifest.content is not None
    return manifest, manifest.content


def utc(time: datetime | None) -> datetime:
    assert time is not None
    return time.astimezone(UTC)


# ---- what stands in the file


@pytest.mark.parametrize("era", ERAS)
def test_the_file_is_of_the_one_schema_and_tells_what_it_is(era: str, filled: Lake) -> None:
    manifest, content = known(filled, ERAS[era])
    parquet = pq.ParquetFile(path_of(filled, events_key(ERAS[era])))

    assert parquet.schema_arrow.remove_metadata().equals(ARROW_SCHEMA)
    metadata = metadata_of(parquet)
    assert decode_content(metadata[CONTENT_KEY]) == content
    assert b"ARROW:schema" not in metadata, "or Arrow would give dictionaries where others see strings"
    assert manifest.events_file is not None
    assert parquet.metadata.num_rows == content.events == manifest.events_file.rows == EVENTS


@pytest.mark.parametrize("era", ERAS)
def test_columns_are_stored_for_those_who_search_them(era: str, filled: Lake) -> None:
    metadata = pq.ParquetFile(path_of(filled, events_key(ERAS[era]))).metadata
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for column in (group.column(at) for at in range(group.num_columns)):
            name = column.path_in_schema
            assert column.compression == "ZSTD", name
            assert column.has_offset_index, name
            searched = name not in {"payload", "other"} and not name.endswith("_url")
            assert column.is_stats_set == searched, name
            assert column.has_column_index == searched, name
            if name in {"id", "payload"}:
                assert not column.has_dictionary_page, name
        kinds = group.column(NAMES.index("type")).statistics
        times = group.column(NAMES.index("created_at")).statistics
        assert kinds is not None
        assert times is not None
        content = known(filled, ERAS[era])[1]
        assert (kinds.min, kinds.max) == (min(content.types), max(content.types))
        assert (times.min, times.max) == (content.first_created_at, content.last_created_at)


def _blocks(lines: list[bytes], each: int) -> list[Block]:
    return [Block(at, b"".join(lines[at : at + each])) for at in range(0, len(lines), each)]


@pytest.mark.parametrize("era", ERAS)
def test_row_groups_are_closed_in_time(era: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ROW_GROUP_ROWS", 100)
    groups = _groups(documents(1000, hour=ERAS[era]), each=30)
    assert [len(group) for group in groups] == [120] * 8 + [40]

    monkeypatch.setattr(decoding, "ROW_GROUP_ROWS", 100_000)
    monkeypatch.setattr(decoding, "ROW_GROUP_BYTES", 10_000)
    assert len(_groups(documents(1000, hour=ERAS[era]), each=30)) > 3


def _groups(lines: list[bytes], *, each: int) -> list[RowGroup]:
    decoder = Decoder(EmailPolicy.of("hash"), lambda _: pytest.fail("all is sound here"))
    full = [group for block in _blocks(lines, each) if (group := decoder.add(decoder.read(block))) is not None]
    return [*full, decoder.rest()]


# ---- what engines read


def test_pandas_reads_the_types_as_they_are(filled: Lake) -> None:
    frame = pd.read_parquet(path_of(filled, events_key(MODERN)))

    assert list(frame.columns) == list(NAMES)
    assert str(frame["created_at"].dtype) == "datetime64[us, UTC]"
    assert str(frame["actor_id"].dtype) == str(frame["repo_id"].dtype) == "int64"
    assert str(frame["public"].dtype) == "bool"
    for column in COLUMNS:
        kind = frame[column.name].dtype
        assert not isinstance(kind, pd.CategoricalDtype), column.name
        if column.kind.bigquery == "STRING":
            assert pd.api.types.is_string_dtype(frame[column.name].dropna()), column.name
    content = known(filled, MODERN)[1]
    assert frame["type"].value_counts().to_dict() == content.types
    assert frame["created_at"].min().to_pydatetime() == content.first_created_at


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
@pytest.mark.parametrize("era", ERAS)
def test_pandas_keeps_whole_numbers_where_some_are_null(era: str, backend: Any, filled: Lake) -> None:
    frame = pd.read_parquet(path_of(filled, events_key(ERAS[era])), dtype_backend=backend)
    whole = {str(frame[name].dtype) for name in ("actor_id", "repo_id", "org_id")}
    assert whole == {"Int64" if backend == "numpy_nullable" else "int64[pyarrow]"}
    rows = stored_rows(filled, ERAS[era])
    assert [None if pd.isna(value) else value for value in frame["org_id"]] == [row["org_id"] for row in rows]


@pytest.mark.parametrize("era", ERAS)
def test_duckdb_reads_what_arrow_reads(era: str, filled: Lake) -> None:
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        events = db.read_parquet(str(path_of(filled, events_key(ERAS[era]))), hive_partitioning=False)
        assert dict(zip(events.columns, map(str, events.types), strict=True)) == {
            column.name: _DUCKDB_TYPES[column.kind.bigquery] for column in COLUMNS
        }
        theirs = events.project("* REPLACE (epoch_us(created_at) AS created_at)").fetchall()
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    ours = [
        tuple(
            int((row[name] - epoch).total_seconds()) * 1_000_000 if isinstance(row[name], datetime) else row[name]
            for name in NAMES
        )
        for row in stored_rows(filled, ERAS[era])
    ]
    assert Counter(ours) == Counter(theirs)


def test_duckdb_reads_the_lake_by_its_partitions(filled: Lake) -> None:
    with duckdb.connect() as db:
        db.read_parquet(f"{filled.address}/events/**/*.parquet", hive_partitioning=True).create_view("events")
        types = dict(db.execute("SELECT column_name, column_type FROM (DESCRIBE events)").fetchall())
        assert (types["date"], types["hour"]) == ("DATE", "BIGINT")
        found = db.execute("SELECT CAST(date AS VARCHAR), hour, count(*) FROM events GROUP BY ALL").fetchall()
        assert set(found) == {(hour.date, hour.hour, EVENTS) for hour in ERAS.values()}
        asked = "FROM events WHERE date = $date AND hour = $hour"
        one = {"date": MODERN.date, "hour": MODERN.hour}
        counted = dict(db.execute("SELECT type, count(*) " + asked + " GROUP BY ALL", one).fetchall())
        assert counted == known(filled, MODERN)[1].types
        plan = db.execute("EXPLAIN ANALYZE SELECT count(*) " + asked, one).fetchall()[0][1]
        assert re.search(r"Total Files Read: 1\b", plan), plan
        payload = db.execute("SELECT count(*) " + asked + " AND json_valid(payload)", one).fetchall()
        assert payload == [(EVENTS,)]


def test_arrow_reads_the_lake_by_its_partitions(filled: Lake) -> None:
    events = ds.dataset(f"{filled.address}/events", partitioning="hive", exclude_invalid_files=False)
    assert set(events.schema.names) == {*NAMES, "date", "hour"}
    rows = events.filter((ds.field("date") == MODERN.date) & (ds.field("hour") == MODERN.hour)).count_rows()
    assert rows == EVENTS


_SPARK = """
import json, sys
from pyspark.sql import SparkSession, functions as f
lake, file = sys.argv[1:]
session = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false").config("spark.sql.session.timeZone", "UTC")
    .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
    .config("spark.sql.shuffle.partitions", "1")
    .getOrCreate()
)
one = session.read.parquet(file)
times = one.agg(f.min("created_at").cast("double"), f.max("created_at").cast("double")).first()
every = session.read.parquet(lake)
parted = every.groupBy(f.col("date").cast("string"), "hour").count().collect()
print("answer: " + json.dumps({
    "schema": json.loads(one.schema.json()),
    "types": {row["type"]: row["count"] for row in one.groupBy("type").count().collect()},
    "times": list(times),
    "partitions": [list(row) for row in parted],
    "sum": str(one.agg(f.sum("actor_id")).first()[0]),
    "valid": one.filter(f.get_json_object("payload", "$").isNotNull()).count(),
}))
session.stop()
"""


def test_spark_reads_the_types_as_they_are(filled: Lake, tmp_path: Path) -> None:
    file = path_of(filled, events_key(MODERN))
    done = subprocess.run(
        [sys.executable, "-c", _SPARK, f"{filled.address}/events", str(file)],
        cwd=tmp_path,
        env=os.environ | {"JAVA_HOME": str(tools.get("java")), "SPARK_LOCAL_IP": "127.0.0.1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("answer: ")]
    answer = json.loads(line.removeprefix("answer: "))

    content = known(filled, MODERN)[1]
    bare = [{**field, "metadata": {}} for field in json.loads(spark_json())["fields"]]
    assert answer["schema"]["fields"] == bare
    assert answer["types"] == content.types
    assert answer["times"] == [utc(content.first_created_at).timestamp(), utc(content.last_created_at).timestamp()]
    assert answer["sum"] == str(sum(row["actor_id"] for row in stored_rows(filled, MODERN)))
    assert answer["valid"] == EVENTS
    assert {tuple(found) for found in answer["partitions"]} == {
        (hour.date, hour.hour, EVENTS) for hour in ERAS.values()
    }


# ---- the writer


def _content(events: int) -> Content:
    return Sample(events).content(None)


def test_a_file_without_a_row_group_has_the_schema() -> None:
    sink = io.BytesIO()
    writer = EventsWriter(sink)
    writer.finish(_content(0))
    parquet = pq.ParquetFile(sink)
    assert parquet.schema_arrow.remove_metadata().equals(ARROW_SCHEMA)
    assert parquet.read().num_rows == 0
    assert decode_content(metadata_of(parquet)[CONTENT_KEY]) == _content(0)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 60), min_size=1, max_size=6), era=st.sampled_from(sorted(ERAS)))
def test_row_groups_are_written_as_they_were_given(cuts: list[int], era: str) -> None:
    lines = documents(sum(cuts), hour=ERAS[era])
    sink = io.BytesIO()
    writer = EventsWriter(sink)
    tables = []
    for size in cuts:
        taken, lines = lines[:size], lines[size:]
        (group,) = _groups(taken, each=size)
        tables.append(group.table().cast(ARROW_SCHEMA))
        writer.write(group)
    writer.finish(_content(sum(cuts)))

    parquet = pq.ParquetFile(sink)
    assert parquet.metadata.num_row_groups == len(cuts)
    for number, table in enumerate(tables):
        assert parquet.read_row_group(number).replace_schema_metadata(None).equals(table)


def test_entities_that_share_a_name_are_distinguished_in_the_file() -> None:
    lines = [json.loads(line) for line in documents(40, hour=ERAS["C"])]
    for number, line in enumerate(lines):
        line["repo"] |= {"id": number, "name": f"shared/{number % 3}"}
        line["actor"] |= {"id": number, "login": f"login-{number % 5}"}
    (group,) = _groups([json.dumps(line, separators=(",", ":")).encode() for line in lines], each=40)
    sink = io.BytesIO()
    writer = EventsWriter(sink)
    writer.write(group)
    writer.finish(_content(40))
    read = pq.ParquetFile(sink).read().to_pylist()
    said = {(row["repo_id"], row["repo_name"], row["actor_id"], row["actor_login"]) for row in read}
    assert said == {(number, f"shared/{number % 3}", number, f"login-{number % 5}") for number in range(40)}


class _FullDisk(io.RawIOBase):
    """A stream that ends as one on a full disk does."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.told = False

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        self.room -= len(data)
        if self.room < 0 and not self.told:
            self.told = True  # once, as the lake lets fall what comes after a failure
            raise StoreError("the disk is full", hint="make room")
        return len(data)


def _writers() -> list[str]:
    """The threads of writers; others may come and go with the tests before."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("parquet")]


@pytest.mark.parametrize("room", [0, 1000, 20_000])
def test_what_the_store_says_reaches_the_caller(room: int) -> None:
    writer = EventsWriter(_FullDisk(room))  # type: ignore[arg-type]
    with pytest.raises(StoreError, match="the disk is full") as error:
        try:
            for seed in range(3):
                (group,) = _groups(documents(300, seed=seed), each=300)
                writer.write(group)
            writer.finish(_content(900))
        except BaseException:
            writer.close()
            raise
    assert error.value.hint == "make room"
    assert not _writers()


def test_an_abandoned_writer_leaves_no_thread_and_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    for groups in range(3):
        writer = EventsWriter(io.BytesIO())
        for _ in range(groups):
            (group,) = _groups(documents(100), each=100)
            writer.write(group)
        writer.close()
        del writer
    assert not _writers()
    assert capfd.readouterr() == ("", "")


# ---- the quarantine


def _damage(
    data: bytes,
    *,
    kept: bool = False,
    place: OffsetBase = OffsetBase.TEXT,
    reason: DamageReason = DamageReason.NUL_BYTES,
) -> Damage:
    return Damage(reason, place, 7, data, kept=kept, lost=int(not kept))


def _read(file: Any) -> list[dict[str, Any]]:
    table = pq.ParquetFile(file).read()
    assert table.schema.equals(QUARANTINE_SCHEMA)
    return list(table.to_pylist())


@settings(max_examples=30, deadline=None)
@given(
    found=st.lists(
        st.builds(
            Damage,
            st.sampled_from(DamageReason),
            st.sampled_from(OffsetBase),
            st.integers(0, 2**62),
            st.binary(max_size=50),
            kept=st.booleans(),
            lost=st.integers(0, 1),
        )
    )
)
def test_a_quarantine_counts_all_and_keeps_every_byte(found: list[Damage]) -> None:
    quarantine = Quarantine(EmailPolicy.of("keep"))
    for damage in found:
        quarantine.add(damage)
    file = quarantine.finish()

    assert quarantine.count == Counter(damage.reason for damage in found)
    assert quarantine.bytes.total() == sum(len(damage.data) for damage in found)
    assert quarantine.unreadable == sum(damage.lost for damage in found)
    assert quarantine.repaired == sum(damage.kept for damage in found)
    with_bytes = [damage for damage in found if damage.data]
    assert quarantine.rows == len(with_bytes)
    assert (file is None) == (not with_bytes)
    rows = [] if file is None else _read(file)
    assert [
        (row["place"], row["offset"], row["length"], row["reason"], row["event_kept"], row["bytes"]) for row in rows
    ] == [
        (damage.place, damage.offset, len(damage.data), damage.reason, damage.kept, damage.data)
        for damage in with_bytes
    ]
    quarantine.close()


def test_a_large_quarantine_goes_to_disk_in_parts() -> None:
    quarantine = Quarantine(EmailPolicy.of("keep"))
    for number in range(5):
        quarantine.add(_damage(bytes((number,)) * (3 << 20)))
    file = quarantine.finish()
    assert file is not None
    assert pq.ParquetFile(file).metadata.num_row_groups == 2
    assert [row["bytes"][0] for row in _read(file)] == list(range(5))
    quarantine.close()
    assert file.closed


@pytest.mark.parametrize("policy", ["hash", "drop"])
def test_addresses_in_quarantine_are_treated_and_lengths_are_those_found(policy: str) -> None:
    quarantine = Quarantine(EmailPolicy.of(policy))
    found = b'{"email":"someone@example.com","text":"and other.one@example.org'
    quarantine.add(_damage(found))
    file = quarantine.finish()
    assert file is not None
    (row,) = _read(file)
    assert b"someone" not in row["bytes"]
    assert b"other.one" not in row["bytes"]
    assert row["length"] == len(found)
    quarantine.close()


def test_a_quarantine_nobody_finished_leaves_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    quarantine = Quarantine(EmailPolicy.of("keep"))
    quarantine.add(_damage(bytes(9 << 20)))
    quarantine.close()
    del quarantine
    assert capfd.readouterr() == ("", "")


def test_any_engine_reads_the_quarantine(filled: Lake) -> None:
    facts = known(filled, MODERN)[1].quarantine_file
    assert facts is not None
    with duckdb.connect() as db:
        rows = db.read_parquet(str(path_of(filled, facts.key)), hive_partitioning=False).fetchall()
    ((place, _, length, reason, kept, data),) = rows
    assert (place, reason, kept, length) == ("text", "cut document", False, len(data))
    assert pa.table(pd.read_parquet(path_of(filled, facts.key))).num_rows == 1
