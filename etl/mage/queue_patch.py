"""Mage's own program, patched: ``python -m etl.mage.queue_patch start ...`` is ``mage start ...``.

Its web server is guarded by ``etl.mage.guard``, and its queue forgets no job:

Mage 0.9.80 puts a job into a queue and starts a process that takes jobs out until there are none
(``mage_ai/orchestration/queue/process_queue.py``). The job gets there by a thread, a moment later. A process that looks
in between, or one that was about to end when the job came, ends without it; from then on the scheduler takes the job
for queued, the run says *running*, nothing runs, and so it stays until another run starts. Seen on a busy machine;
mage-ai#6120 describes the same.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, Final

import jwt
import structlog
import tornado.web
from mage_ai.cli.main import app
from mage_ai.orchestration.queue.queue_factory import QueueFactory
from sqlalchemy.exc import SQLAlchemyError
from tornado.httputil import HTTPHeaders, HTTPServerRequest
from typing_extensions import override

from etl.mage.guard import Answer, Asked, Guard, hosts_of, is_success

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


def with_recovery(queue: type[Any]) -> type[Any]:
    """Returns a subclass of Mage's queue that recovers jobs that no process takes.

    Args:
        queue: ``ProcessQueue``.
    """

    class AttentiveQueue(queue):  # type: ignore[misc]  # what Mage has, which is untyped
        def clean_up_jobs(self) -> None:
            """Called by the scheduler at the end of each pass."""
            super().clean_up_jobs()
            if not self.queue.empty() and not self.is_worker_pool_alive():
                _log.warning("a job was left in Mage's queue; it is started now")
                self.start_worker_pool()

    return AttentiveQueue


def patch_queue() -> None:
    """Makes Mage use that class; Mage's own module is not imported before Mage imports it."""
    get_queue = QueueFactory.get_queue

    def get_patched_queue() -> Any:  # noqa: ANN401 -- as Mage's own
        from mage_ai.orchestration.queue import process_queue  # noqa: PLC0415

        if QueueFactory.queue is None:
            process_queue.ProcessQueue = with_recovery(process_queue.ProcessQueue)
        return get_queue()

    QueueFactory.get_queue = get_patched_queue


_CROSS_ORIGIN: Final = (
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Headers",
)


class GuardedApplication(tornado.web.Application):
    """Tornado's application as Mage creates it; it asks the guard before it finds a handler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 -- as Tornado's own
        super().__init__(*args, **kwargs)
        prefix = os.environ.get("MAGE_ROUTES_BASE_PATH") or os.environ.get("MAGE_BASE_PATH") or ""
        self.guard = Guard(
            hosts_of(os.environ),
            is_signed_in=_is_signed_in,
            is_ready=_is_ready,
            prefix=f"/{prefix.strip('/')}" if prefix else "",
        )
        self.add_transform(self._transform)  # type: ignore[arg-type]  # called with the request, as a class would be

    @override
    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        answer = self.guard.check(request)
        if answer is not None:
            return self.get_handler_delegate(request, _Refused, {"answer": answer})
        return super().find_handler(request, **kwargs)

    def _transform(self, request: HTTPServerRequest) -> _Transform:
        return _Transform(request, self.guard)


class _Refused(tornado.web.RequestHandler):
    """Responds instead of Mage, for any method."""

    def initialize(self, answer: Answer) -> None:
        self._answer = answer

    @override
    def prepare(self) -> None:
        self.set_status(self._answer.status)
        self.set_header("Content-Type", "application/json")
        for name, value in self._answer.headers.items():
            self.set_header(name, value)
        _ = self.finish(self._answer.body)


class _Transform(tornado.web.OutputTransform):
    """Removes CORS headers from responses, and records successful logins."""

    def __init__(self, request: HTTPServerRequest, guard: Guard) -> None:
        super().__init__(request)
        self._request = request
        self._guard = guard

    @override
    def transform_first_chunk(
        self, status_code: int, headers: HTTPHeaders, chunk: bytes, finishing: bool
    ) -> tuple[int, HTTPHeaders, bytes]:
        for name in _CROSS_ORIGIN:
            headers.pop(name, None)
        headers["X-Frame-Options"] = "SAMEORIGIN"
        if self._guard.is_login(self._request) and is_success(chunk):
            self._guard.note_success(self._request)
        return status_code, headers, chunk


def _is_signed_in(request: Asked) -> bool:
    """Returns whether a request has a valid Mage login."""
    from mage_ai.api.utils import authenticate_client_and_token  # noqa: PLC0415 -- needs the server's environment

    tokens = list(_tokens(request))
    client = _frontend() if tokens else None
    if client is None:
        return False
    for token in tokens:
        login, is_valid = authenticate_client_and_token(client.id, token)
        if is_valid and login.user is not None:
            return True
    return False


def _tokens(request: Asked) -> Iterator[str]:
    """Yields the tokens of a request, from the places where Mage reads them."""
    from mage_ai.api.utils import parse_cookie_header  # noqa: PLC0415 -- as above
    from mage_ai.authentication.oauth2 import decode_token  # noqa: PLC0415

    if token := request.headers.get("OAUTH-TOKEN"):
        yield token
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        yield token
    if sealed := parse_cookie_header(request.headers.get("Cookie", "")).get("oauth_token"):
        try:
            token = decode_token(sealed).get("token", "")
        except jwt.PyJWTError:
            return
        if token:
            yield token


def _is_ready() -> bool:
    """Returns whether the server knows its own page as a client; this takes some seconds after it starts to answer."""
    from mage_ai.orchestration.db import db_connection  # noqa: PLC0415 -- as above

    try:
        return _frontend() is not None
    except SQLAlchemyError as error:
        # The tables may not have been created yet.
        _log.warning("Mage's database cannot be asked", error=type(error).__name__)
        db_connection.session.rollback()
        return False


def _frontend() -> Any:  # noqa: ANN401 -- Mage is untyped
    from mage_ai.orchestration.db.models.oauth import Oauth2Application  # noqa: PLC0415 -- as above
    from mage_ai.settings import OAUTH2_APPLICATION_CLIENT_ID  # noqa: PLC0415

    return Oauth2Application.query_client(OAUTH2_APPLICATION_CLIENT_ID)


# Not under the condition below: where processes are spawned, the scheduler's gets here by another name.
patch_queue()
tornado.web.Application = GuardedApplication  # type: ignore[misc]

if __name__ == "__main__":
    sys.exit(app())
