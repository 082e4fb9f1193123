"""What only a folder can do wrong: disks, other users, files in the way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from etl.errors import StoreError
from etl.storage.local_store import FolderStore

KEY = "events/date=2015-01-01/hour=15/2015-01-01-15.parquet"

_ON_A_FULL_DISK = """
import json, resource, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from etl.errors import StoreError
from etl.storage.local_store import FolderStore

store = FolderStore(Path(sys.argv[1]))
table = pa.table({"text": [str(number) * 50 for number in range(50_000)]})
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
try:
    with store.writer(sys.argv[2]) as stream, pq.ParquetWriter(stream, table.schema, compression="none") as parquet:
        parquet.write_table(table)
except StoreError as error:
    print(json.dumps([error.message, error.hint]))
"""


def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write(KEY, b"old")
    done = subprocess.run(
        [sys.executable, "-c", _ON_A_FULL_DISK, str(tmp_path), KEY], capture_output=True, text=True, check=True
    )
    message, hint = json.loads(done.stdout)
    assert message.startswith("cannot write ")
    assert "ulimit" in hint
    assert store.read(KEY) == b"old"
    assert [path.name for path in (tmp_path / ".tmp").iterdir()] == ["commit.lock"]


@pytest.mark.parametrize("in_the_way", ["lake", "lake/.tmp", "lake/events", "lake/events/date=2015-01-01"])
def test_a_file_where_a_folder_is_needed(tmp_path: Path, in_the_way: str) -> None:
    path = tmp_path / in_the_way
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    store = FolderStore(tmp_path / "lake")
    with pytest.raises(StoreError, match="cannot write") as caught:
        store.write(KEY, b"x")
    assert "a file is in the place of a folder" in (caught.value.hint or "")
    assert path.read_bytes() == b""


def test_a_file_where_the_lake_should_be_is_no_empty_lake(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    store = FolderStore(tmp_path / "lake")
    for look in (
        lambda: store.stat(KEY),
        lambda: store.read(KEY),
        lambda: list(store.list("")),
        lambda: store.open(KEY),
    ):
        with pytest.raises(StoreError, match="cannot read"):
            look()


def test_a_folder_where_a_file_is_needed(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    (tmp_path / KEY).mkdir(parents=True)
    assert store.stat(KEY) is None
    with pytest.raises(StoreError, match="cannot read"):
        store.read(KEY)
    with pytest.raises(StoreError) as caught:
        store.write(KEY, b"x")
    assert "a folder is in the place of a file" in (caught.value.hint or "")


@pytest.mark.needs("linux")  # even root may make no folder in /sys
def test_a_place_where_nobody_may_write() -> None:
    store = FolderStore(Path("/sys/lake"))
    assert store.read(KEY) is None
    with pytest.raises(StoreError, match="cannot write /sys/lake") as caught:
        store.write(KEY, b"x")
    assert "choose another folder" in (caught.value.hint or "")


def test_what_is_being_written_is_in_no_glob(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    with store.writer(KEY) as stream:
        stream.write(b"x" * 10_000_000)
        assert list(tmp_path.glob("**/*.parquet")) == []
        assert list(store.list("")) == []
        assert not (tmp_path / "events").exists()
    assert list(tmp_path.glob("events/**/*.parquet")) == [tmp_path / KEY]


def test_the_temporaries_are_no_part_of_the_lake(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    store.write(KEY, b"x")
    with pytest.raises(StoreError, match="invalid key"):
        store.read(".tmp/commit.lock")
    assert [info.key for info in store.list("")] == [KEY]


def test_a_lake_behind_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    store = FolderStore(tmp_path / "link")
    store.write(KEY, b"x")
    assert store.read(KEY) == b"x"
    assert [info.key for info in store.list("events/")] == [KEY]


def test_a_relative_folder_is_the_one_of_the_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    store = FolderStore(Path("lake"))
    assert store.address == "lake"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    store.write(KEY, b"x")
    assert store.url(KEY) == str(tmp_path / "lake" / KEY)
    assert (tmp_path / "lake" / KEY).read_bytes() == b"x"


def test_deleting_another_generation_is_refused(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    first = store.write(KEY, b"first")
    store.write(KEY, b"other")
    with pytest.raises(StoreError, match="another writer"):
        store.delete(KEY, if_generation=first.generation)
    assert store.read(KEY) == b"other"
