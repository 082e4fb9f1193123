"""The range that ``verify`` is given, and what it shows while it reads."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
import structlog
from rich.console import Console
from structlog.testing import capture_logs

from etl.cli import progress, verify
from etl.cli.session import Session
from etl.cli.verify import Span
from etl.errors import UsageError
from etl.hours import Hour, HourRange
from etl.lake.checking import Verdict

HOUR = Hour.of(2015, 1, 1, 15)


@pytest.mark.parametrize(
    ("word", "first", "last"),
    [
        ("2015-01-01-15", "2015-01-01-15", "2015-01-01-15"),
        ("2015-01-01T15", "2015-01-01-15", "2015-01-01-15"),
        ("2015-01-01", "2015-01-01-0", "2015-01-01-23"),
        (" 2015-1-1 ", "2015-01-01-0", "2015-01-01-23"),
    ],
)
def test_a_word_is_an_hour_or_a_day(word: str, first: str, last: str) -> None:
    made = Span().convert(word, None, None)
    assert made == HourRange(Hour.parse(first), Hour.parse(last))
    assert Span().convert(made, None, None) == made


@pytest.mark.parametrize("word", ["", "2015", "2015-01", "2015-02-30", "1999-01-01"])
def test_another_word_is_refused(word: str) -> None:
    with pytest.raises(UsageError):
        Span().convert(word, None, None)


def _session(*, terminal: bool) -> tuple[Session, io.StringIO]:
    text = io.StringIO()
    consoles = Console(file=io.StringIO()), Console(file=text, force_terminal=terminal, width=100)
    return Session(loaded=cast("Any", None), out=consoles[0], err=consoles[1], program="etl"), text


def test_on_a_terminal_there_is_a_bar() -> None:
    session, text = _session(terminal=True)
    with verify._progress(session, 2) as note:
        note(Verdict(HOUR, (), 1_500_000))
        note(Verdict(HOUR + 1, (), 500_000))

    assert "verifying" in text.getvalue()
    assert "2/2" in text.getvalue()
    assert "2.0 MB" in text.getvalue()


def test_elsewhere_there_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    structlog.reset_defaults()
    monkeypatch.setattr(progress, "LOG_EVERY_SECONDS", 0.0)
    session, text = _session(terminal=False)
    with capture_logs() as lines, verify._progress(session, 2) as note:
        note(Verdict(HOUR, (), 7))
        note(Verdict(HOUR + 1, ("bad",), 5))

    assert text.getvalue() == ""
    assert [(line["hours"], line["of"], line["bytes"]) for line in lines] == [(1, 2, 7), (2, 2, 12)]
