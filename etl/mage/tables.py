"""Builds the warehouse in a Mage run: runs each command in its own process.

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
"""The engines: DuckDB on this machine, Spark on this machine, BigQuery, or a batch of Dataproc Serverless."""
AUTO: Final = "auto"
"""Selects ``dataproc`` if the settings name an image for Spark, else ``bigquery`` if they name a dataset, else
``duckdb``."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Touched(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The partitions that a build would write.

    Attributes:
        engine: The engine; a key of ``ENGINES``.
        partitions: Number of partitions.
        bytes: Bytes that they read.
        days: The daily partitions among them, in order.
    """

    engine: str
    partitions: int
    bytes: int
    days: list[str]


class Built(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The result of a build.

    Attributes:
        engine: The engine.
        outcomes: Number of partitions by outcome; empty if the build ran elsewhere or had nothing to do.
        rows: Rows written.
    """

    engine: str
    outcomes: dict[str, int]
    rows: int


def commands(engine: str, *, dataset: str | None, spark_image: str | None = None) -> list[Sequence[str]]:
    """Returns the commands that build the tables, in order.

    Args:
        engine: A key of ``ENGINES``, or ``AUTO``.
        dataset: The BigQuery dataset in the settings; None without one.
        spark_image: The image for Spark batches in the settings; None without one.

    Raises:
        UsageError: If there is no such engine.
    """
    engine = _engine(engine, dataset, spark_image)
    # Dataproc writes files; they are loaded into BigQuery.
    return [ENGINES[engine], *([("load",)] if engine == "dataproc" and dataset is not None else [])]


def find_touched(engine: str, *, dataset: str | None, spark_image: str | None = None) -> Touched:
    """Finds the partitions that have to be built, without building them.

    Args:
        engine: A key of ``ENGINES``, or ``AUTO``.
        dataset: The BigQuery dataset in the settings; None without one.
        spark_image: The image for Spark batches in the settings; None without one.

    Raises:
        UsageError: If there is no such engine.
        StoreError: If the command fails.
    """
    engine = _engine(engine, dataset, spark_image)
    # Dataproc would build the same partitions as Spark: they share one state.
    planned_by = "spark" if engine == "dataproc" else engine
    pieces = msgspec.json.decode(_run(*ENGINES[planned_by], "--dry-run"))
    return Touched(
        engine=engine,
        partitions=len(pieces),
        bytes=sum(int(piece["bytes"] or 0) for piece in pieces),
        days=sorted({piece["partition"] for piece in pieces if piece["partition"] != "all"}),
    )


def build(touched: Touched, *, dataset: str | None) -> Built:
    """Builds what changed. If nothing changed, only loads earlier results where needed.

    Args:
        touched: The result of ``find_touched``.
        dataset: The BigQuery dataset in the settings; Dataproc's results are loaded into it.

    Raises:
        ChecksFailedError: If rows failed a required check; the old rows were kept.
        StoreError: If the command fails otherwise.
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
        hint="run the command by hand to see its full output",
    )
