"""The rules in front of a Mage server: who may ask it for what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.mage.guard import MOST_FAILURES, WINDOW_SECONDS, Attempts, Guard, hosts_of, is_success

LOCAL: Final = "127.0.0.1:6789"
OWN: Final = {"Host": LOCAL}
LOGIN: Final = {**OWN, "Cookie": "valid"}
PUBLIC: Final = "https://mage.example.org"


@dataclass(frozen=True)
class Ask:
    """A request."""

    method: str = "GET"
    path: str = "/api/pipelines"
    headers: Mapping[str, str] = field(default_factory=lambda: OWN)
    remote_ip: str = "127.0.0.1"


@dataclass
class Clock:
    """Seconds that pass when a test says so."""

    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def guard_of(environment: Mapping[str, str] | None = None, *, prefix: str = "", clock: Clock | None = None) -> Guard:
    return Guard(
        hosts_of({"MAGE_PUBLIC_HOST": "http://127.0.0.1:6789"} | dict(environment or {})),
        is_signed_in=lambda request: request.headers.get("Cookie") == "valid",
        is_ready=lambda: True,
        prefix=prefix,
        attempts=Attempts(clock or Clock()),
    )


def status_of(guard: Guard, request: Ask) -> HTTPStatus | None:
    """The status that is answered in Mage's place; None where Mage answers."""
    answer = guard.check(request)
    return None if answer is None else answer.status


@pytest.mark.parametrize(
    "path", ["/api/pipelines", "/api/statuses", "/api/event_matchers", "/api/runs/token", "/metrics"]
)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"])
def test_data_needs_a_login(path: str, method: str) -> None:
    assert status_of(guard_of(), Ask(method, path)) == HTTPStatus.UNAUTHORIZED
    assert status_of(guard_of(), Ask(method, path, LOGIN)) is None


@given(
    path=st.text(st.characters(codec="ascii"), max_size=40), method=st.sampled_from(["GET", "POST", "PUT", "DELETE"])
)
def test_whatever_is_not_known_needs_a_login(path: str, method: str) -> None:
    files = ("/_next/static/", "/fonts/", "/images/", "/monaco-editor/")
    if path.startswith(files) or path in {"/sign-in", "/favicon.ico", "/api/status"}:
        return
    answer = guard_of().check(Ask(method, f"/{path}"))
    assert answer is not None
    assert answer.status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FOUND, HTTPStatus.NOT_FOUND}


def test_the_sign_in_page_is_open_and_other_pages_lead_to_it() -> None:
    for path in ("/sign-in", "/_next/static/chunks/main.js", "/fonts/a.woff", "/favicon.ico"):
        assert status_of(guard_of(), Ask(path=path)) is None
    answer = guard_of().check(Ask(path="/pipelines"))
    assert answer is not None
    assert (answer.status, answer.headers["Location"]) == (HTTPStatus.FOUND, "/sign-in")
    assert status_of(guard_of(), Ask("POST", "/sign-in")) == HTTPStatus.UNAUTHORIZED


@pytest.mark.parametrize("host", [LOCAL, "10.8.0.1:6789", "", "evil.example"])
def test_health_answers_under_any_name_and_says_only_whether_it_is_ready(host: str) -> None:
    answer = guard_of().check(Ask(path="/api/status", headers={"Host": host}))
    assert answer is not None
    assert (answer.status, json.loads(answer.body)) == (HTTPStatus.OK, {"status": {"ready": True}})


@pytest.mark.parametrize("headers", [OWN, LOGIN])
def test_the_terminal_is_off_whoever_asks(headers: Mapping[str, str]) -> None:
    for path in ("/websocket/terminal", "/terminal"):
        assert status_of(guard_of(), Ask(path=path, headers=headers)) == HTTPStatus.NOT_FOUND
    assert status_of(guard_of(), Ask(path="/websocket/", headers=headers)) == (
        None if headers is LOGIN else HTTPStatus.UNAUTHORIZED
    )


