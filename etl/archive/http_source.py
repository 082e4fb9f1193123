"""A web server as a source: GH Archive itself, its mirror, or any server with files of the same names.

Every failure is translated into one of three results: the hour does not exist, a retry may help, or a retry is
useless. The messages of the libraries are not used: they contain memory addresses, and may contain the credentials of
a URL or a proxy.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from http import HTTPStatus
from typing import Final
from urllib.parse import urljoin, urlsplit, urlunsplit

import requests
import urllib3
from typing_extensions import override

from etl import __version__
from etl.archive.http_transport import (
    MalformedHeadError,
    PrivateAddressError,
    bounded_session,
    is_public_address,
)
from etl.archive.source import (
    SIDECAR_MAX_BYTES,
    Body,
    ClosingBody,
    Describing,
    HourNotFound,
    NotModified,
    Promise,
    SourceChangedError,
    TransientSourceError,
    check_sidecar_size,
    file_name,
    is_html_type,
    mask_credentials,
    sidecar_name,
)
from etl.errors import SourceUnreachableError, UsageError
from etl.hours import Hour

_HEADERS: Final = {
    "User-Agent": f"gharchive-etl/{__version__}",
    # The file is compressed already. With a Content-Encoding, lengths and ranges would not refer to the file's own
    # bytes, so it is declined here and never decoded below.
    "Accept-Encoding": "identity",
}
_LENGTH: Final = re.compile(r"(?P<length>\d{1,18})(?:\s*,\s*(?P=length))*", re.ASCII)
_CONTENT_RANGE: Final = re.compile(r"bytes (?P<first>\d{1,18})-\d{1,18}/(?P<total>\d{1,18}|\*)", re.ASCII)
_VALIDATOR: Final = re.compile(r"[^\x00-\x1f\x7f]{1,1024}")
"""ETags and dates that can be sent back to the server; a folded header, for example, cannot."""
_RETRY_AFTER_MAX_LENGTH: Final = 64
_MAX_REDIRECTS: Final = 10
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_ANYTHING_BEFORE_AT: Final = re.compile(r"(?<=://).*@")
_NOT_FOUND: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_TRANSIENT: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_CHANGED: Final = frozenset({HTTPStatus.PRECONDITION_FAILED, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_DENIED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_NO_HEAD: Final = frozenset({HTTPStatus.METHOD_NOT_ALLOWED, HTTPStatus.NOT_IMPLEMENTED})
_TLS_DISCONNECTS: Final = (ssl.SSLEOFError, ssl.SSLZeroReturnError, ssl.SSLSyscallError)
_LIBRARY_ERRORS: Final = (
    OSError,  # also the errors of requests
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    ValueError,  # also UnicodeError
    LookupError,
    ArithmeticError,
    RecursionError,
)
"""Exceptions that the libraries raise because of a server's response."""
_MALFORMED: Final = "malformed HTTP response"
_PRIVATE: Final = "redirects to an address in a private network"
_NOT_HTTP: Final = "redirects to an address that is not http or https"
_UNKNOWN_HOST_ATTEMPTS: Final = 2
"""If a host name cannot be resolved twice, it is misspelt or this machine is offline; more attempts do not help."""
_MESSAGES: Final[tuple[tuple[type[BaseException], str], ...]] = (
    (MalformedHeadError, _MALFORMED),
    (http.client.RemoteDisconnected, "the server closed the connection without a response"),
    (ConnectionRefusedError, "connection refused"),
    (ConnectionResetError, "connection reset by the server"),
    (BrokenPipeError, "connection closed by the server"),
    (socket.gaierror, "host name not found"),
    (http.client.IncompleteRead, "the body ended early"),
    (http.client.HTTPException, _MALFORMED),
    (urllib3.exceptions.InvalidChunkLength, _MALFORMED),
)


