from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.errors import UsageError
from etl.storage import gcs


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("gs://bucket", ("bucket", "")),
        ("gs://bucket/", ("bucket", "")),
        ("gs://bucket/lake", ("bucket", "lake")),
        ("gs://my.bucket-1_x/a/b/", ("my.bucket-1_x", "a/b")),
    ],
)
def test_an_address_has_a_bucket_and_a_prefix(address: str, parts: tuple[str, str]) -> None:
    assert gcs.is_address(address)
    assert gcs.split(address) == parts


@pytest.mark.parametrize(
    "address", ["gs://", "gs:///x", "gs://Bucket", "gs://ab", "gs://-ab-", "s3://bucket", "bucket", ""]
)
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="not a valid Google Cloud Storage address") as caught:
        gcs.split(address)
    assert "gs://bucket/prefix" in (caught.value.hint or "")


@given(
    bucket=st.from_regex(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]", fullmatch=True),
    prefix=st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=30),
)
def test_splitting_undoes_joining(bucket: str, prefix: str) -> None:
    assert gcs.split(f"gs://{bucket}/{prefix}") == (bucket, prefix.strip("/"))
