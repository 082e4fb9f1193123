"""The doctor against what a pipeline meets: folders, a bucket, credentials, BigQuery's answers, an archive, clocks."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from etl.doctor import CHECKS, DoctorOptions, Finding, State, examine, worst
from etl.errors import ExitCode
from etl.hours import HourRange, newest_finished_hour
from etl.lake.lake import Lake
from etl.lake.layout import INDEX
from etl.practice.generator import write_archive
from etl.settings import Settings
from etl.warehouse.models import Kind, models
from tests.integration.archive.server import Answer, Archive, File, Handler
from tests.integration.google import ACCOUNT, Dataset, answering, refusing, serving_dataset
from tests.integration.lake.samples import publish
from tests.integration.running import QUICK
from tests.network import free_port
from tests.storage_emulator import GcsEmulator

NOW: Final = datetime(2026, 11, 21, 12, 40, tzinfo=UTC)
TABLES: Final = [model.name for model in models() if model.kind is not Kind.VIEW]


@pytest.fixture(autouse=True)
def nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither its credentials nor the emulator that another test may have started."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "STORAGE_EMULATOR_HOST", "BIGQUERY_EMULATOR_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("GCE_METADATA_HOST", f"127.0.0.1:{free_port()}")
    monkeypatch.setenv("GCE_METADATA_TIMEOUT", "1")
    monkeypatch.setenv("GCE_METADATA_DETECT_RETRIES", "1")


@pytest.fixture
def dataset(monkeypatch: pytest.MonkeyPatch) -> Iterator[Dataset]:
    with serving_dataset() as held:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", held.url)
        yield held


def plan(
    tmp_path: Path, *, checks: Collection[str] = CHECKS, read_only: bool = False, **settings: Any
) -> DoctorOptions:
    """What to examine, with folders where a test names nothing else."""
    places = {"sources": [str(tmp_path)], "lake": str(tmp_path / "lake"), "warehouse": str(tmp_path / "warehouse")}
    return DoctorOptions(
        Settings(**{**places, **settings}), QUICK, checks=checks, read_only=read_only, clock=lambda: NOW
    )


def found(examined: DoctorOptions, name: str) -> Finding:
    """The finding of one check."""
    (finding,) = (finding for finding in examine(examined) if finding.name.startswith(name))
    return finding


def has_newest(archive: Archive, behind: int = 0, **headers: str) -> Archive:
    """Makes the archive one whose newest hour is so many hours behind."""
    path = f"/{newest_finished_hour(NOW) - behind}.json.gz"
    archive.files[path] = File(b"x")
    archive.otherwise = telling(**headers) if headers else None
    return archive


def telling(**headers: str) -> Answer:
    """Answers 200 with these headers and no date of its own."""

    def answer(handler: Handler, _: File | None) -> None:
        handler.send_response_only(200)
        for name, value in {**headers, "Content-Length": "0"}.items():
            handler.send_header(name, value)
        handler.end_headers()

    return answer


# ------------------------------------------------------------------------------------------------------- a laptop
def test_a_laptop_without_a_cloud_account_is_well(tmp_path: Path, archive: Archive) -> None:
    told = format_datetime(NOW, usegmt=True)
    findings = list(examine(plan(tmp_path, sources=[has_newest(archive, Date=told).url])))
    assert worst(findings) is ExitCode.OK
    assert {finding.name: finding.state for finding in findings} == {
        "reader": State.OK,
        "e-mails": State.OK,
        "credentials": State.SKIPPED,
        "lake": State.OK,
        "warehouse": State.OK,
        "BigQuery dataset": State.SKIPPED,
        f"source {archive.url}": State.OK,
        "clock": State.OK,
    }


def test_nothing_is_made_and_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "warehouse").mkdir()
    assert found(plan(tmp_path), "lake").found.startswith(f"{tmp_path / 'lake'} does not exist yet")
    assert "written to" in found(plan(tmp_path), "warehouse").found
    assert not (tmp_path / "lake").exists()
    assert [path for path in (tmp_path / "warehouse").rglob("*") if path.is_file() and ".tmp" not in path.parts] == []


def test_a_file_cannot_be_a_lake(tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    finding = found(plan(tmp_path), "lake")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert "is a file" in finding.found


def test_hours_of_another_policy_are_reported_and_nothing_is_written(tmp_path: Path) -> None:
    lake = Lake.at(str(tmp_path / "lake"))
    publish(lake, 3)
    examined = plan(tmp_path, checks=["lake"], emails="keep", read_only=True)
    told = found(examined, "stored e-mails")
    assert (told.state, told.code) == (State.WARN, ExitCode.OK)
    assert told.found.endswith("(keep): 1 hash")
    assert not list(lake.store.list(f"{INDEX}/"))
    assert [finding.name for finding in examine(plan(tmp_path, checks=["lake"], emails="hash"))] == ["lake"]


@pytest.mark.parametrize(
    ("emails", "key", "state", "says"),
    [
        ("hash", None, State.OK, "SHA-1"),
        ("hash", "x" * 32, State.OK, "HMAC"),
        ("drop", None, State.OK, "dropped"),
        ("keep", None, State.WARN, "clear text"),
    ],
)
def test_the_handling_of_addresses_is_reported(
    tmp_path: Path, emails: str, key: str | None, state: State, says: str
) -> None:
    finding = found(plan(tmp_path, emails=emails, email_key=key), "e-mails")
    assert finding.state is state
    assert says in finding.found


# ------------------------------------------------------------------------------------------------------- the archive
def test_a_source_that_is_late_is_reported(tmp_path: Path, archive: Archive) -> None:
    finding = found(plan(tmp_path, sources=[has_newest(archive, behind=5).url]), "source")
    assert finding.state is State.WARN
    assert "5 hours behind" in finding.found


def test_a_source_that_is_down_fails_only_when_no_other_is_up(tmp_path: Path, archive: Archive) -> None:
    down = f"http://127.0.0.1:{free_port()}"
    alone = found(plan(tmp_path, sources=[down]), "source")
    assert (alone.state, alone.code) == (State.FAIL, ExitCode.SOURCE_UNREACHABLE)
    beside = found(plan(tmp_path, sources=[down, has_newest(archive).url]), f"source {down}")
    assert (beside.state, beside.code) == (State.WARN, ExitCode.OK)


def test_sources_are_compared_over_the_last_day(tmp_path: Path) -> None:
    newest = newest_finished_hour(NOW)
    for name, hours, events in (("poor", 4, 10), ("full", 2, 1000)):
        write_archive(HourRange(newest - (hours - 1), newest), tmp_path / name, events=events)
    poor, full = (
        found(
            plan(tmp_path, sources=[str(tmp_path / "poor"), str(tmp_path / "full")]), f"last day of {tmp_path / name}"
        )
        for name in ("poor", "full")
    )
    assert re.fullmatch(r"4 of 24 hours; \d% of the fullest hours", poor.found)
    assert re.fullmatch(r"2 of 24 hours; 9\d% of the fullest hours", full.found)


def test_a_source_that_answers_without_a_new_hour_is_a_warning(tmp_path: Path, archive: Archive) -> None:
    finding = found(plan(tmp_path, sources=[archive.url]), "source")
    assert finding.state is State.WARN
    assert "no source has an hour" in finding.found


def test_a_password_in_an_address_is_never_shown(tmp_path: Path, archive: Archive) -> None:
    address = has_newest(archive, Date=format_datetime(NOW, usegmt=True)).url.replace("//", "//me:geheim@")
    findings = list(examine(plan(tmp_path, sources=[address])))
    assert "geheim" not in str(findings)
    assert worst(findings) is ExitCode.OK


# --------------------------------------------------------------------------------------------------------- the clock
@pytest.mark.parametrize(
    ("ahead", "state"),
    [(0, State.OK), (20, State.OK), (-40, State.WARN), (40, State.WARN), (100, State.FAIL), (-7200, State.FAIL)],
)
def test_a_clock_is_compared_with_a_server(tmp_path: Path, archive: Archive, ahead: int, state: State) -> None:
    told = format_datetime(NOW - timedelta(seconds=ahead), usegmt=True)
    finding = found(plan(tmp_path, sources=[has_newest(archive, Date=told).url]), "clock")
    assert finding.state is state
    assert f"{abs(ahead):,} s {'ahead of' if ahead > 0 else 'behind'}" in finding.found
    assert (finding.code is ExitCode.OK) is (state is not State.FAIL)


def test_an_answer_out_of_a_cache_does_not_make_the_clock_wrong(tmp_path: Path, archive: Archive) -> None:
    told = format_datetime(NOW - timedelta(hours=2), usegmt=True)
    finding = found(plan(tmp_path, sources=[has_newest(archive, Date=told, Age="7200").url]), "clock")
    assert finding.state is State.OK


def test_a_date_that_is_none_is_left_out(tmp_path: Path, archive: Archive) -> None:
    finding = found(plan(tmp_path, sources=[has_newest(archive, Date="yesterday").url]), "clock")
    assert finding.state is State.SKIPPED


# -------------------------------------------------------------------------------------------------------- credentials
def test_no_credentials_are_reported_with_what_to_run(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in examine(plan(tmp_path, lake="gs://a-bucket/lake"))}
    finding = findings["credentials"]
    assert findings["lake"].found == finding.found
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert "gcloud auth application-default login" in (finding.hint or "")


@pytest.mark.parametrize("content", [None, "", "{}", '{"type": "service_account", "private_key": "a-secret-word"}'])
def test_a_key_file_that_is_none_is_reported_and_not_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    finding = found(plan(tmp_path, lake="gs://a-bucket/lake", checks=("credentials",)), "credentials")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert finding.found == "the file that GOOGLE_APPLICATION_CREDENTIALS names holds no credentials"


@pytest.fixture(scope="module")
def key() -> str:
    made = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    form, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return made.private_bytes(serialization.Encoding.PEM, form, plain).decode()


def key_file(tmp_path: Path, key: str, token_uri: str) -> Path:
    """A service account's key as the console gives it out."""
    file = tmp_path / "key.json"
    account = {"type": "service_account", "project_id": "a-project", "client_email": ACCOUNT}
    file.write_text(json.dumps({**account, "private_key": key, "private_key_id": "1", "token_uri": token_uri}))
    return file


