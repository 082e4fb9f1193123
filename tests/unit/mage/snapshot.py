"""What the Mage project defines, as one text; ``python -m tests.unit.mage.snapshot`` writes it anew.

Mage's pages write into the project when they are used for editing. A change there that nobody meant shows as a
difference from this text, whatever file it is in.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

PROJECT: Final = Path(__file__).parents[3] / "mage_pipeline"
SNAPSHOT: Final = Path(__file__).with_name("definitions.json")
_MADE_BY_TOOLS: Final = {"__pycache__"}


def definitions() -> dict[str, Any]:
    """Every file of the project by its path: what YAML says, and the lines of all others."""
    found: dict[str, Any] = {}
    for path in sorted(PROJECT.rglob("*")):
        name = path.relative_to(PROJECT)
        if not path.is_file() or any(part in _MADE_BY_TOOLS or part.startswith(".") for part in name.parts):
            continue
        text = path.read_text(encoding="utf-8")
        if path.suffix == ".yaml" and path.parent != PROJECT:
            found[str(name)] = yaml.safe_load(text)
        else:
            found[str(name)] = text.splitlines()
    return found


def as_text() -> str:
    """The snapshot as it is stored."""
    return json.dumps(definitions(), indent=1, sort_keys=True, default=str, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    SNAPSHOT.write_text(as_text(), encoding="utf-8")
    sys.stdout.write(f"{SNAPSHOT} holds {len(definitions())} files\n")
