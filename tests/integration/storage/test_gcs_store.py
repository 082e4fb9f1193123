"""What only a bucket can do wrong: it is not there, not allowed, or does not answer."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from typing_extensions import override

from etl.errors import NotPublishedError, SourceUnreachableError, StoreError
from etl.lake.lake import store_at
from etl.storage import gcs
from etl.storage.gcs_store import GcsStore
from etl.storage.store import Store

KEY = "events/x.parquet"
CHUNK = 8 << 20


def _write(store: Store) -> None:
    store.write(KEY, b"x")


def _stream(store: Store) -> None:
    with store.writer(KEY) as stream:
        stream.write(b"x")


_USES: list[Callable[[Store], object]] = [
    lambda store: store.stat(KEY),
    lambda store: store.read(KEY),
    lambda store: store.open(KEY),
    lambda store: list(store.list("")),
    _write,
    _stream,
    lambda store: store.delete(KEY),
]
_USE_NAMES = ["stat", "read", "open", "list", "write", "writer", "delete"]


@pytest.mark.usefixtures("gcs_emulator")
@pytest.mark.parametrize("use", _USES, ids=_USE_NAMES)
def test_a_bucket_that_does_not_exist_is_no_empty_lake(use: Callable[[Store], object]) -> None:
    with pytest.raises(StoreError, match=r"gs://no-such-bucket.* does not exist") as caught:
        use(store_at("gs://no-such-bucket/lake"))
    assert "gcloud storage buckets create" in (caught.value.hint or "")


def test_a_lake_may_fill_a_whole_bucket(gcs_address: str) -> None:
    bucket, prefix = gcs.split(gcs_address)
    whole = GcsStore(bucket)
    whole.write(f"{prefix}/a", b"a")
    whole.write(f"{prefix}b/a", b"b")
    assert whole.url("a") == f"gs://{bucket}/a"
    assert [info.key for info in GcsStore(bucket, prefix).list("")] == ["a"]
    assert [info.key for info in whole.list(f"{prefix}/")] == [f"{prefix}/a"]


def test_folders_made_in_the_console_are_passed_over(gcs_address: str) -> None:
    bucket, prefix = gcs.split(gcs_address)
    gcs.client().bucket(bucket).blob(f"{prefix}/events/").upload_from_string(b"")
    store = store_at(gcs_address)
    store.write(KEY, b"x")
    assert [info.key for info in store.list("")] == [KEY]


class _Google(BaseHTTPRequestHandler):
    """A server that speaks as much of Google's protocol as a test wants."""

    protocol_version = "HTTP/1.1"
    # Head and body go in two pieces, of which the second would wait for word of the first.
    disable_nagle_algorithm = True
    seen: list[tuple[str, str]]
    answer: Callable[[_Google], tuple[int, dict[str, str]]]

    def _handle(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.rfile.read(length)
        type(self).seen.append((self.command, self.headers.get("Content-Range", "")))
        status, headers = type(self).answer(self)
        self.send_response(status)
        for name, value in ({"Content-Length": "0"} | headers).items():
            self.send_header(name, value)
        self.end_headers()

    do_GET = do_PUT = do_POST = do_DELETE = _handle  # noqa: N815

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Keeps quiet."""


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[_Google]]:
    handler = type("Handler", (_Google,), {"seen": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("use", _USES, ids=_USE_NAMES)
@pytest.mark.parametrize(
    ("status", "message", "hint"),
    [
        (HTTPStatus.UNAUTHORIZED, "credentials", "gcloud auth application-default login"),
        (HTTPStatus.FORBIDDEN, "permission denied for gs://bucket/lake", "roles/storage.objectUser"),
        (HTTPStatus.SERVICE_UNAVAILABLE, "cannot reach|HTTP 503", "again"),
        (HTTPStatus.BAD_REQUEST, "HTTP 400", "again"),
    ],
)
def test_refusals_are_explained(
    google: type[_Google], use: Callable[[Store], object], status: HTTPStatus, message: str, hint: str
) -> None:
    google.answer = lambda _: (status, {})
    with pytest.raises(StoreError, match=message) as caught:
        use(GcsStore("bucket", "lake", retry_timeout=0.01))
    gc.collect()  # A connection that was left open would be noticed here.
    assert "gs://bucket" in caught.value.message
    assert hint in (caught.value.hint or "")


@pytest.mark.parametrize("use", _USES, ids=_USE_NAMES)
def test_silence_is_explained(monkeypatch: pytest.MonkeyPatch, use: Callable[[Store], object]) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    with pytest.raises(StoreError, match="cannot reach") as caught:
        use(GcsStore("bucket", "lake", retry_timeout=0.01))
    assert "network" in (caught.value.hint or "")


def test_an_upload_that_cannot_be_called_off_is_not_completed(google: type[_Google]) -> None:
    """The library completes a forgotten upload when it is collected as garbage; ours must not."""

    def answer(request: _Google) -> tuple[int, dict[str, str]]:
        if request.command == "POST":
            return 200, {"Location": f"http://{request.headers['Host']}/session"}
        if request.command == "PUT":
            return 308, {"Range": f"bytes=0-{CHUNK - 1}"}
        return 503, {}

    google.answer = answer
    store = GcsStore("bucket", retry_timeout=0.01)
    with pytest.raises(ZeroDivisionError), store.writer(KEY) as stream:
        stream.write(bytes(CHUNK + 1))
        raise ZeroDivisionError
    del stream
    gc.collect()
    assert google.seen == [("POST", ""), ("PUT", f"bytes 0-{CHUNK - 1}/*"), ("DELETE", "")]


def test_an_upload_that_failed_is_not_tried_again_behind_our_back(google: type[_Google]) -> None:
    google.answer = lambda request: (
        (200, {"Location": f"http://{request.headers['Host']}/session"}) if request.command == "POST" else (400, {})
    )
    with pytest.raises(StoreError, match="HTTP 400"):
        _stream(GcsStore("bucket", retry_timeout=0.01))
    gc.collect()
    assert [method for method, _ in google.seen] == ["POST", "PUT"]


def test_a_chunk_taken_in_part_is_an_error(google: type[_Google]) -> None:
    google.answer = lambda request: (
        (200, {"Location": f"http://{request.headers['Host']}/session"})
        if request.command == "POST"
        else (308, {"Range": "bytes=0-99"})
    )
    store = GcsStore("bucket", retry_timeout=0.01)
    with pytest.raises(StoreError, match="was interrupted"), store.writer(KEY) as stream:
        stream.write(bytes(CHUNK))
        stream.write(bytes(CHUNK))


@pytest.mark.parametrize(("status", "error"), [(404, NotPublishedError), (403, SourceUnreachableError)])
def test_another_room_names_its_own_errors(google: type[_Google], status: int, error: type[Exception]) -> None:
    google.answer = lambda _: (status, {})
    blob = gcs.client().bucket("archive").blob("x")
    with (
        pytest.raises(error, match="gs://archive/x"),
        gcs.explained("gs://archive/x", failed=SourceUnreachableError, absent=NotPublishedError),
    ):
        blob.download_as_bytes()


_WITHOUT = """
import sys
sys.modules.update({name: None for name in sys.argv[1:]})
from etl.errors import EtlError
from etl.lake.lake import store_at
try:
    store_at("gs://bucket/lake")
except EtlError as error:
    print(type(error).__name__, error.message, error.hint, sep="|")
"""


def _without(*modules: str, home: Path) -> list[str]:
    environment = {"HOME": str(home), "NO_GCE_CHECK": "true", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *modules], capture_output=True, text=True, check=True, env=environment
    )
    return done.stdout.strip().split("|")


def test_without_the_library(tmp_path: Path) -> None:
    kind, message, hint = _without("google.cloud.storage", home=tmp_path)
    assert kind == "UsageError"
    assert "not installed" in message
    assert "pip install '.[gcp]'" in hint


def test_without_credentials(tmp_path: Path) -> None:
    kind, message, hint = _without(home=tmp_path)
    assert kind == "StoreError"
    assert "no Google Cloud credentials" in message
    assert hint == "run: gcloud auth application-default login"


def test_a_folder_needs_no_cloud_library(tmp_path: Path) -> None:
    code = (
        "import sys; from etl.lake.lake import Lake; Lake.at(sys.argv[1]);"
        "print([name for name in sys.modules if 'google' in name])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
