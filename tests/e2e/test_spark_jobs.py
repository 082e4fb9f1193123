"""The scripts of ``spark_jobs`` as spark-submit runs them, from the wheel, with the checkout out of sight."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
import pyspark
import pytest

from etl.errors import ExitCode
from etl.events.native.build import library
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake
from etl.lake.layout import events_key, manifest_key
from etl.practice.generator import provide_hour
from etl.warehouse.table_state import Warehouse
from tests import tools
from tests.e2e import processes
from tests.e2e.running import ROOT, clean_environment, etl
from tests.integration.sparking import for_emulator
from tests.integration.warehouse.comparing import differences
from tests.storage_emulator import GcsEmulator

if TYPE_CHECKING:
    from google.cloud.dataproc_v1 import Batch

pytestmark = pytest.mark.timeout(600)

# Two executors on this machine, each a process of its own, with what the session of a cluster has: workers, a master,
# tasks that are done again elsewhere.
CLUSTER: Final = "local-cluster[2,1,1024]"
SMALL: Final = {"spark.executor.memory": "512m", "spark.executor.memoryOverhead": "256m"}
HOURS: Final = HourRange(Hour.of(2015, 1, 1, 0), Hour.of(2015, 1, 1, 15))
MADE: Final = (HOURS.first + 1, HOURS.first + 2)
_OF_THE_RUN: Final = ("attempts", "started_at", "finished_at", "seconds")


@dataclass(frozen=True)
class Packed:
    """The program as a cluster has it: the wheel and the scripts, beside what they need.

    Attributes:
        python: A Python that has the wheel.
        jobs: The folder of the scripts.
        program: ``spark-submit``.
    """

    python: Path
    jobs: Path
    program: Path

    def command(self, script: str, *words: object, master: str, properties: Mapping[str, str]) -> list[str]:
        """The words that run a script."""
        quiet = {
            "spark.ui.enabled": "false",
            "spark.driver.host": "127.0.0.1",
            "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1",
            "spark.executor.extraJavaOptions": "-XX:TieredStopAtLevel=1",
            "spark.sql.shuffle.partitions": "2",
        }
        terms = [word for item in {**quiet, **properties}.items() for word in ("--conf", "=".join(item))]
        return [str(self.program), "--master", master, *terms, str(self.jobs / script), *map(str, words)]

    @property
    def environment(self) -> dict[str, str]:
        """Where Spark finds this Python, and Python nothing of the checkout."""
        kept = {name: value for name, value in clean_environment().items() if name != "PYTHONPATH"}
        return kept | {
            "JAVA_HOME": str(tools.get("java")),
            "PYSPARK_PYTHON": str(self.python),
            "PYSPARK_DRIVER_PYTHON": str(self.python),
        }


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    """Makes the wheel, and a Python that has it beside the libraries of this one."""
    tools.get("java")
    folder = tmp_path_factory.mktemp("packed")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    locked = [ROOT / "requirements" / name for name in ("bootstrap.txt", "build.txt")]
    constraints = [word for lock in locked for word in ("--build-constraints", str(lock))]
    _run([*uv, "build", "--wheel", *constraints, "--out-dir", str(folder), str(ROOT)], folder)
    (wheel,) = folder.glob("*.whl")
    python = folder / "python/bin/python"
    _run([*uv, "venv", "--python", sys.executable, str(folder / "python")], folder)
    _run([*uv, "pip", "install", "--python", str(python), "--no-deps", "--offline", str(wheel)], folder)
    (place,) = (folder / "python/lib").glob("python3.*/site-packages")
    # Python looks for libraries where a .pth says, and ignores every .pth in there: one of them names the checkout.
    (place / "libraries.pth").write_text(f"{Path(pyspark.__file__).parents[1]}\n", encoding="utf-8")
    shutil.copytree(ROOT / "spark_jobs", folder / "spark_jobs")
    return Packed(python, folder / "spark_jobs", Path(pyspark.__file__).parent / "bin/spark-submit")


def _run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


def told(lake: Lake, hour: Hour) -> dict[str, Any]:
    """An hour's manifest without the fields that describe the run."""
    manifest: dict[str, Any] = json.loads(lake.store.read(manifest_key(hour)) or b"{}")
    return {name: value for name, value in manifest.items() if name not in _OF_THE_RUN}


