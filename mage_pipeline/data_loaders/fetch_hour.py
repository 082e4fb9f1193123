"""Fetches the hour of the run into the spool, as its source has it."""

from typing import Any

from etl.mage import blocks

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def fetch_hour(*_: object, **variables: object) -> dict[str, Any]:
    """Fetches the hour of the run into the spool, as its source has it."""
    return blocks.fetch_hour(variables)


@test
def arrived_whole(result: dict[str, Any], *_: object, **variables: object) -> None:
    """What lies in the spool is what came."""
    blocks.check_fetched(result, variables)
