"""What a log line looks like, and that no e-mail address gets into one."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import warnings
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from etl.runtime import logs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from etl.runtime.logs import Format, Level

ROOT = Path(__file__).parents[3]
CLOUD = ("K_SERVICE", "CLOUD_RUN_JOB", "DATAPROC_IMAGE_VERSION")


def scrub(text: str) -> str:
    """A scrubber that is easy to see at work."""
    return re.sub(r"[\w.]+@", "x@", text)


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Puts the process's logging back, which ``configure`` takes over."""
    for name in CLOUD:
        monkeypatch.delenv(name, raising=False)
    root, package = logging.getLogger(), logging.getLogger("etl")
    handlers, root_level, level = list(root.handlers), root.level, package.level
    yield
    structlog.reset_defaults()
    logging.captureWarnings(capture=False)
    root.handlers[:] = handlers
    root.setLevel(root_level)
    package.setLevel(level)


def configure(form: Format = "json", level: Level = "info") -> structlog.stdlib.BoundLogger:
    logs.configure(form, level, scrub=scrub)
    log: structlog.stdlib.BoundLogger = structlog.get_logger("etl.somewhere")
    return log


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    captured = capsys.readouterr()
    assert not captured.out
    return [json.loads(line) for line in captured.err.splitlines()]


def test_a_json_line_has_the_fields_of_cloud_logging(capsys: pytest.CaptureFixture[str]) -> None:
    configure().warning("a source is left out", source="https://a.example", tries=3, etag=None)

    (line,) = lines(capsys)
    assert list(line)[:3] == ["severity", "time", "message"]
    assert (line["severity"], line["message"]) == ("WARNING", "a source is left out")
    assert (line["source"], line["tries"], line["etag"]) == ("https://a.example", 3, None)
    assert line["time"].endswith("Z")
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("method", "severity"),
    [("debug", "DEBUG"), ("info", "INFO"), ("warning", "WARNING"), ("error", "ERROR"), ("critical", "CRITICAL")],
)
def test_severities_are_named_as_cloud_logging_names_them(
    method: str, severity: str, capsys: pytest.CaptureFixture[str]
) -> None:
    getattr(configure(level="debug"), method)("x")

    assert lines(capsys)[0]["severity"] == severity