@pytest.mark.usefixtures("dataset")
def test_a_key_file_works_and_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with answering(lambda *_: (200, {"access_token": "a-token", "expires_in": 3600})) as url:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, key, url)))
        finding = found(plan(tmp_path, dataset="a-project.gharchive"), "credentials")
    assert finding.state is State.WARN
    assert ACCOUNT in finding.found
    assert "without a key" in (finding.hint or "")


@pytest.mark.usefixtures("dataset")
def test_a_revoked_key_fails_and_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    with answering(lambda *_: (400, {"error": "invalid_grant", "error_description": "a-secret-word"})) as url:
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(key_file(tmp_path, key, url)))
        finding = found(plan(tmp_path, dataset="a-project.gharchive"), "credentials")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert "a-secret-word" not in str(finding)
    assert key[40:60] not in str(finding)


# --------------------------------------------------------------------------------------------------------- the bucket
@pytest.fixture
def emulator(gcs_emulator: GcsEmulator, monkeypatch: pytest.MonkeyPatch) -> GcsEmulator:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs_emulator.endpoint)
    return gcs_emulator


def test_a_bucket_is_written_to_and_nothing_stays(tmp_path: Path, emulator: GcsEmulator, gcs_address: str) -> None:
    from etl.lake.lake import store_at  # noqa: PLC0415

    examined = plan(tmp_path, lake=gcs_address)
    assert found(examined, "lake").found == f"an object was written to {gcs_address}, read, listed and removed"
    assert list(store_at(gcs_address).list("")) == []
    warned = found(examined, "credentials")
    assert warned.state is State.WARN
    assert emulator.endpoint in warned.found


