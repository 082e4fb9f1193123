"""``python etl doctor`` as a person types it: a table or JSON, the exit code of what failed, nothing left behind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from etl import doctor
from etl.cli.doctor import CHECKS
from etl.errors import ExitCode
from tests.e2e.running import Done, etl
from tests.integration.google import ACCOUNT, metadata_server, serving_dataset
from tests.network import free_port

NO_GOOGLE: Final = {
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "STORAGE_EMULATOR_HOST": "",
    "BIGQUERY_EMULATOR_HOST": "",
    "GCE_METADATA_TIMEOUT": "1",
    "GCE_METADATA_DETECT_RETRIES": "1",
}


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A machine of Google's with an account of its own, and BigQuery with one dataset."""
    with metadata_server() as host, serving_dataset() as dataset:
        metadata = {"GCE_METADATA_HOST": host, "GCE_METADATA_IP": host, "CLOUDSDK_CONFIG": str(tmp_path / "no-gcloud")}
        yield {**NO_GOOGLE, **metadata, "BIGQUERY_EMULATOR_HOST": dataset.url}


def states(done: Done) -> dict[str, str]:
    """What each check came to."""
    return {finding["name"]: finding["state"] for finding in findings(done)}


def findings(done: Done) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(done.out)
    return listed


def test_a_machine_of_googles_is_known_by_its_account(tmp_path: Path, environment: dict[str, str]) -> None:
    words = ("--source", tmp_path, "--dataset", "a-project.gharchive", "--format", "json")
    done = etl(tmp_path, "doctor", *words, env=environment)
    by_name = {finding["name"]: finding for finding in findings(done)}
    assert by_name["credentials"]["found"] == f"this machine's service account {ACCOUNT}"
    assert by_name["BigQuery dataset"]["state"] == "warn"
    assert done.code == ExitCode.OK
    assert done.err == "" or "error" not in done.err


def test_only_what_is_named_is_checked(tmp_path: Path) -> None:
    done = etl(tmp_path, "doctor", "clock", "lake", "--source", tmp_path, "--format", "json", env=NO_GOOGLE)
    assert list(states(done)) == ["lake", "clock"]
    wrong = etl(tmp_path, "doctor", "lakes")
    assert wrong.code == ExitCode.USAGE
    assert CHECKS == doctor.CHECKS


def test_a_table_says_what_to_do(tmp_path: Path) -> None:
    done = etl(tmp_path, "doctor", "--source", tmp_path, "--emails", "keep", env=NO_GOOGLE)
    assert done.code == ExitCode.OK
    (row,) = (line for line in done.out.splitlines() if line.lstrip().startswith("e-mails"))
    assert "warn" in row
    assert "set emails to hash" in row
    assert sorted(tmp_path.iterdir()) == []


def test_the_exit_code_is_that_of_what_failed_first(tmp_path: Path) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    done = etl(tmp_path, "doctor", "--source", down, "--format", "json", env=NO_GOOGLE)
    assert done.code == ExitCode.SOURCE_UNREACHABLE
    assert states(done)[f"source {down}"] == "fail"
    assert done.error == f"error: 1 of {len(states(done))} checks failed: source {down}"

    (tmp_path / "a-file").write_text("")
    done = etl(tmp_path, "doctor", "--source", down, "--lake", "a-file", "--format", "json", env=NO_GOOGLE)
    assert done.code == ExitCode.STORE_FAILED


def test_without_credentials_the_first_thing_to_fix_is_listed_first(tmp_path: Path) -> None:
    env = {**NO_GOOGLE, "GCE_METADATA_HOST": f"127.0.0.1:{free_port()}", "CLOUDSDK_CONFIG": str(tmp_path / "none")}
    done = etl(tmp_path, "doctor", "--source", tmp_path, "--lake", "gs://a-bucket/lake", env=env)
    assert done.code == ExitCode.STORE_FAILED
    failed = [line.split("  ")[0].strip() for line in done.out.splitlines() if " fail " in line]
    assert failed == ["credentials", "lake"]
