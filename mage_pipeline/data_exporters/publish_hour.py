"""Publishes the hour in the lake with its manifest, and removes it from staging."""

from typing import Any

from etl.mage import blocks

if "data_exporter" not in globals():
    from mage_ai.data_preparation.decorators import data_exporter
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_exporter
def publish_hour(result: dict[str, Any], *_: object, **variables: object) -> dict[str, Any]:
    """Publishes the hour in the lake with its manifest, and removes it from staging."""
    return blocks.publish_hour(result, variables)


@test
def is_in_the_lake(result: dict[str, Any], *_: object, **variables: object) -> None:
    """The lake has the hour, as in its manifest."""
    blocks.check_published(result, variables)
