"""The dashboard in a real browser: what it says, under every filter, is what DuckDB counts in the raw JSON."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest
from playwright.sync_api import Browser, Page, expect

from etl.hours import Hour, HourRange
from etl.practice.generator import write_archive
from etl.report.dashboard import render
from tests.e2e.browsing import chromium, opened
from tests.e2e.running import etl
from tests.unit.report.cubes import HOUR, cube_of, event

NOW: Final = datetime(2026, 11, 21, 12, 30, tzinfo=UTC)
MISSING: Final = Hour.of(2024, 5, 14, 7)
HOSTILE: Final = '</script><script>window.hacked = 1</script><img src=x onerror="window.hacked = 1">'
PHONE: Final = {"viewport": {"width": 390, "height": 844}, "device_scale_factor": 3, "has_touch": True}
WEEKDAYS: Final = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
TOP: Final = 10

OVERLAPS: Final = """() => [...document.querySelectorAll(".chart .role-axis-label")].flatMap((axis) => {
  const shown = [...axis.querySelectorAll("text")].filter((label) => getComputedStyle(label).opacity > 0);
  const boxes = shown.map((label) => [label.textContent, label.getBoundingClientRect()]);
  return boxes.flatMap(([one, a], i) => boxes.slice(i + 1)
    .filter(([, b]) => a.left < b.right && b.left < a.right && a.top + 2 < b.bottom && b.top + 2 < a.bottom)
    .map(([other]) => [one, other]));
})"""

RAW: Final = """
CREATE TABLE raw AS
WITH told AS (
  SELECT DISTINCT ON (id, type, created_at)
    type, actor.id AS actor_id, actor.login AS login, repo.id AS repo_id, repo.name AS name, created_at AS happened,
    payload ->> '$.action' AS action, payload ->> '$.pull_request.merged' AS merged
  FROM read_json(
    $files, format = 'newline_delimited', maximum_object_size = 100000000,
    columns = {id: 'VARCHAR', type: 'VARCHAR', actor: 'STRUCT(id BIGINT, login VARCHAR)',
               repo: 'STRUCT(id BIGINT, name VARCHAR)', payload: 'JSON', created_at: 'TIMESTAMPTZ'}
  )
)
SELECT
  type, action, happened, login ILIKE '%[bot]' AS bot,
  ARG_MAX(login, happened) OVER (PARTITION BY actor_id) AS actor,
  ARG_MAX(name, happened) OVER (PARTITION BY repo_id) AS repository,
  CASE
    WHEN type != 'PullRequestEvent' THEN NULL
    WHEN action = 'merged' OR (action = 'closed' AND merged = 'true') THEN 'merged'
    WHEN action = 'closed' AND merged = 'false' THEN 'unmerged'
    WHEN action = 'closed' THEN 'unknown'
  END AS outcome
FROM told
"""


@dataclass(frozen=True)
class Made:
    """A page that the program made, and the raw JSON of its last day to count by hand.

    Attributes:
        file: The page.
        raw: A DuckDB with the table ``raw``, one row an event of that day.
        day: The day.
        complete: How many of its hours are in the lake.
    """

    file: Path
    raw: duckdb.DuckDBPyConnection
    day: date
    complete: int


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def practice(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Two practice days of 2024, some hours of each; one hour is missing."""
    folder = tmp_path_factory.mktemp("practice")
    early = HourRange(Hour.of(2024, 5, 13, 22), Hour.of(2024, 5, 13, 23))
    late = HourRange(Hour.of(2024, 5, 14, 5), Hour.of(2024, 5, 14, 9))
    write_archive([hour for hour in (*early, *late) if hour != MISSING], folder / "archive", events=300)
    return made(folder, folder / "archive", [*early, *late], day=date(2024, 5, 14), complete=len(late) - 1)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, real_data: Path) -> Made:
    """The five real hours, of three of the eras; those of 2015 can be read without knowing any history."""
    archive = real_data / "archive"
    hours = [Hour.parse(path.name.removesuffix(".json.gz")) for path in sorted(archive.glob("*.json.gz"))]
    return made(tmp_path_factory.mktemp("real"), archive, hours, day=date(2015, 1, 1), complete=3)


