"""The coverage page in a real browser: what a person sees, points at, types and filters."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Page, expect

from etl.hours import Hour
from etl.practice.generator import write_hour
from etl.report.coverage_page import render
from tests.e2e.browsing import chromium, opened
from tests.e2e.running import etl
from tests.unit.report.samples import NOW, history, row, table

HOSTILE: Final = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
FIRST: Final = Hour.of(2020, 7, 1, 0)
LAST: Final = Hour.of(2021, 12, 31, 23)
HOLE: Final = "2020-08-22-3"
COLLAPSED: Final = "2021-10-07-5"
LEVELS: Final = ("fit", "12", "6", "3", "1")
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "has_touch": True}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a year and a half with holes, a collapse and odd hours."""
    return saved(tmp_path_factory.mktemp("page"), history(FIRST, LAST))


def saved(folder: Path, coverage: Any) -> Path:
    file = folder / "coverage.html"
    file.write_text(render(coverage, lake="gs://bucket/lake", now=NOW), encoding="utf-8")
    return file


def ready(page: Page) -> Page:
    page.wait_for_selector("html[data-ready]")
    return page


def square(page: Page, hour: str) -> tuple[float, float]:
    """The middle of an hour's square in the window, found by the page's own address for it; closes the details."""
    page.evaluate("hour => { location.hash = ''; location.hash = hour; }", hour)
    expect(page.locator("#card h3")).to_have_text(hour)
    box = page.locator("#cursor").bounding_box()
    assert box is not None
    page.keyboard.press("Escape")
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def pixel(page: Page, place: tuple[float, float]) -> str:
    """The colour drawn at a place of the window, as a style sheet writes it."""
    colour: str = page.evaluate(
        """([x, y]) => {
          const canvas = document.elementFromPoint(x, y);
          const box = canvas.getBoundingClientRect();
          const scale = canvas.width / box.width;
          const copy = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, -Math.floor((x - box.left) * scale), -Math.floor((y - box.top) * scale));
          const [red, green, blue] = copy.getImageData(0, 0, 1, 1).data;
          return `rgb(${red}, ${green}, ${blue})`;
        }""",
        place,
    )
    return colour


def legend(page: Page, status: str) -> str:
    colour: str = page.locator(f".chip .swatch.{status}").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
    return colour


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_squares_have_the_colour_of_their_status(browser: Browser, file: Path, scheme: str) -> None:
    with opened(browser, file, options={"color_scheme": scheme}) as tab:
        page = ready(tab.page)

        for level in LEVELS:
            page.select_option("#level", level)
            for hour, status in ((HOLE, "missing"), (COLLAPSED, "suspect"), ("2020-07-01-2", "complete")):
                assert pixel(page, square(page, hour)) == legend(page, status)


def test_the_theme_can_be_chosen(browser: Browser, file: Path) -> None:
    with opened(browser, file, options={"color_scheme": "light"}) as tab:
        page = ready(tab.page)
        before = legend(page, "complete")
        page.click("#theme")
        page.click("#theme")

        expect(page.locator("#theme")).to_have_text("Theme: dark")
        assert legend(page, "complete") != before
        assert pixel(page, square(page, "2020-07-01-2")) == legend(page, "complete")


@pytest.mark.parametrize("level", LEVELS)
def test_pointing_at_a_square_shows_its_hour(browser: Browser, file: Path, level: str) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        page.select_option("#level", level)

        for hour in (HOLE, COLLAPSED, "2020-07-01-0", "2021-01-31-23", "2021-03-01-0", "2021-12-31-23"):
            place = square(page, hour)
            expect(page.locator("#card")).to_be_hidden()
            page.mouse.move(*place)
            expect(page.locator("#card h3")).to_have_text(hour)


def test_the_details_of_an_hour(browser: Browser, file: Path) -> None:
    with opened(browser, file, HOLE) as tab:
        page = ready(tab.page)
        card = page.locator("#card")

        expect(card).to_contain_text("missing")
        expect(card).to_contain_text(f"404 at https://data.gharchive.org/{HOLE}.json.gz")
        expect(card).to_contain_text("gharchive.org/issues/232")
        expect(card).to_contain_text("2026-11-26 12:30 (in 5 days)")

        page.mouse.move(*square(page, "2020-07-01-2"))
        expect(card).to_contain_text("PushEvent")
        expect(card).to_contain_text("e-mails: hash")
        expect(card).to_contain_text("of the year's median")


