"""The same documents are sound, repaired or unreadable under every policy, and both readers agree about each."""

from __future__ import annotations

from typing import Any, Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl.archive.damage import Damage
from etl.archive.documents import blocks
from etl.events.decode import Decoder, splitter
from etl.events.emails import EmailPolicy
from etl.hours import Hour
from etl.practice.generator import generate_hour

POLICIES: Final = {
    "keep": EmailPolicy.of("keep"),
    "hash": EmailPolicy.of("hash"),
    "keyed": EmailPolicy.of("hash", b"0123456789abcdef"),
    "drop": EmailPolicy.of("drop"),
}
LINES: Final = tuple(
    line
    for hour in ("2011-02-15-0", "2013-02-15-0", "2015-01-01-15", "2024-05-21-15", "2025-12-15-0")
    for line in generate_hour(Hour.parse(hour), events=40)
    if len(line) < 4_000
)
FRAGMENTS: Final = (
    *(
        b"\xff",
        b"\0",
        b"\n",
        b"\\",
        b'"',
        b"@",
        b"\\x",
        b"\\u12",
        b"\\ud83d",
        b"\x01",
        b"\xc3",
        b"{",
        b"}",
        b"\t",
        b" ",
    ),
    *(
        b"zed@host.example",
        b"\xed\xa0\x80",
        b"\\u0040",
        b"%40",
        b"&#64;",
        b"email",
        b'mail":"',
        b"\\\\",
        b"\x7f",
        b"\xc3\xa9",
    ),
)
LINE: Final = (
    b'{"id":"7","type":"PushEvent","actor":{"id":1,"login":"ann"},"repo":{"id":2,"name":"ann/tool"},'
    b'"payload":{"commits":[{"author":{"email":"%s"}}]},"public":true,"created_at":"2015-01-01T15:00:01Z"}\n'
)


@st.composite
def wrecks(draw: st.DrawFn) -> bytes:
    """Lines of made-up hours, one of them changed, mostly near an ``@``."""
    lines = draw(st.lists(st.sampled_from(LINES), min_size=1, max_size=3))
    broken = lines[0]
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(broken)))
        if draw(st.booleans()) and (found := broken.find(b"@", at)) >= 0:
            at = max(0, found + draw(st.integers(-8, 8)))
        cut = draw(st.integers(0, 6))
        broken = broken[:at] + draw(st.sampled_from((b"", *FRAGMENTS))) + broken[at + cut :]
    return b"".join([broken, *lines[1:]])


def read(text: bytes, policy: EmailPolicy, *, exactly: bool) -> tuple[list[Any], list[str]]:
    """What is damaged, and the rows."""
    damages: list[Damage] = []
    decoder = Decoder(policy, damages.append)
    for block in blocks([text], damages.append):
        if exactly:
            for part in splitter()(block.data, is_last=True).parts:
                decoder._read_part(block, part)
        else:
            decoder.add(decoder.read(block))
    group = decoder.rest()
    rows = group.table().to_pylist() if len(group) else []
    told = [(damage.reason, damage.offset, damage.data, damage.kept, damage.lost) for damage in damages]
    return sorted(told), sorted(map(str, rows))


@settings(deadline=None, max_examples=150)
@given(wrecks())
@example(LINE % b"a\xffb@host.example")
@example(LINE % b"a\0b@host.example")
@example(LINE % b"a\nb@host.example")
@example(LINE % rb"a\xb@host.example")
@example(LINE % rb"a\u0040b@host.example")
@example(LINE % b"a%40host.example")
def test_damage_and_rows_do_not_depend_on_policy_or_reader(text: bytes) -> None:
    kept, rows = read(text, POLICIES["keep"], exactly=True)
    for policy in POLICIES.values():
        fast, exact = (read(text, policy, exactly=exactly) for exactly in (False, True))
        assert fast == exact
        assert fast[0] == kept
        assert len(fast[1]) == len(rows)
