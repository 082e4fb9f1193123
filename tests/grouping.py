"""Which tests run on one worker of pytest-xdist: those that share what is expensive to make.

``--dist loadgroup`` cannot do it: it writes the group into the id of a test, which pytest 9.2 no longer reads.
"""

from __future__ import annotations

from typing import Final

from typing_extensions import override
from xdist.scheduler import LoadScopeScheduling

GROUPS: Final = {
    # A Mage server takes a gigabyte, and its tests wait for its clock.
    "tests/e2e/test_mage_": "mage",
    # One session of Spark.
    "tests/integration/backfill/test_spark_pool.py": "spark",
    "tests/integration/lake/test_parquet.py": "spark",
    "tests/integration/warehouse/test_engines.py": "spark",
    "tests/integration/warehouse/test_model_cases.py": "spark",
    "tests/integration/warehouse/test_spark_builder.py": "spark",
    # One run of the analyzer over all statements.
    "tests/integration/warehouse/test_bigquery_sql.py": "sql-analyzer",
}
"""The group of all tests of modules whose path begins so."""


def group_of(test: str) -> str:
    """Returns the group of a test by its id; other e2e modules are a group each, all other tests one by one."""
    module = test.partition("::")[0]
    for path, group in GROUPS.items():
        if module.startswith(path):
            return group
    return module if module.startswith("tests/e2e/") else test


class GroupScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist ships no types
    """Assigns each group to one worker."""

    @override
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
