"""An hour of several sources: which one is used, what is kept of it, and what the manifest records about all."""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.errors import DamagedError, NotPublishedError, ShrinkRefusedError, SourceUnreachableError
from etl.hour_pipeline import Outcome
from etl.lake.lake import Lake
from etl.lake.manifest import Manifest, SourceAnswer, SourceReply, Status
from etl.source_selection import Completeness
from tests.integration.archive.server import Answer, Archive, File, Handler, page, serving_archive, status, well
from tests.integration.running import (
    COMPANION_PATH,
    HOUR,
    PATH,
    documents,
    packed,
    put,
    quarantined,
    run,
    sound,
    stored_rows,
)

LINES = documents(300)
WHOLE = packed(LINES)
POOR = packed(LINES[:3])
HALF = packed(LINES[:150])
TRUNCATED = WHOLE[: len(WHOLE) * 2 // 3]
CUT = packed([*LINES[:200], *(b'{"id":"1","type":"Cut\n' for _ in range(50))])
"""A fifth of it is unreadable."""


@pytest.fixture
def mirror() -> Iterator[Archive]:
    with serving_archive() as held:
        yield held


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake.at(str(tmp_path / "lake"))


def serve(archive: Archive, content: bytes, *, events: int | None = None, etag: str = '"v1"') -> None:
    """Lets an archive have the hour, with a manifest beside it that announces so many events."""
    archive.files[PATH] = File(content, etag)
    archive.files.pop(COMPANION_PATH, None)
    if events is not None:
        facts = {
            "event_count": events,
            "compressed_bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
        }
        archive.files[COMPANION_PATH] = File(json.dumps(facts).encode())


def get_only(answer: Answer) -> Answer:
    """Answers HEAD as a sound server, and GET in this way."""

    def either(handler: Handler, file: File | None) -> None:
        (well() if handler.command == "HEAD" else answer)(handler, file)

    return either


def requests_of(archive: Archive) -> list[tuple[str, str]]:
    asked = [(each.method, each.target) for each in archive.asked]
    archive.asked.clear()
    return asked


def answers(manifest: Manifest) -> list[tuple[SourceReply, int | None, bool]]:
    return [(each.answer, each.events, each.taken) for each in manifest.sources]


def source_of(manifest: Manifest) -> str:
    assert manifest.content is not None
    return manifest.content.source.address


def nothing_is_left(lake: Lake) -> bool:
    return not [path for path in (Path(lake.address) / ".tmp").iterdir() if path.suffix == ".part"]


# ---- the choice


def test_the_fullest_source_is_used_and_all_are_recorded(archive: Archive, mirror: Archive, lake: Lake) -> None:
    serve(archive, POOR)
    serve(mirror, WHOLE, events=300)
    manifest = run(lake, archive.url, mirror.url).manifest

    assert manifest == sound(lake)
    assert source_of(manifest) == mirror.url + PATH
    assert len(stored_rows(lake)) == 300
    first, second = manifest.sources
    assert first == SourceAnswer(
        address=archive.url + PATH,
        answer=SourceReply.PROMISED,
        bytes=len(POOR),
        etag='"v1"',
        why="it promises no more",
    )
    assert second == SourceAnswer(
        address=mirror.url + PATH,
        answer=SourceReply.PROMISED,
        bytes=len(WHOLE),
        etag='"v1"',
        sha256=hashlib.sha256(WHOLE).hexdigest(),
        promised_events=300,
        documents=300,
        events=300,
        taken=True,
        why="it promises clearly more than the others",
    )


def test_it_takes_two_requests_more_than_the_first_source_alone(
    archive: Archive, mirror: Archive, lake: Lake, tmp_path: Path
) -> None:
    serve(archive, POOR)
    serve(mirror, WHOLE, events=300)
    run(Lake.at(str(tmp_path / "other")), mirror.url)
    assert requests_of(mirror) == [("GET", PATH), ("GET", COMPANION_PATH)]
    run(lake, archive.url, mirror.url)
    assert requests_of(archive) == [("GET", COMPANION_PATH), ("HEAD", PATH)]
    assert requests_of(mirror) == [("GET", COMPANION_PATH), ("GET", PATH)]


def test_within_five_per_cent_the_first_is_taken(archive: Archive, mirror: Archive, lake: Lake) -> None:
    serve(archive, packed(LINES[:290]), events=290)
    serve(mirror, WHOLE, events=300)
    manifest = run(lake, archive.url, mirror.url).manifest
    assert source_of(manifest) == archive.url + PATH
    assert [each.why for each in manifest.sources] == [
        "it comes first of those that promise about as much",
        "it promises no more",
    ]


@pytest.mark.parametrize("completeness", [Completeness.FIRST, Completeness.FULLEST])
def test_with_one_source_and_with_first_nobody_is_asked_before(
    archive: Archive, mirror: Archive, lake: Lake, completeness: Completeness
) -> None:
    serve(archive, POOR)
    serve(mirror, WHOLE, events=300)
    sources = [archive.url, mirror.url] if completeness is Completeness.FIRST else [archive.url]
    manifest = run(lake, *sources, completeness=completeness).manifest
    assert requests_of(archive) == [("GET", PATH), ("GET", COMPANION_PATH)]
    assert requests_of(mirror) == []
    assert answers(manifest) == [(SourceReply.PROMISED, 3, True)]


# ---- sources that do not keep what they promise


@pytest.mark.parametrize("broken", [status(404), status(403), page(), page("application/gzip", b"<html>")])
def test_a_source_that_fails_is_followed_by_the_next(
    archive: Archive, mirror: Archive, lake: Lake, broken: Answer
) -> None:
    serve(archive, WHOLE)
    serve(mirror, HALF)
    archive.otherwise = get_only(broken)
    manifest = run(lake, archive.url, mirror.url).manifest

    assert manifest == sound(lake)
    assert source_of(manifest) == mirror.url + PATH
    assert [each.taken for each in manifest.sources] == [False, True]
    assert manifest.sources[0].answer is not SourceReply.PROMISED
    assert manifest.sources[1].why == "it is the best of what could be read"


@pytest.mark.parametrize(
    ("damaged", "other", "kept", "status_"),
    [
        (TRUNCATED, HALF, "first", Status.PARTIAL),
        (TRUNCATED, packed(LINES[:280]), "second", Status.COMPLETE),
        (CUT, packed(LINES[:198]), "second", Status.COMPLETE),
        (CUT, packed(LINES[:150]), "first", Status.PARTIAL),
        (TRUNCATED, POOR, "first", Status.PARTIAL),
    ],
    ids=["more though cut short", "whole", "as much and sound", "more though damaged", "hopeless"],
)
def test_of_what_was_read_the_better_is_kept(
    archive: Archive, mirror: Archive, lake: Lake, damaged: bytes, other: bytes, kept: str, status_: Status
) -> None:
    serve(archive, damaged)
    serve(mirror, other)
    if status_ is Status.PARTIAL:
        with pytest.raises(DamagedError):
            run(lake, archive.url, mirror.url)
    else:
        run(lake, archive.url, mirror.url)
    manifest = sound(lake)

    assert manifest.status is status_
    assert source_of(manifest) == (archive if kept == "first" else mirror).url + PATH
    assert manifest.content is not None
    assert len(stored_rows(lake)) == manifest.content.events
    assert (manifest.content.quarantine_file is None) == (quarantined(lake) == [])
    assert nothing_is_left(lake)
    if other == POOR:
        assert ("GET", PATH) not in requests_of(mirror), "what promises less than was read is not fetched"


def test_a_sidecar_that_promises_more_than_its_body(archive: Archive, mirror: Archive, lake: Lake) -> None:
    """Both say events, so that the lie decides which one is read first."""
    serve(archive, HALF, events=150)
    serve(mirror, POOR, events=100_000)
    manifest = run(lake, archive.url, mirror.url).manifest

    assert source_of(manifest) == archive.url + PATH
    assert manifest.status is Status.COMPLETE
    assert answers(manifest) == [(SourceReply.PROMISED, 150, True), (SourceReply.PROMISED, 3, False)]
    assert manifest.sources[1].promised_events == 100_000


@pytest.mark.parametrize("behind", [1, -1, 24])
def test_a_source_that_serves_another_hour(archive: Archive, mirror: Archive, lake: Lake, behind: int) -> None:
    serve(archive, packed(documents(600, hour=HOUR - behind)))
    serve(mirror, HALF)
    manifest = run(lake, archive.url, mirror.url).manifest
    assert manifest.status is Status.COMPLETE
    assert source_of(manifest) == mirror.url + PATH
    assert answers(manifest) == [(SourceReply.PROMISED, 600, False), (SourceReply.PROMISED, 150, True)]


def test_an_hour_that_only_a_source_with_another_hour_has_is_suspect(archive: Archive, lake: Lake) -> None:
    serve(archive, packed(documents(60, hour=HOUR - 1)))
    manifest = run(lake, archive.url).manifest
    assert manifest.status is Status.SUSPECT
    assert manifest.reason == "its events are from 2015-01-01 14:00 to 2015-01-01 14:59: it may be another hour"


def test_a_size_that_belongs_to_an_error_page(archive: Archive, mirror: Archive, lake: Lake) -> None:
    serve(archive, HALF)
    mirror.otherwise = page("application/octet-stream", b"<html>" + len(WHOLE) * b" ")
    manifest = run(lake, archive.url, mirror.url).manifest
    assert source_of(manifest) == archive.url + PATH
    assert manifest.sources[1].answer is SourceReply.DOWN
    assert "HTML page" in str(manifest.sources[1].cause)


def test_a_size_that_is_larger_than_the_file(archive: Archive, mirror: Archive, lake: Lake) -> None:
    """A proxy may answer HEAD with what it had before."""
    serve(archive, HALF)
    serve(mirror, POOR)

    def larger(handler: Handler, file: File | None) -> None:
        if handler.command == "HEAD":
            handler.head(200, {}, len(WHOLE))
        else:
            well()(handler, file)

    mirror.otherwise = larger
    manifest = run(lake, archive.url, mirror.url).manifest
    assert source_of(manifest) == archive.url + PATH
    assert answers(manifest) == [(SourceReply.PROMISED, 150, True), (SourceReply.PROMISED, 3, False)]


def test_a_file_that_is_replaced_after_its_sidecar_was_read(archive: Archive, mirror: Archive, lake: Lake) -> None:
    """The sidecar is asked for again where it does not agree, as it may be older than the file."""
    serve(archive, POOR)
    serve(mirror, HALF, events=150)

    def renewed(handler: Handler, _: File | None) -> None:
        serve(mirror, WHOLE, events=300, etag='"v2"')
        well()(handler, mirror.files[PATH])

    mirror.script[PATH] = [renewed]
    manifest = run(lake, archive.url, mirror.url).manifest
    assert manifest.content is not None
    assert (manifest.status, manifest.content.events, manifest.content.source.sidecar) == (Status.COMPLETE, 300, True)


# ---- hours that are not there, sources that are down


def test_an_hour_that_no_source_has_is_asked_for_once(archive: Archive, mirror: Archive, lake: Lake) -> None:
    with pytest.raises(NotPublishedError, match=f"404 at {archive.url}{PATH}, {mirror.url}{PATH}"):
        run(lake, archive.url, mirror.url)
    for each in (archive, mirror):
        assert [method for method, target in requests_of(each) if target == PATH] == ["HEAD"]
    manifest = lake.manifest(HOUR)
    assert manifest is not None
    assert answers(manifest) == 2 * [(SourceReply.ABSENT, None, False)]


def test_a_source_that_is_down_does_not_fail_an_hour_that_another_has(
    archive: Archive, mirror: Archive, lake: Lake
) -> None:
    archive.otherwise = status(503)
    serve(mirror, POOR)
    manifest = run(lake, archive.url, mirror.url).manifest
    assert answers(manifest) == [(SourceReply.DOWN, None, False), (SourceReply.PROMISED, 3, True)]
    assert "HTTP 503" in str(manifest.sources[0].cause)
    assert len(requests_of(archive)) == 2, "the question is not repeated"


def test_a_source_that_was_down_for_a_moment_is_tried_where_no_other_has_the_hour(
    archive: Archive, mirror: Archive, lake: Lake
) -> None:
    serve(archive, POOR)
    archive.script |= {PATH: [status(503)], COMPANION_PATH: [status(503)]}
    manifest = run(lake, archive.url, mirror.url).manifest
    assert answers(manifest) == [(SourceReply.PROMISED, 3, True), (SourceReply.ABSENT, None, False)]


def test_where_all_fail_the_hour_is_failed_and_says_why(archive: Archive, mirror: Archive, lake: Lake) -> None:
    archive.otherwise = status(503)
    with pytest.raises(SourceUnreachableError, match="HTTP 503"):
        run(lake, archive.url, mirror.url)
    manifest = lake.manifest(HOUR)
    assert manifest is not None
    assert manifest.status is Status.FAILED
    assert [each.answer for each in manifest.sources] == [SourceReply.DOWN, SourceReply.ABSENT]


# ---- hours that are stored


def test_a_refresh_takes_a_fuller_source_and_no_poorer_one(archive: Archive, mirror: Archive, lake: Lake) -> None:
    serve(archive, HALF)
    run(lake, archive.url)
    before = sound(lake)
    serve(mirror, POOR)
    result = run(lake, archive.url, mirror.url, refresh=True)
    assert result.outcome is Outcome.UNCHANGED
    assert result.manifest == sound(lake)
    assert (result.manifest.content, result.manifest.finished_at) == (before.content, before.finished_at)
    assert result.manifest.asked_at is not None
    assert [method for method, target in requests_of(mirror) if target == PATH] == ["HEAD"]
    serve(mirror, WHOLE)
    assert run(lake, archive.url, mirror.url, refresh=True).outcome is Outcome.REPLACED
    assert source_of(sound(lake)) == mirror.url + PATH


def test_a_partial_hour_is_replaced_by_another_source_that_has_all(
    archive: Archive, mirror: Archive, lake: Lake
) -> None:
    serve(archive, TRUNCATED)
    with pytest.raises(DamagedError):
        run(lake, archive.url)
    serve(mirror, WHOLE)
    assert run(lake, archive.url, mirror.url).outcome is Outcome.REPLACED
    assert sound(lake).status is Status.COMPLETE


def test_a_lying_source_is_not_read_again_as_long_as_it_tells_the_same_lie(
    archive: Archive, mirror: Archive, lake: Lake
) -> None:
    serve(archive, HALF)
    run(lake, archive.url)
    serve(mirror, POOR, events=100_000)
    with pytest.raises(ShrinkRefusedError):
        run(lake, archive.url, mirror.url, recheck=True)
    requests_of(mirror)
    assert run(lake, archive.url, mirror.url, recheck=True).outcome is Outcome.UNCHANGED
    assert requests_of(mirror) == [("GET", COMPANION_PATH)]
    manifest = sound(lake)
    assert source_of(manifest) == archive.url + PATH
    assert manifest.sources[1].why == "it was read before"


def test_a_recheck_of_a_sound_hour_whose_other_source_is_down_changes_nothing(
    archive: Archive, mirror: Archive, lake: Lake
) -> None:
    serve(archive, HALF)
    run(lake, archive.url)
    mirror.otherwise = status(503)
    result = run(lake, archive.url, mirror.url, recheck=True)
    assert result.outcome is Outcome.UNCHANGED
    assert [each.answer for each in sound(lake).sources] == [SourceReply.PROMISED, SourceReply.DOWN]


def test_a_folder_can_be_the_fuller_source(archive: Archive, lake: Lake, tmp_path: Path) -> None:
    serve(archive, POOR)
    folder = put(tmp_path / "kept", WHOLE)
    assert source_of(run(lake, archive.url, folder).manifest) == str(folder / f"{HOUR}.json.gz")


def test_the_sizes_used_here_are_as_far_apart_as_they_are_meant_to_be() -> None:
    assert len(POOR) * 5 < len(HALF) < len(WHOLE) * 0.7
    with pytest.raises((EOFError, zlib.error)):
        gzip.decompress(TRUNCATED)
