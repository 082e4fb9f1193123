"""Which events ``show`` chooses."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from etl.cli.show import spread


@given(st.lists(st.sampled_from("abcde")), st.integers(0, 12))
def test_as_many_types_as_possible_are_shown(types: list[str], count: int) -> None:
    chosen = spread(types, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(types))
    shown = Counter(types[place] for place in chosen)
    assert len(shown) == min(count, len(set(types)))
    # No type has two more than another that has more to show.
    for type_, number in Counter(types).items():
        if shown[type_] < number:
            assert max(shown.values(), default=0) <= shown[type_] + 1


def test_the_most_frequent_types_come_first_where_not_all_fit() -> None:
    assert spread(["CreateEvent", "PushEvent", "PushEvent", "WatchEvent", "WatchEvent", "WatchEvent"], 2) == [1, 3]
