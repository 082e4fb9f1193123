"""Spark that reads and writes a bucket itself: the tables are those of DuckDB in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from etl.errors import ChecksFailedError, UsageError
from etl.hours import Hour
from etl.lake.lake import Lake
from etl.warehouse import build as build_module
from etl.warehouse.models import Model, models
from etl.warehouse.spark_builder import SparkBuilder, spark_builder
from etl.warehouse.spark_engine import SparkEngine, partitions_of
from etl.warehouse.table_state import ALL, Warehouse
from tests import tools
from tests.integration.running import documents
from tests.integration.sparking import for_emulator
from tests.integration.warehouse.comparing import built, differences, files, outcomes, stored
from tests.integration.warehouse.test_build import event
from tests.storage_emulator import GcsEmulator

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

pytestmark = [
    # Spark leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.timeout(900),
]
HOUR: Final = Hour.of(2019, 1, 2, 3)


@pytest.fixture
def bucket(spark: SparkSession, gcs_emulator: GcsEmulator, gcs_address: str) -> str:
    """A place in the emulator's bucket that Spark can read and write."""
    tools.get("gcs-connector")
    for name, value in for_emulator(gcs_emulator.endpoint).items():
        spark.sparkContext._jsc.hadoopConfiguration().set(name, value)
    return gcs_address


def fetched(warehouse: Warehouse, folder: Path) -> Warehouse:
    """Copies the tables of a bucket into a folder, where DuckDB can read them."""
    here = Warehouse.at(str(folder))
    for model in models():
        for info in warehouse.files(model.name):
            here.store.write(info.key, warehouse.store.read(info.key) or b"")
    return here


def test_tables_in_a_bucket_are_those_of_a_folder(bucket: str, tmp_path: Path) -> None:
    lake, there, here = (
        Lake.at(f"{bucket}/lake"),
        Warehouse.at(f"{bucket}/tables"),
        Warehouse.at(str(tmp_path / "here")),
    )
    stored(lake, tmp_path / "archive", HOUR, [*documents(60, hour=HOUR), *documents(5, hour=HOUR)])
    stored(lake, tmp_path / "archive", HOUR + 48, events=20)
    there.store.write(".staging/left/by-a-killed-build.parquet", b"PAR1")
    built(there, lake, engine="spark")
    built(here, lake)
    assert differences(here, fetched(there, tmp_path / "one")) == {}
    assert list(there.store.list(".staging/")) == []
    assert built(there, lake, engine="spark") == []

    # Late events, a rename and a day more: partitions are replaced, and merges go on from their own rows.
    renamed = event(20, actor={"id": 7, "login": "anna"}, created_at="2019-01-02T09:00:00Z")
    stored(lake, tmp_path / "archive", HOUR + 6, [renamed, event(21, created_at="2019-01-05T09:00:00Z")])
    before = files(there, "events_base")
    ours, theirs = built(there, lake, engine="spark"), built(here, lake)
    assert outcomes(ours) == outcomes(theirs)
    assert {entry.rows_written for entry in ours} == {entry.rows_written for entry in theirs}
    assert differences(here, fetched(there, tmp_path / "two")) == {}
    after = files(there, "events_base")
    assert {key for key, digest in after.items() if before.get(key) != digest} == {
        f"tables/events_base/{day}.parquet" for day in ("2019-01-02", "2019-01-05")
    }


def test_a_check_that_fails_keeps_the_file_in_the_bucket(
    bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, there = Lake.at(f"{bucket}/lake"), Warehouse.at(f"{bucket}/tables")
    stored(lake, tmp_path / "archive", HOUR, events=20)
    monkeypatch.setattr(build_module, "models", _first_with_a_check_that_never_holds)
    with pytest.raises(ChecksFailedError, match="never_holds \\(20 rows\\)"):
        built(there, lake, engine="spark")
    assert files(there, "events_base") == {}
    assert list(there.store.list(".staging/")) == []
    assert [info.key for info in there.files("build_log")] != []


def _first_with_a_check_that_never_holds() -> tuple[Model, ...]:
    model = next(model for model in models() if model.name == "events_base")
    check = model.checks[0].model_copy(update={"name": "never_holds", "sql": "SELECT event_key FROM events_base"})
    return (model.model_copy(update={"checks": (check,)}),)


class _FarSpark(SparkEngine):
    """A Spark of other machines, as far as its name tells."""

    @property
    def is_local(self) -> bool:
        return False


@pytest.mark.usefixtures("spark")
def test_who_reads_and_writes(bucket: str, tmp_path: Path) -> None:
    there, here = Warehouse.at(f"{bucket}/tables"), Warehouse.at(str(tmp_path / "tables"))
    near, far = SparkEngine(tmp_path), _FarSpark(tmp_path)
    lake = Lake.at(f"{bucket}/lake")
    assert isinstance(spark_builder(there, lake, near), SparkBuilder)
    assert isinstance(spark_builder(there, lake, far), SparkBuilder)
    assert spark_builder(here, lake, near) is None
    with pytest.raises(UsageError, match="a local folder"):
        spark_builder(here, lake, far)


def test_which_file_holds_which_partition() -> None:
    names = ("__day=2015-01-01/part-00000-a.c000.zstd.parquet", "_SUCCESS", "__day=2015-01-01/_temporary", "part-1.crc")
    assert partitions_of(names) == {"2015-01-01": names[0]}
    assert partitions_of(["part-00000-a.parquet"]) == {ALL: "part-00000-a.parquet"}
