"""The compiled reader: which lines are plain, that they are read to the byte, and that no access is out of bounds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import permutations
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from etl.archive.documents import Block
from etl.events.batch import EventColumns
from etl.events.decode import Decoder
from etl.events.emails import EmailPolicy
from etl.events.native import build, scanner
from etl.events.native.build import SOURCE, compile_scanner, library
from etl.events.native.scanner import Hidden, load_scanner
from tests import tools

MEMBERS: Final = (
    *(b'"id":"7"', b'"type":"WatchEvent"', b'"actor":{"id":1}', b'"repo":{"id":2}', b'"payload":{"action":"started"}'),
    *(b'"public":false', b'"created_at":"2015-01-01T15:00:01Z"', b'"org":{"id":3}'),
)
JSON: Final = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


def line(payload: bytes = b"{}", **others: bytes) -> bytes:
    """An event with a payload, perhaps other values besides."""
    members = dict(member.split(b":", 1) for member in MEMBERS[:-1]) | {b'"payload"': payload}
    members |= {b'"%s"' % name.encode(): value for name, value in others.items()}
    return b"{%s}\n" % b",".join(b"%s:%s" % pair for pair in members.items())


def read(lines: bytes) -> EventColumns | None:
    """What the reader makes of lines."""
    scan = load_scanner()
    assert scan is not None, "it is not compiled: make setup"
    return scan.read(lines)


def payload(lines: bytes) -> str | None:
    """The payload of the one event that was read; None where it was refused."""
    events = read(lines)
    if events is None:
        return None
    (found,) = events.payload.to_pylist()
    return str(found)


@settings(deadline=None, max_examples=300)
@given(JSON, st.booleans(), st.text(" \t\r", max_size=2))
def test_any_json_is_a_payload_and_stays_as_it_is(value: Any, ascii_only: bool, space: str) -> None:  # noqa: FBT001
    text = json.dumps(value, ensure_ascii=ascii_only, separators=(space + "," + space, ":" + space))
    found = payload(line(text.encode(errors="replace")))
    # A payload that is null belongs to no text column; the exact reader takes it.
    assert found == (None if value is None else text.encode(errors="replace").decode())


@settings(deadline=None, max_examples=500)
@given(st.text(alphabet='{}[]",:0123456789.eE+-\\/bfnrtuadls ', max_size=24))
def test_what_is_taken_for_json_is_json(text: str) -> None:
    if payload(line(text.encode())) is not None:
        json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            b",",
            b"[",
            b"]",
            b"{",
            b"[}",
            b"{]",
            b"[1,]",
            b"[,1]",
            b"[1\n]",
            b"[1,,2]",
            b'{"a"}',
            b'{"a":}',
            b'{"a":1,}',
        ),
        *(b"{1:2}", b'{"a":1"b":2}', b"tru", b"nul", b"True", b"NaN", b"Infinity", b"-", b"+1", b".5", b"1.", b"1e"),
        *(b"1e+", b"01", b"-01", b"0x1", b"1_0", b'"', b'"\\"', b'"\\x"', b'"\\u12g4"', b'"\\u123"', b'"\t"', b'"\x7f'),
        *(b'"\xc0\x80"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\xe2\x82"', b'"\x80"', b'"\xf5\x80\x80\x80"'),
        *(b'"\\ud83d"', b'"\\ude00"', b'"\\ud83d\\u0041"', b'"\\ud83dx"', b"[" * 513 + b"]" * 513, b"1 2"),
    ],
)
def test_what_is_no_json_is_refused(text: bytes) -> None:
    assert payload(line(text)) is None
    assert payload(line(b"[%s]" % text)) is None


@pytest.mark.parametrize("text", [b'"\x7f"', b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"', b"[" * 512 + b"]" * 512, b"-0"])
def test_what_is_rare_and_plain_is_read(text: bytes) -> None:
    assert payload(line(text)) == text.decode()


def test_keys_come_in_any_order_and_org_may_be_absent() -> None:
    for order in permutations(MEMBERS[3:]):
        assert payload(b"{%s}\n" % b",".join([*MEMBERS[:3], *order])) == '{"action":"started"}'
    for given_members in (MEMBERS[:-1], MEMBERS[:-1][::-1]):
        events = read(b"{%s}" % b",".join(given_members))
        assert events is not None
        assert events.entities["org"].to_pylist() == [b""]


@pytest.mark.parametrize("place", range(len(MEMBERS) - 1))
def test_a_key_that_is_absent_or_comes_twice_is_not_plain(place: int) -> None:
    assert read(b"{%s}\n" % b",".join((*MEMBERS[:place], *MEMBERS[place + 1 :]))) is None
    assert read(b"{%s}\n" % b",".join((*MEMBERS, MEMBERS[place]))) is None


@pytest.mark.parametrize(
    ("text", "is_plain"),
    [
        *((f"{year}-02-29T23:59:59Z", True) for year in (1972, 2000, 2024)),
        *((f"{year}-02-29T00:00:00Z", False) for year in (1973, 2023, 2100)),
        *((f"2015-{month:02}-31T00:00:00Z", month in {1, 3, 5, 7, 8, 10, 12}) for month in range(14)),
        *((f"2015-06-{day}T00:00:00Z", day == "30") for day in ("00", "30", "31", "3x")),
        *((f"2015-06-07T{time}Z", time == "00:00:00") for time in ("00:00:00", "24:00:00", "00:60:00", "00:00:60")),
        *((text, False) for text in ("1969-12-31T23:59:59Z", "2015-06-07 00:00:00Z", "2015-06-07T00:00:00+00:00", "")),
    ],
)
def test_a_time_is_read_if_it_is_one(text: str, is_plain: bool) -> None:  # noqa: FBT001
    events = read(line(created_at=b'"%s"' % text.encode()))
    assert (events is not None) == is_plain
    if events is not None:
        (time,) = events.created_at.to_pylist()
        assert f"{time:%Y-%m-%dT%H:%M:%SZ}" == text
        assert events.first == events.last == time


def test_more_types_than_there_is_room_for_are_not_plain() -> None:
    lines = [line(type=b'"Type%d"' % number) for number in range(65)]
    events = read(b"".join(lines[:64]))
    assert events is not None
    assert [name for name, _ in events.types] == sorted(f"Type{number}" for number in range(64))
    assert read(b"".join(lines)) is None


def test_the_key_of_an_event_is_the_same_however_it_is_read() -> None:
    scan = load_scanner()
    assert scan is not None
    events = scan.read(line() + line(id=b'"8"') + line(id=b'"7W"', type=b'"atchEvent"'))
    assert events is not None
    keys = events.keys.to_pylist()
    assert len(set(keys)) == 3
    assert scan.key(b"7", b"WatchEvent", b"2015-01-01T15:00:01Z") in keys


HIDING: Final = st.lists(
    st.sampled_from(
        [*(b"\\", b"\\u00", b"u00", b"%", b"25", b"40", b"64", b"#", b"x", b"X", b"0", b";", b"&", b"commat", b"a")]
    )
    | st.binary(max_size=1),
    max_size=8,
).map(b"".join)
ENCODED: Final = re.compile(rb"%(?:25)*40|#0*64;|#[xX]0*40;|commat;")
ESCAPED: Final = re.compile(rb"\\u00(?:2[5bdeBDE]|3[0-9]|[46][0-9a-fA-F]|5[0-9abdfABDF]|7[0-9a-eA-E])")


@settings(max_examples=500)
@given(HIDING)
@example(b"%40")
@example(b"%252540")
@example(b"#0064;")
@example(b"#X0040;")
@example(b"commat;")
@example(b"\\u005F")
def test_it_tells_whether_a_text_may_hide_an_address(text: bytes) -> None:
    scan = load_scanner()
    assert scan is not None
    found = Hidden(0)
    if ENCODED.search(text):
        found |= Hidden.ENCODED
    if ESCAPED.search(text):
        found |= Hidden.ESCAPED
    assert scan.hidden(text) == found


def test_without_it_every_line_is_read_by_itself_to_the_same_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def rows() -> list[dict[str, Any]]:
        decoder = Decoder(EmailPolicy.of("keep"), lambda _: None)
        decoder.add(decoder.read(Block(0, line(b'{"a":1}') + line(b"[2]", id=b'"8"'))))
        decoder.add(decoder.read(Block(0, line(b'{"a":1}'))))
        assert decoder.counts.duplicates == 1
        found: list[dict[str, Any]] = decoder.rest().table().to_pylist()
        return found

    wanted = rows()
    load_scanner.cache_clear()
    monkeypatch.setattr(scanner, "library", lambda: tmp_path / "scanner.so")
    try:
        with capture_logs() as logs:
            assert sorted(map(str, rows())) == sorted(map(str, wanted))
            rows()
        assert [(entry["log_level"], entry["path"]) for entry in logs] == [("warning", "scanner.so")]
    finally:
        load_scanner.cache_clear()


def test_another_source_has_another_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = library()
    changed = tmp_path / SOURCE.name
    changed.write_bytes(SOURCE.read_bytes() + b"\n")
    monkeypatch.setattr(build, "SOURCE", changed)
    assert library().name != before.name


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Path, int], subprocess.CompletedProcess[str]]:
    """Compiles a source so that every access is checked, and lets it read mutated texts."""
    compiler = str(tools.get("sanitizers"))
    runtime = subprocess.run([compiler, "-print-file-name=libasan.so"], check=True, capture_output=True, text=True)
    # Python lets go of little when it ends, which is no error here.
    watching = {"LD_PRELOAD": runtime.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0", "PYTHONMALLOC": "malloc"}

    def fuzz(source: Path, rounds: int) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patch:
            patch.setattr(build, "SOURCE", source)
            patch.setattr(build, "_COMPILER", (compiler,))
            patch.setattr("sys.platform", "the compiler's own")
            watched = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
            made = compile_scanner(*watched, target=tmp_path / "watched.so")
        command = [sys.executable, "-m", "tests.unit.events.native.scanner_fuzz", str(made), str(rounds), "7"]
        return subprocess.run(command, check=False, capture_output=True, text=True, env=watching)

    return fuzz


def test_no_access_is_out_of_bounds(watch: Callable[[Path, int], subprocess.CompletedProcess[str]]) -> None:
    ended = watch(SOURCE, 4_000)
    assert ended.returncode == 0, ended.stderr[-3000:]
    read_, _, refused, _ = ended.stdout.split()
    assert int(read_) > 4_400
    assert int(refused) > 1_000


@pytest.mark.parametrize(
    ("sound", "broken"),
    [
        ("end - at >= (int)sizeof(Bytes)", "end - at >= (int)sizeof(Bytes) - 1"),
        ("(size_t)(end - at) >= size &&", "(size_t)(end - at) + 1 >= size &&"),
        ("bool is_unit = end - at >= 6 &&", "bool is_unit = (end - at >= 6 || true) &&"),
        ("if (*count == MAX_TYPES) return -1;", ""),
        ("if (member != NUMBER) offsets[count] = size;", "if (member != NUMBER) offsets[count + 1] = size;"),
    ],
)
def test_an_access_out_of_bounds_is_seen(
    watch: Callable[[Path, int], subprocess.CompletedProcess[str]], tmp_path: Path, sound: str, broken: str
) -> None:
    text = SOURCE.read_text(encoding="utf-8")
    assert text.count(sound) == 1
    changed = tmp_path / SOURCE.name
    changed.write_text(text.replace(sound, broken), encoding="utf-8")
    ended = watch(changed, 1_000)
    assert ended.returncode != 0
    assert "AddressSanitizer" in ended.stderr
