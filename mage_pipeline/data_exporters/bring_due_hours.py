"""Brings these hours, the oldest first; one that fails stops no other."""

from typing import Any

from etl.mage import blocks

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def bring_due_hours(result: dict[str, Any], *_: object, **variables: object) -> dict[str, Any]:
    """Brings these hours, the oldest first; one that fails stops no other."""
    return blocks.bring_due_hours(result, variables)
