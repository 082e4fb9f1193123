"""What ``python etl`` and ``python -m etl`` start."""

import gc
import sys
from pathlib import Path

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Importing makes many objects and little garbage: looking for it every 700 objects, as Python does by default,
takes a tenth of the time from start to first byte."""


def _start() -> int:
    """Makes ``etl`` importable as a package, which it is not yet when Python was given the folder, and runs it."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    program = "python -m etl"
    if not __package__:
        # Python put the folder itself on the path, where our modules would shadow anyone's of the same name.
        folder = Path(__file__).resolve().parent
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
        sys.path.insert(0, str(folder.parent))
        program = "python etl"
    if sys.version_info < (3, 11):  # noqa: UP036 -- the point is to tell those who run it with an older one
        sys.stderr.write("error: Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "\n")
        sys.stderr.write("hint: run `make setup` once, then start with .venv/bin/python instead of python\n")
        return 2
    try:
        from etl.cli.main import main
    except ModuleNotFoundError as error:
        from etl.cli.missing_extras import explained

        usage_error = explained(error)
        if usage_error is None:
            raise
        sys.stderr.write(f"error: {usage_error.message}\nhint: {usage_error.hint}\n")
        return usage_error.exit_code
    try:
        return main(prog_name=program)
    finally:
        # Before it ends, Python looks for garbage in all that was ever imported, for another tenth of a second. DuckDB
        # writes to standard error, as leaks, what of its own is not looked for.
        if "_duckdb" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    sys.exit(_start())