@pytest.mark.usefixtures("emulator")
def test_a_bucket_that_is_not_there_is_reported(tmp_path: Path) -> None:
    finding = found(plan(tmp_path, lake="gs://no-such-bucket/lake"), "lake")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert "does not exist" in finding.found


@pytest.mark.parametrize(("verb", "step"), [("POST", "create"), ("GET", "read"), ("DELETE", "delete")])
def test_a_right_that_is_missing_is_named(
    tmp_path: Path, emulator: GcsEmulator, gcs_address: str, monkeypatch: pytest.MonkeyPatch, verb: str, step: str
) -> None:
    with refusing(emulator.endpoint, [verb]) as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        finding = found(plan(tmp_path, lake=gcs_address), "lake")
    assert finding.state is State.FAIL
    assert finding.found.startswith(f"cannot {step} an object: permission denied for {gcs_address}/doctor-")
    assert "roles/storage.objectUser" in (finding.hint or "")


def test_who_only_reads_writes_nothing(
    tmp_path: Path, emulator: GcsEmulator, gcs_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with refusing(emulator.endpoint, ["POST", "PUT", "DELETE"]) as endpoint:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        finding = found(plan(tmp_path, lake=gcs_address, read_only=True), "lake")
    assert (finding.state, finding.found) == (State.OK, f"{gcs_address} can be listed")


# ----------------------------------------------------------------------------------------------------------- BigQuery
def test_a_dataset_with_all_tables_is_well(tmp_path: Path, dataset: Dataset) -> None:
    dataset.tables = TABLES
    finding = found(plan(tmp_path, dataset="a-project.gharchive"), "BigQuery")
    assert (finding.state, finding.found) == (State.OK, f"a-project.gharchive in EU has all {len(TABLES)} tables")
    (job,) = dataset.jobs
    assert job["configuration"]["dryRun"] is True


def test_tables_that_are_missing_are_a_warning(tmp_path: Path, dataset: Dataset) -> None:
    dataset.tables = TABLES[1:]
    finding = found(plan(tmp_path, dataset="a-project.gharchive"), "BigQuery")
    assert finding.state is State.WARN
    assert TABLES[0] in finding.found


def test_a_dataset_that_is_not_there_is_reported(tmp_path: Path, dataset: Dataset) -> None:
    finding = found(plan(tmp_path, dataset="a-project.nothing"), "BigQuery")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.STORE_FAILED)
    assert finding.found.startswith("a-project.nothing does not exist in BigQuery")
    assert dataset.jobs == []


