"""``submit`` against a Dataproc of this machine: what is sent, how it is followed, what it cost, how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from etl.errors import ExitCode
from tests.e2e.dataproc import Dataproc, Ended, dataproc
from tests.e2e.running import Done, etl, start
from tests.storage_emulator import GcsEmulator

IMAGE: Final = "us-central1-docker.pkg.dev/my-project/gharchive/spark:0.1.0"
PLACE: Final = ("--project", "my-project", "--region", "us-central1", "--image", IMAGE)
TABLES: Final = ("--lake", "gs://b-1/lake", "--warehouse", "gs://b-1/tables")
QUICK: Final = ("--every", "0.05")


class Driver:
    """Simulates a batch: prints the given lines and ends in the given state.

    Attributes:
        said: Pieces of output.
        ended: How it ends.
        may_end: Set when it may.
    """

    def __init__(self) -> None:
        self.said: list[str] = ["building\n"]
        self.ended = Ended(0)
        self.may_end = threading.Event()
        self.may_end.set()

    def __call__(self, _batch: Any, write: Callable[[str], None]) -> Ended:
        for piece in self.said:
            write(piece)
        self.may_end.wait(60)
        return self.ended


@pytest.fixture
def driver() -> Driver:
    return Driver()


@pytest.fixture
def service(driver: Driver, gcs_emulator: GcsEmulator) -> Iterator[Dataproc]:
    with dataproc(driver, gcs_emulator.endpoint, gcs_emulator.bucket) as running:
        yield running


@pytest.fixture
def submit(service: Dataproc, tmp_path: Path) -> Callable[..., Done]:
    return lambda *words: etl(tmp_path, "submit", *words, env={"BATCHES_EMULATOR_HOST": service.address})


def test_a_build_is_sent_followed_and_paid(submit: Callable[..., Done], service: Dataproc, driver: Driver) -> None:
    driver.said = [f"line {number} of the log: ключ\n" for number in range(7)]
    driver.ended = Ended(0, milli_dcu_seconds=12_000 * 3600, shuffle_storage_gb_seconds=73 * 3600)
    account = ("--account", "spark@my-project.iam.gserviceaccount.com", "--subnet", "spark", "--bucket", "staging")
    words = ("2015-01-01", "2015-01-31", "--full", "--property", "spark.executor.cores=8", "--limit", "2d")
    done = submit("build", *words, *TABLES, *PLACE, *account, *QUICK)
    assert done.code == ExitCode.OK, done.err
    assert done.out == "".join(driver.said)
    assert "is running" in done.err
    assert "is succeeded" in done.err
    assert "12.00 DCU hours and 73.0 GB hours of shuffle storage, about $0.72" in done.err

    (request,) = service.asked
    batch = request.batch
    assert request.parent == "projects/my-project/locations/us-central1"
    assert batch.pyspark_batch.main_python_file_uri == "file:///opt/gharchive/spark_jobs/build_warehouse.py"
    assert list(batch.pyspark_batch.args) == [
        *("2015-01-01", "2015-01-31", "--full", *TABLES),
        *("--log-format", "json"),
    ]
    assert (batch.runtime_config.version, batch.runtime_config.container_image) == ("3.0", IMAGE)
    assert dict(batch.runtime_config.properties) == {"spark.executor.cores": "8"}
    settings = batch.environment_config.execution_config
    assert (settings.service_account, settings.subnetwork_uri, settings.staging_bucket) == account[1::2]
    assert settings.ttl.days == 2


def test_a_backfill_takes_its_settings_along(submit: Callable[..., Done], service: Dataproc) -> None:
    sources = ("--source", "https://mirror.example", "--source", "gs://b-1/archive")
    how = ("--refresh", "--recheck", "--workers", "8", "--max-rate", "20MB", "--emails", "drop", "--max-damage", "2%")
    done = submit("backfill", "2015-01-01", *how, *sources, "--lake", "gs://b-1/lake", *PLACE, *QUICK)
    assert done.code == ExitCode.OK, done.err
    (request,) = service.asked
    assert list(request.batch.pyspark_batch.args) == [
        *("2015-01-01-0", "2015-01-01-23", "--refresh", "--recheck", "--workers", "8"),
        *("--max-rate", "20000000"),
        *(
            *sources,
            "--completeness",
            "fullest",
            "--lake",
            "gs://b-1/lake",
            "--emails",
            "drop",
            "--max-damage",
            "0.02",
            "--log-format",
            "json",
        ),
    ]
    assert request.batch.runtime_config.properties["spark.executor.memoryOverhead"] == "4g"


def test_a_dry_run_shows_the_request_and_sends_nothing(submit: Callable[..., Done], service: Dataproc) -> None:
    done = submit("build", *TABLES, *PLACE, "--name", "my-batch", "--dry-run")
    told = json.loads(done.out)
    assert (done.code, told["batchId"]) == (ExitCode.OK, "my-batch")
    assert told["batch"]["pysparkBatch"]["args"][:4] == list(TABLES)
    assert service.asked == []


def test_the_last_word_of_a_driver_is_the_last_word_here(submit: Callable[..., Done], driver: Driver) -> None:
    word = {"severity": "ERROR", "message": "2 of 24 hours are not complete", "hint": "later", "exit_code": 9}
    after = [f"26/11/21 14:00:{number:02} INFO SparkContext: stopping\n" for number in range(10)]
    driver.said = ["one\n", json.dumps(word) + "\n", *after]
    driver.ended = Ended(9, milli_dcu_seconds=3_600_000)
    done = submit(
        "backfill", "2015-01-01", "2015-01-01", "--lake", "gs://b-1/lake", *PLACE, *QUICK, "--name", "batch-1"
    )
    assert done.code == ExitCode.INCOMPLETE
    assert done.error == "error: batch batch-1: 2 of 24 hours are not complete"
    assert done.hint == "hint: later"
    assert "about $0.06" in done.err


def test_a_batch_that_dies_without_a_word(submit: Callable[..., Done], driver: Driver) -> None:
    driver.ended = Ended(1, message="Job failed: executors could not be started")
    done = submit("build", *TABLES, *PLACE, *QUICK, "--name", "batch-1")
    assert done.code == ExitCode.BATCH_FAILED
    assert done.error == "error: batch batch-1 is failed: Job failed: executors could not be started"
    assert "not available yet" in done.err


def test_a_service_that_is_away_for_a_moment(submit: Callable[..., Done], service: Dataproc) -> None:
    service.unavailable = 2
    assert submit("build", *TABLES, *PLACE, *QUICK).code == ExitCode.OK
    assert len({request.request_id for request in service.asked}) == 1


def test_a_name_that_is_taken_is_refused(submit: Callable[..., Done], service: Dataproc) -> None:
    assert submit("build", *TABLES, *PLACE, "--name", "same", "--no-wait").out == "same\n"
    done = submit("build", *TABLES, *PLACE, "--name", "same")
    assert (done.code, len(service.asked)) == (ExitCode.BATCH_FAILED, 2)
    assert done.error == "error: batch same already exists"


def test_left_alone_and_followed_later_and_cancelled(
    submit: Callable[..., Done], service: Dataproc, driver: Driver, tmp_path: Path
) -> None:
    driver.may_end.clear()
    env = {"BATCHES_EMULATOR_HOST": service.address}
    words = ("submit", "build", *TABLES, *PLACE, *QUICK, "--name", "batch-1")
    with start(tmp_path, *words, env=env) as process:
        _await_line(process, "is running")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.INTERRUPTED
    assert "batch-1 is still running; follow it with: " in err

    assert submit("cancel", "batch-1", *PLACE[:4]).code == ExitCode.OK
    done = submit("follow", "batch-1", *PLACE[:4], *QUICK)
    driver.may_end.set()
    assert done.code == ExitCode.BATCH_FAILED
    assert done.error == "error: batch batch-1 is cancelled"
    assert submit("follow", "batch-2", *PLACE[:4]).error == "error: batch batch-2 does not exist"


def _await_line(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"it never said {text!r}")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("build", *PLACE), "lake is a local folder"),
        (("build", *TABLES, *PLACE[:4]), "a container image is required"),
        (("build", *TABLES, *PLACE[:2], *PLACE[4:]), "a region is required"),
        (("build", *TABLES, *PLACE, "--name", "A name"), "invalid batch name 'A name'"),
        (("build", *TABLES, *PLACE, "--property", "cores"), "'cores' is not a property"),
        (("build", *TABLES, *PLACE, "--limit", "3w"), "a batch can run for at most 14 days"),
        (
            ("backfill", "--last", "2h", *TABLES[:2], *PLACE, "--source", "archive"),
            "archive is a local folder",
        ),
    ],
)
def test_what_cannot_be_sent(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    done = etl(tmp_path, "submit", *words)
    assert (done.code, done.error) == (ExitCode.USAGE, f"error: {said}")


def test_secrets_are_not_sent(tmp_path: Path) -> None:
    words = ("submit", "backfill", "--last", "2h", *TABLES[:2], *PLACE)
    done = etl(tmp_path, *words, env={"GHARCHIVE_EMAIL_KEY": "correct horse battery staple"})
    assert done.code == ExitCode.USAGE
    assert "email_key is not sent to a batch" in done.error
    done = etl(tmp_path, *words, "--source", "https://me:secret@mirror.example")
    assert done.code == ExitCode.USAGE
    assert "secret" not in done.err
