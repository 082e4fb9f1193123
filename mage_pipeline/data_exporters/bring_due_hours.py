"""Processes these hours, oldest first; a failed hour does not stop the others."""

from typing import Any

from etl.mage import blocks

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter


@data_exporter
def bring_due_hours(result: dict[str, Any], *_: object, **variables: object) -> dict[str, Any]:
    """Processes these hours, oldest first; a failed hour does not stop the others."""
    return blocks.bring_due_hours(result, variables)
