"""How FROM and TO are read, and that every command that takes them reads them alike."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
import rich_click as click
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from etl.cli.main import front, main
from etl.cli.ranges import DayType, HoursType, LengthType, day_range, hour_range, takes_days, takes_hours
from etl.errors import ExitCode, UsageError
from etl.hours import FIRST_HOUR, Hour, HourRange, newest_finished_hour
from etl.warehouse.lake_inputs import Days

OF_HOURS = (
    ("status",),
    ("verify",),
    ("backfill",),
    ("submit", "backfill"),
    ("mage", "backfill"),
    ("practice", "make", "--out", "nowhere"),
)
OF_DAYS = (("build",), ("load",), ("report",), ("serve",), ("submit", "build"))
DAY = HourRange(Hour.of(2015, 1, 1, 0), Hour.of(2015, 1, 1, 23))
HOUR = HourRange(Hour.of(2015, 1, 1, 15), Hour.of(2015, 1, 1, 15))
past_hours = st.integers(0, 100_000).map(lambda step: FIRST_HOUR + step)


@pytest.mark.parametrize(
    ("word", "hours"),
    [
        ("2015-01-01-15", HOUR),
        ("2015-01-01T15", HOUR),
        ("2015-01-01T15:00:00Z", HOUR),
        ("2015-01-01", DAY),
        (" 2015-1-1 ", DAY),
    ],
)
def test_a_word_is_an_hour_or_a_day(word: str, hours: HourRange) -> None:
    made = HoursType().convert(word, None, None)
    assert made == hours
    assert HoursType().convert(made, None, None) == made


def test_now_is_the_newest_hour_that_is_over_or_today() -> None:
    assert newest_finished_hour() - 1 <= HoursType().convert("now", None, None).last <= newest_finished_hour()
    assert DayType().convert("now", None, None) in {datetime.now(UTC).date(), datetime.now(UTC).date() - timedelta(1)}


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("", "neither an hour nor a day"),
        ("yesterday", "neither an hour nor a day"),
        ("2015", "neither an hour nor a day"),
        ("2015-01", "neither an hour nor a day"),
        ("2015-02-30", "2015-02-30 is not a valid date"),
        ("2015-02-30-1", "invalid hour 2015-02-30-1"),
        ("1999-01-01", "before the archive's first hour"),
        ("2999-01-01", "day 2999-01-01 is in the future"),
        ("2999-01-01-1", "hour 2999-01-01-1 is in the future"),
    ],
)
def test_another_word_is_refused(word: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        HoursType().convert(word, None, None)


@given(past_hours, past_hours)
def test_from_and_to_are_both_included(one: Hour, other: Hour) -> None:
    first, last = sorted((one, other))
    hours = hour_range(HourRange(first, first), HourRange(last, last))
    assert hours == HourRange(first, last)


@given(past_hours)
def test_from_alone_is_that_hour_or_that_day(hour: Hour) -> None:
    assert hour_range(HourRange(hour, hour), None) == HourRange(hour, hour)
    day = HoursType().convert(hour.date, None, None)
    assert hour_range(day, None) == day
    assert len(day) == 24
    assert hour in day
    assert day_range(hour.start.date(), None) == Days(hour.start.date(), hour.start.date())


def test_a_range_ends_with_the_newest_hour_that_is_over() -> None:
    today = HoursType().convert((newest_finished_hour()).date, None, None)
    assert hour_range(DAY, today) in {HourRange(DAY.first, newest_finished_hour() - step) for step in (0, 1)}
    late = HourRange(newest_finished_hour() + 2, newest_finished_hour() + 2)
    with pytest.raises(UsageError, match="has not finished yet"):
        hour_range(late, None)


@given(st.integers(1, 300_000))
def test_last_is_a_number_of_hours_and_no_more_than_there_are(count: int) -> None:
    hours = hour_range(None, None, count)
    assert hours is not None
    assert len(hours) == count or hours.first == FIRST_HOUR


def test_nothing_given_is_no_range() -> None:
    assert hour_range(None, None) is None
    assert day_range(None, None) == Days()


def test_the_end_comes_after_the_beginning() -> None:
    with pytest.raises(UsageError, match="before it starts"):
        hour_range(DAY, HourRange(DAY.first - 1, DAY.first - 1))
    with pytest.raises(UsageError, match="before it starts"):
        day_range(date(2015, 1, 2), date(2015, 1, 1))


@pytest.mark.parametrize(("word", "hours"), [("72h", 72), ("3d", 72), ("2w", 336), (" 1 h ", 1)])
def test_a_length_of_time(word: str, hours: int) -> None:
    assert LengthType().convert(word, None, None) == hours


@pytest.mark.parametrize("words", [*OF_HOURS, *OF_DAYS], ids=" ".join)
def test_every_command_with_a_range_tells_the_same_rule(words: tuple[str, ...]) -> None:
    names = [word for word in words if not word.startswith("-") and word != "nowhere"]
    shown = CliRunner(env={"COLUMNS": "400"}).invoke(front, [*names, "--help"]).output
    assert "[FROM [TO]]" in shown
    assert "both included. FROM alone is that one" in shown
    assert ("--last" in shown) is (words in OF_HOURS)


def test_there_is_no_other_command_with_a_range() -> None:
    found = set()
    for name, command in front.commands.items():
        for sub, each in command.commands.items() if isinstance(command, click.Group) else [("", command)]:
            if any(isinstance(param, click.Argument) and param.name == "first" for param in each.params):
                found.add((name, sub) if sub else (name,))
    assert found == {tuple(word for word in words[:2] if word != "--out") for words in (*OF_HOURS, *OF_DAYS)}


@pytest.mark.parametrize("words", OF_HOURS, ids=" ".join)
def test_a_word_that_is_no_hour_is_met_with_all_forms(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "yesterday"], prog_name="etl") == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "'yesterday' is neither an hour nor a day" in error
    for form in ("2015-01-01-15", "2015-01-01T15:00:00Z", "a day as 2015-01-01", "`now`"):
        assert form in error


@pytest.mark.parametrize("words", OF_DAYS, ids=" ".join)
def test_a_word_that_is_no_day_is_met_with_all_forms(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "2015-01-01-15"], prog_name="etl") == ExitCode.USAGE
    error = capsys.readouterr().err
    assert "'2015-01-01-15' is not a day" in error
    assert "write a day as 2015-01-01, or `now` for today" in error


def test_commands_get_ranges_and_keep_their_own_parameters() -> None:
    seen: list[object] = []

    @click.command()
    @takes_hours()
    @click.option("--flag", is_flag=True)
    def of_hours(hours: HourRange | None, *, flag: bool) -> None:
        """Test."""
        seen.append((hours, flag))

    @click.command()
    @takes_days
    def of_days(days: Days) -> None:
        """Test."""
        seen.append(days)

    runner = CliRunner()
    assert runner.invoke(of_hours, ["2015-01-01", "--flag"], standalone_mode=False).exit_code == 0
    assert runner.invoke(of_hours, [], standalone_mode=False).exit_code == 0
    assert runner.invoke(of_days, ["2015-01-01", "2015-01-02"], standalone_mode=False).exit_code == 0
    assert seen == [(DAY, True), (None, False), Days(date(2015, 1, 1), date(2015, 1, 2))]
