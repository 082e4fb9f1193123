"""What every store promises, in a folder and in a bucket."""

from __future__ import annotations

import gc
import io
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl.errors import ConflictError, StoreError
from etl.storage.store import ABSENT, Store

KEY = "events/date=2015-01-01/hour=15/2015-01-01-15.parquet"
BIG = bytes(range(256)) * (70 << 10)  # 17.5 MiB: three chunks of an upload


def test_an_empty_store_has_nothing(store: Store) -> None:
    assert store.stat(KEY) is None
    assert store.read(KEY) is None
    assert list(store.list("")) == []
    store.delete(KEY)
    with pytest.raises(StoreError, match="2015-01-01-15"):
        store.open(KEY)


@pytest.mark.parametrize("content", [b"", b"x", BIG], ids=["empty", "small", "big"])
def test_what_was_written_is_read(store: Store, content: bytes) -> None:
    info = store.write(KEY, content)
    assert info == store.stat(KEY)
    assert (info.key, info.size) == (KEY, len(content))
    assert info.generation != ABSENT
    assert store.read(KEY) == content
    with store.open(KEY) as file:
        assert file.read() == content


def test_a_stream_gives_the_same_as_one_write(store: Store) -> None:
    with store.writer(KEY) as stream:
        for start in range(0, len(BIG), 1_000_003):
            stream.write(BIG[start : start + 1_000_003])
            assert store.stat(KEY) is None
    assert store.read(KEY) == BIG


@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_is_taken_whole(store: Store, tmp_path: Path, before: bytes | None) -> None:
    if before is not None:
        store.write(KEY, before)
    old = store.stat(KEY)
    file = tmp_path / "file"
    file.write_bytes(BIG)
    info = store.take(KEY, file)
    assert info == store.stat(KEY)
    assert info.size == len(BIG)
    assert old is None or info.generation != old.generation
    assert store.read(KEY) == BIG
    assert not file.exists()
    assert store.leftovers() == []


def test_no_file_to_take_changes_nothing(store: Store, tmp_path: Path) -> None:
    store.write(KEY, b"old")
    with pytest.raises((StoreError, FileNotFoundError)):
        store.take(KEY, tmp_path / "absent")
    assert store.read(KEY) == b"old"
    assert store.leftovers() == []


def test_an_object_opens_at_any_position(store: Store) -> None:
    store.write(KEY, BIG)
    with store.open(KEY) as file:
        assert file.seek(-5, io.SEEK_END) == len(BIG) - 5
        assert file.read(10) == BIG[-5:]
        assert file.seek(1000) == 1000
        assert file.read(7) == BIG[1000:1007]
        assert file.seek(3, io.SEEK_CUR) == 1010
        assert file.read(2_000_000) == BIG[1010:2_001_010]
        file.seek(0, io.SEEK_END)
        assert file.read(1) == b""
        assert file.read() == b""


def test_parquet_goes_in_and_out(store: Store) -> None:
    table = pa.table({"number": list(range(100_000)), "text": [str(number) for number in range(100_000)]})
    with store.writer(KEY) as stream, pq.ParquetWriter(stream, table.schema) as parquet:
        parquet.write_table(table, row_group_size=10_000)
    with store.open(KEY) as file:
        assert pq.read_table(file).equals(table)
    with store.open(KEY) as file:
        assert pq.ParquetFile(file).read_row_group(7, columns=["text"]).num_rows == 10_000


class _OwnError(Exception):
    pass


@pytest.mark.parametrize("before", [None, b"old"])
@pytest.mark.parametrize("content", [b"", b"part", BIG], ids=["nothing", "some", "much"])
def test_a_block_that_raises_changes_nothing(store: Store, before: bytes | None, content: bytes) -> None:
    if before is not None:
        store.write(KEY, before)
    seen = store.stat(KEY)
    with pytest.raises(_OwnError), store.writer(KEY) as stream:
        stream.write(content)
        raise _OwnError
    gc.collect()  # A forgotten stream must not complete itself when it is collected.
    assert store.stat(KEY) == seen
    assert store.read(KEY) == before
    assert [info.key for info in store.list("")] == ([] if before is None else [KEY])


def test_errors_of_the_block_stay_what_they_are(store: Store) -> None:
    with pytest.raises(ConnectionResetError), store.writer(KEY):
        raise ConnectionResetError("of the source, not of the store")


def test_closing_the_stream_is_not_finishing(store: Store) -> None:
    with pytest.raises(_OwnError), store.writer(KEY) as stream:
        stream.write(BIG)
        stream.close()
        raise _OwnError
    gc.collect()
    assert store.stat(KEY) is None


@pytest.mark.preconditions
def test_absent_only_creates(store: Store) -> None:
    store.write(KEY, b"first", if_generation=ABSENT)
    with pytest.raises(ConflictError, match="another writer"):
        store.write(KEY, b"second", if_generation=ABSENT)
    with pytest.raises(ConflictError), store.writer(KEY, if_generation=ABSENT) as stream:
        stream.write(b"third")
    gc.collect()
    assert store.read(KEY) == b"first"


