"""HTTP connections with deadlines, whatever the server sends.

The timeouts of ``requests`` apply to each read of the socket: a server that sends one byte now and then, or endless
interim responses (``100 Continue``) or trailers, never times out. The response class below sets a deadline for all
response headers, and for each 64 KiB of the body. It also rejects headers that cannot be parsed, and drops cookies:
they are not used, and their parser need not read what a server sends.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import requests
import urllib3
from requests.adapters import HTTPAdapter
from typing_extensions import override
from urllib3.exceptions import HeaderParsingError
from urllib3.util.response import assert_header_parsing

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

STRETCH_BYTES: Final = 1 << 16
"""Bytes of a body that must arrive within the read timeout. With the default of 60 s this is 1.1 kB/s, a rate at which
an hour of 100 MB takes a day."""

_COOKIES: Final = ("Set-Cookie", "Set-Cookie2")
_HOUR_SECONDS: Final = 3600.0

_Result = TypeVar("_Result")


class MalformedHeadError(http.client.HTTPException):
    """The headers of a response cannot be parsed completely."""


class PrivateAddressError(OSError):
    """A connection that requires a public address was made to another one."""


class BoundedResponse(http.client.HTTPResponse):
    """A response with deadlines. The time limit is the socket's timeout when the response is created."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- passed on
        super().__init__(sock, *args, **kwargs)
        self._stream = _DeadlineSocket(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._stream)
        self._received = 0

    @override
    def begin(self) -> None:
        super().begin()
        try:
            assert_header_parsing(self.headers)
        except (HeaderParsingError, TypeError) as error:
            raise MalformedHeadError from error
        for name in _COOKIES:
            del self.headers[name]
        self._stream.pause()
        self._stream.renew()

    @override
    def read(self, amt: int | None = None) -> bytes:
        return self._within_deadline(super().read, amt)

    @override
    def read1(self, n: int = -1) -> bytes:
        return self._within_deadline(super().read1, n)

    def _within_deadline(self, read: Callable[[_Result], bytes], size: _Result) -> bytes:
        with self._stream.waiting():
            piece = read(size)
        self._received += len(piece)
        if self._received >= STRETCH_BYTES:
            self._received = 0
            self._stream.renew()
        return piece


class _DeadlineSocket(io.RawIOBase):
    """A socket's stream with a deadline that received data does not extend.

    Only time spent inside ``waiting`` counts, so a reader may take any time between two reads. The time until the
    first ``pause`` counts as well: it is spent on the response headers.
    """

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw
        self._timeout = sock.gettimeout() or _HOUR_SECONDS
        self._left = self._timeout
        self._deadline = time.monotonic() + self._left

    def renew(self) -> None:
        """Restarts the time limit."""
        self._left = self._timeout

    def pause(self) -> None:
        """Stops the timer."""
        self._left = self._deadline - time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Runs the timer during the block."""
        self._deadline = time.monotonic() + self._left
        try:
            yield
        finally:
            self.pause()

    @override
    def readable(self) -> bool:
        return True

    @override
    def readinto(self, buffer: WriteableBuffer, /) -> int | None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    @override
    def close(self) -> None:
        self._raw.close()
        super().close()


class _Adapter(HTTPAdapter):
    """Adapter that uses ``BoundedResponse`` for all connections, to servers and proxies."""

    def __init__(self, *, public_only: bool) -> None:
        self._public_only = public_only
        super().__init__()

    @override
    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        _use_bounded_connections(self.poolmanager, public_only=self._public_only)

    @override
    def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
        known = proxy in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **kwargs)
        if not known:
            # The peer of such a connection is the proxy, which may be in a private network.
            _use_bounded_connections(manager, public_only=False)
        return manager


class _Session(requests.Session):
    """A session that leaves redirects to its caller; its base class always reads their whole bodies."""

    @override
    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


def bounded_session(*, public_only: bool = False) -> requests.Session:
    """Returns a session whose requests all have deadlines and which does not follow redirects.

    Args:
        public_only: Refuse connections to non-public addresses, with ``PrivateAddressError`` as one of the causes of
            the error. This does not apply to connections that a proxy makes.
    """
    session = _Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _Adapter(public_only=public_only))
    return session


def is_public_address(text: str) -> bool:
    """Returns whether a text is a globally reachable IP address."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    real = mapped or address
    return real.is_global and not real.is_multicast


def _use_bounded_connections(manager: urllib3.PoolManager, *, public_only: bool) -> None:
    """Makes the pools of a manager use connections that return a ``BoundedResponse``."""
    manager.pool_classes_by_scheme = {
        scheme: _bounded_pool(pool, public_only=public_only) for scheme, pool in manager.pool_classes_by_scheme.items()
    }


def _bounded_pool(pool: type[Any], *, public_only: bool) -> type[Any]:
    members = {"ConnectionCls": _bounded_connection(pool.ConnectionCls, public_only=public_only)}
    return type(pool.__name__, (pool,), members)


def _bounded_connection(connection: type[Any], *, public_only: bool) -> type[Any]:
    def connect(self: Any) -> socket.socket:  # noqa: ANN401 -- the class created below
        sock: socket.socket = _interruptible(lambda: connection._new_conn(self))  # noqa: SLF001 -- before TLS begins
        if public_only and not is_public_address(str(sock.getpeername()[0])):
            sock.close()
            raise PrivateAddressError
        return sock

    return type(connection.__name__, (connection,), {"response_class": BoundedResponse, "_new_conn": connect})


def _interruptible(call: Callable[[], _Result]) -> _Result:
    """Calls a function so that a signal can interrupt the wait, which name resolution, for example, does not allow.

    Only the main thread receives signals. The call continues in a daemon thread.
    """
    if threading.current_thread() is not threading.main_thread():
        return call()
    future = Future[_Result]()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 -- raised in the calling thread
            future.set_exception(error)

    threading.Thread(target=work, name="connect", daemon=True).start()
    return future.result()