def assert_same(there: Lake, here: Lake, hours: HourRange) -> None:
    """Holds what two lakes say of some hours, and all their rows, against each other."""
    for hour in hours:
        assert told(there, hour) == told(here, hour), hour
        assert _rows(there, hour).equals(_rows(here, hour)), hour


def _rows(lake: Lake, hour: Hour) -> pa.Table:
    with ExitStack() as stack:
        files = [stack.enter_context(lake.store.open(info.key)) for info in lake.store.list(events_key(hour))]
        tables = [pq.ParquetFile(file).read() for file in files]
        return pa.concat_tables(tables) if tables else pa.table({})


@pytest.fixture
def run_batch(packed: Packed, gcs_emulator: GcsEmulator, tmp_path: Path) -> Callable[..., Any]:
    """What a Dataproc of this machine runs batches with: spark-submit, as the request says."""
    from tests.e2e.dataproc import Ended  # noqa: PLC0415 -- an extra

    connector = {f"spark.hadoop.{name}": value for name, value in for_emulator(gcs_emulator.endpoint).items()}
    connector["spark.jars"] = str(tools.get("gcs-connector"))

    def run(batch: Batch, write: Callable[[str], None]) -> Ended:
        script = batch.pyspark_batch.main_python_file_uri.removeprefix("file:///opt/gharchive/spark_jobs/")
        properties = {**dict(batch.runtime_config.properties), **connector}
        # Tables in one process: what a cluster adds to that are more processes to start.
        master = CLUSTER if script == "backfill.py" else "local[2]"
        command = packed.command(script, *batch.pyspark_batch.args, master=master, properties=properties)
        done = subprocess.run(
            command, cwd=tmp_path, env=packed.environment, capture_output=True, text=True, check=False, timeout=500
        )
        # As Dataproc has it, what the driver says and what it complains of stand in one.
        write(done.stdout + done.stderr)
        return Ended(done.returncode)

    return run


@pytest.fixture
def archive(gcs_address: str, tmp_path: Path) -> str:
    """An archive in a bucket with some of the hours: practice hours, and real ones where there are any."""
    there = Lake.at(f"{gcs_address}/archive").store
    real = tools.get("real-hours") / "archive" if tools.has("real-hours") else None
    for hour in HOURS:
        path = _practice(hour, tmp_path) if hour in MADE else real and real / f"{hour}.json.gz"
        if path is not None and path.is_file():
            there.write(path.name, path.read_bytes())
    return there.address


def _practice(hour: Hour, folder: Path) -> Path:
    (folder / "practice").mkdir(exist_ok=True)
    provide_hour(hour, folder / "practice", events=50)
    return folder / f"practice/{hour}.json.gz"


@pytest.fixture
def place(run_batch: Callable[..., Any], gcs_emulator: GcsEmulator) -> Iterator[dict[str, str]]:
    """The environment of a program that sends batches to this machine."""
    from tests.e2e.dataproc import dataproc  # noqa: PLC0415 -- an extra

    with dataproc(run_batch, gcs_emulator.endpoint, gcs_emulator.bucket) as service:
        yield {
            "BATCHES_EMULATOR_HOST": service.address,
            "GHARCHIVE_SPARK_PROJECT": "my-project",
            "GHARCHIVE_SPARK_REGION": "us-central1",
            "GHARCHIVE_SPARK_IMAGE": "image",
        }


def test_the_program_is_that_of_the_wheel(packed: Packed) -> None:
    asked = "import etl, sys; print(etl.__file__); print(sys.path)"
    said = _run([str(packed.python), "-c", asked], packed.jobs)
    assert str(packed.python.parents[1]) in said.splitlines()[0]
    assert f"'{ROOT}'" not in said
    (compiled,) = packed.python.parents[1].glob("lib/python3.*/site-packages/etl/events/native/scanner-*.so")
    assert compiled.name == library().name


