"""Downloads the hour of the run to staging."""

from typing import Any

from etl.mage import blocks

if "data_loader" not in globals():
    from mage_ai.data_preparation.decorators import data_loader
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@data_loader
def fetch_hour(*_: object, **variables: object) -> dict[str, Any]:
    """Downloads the hour of the run to staging."""
    return blocks.fetch_hour(variables)


@test
def arrived_whole(result: dict[str, Any], *_: object, **variables: object) -> None:
    """The staged file has the announced size."""
    blocks.check_fetched(result, variables)
