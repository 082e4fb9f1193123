"""What a batch is called, costs and says at last; and that the image and Terraform mean the same scripts."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import BatchError, EtlError, ExitCode, IncompleteError, StoreError, UsageError
from etl.spark.dataproc import Cost, DataprocTarget, JobName, Order, last_error, new_name, request_of

ROOT: Final = Path(__file__).parents[3]
PLACE: Final = DataprocTarget(project="my-project", region="us-central1", image="image")
JOBS: Final[tuple[JobName, ...]] = ("build", "backfill")


def order(name: str, limit: timedelta = timedelta(hours=1), job: JobName = "build") -> Order:
    return Order(job=job, arguments=(), name=name, limit=limit)


@given(st.sampled_from(JOBS), st.datetimes(timezones=st.just(UTC)))
def test_a_new_name_can_name_a_batch(job: JobName, now: datetime) -> None:
    name = new_name(job, now)
    assert order(name).name == name
    assert name != new_name(job, now)


@pytest.mark.parametrize("name", ["", "abc", "-abcd", "abcd-", "Abcd", "a" * 64, "abcd\n", "ab.cd", "ключи"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        order(name)


def test_what_a_batch_costs() -> None:
    twelve_units_a_day = Cost(dcu_hours=12 * 24, shuffle_gb_hours=0)
    assert twelve_units_a_day.dollars == pytest.approx(17.28)
    assert Cost(0, 25 * 730).dollars == pytest.approx(1.0)


NOISE: Final = st.text(st.characters(codec="utf-8"), max_size=40).filter(lambda text: "exit_code" not in text)
KINDS: Final = {ExitCode.INCOMPLETE: IncompleteError, ExitCode.STORE_FAILED: StoreError}


@given(st.lists(NOISE), st.lists(NOISE), st.sampled_from(sorted(KINDS)), st.text(), st.none() | st.text())
def test_the_last_word_is_found_among_all_that_is_said(
    before: list[str], after: list[str], code: ExitCode, message: str, hint: str | None
) -> None:
    word = json.dumps({"severity": "ERROR", "message": message, "hint": hint, "exit_code": int(code)})
    said = "\n".join([*before, '{"exit_code": 2, "message": "an earlier one"}', word, *after])
    assert last_error(said) == (message, hint, KINDS[code])


@pytest.mark.parametrize(
    "said", ["", "error: no JSON", "{", "[1]", "{}", '{"exit_code": "9"}', '{"message": "exit_code"}']
)
def test_output_without_an_error(said: str) -> None:
    assert last_error(said) is None


def test_an_unknown_code_is_a_failure_of_the_batch() -> None:
    assert last_error('{"exit_code": 77, "message": "from a later version"}') == (
        "from a later version",
        None,
        BatchError,
    )
    assert issubclass(BatchError, EtlError)


@pytest.mark.parametrize("job", JOBS)
def test_the_script_lies_in_the_image(job: JobName) -> None:
    main = request_of(PLACE, order("a-name", job=job)).batch.pyspark_batch.main_python_file_uri
    folder = re.search(r"^ARG VENV=(\S+)$", text := (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE)
    assert folder is not None
    assert "COPY spark_jobs ${VENV}/spark_jobs" in text
    scripts = {f"file://{folder[1]}/spark_jobs/{path.name}" for path in (ROOT / "spark_jobs").glob("*.py")}
    assert main in scripts


def test_terraform_means_the_same_script_and_runtime() -> None:
    batch = request_of(PLACE, order("a-name")).batch
    stack = (ROOT / "terraform/variables.tf").read_text(encoding="utf-8")
    module = (ROOT / "terraform/modules/spark/variables.tf").read_text(encoding="utf-8")
    assert f'"{batch.pyspark_batch.main_python_file_uri}"' in stack
    assert f'default     = "{batch.runtime_config.version}"' in module


def test_a_request_names_no_account_unless_told() -> None:
    settings = request_of(PLACE, order("a-name")).batch.environment_config.execution_config
    assert (settings.service_account, settings.subnetwork_uri, settings.staging_bucket) == ("", "", "")
    with pytest.raises(UsageError, match="at most 14 days"):
        order("a-name", timedelta(days=15))
