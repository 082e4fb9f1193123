"""What the ``mage`` commands refuse before they ask anybody."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl.cli.mage import environment_of
from etl.cli.main import main
from etl.errors import ExitCode
from etl.settings import load

NOBODY = ("--address", "http://127.0.0.1:9")


@pytest.fixture(autouse=True)
def somewhere_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MAGE_PASSWORD", "of nobody")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("2999-01-01", "2999-01-02"), "is in the future"),
        (("2015-01-02", "2015-01-01"), "ends (2015-01-01-23) before it starts (2015-01-02-0)"),
        (("2011-01-01", "2011-01-02"), "before the archive's first hour"),
        (("yesterday", "today"), "is neither an hour nor a day"),
    ],
)
def test_a_range_that_cannot_be_is_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], said: str
) -> None:
    assert main(["mage", "backfill", *words, *NOBODY], prog_name="etl") == ExitCode.USAGE
    assert said in capsys.readouterr().err


def test_a_server_that_is_not_there_is_reported_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["mage", "backfill", "2015-01-01", "2015-01-01", *NOBODY], prog_name="etl")
    assert code == ExitCode.SOURCE_UNREACHABLE
    said = capsys.readouterr().err
    assert "the Mage server at http://127.0.0.1:9 does not answer" in said
    assert "python etl mage serve" in said
    assert "of nobody" not in said


@pytest.mark.parametrize("words", [(), ("serve",), ("backfill",)])
def test_the_help_has_examples(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    assert main(["mage", *words, "--help"], prog_name="etl") == ExitCode.OK
    assert "Examples" in capsys.readouterr().out


def test_a_servers_runs_get_the_settings_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere.json").write_text(
        json.dumps({"email_key": "a key of sixteen letters", "max_damage": "2%", "sources": ["https://a.example", "b"]})
    )
    flags = {"secrets_file": str(tmp_path / "elsewhere.json"), "lake": "gs://bucket/lake", "emails": "hash"}
    given = environment_of(load(flags))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    again, before = load().settings, load(flags).settings
    assert given["GHARCHIVE_SPOOL"] == str(tmp_path / "spool")
    folders = {"warehouse": str(tmp_path / "warehouse"), "spool": str(tmp_path / "spool")}
    assert again == before.model_copy(update=folders)
    assert "GHARCHIVE_LOG_LEVEL" not in given
