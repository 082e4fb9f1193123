"""Opens pages in the system's own Chromium, cut off from any network."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

_NAMES = ("chromium", "chromium-browser", "google-chrome")


def find_chromium() -> str | None:
    """Where the browser is; None where none is installed."""
    return next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running browser; skips where none is installed."""
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium; get it with: apt-get install --no-install-recommends chromium")
    # Chromium refuses its sandbox to root, which is who runs tests in a container; it opens our own pages only.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
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
    window: dict[str, Any] = {"viewport": {"width": 1280, "height": 900}, "offline": True, **(options or {})}
    context = browser.new_context(**window)
    try:
        tab = Tab(context.new_page())
        tab.page.goto(address)
        yield tab
        assert tab.complaints == []
        assert tab.requests == [address.partition("#")[0]]
    finally:
        context.close()
