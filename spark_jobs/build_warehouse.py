# ruff: noqa: INP001 -- scripts for spark-submit are no package
"""Builds the warehouse's tables from the lake with Spark.

Usage: ``spark-submit spark_jobs/build_warehouse.py --lake gs://bucket/lake --warehouse gs://bucket/tables``. It takes
what ``python etl build`` takes, and ends with the same exit codes.
"""

from __future__ import annotations

import sys

from pyspark.sql import SparkSession

from etl.cli.main import main


def run() -> int:
    """Starts the session that spark-submit describes, builds, and returns the exit code."""
    session = SparkSession.builder.appName("gharchive-build-warehouse").getOrCreate()
    try:
        return main(["build", "--engine", "spark", *sys.argv[1:]], prog_name="build_warehouse.py")
    finally:
        session.stop()


if __name__ == "__main__":
    sys.exit(run())
