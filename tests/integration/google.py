"""Small servers that stand where Google's do: a machine's metadata, a token's issuer, BigQuery, a refusing bucket."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from tests.integration.archive.server import serving
from tests.integration.warehouse.api_description import bigquery

ACCOUNT: Final = "etl-job@a-project.iam.gserviceaccount.com"

Reply = tuple[int, dict[str, Any]]


@contextmanager
def answering(reply: Callable[[str, str, bytes], Reply], headers: dict[str, str] | None = None) -> Iterator[str]:
    """Runs a server that answers every request with JSON; yields its address.

    Args:
        reply: Makes status and content of method, path and body.
        headers: What every answer carries besides.
    """

    class Bound(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go in two pieces, of which the second would wait for word of the first.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            length = int(self.headers.get("Content-Length", 0))
            code, content = reply(self.command, self.path, self.rfile.read(length))
            body = json.dumps(content).encode()
            self.send_response(code)
            for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 -- the library's names

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with serving(Bound) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@contextmanager
def metadata_server() -> Iterator[str]:
    """Runs what a machine of Google's asks for its own account; gives HOST:PORT, for GCE_METADATA_HOST."""

    def reply(_method: str, path: str, _body: bytes) -> Reply:
        if "/token" in path:
            return 200, {"access_token": "a-token", "expires_in": 3600, "token_type": "Bearer"}
        if "/service-accounts/" in path:
            return 200, {"email": ACCOUNT, "scopes": ["https://www.googleapis.com/auth/cloud-platform"], "aliases": []}
        return 200, {}

    with answering(reply, {"Metadata-Flavor": "Google"}) as url:
        yield url.removeprefix("http://")


@dataclass
class Dataset:
    """A dataset as BigQuery's server knows it.

    Attributes:
        tables: Names of its tables.
        permissions: What the account may do with a table.
        may_query: Whether the account may start jobs.
        jobs: The jobs that were sent.
        wrong: What was asked or answered that the API does not know.
        url: For BIGQUERY_EMULATOR_HOST.
    """

    tables: Collection[str] = ()
    permissions: Collection[str] = ("bigquery.tables.getData", "bigquery.tables.updateData")
    may_query: bool = True
    jobs: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    url: str = ""

    def reply(self, method: str, path: str, body: bytes) -> Reply:
        """Answers as the REST API does; every other project and dataset does not exist.

        Requests and responses are validated against Google's own description of the API.
        """
        asked = urlsplit(path)
        try:
            call = bigquery().call(method, asked.path, parse_qs(asked.query))
            if call.request is not None:
                bigquery().check(call.request, json.loads(body), sent=True)
            code, content = self._answer(method, asked.path, body)
            if call.response is not None and code == HTTPStatus.OK:
                bigquery().check(call.response, content, sent=False)
        except ValueError as error:
            self.wrong.append(str(error))
            raise
        return code, content

    def _answer(self, method: str, path: str, body: bytes) -> Reply:
        root = "/bigquery/v2/projects/a-project"
        if method == "POST" and path == f"{root}/jobs":
            return self._job(json.loads(body))
        if path == f"{root}/datasets/gharchive":
            reference = {"projectId": "a-project", "datasetId": "gharchive"}
            return 200, {"id": "a-project:gharchive", "datasetReference": reference, "location": "EU"}
        if path == f"{root}/datasets/gharchive/tables":
            return 200, {"tables": [self._listed(table) for table in self.tables]}
        if method == "POST" and re.fullmatch(rf"{root}/datasets/gharchive/tables/\w+:testIamPermissions", path):
            asked = json.loads(body)["permissions"]
            return 200, {"permissions": [permission for permission in asked if permission in self.permissions]}
        return _refusal(404, "notFound")

    def _job(self, job: dict[str, Any]) -> Reply:
        if not self.may_query:
            return _refusal(403, "accessDenied")
        self.jobs.append(job)
        return 200, {**job, "status": {"state": "DONE"}, "statistics": {"query": {"totalBytesProcessed": "0"}}}

    @staticmethod
    def _listed(table: str) -> dict[str, Any]:
        reference = {"projectId": "a-project", "datasetId": "gharchive", "tableId": table}
        return {"id": f"a-project:gharchive.{table}", "tableReference": reference, "type": "TABLE"}


@contextmanager
def serving_dataset() -> Iterator[Dataset]:
    """Runs BigQuery's server with one dataset, ``a-project.gharchive``."""
    held = Dataset()
    with answering(held.reply) as url:
        held.url = url
        yield held
    assert held.wrong == []


@contextmanager
def refusing(endpoint: str, verbs: Collection[str]) -> Iterator[str]:
    """Runs a storage server that answers 403 to these HTTP methods, and hands everything else on to the emulator."""

    class Bound(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body go in two pieces, of which the second would wait for word of the first.
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.command in verbs:
                code, content = 403, json.dumps(_refusal(403, "forbidden")[1]).encode()
                kind = "application/json"
            else:
                code, kind, content = self._handed_on(body)
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 -- the library's names

        def _handed_on(self, body: bytes) -> tuple[int, str, bytes]:
            connection = http.client.HTTPConnection(urlsplit(endpoint).netloc, timeout=10)
            try:
                headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
                connection.request(self.command, self.path, body, headers)
                answer = connection.getresponse()
                return answer.status, answer.headers.get("Content-Type", ""), answer.read()
            finally:
                connection.close()

        def log_message(self, *args: object) -> None:
            """Says nothing."""

    with serving(Bound) as server:
        yield f"http://127.0.0.1:{server.server_port}"


def _refusal(code: int, reason: str) -> Reply:
    return code, {"error": {"code": code, "message": "no", "errors": [{"reason": reason, "message": "no"}]}}
