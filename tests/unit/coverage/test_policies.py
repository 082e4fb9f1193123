"""Counting hours by e-mail policy."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.coverage.policies import describe, other_policies

POLICIES = ("hash", "keep", "drop", "hash-keyed:0123abcd")


@settings(deadline=None)  # Arrow imports pandas when it is first asked for an array.
@given(emails=st.lists(st.sampled_from((None, *POLICIES))), policy=st.sampled_from(POLICIES))
def test_hours_of_other_policies_are_counted_each_once(emails: list[str | None], policy: str) -> None:
    found = other_policies(pa.chunked_array([pa.array(emails, pa.string())]), policy)
    assert found == {name: emails.count(name) for name in POLICIES if name != policy and name in emails}


def test_the_sentence_names_the_policies_most_hours_first() -> None:
    said = describe({"drop": 2, "keep": 1200}, "hash")
    assert said == "stored hours have another e-mail policy than the configured one (hash): 1,200 keep, 2 drop"
