"""Authorizes requests to a Mage server before Mage itself sees them.

Mage 0.9.80 asks for a login in most of its API, but not on all routes: a WebSocket to ``/websocket/terminal`` starts a
shell for each connection; ``/api/statuses``, ``/api/events`` and ``/api/event_matchers`` answer anybody; any ``Host``
and any ``Origin`` is accepted, and passwords may be guessed without end. The rules here deny by default:

1. The health check answers anybody, and says nothing but whether the server is ready.
2. The ``Host`` has to be a name of the server, so that no site can reach it through a name that resolves to it.
3. An ``Origin``, which browsers send with WebSockets and with what changes something, has to be the server itself.
4. The terminal is off.
5. The sign-in page, the files it is made of, and signing in are open; failed attempts are limited.
6. All else needs a login.

``etl.mage.queue_patch`` puts this in front of Mage's own handlers. Nothing here needs Mage or Tornado.
"""

from __future__ import annotations

import json
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final, Protocol
from urllib.parse import urlsplit

ALLOWED_HOSTS: Final = "MAGE_ALLOWED_HOSTS"
"""The variable that lists further names of the server, separated by commas."""
PUBLIC_HOST: Final = "MAGE_PUBLIC_HOST"
MOST_FAILURES: Final = 5
"""Failed logins of one address within ``WINDOW_SECONDS``; further ones are rejected without a check."""
WINDOW_SECONDS: Final = 60.0

_CLOUD_RUN: Final = "K_SERVICE"
_LOCAL: Final = frozenset({"127.0.0.1", "localhost", "::1"})
_HEALTH: Final = "/api/status"
_SIGN_IN: Final = "/sign-in"
_SESSIONS: Final = "/api/sessions"
_TERMINAL: Final = ("/websocket/terminal", "/terminal")
# Files of Mage's package: the same in every installation.
_FILES: Final = ("/_next/static/", "/fonts/", "/images/", "/monaco-editor/")
_DATA: Final = ("/api/", "/websocket/", "/event-streams/", "/metrics")
_READS: Final = ("GET", "HEAD")
_MOST_ADDRESSES: Final = 10_000


class Asked(Protocol):
    """The parts of a request that are checked; Tornado's requests have them."""

    @property
    def method(self) -> str | None:
        """The method, such as ``GET``."""

    @property
    def path(self) -> str:
        """The path without the query."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are case-insensitive."""

    @property
    def remote_ip(self) -> str | None:
        """The address of the client."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A response sent instead of Mage's.

    Attributes:
        status: Of HTTP.
        body: A JSON object.
        headers: Further headers.
    """

    status: HTTPStatus
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)


