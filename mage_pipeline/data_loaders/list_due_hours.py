"""Finds the newest hours that are published and not complete in the lake."""

from typing import Any

from etl.mage import blocks

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader


@data_loader
def list_due_hours(*_: object, **variables: object) -> dict[str, Any]:
    """Finds the newest hours that are published and not complete in the lake."""
    return blocks.list_due_hours(variables)