def test_hours_and_tables_of_a_cluster_are_those_of_one_machine(
    place: dict[str, str], archive: str, gcs_address: str, tmp_path: Path
) -> None:
    there, here = Lake.at(f"{gcs_address}/lake"), Lake.at(str(tmp_path / "lake"))
    words = (HOURS.first, HOURS.last, "--source", archive)
    small = [word for item in SMALL.items() for word in ("--property", "=".join(item))]
    sent = etl(tmp_path, "submit", "backfill", *words, "--lake", there.address, *small, "--every", "0.5", env=place)
    assert sent.code == ExitCode.INCOMPLETE, sent.err
    assert "of 16 hours are not complete: " in sent.error
    assert etl(tmp_path, "backfill", *words).code == ExitCode.INCOMPLETE
    assert_same(there, here, HOURS)
    assert told(there, HOURS.first + 3)["status"] == "missing"
    assert all(told(there, hour)["status"] == "complete" for hour in MADE)

    tables = Warehouse.at(f"{gcs_address}/tables")
    where = ("--lake", there.address, "--warehouse", tables.address)
    assert etl(tmp_path, "build", "--lake", there.address).code == ExitCode.OK
    sent = etl(tmp_path, "submit", "build", *where, *small, "--every", "0.5", env=place)
    assert sent.code == ExitCode.OK, sent.err
    copy = Warehouse.at(str(tmp_path / "copy"))
    for info in tables.store.list("tables/"):
        copy.store.write(info.key, tables.store.read(info.key) or b"")
    assert differences(Warehouse.at(str(tmp_path / "warehouse")), copy) == {}


@pytest.mark.needs("java")
def test_hours_by_a_spark_of_this_machine(tmp_path: Path) -> None:
    hour = HOURS.first
    _practice(hour, tmp_path)
    done = etl(tmp_path, "backfill", hour, hour, "--source", "practice", "--engine", "spark", "--log-level", "error")
    assert done.code == ExitCode.OK, done.err
    assert f"{hour}..{hour}: 1 of 1 hour is done" in done.out
    assert told(Lake.at(str(tmp_path / "lake")), hour)["status"] == "complete"


@pytest.mark.needs("linux")
def test_an_executor_that_is_killed_costs_nothing_but_time(packed: Packed, tmp_path: Path) -> None:
    archive, hours = tmp_path / "archive", HourRange(HOURS.first, HOURS.first + 3)
    archive.mkdir()
    for hour in hours:
        provide_hour(hour, archive, events=3000)
    # Slow enough that whoever is killed is in the middle of an hour.
    size = max(path.stat().st_size for path in archive.glob("*.json.gz"))
    words = (hours.first, hours.last, "--source", archive, "--lake", tmp_path / "by-spark")
    slow = ("--workers", "2", "--max-rate", f"{size // 2}B", "--json")
    command = packed.command("backfill.py", *words, *slow, master=CLUSTER, properties=SMALL)
    with subprocess.Popen(
        command,
        cwd=tmp_path,
        env=packed.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            killed = _kill_an_executor(process, tmp_path / "by-spark")
            out, _ = process.communicate(timeout=300)
        finally:
            processes.kill_group(process.pid)
    assert killed
    assert process.returncode == ExitCode.OK, out
    summary = json.loads(out[out.index("{") :])
    assert (summary["complete"], summary["hours"]) == (True, 4)

    assert etl(tmp_path, "backfill", *words[:4]).code == ExitCode.OK
    assert_same(Lake.at(str(tmp_path / "by-spark")), Lake.at(str(tmp_path / "lake")), hours)


def _kill_an_executor(process: subprocess.Popen[str], lake: Path) -> bool:
    """Kills an executor with SIGKILL while an hour is in progress; returns whether there was one."""
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        if any(lake.rglob("*.parquet*")) or any(lake.rglob("*.lock")):
            for number in processes.group(process.pid):
                if b"CoarseGrainedExecutorBackend" in _command(number):
                    return processes.kill(number)
        time.sleep(0.05)
    return False


def _command(number: int) -> bytes:
    try:
        return Path(os.sep, "proc", str(number), "cmdline").read_bytes()
    except OSError:
        return b""
