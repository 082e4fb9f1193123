"""Writes the coverage page of the lake, and returns its address."""

from typing import Any

from etl.mage import blocks

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def report_coverage(result: dict[str, Any], *_: object, **variables: object) -> dict[str, Any]:
    """Writes the coverage page of the lake, and returns its address."""
    return blocks.report_coverage(result, variables)


@test
def nothing_is_late(result: dict[str, Any], *_: object, **_variables: object) -> None:
    """No hour is late."""
    blocks.check_report(result)
