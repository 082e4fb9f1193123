"""The bare work of many hours: one process, one hour after the other, nothing around them.

Usage: ``python bare_hours.py SOURCE LAKE FROM TO``. It prints the seconds that the hours took after the first one, so
that starting up is not in it: what ``hours.py`` holds a backfill against.
"""

from __future__ import annotations

import sys
import time

from etl.archive.fetch import open_sources
from etl.archive.retry import FetchPolicy
from etl.events.emails import EmailPolicy
from etl.hour_pipeline import RunOptions, run_hour
from etl.hours import Hour, HourRange
from etl.lake.lake import Lake


def main() -> None:
    """Runs the hours that the arguments name."""
    source, place, first, last = sys.argv[1:]
    lake, sources = Lake.at(place), open_sources([source], FetchPolicy())
    options = RunOptions(emails=EmailPolicy.of("hash"))
    started = 0.0
    for number, hour in enumerate(HourRange(Hour.parse(first), Hour.parse(last))):
        if number == 1:
            started = time.perf_counter()
        run_hour(hour, lake=lake, sources=sources, options=options)
    print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
