"""Finds the partitions of the warehouse that have to be rebuilt."""

from typing import Any

from etl.mage import blocks

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def list_touched_days(*_: object, **variables: object) -> dict[str, Any]:
    """Finds the partitions of the warehouse that have to be rebuilt."""
    return blocks.list_touched_days(variables)