def made(folder: Path, archive: Path, hours: list[Hour], *, day: date, complete: int) -> Made:
    for hour in hours:
        etl(folder, "--at", hour, "--source", archive, "--lake", "lake")
    for words in (("build", "--lake", "lake"), ("report", "--out", "report.html")):
        done = etl(folder, *words, "--warehouse", "warehouse")
        assert done.code == 0, done.err
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute(RAW, {"files": [str(path) for path in archive.glob(f"{day}-*.json.gz")]})
    connection.execute("DELETE FROM raw WHERE happened::DATE != ?", [day])
    return Made(folder / "report.html", connection, day, complete)


@pytest.fixture(params=["practice", "real"])
def page_and_raw(request: pytest.FixtureRequest, browser: Browser) -> Iterator[tuple[Page, Made]]:
    """The page, with its last day chosen."""
    found: Made = request.getfixturevalue(request.param)
    with opened(browser, found.file) as tab:
        page = ready(tab.page)
        choose(page, "from", str(found.day))
        choose(page, "to", str(found.day))
        yield page, found


def ready(page: Page) -> Page:
    page.wait_for_selector("html[data-ready]")
    return page


def choose(page: Page, field: str, value: str) -> None:
    """Sets a filter as a person does, and waits until the charts have followed."""
    if page.locator(f"#{field}").evaluate("element => element.tagName") == "SELECT":
        page.select_option(f"#{field}", value)
    else:
        page.fill(f"#{field}", value)
        page.locator(f"#{field}").blur()
    ready(page)


def figures(page: Page, card: str) -> list[list[str]]:
    """The table below a chart."""
    rows: list[list[str]] = page.locator(f"#{card} tbody tr").evaluate_all(
        "rows => rows.map((row) => [...row.cells].map((cell) => cell.textContent))"
    )
    return rows


def text(page: Page, place: str) -> str:
    return page.locator(place).inner_text()


def asked(found: Made, query: str, where: str = "true", values: Any = ()) -> list[list[str]]:
    """What DuckDB answers, as the page writes it."""
    rows = found.raw.execute(query.replace("{where}", where), list(values)).fetchall()
    return [[f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row] for row in rows]


def one(found: Made, query: str) -> str:
    ((value,),) = found.raw.execute(query).fetchall()
    return str(value)


