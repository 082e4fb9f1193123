from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import StoreError
from etl.hours import Hour
from etl.lake.manifest import (
    MANIFEST_VERSION,
    Content,
    DamageCounts,
    FileFacts,
    Manifest,
    Replaced,
    SourceAnswer,
    SourceFacts,
    SourceReply,
    Status,
    decode,
    decode_content,
    encode,
    encode_content,
    is_of_later_version,
)

HOUR = Hour.of(2015, 1, 1, 15)
_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_COUNT = st.integers(min_value=0, max_value=2**53)
_INSTANT = st.datetimes(timezones=st.just(UTC), min_value=datetime(2011, 1, 1), max_value=datetime(2100, 1, 1))  # noqa: DTZ001
_FILE = st.builds(FileFacts, key=_TEXT, bytes=_COUNT, rows=_COUNT, sha256=_TEXT)
_CONTENT = st.builds(
    Content,
    hour=st.just(str(HOUR)),
    status=st.sampled_from([status for status in Status if status.has_events]),
    reason=st.none() | _TEXT,
    era=st.sampled_from(["A", "B", "CD"]),
    source=st.builds(
        SourceFacts,
        address=_TEXT,
        etag=st.none() | _TEXT,
        last_modified=st.none() | _TEXT,
        bytes=_COUNT,
        sha256=_TEXT,
        sidecar=st.booleans(),
        interrupted=st.booleans(),
        redirected_to=st.none() | _TEXT,
    ),
    documents=_COUNT,
    events=_COUNT,
    unreadable=_COUNT,
    repaired=_COUNT,
    duplicates=_COUNT,
    types=st.dictionaries(_TEXT, _COUNT, max_size=3),
    first_created_at=st.none() | _INSTANT,
    last_created_at=st.none() | _INSTANT,
    damage=st.lists(st.builds(DamageCounts, reason=_TEXT, count=_COUNT, bytes=_COUNT), max_size=2),
    quarantine_file=st.none() | _FILE,
    schema_version=_COUNT,
    emails=_TEXT,
    software=_TEXT,
)
_MANIFEST = st.builds(
    Manifest,
    version=st.sampled_from([1, MANIFEST_VERSION]),
    hour=st.just(str(HOUR)),
    status=st.sampled_from(Status),
    reason=st.none() | _TEXT,
    content=st.none() | _CONTENT,
    events_file=st.none() | _FILE,
    started_at=_INSTANT,
    finished_at=_INSTANT,
    attempts=_COUNT,
    replaced=st.none()
    | st.builds(
        Replaced,
        address=_TEXT,
        etag=st.none() | _TEXT,
        bytes=_COUNT,
        sha256=_TEXT,
        status=st.sampled_from([status for status in Status if status.has_events]),
        events=_COUNT,
        written_at=_INSTANT,
    ),
    sources=st.lists(
        st.builds(
            SourceAnswer,
            address=_TEXT,
            answer=st.sampled_from(SourceReply),
            cause=st.none() | _TEXT,
            bytes=st.none() | _COUNT,
            etag=st.none() | _TEXT,
            sha256=st.none() | _TEXT,
            promised_events=st.none() | _COUNT,
            documents=st.none() | _COUNT,
            events=st.none() | _COUNT,
            taken=st.booleans(),
            why=_TEXT,
        ),
        max_size=2,
    ),
    asked_at=st.none() | _INSTANT,
)


@given(manifest=_MANIFEST)
def test_a_manifest_is_read_as_it_was_written(manifest: Manifest) -> None:
    written = encode(manifest)
    assert decode(written, of=HOUR) == manifest
    assert written.endswith(b"}\n")
    assert not is_of_later_version(written)


@given(content=_CONTENT)
def test_the_content_in_a_file_is_read_as_it_was_written(content: Content) -> None:
    assert decode_content(encode_content(content)) == content


@given(other=st.binary(max_size=50))
def test_other_bytes_are_neither(other: bytes) -> None:
    assert decode_content(other) is None
    with pytest.raises(StoreError, match="2015-01-01-15") as caught:
        decode(other, of=HOUR)
    assert "--force" in (caught.value.hint or "")


@dataclass(frozen=True)
class _Manifests:
    """A plain one, and ways to change it."""

    plain: Manifest

    def but(self, **changes: object) -> bytes:
        return json.dumps(json.loads(encode(self.plain)) | changes).encode()


@pytest.fixture
def manifests() -> _Manifests:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    return _Manifests(
        Manifest(
            hour=str(HOUR),
            status=Status.PENDING,
            started_at=start,
            finished_at=start + timedelta(seconds=1.5),
            attempts=1,
        )
    )


def test_a_later_version_is_reported(manifests: _Manifests) -> None:
    for later in (
        manifests.but(version=MANIFEST_VERSION + 1),
        manifests.but(version=MANIFEST_VERSION + 1, new_field=1),
    ):
        assert is_of_later_version(later)
        with pytest.raises(StoreError):
            decode(later, of=HOUR)
    assert not is_of_later_version(b"{}")


@given(manifest=_MANIFEST)
def test_a_manifest_of_version_2_is_read(manifest: Manifest) -> None:
    fields = json.loads(encode(manifest)) | {"version": 2}
    del fields["sources"], fields["asked_at"]
    read = decode(json.dumps(fields).encode(), of=HOUR)
    assert (read.sources, read.asked_at) == ([], None)
    assert (read.content, read.finished_at, read.replaced) == (
        manifest.content,
        manifest.finished_at,
        manifest.replaced,
    )


@given(manifest=_MANIFEST)
def test_a_manifest_of_version_1_is_read(manifest: Manifest) -> None:
    fields = json.loads(encode(manifest)) | {"version": 1}
    del fields["replaced"], fields["sources"], fields["asked_at"]
    if fields["content"] is not None:
        del fields["content"]["source"]["redirected_to"]
    read = decode(json.dumps(fields).encode(), of=HOUR)
    assert (read.version, read.replaced, read.events_file) == (1, None, manifest.events_file)
    assert read.content is None or read.content.source.redirected_to is None


def test_the_manifest_of_another_hour_is_reported(manifests: _Manifests) -> None:
    with pytest.raises(StoreError, match="has hour 2015-01-01-16"):
        decode(manifests.but(hour="2015-01-01-16"), of=HOUR)


def test_an_unknown_field_is_not_dropped_in_silence(manifests: _Manifests) -> None:
    with pytest.raises(StoreError, match="cannot read the manifest"):
        decode(manifests.but(surprise=1), of=HOUR)


def test_it_tells_how_long_it_took(manifests: _Manifests) -> None:
    assert manifests.plain.seconds == 1.5


def test_which_statuses_have_events() -> None:
    assert {status for status in Status if status.has_events} == {Status.COMPLETE, Status.PARTIAL, Status.SUSPECT}


@given(manifest=_MANIFEST, place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_is_reported_or_is_another_manifest(manifest: Manifest, place: float, bit: int) -> None:
    content = bytearray(encode(manifest))
    content[int(place * len(content))] ^= 1 << bit
    is_of_later_version(bytes(content))
    decode_content(bytes(content))
    with suppress(StoreError):
        assert decode(bytes(content), of=HOUR).hour == str(HOUR)


@pytest.mark.parametrize("other", [b'{"v\xe5rsion": 1}', b'{"version": 1, "x": ' + b"[" * 200_000])
def test_what_the_library_fails_on_is_reported_too(other: bytes) -> None:
    with pytest.raises(StoreError, match="cannot read the manifest"):
        decode(other, of=HOUR)
    assert decode_content(other) is None
    assert not is_of_later_version(other)
