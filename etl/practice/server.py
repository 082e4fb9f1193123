"""Serves practice hours (or any folder of archive files) over HTTP as the archive does.

An hour is ``/2015-01-01-15.json.gz``, the hour of day unpadded; a padded one is 404, and so is an hour that the
source does not have or that is still running. A download can be resumed (``Range``, ``If-Range``) and asked
again without being sent again (``If-None-Match``). With ``manifests`` the server also answers
``/2015-01-01-15.manifest.json``, as the OpenDigger mirror does.

The answer to a request is made by one plain method, ``PracticeServer.respond``, and is sent chunk by chunk:
whoever wants faults overrides the method and hands on a changed ``Response``, as ``faults`` does.
"""

from __future__ import annotations

import gzip
import os
import re
import socket
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import file_digest
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BufferedReader
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Protocol, Self
from urllib.parse import urlsplit

import msgspec
from typing_extensions import override

from etl.errors import EtlError, UsageError
from etl.hours import Hour, HourRange, newest_finished_hour
from etl.practice import eras
from etl.practice.generator import PracticeManifest, provide_hour, read_manifest

_HOST: Final = "127.0.0.1"
_CHUNK: Final = 1 << 18
_IDLE_SECONDS: Final = 30
_TARGET: Final = re.compile(r"/(?P<name>\d{4}-\d{2}-\d{2}-\d{1,2})\.(?P<kind>json\.gz|manifest\.json)", re.ASCII)
_RANGE: Final = re.compile(r"bytes=\d{0,18}-\d{0,18}", re.ASCII)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
"""SO_LINGER, on, for no time at all: closing sends a RST and no FIN."""


@dataclass(frozen=True, slots=True)
class Generated:
    """A source that makes its hours when they are first asked for.

    Attributes:
        hours: Which hours it has; those the real archive never had are left out.
        events: How many an hour; ``DEFAULT_EVENTS`` of each era when None.
        seed: Another seed, another world.
        folder: Where the files are kept; a temporary folder when None.
    """

    hours: HourRange
    events: int | None = None
    seed: int = 0
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for.

    Attributes:
        method: ``GET`` or ``HEAD``.
        target: The path, with its query if it has one.
        headers: By lower-case name.
    """

    method: str
    target: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered.

    Attributes:
        status: Of HTTP.
        headers: In the order they are sent; ``Content-Length`` is among them.
        body: Chunks; not taken for HEAD.
        close: Called when the answer has been sent, or could not be.
        wire: Bytes to send in place of all of these, head included, before the connection is closed.
    """

    status: HTTPStatus
    headers: Mapping[str, str]
    body: Iterator[bytes] = field(default_factory=lambda: iter(()))
    close: Callable[[], None] = lambda: None
    wire: Iterator[bytes] | None = None


class Reset(Exception):  # noqa: N818 -- an order to the server, not a failure
    """Raised by a body where the connection is to break with a TCP reset, as when a server's process dies."""


class _Shelf(Protocol):
    def find(self, hour: Hour) -> Path | None:
        """Returns an hour's file, None when the shelf has no such hour."""

    def close(self) -> None:
        """Throws away what was only there for the shelf."""


class _FolderShelf:
    """The files of a folder, named as the archive names them."""

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            hint = "give a folder that holds files such as 2015-01-01-15.json.gz"
            raise UsageError(f"{folder} is not an existing folder", hint=hint)
        self._folder = folder

    def find(self, hour: Hour) -> Path | None:
        path = self._folder / f"{hour}.json.gz"
        return path if path.is_file() else None

    def close(self) -> None:
        """The folder is its owner's."""


