"""The sums of a backfill, and what programs read of them."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from etl.backfill.summary import HourOutcome, HourReport, Summary
from etl.errors import ExitCode, StoreError
from etl.hours import Hour, HourRange

FIRST = Hour.of(2015, 1, 1, 0)


def summary(*outcomes: HourOutcome, stopped: StoreError | None = None) -> Summary:
    reports = [
        HourReport(
            hour=FIRST + number, outcome=outcome, fetched=outcome is HourOutcome.STORED, events=10, source_bytes=100
        )
        for number, outcome in enumerate(outcomes)
    ]
    hours = HourRange(FIRST, FIRST + max(0, len(outcomes) - 1))
    return Summary(hours=hours, reports=reports, seconds=1.5, workers=2, stopped=stopped)


@given(outcomes=st.lists(st.sampled_from(HourOutcome), min_size=1, max_size=50))
def test_no_hour_is_lost_in_the_sums(outcomes: list[HourOutcome]) -> None:
    found = summary(*outcomes)
    shares = found.shares()
    assert {outcome: share.hours for outcome, share in shares.items()} == {
        outcome: outcomes.count(outcome) for outcome in HourOutcome if outcome in outcomes
    }
    assert sum(share.events for share in shares.values()) == 10 * outcomes.count(HourOutcome.STORED)
    assert len(found.left) + sum(share.hours for outcome, share in shares.items() if outcome.is_fine) == len(outcomes)
    assert bool(found.left) is bool(found.counts())


@given(outcomes=st.lists(st.sampled_from(HourOutcome), min_size=1, max_size=20))
def test_json_says_the_same(outcomes: list[HourOutcome]) -> None:
    found = summary(*outcomes)
    said = json.loads(json.dumps(found.as_json()))
    assert said["complete"] is not bool(found.left)
    assert {name: share["hours"] for name, share in said["endings"].items()} == {
        outcome.value: share.hours for outcome, share in found.shares().items()
    }
    assert [told["hour"] for told in said["told"]] == [str(report.hour) for report in found.told]


def test_an_hour_kept_against_its_source_is_done_but_told() -> None:
    found = summary(HourOutcome.STORED, HourOutcome.KEPT)
    assert found.left == []
    assert [report.outcome for report in found.told] == [HourOutcome.KEPT]


def test_what_was_given_up_is_not_complete() -> None:
    said = summary(HourOutcome.STORED, stopped=StoreError("the disk is full")).as_json()
    assert (said["complete"], said["stopped"]) == (False, "the disk is full")


def test_the_counts_are_words() -> None:
    found = summary(HourOutcome.MISSING, HourOutcome.STORED, HourOutcome.FAILED, HourOutcome.MISSING)
    assert found.counts() == "2 missing, 1 failed"


def failed(reason: str, code: ExitCode = ExitCode.SOURCE_UNREACHABLE) -> str | None:
    return HourReport(hour=FIRST, outcome=HourOutcome.FAILED, reason=reason, code=code).cause


@given(numbers=st.integers(0, 10**12), others=st.integers(0, 10**12), hours=st.integers(0, 100_000))
def test_a_cause_is_the_same_for_all_hours_and_figures(numbers: int, others: int, hours: int) -> None:
    def reason(hour: Hour, number: int) -> str:
        return f"{hour} could not be fetched: http://host.example/{hour}.json.gz: received {number:,} of {number} bytes"

    assert failed(reason(FIRST, numbers)) == failed(reason(FIRST + hours, others))


@given(one=st.integers(400, 599), other=st.integers(400, 599))
def test_another_status_of_a_server_is_another_cause(one: int, other: int) -> None:
    reasons = [
        f"http://host.example/{FIRST}.json.gz: HTTP {status}; gave up after 6 attempts" for status in (one, other)
    ]
    assert (failed(reasons[0]) == failed(reasons[1])) is (one == other)


def test_digests_and_exit_codes_are_distinguished() -> None:
    assert failed(f"received SHA-256 {'a1' * 32}") == failed(f"received SHA-256 {'b2' * 32}")
    assert failed("no answer") != failed("no answer", ExitCode.STORE_FAILED)
    assert HourReport(hour=FIRST, outcome=HourOutcome.MISSING, reason="404 at every source").cause is None
