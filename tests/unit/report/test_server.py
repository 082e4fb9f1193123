"""The server of live pages, asked over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import requests

from etl.errors import UsageError
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


def test_a_page_is_made_anew_when_it_has_changed(server: PageServer, subject: Subject) -> None:
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


def test_a_port_that_is_taken_is_told(server: PageServer) -> None:
    port = int(server.address.rstrip("/").rpartition(":")[2])

    with pytest.raises(UsageError, match="cannot listen"):
        PageServer({}, port)
