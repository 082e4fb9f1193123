"""A server for each test, and no proxy but the test's own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.archive.server import Archive, serving_archive


@pytest.fixture(autouse=True)
def no_proxy_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def archive() -> Iterator[Archive]:
    with serving_archive() as held:
        yield held