class HttpSource(Describing):
    """Hours under ``<address>/<hour>.json.gz``; proxy variables and ``REQUESTS_CA_BUNDLE`` are honoured.

    Args:
        address: An ``http://`` or ``https://`` URL without a query; it may contain a user and password.
        connect_timeout: Seconds to wait for a connection.
        read_timeout: Seconds to wait for the response headers, and for each 64 KiB of a body.

    Raises:
        UsageError: If the address is not such a URL.
    """

    def __init__(self, address: str, *, connect_timeout: float, read_timeout: float) -> None:
        _check_url(address)
        self.address: Final = mask_credentials(address)
        self._base = address
        self._timeout = (connect_timeout, read_timeout)
        self._session = _session()

    def url(self, hour: Hour) -> str:
        """Returns the URL of the hour's file with credentials masked."""
        return f"{self.address}/{file_name(hour)}"

    def open(
        self,
        hour: Hour,
        *,
        start: int = 0,
        etag: str | None = None,
        last_modified: str | None = None,
        unless_etag: str | None = None,
    ) -> Body:
        """Requests the file or the rest of it; see ``Source.open``."""
        headers = {} if start == 0 else _range_headers(start, etag, last_modified)
        if unless_etag is not None:
            headers["If-None-Match"] = unless_etag
        name = file_name(hour)
        response = self._send("GET", name, headers)
        with _closed_on_error(response):
            self._check_status(response, name, resuming=start > 0)
            body = HttpBody(response, self.url(hour), self._timeout)
            body.redirected_to = _redirected_to(response, f"{self._base}/{name}")
            return body

    @override
    def _sidecar(self, hour: Hour, timeout: float | None) -> bytes | None:
        """Reads the hour's sidecar manifest; returns None if there is none or it is not public (401, 403)."""
        name, timeouts = sidecar_name(hour), self._timeout if timeout is None else (timeout, timeout)
        with self._send("GET", name, {}, timeouts) as response:
            # Object stores answer 403 for a missing object if the caller may not list the bucket.
            if response.status_code in _NOT_FOUND | _DENIED:
                return None
            url = f"{self.address}/{name}"
            self._check_status(response, name, resuming=False)
            with _translated_errors(url, timeouts):
                # Not decoded: no compression was requested, and the content could expand to any size.
                content: bytes = response.raw.read(SIDECAR_MAX_BYTES + 1, decode_content=False)
            check_sidecar_size(url, len(content))
            return content

    def exists(self, hour: Hour) -> bool:
        """Sends a HEAD request, or a GET whose body is not read if the server does not support HEAD."""
        return self._headers_of(hour, self._timeout) is not None

    @override
    def _look(self, hour: Hour, timeout: float) -> Promise | None:
        return self._headers_of(hour, (timeout, timeout))

    def _headers_of(self, hour: Hour, timeouts: tuple[float, float]) -> Promise | None:
        name = file_name(hour)
        with self._send("HEAD", name, {}, timeouts) as response:
            if response.status_code not in _NO_HEAD:
                return self._promise(response, name)
        with self._send("GET", name, {}, timeouts) as response:
            return self._promise(response, name)

    def _promise(self, response: requests.Response, name: str) -> Promise | None:
        if response.status_code in _NOT_FOUND:
            return None
        self._check_status(response, name, resuming=False)
        url = f"{self.address}/{name}"
        if is_html_type(response.headers.get("Content-Type")):
            raise SourceUnreachableError(f"{url}: the server sent an HTML page instead of an hour")
        return Promise(_content_length(response, url), _validator(response.headers.get("ETag")))

    def _send(
        self, method: str, name: str, headers: dict[str, str], timeouts: tuple[float, float] | None = None
    ) -> requests.Response:
        """Sends a request and follows redirects. The body of a redirect is not read: it might never end."""
        shown, url, session = f"{self.address}/{name}", f"{self._base}/{name}", self._session
        timeouts = timeouts or self._timeout
        for _ in range(_MAX_REDIRECTS + 1):
            with _translated_errors(shown, timeouts):
                response = session.request(method, url, headers=headers, timeout=timeouts, stream=True)
            if not response.is_redirect:
                return response
            response.close()
            before, url = url, _redirect_target(shown, url, response)
            session = self._session_for(shown, url)
            headers = _redirect_headers(session, response, before, url, headers)
        raise SourceUnreachableError(f"{shown}: too many redirects")

    def _session_for(self, shown: str, url: str) -> requests.Session:
        """Returns the session for the target of a redirect.

        Raises:
            SourceUnreachableError: If the source is public and the target is not.
        """
        if _origin(url) == _origin(self._base) or not self._is_public:
            return self._session
        host = (urlsplit(url).hostname or "").rstrip(".")
        if host == "localhost" or host.endswith(".localhost") or _is_private_literal(host):
            raise SourceUnreachableError(f"{shown}: {_PRIVATE}")
        return self._public_session

    @cached_property
    def _public_session(self) -> requests.Session:
        return _session(public_only=True)

    @cached_property
    def _is_public(self) -> bool:
        """Whether all addresses of the source are public; also true if only a proxy can resolve its name."""
        try:
            found = socket.getaddrinfo(urlsplit(self._base).hostname, None, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            return True
        return all(is_public_address(str(address[0])) for *_, address in found)

    def _check_status(self, response: requests.Response, name: str, *, resuming: bool) -> None:
        url, status = f"{self.address}/{name}", response.status_code
        if status in {HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT}:
            return
        if status == HTTPStatus.NOT_MODIFIED and "If-None-Match" in response.request.headers:
            raise NotModified
        if status in _NOT_FOUND:
            raise HourNotFound(url)
        if status in _CHANGED and resuming:
            raise SourceChangedError(f"{url} was replaced during the download (HTTP {status})")
        if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            wait = parse_retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
            raise TransientSourceError(url, f"HTTP {status}", retry_after=wait)
        hint = "check the user name and password in the address" if status in _DENIED else None
        raise SourceUnreachableError(f"{url}: HTTP {status}", hint=hint)


class HttpBody(ClosingBody):
    """The body of a response with status 200 or 206."""

    def __init__(self, response: requests.Response, url: str, timeout: tuple[float, float]) -> None:
        headers = response.headers
        self.etag: str | None = _validator(headers.get("ETag"))
        self.last_modified: str | None = _validator(headers.get("Last-Modified"))
        self.content_type: str | None = headers.get("Content-Type")
        # Bytes left in this response; `size` is that of the whole file.
        self._left = _content_length(response, url)
        self.start, self.size = 0, self._left
        if response.status_code == HTTPStatus.PARTIAL_CONTENT:
            self.start, self.size = _content_range(response, url)
        response.raw.enforce_content_length = False  # counted below, for an error with numbers
        self._response = response
        self._url = url
        self._timeout = timeout
        self._reading = threading.Lock()

    def read(self, n: int) -> bytes:
        """Reads the bytes received so far, up to ``n``; see ``Body.read``."""
        if self._left == 0:
            return b""
        with self._reading, _translated_errors(self._url, self._timeout):
            # read1, not read: read discards what it has received if the connection is lost half-way.
            piece: bytes = self._response.raw.read1(
                n if self._left is None else min(n, self._left), decode_content=False
            )
        if self._left is not None:
            if not piece:
                raise TransientSourceError(self._url, f"the body ended {self._left} bytes early")
            self._left -= len(piece)
        return piece

    def close(self) -> None:
        """Releases the connection, or closes it if the body was not read to its end."""
        if self._left != 0:
            # Wakes a thread that is waiting for bytes; close() alone would wait for it, up to the timeout.
            with suppress(OSError, RuntimeError, ValueError):
                self._response.raw.shutdown()
        with self._reading:
            self._response.close()


def parse_retry_after(text: str | None, now: datetime) -> float | None:
    """Parses a Retry-After header, which is a number of seconds or a date.

    Args:
        text: Value of the header; None if there is none.
        now: The current time (aware).

    Returns:
        Seconds to wait, never negative; None if the header is missing or invalid.
    """
    if text is None:
        return None
    text = text.strip()
    if len(text) > _RETRY_AFTER_MAX_LENGTH:
        return None
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    # An HTTP date is always GMT, even with the zone "-0000", which the parser treats as unknown.
    aware = date if date.tzinfo is not None else date.replace(tzinfo=UTC)
    return max(0.0, (aware - now).total_seconds())


def _check_url(address: str) -> None:
    hint = "a web source has the form https://host/path, without query and fragment"
    # In a malformed URL the password may be anywhere before the last @.
    shown = _ANYTHING_BEFORE_AT.sub("***@", address)
    try:
        parts = urlsplit(address)
        complete = bool(parts.hostname) and parts.port != 0  # parts.port raises ValueError if it is invalid
    except ValueError as error:
        raise UsageError(f"{shown} is not a valid URL", hint=hint) from error
    if not complete:
        raise UsageError(f"{shown} is not a valid URL", hint=hint)
    if parts.query or parts.fragment:
        raise UsageError(f"source {re.split('[?#]', shown)[0]} has a query or fragment", hint=hint)


def _range_headers(start: int, etag: str | None, last_modified: str | None) -> dict[str, str]:
    headers = {"Range": f"bytes={start}-"}
    # Versions with the same weak ETag may differ in bytes, so RFC 9110 forbids it in If-Range.
    validator = etag if etag is not None and not etag.startswith("W/") else last_modified
    if validator is not None:
        headers["If-Range"] = validator
    return headers


def _content_length(response: requests.Response, url: str) -> int | None:
    text = response.headers.get("Content-Length")
    if text is None or "Transfer-Encoding" in response.headers:
        return None
    match = _LENGTH.fullmatch(text.strip())
    if match is None:
        raise SourceUnreachableError(f"{url}: the server sent an invalid Content-Length")
    return int(match["length"])


def _content_range(response: requests.Response, url: str) -> tuple[int, int | None]:
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if match is None:
        raise SourceUnreachableError(f"{url}: the server sent a partial response without a valid Content-Range")
    return int(match["first"]), None if match["total"] == "*" else int(match["total"])


def _validator(text: str | None) -> str | None:
    """Returns an ETag or a date unchanged; None if it cannot be sent back."""
    return text if text is not None and _VALIDATOR.fullmatch(text) else None


def _session(*, public_only: bool = False) -> requests.Session:
    session = bounded_session(public_only=public_only)
    session.headers.update(_HEADERS)
    return session


def _redirect_target(shown: str, url: str, response: requests.Response) -> str:
    """Returns the target URL of a redirect.

    Raises:
        SourceUnreachableError: If it is not an HTTP URL, or would downgrade from https to http.
    """
    target = scheme = ""
    complete = False
    with suppress(ValueError):
        # Headers are decoded as Latin-1, but non-ASCII addresses are UTF-8 in practice.
        target = urljoin(url, response.headers["Location"].encode("latin-1").decode("utf-8"))
        scheme = urlsplit(target).scheme
        complete = bool(urlsplit(target).hostname) and urlsplit(target).port != 0
    if scheme not in _DEFAULT_PORTS or not complete:
        raise SourceUnreachableError(f"{shown}: {_NOT_HTTP}")
    if scheme == "http" and urlsplit(url).scheme == "https":
        raise SourceUnreachableError(f"{shown}: redirects from https to http")
    return target


def _redirect_headers(
    session: requests.Session, response: requests.Response, before: str, after: str, headers: dict[str, str]
) -> dict[str, str]:
    """Returns the headers for the target of a redirect; credentials are only sent to the same host."""
    name = "Authorization"
    others = {key: value for key, value in headers.items() if key != name}
    credentials = response.request.headers.get(name)
    strip: bool = session.should_strip_auth(before, after)  # type: ignore[no-untyped-call]
    if credentials is None or strip:
        return others
    return others | {name: credentials}


def _redirected_to(response: requests.Response, requested: str) -> str | None:
    """Returns the final URL if it differs from the requested one, without credentials and (perhaps signed) query."""
    parts = urlsplit(response.url)
    final = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
    same = _origin(response.url) == _origin(requested) and parts.path == urlsplit(requested).path
    return None if same else final


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)