@pytest.mark.parametrize(
    ("host", "environment", "is_known"),
    [
        ("localhost:6789", {}, True),
        ("[::1]:6789", {}, True),
        ("127.0.0.1.", {}, True),
        ("evil.example", {}, False),
        ("127.0.0.1.evil.example:6789", {}, False),
        ("", {}, False),
        ("[", {}, False),
        ("MAGE.example.org", {"MAGE_PUBLIC_HOST": PUBLIC}, True),
        ("a.example", {"MAGE_ALLOWED_HOSTS": "b.example, a.example:443"}, True),
        ("c.example", {"MAGE_ALLOWED_HOSTS": "b.example, a.example:443"}, False),
        ("service-hash.a.run.app", {"K_SERVICE": "mage"}, True),
    ],
)
def test_the_server_answers_under_its_own_names(host: str, environment: Mapping[str, str], *, is_known: bool) -> None:
    found = status_of(guard_of(environment), Ask(headers={**LOGIN, "Host": host}))
    assert found == (None if is_known else HTTPStatus.FORBIDDEN)


@pytest.mark.parametrize(
    ("origin", "host", "environment", "is_own"),
    [
        ("http://127.0.0.1:6789", LOCAL, {}, True),
        ("http://127.0.0.1:8080", LOCAL, {}, False),
        ("http://localhost:6789", LOCAL, {}, False),
        ("https://evil.example", LOCAL, {}, False),
        ("null", LOCAL, {}, False),
        (PUBLIC, "mage.example.org", {"MAGE_PUBLIC_HOST": PUBLIC}, True),
        (PUBLIC, LOCAL, {"MAGE_PUBLIC_HOST": PUBLIC}, True),
        ("https://s.run.app", "s.run.app", {"K_SERVICE": "mage"}, True),
        ("https://evil.example", "s.run.app", {"K_SERVICE": "mage"}, False),
    ],
)
@pytest.mark.parametrize("path", ["/websocket/", "/api/pipelines", "/api/sessions"])
def test_requests_of_other_sites_are_refused(
    origin: str, host: str, environment: Mapping[str, str], path: str, *, is_own: bool
) -> None:
    headers = {**LOGIN, "Host": host, "Origin": origin}
    found = status_of(guard_of(environment), Ask("POST", path, headers))
    assert found == (None if is_own else HTTPStatus.FORBIDDEN)


def test_failed_logins_are_limited_by_address_and_time() -> None:
    clock = Clock()
    guard = guard_of(clock=clock)
    attempt, other = Ask("POST", "/api/sessions"), Ask("POST", "/api/sessions", remote_ip="10.0.0.1")

    assert [status_of(guard, attempt) for _ in range(MOST_FAILURES)] == [None] * MOST_FAILURES
    refused = guard.check(attempt)
    assert refused is not None
    assert (refused.status, refused.headers["Retry-After"]) == (HTTPStatus.TOO_MANY_REQUESTS, "60")
    assert status_of(guard, other) is None
    # A login does not help a stranger to more attempts, nor does waiting for less than the window.
    clock.now = WINDOW_SECONDS - 1
    assert status_of(guard, attempt) == HTTPStatus.TOO_MANY_REQUESTS
    clock.now = WINDOW_SECONDS
    assert status_of(guard, attempt) is None


def test_a_successful_login_is_not_counted() -> None:
    guard = guard_of()
    attempt = Ask("POST", "/api/sessions")
    for _ in range(10 * MOST_FAILURES):
        assert status_of(guard, attempt) is None
        guard.note_success(attempt)


def test_a_login_by_another_path_needs_a_login() -> None:
    # Mage takes the last resource of a path for the one that is asked for.
    for path in ("/api/pipelines/x/sessions", "/api/sessions/", "//api/sessions", "/api/sessions/1"):
        assert status_of(guard_of(), Ask("POST", path)) == HTTPStatus.UNAUTHORIZED


def test_a_prefix_stands_before_all_paths() -> None:
    guard = guard_of(prefix="/mage")
    assert status_of(guard, Ask(path="/mage/sign-in")) is None
    assert status_of(guard, Ask(path="/mage/api/status")) == HTTPStatus.OK
    assert status_of(guard, Ask(path="/mage/websocket/terminal", headers=LOGIN)) == HTTPStatus.NOT_FOUND
    answer = guard.check(Ask(path="/mage/pipelines"))
    assert answer is not None
    assert answer.headers["Location"] == "/mage/sign-in"


@pytest.mark.parametrize(
    ("body", "is_login"),
    [
        (b'{"session": {"token": "x"}}', True),
        (b'{"error": {"code": 404}}', False),
        (b'{"session": {}, "error": {}}', False),
        (b"[]", False),
        (b"<html>", False),
        (b"\xff", False),
    ],
)
def test_mages_answer_tells_whether_a_login_succeeded(body: bytes, *, is_login: bool) -> None:
    assert is_success(body) is is_login
