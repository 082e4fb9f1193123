"""Holding an hour alone, in a folder and in a bucket."""

from __future__ import annotations

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from etl.errors import StoreError
from etl.hours import Hour
from etl.lake.lake import Lake, store_at
from etl.storage.local_store import FolderStore
from etl.storage.store import Store

NAME = "2015-01-01-15"

_HOLDS_UNTIL_KILLED = """
import sys, time
from pathlib import Path
from etl.storage.local_store import FolderStore

with FolderStore(Path(sys.argv[1])).lock(sys.argv[2]) as held:
    print(held, flush=True)
    time.sleep(100)
"""


def test_one_holds_it_and_others_learn_it_immediately(store: Store, address: str) -> None:
    with store.lock(NAME) as held:
        assert held
        for other in (store, store_at(address)):
            with other.lock(NAME) as too:
                assert not too
        with store.lock("2015-01-01-16") as another:
            assert another
    with store_at(address).lock(NAME) as later:
        assert later


def test_it_is_free_again_after_an_error(store: Store) -> None:
    with pytest.raises(ZeroDivisionError), store.lock(NAME):
        raise ZeroDivisionError
    with store.lock(NAME) as held:
        assert held


def test_a_lock_is_no_object_of_the_lake(store: Store) -> None:
    store.write("a", b"x")
    with store.lock(NAME):
        assert [info.key for info in store.list("")] == ["a"]
    assert [info.key for info in store.list("")] == ["a"]


@pytest.mark.parametrize("name", ["../out", "/etc/passwd", "", "a//b"])
def test_no_name_leaves_the_store(store: Store, name: str) -> None:
    with pytest.raises(StoreError, match="invalid key"), store.lock(name):
        pytest.fail("nobody can hold this")


def test_an_hour_is_held_by_its_name(address: str) -> None:
    hour = Hour.of(2015, 1, 1, 15)
    with Lake.at(address).lock(hour) as held, store_at(address).lock(str(hour)) as too:
        assert (held, too) == (True, False)


def test_two_never_hold_it_at_once(store: Store, address: str) -> None:
    """The name is taken and given back all the time, which is when a lock can slip through."""
    inside, most, taken = 0, 0, 0
    guard = threading.Lock()

    def try_often(mine: Store) -> None:
        nonlocal inside, most, taken
        for _ in range(40):
            with mine.lock(NAME) as held:
                if not held:
                    continue
                with guard:
                    inside, taken = inside + 1, taken + 1
                    most = max(most, inside)
                with guard:
                    inside -= 1

    with ThreadPoolExecutor(4) as owners:
        list(owners.map(try_often, [store, *(store_at(address) for _ in range(3))]))
    assert most == 1
    assert taken


def test_writers_go_on_beside_it(store: Store) -> None:
    with store.lock(NAME) as held:
        assert held
        store.write("a", b"x")
        with store.lock(NAME) as too:
            assert not too


def test_a_dead_owner_blocks_nobody(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLDS_UNTIL_KILLED, str(tmp_path), NAME], stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == "True"
        store = FolderStore(tmp_path)
        with store.lock(NAME) as held:
            assert not held
        owner.kill()
        owner.wait()
        with store.lock(NAME) as held:
            assert held
    assert not list((tmp_path / ".tmp" / "locks").iterdir())


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    with pytest.raises(StoreError, match="cannot lock"), FolderStore(tmp_path / "lake").lock(NAME):
        pytest.fail("nobody can hold this")