def test_a_traceback_stays_within_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    log = configure()
    try:
        raise ValueError("bad record of joe@example.com")  # noqa: TRY301
    except ValueError:
        log.exception("it broke")

    (line,) = lines(capsys)
    assert line["severity"] == "ERROR"
    assert line["exception"].endswith("ValueError: bad record of x@example.com")


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(message=st.text(), facts=st.dictionaries(st.sampled_from(("a", "b", "c")), JSONS))
def test_whatever_is_logged_gives_one_valid_line(message: str, facts: dict[str, Any]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr(sys, "stderr", _Collector(written))
        configure().info(message, **facts)

    text = "".join(written)
    assert text.count("\n") == 1
    assert set(facts) < set(json.loads(text))


@given(where=st.sampled_from(("message", "fact", "list", "key", "object")), form=st.sampled_from(("json", "plain")))
def test_no_address_passes_wherever_it_stands(where: str, form: Format) -> None:
    address = "joe.bloggs@example.com"
    everywhere: dict[str, dict[str, Any]] = {
        "fact": {"fact": address},
        "list": {"fact": [1, (address, {"deeper": address})]},
        "key": {"fact": {address: 1}},
        "object": {"fact": LookupError(address)},
    }
    with pytest.MonkeyPatch.context() as patch:
        written: list[str] = []
        patch.setattr(sys, "stderr", _Collector(written))
        configure(form).info(address if where == "message" else "m", **everywhere.get(where, {}))

    assert "joe" not in "".join(written)
    assert "x@example.com" in "".join(written)


def test_plain_logging_of_other_libraries_comes_out_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    logging.getLogger("someone.else").info("not shown: other people's chatter")
    logging.getLogger("someone.else").warning("retry for %s", "joe@example.com", extra={"tries": 2})

    (line,) = lines(capsys)
    assert (line["severity"], line["message"], line["tries"]) == ("WARNING", "retry for x@example.com", 2)


def test_plain_lines_are_keys_and_values(capsys: pytest.CaptureFixture[str]) -> None:
    configure("plain").info("hour is stored", hour="2015-01-01-15", events=11351)

    line = capsys.readouterr().err
    assert re.fullmatch(r'time=[0-9T:.-]+Z level=info message="hour is stored" hour=2015-01-01-15 events=11351\n', line)


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_less_severe_logs_are_not_written(level: Level, capsys: pytest.CaptureFixture[str]) -> None:
    log = configure(level=level)
    log.debug("x")
    if level != "info":
        log.info("x")

    assert not capsys.readouterr().err
    assert not logs.shows_debug()


def test_debug_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    assert not logs.shows_debug()
    configure(level="debug").debug("x")

    assert logs.shows_debug()
    assert len(lines(capsys)) == 1


def test_configuring_twice_does_not_write_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    configure().info("x")

    assert len(lines(capsys)) == 1


def test_auto_is_plain_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    configure("auto").info("x")

    assert " level=info message=x" in capsys.readouterr().err
    assert not logs.writes_json()


@pytest.mark.parametrize("mark", CLOUD)
def test_auto_is_json_in_the_cloud(
    mark: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mark, "x")
    configure("auto").info("x")

    assert lines(capsys)[0]["message"] == "x"
    assert logs.writes_json()


def test_auto_is_for_people_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(sys, "stderr", _Collector(written, terminal=True))
    monkeypatch.setenv("NO_COLOR", "1")
    configure("auto").info("hour is stored", events=3)

    assert re.fullmatch(r"\d\d:\d\d:\d\d \[info +\] hour is stored +events=3\n", "".join(written))


def test_logging_imports_no_room() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import etl.runtime.logs, sys; print([m for m in sys.modules if m.startswith('etl.')])"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.strip() == "['etl.runtime', 'etl.runtime.logs']"


class _Collector:
    """A stand-in for standard error."""

    def __init__(self, written: list[str], *, terminal: bool = False) -> None:
        self._written = written
        self._terminal = terminal

    def write(self, text: str) -> None:
        self._written.append(text)

    def flush(self) -> None:
        """Has nothing to do."""

    def isatty(self) -> bool:
        return self._terminal


@pytest.mark.parametrize(("form", "told"), [("json", 1), ("plain", 0)])
def test_counts_are_logged_to_machines_only(form: Format, told: int, capsys: pytest.CaptureFixture[str]) -> None:
    configure(form)
    logs.count("hours looked at", hours=72, not_complete=2)
    said = capsys.readouterr().err.splitlines()
    assert len(said) == told
    for line in said:
        event = json.loads(line)
        assert (event["severity"], event["message"], event["not_complete"]) == ("INFO", "hours looked at", 2)


@pytest.mark.parametrize(
    ("module", "level", "shown"),
    [
        ("google.api_core._python_version_support", "info", False),
        ("grpc", "warning", False),
        ("etlx", "info", False),
        ("google.api_core", "debug", True),
        ("etl", "info", True),
        ("etl.lake.lake", "info", True),
    ],
)
def test_the_future_of_libraries_is_shown_to_developers_only(
    module: str,
    level: Level,
    shown: bool,  # noqa: FBT001
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings.catch_warnings():
        warnings.resetwarnings()
        configure(level=level)
        warnings.warn_explicit("soon", FutureWarning, "there.py", 1, module=module)

    assert bool(lines(capsys)) is shown


def test_options_of_the_interpreter_about_warnings_stay(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "warnoptions", ["default"])
    with warnings.catch_warnings():
        warnings.resetwarnings()
        configure()
        warnings.warn_explicit("soon", FutureWarning, "there.py", 1, module="google.api_core")

    assert len(lines(capsys)) == 1