@pytest.mark.preconditions
@pytest.mark.parametrize("size", [5, len(BIG)])
def test_of_two_writers_the_second_is_turned_away(store: Store, size: int) -> None:
    seen = store.write(KEY, b"old").generation
    with pytest.raises(ConflictError, match="2015-01-01-15"), store.writer(KEY, if_generation=seen) as slow:
        slow.write(BIG[:size])
        with store.writer(KEY, if_generation=seen) as fast:
            fast.write(b"fast")
    gc.collect()
    assert store.read(KEY) == b"fast"


def test_a_generation_that_is_gone_is_a_conflict(store: Store) -> None:
    seen = store.write(KEY, b"old").generation
    store.delete(KEY)
    with pytest.raises(ConflictError):
        store.write(KEY, b"new", if_generation=seen)
    assert store.stat(KEY) is None


def test_every_replacement_has_a_generation_of_its_own(store: Store) -> None:
    seen = {store.write(KEY, b"same").generation for _ in range(30)}
    assert len(seen) == 30


@pytest.mark.parametrize("before", [0, 10])
def test_what_is_open_is_never_mixed_with_what_replaces_it(store: Store, before: int) -> None:
    store.write(KEY, b"a" * len(BIG))
    with store.open(KEY) as file:
        assert file.read(before) == b"a" * before
        store.write(KEY, b"b" * len(BIG))
        try:
            assert set(file.read()) == {ord("a")}
        except ConflictError as error:  # A bucket keeps no old generation, and says so.
            assert "replaced" in error.message  # noqa: PT017


def test_the_list_is_in_key_order_and_by_prefix(store: Store) -> None:
    keys = ["a/b/c", "a/b-c", "a/b.c", "a/bc", "a-b/c", "a.json", "b", "z/1", "z/10", "z/2"]
    for key in reversed(keys):
        store.write(key, key.encode())
    assert [info.key for info in store.list("")] == sorted(keys)
    assert [info.key for info in store.list("a/b")] == sorted(key for key in keys if key.startswith("a/b"))
    assert [info.key for info in store.list("a/b/")] == ["a/b/c"]
    assert [info.key for info in store.list("z/1")] == ["z/1", "z/10"]
    assert list(store.list("nothing/here")) == []
    assert [info.size for info in store.list("z/10")] == [4]


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    keys=st.sets(st.text("ab-./é", min_size=1, max_size=6).filter(lambda key: "." not in key and "//" not in key)),
    prefix=st.text("ab-/", max_size=3),
)
def test_the_list_is_what_a_set_of_texts_would_give(store: Store, keys: set[str], prefix: str) -> None:
    for info in list(store.list("")):
        store.delete(info.key)
    clean = {f"k/{key.strip('/')}x" for key in keys}
    clean = {key for key in clean if not any(other.startswith(f"{key}/") for other in clean)}
    for key in clean:
        store.write(key, b"")
    expected = sorted(key for key in clean if key.startswith(f"k/{prefix.lstrip('/')}".replace("//", "/")))
    assert [info.key for info in store.list(f"k/{prefix.lstrip('/')}".replace("//", "/"))] == expected


def test_delete_by_generation(store: Store) -> None:
    first = store.write(KEY, b"first")
    store.delete(KEY, if_generation=first.generation)
    assert store.stat(KEY) is None


@pytest.mark.parametrize("key", ["../out", "/etc/passwd", "a/../../b", "a//b", "", "a/", ".", "a\\b", "a\0b"])
def test_no_key_leaves_the_store(store: Store, key: str) -> None:
    with pytest.raises(StoreError, match="invalid key"):
        store.read(key)
    with pytest.raises(StoreError, match="invalid key"):
        store.write(key, b"x")
    with pytest.raises(StoreError, match="invalid key"):
        store.url(key)
    with pytest.raises(StoreError, match="invalid key"):
        list(store.list("../x"))


def test_the_url_is_the_address_and_the_key(store: Store) -> None:
    assert store.url("events/x.parquet") == f"{store.address}/events/x.parquet"


@pytest.mark.preconditions
def test_no_update_is_lost_between_writers(store: Store) -> None:
    store.write(KEY, b"0")

    def add_five() -> None:
        left = 5
        while left:
            info = store.stat(KEY)
            number = int(store.read(KEY) or b"")
            assert info is not None
            with suppress(ConflictError):
                store.write(KEY, str(number + 1).encode(), if_generation=info.generation)
                left -= 1

    with ThreadPoolExecutor(4) as writers:
        for done in [writers.submit(add_five) for _ in range(4)]:
            done.result()
    assert store.read(KEY) == b"20"


def test_folders_are_those_directly_below(store: Store) -> None:
    for key in ("manifests/date=2015-01-01/hour=0/x.json", "manifests/date=2015-01-02/hour=0/x.json", "manifests/x"):
        store.write(key, b"{}")
    store.write("manifests2/date=2015-01-03/x.json", b"{}")
    assert store.folders("manifests") == {"date=2015-01-01", "date=2015-01-02"}
    assert store.folders("manifests/date=2015-01-01") == {"hour=0"}
    assert store.folders("absent") == frozenset()
