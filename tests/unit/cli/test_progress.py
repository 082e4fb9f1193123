"""What progress counts and says."""

from __future__ import annotations

import io
import threading
from itertools import pairwise

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from structlog.testing import capture_logs

from etl.backfill.summary import HourOutcome, HourReport
from etl.backfill.worker_pool import Progress
from etl.cli.progress import (
    BarsWatch,
    BarWatch,
    CountLog,
    LogManyWatch,
    LogWatch,
    _bar,
    counting,
    shows_bars,
    watching,
    watching_many,
)
from etl.hours import Hour

FIRST = Hour.of(2015, 1, 1, 0)


@pytest.fixture(autouse=True)
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal that can move its cursor, whatever the tests run in."""
    monkeypatch.setenv("TERM", "xterm-256color")


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@given(
    steps=st.lists(st.tuples(st.integers(0, 10**7), st.integers(0, 10**5), st.floats(0, 30)), max_size=30),
    size=st.none() | st.integers(0, 10**9),
)
def test_lines_count_everything_and_come_no_faster_than_asked(
    steps: list[tuple[int, int, float]], size: int | None
) -> None:
    clock = Clock()
    told_at, received, events = [clock.now], 0, 0
    with capture_logs() as logged:
        watch = LogWatch("2015-01-01-15", clock=clock, every=10.0)
        watch.source("https://a.example", size)
        for bytes_more, events_more, seconds in steps:
            clock.now += seconds
            before = len(logged)
            watch.received(bytes_more)
            received += bytes_more
            if len(logged) > before:
                assert logged[-1]["received"] == received
                told_at.append(clock.now)
            watch.events(events_more)
            events += events_more

    assert all(later - sooner >= 10 for sooner, later in pairwise(told_at))
    for line in logged[1:]:
        assert line["size"] == size
        assert line["eta_seconds"] is None or line["eta_seconds"] >= 0


def test_rates_and_the_time_left_follow_from_the_counts() -> None:
    clock = Clock()
    with capture_logs() as logged:
        watch = LogWatch("2015-01-01-15", clock=clock, every=10.0)
        watch.source("https://a.example", 1_000)
        watch.events(500)
        clock.now += 20
        watch.received(250)

    assert logged[-1] == {
        "event": "progress",
        "log_level": "info",
        "hour": "2015-01-01-15",
        "received": 250,
        "size": 1_000,
        "events": 500,
        "events_per_second": 25,
        "eta_seconds": 60,
    }


def test_another_source_restarts_the_count() -> None:
    clock = Clock()
    with capture_logs() as logged:
        watch = LogWatch("2015-01-01-15", clock=clock, every=10.0)
        watch.source("https://a.example", 1_000)
        watch.received(900)
        watch.source("https://b.example", None)
        clock.now += 11
        watch.received(1)

    assert (logged[-1]["received"], logged[-1]["size"], logged[-1]["eta_seconds"]) == (1, None, None)


def test_the_bar_shows_bytes_events_and_what_is_worked_at() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    with _bar(console) as bar:
        watch = BarWatch("2015-01-01-15", bar)
        watch.source("https://a.example", 2_000_000)
        workers = [
            threading.Thread(target=target, args=(count,))
            for target, count in ((watch.received, 500_000), (watch.events, 5_678))
            for _ in range(2)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()

    text = screen.getvalue()
    assert "2015-01-01-15" in text
    assert "1.0/2.0 MB" in text
    assert "11,356 events" in text


def test_without_a_terminal_progress_is_logged() -> None:
    structlog.reset_defaults()
    console = Console(file=io.StringIO(), force_terminal=False)

    with watching("2015-01-01-15", console) as watch:
        assert isinstance(watch, LogWatch)


def test_on_a_terminal_progress_is_a_bar() -> None:
    console = Console(file=io.StringIO(), force_terminal=True)

    with watching("2015-01-01-15", console) as watch:
        assert isinstance(watch, BarWatch)


def _report(number: int, outcome: HourOutcome, *, events: int = 0) -> HourReport:
    return HourReport(hour=FIRST + number, outcome=outcome, reason="for some reason", events=events)


@given(
    outcomes=st.lists(
        st.tuples(st.sampled_from(HourOutcome), st.booleans(), st.floats(0, 30)), min_size=1, max_size=30
    ),
)
def test_of_many_hours_lines_count_all_that_will_not_come_again(
    outcomes: list[tuple[HourOutcome, bool, float]],
) -> None:
    clock = Clock()
    with capture_logs() as logged:
        watch = LogManyWatch("a range", len(outcomes), clock=clock, every=10.0)
        done = 0
        for number, (outcome, again, seconds) in enumerate(outcomes):
            watch.begun(FIRST + number)
            clock.now += seconds
            before = len(logged)
            watch.ended(_report(number, outcome, events=10), again=again)
            done += not again
            told = [line for line in logged[before:] if line["event"] == "hour not complete"]
            assert len(told) == (not outcome.is_fine)
            for line in logged[before:]:
                if line["event"] == "progress":
                    assert (line["done"], line["events"]) == (done, 10 * (number + 1))


def test_of_many_hours_the_time_left_follows_from_those_done() -> None:
    clock = Clock()
    with capture_logs() as logged:
        watch = LogManyWatch("a range", 4, clock=clock, every=10.0)
        watch.begun(FIRST)
        watch.begun(FIRST + 1)
        clock.now += 20
        watch.ended(_report(0, HourOutcome.STORED, events=7), again=False)

    assert logged[-1] == {
        "event": "progress",
        "log_level": "info",
        "range": "a range",
        "done": 1,
        "hours": 4,
        "running": str(FIRST + 1),
        "events": 7,
        "eta_seconds": 60,
    }


def test_on_a_terminal_the_range_and_each_running_hour_have_a_line() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=160, color_system=None)
    with watching_many("a range", 3, console) as watch:
        assert isinstance(watch, BarsWatch)
        watch.begun(FIRST)
        watch.begun(FIRST + 1)
        watch.progressed(Progress(hour=FIRST, received=1_000_000, size=2_000_000, events=5_678))
        watch.ended(_report(1, HourOutcome.STORED), again=False)
        watch.ended(_report(1, HourOutcome.STORED), again=False)  # Twice does no harm.

    text = screen.getvalue()
    assert "1.0/2.0 MB" in text
    assert "5,678 events" in text
    assert "2/3" in text
    assert str(FIRST) in text


def test_on_a_terminal_counted_work_has_a_bar_that_begins_again() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120, color_system=None)
    with counting("partitions", console, out=Console(file=io.StringIO())) as watch:
        watch.begin("events_base", 2)
        watch.advance(1_500_000)
        watch.advance(500_000)
        watch.begin("actors", 3)
        watch.advance()

    text = screen.getvalue()
    assert "actors" in text
    assert "1/3 partitions" in " ".join(text.split())


def test_elsewhere_counted_work_has_a_line_now_and_then() -> None:
    structlog.reset_defaults()
    screen = io.StringIO()
    with counting("hours", Console(file=screen, force_terminal=False), out=Console(file=screen)) as watch:
        assert isinstance(watch, CountLog)
    clock = Clock()
    with capture_logs() as lines:
        log = CountLog("hours", clock=clock)
        log.begin("verifying", 3)
        for size in (7, 5, 4):
            log.advance(size)
            clock.now += 11
    assert screen.getvalue() == ""
    assert [(line["what"], line["hours"], line["of"], line["bytes"]) for line in lines] == [
        ("verifying", 2, 3, 12),
        ("verifying", 3, 3, 16),
    ]


def test_a_quiet_console_has_no_bars() -> None:
    assert shows_bars(Console(file=io.StringIO(), force_terminal=True))
    assert not shows_bars(Console(file=io.StringIO(), force_terminal=True, quiet=True))


def test_without_a_terminal_many_hours_are_logged() -> None:
    structlog.reset_defaults()
    with watching_many("a range", 3, Console(file=io.StringIO(), force_terminal=False)) as watch:
        assert isinstance(watch, LogManyWatch)
