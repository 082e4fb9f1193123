"""Makes the pictures of the coverage page for the docs: ``python -m tests.e2e.coverage_pictures``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Final

from etl.report.coverage_page import render
from tests.e2e.browsing import chromium, opened
from tests.unit.report.samples import NOW, history

PICTURES: Final = Path(__file__).parents[2] / "docs/images"
_SHOWN: Final = "2021-10-13-9"
_SPENT: Final = "performance.getEntriesByType('measure').map(each => [each.name, each.duration])"


def main() -> None:
    """Writes ``coverage.png`` and ``coverage-dark.png``, and prints what the page took to draw."""
    text = render(history(), lake="gs://my-bucket/lake", now=NOW)
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, chromium() as browser:
        file = Path(folder) / "coverage.html"
        file.write_text(text, encoding="utf-8")
        for scheme, name in (("light", "coverage.png"), ("dark", "coverage-dark.png")):
            options = {"color_scheme": scheme, "viewport": {"width": 1500, "height": 1180}}
            with opened(browser, file, _SHOWN, options) as tab:
                tab.page.wait_for_selector("html[data-ready]")
                tab.page.evaluate("document.activeElement.blur(); scrollTo(0, 0)")
                tab.page.screenshot(path=PICTURES / name)
                spent = tab.page.evaluate(_SPENT)
            steps = ", ".join(f"{step} {milliseconds:.0f} ms" for step, milliseconds in spent)
            sys.stdout.write(f"{name}: page of {len(text.encode()):,} bytes, {steps}\n")


if __name__ == "__main__":
    main()
