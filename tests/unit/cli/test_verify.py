"""What ``verify`` shows while it reads."""

from __future__ import annotations

import io
from typing import Any, cast

import pytest
import structlog
from rich.console import Console
from structlog.testing import capture_logs

from etl.cli import progress, verify
from etl.cli.session import Session
from etl.hours import Hour
from etl.lake.checking import Verdict

HOUR = Hour.of(2015, 1, 1, 15)


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
