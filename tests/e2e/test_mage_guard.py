"""A real Mage server, asked by people without a login, by other sites and by those who guess passwords."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
import requests

from etl.errors import UsageError
from etl.mage.client import API_KEY, MageClient
from etl.mage.guard import MOST_FAILURES
from tests.e2e.mage_server import OWNER, PASSWORD, Server, serving, tree

SITE: Final = "https://evil.example"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    # Whoever sets this variable has no terminal either.
    with serving(tmp_path_factory.mktemp("mage"), "http://127.0.0.1:9", env={"DISABLE_TERMINAL": "0"}) as running:
        yield running


def cookie(server: Server) -> str:
    """The cookie of somebody who is signed in."""
    return f"oauth_token={server.client()._session.cookies['oauth_token']}"


def handshake(server: Server, path: str, headers: dict[str, str]) -> int:
    """Opens a WebSocket, closes it, and returns the status of the answer."""
    from tornado.httpclient import HTTPClientError, HTTPRequest  # noqa: PLC0415 -- comes with Mage
    from tornado.websocket import websocket_connect  # noqa: PLC0415

    async def opened() -> int:
        request = HTTPRequest(f"ws://127.0.0.1:{server.port}{path}", headers=headers)
        try:
            connection = await websocket_connect(request)
        except HTTPClientError as error:
            return int(error.code)
        connection.close()
        return 101

    return asyncio.run(opened())


def test_no_websocket_starts_a_shell(server: Server) -> None:
    assert server.process is not None
    before = tree(server.process.pid)
    for headers in (
        {},
        {"Origin": SITE},
        {"Cookie": cookie(server)},
        {"Cookie": cookie(server), "Origin": server.address},
    ):
        expected = 403 if headers.get("Origin") == SITE else 404
        for path in ("/websocket/terminal", "/websocket/terminal?term_name=x"):
            assert handshake(server, path, headers) == expected
    shells = [name for pid in set(tree(server.process.pid)) - set(before) if (name := name_of(pid)) in {"bash", "sh"}]
    assert shells == []


def name_of(process: int) -> str:
    try:
        return Path(f"/proc/{process}/comm").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def test_the_websocket_of_the_pages_wants_a_login_and_its_own_site(server: Server) -> None:
    assert handshake(server, "/websocket/", {}) == 401
    assert handshake(server, "/websocket/", {"Cookie": cookie(server), "Origin": SITE}) == 403
    assert handshake(server, "/websocket/", {"Cookie": "oauth_token=a.b.c", "Origin": server.address}) == 401
    assert handshake(server, "/websocket/", {"Cookie": cookie(server), "Origin": server.address}) == 101


@pytest.mark.parametrize("path", ["statuses", "events", "event_matchers", "pipelines", "scheduler", "oauths"])
def test_nothing_of_the_api_answers_without_a_login(server: Server, path: str) -> None:
    key = {"X-API-KEY": API_KEY}
    for method in ("GET", "POST", "OPTIONS"):
        answer = requests.request(method, f"{server.address}/api/{path}", headers=key, json={}, timeout=20)
        assert answer.status_code == 401
    assert requests.get(f"{server.address}/api/{path}?api_key={API_KEY}", timeout=20).status_code == 401


def test_pages_without_a_login_lead_to_the_sign_in_page(server: Server) -> None:
    answer = requests.get(f"{server.address}/pipelines/gharchive_hour/edit", timeout=20)
    assert (answer.status_code, answer.url) == (200, f"{server.address}/sign-in")


def test_health_answers_anybody_and_tells_nothing_else(server: Server) -> None:
    answer = requests.get(f"{server.address}/api/status", headers={"Host": "10.1.2.3:8080"}, timeout=20)
    assert (answer.status_code, answer.json()) == (200, {"status": {"ready": True}})


def test_no_other_name_and_no_other_site_gets_an_answer(server: Server) -> None:
    for headers in ({"Host": "evil.example"}, {"Origin": SITE}, {"Origin": "null"}):
        answer = requests.get(
            f"{server.address}/api/pipelines",
            headers={"Cookie": cookie(server), "X-API-KEY": API_KEY, **headers},
            timeout=20,
        )
        assert answer.status_code == 403
    own = requests.get(
        f"{server.address}/api/pipelines", headers={"Cookie": cookie(server), "X-API-KEY": API_KEY}, timeout=20
    )
    assert len(own.json()["pipelines"]) == 4
    assert [name for name in own.headers if name.startswith("Access-Control")] == []


def test_wrong_passwords_are_limited(server: Server) -> None:
    signed_in = cookie(server)
    body = {"session": {"email": OWNER, "password": "wrong"}}
    codes = [
        requests.post(
            f"{server.address}/api/sessions", json=body, headers={"X-API-KEY": API_KEY}, timeout=20
        ).status_code
        for _ in range(2 * MOST_FAILURES)
    ]
    assert codes == [200] * MOST_FAILURES + [429] * MOST_FAILURES
    # Not even the right one gets in now, and who is in stays in.
    with pytest.raises(UsageError, match="too many failed logins"):
        MageClient(server.address, OWNER, PASSWORD)
    answer = requests.get(
        f"{server.address}/api/pipelines", headers={"Cookie": signed_in, "X-API-KEY": API_KEY}, timeout=20
    )
    assert json.loads(answer.text)["pipelines"]


def test_what_is_printed_is_what_a_person_needs(server: Server) -> None:
    # The password came from the environment, so it is not shown.
    assert (server.folder / "server.log").read_text(encoding="utf-8").splitlines() == [
        f"Mage is at {server.address} until Ctrl-C; its triggers are off",
        f"the server's log is {server.folder / 'server' / 'server.log'}",
    ]
    assert (server.folder / "server" / "server.log").stat().st_mode & 0o777 == 0o600
