"""A mail server of our own that takes every mail and delivers none."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage

from typing_extensions import override


@dataclass
class Mailbox:
    """Where mails go.

    Attributes:
        port: Where it listens, on 127.0.0.1.
        received: The mails that came.
    """

    port: int = 0
    received: list[EmailMessage] = field(default_factory=list)


@contextmanager
def receiving() -> Iterator[Mailbox]:
    """A mail server that answers while the block runs."""
    box = Mailbox()

    class Handler(socketserver.StreamRequestHandler):
        @override
        def handle(self) -> None:
            self._say("220 here")
            while line := self.rfile.readline():
                word = line[:4].upper().strip()
                if word == b"DATA":
                    self._say("354 go on")
                    box.received.append(self._mail())
                self._say("221 bye" if word == b"QUIT" else "250 fine")
                if word == b"QUIT":
                    return

        def _mail(self) -> EmailMessage:
            lines = []
            while (line := self.rfile.readline()) not in {b".\r\n", b""}:
                lines.append(line)
            return message_from_bytes(b"".join(lines), policy=policy.default)

        def _say(self, text: str) -> None:
            self.wfile.write(f"{text}\r\n".encode())

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        box.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield box
        finally:
            server.shutdown()
            thread.join()