def compare(page: Page, found: Made, where: str = "true", values: Any = ()) -> None:
    """Compares all figures of the page with SQL over the raw JSON."""

    def sql(query: str) -> list[list[str]]:
        return asked(found, query, where, values)

    ((total, merged, users, bots),) = sql(
        "SELECT COUNT(*), COUNT(*) FILTER (outcome = 'merged'), COUNT(DISTINCT actor), COUNT(*) FILTER (bot) "
        "FROM raw WHERE {where}"
    )
    assert (text(page, "#total"), text(page, "#merged"), text(page, "#users")) == (total, merged, users)
    assert text(page, "#bots-note").split()[0] == bots
    types = sql("SELECT type, COUNT(*) FROM raw WHERE {where} GROUP BY 1 ORDER BY 2 DESC, 1")
    assert sorted(row[:2] for row in figures(page, "types")) == sorted(types)
    contributors = sql("SELECT actor, COUNT(*) AS n FROM raw WHERE {where} GROUP BY 1 ORDER BY n DESC, 1 COLLATE C")
    assert figures(page, "contributors")[:TOP] == contributors[:TOP]
    repositories = sql(
        "SELECT repository, COUNT(*) AS n FROM raw WHERE {where} GROUP BY 1 ORDER BY n DESC, 1 COLLATE C"
    )
    assert figures(page, "repos")[:TOP] == repositories[:TOP]
    actions = sql("SELECT actor, action, COUNT(*) FROM raw WHERE {where} AND action IS NOT NULL GROUP BY ALL")
    shown = figures(page, "actions")
    assert {tuple(row) for row in shown} <= {tuple(row) for row in actions}
    assert len(shown) == min(len(actions), 500)
    week = sql(
        "SELECT ISODOW(happened) - 1, HOUR(happened), COUNT(*) FROM raw WHERE {where} GROUP BY 1, 2 ORDER BY 1, 2",
    )
    assert [row[:3] for row in figures(page, "week") if row[2] != "0"] == [
        [WEEKDAYS[int(day)], hour, count] for day, hour, count in week
    ]
    timeline = sql(
        "SELECT STRFTIME(DATE_TRUNC('hour', happened), '%Y-%m-%d %H:%M'), COUNT(*) FROM raw WHERE {where} GROUP BY 1"
    )
    assert [row[:2] for row in figures(page, "timeline")] == sorted(timeline)
    pulls = sql(
        "SELECT STRFTIME(DATE_TRUNC('hour', happened), '%Y-%m-%d %H:%M'), COUNT(*) FILTER (outcome = 'merged'), "
        "COUNT(*) FILTER (outcome = 'unmerged'), COUNT(*) FILTER (outcome = 'unknown') "
        "FROM raw WHERE {where} AND outcome IS NOT NULL GROUP BY 1"
    )
    assert figures(page, "pulls") == sorted(pulls)
    by_bots = sql("SELECT type, COUNT(*) FILTER (bot), COUNT(*) FROM raw WHERE {where} GROUP BY 1")
    assert sorted(row[:3] for row in figures(page, "bots")) == sorted(by_bots)


def test_every_figure_is_what_sql_counts_in_the_raw_json(page_and_raw: tuple[Page, Made]) -> None:
    page, found = page_and_raw

    compare(page, found)
    for card in ("timeline", "types", "week", "bots", "contributors", "actions", "repos", "pulls"):
        assert f"{found.complete} of 24 hours complete" in text(page, f"#{card} .basis")
    assert text(page, "#complete-note") == f"{found.complete} of 24"


def test_charts_follow_the_filters(page_and_raw: tuple[Page, Made]) -> None:
    page, found = page_and_raw
    actor = one(found, "SELECT actor FROM raw GROUP BY 1 ORDER BY COUNT(*) DESC, 1 LIMIT 1")
    repository = one(
        found, "SELECT repository FROM raw WHERE type = 'PullRequestEvent' GROUP BY 1 ORDER BY COUNT(*) DESC, 1 LIMIT 1"
    )

    choose(page, "type", "PullRequestEvent")
    compare(page, found, "type = 'PullRequestEvent'")
    choose(page, "repository", repository)
    compare(page, found, "type = 'PullRequestEvent' AND repository = ?", [repository])
    choose(page, "type", "")
    choose(page, "repository", "")
    choose(page, "actor", actor.upper())
    compare(page, found, "actor = ?", [actor])
    choose(page, "actor", "")
    choose(page, "who", "people")
    compare(page, found, "NOT bot")
    page.click("#reset")
    expect(page.locator("#from")).not_to_have_value(str(found.day))


@pytest.mark.parametrize(
    ("measure", "condition"),
    [
        ("stars", "type = 'WatchEvent'"),
        ("forks", "type = 'ForkEvent'"),
        ("pushes", "type = 'PushEvent'"),
        ("merged", "outcome = 'merged'"),
    ],
)
def test_repositories_can_be_ranked_by(page_and_raw: tuple[Page, Made], measure: str, condition: str) -> None:
    page, found = page_and_raw
    choose(page, "measure", measure)

    ranked = "SELECT repository, COUNT(*) AS n FROM raw WHERE {where} GROUP BY 1 ORDER BY n DESC, 1 COLLATE C LIMIT 10"
    assert figures(page, "repos")[:TOP] == asked(found, ranked, condition)


