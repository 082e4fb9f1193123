"""The server of live pages, asked over HTTP."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.client import HTTPConnection

import pytest
import requests

from etl.errors import UsageError
from etl.report import server as servers
from etl.report.server import LivePage, PageServer


@dataclass
class Subject:
    """What a page shows."""

    version: int = 1
    made: list[int] = field(default_factory=list)

    def render(self) -> str:
        if not self.version:
            raise UsageError("there is nothing to show", hint="make something")
        self.made.append(self.version)
        return f"<h1>version {self.version}</h1>"


@pytest.fixture
def subject() -> Subject:
    return Subject()


@pytest.fixture
def server(subject: Subject) -> Iterator[PageServer]:
    server = PageServer({"/": LivePage(lambda: subject.version, subject.render)}, port=0)
    thread = threading.Thread(target=server.serve)
    thread.start()
    yield server
    server.stop()
    thread.join()


def test_a_page_is_rendered_again_when_it_has_changed(server: PageServer, subject: Subject) -> None:
    texts = [requests.get(server.address, timeout=10).text for _ in range(2)]
    subject.version = 2
    texts.append(requests.get(server.address, timeout=10).text)

    assert texts == ["<h1>version 1</h1>", "<h1>version 1</h1>", "<h1>version 2</h1>"]
    assert subject.made == [1, 2]


def test_a_page_that_cannot_be_made_says_why(server: PageServer, subject: Subject) -> None:
    subject.version = 0

    answer = requests.get(server.address, timeout=10)

    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert answer.text == "there is nothing to show\nmake something\n"


def test_other_paths_are_not_found(server: PageServer) -> None:
    assert requests.get(f"{server.address}etc/passwd", timeout=10).status_code == 404


def test_head_has_no_body(server: PageServer) -> None:
    answer = requests.head(server.address, timeout=10)

    assert (answer.status_code, answer.text) == (200, "")
    assert int(answer.headers["Content-Length"]) == len("<h1>version 1</h1>")


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com:80", ""])
def test_other_names_are_refused(server: PageServer, host: str) -> None:
    answer = requests.get(server.address, headers={"Host": host}, timeout=10)

    assert answer.status_code == 403
    assert "version" not in answer.text


def test_localhost_is_a_name_of_this_machine(server: PageServer) -> None:
    port = server.address.rstrip("/").rpartition(":")[2]

    assert requests.get(server.address, headers={"Host": f"localhost:{port}"}, timeout=10).status_code == 200


def port_of(server: PageServer) -> int:
    return int(server.address.rstrip("/").rpartition(":")[2])


def test_a_request_is_answered_while_500_connections_are_idle(server: PageServer) -> None:
    before = threading.active_count()
    with ExitStack() as idle:
        for number in range(500):
            connection = idle.enter_context(socket.create_connection(("127.0.0.1", port_of(server)), timeout=10))
            if number % 2:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: ")  # a head that is never finished

        assert requests.get(server.address, timeout=10).status_code == 200
        assert threading.active_count() <= before + 2 * servers._MOST_IDLE


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: localhost:80\r\n"])
def test_an_idle_connection_is_closed_without_a_word(
    server: PageServer, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], sent: bytes
) -> None:
    monkeypatch.setattr(servers, "_IDLE_SECONDS", 0.2)
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
        connection.sendall(sent)
        while connection.recv(4096):
            pass

    assert requests.get(server.address, timeout=10).status_code == 200
    shown = capfd.readouterr()
    assert "Traceback" not in shown.err + shown.out
    assert "warning" not in shown.err + shown.out


def test_a_connection_is_kept_for_the_next_request(server: PageServer) -> None:
    connection = HTTPConnection("127.0.0.1", port_of(server), timeout=10)
    ports = []
    for _ in range(3):
        connection.request("GET", "/")
        assert connection.getresponse().read() == b"<h1>version 1</h1>"
        ports.append(connection.sock.getsockname()[1])
    connection.close()

    assert len(set(ports)) == 1


def test_a_client_that_hangs_up_leaves_no_traceback(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_connection(("127.0.0.1", port_of(server)), timeout=10) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closes with a reset
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost:80\r\n")

    assert requests.get(server.address, timeout=10).status_code == 200
    assert "Traceback" not in capfd.readouterr().err


def test_a_port_that_is_taken_is_reported(server: PageServer) -> None:
    port = int(server.address.rstrip("/").rpartition(":")[2])

    with pytest.raises(UsageError, match="cannot listen"):
        PageServer({}, port)
