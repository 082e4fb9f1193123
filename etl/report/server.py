"""Serves the pages live, on the loopback interface only.

A page is rendered again when its data has changed. Requests with another ``Host`` than the loopback names are refused,
which prevents DNS rebinding: a website cannot read the pages through a name that resolves to this machine. Connections
that send no request are closed after a few seconds; when there are too many, the oldest are closed first.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

import structlog
from typing_extensions import override

from etl.errors import EtlError, UsageError

_HOST: Final = "127.0.0.1"
_NAMES: Final = ("127.0.0.1", "localhost")
_IDLE_SECONDS: Final = 5.0
"""Timeout for receiving the head of a request, and for sending each part of a response."""
_MOST_IDLE: Final = 64
"""Maximum number of idle connections, each with a thread; browsers open six."""
_BACKLOG: Final = 512

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class LivePage:
    """A page that is rendered again when its data changes.

    Attributes:
        version: Returns a cheap token that changes with the data.
        render: Returns the HTML of the page.
    """

    version: Callable[[], object]
    render: Callable[[], str]


class _CachedPage:
    """A page and its HTML, cached until the version changes."""

    def __init__(self, page: LivePage) -> None:
        self._page = page
        self._lock = threading.Lock()
        self._version: object = None
        self._text: str | None = None

    def text(self) -> str:
        with self._lock:
            version = self._page.version()
            if self._text is None or version != self._version:
                self._text = self._page.render()
                self._version = version
            return self._text


class PageServer:
    """Serves pages until stopped.

    Args:
        pages: The pages by path, such as ``/``.
        port: Port to listen on; 0 selects a free port.

    Attributes:
        address: URL of the page ``/``.

    Raises:
        UsageError: If the port is not available.
    """

    def __init__(self, pages: Mapping[str, LivePage], port: int) -> None:
        cached = {path: _CachedPage(page) for path, page in pages.items()}
        try:
            self._http = _HttpServer((_HOST, port), cached)
        except (OSError, OverflowError) as error:
            raise UsageError(f"cannot listen on port {port}: {error}", hint="--port 0 takes a free one") from error
        self.address = f"http://{_HOST}:{self._http.server_address[1]}/"

    def serve(self) -> None:
        """Serves requests until SIGINT (Ctrl-C) or ``stop``, then closes the socket."""
        try:
            self._http.serve_forever(poll_interval=0.1)
        except KeyboardInterrupt:
            pass
        finally:
            self._http.server_close()

    def stop(self) -> None:
        """Stops ``serve`` from another thread."""
        self._http.shutdown()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = _BACKLOG

    def __init__(self, address: tuple[str, int], pages: Mapping[str, _CachedPage]) -> None:
        self.pages = pages
        self._idle: dict[socket.socket, float] = {}
        self._idle_lock = threading.Lock()
        super().__init__(address, _Handler)

    def note_idle(self, connection: socket.socket) -> None:
        """Marks a connection as idle from now on; closes the oldest idle ones when there are too many."""
        with self._idle_lock:
            self._idle.pop(connection, None)
            self._idle[connection] = time.monotonic()
            excess = list(self._idle)[:-_MOST_IDLE]
        self._hang_up(excess)

    def note_request(self, connection: socket.socket) -> None:
        """Marks a connection as not idle: a request has arrived, or the connection was closed."""
        with self._idle_lock:
            self._idle.pop(connection, None)

    @override
    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        assert isinstance(request, socket.socket)  # noqa: S101 -- UDP has the other type
        self.note_idle(request)
        super().process_request(request, client_address)

    @override
    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        assert isinstance(request, socket.socket)  # noqa: S101 -- as above
        self.note_request(request)
        super().shutdown_request(request)

    @override
    def service_actions(self) -> None:
        """Closes connections that have been idle too long; called several times a second."""
        before = time.monotonic() - _IDLE_SECONDS
        with self._idle_lock:
            late = [connection for connection, since in self._idle.items() if since < before]
        self._hang_up(late)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Logs why a connection ended; a client that hangs up or stops reading is not an error."""
        error = sys.exception()
        say = _log.debug if isinstance(error, OSError) else _log.error
        say("connection ended", error=type(error).__name__)

    def _hang_up(self, connections: list[socket.socket]) -> None:
        """Shuts connections down, so that the threads waiting on them read end-of-file and exit."""
        for connection in connections:
            self.note_request(connection)
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are two writes; with Nagle's algorithm the second waits for the first one's acknowledgement.
    disable_nagle_algorithm = True
    timeout = _IDLE_SECONDS
    server: _HttpServer

    def do_GET(self) -> None:
        """Sends a page."""
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        """Sends the headers of a page."""
        self._answer(with_body=False)

    @override
    def handle_one_request(self) -> None:
        super().handle_one_request()
        if not self.close_connection:
            self.server.note_idle(self.connection)

    def _answer(self, *, with_body: bool) -> None:
        self.server.note_request(self.connection)
        status, kind, text = self._found()
        body = text.encode()
        self.send_response(status)
        for name, value in (
            ("Content-Type", f"text/{kind}; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Cache-Control", "no-store"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def _found(self) -> tuple[HTTPStatus, str, str]:
        if self.headers.get("Host", "").rpartition(":")[0] not in _NAMES:
            return HTTPStatus.FORBIDDEN, "plain", "this server answers only to names of this machine\n"
        page = self.server.pages.get(urlsplit(self.path).path)
        if page is None:
            return HTTPStatus.NOT_FOUND, "plain", "there is no such page\n"
        try:
            return HTTPStatus.OK, "html", page.text()
        except EtlError as error:
            _log.warning("page not made", path=self.path, error=error.message)
            hint = "" if error.hint is None else f"{error.hint}\n"
            return HTTPStatus.SERVICE_UNAVAILABLE, "plain", f"{error.message}\n{hint}"

    @override
    def log_message(self, format: str, *args: object) -> None:
        _log.debug("request", message=format % args)
