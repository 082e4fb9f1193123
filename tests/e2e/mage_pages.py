"""Walks through Mage's own pages in a browser, as a person does.

``python -m tests.e2e.mage_pages FOLDER`` starts a server on made-up hours and makes the pictures of the documentation.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Final

from playwright.sync_api import Page, expect

from etl.hours import Hour, HourRange
from etl.practice.server import Generated, PracticeServer
from tests.e2e.browsing import chromium
from tests.e2e.mage_server import OWNER, PASSWORD, serving

SIZE: Final = {"width": 1440, "height": 900}
_PATIENCE: Final = 90_000
_RELOADS: Final = 40
_DATE: Final = "YYYY-MM-DD HH:MM"


class Pages:
    """The pages of one server.

    Args:
        page: A page of a browser.
        address: The server.
    """

    def __init__(self, page: Page, address: str) -> None:
        page.set_default_timeout(_PATIENCE)
        self.page = page
        self._address = address

    def sign_in(self) -> None:
        """Signs the owner in."""
        self.page.goto(f"{self._address}/sign-in")
        self.page.get_by_placeholder("Email").fill(OWNER)
        self.page.get_by_placeholder("Password").fill(PASSWORD)
        self.page.get_by_role("button").filter(has_text="Sign into Mage").click()
        self.page.wait_for_url("**/overview**")

    def pipelines(self, *names: str) -> None:
        """Looks at the list of pipelines, until all of these are in it."""
        self.page.goto(f"{self._address}/pipelines")
        self._await_texts(names)

    def graph(self, pipeline: str, *blocks: str) -> None:
        """Opens a pipeline's graph, until all of these blocks are in it."""
        self.page.goto(f"{self._address}/pipelines/{pipeline}/edit")
        self._await_texts(blocks)
        self.page.get_by_text("Tree", exact=True).first.wait_for()

    def start_backfill(self, hours: HourRange) -> None:
        """Makes a backfill by the form, and presses the button that starts it."""
        self.page.goto(f"{self._address}/pipelines/gharchive_hour/backfills")
        self.page.get_by_text("Create new backfill").click()
        self.page.wait_for_url("**/backfills/*/edit")
        # The form fills in a name of its own once it has loaded.
        self.page.locator("input[placeholder='Name this backfill']:not([value=''])").wait_for()
        self._pick(0, hours.first.date, hours.first.hour)
        self._pick(1, hours.last.date, hours.last.hour)
        self.page.locator("select").first.select_option("hour")
        self.page.locator("input[type=number]").first.fill("1")
        self.page.get_by_text("Save changes").click()
        self.page.get_by_text("Start backfill").click()

    def await_done(self, runs: int) -> None:
        """Waits until the page of the backfill shows so many runs that are done, and that nothing is left to cancel."""
        self.page.get_by_text("3 / 3").nth(runs - 1).wait_for()
        # The scheduler notes a backfill's end after that of its runs, and the page has to be loaded again to show it.
        for _ in range(_RELOADS):
            self.page.reload()
            self.page.get_by_text("3 / 3").nth(runs - 1).wait_for()
            if not self.page.get_by_text("Cancel backfill").count():
                return
            self.page.wait_for_timeout(2_000)
        raise AssertionError("the backfill can be cancelled still")

    def _pick(self, place: int, date: str, hour: int) -> None:
        year, month, day = map(int, date.split("-"))
        self.page.get_by_placeholder(_DATE).nth(place).click()
        label = self.page.locator(".react-calendar__navigation__label")
        label.wait_for()
        shown = _month(label.inner_text())
        back = shown - (12 * year + month - 1)
        for _ in range(back // 12):
            self.page.locator(".react-calendar__navigation__prev2-button").click()
        for _ in range(back % 12):
            self.page.locator(".react-calendar__navigation__prev-button").click()
        self.page.get_by_label(f"{_MONTHS[month - 1]} {day}, {year}", exact=True).click()
        self.page.locator("select").first.select_option(f"{hour:02}")
        # A click beside it closes the calendar.
        self.page.mouse.click(1200, 200)
        expect(self.page.get_by_placeholder(_DATE).nth(place)).to_have_value(f"{date} {hour:02}:00", timeout=_PATIENCE)

    def _await_texts(self, texts: tuple[str, ...]) -> None:
        for text in texts:
            self.page.get_by_text(text, exact=True).first.wait_for()


_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def _month(title: str) -> int:
    """Months since the year 0, of a title such as ``November 2026``."""
    found = re.fullmatch(r"(?P<month>[A-Z][a-z]+) (?P<year>\d{4})", title.strip())
    assert found is not None, title
    return 12 * int(found["year"]) + _MONTHS.index(found["month"])


def _make_pictures(folder: Path) -> None:
    hours = HourRange(Hour.parse("2019-02-28-22"), Hour.parse("2019-03-01-3"))
    with (
        tempfile.TemporaryDirectory() as scratch,
        PracticeServer(Generated(hours, events=500), manifests=True) as archive,
        serving(Path(scratch), archive.address) as server,
        chromium() as browser,
    ):
        walk = Pages(browser.new_context(viewport=SIZE, locale="en-US").new_page(), server.address)  # type: ignore[arg-type]  # a dict
        walk.sign_in()
        walk.pipelines("gharchive_hour", "gharchive_all")
        walk.page.screenshot(path=folder / "mage-pipelines.png")
        walk.graph("gharchive_hour", "fetch_hour", "enforce_schema", "publish_hour")
        walk.page.wait_for_timeout(2_000)
        walk.page.screenshot(path=folder / "mage-graph.png")
        walk.start_backfill(hours)
        walk.await_done(len(hours))
        walk.page.screenshot(path=folder / "mage-backfill.png")


if __name__ == "__main__":
    _make_pictures(Path(sys.argv[1]))
