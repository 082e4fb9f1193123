"""The compiled splitter does what its definition says, and is linear."""

from __future__ import annotations

import json
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.archive.damage import DamageReason
from etl.archive.splitting import split
from etl.events.native.scanner import load_scanner
from tests.unit.archive.builders import EVENTS, events

TOKENS: Final = (
    *(b"{", b"}", b"[", b"]", b'"', b":", b",", b"\\", b"\0", b" ", b"\n", b"1", b"-", b".", b"e", b"null", b"tr"),
    *(b"u", b"0", b"\xff", b"\xef\xbb\xbf", b'"a"', b'"id":1', b'"type":"x","created_at":1', b'"\\u0069d"', b"\x1e"),
    *(bytes(600), b"x" * 600, b'{"a":', b'{"type":1,"created_at":2}', b"[" * 600, b'{"id":1}\n'),
)
EVENT: Final = b'{"id":"1","type":"PushEvent","created_at":"2015-01-01T15:00:00Z"}'


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.sampled_from(TOKENS) | events | events.map(lambda event: event[: len(event) // 2]), max_size=20),
    st.booleans(),
    st.booleans(),
)
def test_the_compiled_splitter_does_what_the_definition_says(
    tokens: list[bytes],
    is_last: bool,  # noqa: FBT001
    recovering: bool,  # noqa: FBT001
) -> None:
    scan = load_scanner()
    assert scan is not None
    text = b"".join(tokens)
    assert scan.split(text, is_last=is_last, recovering=recovering) == split(
        text, is_last=is_last, recovering=recovering
    )


@pytest.mark.parametrize("indent", [None, 0, 1, 4])
@pytest.mark.parametrize("form", ["array", "arrays", "glued", "lines", "commas", "sequence"])
def test_any_sequence_of_documents_is_read(form: str, indent: int | None) -> None:
    records = [json.loads(event) for event in EVENTS[::20]]
    one = [json.dumps(record, indent=indent) for record in records]
    text = {
        "array": json.dumps(records, indent=indent),
        "arrays": json.dumps(records[:2], indent=indent) + "\n" + json.dumps(records[2:], indent=indent),
        "glued": "".join(one),
        "lines": "\n".join(one),
        "commas": ",\n".join(one),
        "sequence": "".join(f"\x1e{record}\n" for record in one),
    }[form].encode()
    parts = split(text, is_last=True).parts
    assert [part.reason for part in parts] == [None] * len(records)
    assert [json.loads(text[part.begin : part.end]) for part in parts] == records


@pytest.mark.parametrize("piece", [b"0 ", b"x\0", b"0\n", b'{"id":"1","ty', b'{"a":', b"[", b'"', b"\\", b'{"a":["b'])
def test_neighbouring_scraps_are_one_part(piece: bytes) -> None:
    scan = load_scanner()
    assert scan is not None
    scraps = piece * 100_000
    parts = scan.split(EVENT + b"\n" + scraps + b"\n" + EVENT, is_last=True).parts
    # Two, where what is nested too deeply ends in what is cut.
    assert [part.reason is None for part in parts] in ([True, False, True], [True, False, False, True])


def test_the_objects_in_the_rest_of_a_cut_document_are_no_events() -> None:
    pretty = json.dumps({"id": "2", "actor": {"id": 1}, "repo": {"id": 2}}, indent=1).encode()
    text = EVENT + b"\n" + pretty.replace(b'"actor":', b'"actor') + b"\n" + EVENT
    parts = split(text, is_last=True).parts
    assert [part.reason for part in parts] == [None, DamageReason.CUT_DOCUMENT, None]
    assert parts[1].lost == 1