class _GeneratedShelf:
    """Hours that are made when first asked for, each once."""

    def __init__(self, source: Generated) -> None:
        self._source = source
        self._temporary = TemporaryDirectory(prefix="practice-archive-") if source.folder is None else None
        self._folder = Path(self._temporary.name) if self._temporary else source.folder or Path()
        self._made: dict[Hour, Path] = {}
        self._locks: dict[Hour, threading.Lock] = {}
        self._lock = threading.Lock()

    def find(self, hour: Hour) -> Path | None:
        source = self._source
        if hour not in source.hours or not eras.existed(hour):
            return None
        with self._lock:
            lock = self._locks.setdefault(hour, threading.Lock())
        with lock:
            path = self._made.get(hour)
            if path is None or not path.is_file():
                path = provide_hour(hour, self._folder, events=source.events, seed=source.seed)
                self._made[hour] = path
            return path

    def close(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()


class PracticeServer:
    """A small GH Archive on this machine.

    It listens from the moment it is made, so ``address`` is known at once, and answers inside a ``with`` block
    (from a thread) or while ``serve`` runs.

    Args:
        source: A folder of hour files, or what to generate.
        port: Where to listen; 0 takes a free one.
        manifests: Whether to publish a manifest beside each hour.

    Attributes:
        address: What the hours' names are appended to, as ``http://127.0.0.1:8080/``.

    Raises:
        UsageError: If the folder is not there or the port cannot be had.
    """

    def __init__(self, source: Path | Generated, port: int = 0, *, manifests: bool = False) -> None:
        self._shelf: _Shelf = _GeneratedShelf(source) if isinstance(source, Generated) else _FolderShelf(source)
        self._manifests = manifests
        self._digests: dict[tuple[int, int, int], str] = {}
        self._thread: threading.Thread | None = None
        try:
            self._http = _HttpServer((_HOST, port), self._respond)
        except (OSError, OverflowError) as error:
            self._shelf.close()
            raise UsageError(f"cannot listen on port {port}: {error}", hint="--port 0 takes a free one") from error
        self.address = f"http://{_HOST}:{self._http.server_address[1]}/"

    def __enter__(self) -> Self:
        # A short poll, so that the end of the block is not waited for.
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        if self._thread is not None:
            self._thread.join()
        self.close()

    def serve(self) -> None:
        """Answers until SIGINT (Ctrl-C), then closes."""
        try:
            self._http.serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Stops listening and throws temporary files away."""
        self._http.server_close()
        self._shelf.close()

    def respond(self, request: Request) -> Response:
        """Answers one request; overridden by whoever wants faults.

        Raises:
            EtlError: If the hour cannot be made or stored; the client receives 500.
        """
        asked = self._asked(request.target)
        if asked is None:
            return message(HTTPStatus.NOT_FOUND, "not found\n")
        path, kind = asked
        if kind == "json.gz":
            return self._hour(path, request)
        manifest = self._manifest(path) if self._manifests else None
        if manifest is None:
            return message(HTTPStatus.NOT_FOUND, "not found\n")
        return json_content(manifest)

    def _asked(self, target: str) -> tuple[Path, str] | None:
        """Returns the file of the hour that a target names, and which one: ``json.gz`` or ``manifest.json``."""
        match = _TARGET.fullmatch(urlsplit(target).path)
        path = None if match is None else self._find(match["name"])
        return None if match is None or path is None else (path, match["kind"])

    def _respond(self, request: Request) -> Response:
        try:
            return self.respond(request)
        except EtlError as error:
            return message(HTTPStatus.INTERNAL_SERVER_ERROR, f"{error}\n")

    def _find(self, name: str) -> Path | None:
        try:
            hour = Hour.parse(name)
        except UsageError:
            return None
        if str(hour) != name or hour > newest_finished_hour():
            return None
        return self._shelf.find(hour)

    def _hour(self, path: Path, request: Request) -> Response:
        try:
            file = path.open("rb")
        except FileNotFoundError:
            return message(HTTPStatus.NOT_FOUND, "not found\n")
        # Size, time and digest are of the opened file: another may take its name while it is being sent.
        facts = os.fstat(file.fileno())
        validators = {
            "ETag": f'"{self._digest(file, facts)[:32]}"',
            "Last-Modified": formatdate(facts.st_mtime, usegmt=True),
        }
        if _lists(request.headers.get("if-none-match"), validators["ETag"]):
            file.close()
            return Response(HTTPStatus.NOT_MODIFIED, validators)
        headers = {**validators, "Accept-Ranges": "bytes", "Content-Type": "application/gzip"}
        wanted = _wanted_range(request, validators)
        if wanted is None:
            headers["Content-Length"] = str(facts.st_size)
            return Response(HTTPStatus.OK, headers, _slice(file, 0, facts.st_size), file.close)
        start, stop = _span(wanted, facts.st_size)
        if start >= stop:
            file.close()
            where = {"Content-Range": f"bytes */{facts.st_size}"}
            return message(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "no such range\n", where)
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.st_size}"
        headers["Content-Length"] = str(stop - start)
        return Response(HTTPStatus.PARTIAL_CONTENT, headers, _slice(file, start, stop), file.close)

    def _manifest(self, path: Path) -> PracticeManifest | None:
        """Describes a file; None when it is damaged, for a damaged hour is not described."""
        try:
            with path.open("rb") as file:
                facts = os.fstat(file.fileno())
                digest = self._digest(file, facts)
                known = read_manifest(path.with_name(path.name.replace(".json.gz", ".manifest.json")))
                agrees = known is not None and known.sha256 == digest
                count = known.event_count if known is not None and agrees else _count_documents(file)
        except (FileNotFoundError, EOFError, gzip.BadGzipFile, zlib.error):
            return None
        return PracticeManifest(event_count=count, compressed_bytes=facts.st_size, sha256=digest)

    def _digest(self, file: BufferedReader, facts: os.stat_result) -> str:
        key = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        if key not in self._digests:
            self._digests[key] = file_digest(file, "sha256").hexdigest()
            file.seek(0)
        return self._digests[key]


def serve(
    source: Path | Generated,
    *,
    port: int = 8080,
    manifests: bool = False,
    ready: Callable[[PracticeServer], object] = lambda _: None,
) -> None:
    """Serves until SIGINT (Ctrl-C).

    Args:
        source: A folder of hour files, or what to generate.
        port: Where to listen; 0 takes a free one.
        manifests: Whether to publish a manifest beside each hour.
        ready: Called with the server once it listens; its ``address`` is what to tell a person.

    Raises:
        UsageError: If the folder is not there or the port cannot be had.
    """
    server = PracticeServer(source, port, manifests=manifests)
    ready(server)
    server.serve()


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], respond: Callable[[Request], Response]) -> None:
        self.respond = respond
        super().__init__(address, _Handler)

    @override
    def handle_error(self, request: object, client_address: object) -> None:
        """Says nothing when a client hangs up, which is its right; prints everything else."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "practice-archive"
    sys_version = ""
    timeout = _IDLE_SECONDS
    disable_nagle_algorithm = True
    server: _HttpServer

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: a server for tests and demos that is asked a thousand times would drown what matters."""

    def _answer(self) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        response = self.server.respond(Request(self.command, self.path, headers))
        try:
            if response.wire is not None:
                self.close_connection = True
                for piece in response.wire:
                    self.wfile.write(piece)
                return
            self.send_response(response.status)
            for name, value in response.headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self._send(response)
        except ConnectionError:
            # The client has left, as one does that only wanted to see a download break off.
            self.close_connection = True
        finally:
            response.close()

    def _send(self, response: Response) -> None:
        left = int(response.headers.get("Content-Length", "0"))
        try:
            for chunk in response.body:
                self.wfile.write(chunk)
                left -= len(chunk)
        except Reset:
            # Closed under the socket object, whose own farewell would send a FIN first.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            os.close(self.connection.detach())
        # A body cut short (by a fault put in front) must not leave the client waiting for the rest.
        self.close_connection = self.close_connection or left != 0


def message(status: HTTPStatus, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Makes an answer of a status and a line of text."""
    return in_full(status, text.encode(), "text/plain; charset=utf-8", headers)


def json_content(value: object) -> Response:
    """Makes an answer that is JSON."""
    return json_bytes(msgspec.json.encode(value))


def json_bytes(content: bytes) -> Response:
    """Makes an answer of bytes that are said to be JSON."""
    return in_full(HTTPStatus.OK, content, "application/json")


def in_full(status: HTTPStatus, content: bytes, kind: str, headers: Mapping[str, str] | None = None) -> Response:
    """Makes an answer of bytes that are all there."""
    sent = {**(headers or {}), "Content-Type": kind, "Content-Length": str(len(content))}
    return Response(status, sent, iter((content,)))


def _lists(field_value: str | None, tag: str) -> bool:
    """Returns whether If-None-Match names a tag; there, weak and strong compare alike (RFC 9110, 13.1.2)."""
    if field_value is None:
        return False
    named = {part.strip().removeprefix("W/") for part in field_value.split(",")}
    return tag in named or "*" in named


def _wanted_range(request: Request, validators: Mapping[str, str]) -> str | None:
    """Returns the Range field if it applies: a GET, a single range, and the version the client started with."""
    wanted = request.headers.get("range")
    if request.method != "GET" or wanted is None or _RANGE.fullmatch(wanted) is None:
        return None
    unless_changed = request.headers.get("if-range")
    return wanted if unless_changed is None or unless_changed in validators.values() else None


def _span(wanted: str, size: int) -> tuple[int, int]:
    """Turns ``bytes=a-b``, ``bytes=a-`` or ``bytes=-n`` into ``[start, stop)``, empty when it cannot be satisfied."""
    first, _, last = wanted.removeprefix("bytes=").partition("-")
    if first:
        return int(first), min(int(last) + 1, size) if last else size
    return max(size - int(last), 0) if last else size, size


def _slice(file: BufferedReader, start: int, stop: int) -> Iterator[bytes]:
    file.seek(start)
    while start < stop and (chunk := file.read(min(_CHUNK, stop - start))):
        start += len(chunk)
        yield chunk


def _count_documents(file: BufferedReader) -> int:
    with gzip.open(file, "rb") as inflated:
        return sum(1 for line in inflated if not line.isspace())
