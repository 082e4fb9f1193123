from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from etl.warehouse.dictionary import markdown
from etl.warehouse.models import models

PAGE: Final = Path(__file__).parents[3] / "docs/reference/tables.md"


def test_the_page_says_what_the_models_say() -> None:
    found = re.search(
        r"<!-- tables: begin[^\n]*-->\n\n(.*)\n\n<!-- tables: end -->", PAGE.read_text("utf-8"), re.DOTALL
    )
    assert found is not None
    assert found[1] == markdown()


def test_every_column_of_every_table_is_in_it() -> None:
    text = markdown()
    for model in models():
        assert f"## `{model.name}`\n" in text
        for column in model.columns:
            assert f"| `{column.name}` | {column.type} | {column.description} |" in text
            assert "|" not in column.description
