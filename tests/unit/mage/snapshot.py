"""What the Mage project defines, as one text; ``python -m tests.unit.mage.snapshot --write`` writes it.

Mage's pages write into the project when they are used for editing. A change there that nobody meant shows as a
difference from this text, whatever file it is in.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from etl.plural import plural

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


def main() -> int:
    """Compares the snapshot with the project, or writes it.

    Returns:
        The exit code: 1 if the snapshot is not current.
    """
    parser = argparse.ArgumentParser(
        prog="python -m tests.unit.mage.snapshot", description="Compares the snapshot with the project, or writes it."
    )
    parser.add_argument("--write", action="store_true", help="write the snapshot; without it, nothing is changed")
    if parser.parse_args().write:
        SNAPSHOT.write_text(as_text(), encoding="utf-8")
        sys.stdout.write(f"{SNAPSHOT} holds {plural(len(definitions()), 'file')}\n")
        return 0
    if SNAPSHOT.read_text(encoding="utf-8") == as_text():
        sys.stdout.write("the snapshot is current\n")
        return 0
    sys.stdout.write("the snapshot is not current; --write writes it\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
