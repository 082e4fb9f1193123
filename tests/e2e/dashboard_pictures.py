"""Makes the pictures of the dashboard for the docs, of a practice week: ``python -m tests.e2e.dashboard_pictures``."""

from __future__ import annotations

import math
import sys
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from PIL import Image

from etl.hours import Hour, HourRange
from etl.practice.generator import write_hour
from tests.e2e.browsing import chromium, opened
from tests.e2e.running import etl

PICTURES: Final = Path(__file__).parents[2] / "docs/images"
WEEK: Final = HourRange(Hour.of(2024, 5, 13, 0), Hour.of(2024, 5, 19, 23))
_NOT_THERE: Final = {*range(30, 35), 100, 101, 140}
_SATURDAY: Final = 5


def hours() -> Iterator[tuple[Hour, int]]:
    """The hours of a week with a night and a weekend, each with its number of events."""
    for number, hour in enumerate(WEEK):
        if number in _NOT_THERE:
            continue
        busy = 260 + 140 * math.sin((hour.start.hour - 9) / 12 * math.pi)
        yield hour, int(busy * (0.6 if hour.start.weekday() >= _SATURDAY else 1))


def main() -> None:
    """Writes ``dashboard.png`` and ``dashboard-dark.png``."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        folder = Path(name)
        for hour, events in hours():
            write_hour(hour, folder / f"archive/{hour}.json.gz", events=events)
        for words in (("backfill", WEEK.first, WEEK.last, "--source", "archive"), ("build",), ("report",)):
            done = etl(folder, *words)
            sys.stdout.write(done.out)
        for scheme, picture in (("light", "dashboard.png"), ("dark", "dashboard-dark.png")):
            options = {"color_scheme": scheme, "viewport": {"width": 1400, "height": 1000}}
            with opened(browser, folder / "report.html", options=options) as tab:
                tab.page.wait_for_selector("html[data-ready]")
                tab.page.screenshot(path=PICTURES / picture, full_page=True)
            _shrink(PICTURES / picture)
    sys.stdout.write(f"made at {datetime.now(UTC):%Y-%m-%d %H:%M} in {PICTURES}\n")


def _shrink(path: Path) -> None:
    """Leaves 256 colours, which are enough for text and bars and a third of the bytes."""
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
