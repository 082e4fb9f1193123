"""Decodes the fetched hour into the schema, as parquet in the staging folder."""

from typing import Any

from etl.mage import blocks

if "transformer" not in globals():
    from mage_ai.data_preparation.decorators import transformer
if "test" not in globals():
    from mage_ai.data_preparation.decorators import test


@transformer
def enforce_schema(result: dict[str, Any], *_: object, **variables: object) -> dict[str, Any]:
    """Decodes the fetched hour into the schema, as parquet in the staging folder."""
    return blocks.enforce_schema(result, variables)


@test
def may_be_published(result: dict[str, Any], *_: object, **variables: object) -> None:
    """The hour is complete; an incomplete hour is not published."""
    blocks.check_shaped(result, variables)
