"""A lease: who has it, until when, and how it ends when its owner does not return."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import StoreError
from etl.storage.lease import LOCKS, leased
from etl.storage.local_store import FolderStore

NAME = "2015-01-01-15"
KEY = f"{LOCKS}{NAME}.json"
LEASE = timedelta(seconds=120)


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_it_has_one_owner_at_a_time(store: FolderStore, clock: Clock) -> None:
    with leased(store, NAME, clock=clock) as first, leased(store, NAME, clock=clock) as second:
        assert (first, second) == (True, False)
    assert store.stat(KEY) is None
    with leased(store, NAME, clock=clock) as third:
        assert third


def test_who_was_turned_away_takes_nothing_along(store: FolderStore, clock: Clock) -> None:
    with leased(store, NAME, clock=clock):
        with leased(store, NAME, clock=clock) as other:
            assert not other
        assert store.stat(KEY) is not None


@pytest.mark.parametrize(("seconds", "free"), [(0, False), (119, False), (120, True), (10_000, True)])
def test_that_of_a_dead_owner_runs_out(store: FolderStore, clock: Clock, seconds: int, *, free: bool) -> None:
    with ExitStack() as never_left:
        never_left.enter_context(leased(store, NAME, lease=LEASE, clock=clock))
        clock.now += timedelta(seconds=seconds)
        with leased(store, NAME, lease=LEASE, clock=clock) as taken:
            assert taken is free


def test_an_owner_who_comes_back_late_leaves_the_new_one_alone(store: FolderStore, clock: Clock) -> None:
    with ExitStack() as late:
        late.enter_context(leased(store, NAME, lease=LEASE, clock=clock))
        clock.now += LEASE
        with leased(store, NAME, lease=LEASE, clock=clock) as taken:
            assert taken
            late.close()
            assert store.stat(KEY) is not None
            with leased(store, NAME, lease=LEASE, clock=clock) as third:
                assert not third


def test_it_is_renewed_while_its_owner_lives(store: FolderStore) -> None:
    with leased(store, NAME, lease=timedelta(seconds=0.2)):
        seen = {_generation(store)}
        while len(seen) < 6:  # More than a lease's renewals: without them it would have run out.
            seen.add(_generation(store))
        with leased(store, NAME, lease=timedelta(seconds=0.2)) as other:
            assert not other


@pytest.mark.parametrize("content", [b"{", b'{"owner":"\xff"}'])
def test_what_nobody_can_read_does_not_block_for_ever(store: FolderStore, content: bytes) -> None:
    store.write(KEY, content)
    with leased(store, NAME) as taken:
        assert taken


def test_it_is_given_back_after_an_error(store: FolderStore) -> None:
    with pytest.raises(ZeroDivisionError), leased(store, NAME):
        raise ZeroDivisionError
    assert store.stat(KEY) is None


def test_a_place_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "lake").touch()
    with pytest.raises(StoreError, match="cannot write"), leased(FolderStore(tmp_path / "lake"), NAME):
        pytest.fail("nobody can hold this")


@settings(deadline=None)
@given(turns=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200)), max_size=12))
def test_whatever_the_order_there_are_never_two(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int]]
) -> None:
    """Three owners take and give back in any order, and sometimes die: two never hold a name that has not run out."""
    store, clock = FolderStore(tmp_path_factory.mktemp("lake")), Clock()
    holds: dict[int, tuple[ExitStack, datetime]] = {}
    try:
        for who, seconds in turns:
            if who in holds:
                holds.pop(who)[0].close()
                continue
            clock.now += timedelta(seconds=seconds)
            stack = ExitStack()
            taken = stack.enter_context(leased(store, NAME, lease=LEASE, clock=clock))
            living = [until for _, until in holds.values() if until > clock.now]
            assert taken is not bool(living)
            if taken:
                holds[who] = (stack, clock.now + LEASE)
    finally:
        for stack, _ in holds.values():
            stack.close()


def _generation(store: FolderStore) -> str:
    info = store.stat(KEY)
    assert info is not None
    return info.generation
