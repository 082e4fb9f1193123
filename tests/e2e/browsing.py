"""Opens pages in Chromium, cut off from any network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

from tests import tools


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; skips where none can be used."""
    found = tools.browser()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=found.program, args=list(found.arguments), env=dict(found.env)
        )
        try:
            yield browser
        finally:
            browser.close()


class Tab:
    """A page that was opened, and what it did besides showing itself.

    Attributes:
        page: The page.
        complaints: What it wrote to the console, and its uncaught errors.
        requests: The addresses it asked for, its own included.
    """

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.requests: list[str] = []
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))


@contextmanager
def opened(browser: Browser, file: Path, anchor: str = "", options: Mapping[str, Any] | None = None) -> Iterator[Tab]:
    """Opens a file in a window of its own; it may complain of nothing and ask for nothing but itself.

    Args:
        browser: The running browser.
        file: The page.
        anchor: What stands behind ``#`` in the address.
        options: Of the window, as ``Browser.new_context`` takes them.
    """
    address = file.as_uri() + (f"#{anchor}" if anchor else "")
    window: dict[str, Any] = {
        "viewport": {"width": 1280, "height": 900},
        "locale": "en-US",
        "offline": True,
        **(options or {}),
    }
    context = browser.new_context(**window)
    try:
        tab = Tab(context.new_page())
        tab.page.goto(address)
        yield tab
        assert tab.complaints == []
        assert tab.requests == [address.partition("#")[0]]
    finally:
        context.close()
