# ruff: noqa: INP001 -- scripts for spark-submit are no package
"""Loads hours of the archive into the lake, distributed over Spark executors.

Usage: ``spark-submit spark_jobs/backfill.py FROM TO --lake gs://bucket/lake``. It takes what ``python etl backfill``
takes, and ends with the same exit codes.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from etl.cli.main import main


def run() -> int:
    """Starts the session that spark-submit describes, processes the hours, and returns the exit code."""
    # A second copy of a slow task would only find its hour locked, and Spark take that for the answer.
    builder = SparkSession.builder.appName("gharchive-backfill").config("spark.speculation", "false")
    session = builder.getOrCreate()
    try:
        return main(["backfill", "--engine", "spark", *sys.argv[1:]], prog_name="backfill.py")
    finally:
        session.stop()


if __name__ == "__main__":
    sys.exit(run())