class Attempts:
    """Limits failed logins per client address.

    Args:
        clock: Seconds of a clock that never goes back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, deque[float]] = {}

    def begin(self, address: str) -> float:
        """Counts an attempt as failed, unless there were too many; ``succeeded`` resets it.

        Returns:
            Seconds to wait before the next attempt; 0 if this one may go on.
        """
        now = self._clock()
        failed = self._failed.setdefault(address, deque())
        while failed and failed[0] <= now - WINDOW_SECONDS:
            failed.popleft()
        if len(failed) >= MOST_FAILURES:
            return failed[0] + WINDOW_SECONDS - now
        failed.append(now)
        if len(self._failed) > _MOST_ADDRESSES:
            self._failed.pop(next(iter(self._failed)))
        return 0.0

    def succeeded(self, address: str) -> None:
        """Forgets the failed attempts of an address."""
        self._failed.pop(address, None)


class Guard:
    """The rules of one server.

    Args:
        hosts: Names under which it answers, without ports; any if None.
        is_signed_in: Whether a request carries a valid login.
        is_ready: Whether the owner can sign in.
        prefix: Prefix of all paths, such as ``/mage``; empty for nothing.
        attempts: What limits failed logins.
    """

    def __init__(
        self,
        hosts: frozenset[str] | None,
        *,
        is_signed_in: Callable[[Asked], bool],
        is_ready: Callable[[], bool],
        prefix: str = "",
        attempts: Attempts | None = None,
    ) -> None:
        self._hosts = hosts
        self._is_signed_in = is_signed_in
        self._is_ready = is_ready
        self._prefix = prefix
        self._attempts = attempts or Attempts()

    def check(self, request: Asked) -> Answer | None:
        """Returns the response to send instead of Mage's; None if Mage may answer."""
        path = self._path(request)
        is_read = request.method in _READS
        if is_read and path == _HEALTH and not self._is_signed_in(request):
            return Answer(HTTPStatus.OK, json.dumps({"status": {"ready": self._is_ready()}}))
        if why := self._foreign(request):
            return _refusal(HTTPStatus.FORBIDDEN, why)
        if path in _TERMINAL:
            return _refusal(HTTPStatus.NOT_FOUND, "the terminal is off")
        if self.is_login(request):
            return self._throttled(request)
        if (is_read and _is_public(path)) or self._is_signed_in(request):
            return None
        return self._without_login(path, is_read=is_read)

    def is_login(self, request: Asked) -> bool:
        """Returns whether a request is an attempt to sign in."""
        return request.method == "POST" and self._path(request) == _SESSIONS

    def note_success(self, request: Asked) -> None:
        """Records a successful login."""
        self._attempts.succeeded(request.remote_ip or "")

    def _path(self, request: Asked) -> str:
        """Returns the path as in Mage's routes."""
        return request.path.removeprefix(self._prefix) if self._prefix else request.path

    def _foreign(self, request: Asked) -> str | None:
        """Returns why a request is not for this server or comes from another site; None if neither."""
        host = request.headers.get("Host", "")
        if self._hosts is not None and _name(host) not in self._hosts:
            return f"this is no name of the server: set {PUBLIC_HOST} or {ALLOWED_HOSTS}"
        if not self._is_own(request.headers.get("Origin"), host):
            return "the request comes from another site"
        return None

    def _without_login(self, path: str, *, is_read: bool) -> Answer:
        if is_read and not path.startswith(_DATA):
            return Answer(HTTPStatus.FOUND, "{}", {"Location": f"{self._prefix}{_SIGN_IN}"})
        return _refusal(HTTPStatus.UNAUTHORIZED, "sign in first")

    def _is_own(self, origin: str | None, host: str) -> bool:
        """Returns whether an origin is this server: by the requested name or a public name."""
        if origin is None:
            return True
        place = urlsplit(origin).netloc.lower()
        return place == host.lower() or (self._hosts is not None and _name(place) in self._hosts - _LOCAL)

    def _throttled(self, request: Asked) -> Answer | None:
        wait = self._attempts.begin(request.remote_ip or "")
        if not wait:
            return None
        return _refusal(
            HTTPStatus.TOO_MANY_REQUESTS, "too many failed logins", {"Retry-After": str(max(1, math.ceil(wait)))}
        )


def hosts_of(environment: Mapping[str, str]) -> frozenset[str] | None:
    """Returns the names under which a server answers, by its environment.

    These are the names of this machine, the host of ``MAGE_PUBLIC_HOST``, and what ``MAGE_ALLOWED_HOSTS`` lists. On
    Cloud Run it is any name: Google's front end sends a service only requests for the names of that service.
    """
    if environment.get(_CLOUD_RUN):
        return None
    public = urlsplit(environment.get(PUBLIC_HOST, "")).netloc
    listed = environment.get(ALLOWED_HOSTS, "").split(",")
    return _LOCAL | {_name(place.strip()) for place in (public, *listed) if place.strip()}


def is_success(body: bytes) -> bool:
    """Returns whether Mage's response to a login is a session: refusals have status 200 too."""
    try:
        answer = json.loads(body)
    except ValueError:
        return False
    return isinstance(answer, dict) and bool(answer.get("session")) and not answer.get("error")


def _is_public(path: str) -> bool:
    return path in {_SIGN_IN, "/favicon.ico"} or path.startswith(_FILES)


def _name(place: str) -> str:
    """The name in ``name:port``; empty if it is none."""
    try:
        return (urlsplit(f"//{place}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def _refusal(status: HTTPStatus, why: str, headers: Mapping[str, str] | None = None) -> Answer:
    """An answer in the form of Mage's own errors, which its pages and clients read."""
    error = {"code": status.value, "message": why, "type": status.phrase}
    return Answer(status, json.dumps({"error": error, "status": status.value}), headers or {})
