from __future__ import annotations

import json
from decimal import Decimal
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
    text = canonical(json.dumps(value, ensure_ascii=ascii_only, indent=1)).text
    assert json.loads(text) == value
    assert canonical(text) == (text, True)
    assert canonical(json.dumps(_backwards(value))).text == text


@pytest.mark.parametrize(
    ("text", "spelling"),
    [
        ("[1e2, 100.0, 1.0E+2, 100]", "[100,100,100,100]"),
        ("[-0, 0.0, -0e9]", "[0,0,0]"),
        ("[0.50, 5e-1, -12.5, 0.00120]", "[0.5,0.5,-12.5,0.0012]"),
        ("[1E400, 10e399, 1000000000000000000000, 1e-400]", "[1E400,1E400,1E21,1E-400]"),
        ("[1e12345678]", "[1e12345678]"),
        ("12345678901234567890123", "12345678901234567890123"),
        (r'"\/\u00e9\ud83d\ude00\ud83d"', '"/é\U0001f600\\ud83d"'),
        (r'{"b":1,"a":{"d":[ ],"c":true}}', '{"a":{"c":true,"d":[]},"b":1}'),
        (r'{"a":2,"a":1}', '{"a":2,"a":1}'),
        (r'"1.0"', '"1.0"'),
    ],
)
def test_the_spelling(text: str, spelling: str) -> None:
    assert canonical(text).text == spelling


@pytest.mark.parametrize(
    ("text", "keeps"),
    [
        ('[1, -2, 1.5, "1e2", 12345678901234567890123]', True),
        ('{"b": 0.5, "a": true}', True),
        ("[1e2]", False),
        ("[-0]", False),
        ('{"a": {"b": 1.0}}', False),
    ],
)
def test_it_tells_whether_numbers_were_written_that_way(text: str, keeps: bool) -> None:  # noqa: FBT001
    assert canonical(text).keeps_numbers is keeps


@given(st.integers(), st.integers(-40, 40))
def test_a_number_has_one_spelling_and_keeps_its_value(number: int, exponent: int) -> None:
    found = canonical(f"{number}e{exponent}").text
    assert canonical(f"{10 * number}E{exponent - 1:+}").text == found
    assert canonical(f"{number}.00e{exponent}").text == found
    assert canonical(found) == (found, True)
    assert Decimal(found) == Decimal(f"{number}e{exponent}")


def test_what_is_nested_too_deeply_stays_as_it_is() -> None:
    text = "[" * 100_000 + "]" * 100_000
    assert canonical(text) == (text, True)


def _backwards(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _backwards(value[key]) for key in reversed(value)}
    return [_backwards(each) for each in value] if isinstance(value, list) else value


@given(VALUES)
def test_both_ways_to_write_it_agree(value: Any) -> None:
    text = json.dumps(value)
    slowly = canonical(f'[{{"twice":1,"twice":1}},{text}]').text
    assert slowly == f'[{{"twice":1,"twice":1}},{canonical(text).text}]'
