"""What an address becomes, and what is read out of headers, folders and sidecar manifests."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.archive.http_source import parse_retry_after
from etl.archive.sidecar import SidecarManifest, parse_sidecar
from etl.archive.source import HourNotFound, NotModified, mask_credentials
from etl.archive.sources import source_at
from etl.errors import SourceUnreachableError, UsageError
from etl.hours import Hour
from etl.settings import DEFAULT_SOURCES

HOUR = Hour.of(2015, 1, 1, 4)
NOW = datetime(2026, 9, 20, 12, 30, tzinfo=UTC)
DIGEST = "0123456789abcdef" * 4


def test_the_archive_comes_before_its_mirror() -> None:
    assert [source_at(address).url(HOUR) for address in DEFAULT_SOURCES] == [
        "https://data.gharchive.org/2015-01-01-4.json.gz",
        "https://gharchive.open-digger.cn/2015-01-01-4.json.gz",
    ]


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("http://localhost:8000/hours/", "http://localhost:8000/hours/2015-01-01-4.json.gz"),
        (" https://host/a/b// ", "https://host/a/b/2015-01-01-4.json.gz"),
        ("HTTPS://host", "HTTPS://host/2015-01-01-4.json.gz"),
        ("https://user:pa@ss@host/p@th", "https://***@host/p@th/2015-01-01-4.json.gz"),
        ("http://[::1]:80", "http://[::1]:80/2015-01-01-4.json.gz"),
    ],
)
def test_an_hour_lies_under_the_address(address: str, url: str) -> None:
    source = source_at(address)
    assert source.url(HOUR) == url
    assert f"{source.address}/{HOUR}.json.gz" == url


@pytest.mark.parametrize(
    "address",
    [
        "",
        "  ",
        "ftp://host/",
        "s3://key:hunter2@bucket",
        "https://",
        "https:///path",
        "https://host:port",
        "https://host:99999",
        "https://user:hunter2@[::1",
        "https://user:hun/hunter2@host",
        "https://host/?token=hunter2",
        "https://host/#hunter2",
        "data.gharchive.org",
        "/no/such/folder",
        "file:///no/such/folder",
        "file://elsewhere/tmp",
    ],
)
def test_what_is_no_address_is_refused_without_its_secrets(address: str) -> None:
    with pytest.raises(UsageError) as caught:
        source_at(address)
    assert caught.value.hint
    assert "hunter2" not in caught.value.message


@pytest.mark.parametrize("form", ["{}", "{}/", "file://{}", "FILE://localhost{}/"])
def test_a_folder_is_given_as_path_or_url(tmp_path: Path, form: str) -> None:
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / f"{HOUR}.json.gz").write_bytes(b"content")
    shown = str(folder).replace(" ", "%20") if "://" in form else str(folder)
    source = source_at(form.format(shown))
    assert source.exists(HOUR)
    assert source.url(HOUR) == str(folder / "2015-01-01-4.json.gz")
    assert not source.address.endswith("/")


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(UsageError, match="not an existing folder"):
        source_at(str(file))


def test_a_folder_gives_hours_and_parts_of_them(tmp_path: Path) -> None:
    (tmp_path / f"{HOUR}.json.gz").write_bytes(b"0123456789")
    source = source_at(str(tmp_path))
    with source.open(HOUR) as body:
        assert (body.start, body.size, body.read(4), body.read(99), body.read(1)) == (0, 10, b"0123", b"456789", b"")
        etag = body.etag
    with source.open(HOUR, start=7, etag=etag) as rest:
        assert (rest.start, rest.size, rest.etag, rest.read(99)) == (7, 10, etag, b"789")
    with pytest.raises(NotModified):
        source.open(HOUR, unless_etag=etag)
    (tmp_path / f"{HOUR}.json.gz").write_bytes(b"0123456789a")
    with source.open(HOUR, unless_etag=etag) as changed:
        assert changed.etag != etag


def test_what_a_folder_does_not_have_is_not_found(tmp_path: Path) -> None:
    source = source_at(str(tmp_path))
    assert not source.exists(HOUR)
    assert source.sidecar(HOUR) is None
    with pytest.raises(HourNotFound):
        source.open(HOUR)
    tmp_path.rmdir()
    assert not source.exists(HOUR)


def test_a_folder_in_the_place_of_a_file_is_said(tmp_path: Path) -> None:
    (tmp_path / f"{HOUR}.json.gz").mkdir()
    source = source_at(str(tmp_path))
    assert not source.exists(HOUR)
    with pytest.raises(SourceUnreachableError, match="Is a directory"):
        source.open(HOUR)


def test_the_sidecar_in_a_folder_has_a_limit(tmp_path: Path) -> None:
    beside = tmp_path / f"{HOUR}.manifest.json"
    beside.write_bytes(b"{}")
    source = source_at(str(tmp_path))
    assert source.sidecar(HOUR) == b"{}"
    beside.write_bytes(b" " * ((1 << 20) + 1))
    with pytest.raises(SourceUnreachableError, match="larger than 1048576 bytes"):
        source.sidecar(HOUR)


@given(st.integers(0, 10**9))
def test_both_forms_of_retry_after_mean_the_same(seconds: int) -> None:
    date = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert parse_retry_after(f" {seconds} ", NOW) == seconds
    assert parse_retry_after(date, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("²", None),
        ("Sun, 20 Sep 2026 12:30:09 -0000", 9.0),
        ("Sun, 20 Sep 2026 14:30:09 +0200", 9.0),
        ("Sun, 20 Sep 2020 12:30:09 GMT", 0.0),
        ("Sun, 99 Sep 2026 12:30:09 GMT", None),
    ],
)
def test_retry_after_is_read_with_care(text: str | None, seconds: float | None) -> None:
    assert parse_retry_after(text, NOW) == seconds


@given(st.text())
def test_no_retry_after_header_breaks_the_reader(text: str) -> None:
    assert (parse_retry_after(text, NOW) or 0.0) >= 0.0


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://host/a@b", "https://host/a@b"),
        ("https://user@host/", "https://***@host/"),
        ("https://user:p@ss:w@host:1/x", "https://***@host:1/x"),
        ("folder/a@b", "folder/a@b"),
    ],
)
def test_credentials_are_masked(url: str, masked: str) -> None:
    assert mask_credentials(url) == masked


def test_a_sidecar_is_read_with_unknown_keys() -> None:
    fields = {"event_count": 5, "compressed_bytes": 9, "sha256": DIGEST.upper(), "per_minute": [1, 2], "source": None}
    assert parse_sidecar(json.dumps(fields).encode()) == SidecarManifest(5, 9, DIGEST)


@pytest.mark.parametrize("fields", [{"sha256": f"sha256:{DIGEST}"}, {"compressed_sha256": DIGEST}])
def test_a_digest_has_more_than_one_form(fields: dict[str, str]) -> None:
    assert parse_sidecar(json.dumps(fields).encode()) == SidecarManifest(None, None, DIGEST)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[1]",
        b"<html>",
        b"\xff\xfe",
        b'{"event_count": -1, "compressed_bytes": "9", "sha256": "abc"}',
        b'{"event_count": true, "compressed_bytes": 1.5, "sha256": 7}',
    ],
)
def test_what_says_nothing_is_no_sidecar(content: bytes) -> None:
    assert parse_sidecar(content) is None


@given(st.binary())
def test_no_sidecar_breaks_the_reader(content: bytes) -> None:
    parse_sidecar(content)
