"""The Spark job that this descends from: windows over the whole of history, the whole table overwritten.

Usage: ``python plain_spark.py OUT_FOLDER LAKE``. One of the peers that ``spark.py`` measures, on all cores of this
machine with the settings of our own local session.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as sql

_COLUMNS: Final = [
    *("id", "type", "created_at", "actor_id", "actor_login", "repo_id", "repo_name", "org_id", "org_login"),
    *("payload", "date", "hour"),
]
_NEWEST: Final = {"actor_id": "actor_login", "repo_id": "repo_name", "org_id": "org_login"}


def main() -> None:
    """Makes the table ``events`` of all hours of a lake, a folder a day."""
    folder, lake = map(Path, sys.argv[1:])
    spark = (
        SparkSession.builder.master("local[*]")
        .config("spark.ui.enabled", "false")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.driver.memory", "4g")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.parquet.compression.codec", "zstd")
        .config("spark.sql.shuffle.partitions", str(2 * (os.cpu_count() or 1)))
        .getOrCreate()
    )
    copies = Window.partitionBy("id", "type", "created_at").orderBy("date", "hour")
    events = spark.read.parquet(str(lake / "events")).select(_COLUMNS)
    events = events.withColumn("copy", sql.row_number().over(copies)).where("copy = 1").drop("copy")
    for key, name in _NEWEST.items():
        history = Window.partitionBy(key).orderBy("created_at")
        all_of_it = history.rowsBetween(Window.unboundedPreceding, Window.unboundedFollowing)
        events = events.withColumn(f"last_{name}", sql.last(name, ignorenulls=True).over(all_of_it))
    events = events.withColumn("day", sql.to_date("created_at"))
    events.write.mode("overwrite").partitionBy("day").parquet(str(folder / "events"))
    spark.stop()


if __name__ == "__main__":
    main()
