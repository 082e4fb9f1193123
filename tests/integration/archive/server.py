"""A web server that misbehaves on order, and a proxy: what stands in for the archive in these tests."""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import urlsplit

HTML: Final = b"<!doctype html><html><body>Please sign in</body></html>"


@dataclass(frozen=True)
class File:
    """A file as the server knows it; its validators are sent as they stand here."""

    content: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    content_type: str = "application/gzip"

    @property
    def headers(self) -> dict[str, str]:
        named = {"ETag": self.etag, "Last-Modified": self.last_modified, "Content-Type": self.content_type}
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    method: str
    target: str
    headers: Mapping[str, str]


Answer = Callable[["Handler", "File | None"], None]


@dataclass
class Archive:
    """What the server holds, what it will do, and what it was asked.

    ``script`` maps a path to what is done with its next requests; behind its end there is ``otherwise``,
    which serves files well unless told better.
    """

    url: str = ""
    files: dict[str, File] = field(default_factory=dict)
    script: dict[str, list[Answer]] = field(default_factory=dict)
    otherwise: Answer | None = None
    asked: list[Asked] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)

    def ranges(self) -> list[str | None]:
        """The Range header of each request for an hour so far."""
        return [asked.headers.get("Range") for asked in self.asked if asked.target.endswith(".json.gz")]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body go in two pieces, of which the second would wait for word of the first.
    disable_nagle_algorithm = True
    archive: Archive

    def do_GET(self) -> None:
        self.archive.asked.append(Asked(self.command, self.path, dict(self.headers)))
        script = self.archive.script.get(self.path)
        answer = script.pop(0) if script else self.archive.otherwise or well()
        answer(self, self.archive.files.get(self.path))

    def do_HEAD(self) -> None:
        self.do_GET()

    def log_message(self, *args: object) -> None:
        """Says nothing: pytest would show it."""

    def head(self, code: int, headers: Mapping[str, str], length: int | None) -> None:
        self.send_response(code)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None:
            self.send_header("Content-Length", str(length))
        self.end_headers()

    def body(self, content: bytes) -> None:
        if self.command != "HEAD":
            self.wfile.write(content)

    def hang_up(self, *, reset: bool) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True


def status(code: int, **headers: str) -> Answer:
    """Answers with a status and an empty body."""

    def answer(handler: Handler, _: File | None) -> None:
        handler.head(code, {name.replace("_", "-"): value for name, value in headers.items()}, 0)

    return answer


def well(*, knows_ranges: bool = True, knows_if_range: bool = True) -> Answer:
    """Serves the file as it should be."""

    def answer(handler: Handler, file: File | None) -> None:
        if file is None:
            status(404)(handler, None)
        elif file.etag is not None and handler.headers.get("If-None-Match") == file.etag:
            handler.head(304, file.headers, None)
        else:
            code, start, headers = _part(handler, file, knows_ranges=knows_ranges, knows_if_range=knows_if_range)
            handler.head(code, headers, len(file.content) - start)
            handler.body(file.content[start:])

    return answer


def cut(after: int, *, reset: bool = False, chunked: bool = False) -> Answer:
    """Sends ``after`` bytes of what was asked for and hangs up; with a RST when ``reset``."""

    def answer(handler: Handler, file: File | None) -> None:
        assert file is not None
        code, start, headers = _part(handler, file)
        piece = file.content[start : start + after]
        if chunked:
            handler.head(code, {**headers, "Transfer-Encoding": "chunked"}, None)
            handler.body(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        else:
            handler.head(code, headers, len(file.content) - start)
            handler.body(piece)
        handler.hang_up(reset=reset)

    return answer


def stall(after: int) -> Answer:
    """Sends ``after`` bytes and then nothing, until the server stops."""

    def answer(handler: Handler, file: File | None) -> None:
        assert file is not None
        code, start, headers = _part(handler, file)
        handler.head(code, headers, len(file.content) - start)
        handler.body(file.content[start : start + after])
        handler.archive.stopping.wait()
        handler.hang_up(reset=False)

    return answer


def page(content_type: str = "text/html; charset=utf-8", content: bytes = HTML) -> Answer:
    """Answers 200 with a page."""

    def answer(handler: Handler, _: File | None) -> None:
        handler.head(200, {"Content-Type": content_type}, len(content))
        handler.body(content)

    return answer


def encoded() -> Answer:
    """Serves the file with the claim that its compression belongs to the way, not to the file."""

    def answer(handler: Handler, file: File | None) -> None:
        assert file is not None
        handler.head(200, {**file.headers, "Content-Encoding": "gzip"}, len(file.content))
        handler.body(file.content)

    return answer


def silence() -> Answer:
    """Answers nothing, until the server stops."""

    def answer(handler: Handler, _: File | None) -> None:
        handler.archive.stopping.wait()
        handler.hang_up(reset=False)

    return answer


def drop() -> Answer:
    """Hangs up without an answer."""
    return lambda handler, _: handler.hang_up(reset=False)


def _part(
    handler: Handler, file: File, *, knows_ranges: bool = True, knows_if_range: bool = True
) -> tuple[int, int, dict[str, str]]:
    """Status, first byte and headers that answer the request's Range and If-Range."""
    match = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
    condition = handler.headers.get("If-Range")
    strong = None if file.etag is None or file.etag.startswith("W/") else file.etag
    same = not knows_if_range or condition is None or condition in {strong, file.last_modified}
    if match is None or not knows_ranges or not same:
        return 200, 0, file.headers
    start, total = int(match[1]), len(file.content)
    return 206, start, {**file.headers, "Content-Range": f"bytes {start}-{total - 1}/{total}"}


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing: a client that goes away is what is tested."""

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        # Without the farewell of the inherited method, so that SO_LINGER makes a RST of the close.
        assert isinstance(request, socket.socket)
        request.close()


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[_Server]:
    """Runs a server in a thread, on a port of its own."""
    with _Server(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def serving_archive() -> Iterator[Archive]:
    """Runs an archive that is empty at first."""
    held = Archive()

    class Bound(Handler):
        archive = held

    with serving(Bound) as server:
        held.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield held
        finally:
            held.stopping.set()


@contextmanager
def serving_proxy(hosts: Mapping[str, str], passed: list[str]) -> Iterator[str]:
    """Runs an HTTP proxy that finds ``hosts`` where the map says, and notes what passed through it."""

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go in two pieces, of which the second would wait for word of the first.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            passed.append(self.path)
            target = urlsplit(self.path)
            connection = http.client.HTTPConnection(urlsplit(hosts[target.hostname or ""]).netloc, timeout=10)
            try:
                connection.request("GET", target.path, headers={"Accept-Encoding": "identity"})
                answer = connection.getresponse()
                content = answer.read()
            finally:
                connection.close()
            self.send_response(answer.status)
            for name in ("ETag", "Content-Type", "Content-Length"):
                if (value := answer.headers.get(name)) is not None:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with serving(Proxy) as server:
        yield f"http://127.0.0.1:{server.server_port}"
