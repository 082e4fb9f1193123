"""Holding the values of an events file against what the file says of itself."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.hours import Hour
from etl.lake.integrity import _side_by_side, inner_problems, read_footer, sha256_of
from etl.lake.manifest import CONTENT_KEY, Content, SourceFacts, Status, encode_content
from etl.plural import plural

HOUR: Final = Hour.of(2015, 1, 1, 15)
_FIELDS: dict[str, pa.DataType] = {"type": pa.string(), "created_at": pa.timestamp("us", "UTC")}
SCHEMA: Final = pa.schema(_FIELDS)
CONTENT: Final = Content(
    hour=str(HOUR),
    status=Status.COMPLETE,
    reason=None,
    era="C",
    source=SourceFacts(
        address="archive", etag=None, last_modified=None, bytes=0, sha256="", sidecar=False, interrupted=False
    ),
    documents=0,
    events=0,
    unreadable=0,
    repaired=0,
    duplicates=0,
    types={},
    first_created_at=None,
    last_created_at=None,
    damage=[],
    quarantine_file=None,
    schema_version=1,
    emails="hash",
    software="test",
)
Row = tuple[str | None, datetime | None]
ROWS: Final = st.lists(
    st.tuples(
        st.sampled_from([None, "", "PushEvent", "WatchEvent"]),
        st.none() | st.datetimes(min_value=datetime(2011, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    ),
    max_size=40,
)


def content_of(rows: list[Row], **other: Any) -> Content:
    times = [time for _, time in rows if time is not None]
    facts: dict[str, Any] = {
        "events": len(rows),
        "types": dict(Counter(kind or "" for kind, _ in rows)),
        "first_created_at": min(times, default=None),
        "last_created_at": max(times, default=None),
    }
    return msgspec.structs.replace(CONTENT, **(facts | other))


def file_of(rows: list[Row], content: Content) -> io.BytesIO:
    columns = [list(column) for column in zip(*rows, strict=True)] or [[], []]
    table = pa.table(dict(zip(SCHEMA.names, columns, strict=True)), schema=SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({CONTENT_KEY: encode_content(content)}), sink, row_group_size=7)
    return sink


@settings(deadline=None)
@given(rows=ROWS)
def test_a_file_holds_what_was_counted(rows: list[Row]) -> None:
    content = content_of(rows)
    file = file_of(rows, content)

    assert inner_problems(file, content) == []
    footer = read_footer(file, HOUR)
    assert footer is not None
    assert (footer.content, footer.rows, footer.file_bytes) == (content, len(rows), len(file.getvalue()))
    assert read_footer(file, HOUR + 1) is None


@settings(deadline=None)
@given(rows=ROWS.filter(bool), more=st.integers(1, 9))
def test_a_wrong_count_is_noticed(rows: list[Row], more: int) -> None:
    right = content_of(rows)
    file = file_of(rows, right)

    assert inner_problems(file, content_of(rows, events=len(rows) + more)) == [
        f"has {plural(len(rows), 'row')}, not {len(rows) + more}"
    ]
    types = right.types | {"PushEvent": right.types.get("PushEvent", 0) + more}
    assert inner_problems(file, content_of(rows, types=types)) == ["has other counts by type than its metadata says"]


def test_another_time_is_noticed() -> None:
    rows: list[Row] = [("PushEvent", HOUR.start)]
    later = (HOUR + 1).start

    assert inner_problems(file_of(rows, CONTENT), content_of(rows, last_created_at=later)) == [
        "has events outside of the times that its metadata says"
    ]


def test_bytes_that_cannot_be_decoded_are_noticed_behind_a_sound_footer() -> None:
    rows: list[Row] = [("PushEvent", HOUR.start), (None, None)] * 50
    content = content_of(rows)
    whole = file_of(rows, content).getvalue()
    torn = io.BytesIO(whole[:4] + b"\xff" * 60 + whole[64:])

    assert read_footer(torn, HOUR) is not None
    assert inner_problems(torn, content) == ["cannot be decoded completely"]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 10, b"\0" * 100])
def test_what_is_no_parquet_has_no_footer(content: bytes) -> None:
    assert read_footer(io.BytesIO(content), HOUR) is None
    assert inner_problems(io.BytesIO(content), CONTENT) == ["cannot be decoded completely"]


def test_the_checksum_is_of_all_bytes_wherever_the_file_stands() -> None:
    file = io.BytesIO(b"abc")
    file.seek(2)

    assert sha256_of(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@settings(deadline=None)
@given(items=st.lists(st.integers(), max_size=60), workers=st.integers(1, 5))
def test_side_by_side_is_in_order(items: list[int], workers: int) -> None:
    assert list(_side_by_side(lambda item: item * 2, items, workers)) == [item * 2 for item in items]


def test_side_by_side_does_not_run_far_ahead() -> None:
    taken = 0

    def endless() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = _side_by_side(lambda item: item, endless(), workers=2)
    assert [next(results) for _ in range(20)] == list(range(1, 21))
    assert taken < 40
    results.close()  # type: ignore[attr-defined]  # a generator, as it happens


def test_an_error_of_one_is_the_error_of_all() -> None:
    with pytest.raises(ZeroDivisionError):
        list(_side_by_side(lambda item: 1 // item, [1, 0, 1], workers=2))
