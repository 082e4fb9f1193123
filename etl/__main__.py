"""Entry point of ``python etl`` and ``python -m etl``."""

import gc
import sys
from pathlib import Path

_OBJECTS_BETWEEN_COLLECTIONS = 100_000
"""Imports create many objects and little garbage. Collecting every 700 objects, Python's default, takes a tenth of the
time from start to first byte."""


def _start() -> int:
    """Runs the command line, after making ``etl`` importable if Python was started with the folder."""
    gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS)
    program = "python -m etl"
    if not __package__:
        # Python added the folder itself to sys.path, where its modules would shadow others of the same name.
        folder = Path(__file__).resolve().parent
        sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() != folder]
        sys.path.insert(0, str(folder.parent))
        program = "python etl"
    if sys.version_info < (3, 11):  # noqa: UP036 -- this is the message for older versions
        sys.stderr.write("error: Python 3.11 or newer is required, but this is " + sys.version.split()[0] + "\n")
        sys.stderr.write("hint: run `make setup` once, then use .venv/bin/python instead of python\n")
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
        # At exit, Python collects garbage among everything that was imported, which takes another tenth of a second.
        # Without that, DuckDB would report leaks on standard error.
        if "_duckdb" not in sys.modules:
            gc.freeze()


if __name__ == "__main__":
    sys.exit(_start())
