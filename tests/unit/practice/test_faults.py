"""Plans of faults: what may stand in one, and that the same plan always means the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.hours import Hour
from etl.practice.faults import KINDS, AnyFault, Fault, FaultPlan, NotFound, ServerError, Shrunk, parse_plan, read_plan

HOUR: Final = Hour.of(2015, 1, 1, 15)
PAGE: Final = Path(__file__).parents[3] / "docs/how-to/practice.md"

hours: Final = st.integers(0, 120_000).map(lambda step: Hour.of(2011, 2, 12, 0) + step)
plans: Final = st.builds(
    FaultPlan,
    seed=st.integers(0, 1 << 40),
    order=st.sampled_from(("plan", "shuffled")),
    faults=st.lists(
        st.builds(
            lambda kind, share, skip, times: kind(share=share, skip=skip, times=times),
            st.sampled_from(get_args(AnyFault)),
            st.floats(0.01, 1),
            st.integers(0, 3),
            st.integers(1, 3),
        ),
        max_size=6,
    ).map(tuple),
)


def test_a_plan_says_what_each_request_meets() -> None:
    plan = parse_plan("""
        seed: 7
        faults:
          - {kind: not-found, times: 2}
          - {kind: shrunk, hours: [2015-01-01-15, 2015-01-02-0..2015-01-02-5], skip: 1, keep: 0.25}
          - {kind: server-error, hours: [2016-01-01-0]}
    """)
    absent, shrunk = plan.faults[:2]
    assert plan.of(HOUR) == (absent, absent, None, shrunk)
    assert plan.of(Hour.of(2015, 1, 2, 5)) == (absent, absent, None, shrunk)
    assert plan.of(Hour.of(2015, 1, 2, 6)) == (absent, absent)
    assert isinstance(absent, NotFound)
    assert isinstance(shrunk, Shrunk)
    assert shrunk.keep == 0.25


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_needs_its_name_only(kind: str) -> None:
    (fault,) = parse_plan(f"faults: [{{kind: {kind}}}]").faults
    assert type(fault) is KINDS[kind]
    assert msgspec.to_builtins(fault)["kind"] == kind


def test_an_empty_plan_is_one_without_faults() -> None:
    assert parse_plan("{}").of(HOUR) == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("faults: [{kind: nonsense}]", r"nonsense.*\$.faults\[0\]"),
        ("faults: [{share: 0.5}]", r"kind.*\$.faults\[0\]"),
        ("faults: [{kind: page, shares: 0.5}]", "unknown field `shares`"),
        ("faults: [{kind: page, keep: 0.5}]", "unknown field `keep`"),
        ("sead: 1", "unknown field `sead`"),
        ("faults: [{kind: page, share: 0}]", "> 0"),
        ("faults: [{kind: page, share: 1.5}]", "<= 1"),
        ("faults: [{kind: page, share: '0.5'}]", "float"),
        ("faults: [{kind: page, times: 0}]", ">= 1"),
        ("faults: [{kind: page, skip: -1}]", ">= 0"),
        ("faults: [{kind: reset, after: 1.0}]", "< 1"),
        ("faults: [{kind: unavailable, retry_after: 0.5}]", "int"),
        ("faults: [{kind: page, hours: [2015-13-01-3]}]", r"2015-13-01-3.*\$.faults\[0\]"),
        ("faults: [{kind: page, hours: [2015-01-02-0..2015-01-01-0]}]", "before it starts"),
        ("faults: [{kind: page, hours: [2015-01-01]}]", "str"),
        ("faults: [{kind: lying-etag, lie: always}]", "always"),
        ("faults: [{kind: wrong-length, by: 0}]", "no fault"),
        ("order: random", "random"),
        ("faults: {", "flow"),
        ("", "object"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        parse_plan(text, "plan.yaml")
    assert error.value.message.startswith("plan.yaml")
    assert "docs/how-to/practice.md" in str(error.value.hint)
    assert "\n" not in error.value.message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"absent\.yaml cannot be read"):
        read_plan(tmp_path / "absent.yaml")
    (tmp_path / "plan.yaml").write_text("seed: 3", encoding="utf-8")
    assert read_plan(tmp_path / "plan.yaml").seed == 3


@given(plans, hours)
def test_the_same_plan_means_the_same(plan: FaultPlan, hour: Hour) -> None:
    again = msgspec.yaml.decode(msgspec.yaml.encode(plan), type=FaultPlan)
    assert again == plan
    assert again.of(hour) == plan.of(hour)


@given(plans, hours)
def test_each_fault_strikes_as_often_as_it_says_or_not_at_all(plan: FaultPlan, hour: Hour) -> None:
    turns = plan.of(hour)
    length = 0
    for fault in set(plan.faults):
        struck = sum(turn == fault for turn in turns)
        alike = sum(other == fault for other in plan.faults)
        assert struck in {fault.times * count for count in range(alike + 1)}
        assert fault.share < 1 or struck == fault.times * alike
        length += struck // fault.times * (fault.skip + fault.times)
    assert len(turns) == length


@given(st.integers(0, 1000), st.floats(0.1, 0.9))
def test_a_share_is_that_share_of_the_hours(seed: int, share: float) -> None:
    plan = FaultPlan(seed=seed, faults=(ServerError(share=share),))
    struck = sum(bool(plan.of(HOUR + step)) for step in range(1000))
    assert abs(struck / 1000 - share) < 0.1


@given(hours)
def test_a_fault_for_some_hours_leaves_the_rest_of_the_plan_alone(hour: Hour) -> None:
    faults = (NotFound(share=0.5), ServerError(share=0.5), Shrunk(share=0.5))
    elsewhere = (faults[0], ServerError(share=0.5, hours=("2015-06-01-0",)), faults[2])
    without = tuple(fault for fault in FaultPlan(faults=faults).of(hour) if not isinstance(fault, ServerError))
    with_one = tuple(fault for fault in FaultPlan(faults=elsewhere).of(hour) if not isinstance(fault, ServerError))
    assert with_one == without


def test_the_page_lists_every_kind_with_its_own_options() -> None:
    rows = re.findall(r"^\| `([a-z-]+)` \|([^|]*)\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    common = {field.name for field in msgspec.structs.fields(Fault)}
    told = {kind: set(re.findall(r"`([a-z_]+)`", options)) for kind, options in rows if kind in KINDS}
    assert told == {
        kind: {field.name for field in msgspec.structs.fields(made)} - common for kind, made in KINDS.items()
    }