def _is_private_literal(host: str) -> bool:
    """Returns whether a host is a non-public IP address, including forms such as 127.1 and 0x7f000001."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return not all(is_public_address(str(address[0])) for *_, address in found)


@contextmanager
def _closed_on_error(response: requests.Response) -> Iterator[None]:
    try:
        yield
    except BaseException:
        response.close()
        raise


@contextmanager
def _translated_errors(url: str, timeout: tuple[float, float]) -> Iterator[None]:
    """Translates the exceptions of the HTTP libraries."""
    try:
        yield
    except _LIBRARY_ERRORS as error:
        chain = tuple(_chain(error))
        final = _describe_permanent_error(chain)
        if final is not None:
            raise SourceUnreachableError(f"{url}: {final[0]}", hint=final[1]) from error
        unknown = any(isinstance(link, socket.gaierror) for link in chain)
        attempts = _UNKNOWN_HOST_ATTEMPTS if unknown else None
        raise TransientSourceError(url, _describe_error(chain, timeout), attempts=attempts) from error


def _describe_permanent_error(chain: tuple[BaseException, ...]) -> tuple[str, str | None] | None:
    """Returns the message and hint of an error that a retry cannot fix; None for any other error."""
    error = chain[0]
    if any(isinstance(link, PrivateAddressError) for link in chain):
        return _PRIVATE, None
    if type(error) is OSError:
        return "cannot read the CA certificate file", "check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE"
    if isinstance(error, requests.exceptions.InvalidProxyURL):
        return "the proxy address is not a valid URL", "check HTTP_PROXY, HTTPS_PROXY and ALL_PROXY"
    if isinstance(error, requests.exceptions.InvalidHeader):
        return "the server sent conflicting Content-Length headers", None
    # The source's own address was checked before, so these are about the target of a redirect.
    if isinstance(error, requests.exceptions.InvalidURL | requests.exceptions.InvalidSchema):
        return _NOT_HTTP, None
    return _describe_permanent_tls_error(chain)


def _describe_permanent_tls_error(chain: tuple[BaseException, ...]) -> tuple[str, str | None] | None:
    if any(isinstance(link, ssl.SSLCertVerificationError) for link in chain):
        return (
            "cannot verify the server's TLS certificate",
            "for a private certificate authority, set REQUESTS_CA_BUNDLE to its file",
        )
    # In the middle of a body, a TLS error is treated like any other lost connection.
    if isinstance(chain[0], requests.exceptions.SSLError) and not any(
        isinstance(link, _TLS_DISCONNECTS) for link in chain
    ):
        return "TLS handshake failed", "check that the server supports https on this port"
    return None


def _describe_error(chain: tuple[BaseException, ...], timeout: tuple[float, float]) -> str:
    connect_timeout, read_timeout = timeout
    error = chain[0]
    if isinstance(error, requests.ConnectTimeout | urllib3.exceptions.ConnectTimeoutError):
        return f"no connection after {connect_timeout:g} s"
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return f"timed out after {read_timeout:g} s"
    other = "connection failed" if isinstance(error, OSError | urllib3.exceptions.HTTPError) else _MALFORMED
    what = next((words for kind, words in _MESSAGES if any(isinstance(link, kind) for link in chain)), other)
    return f"proxy: {what}" if isinstance(error, requests.exceptions.ProxyError) else what


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yields an error and the errors that the libraries wrapped in it.

    ``__context__`` is not followed: it may be an error of another source that the caller is handling.
    """
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting:
        link = waiting.pop(0)
        if not isinstance(link, BaseException) or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [*link.args, getattr(link, "reason", None), link.__cause__]
