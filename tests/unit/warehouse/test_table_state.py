from __future__ import annotations

import os
import shutil
from datetime import UTC, date, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import StoreError
from etl.warehouse.lake_inputs import Days, bounds
from etl.warehouse.table_state import ALL, Built, TableState, Warehouse, partition_key, partition_of


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    return Warehouse.at(str(tmp_path))


def published(warehouse: Warehouse, partition: str, content: bytes, folder: Path) -> Built:
    path = folder / "staged"
    path.write_bytes(content)
    info = warehouse.publish(partition_key("names", partition), path)
    return Built(fingerprint="f", generation=info.generation, rows=1, bytes=info.size, lineage="l")


@given(st.dates().map(str) | st.just(ALL), st.sampled_from(["names", "events_base"]))
def test_a_key_tells_its_partition(partition: str, table: str) -> None:
    assert partition_of(table, partition_key(table, partition)) == partition


@pytest.mark.parametrize("key", ["tables/names/all.json", "tables/names/x/all.parquet", "tables/other/all.parquet"])
def test_another_key_tells_none(key: str) -> None:
    assert partition_of("names", key) is None


def test_the_state_counts_only_for_the_files_it_was_written_for(
    warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("staged")
    state = TableState()
    for partition in ("2019-01-01", "2019-01-02"):
        state.partitions[partition] = published(warehouse, partition, b"one", folder)
    state.partitions["2019-01-03"] = state.partitions["2019-01-01"]
    warehouse.save_state("names", state)
    assert set(warehouse.state("names")[0].partitions) == {"2019-01-01", "2019-01-02"}
    published(warehouse, "2019-01-02", b"two", folder)
    assert set(warehouse.state("names")[0].partitions) == {"2019-01-01"}
    assert warehouse.state("names")[1] == ["2019-01-02"]
    warehouse.remove("names", "2019-01-01")
    assert warehouse.state("names")[0].partitions == {}


@pytest.mark.parametrize(
    "content", [b"{", b'{"\xff": 1}', b'{"version": 2, "partitions": {}}', b'{"version": 1, "more": 1}']
)
def test_a_state_that_cannot_be_read_counts_as_none(warehouse: Warehouse, content: bytes) -> None:
    warehouse.store.write("state/names.json", content)
    assert warehouse.state("names")[0].partitions == {}


def test_one_build_at_a_time_and_nothing_stays_of_a_killed_one(warehouse: Warehouse, tmp_path: Path) -> None:
    (tmp_path / ".staging").mkdir()
    (tmp_path / ".staging/left").write_bytes(b"x")
    with warehouse.building() as staging:
        assert list(staging.iterdir()) == []
        with pytest.raises(StoreError, match="another build"), Warehouse.at(str(tmp_path)).building():
            pass
    assert not staging.exists()


def test_days_are_bounded_on_either_side_or_not() -> None:
    assert "2019-01-01" in Days()
    assert "2019-01-01" in Days(first=date(2019, 1, 1), last=date(2019, 1, 1))
    assert "2018-12-31" not in Days(first=date(2019, 1, 1))
    assert "2019-01-02" not in Days(last=date(2019, 1, 1))


def test_the_bounds_of_days_end_where_the_next_begins() -> None:
    assert bounds("2019-01-01", "2019-01-02") == (datetime(2019, 1, 1, tzinfo=UTC), datetime(2019, 1, 3, tzinfo=UTC))
    assert bounds("9999-12-31", "9999-12-31")[1] == datetime.max.replace(tzinfo=UTC)


def test_a_copy_of_a_file_is_known_again_by_its_bytes(
    warehouse: Warehouse, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("staged")
    days = [f"2019-01-0{day}" for day in range(1, 5)]
    state = TableState()
    for day in days:
        built = published(warehouse, day, day.encode(), folder)
        state.partitions[day] = msgspec.structs.replace(built, sha256=sha256(day.encode()).hexdigest())
    state.partitions[days[3]] = msgspec.structs.replace(state.partitions[days[3]], sha256="")
    warehouse.save_state("names", state)
    copy = Warehouse.at(str(tmp_path_factory.mktemp("elsewhere") / "copy"))
    shutil.copytree(warehouse.address, copy.address)
    Path(copy.store.url(partition_key("names", days[2]))).write_bytes(b"2019-01-0x")
    for day in days:
        os.utime(copy.store.url(partition_key("names", day)), (1, 1))
    known, unknown = copy.state("names")
    assert (set(known.partitions), unknown) == ({days[0], days[1]}, [days[2], days[3]])
    assert copy.recalled("names").partitions[days[0]] != known.partitions[days[0]]
    with copy.building():
        pass
    assert copy.recalled("names") == known
