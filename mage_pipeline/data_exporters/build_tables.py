"""Builds the partitions; each is checked before it is published."""

from typing import Any

from etl.mage import blocks

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def build_tables(result: dict[str, Any], *_: object, **_variables: object) -> dict[str, Any]:
    """Builds the partitions; each is checked before it is published."""
    return blocks.build_tables(result)


@test
def passed_its_checks(result: dict[str, Any], *_: object, **_variables: object) -> None:
    """No partition failed a check."""
    blocks.check_built(result)
