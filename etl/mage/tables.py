"""The warehouse in a run of Mage: the commands that build it, each in a process of its own.

A build may need more memory than everything beside it, and frees it only when its process ends; so the command
itself is run, and the block passes on its machine-readable output.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
import structlog

from etl.errors import ChecksFailedError, ExitCode, StoreError, UsageError

ENGINES: Final[Mapping[str, Sequence[str]]] = MappingProxyType(
    {
        "duckdb": ("build", "--engine", "duckdb", "--format", "json"),
        "spark": ("build", "--engine", "spark", "--format", "json"),
        "bigquery": ("build", "--engine", "bigquery", "--format", "json"),
        "dataproc": ("submit", "build"),
    }
)
"""What builds the tables: this machine, Spark on this machine, BigQuery, or a batch of Dataproc Serverless."""
AUTO: Final = "auto"
"""Stands for ``dataproc`` where the settings name an image for Spark, else for ``bigquery`` where they name a dataset,
else for ``duckdb``."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Touched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a build would make.

    Attributes:
        engine: What would make it; a key of ``ENGINES``.
        partitions: How many partitions.
        bytes: What they read.
        days: The days among them, in order.
    """

    engine: str
    partitions: int
    bytes: int
    days: list[str]


class Built(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a build made.

    Attributes:
        engine: What made it.
        outcomes: How many partitions came to which outcome; empty where the build ran elsewhere or had nothing to do.
        rows: Rows written.
    """

    engine: str
    outcomes: dict[str, int]
    rows: int


def commands(engine: str, *, dataset: str | None, spark_image: str | None = None) -> list[Sequence[str]]:
    """Returns the commands that build the tables, in order.

    Args:
        engine: A key of ``ENGINES``, or ``AUTO``.
        dataset: The dataset of BigQuery that the settings name; None when they name none.
        spark_image: The image for Spark's batches that they name; None when they name none.

    Raises:
        UsageError: If there is no such engine.
    """
    engine = _engine(engine, dataset, spark_image)
    # What Dataproc made are files; BigQuery has them by loading.
    return [ENGINES[engine], *([("load",)] if engine == "dataproc" and dataset is not None else [])]


def find_touched(engine: str, *, dataset: str | None, spark_image: str | None = None) -> Touched:
    """Asks which partitions are to be made, and makes none.

    Args:
        engine: A key of ``ENGINES``, or ``AUTO``.
        dataset: The dataset of BigQuery that the settings name; None when they name none.
        spark_image: The image for Spark's batches that they name; None when they name none.

    Raises:
        UsageError: If there is no such engine.
        StoreError: If the command fails.
    """
    engine = _engine(engine, dataset, spark_image)
    # What Dataproc would make is what Spark would: they have one state.
    planned_by = "spark" if engine == "dataproc" else engine
    pieces = msgspec.json.decode(_run(*ENGINES[planned_by], "--dry-run"))
    return Touched(
        engine=engine,
        partitions=len(pieces),
        bytes=sum(int(piece["bytes"] or 0) for piece in pieces),
        days=sorted({piece["partition"] for piece in pieces if piece["partition"] != "all"}),
    )


def build(touched: Touched, *, dataset: str | None) -> Built:
    """Builds what changed; where nothing did, only what was built before is loaded, if it has to be.

    Args:
        touched: What ``find_touched`` gave.
        dataset: The dataset of BigQuery that the settings name: what Dataproc made is loaded into it.

    Raises:
        ChecksFailedError: If rows broke a check that must hold; the old ones were kept.
        StoreError: If the command fails in another way.
    """
    building, *loading = commands(touched.engine, dataset=dataset)
    printed = _run(*building) if touched.partitions else "[]"
    for words in loading:
        _run(*words)
    if touched.engine == "dataproc":
        return Built(engine=touched.engine, outcomes={}, rows=0)
    entries = msgspec.json.decode(printed)
    return Built(
        engine=touched.engine,
        outcomes=dict(sorted(Counter(str(entry["outcome"]) for entry in entries).items())),
        rows=sum(int(entry["rows_written"] or 0) for entry in entries),
    )


def _engine(named: str, dataset: str | None, spark_image: str | None) -> str:
    engine = _automatic(dataset, spark_image) if named == AUTO else named
    if engine not in ENGINES:
        raise UsageError(f"there is no engine {named!r}", hint=f"engines: {', '.join((AUTO, *ENGINES))}")
    return engine


def _automatic(dataset: str | None, spark_image: str | None) -> str:
    if spark_image is not None:
        return "dataproc"
    return "duckdb" if dataset is None else "bigquery"


def _run(*words: str) -> str:
    """Runs a command of this program to its end, and returns what it printed."""
    _log.info("running a command", command=" ".join(words))
    done = subprocess.run(  # noqa: S603 -- our own program, and words of the table above
        [sys.executable, "-m", "etl", *words], check=False, capture_output=True, text=True, encoding="utf-8"
    )
    if done.returncode == ExitCode.OK:
        return done.stdout
    said = done.stderr.strip().splitlines()
    error = ChecksFailedError if done.returncode == ExitCode.CHECKS_FAILED else StoreError
    raise error(
        f"`{' '.join(words)}` ended with exit code {done.returncode}: {' | '.join(said[-2:])}",
        hint="run the same by hand to see all it says",
    )