def test_details_go_with_the_pointer_and_stay_after_a_click(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        x, y = square(page, COLLAPSED)
        page.mouse.move(x, y)
        expect(page.locator("#card")).to_be_visible()
        page.mouse.move(3, 3)
        expect(page.locator("#card")).to_be_hidden()

        page.mouse.click(x, y)
        page.mouse.move(3, 3)
        expect(page.locator("#card h3")).to_have_text(COLLAPSED)
        assert page.url.endswith(f"#{COLLAPSED}")

        page.click("#card button")
        expect(page.locator("#card")).to_be_hidden()


def test_a_filter_dims_the_rest_and_shortens_the_list(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        rows = page.locator("#list tbody tr")
        everything = rows.count()

        page.click(".chip[data-status=missing]")
        expect(page.locator(".chip[data-status=missing]")).to_have_attribute("aria-pressed", "true")
        assert pixel(page, square(page, COLLAPSED)) not in {legend(page, "suspect"), legend(page, "complete")}
        assert pixel(page, square(page, HOLE)) == legend(page, "missing")
        expect(rows).to_have_count(2)
        expect(rows.first).to_contain_text("2021-10-25-4 to 2021-10-30-11")
        expect(rows.first).to_contain_text("known gap: https://github.com/igrigorik/gharchive.org/issues/261")

        page.click("#clear")
        assert pixel(page, square(page, COLLAPSED)) == legend(page, "suspect")
        expect(rows).to_have_count(everything)


def test_hours_alike_but_for_figures_are_one_row_of_the_list(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        page.click(".chip[data-status=suspect]")

        rows = page.locator("#list tbody tr")
        expect(rows).to_have_count(2)
        expect(rows.last).to_contain_text("2021-10-07-0 to 2021-10-25-3")
        expect(rows.last).to_contain_text("the others differ in figures")

        rows.last.locator("button").click()
        expect(page.locator("#card h3")).to_have_text("2021-10-07-0")
        expect(page.locator("#map")).to_be_focused()


def test_the_keyboard_reaches_every_hour(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        title, spoken = page.locator("#card h3"), page.locator("#spoken")
        page.locator("#jump button").focus()
        page.keyboard.press("Tab")
        if not page.locator("#map").evaluate("map => map === document.activeElement"):
            page.keyboard.press("Tab")  # over the summary of the keys
        expect(page.locator("#map")).to_be_focused()
        expect(title).to_have_text("2021-12-31-23")

        for key, hour in (
            ("ArrowUp", "2021-12-31-22"),
            ("ArrowLeft", "2021-12-30-22"),
            ("ArrowDown", "2021-12-30-23"),
            ("ArrowDown", "2021-12-31-0"),
            ("PageUp", "2021-12-03-0"),
            ("ArrowRight", "2021-12-04-0"),
            ("Home", "2020-07-01-0"),
            ("ArrowLeft", "2020-07-01-0"),
            ("End", "2021-12-31-23"),
        ):
            page.keyboard.press(key)
            expect(title).to_have_text(hour)
            expect(spoken).to_contain_text(f"{hour}: ")

        page.click(".chip[data-status=missing]")
        page.locator("#map").focus()
        page.keyboard.press("Home")
        for key, hour in (("n", "2020-08-21-9"), ("n", "2021-10-25-4"), ("n", "2021-10-25-4"), ("p", "2020-08-23-15")):
            page.keyboard.press(key)
            expect(title).to_have_text(hour)
        expect(spoken).to_contain_text("missing")

        page.keyboard.press("Enter")
        page.locator("#day").focus()
        expect(title).to_be_visible()
        page.keyboard.press("Escape")
        expect(page.locator("#card")).to_be_hidden()


@pytest.mark.parametrize(
    ("day", "hour"), [("2021-10-07", "2021-10-07-0"), ("2020-06-30", None), ("2022-01-01", None), ("", None)]
)
def test_jumping_to_a_day(browser: Browser, file: Path, day: str, hour: str | None) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        page.fill("#day", day)
        page.click("#jump button")

        if hour is None:
            expect(page.locator("#card")).to_be_hidden()
        else:
            expect(page.locator("#card h3")).to_have_text(hour)
            expect(page.locator("#cursor")).to_be_in_viewport()


def test_volume_is_a_second_way_to_colour(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        expect(page.locator("#ramp")).to_be_hidden()
        page.select_option("#colour", "volume")

        expect(page.locator("#ramp")).to_be_visible()
        low = page.locator("#ramp .volume-0").evaluate("swatch => getComputedStyle(swatch).backgroundColor")
        assert pixel(page, square(page, COLLAPSED)) == low


def test_the_page_of_a_lake_that_was_made_by_hand(browser: Browser, tmp_path: Path) -> None:
    hour = Hour.of(2015, 1, 1, 15)
    write_hour(hour, tmp_path / f"archive/{hour}.json.gz", events=321)
    for at in (hour, hour + 1):
        etl(tmp_path, "--at", at, "--source", "archive", "--lake", "lake")

    done = etl(tmp_path, "status", "2015-01-01", "2015-01-02", "--lake", "lake", "--html", "coverage.html")

    assert (done.code, done.err) == (0, "")
    with opened(browser, tmp_path / "coverage.html", str(hour)) as tab:
        page = ready(tab.page)
        expect(page.locator("#card")).to_contain_text("complete")
        expect(page.locator("#card")).to_contain_text("321")
        expect(page.locator(".chip[data-status=missing]")).to_contain_text("1")
        expect(page.locator(".chip[data-status=absent]")).to_contain_text("46")


def test_nothing_of_the_lake_runs(browser: Browser, tmp_path: Path) -> None:
    hostile = dict.fromkeys(("reason", "hole", "source", "era", "emails"), HOSTILE)
    types = f'{{"{HOSTILE.replace(chr(34), chr(39))}": 3}}'
    rows = [row("2015-01-01-0", "partial", **hostile, types=types), row("2015-01-01-1", "complete")]

    with opened(browser, saved(tmp_path, table(rows)), "2015-01-01-0") as tab:
        page = ready(tab.page)

        expect(page.locator("#card > p")).to_have_text(HOSTILE)
        expect(page.locator("#list tbody")).to_contain_text(HOSTILE)
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0


def test_without_its_script_the_page_still_has_its_totals(browser: Browser, file: Path) -> None:
    with opened(browser, file, options={"java_script_enabled": False}) as tab:
        expect(tab.page.locator("#totals tbody tr")).to_have_count(2)
        expect(tab.page.locator("#trouble noscript p")).to_contain_text("turned off")
        expect(tab.page.locator("#trouble")).to_be_visible()
        expect(tab.page.locator("#map")).to_be_hidden()


def test_the_page_claims_no_failure_while_it_loads(browser: Browser, file: Path, tmp_path: Path) -> None:
    loading = tmp_path / "loading.html"
    loading.write_text(file.read_text(encoding="utf-8").partition('<script type="application')[0], encoding="utf-8")

    with opened(browser, loading) as tab:
        expect(tab.page.locator("#trouble")).to_contain_text("are drawn by this page's own script")
        expect(tab.page.locator("#trouble noscript p")).to_have_count(0)


@pytest.mark.parametrize("width", [320, 400])
def test_a_narrow_window_needs_no_sideways_scrolling(browser: Browser, tmp_path: Path, width: int) -> None:
    page = tmp_path / "narrow.html"
    text = render(history(FIRST, LAST), lake="gs://bucket/" + "long/" * 20, now=NOW, dashboard="report.html")
    page.write_text(text, encoding="utf-8")

    with opened(browser, page, options={"viewport": {"width": width, "height": 800}}) as tab:
        assert ready(tab.page).evaluate("document.documentElement.scrollWidth") <= width


def test_a_page_that_was_cut_short_says_so(browser: Browser, file: Path, tmp_path: Path) -> None:
    whole = file.read_text(encoding="utf-8")
    short = tmp_path / "short.html"
    short.write_text(re.sub(r'(id="packed">.{4000})[^<]*', r"\1", whole), encoding="utf-8")

    with opened(browser, short) as tab:
        expect(tab.page.locator("#trouble")).to_contain_text("changed or cut short")
        expect(tab.page.locator("#totals tbody tr")).to_have_count(2)


@pytest.mark.parametrize("rows", [[], [row("2015-01-01-15", "complete")]])
def test_small_lakes_have_a_page(browser: Browser, tmp_path: Path, rows: list[dict[str, Any]]) -> None:
    with opened(browser, saved(tmp_path, table(rows))) as tab:
        expect(tab.page.locator("canvas")).to_have_count(len(rows))
        expect(tab.page.locator("h1")).to_be_visible()


def test_a_telephone_needs_no_sideways_scrolling(browser: Browser, file: Path) -> None:
    with opened(browser, file, options=PHONE) as tab:
        page = ready(tab.page)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")

        page.touchscreen.tap(*square(page, COLLAPSED))
        expect(page.locator("#card h3")).to_be_visible()
        expect(page.locator("#card")).to_be_in_viewport(ratio=1)


def test_a_telephone_shows_whole_rows_of_the_list(browser: Browser, file: Path) -> None:
    with opened(browser, file, options=PHONE) as tab:
        row = ready(tab.page).locator("#list tbody tr").first
        row.scroll_into_view_if_needed()

        for cell in row.locator("td:not(:empty)").all():
            expect(cell).to_be_in_viewport(ratio=1)


def test_a_window_that_grows_is_filled_again(browser: Browser, file: Path) -> None:
    with opened(browser, file) as tab:
        page = ready(tab.page)
        narrow = page.locator("canvas").first.bounding_box()
        page.set_viewport_size({"width": 1700, "height": 900})

        expect(page.locator("canvas").first).not_to_have_css("width", f"{narrow and narrow['width']:g}px")
        assert pixel(page, square(page, HOLE)) == legend(page, "missing")


def test_fifteen_years_are_drawn_to_the_last_square(browser: Browser, tmp_path: Path) -> None:
    with opened(browser, saved(tmp_path, history())) as tab:
        page = ready(tab.page)

        expect(page.locator("#years section")).to_have_count(16)
        expect(page.locator("#trouble")).to_be_hidden()
        for hour, status in (("2011-02-12-0", "complete"), ("2017-04-01-4", "absent"), ("2026-11-21-11", "pending")):
            assert pixel(page, square(page, hour)) == legend(page, status)
