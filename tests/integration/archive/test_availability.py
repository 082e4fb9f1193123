"""Asking sources what they have: real servers, folders and a bucket, in as few requests as it takes."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from etl.archive.availability import Answer, survey
from etl.archive.source import Amount, Promise, Source
from etl.archive.sources import source_at
from etl.lake.lake import Lake
from tests.integration.archive.server import Archive, File, page, serving_archive, silence, status
from tests.integration.running import COMPANION_PATH, HOUR, PATH, put

BODY = b"\x1f\x8b" + 98 * b"x"
SIDECAR = json.dumps({"event_count": 7, "compressed_bytes": len(BODY)}).encode()


def ask(*sources: Source, timeout: float = 5.0) -> list[Answer]:
    return survey(sources, HOUR, timeout=timeout)


def requests_of(archive: Archive) -> list[tuple[str, str]]:
    asked = [(each.method, each.target) for each in archive.asked]
    archive.asked.clear()
    return asked


def test_a_sidecar_says_how_many_events_there_are_in_one_request(archive: Archive) -> None:
    archive.files |= {PATH: File(BODY), COMPANION_PATH: File(SIDECAR)}
    (answer,) = ask(source_at(archive.url))

    assert answer.promise is not None
    assert answer.promise.amount == Amount(7, len(BODY))
    assert requests_of(archive) == [("GET", COMPANION_PATH)]


def test_without_a_sidecar_the_size_of_the_file_counts(archive: Archive) -> None:
    archive.files[PATH] = File(BODY)
    source = source_at(archive.url)
    (answer,) = ask(source)

    assert answer.promise == Promise(len(BODY), '"v1"', sidecar_asked=True)
    assert requests_of(archive) == [("GET", COMPANION_PATH), ("HEAD", PATH)]
    # A source that published none is not asked for the next one.
    ask(source)
    assert requests_of(archive) == [("HEAD", PATH)]
    # Until a download finds one.
    archive.files[COMPANION_PATH] = File(SIDECAR)
    source.sidecar(HOUR)
    requests_of(archive)
    ask(source)
    assert requests_of(archive) == [("GET", COMPANION_PATH)]


@pytest.mark.parametrize("content", [b"[]", b"{", b'{"sha256": "x"}', b'{"compressed_bytes": 5}'])
def test_a_sidecar_without_a_count_promises_nothing(archive: Archive, content: bytes) -> None:
    archive.files |= {PATH: File(BODY), COMPANION_PATH: File(content)}
    (answer,) = ask(source_at(archive.url))
    assert answer.promise is not None
    assert answer.promise.amount == Amount(None, len(BODY))


def test_an_hour_that_is_not_there_is_absent(archive: Archive) -> None:
    (answer,) = ask(source_at(archive.url))
    assert answer.is_absent


def test_a_page_in_the_place_of_an_hour_promises_nothing(archive: Archive) -> None:
    archive.otherwise = page()
    (answer,) = ask(source_at(archive.url))
    assert answer.promise is None
    assert answer.cause is not None
    assert "HTML page" in answer.cause


def test_a_server_without_head_is_asked_by_get_and_not_read(archive: Archive) -> None:
    archive.files[PATH] = File(BODY)
    archive.script[PATH] = [status(405)]
    (answer,) = ask(source_at(archive.url))
    assert answer.promise is not None
    assert answer.promise.bytes == len(BODY)


def test_a_failing_sidecar_does_not_make_a_source_down(archive: Archive) -> None:
    archive.files[PATH] = File(BODY)
    archive.script[COMPANION_PATH] = [status(503)]
    (answer,) = ask(source_at(archive.url))
    assert answer.promise is not None


@contextmanager
def black_hole() -> Iterator[str]:
    """An address to which no connection comes about: the queue of its listener is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)  # noqa: FBT003 -- takes no name
            waiting.connect_ex(listener.getsockname())
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_sources_that_do_not_answer_cost_one_short_timeout_together(archive: Archive) -> None:
    archive.files[PATH] = File(BODY)
    with black_hole() as hole, serving_archive() as silent, serving_archive() as failing:
        silent.otherwise = silence()
        failing.otherwise = status(500)
        sources = [source_at(url) for url in (hole, silent.url, failing.url, archive.url)]
        answers = ask(*sources, timeout=0.5)

    assert [answer.promise is not None for answer in answers] == [False, False, False, True]
    # Not the 10 and 60 s that a download waits.
    assert all("0.5 s" in str(answer.cause) for answer in answers[:2])
    assert "HTTP 500" in str(answers[2].cause)
    assert not [thread for thread in threading.enumerate() if thread.name == "survey" and not thread.daemon]


def test_a_source_with_a_defect_is_down_and_ends_nothing() -> None:
    class Broken(type(source_at("http://localhost"))):  # type: ignore[misc]
        def describe(self, hour: object, *, timeout: float) -> None:
            raise KeyError(hour, timeout)

    (answer,) = ask(Broken("http://localhost", connect_timeout=1, read_timeout=1))
    assert answer.cause == "unexpected KeyError"


def test_a_folder_says_the_size_of_its_file(tmp_path: Path) -> None:
    source = source_at(str(tmp_path))
    assert ask(source)[0].is_absent
    put(tmp_path, BODY)
    (answer,) = ask(source)
    assert answer.promise is not None
    assert answer.promise.amount == Amount(None, len(BODY))
    with source.open(HOUR) as body:
        assert answer.promise.etag == body.etag
    (tmp_path / COMPANION_PATH.strip("/")).write_bytes(SIDECAR)
    (answer,) = ask(source)
    assert answer.promise is not None
    assert answer.promise.amount == Amount(7, len(BODY))


def test_a_bucket_says_the_size_of_its_object(gcs_address: str) -> None:
    store = Lake.at(gcs_address).store
    source = source_at(gcs_address)
    assert ask(source)[0].is_absent
    store.write(PATH.strip("/"), BODY)
    (answer,) = ask(source_at(gcs_address))
    assert answer.promise is not None
    assert answer.promise.amount == Amount(None, len(BODY))
    with source.open(HOUR) as body:
        assert answer.promise.etag == body.etag
    store.write(COMPANION_PATH.strip("/"), SIDECAR)
    (answer,) = ask(source_at(gcs_address))
    assert answer.promise is not None
    assert answer.promise.amount == Amount(7, len(BODY))