def test_the_figures_that_the_real_hours_are_known_by(browser: Browser, real: Made) -> None:
    with opened(browser, real.file, "from=2015-01-01&to=2015-01-01") as tab:
        page = ready(tab.page)
        rows = {row[0]: row[1] for row in figures(page, "timeline")}
        assert rows["2015-01-01 15:00"] == "11,351"
        choose(page, "type", "PushEvent")
        assert {row[0]: row[1] for row in figures(page, "timeline")}["2015-01-01 15:00"] == "5,815"
        page.click("#reset")
        expect(page.locator("#total")).to_have_text("33,412")


def test_all_of_it_can_be_done_with_the_keyboard(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file) as tab:
        page = ready(tab.page)
        page.locator("#contributors summary").focus()
        page.keyboard.press("Enter")
        first = page.locator("#contributors tbody button").first
        name = first.inner_text()
        first.focus()
        page.keyboard.press("Enter")
        ready(page)

        expect(page.locator("#actor")).to_have_value(name)
        expect(page.locator("#contributors tbody tr")).to_have_count(1)
        expect(page.locator("#spoken")).to_contain_text("for these filters")
        assert "actor=" in page.url

        page.locator("#reset").focus()
        page.keyboard.press("Enter")
        expect(page.locator("#actor")).to_have_value("")
        assert "#" not in page.url


def test_a_slice_and_a_bar_are_filters(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file) as tab:
        page = ready(tab.page)
        page.locator("#repos .mark-rect path").first.hover()
        expect(page.locator("#tip b")).to_have_text(figures(page, "repos")[0][0])
        page.locator("#repos .mark-rect path").first.click()
        expect(page.locator("#repository")).to_have_value(figures(page, "repos")[0][0])
        page.locator("#types svg").click(position={"x": 123, "y": 30})  # right of the top, where the largest begins
        expect(page.locator("#type")).not_to_have_value("")


def test_a_name_that_is_not_there_is_a_complaint(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file) as tab:
        page = ready(tab.page)
        before = text(page, "#total")
        choose(page, "actor", "nobody-of-this-name")

        expect(page.locator("#spoken")).to_contain_text("There is no user “nobody-of-this-name”")
        assert text(page, "#total") == before


def test_the_address_remembers_the_filters(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file, "type=PushEvent&who=bots&measure=pushes") as tab:
        page = ready(tab.page)
        expect(page.locator("#type")).to_have_value("PushEvent")
        expect(page.locator("#who")).to_have_value("bots")
        expect(page.locator("#measure")).to_have_value("pushes")
        assert len(figures(page, "types")) == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_can_be_read_in_light_and_dark(browser: Browser, practice: Made, scheme: str) -> None:
    with opened(browser, practice.file, options={"color_scheme": scheme}) as tab:
        page = ready(tab.page)
        paper, ink = page.evaluate(
            """() => {
              const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
              const bright = (colour) => parts(colour).reduce((sum, part) => sum + part, 0);
              const label = document.querySelector("#contributors .role-axis-label text");
              return [getComputedStyle(document.querySelector(".card")).backgroundColor, getComputedStyle(label).fill]
                .map(bright);
            }"""
        )
        assert abs(paper - ink) > 400
        page.click("#theme")
        page.click("#theme")
        expect(page.locator("#theme")).to_have_text("Theme: dark")


def test_nothing_of_the_warehouse_runs(browser: Browser, tmp_path: Path) -> None:
    cube = cube_of(
        event(1, type=HOSTILE, action=HOSTILE, actor=HOSTILE, repository=HOSTILE),
        event(2, type="PushEvent", actor="{{ constructor }}", repository="__proto__"),
    )
    file = tmp_path / "hostile.html"
    file.write_text(render(cube, warehouse=HOSTILE, now=NOW), encoding="utf-8")

    with opened(browser, file) as tab:
        page = ready(tab.page)
        assert figures(page, "contributors")[0] == ["{{ constructor }}", "2"]
        assert figures(page, "contributors")[1] == [HOSTILE, "1"]
        assert page.evaluate("window.hacked") is None
        assert page.locator("img").count() == 0


