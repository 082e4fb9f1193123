"""A server that sends bytes, sound HTTP or not."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Serve = Callable[[socket.socket], None]
"""Answers one connection whose request was read; the connection is closed afterwards."""


@contextmanager
def serving(serve: Serve) -> Iterator[str]:
    """Runs a server that answers each connection by ``serve``, which knows nothing of HTTP."""

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    def answer(connection: socket.socket) -> None:
        with connection:
            request = b""
            try:
                while b"\r\n\r\n" not in request:
                    if not (piece := connection.recv(1 << 16)):
                        return
                    request += piece
                serve(connection)
            except OSError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def sending(*pieces: bytes) -> Serve:
    return lambda connection: connection.sendall(b"".join(pieces))


def flooding(begin: bytes, again: bytes) -> Serve:
    """Sends without a pause until the client leaves."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(begin)
        while True:
            connection.sendall(again)

    return serve


def dripping(begin: bytes, again: bytes) -> Serve:
    """Sends a piece now and then, more often than the read timeout, until the client leaves."""

    def serve(connection: socket.socket) -> None:
        connection.sendall(begin)
        while not pause.wait(0.05):
            connection.sendall(again)

    pause = threading.Event()
    return serve


def head(*fields: str, line: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join((line, *fields, "", "")).encode("latin-1")