def test_an_account_that_may_not_query_learns_which_role_it_needs(tmp_path: Path, dataset: Dataset) -> None:
    dataset.may_query = False
    finding = found(plan(tmp_path, dataset="a-project.gharchive"), "BigQuery")
    assert finding.state is State.FAIL
    assert finding.found.startswith("BigQuery refuses access to queries in the project a-project")
    assert "roles/bigquery.jobUser on the project" in (finding.hint or "")


@pytest.mark.parametrize(("read_only", "state"), [(True, State.OK), (False, State.FAIL)])
def test_writing_is_only_asked_of_who_writes(
    tmp_path: Path, dataset: Dataset, *, read_only: bool, state: State
) -> None:
    dataset.tables, dataset.permissions = TABLES, ["bigquery.tables.getData"]
    finding = found(plan(tmp_path, dataset="a-project.gharchive", read_only=read_only), "BigQuery")
    assert finding.state is state
    assert ("bigquery.tables.updateData" in finding.found) is (state is State.FAIL)


def test_a_name_that_is_no_dataset_is_a_mistake_of_usage(tmp_path: Path) -> None:
    finding = found(plan(tmp_path, dataset="gharchive; DROP"), "BigQuery")
    assert (finding.state, finding.code) == (State.FAIL, ExitCode.USAGE)