def test_the_hours_of_the_week_are_means_of_stored_hours(browser: Browser, tmp_path: Path) -> None:
    statuses = ["complete", "missing", "partial", *["absent"] * 165, "complete"]
    cube = cube_of(
        *(event(number, hour=HOUR + step) for number, step in ((6, 0), (5, 1), (3, 2), (4, 168), (9, 169))),
        statuses=tuple(statuses),
        days=8,
    )
    file = tmp_path / "week.html"
    file.write_text(render(cube, warehouse="warehouse", now=NOW), encoding="utf-8")

    with opened(browser, file) as tab:
        page = ready(tab.page)
        # 2015 began on a Thursday; its second hour has late events only, and so has the hour after the last.
        assert figures(page, "week") == [["Thu", "0", "10", "2", "5"], ["Thu", "2", "3", "1", "3"]]
        assert "Left out: 14 events of hours that are not stored." in text(page, "#week .aside")
        assert text(page, "#total") == "27"


def test_the_page_claims_no_failure_while_it_loads(browser: Browser, practice: Made, tmp_path: Path) -> None:
    # The page as it is before its script has run: all of it but the script.
    loading = tmp_path / "loading.html"
    whole = practice.file.read_text(encoding="utf-8")
    loading.write_text(whole.partition('<script type="application/octet-stream"')[0], encoding="utf-8")

    with opened(browser, loading) as tab:
        expect(tab.page.locator("#trouble")).to_have_text(re.compile("are drawn by this page's own script"))
        expect(tab.page.locator("#trouble noscript p")).to_have_count(0)


def test_without_its_script_the_page_has_events_by_type(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file, options={"java_script_enabled": False}) as tab:
        expect(tab.page.locator("#trouble")).to_contain_text("PushEvent")
        expect(tab.page.locator("#trouble noscript p")).to_contain_text("turned off")
        expect(tab.page.locator("#cards")).to_be_hidden()


def test_a_page_that_was_cut_short_says_so(browser: Browser, practice: Made, tmp_path: Path) -> None:
    short = tmp_path / "short.html"
    whole = practice.file.read_text(encoding="utf-8")
    short.write_text(re.sub(r'(id="packed">.{4000})[^<]*', r"\1", whole), encoding="utf-8")

    with opened(browser, short) as tab:
        expect(tab.page.locator("#trouble")).to_contain_text("changed or cut short")
        expect(tab.page.locator("#trouble")).to_contain_text("PushEvent")


@pytest.mark.parametrize("width", [320, 400, 1000])
def test_a_narrow_window_needs_no_sideways_scrolling_and_no_labels_overlap(
    browser: Browser, tmp_path: Path, width: int
) -> None:
    hours = [
        event(step % 24 + 1, hour=HOUR + step, outcome="merged", repository=f"{'long' * step}/x") for step in range(48)
    ]
    file = tmp_path / "narrow.html"
    cube = cube_of(*hours, statuses=("complete",) * 48, days=2)
    file.write_text(render(cube, warehouse="gs://bucket/" + "long/" * 20, now=NOW, coverage="c.html"), encoding="utf-8")

    with opened(browser, file, options={"viewport": {"width": width, "height": 800}}) as tab:
        page = ready(tab.page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(OVERLAPS) == []


def test_a_telephone_needs_no_sideways_scrolling(browser: Browser, practice: Made) -> None:
    with opened(browser, practice.file, options=PHONE) as tab:
        assert ready(tab.page).evaluate("document.documentElement.scrollWidth <= window.innerWidth")
