from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.events.canonical import canonical

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(value=VALUES, ascii_only=st.booleans())
def test_it_says_the_same_in_one_spelling(value: Any, *, ascii_only: bool) -> None:
    text = canonical(json.dumps(value, ensure_ascii=ascii_only, indent=1))
    assert json.loads(text) == value
    assert canonical(text) == text
    assert canonical(json.dumps(_backwards(value))) == text


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("[1e2, 100.0, -0, 1E400]", "[1e2,100.0,-0,1E400]"),
        ("12345678901234567890123", "12345678901234567890123"),
        (r'"\/\u00e9\ud83d\ude00\ud83d"', '"/é\U0001f600\\ud83d"'),
        (r'{"b":1,"a":{"d":[ ],"c":true}}', '{"a":{"c":true,"d":[]},"b":1}'),
        (r'{"a":2,"a":1}', '{"a":2,"a":1}'),
        (r'"1.0"', '"1.0"'),
    ],
)
def test_the_spelling(text: str, spelling: str) -> None:
    assert canonical(text) == spelling


def test_what_is_nested_too_deeply_stays_as_it_is() -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert canonical(text) == text


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _backwards(value[key]) for key in reversed(value)}
    return [_backwards(each) for each in value] if isinstance(value, list) else value


@given(VALUES)
def test_both_ways_to_write_it_agree(value: Any) -> None:
    text = json.dumps(value)
    slowly = canonical(f'[{{"twice":1,"twice":1}},{text}]')
    assert slowly == f'[{{"twice":1,"twice":1}},{canonical(text)}]'
