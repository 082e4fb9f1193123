"""How many hours Spark is given at once."""

from __future__ import annotations

import pytest

from etl.backfill.spark_pool import MOST_AT_ONCE, places


@pytest.mark.parametrize(
    ("settings", "parallelism", "expected"),
    [
        ({}, 8, 8),
        ({}, 100_000, MOST_AT_ONCE),
        ({"spark.dynamicAllocation.enabled": "false", "spark.dynamicAllocation.maxExecutors": "50"}, 8, 8),
        ({"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.maxExecutors": "20"}, 2, 20),
        (
            {
                "spark.dynamicAllocation.enabled": "true",
                "spark.dynamicAllocation.maxExecutors": "20",
                "spark.executor.cores": "4",
            },
            2,
            80,
        ),
        ({"spark.dynamicAllocation.enabled": "true", "spark.executor.cores": "4"}, 2, MOST_AT_ONCE),
        ({"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.maxExecutors": "0"}, 2, 1),
    ],
)
def test_a_cluster_that_may_grow_is_given_what_it_may_grow_to(
    settings: dict[str, str], parallelism: int, expected: int
) -> None:
    from pyspark import SparkConf  # noqa: PLC0415 -- takes a while

    conf = SparkConf(loadDefaults=False)
    for name, value in settings.items():
        conf.set(name, value)
    assert places(conf, parallelism) == expected
