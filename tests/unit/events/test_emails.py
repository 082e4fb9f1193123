"""Addresses are handled wherever and however they occur. Every address here is made up."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import sys
from functools import partial
from typing import Any, Final

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from etl.errors import UsageError
from etl.events.emails import EmailPolicy, scrub_text, spells_addresses
from tests.unit.events import texts

KEY: Final = b"0123456789abcdef"
POLICIES: Final = {
    "keep": EmailPolicy.of("keep"),
    "hash": EmailPolicy.of("hash"),
    "keyed": EmailPolicy.of("hash", KEY),
    "drop": EmailPolicy.of("drop"),
}
TREATING: Final = [POLICIES["hash"], POLICIES["keyed"], POLICIES["drop"]]
SHA: Final = "0123456789abcdef0123456789abcdef01234567"
ESCAPED_AT: Final = "\\u0040"
LOCAL_LETTERS: Final = "abcxyzABCXYZ019-._%+\u00e4\u4e2d\U0001f600"

# Never the end of a hash, so that it can be looked for in what comes out.
locals_ = st.text(LOCAL_LETTERS, max_size=12).map("zy".__add__)
labels = st.from_regex(r"[a-z\u00e4][a-z0-9\u00e4-]{0,5}[a-z0-9]", fullmatch=True)
hosts = st.tuples(st.lists(labels, min_size=1, max_size=3), st.sampled_from(["example", "org", "co", "\u00e4u"])).map(
    lambda parts: ".".join([*parts[0], parts[1]])
)
addresses = st.tuples(locals_, hosts).map("@".join)
# What stands around an address in a text; the odd ones are those that JSON writes as escapes.
around = st.sampled_from(
    [
        "",
        " ",
        "\n",
        "\t",
        '"',
        "<",
        ">",
        "\\",
        "/",
        "\\n",
        "\\u0041",
        "(",
        ")",
        ",",
        ";",
        ":",
        "'",
        "@",
        "\u2028",
        "é",
        "1",
    ]
)


@st.composite
def sentences(draw: st.DrawFn, found: SearchStrategy[str] = addresses) -> tuple[str, list[str]]:
    """A text, and the addresses in it."""
    inside = draw(st.lists(found, max_size=3))
    text = draw(around)
    for address in inside:
        text += draw(around) + address + draw(around) + draw(st.sampled_from(["", " and ", "\n"]))
    return text, inside


@st.composite
def documents(draw: st.DrawFn) -> tuple[Any, list[str]]:
    """A JSON value with addresses in every place, and the addresses."""
    inside: list[str] = []

    def some(found: tuple[str, list[str]]) -> str:
        inside.extend(found[1])
        return found[0]

    text = sentences().map(some)
    address = addresses.map(lambda found: some((found, [found])))
    commit = st.fixed_dictionaries(
        {"author": st.fixed_dictionaries({"email": address | text, "name": text}), "message": text}
    )
    pushed = st.tuples(st.just(SHA), address | text, text, text).map(list)
    keys = st.sampled_from(["email", "committer_email", "publicEmail", "mail", "name", "body", "a"]) | text
    leaves = st.one_of(text, address, st.none(), st.booleans(), st.integers(-5, 5), commit, pushed)
    value = draw(
        st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3))
    )
    return value, inside


def written(value: Any, style: int) -> bytes:
    """JSON as several encoders write it."""
    text = json.dumps(
        value,
        ensure_ascii=bool(style & 1),
        separators=(",", ":") if style & 2 else (", ", ": "),
        indent=1 if style & 4 else None,
    )
    if style & 8:  # as encoders do that make JSON safe inside HTML
        text = text.replace("<", "\\u003c").replace(">", "\\u003E").replace("&", "\\u0026").replace("/", "\\/")
    return text.encode()


styles = st.integers(0, 15)


def strings(value: Any) -> list[str]:
    """All keys and texts."""
    if isinstance(value, dict):
        return [text for key, inner in value.items() for text in (key, *strings(inner))]
    if isinstance(value, list):
        return [text for inner in value for text in strings(inner)]
    return [value] if isinstance(value, str) else []


def shape(value: Any) -> Any:
    """What stays when texts are taken out; an address that is dropped may become null."""
    if isinstance(value, dict):
        return [shape(inner) for inner in value.values()]
    if isinstance(value, list):
        return [shape(inner) for inner in value]
    return "text" if value is None or isinstance(value, str) else value


def pairs(text: bytes) -> Any:
    """Parses JSON with every member of an object, also under a key that comes twice."""
    return shape(json.loads(text, object_pairs_hook=lambda members: [value for _, value in members]))


def clear(text: str) -> set[str]:
    """Every part of a text that reads like an address of these tests whose name is no hash."""
    found = re.findall(r"([\w.%+\U0001f600-]+)@(?=[a-z0-9\u00e4.-]*\.(?:example|org|co|\u00e4u))", text)
    return {local for local in found if not re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", local)}


def sha1(local: str) -> str:
    return hashlib.sha1(local.encode(), usedforsecurity=False).hexdigest()


def keyed(local: str) -> str:
    return hmac.new(KEY, sha1(local).encode(), hashlib.sha256).hexdigest()


# ------------------------------------------------------------------------------------------------ laws of every policy


@settings(deadline=None, max_examples=50)
@given(documents(), styles)
def test_keep_keeps(found: tuple[Any, list[str]], style: int) -> None:
    text = written(found[0], style)
    keep = POLICIES["keep"]
    assert keep.scrub(text) == keep.scrub_document(text) == keep.scrub_bare_fields(text) == text
    assert keep.scrub_damaged(text) == text
    assert not keep.has_bare_fields(text)


@settings(deadline=None, max_examples=50)
@given(documents(), styles, st.sampled_from(TREATING))
def test_no_address_stays_and_the_structure_does(found: tuple[Any, list[str]], style: int, policy: EmailPolicy) -> None:
    value, inside = found
    text = written(value, style)
    scrubbed = policy.scrub(text)
    assert pairs(scrubbed) == pairs(text)
    for said in strings(json.loads(scrubbed)):
        assert not clear(said)
        assert not any(address in said for address in inside)


@settings(deadline=None, max_examples=50)
@given(documents(), styles, st.sampled_from(TREATING))
def test_once_is_enough(found: tuple[Any, list[str]], style: int, policy: EmailPolicy) -> None:
    scrubbed = policy.scrub(written(found[0], style))
    assert policy.scrub(scrubbed) == scrubbed
    assert policy.scrub_document(scrubbed) == scrubbed


@settings(deadline=None, max_examples=50)
@given(st.lists(documents(), max_size=3), st.integers(0, 3), st.sampled_from(TREATING))
def test_lines_are_treated_each_for_itself(found: list[tuple[Any, list[str]]], style: int, policy: EmailPolicy) -> None:
    lines = [written(value, style) for value, _ in found]
    assert policy.scrub(b"\n".join(lines)) == b"\n".join(map(policy.scrub, lines))


@settings(deadline=None)
@given(texts.values, st.sampled_from(TREATING))
def test_json_without_addresses_is_not_touched(value: str, policy: EmailPolicy) -> None:
    assume("@" not in value)
    text = value.encode()
    assert policy.scrub(text) is text


@settings(deadline=None)
@given(st.text(st.characters() | texts.surrogates | st.just("@") | st.just("."), max_size=40), styles)
def test_any_text_stays_sound_json(said: str, style: int) -> None:
    assume(not style & 8)
    text = texts.string(said, ascii_only=bool(style & 1)).encode()
    for policy in TREATING:
        for treated in (policy.scrub(text), policy.scrub_document(text)):
            assert isinstance(json.loads(treated), str)


@settings(deadline=None)
@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b'"', b"\\", b"u00", b"@", b"a.b", b'mail":', b"\xc3"])).map(b"".join)
)
def test_unsound_bytes_are_survived(data: bytes) -> None:
    # A block is treated before anyone knows whether it is sound.
    for policy in TREATING:
        for treat in (policy.scrub, policy.scrub_document, policy.scrub_bare_fields, policy.scrub_damaged):
            assert isinstance(treat(data), bytes)


@pytest.mark.parametrize("policy", TREATING)
@pytest.mark.parametrize("length", [505, 506, 507, 508, 509, 510, 511, 512, 513, 600])
@pytest.mark.parametrize("before", ["", "\n", "\t", "<", "\u00e9", "\\", '"', " "])
def test_a_very_long_word_leaves_sound_json(policy: EmailPolicy, length: int, before: str) -> None:
    for style in (0, 9):
        text = written([before + "n" * length + "@host.example"], style)
        (said,) = json.loads(policy.scrub(text))
        assert said.startswith(before.strip("é"))  # a letter, so part of the word if that is not too long
        assert not said.endswith("n@host.example")


# -------------------------------------------------------------------------------------------------------------- fields


@settings(deadline=None)
@given(locals_, hosts, st.integers(0, 7))
@example("x", "host.example", 0)
def test_a_field_has_the_official_hash(local: str, host: str, style: int) -> None:
    address = f"{local}@{host}"
    record = {"payload": {"shas": [[SHA, address, "m", "n"]], "commits": [{"author": {"email": address}}]}}
    scrubbed = json.loads(POLICIES["hash"].scrub(written(record, style)))["payload"]
    assert scrubbed["shas"][0][1] == scrubbed["commits"][0]["author"]["email"] == f"{sha1(local)}@{host}"
    scrubbed = json.loads(POLICIES["keyed"].scrub(written(record, style)))["payload"]
    assert scrubbed["shas"][0][1] == scrubbed["commits"][0]["author"]["email"] == f"{keyed(local)}@{host}"
    scrubbed = json.loads(POLICIES["drop"].scrub(written(record, style)))["payload"]
    assert scrubbed == {"shas": [[SHA, None, "m", "n"]], "commits": [{"author": {"email": None}}]}


@settings(deadline=None)
@given(st.text(min_size=1, max_size=8), hosts, styles)
def test_a_field_is_treated_whatever_stands_before_its_at(local: str, host: str, style: int) -> None:
    assume("@" not in local)
    scrubbed = json.loads(POLICIES["hash"].scrub(written({"email": f"{local}@{host}"}, style)))
    assert scrubbed == {"email": f"{sha1(local.lstrip(' '))}@{host}"}


@pytest.mark.parametrize("key", ["email", "mail", "Email", "publicEmail", "committer_email", "notification-email"])
def test_every_key_that_ends_in_email_is_a_field(key: str) -> None:
    scrubbed = POLICIES["hash"].scrub(written({"a": [{key: "o'hara & sons@localhost"}]}, 0))
    assert json.loads(scrubbed) == {"a": [{key: f"{sha1(chr(111) + chr(39) + 'hara & sons')}@localhost"}]}


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("ann@", f"{sha1('ann')}@"),
        ("@host.example", f"{sha1('')}@host.example"),
        (" ann@host.example ", f"{sha1('ann')}@host.example "),
        (f"{SHA}@host.example", f"{SHA}@host.example"),
        ("ann@host.example@6b3e-uuid", f"{sha1('ann')}@host.example@6b3e-uuid"),
        ("ann@a.example, bob@b.example", f"{sha1('ann')}@a.example, {sha1('bob')}@b.example"),
        ("ann@host@b.example", f"{sha1('ann')}@{sha1('host')}@b.example"),
    ],
)
def test_odd_values_of_a_field(said: str, becomes: str) -> None:
    for record in ({"email": said}, [SHA, said]):
        scrubbed = json.loads(POLICIES["hash"].scrub(written(record, 2)))
        assert becomes in (scrubbed["email"] if isinstance(scrubbed, dict) else scrubbed)


@settings(deadline=None)
@given(st.text(max_size=8), styles)
def test_a_field_without_at_is_hashed_whole(said: str, style: int) -> None:
    assume("@" not in said)
    text = written({"author": {"email": said, "name": said}, "shas": [[SHA, said, said]]}, style)
    bare = {"hash": sha1(said), "keyed": keyed(said), "drop": None}
    if re.fullmatch("[0-9a-f]{40}", said):
        return
    for name, becomes in bare.items():
        policy = POLICIES[name]
        assert policy.has_bare_fields(text)
        treated = policy.scrub_bare_fields(text)
        assert json.loads(treated) == {
            "author": {"email": becomes, "name": said},
            "shas": [[SHA, becomes, said]],
        }
        assert policy.scrub_bare_fields(treated) == treated
        assert not policy.has_bare_fields(treated)


def test_absent_and_null_addresses_stay_so() -> None:
    text = written({"author": {"email": None}, "shas": [[SHA, None], [SHA]], "email": 5}, 2)
    for policy in TREATING:
        assert policy.scrub_bare_fields(policy.scrub(text)) == text


@given(locals_, hosts)
def test_with_a_key_a_person_has_one_hash_whether_the_archive_hashed_it_or_not(local: str, host: str) -> None:
    assume(not re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", local))
    for form in ('{"email":"%s@%s"}', '["%s@%s"]', '["by <%s@%s>"]'):
        in_clear = POLICIES["keyed"].scrub((form % (local, host)).encode())
        hashed = POLICIES["keyed"].scrub((form % (sha1(local), host)).encode())
        assert in_clear == hashed
        assert keyed(local).encode() in hashed


def test_another_key_gives_another_hash() -> None:
    text = b'{"email":"ann@host.example"}'
    other = EmailPolicy.of("hash", b"another key of 16 bytes")
    assert len({policy.scrub(text) for policy in (*POLICIES.values(), other)}) == len(POLICIES) + 1
    assert other.name != POLICIES["keyed"].name != POLICIES["hash"].name


# --------------------------------------------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    "said",
    [
        "git@github.com:ann/tool.git",
        "ssh://git@host.example/ann/tool",
        "cloned from 'git@host.example:ann/tool'",
        "thanks @ann and @bob-2!",
        "pkg@1.2.3 and left-pad@^1.0.0",
        "@types/node@20.1",
        "logo@2x.png",
        "ann @ host.example",
        "root@localhost",
        "@media (min-width: 1px)",
        "@",
        "@@@",
        "a@",
        "r35604@b.",
        "user@-.-",
        "C:\\temp\\@x",
    ],
)
@pytest.mark.parametrize("policy", TREATING)
def test_what_is_no_address_stays(said: str, policy: EmailPolicy) -> None:
    for style in range(8):
        text = written({"message": said, "a": [said]}, style)
        assert policy.scrub(text) == text


@pytest.mark.parametrize(
    ("said", "hashed", "dropped"),
    [
        (
            "Signed-off-by: Ann <ann@host.example>",
            "Signed-off-by: Ann <{ann}@host.example>",
            "Signed-off-by: Ann <[e-mail]>",
        ),
        ("a\nann@host.example\n", "a\n{ann}@host.example\n", "a\n[e-mail]\n"),
        ("mailto:ann@host.example.", "mailto:{ann}@host.example.", "mailto:[e-mail]."),
        ('"ann@host.example"', '"{ann}@host.example"', '"[e-mail]"'),
        ("\\nann@host.example", "\\{nann}@host.example", "\\[e-mail]"),
        ("\u00e4nn@host.example", "{\u00e4nn}@host.example", "[e-mail]"),
        ("ann@h\u00f6st.example", "{ann}@h\u00f6st.example", "[e-mail]"),
        ("Git <git@host.example>", "Git <{git}@host.example>", "Git <[e-mail]>"),
        ("ann@163.com", "{ann}@163.com", "[e-mail]"),
    ],
)
def test_addresses_in_text(said: str, hashed: str, dropped: str) -> None:
    hashed = re.sub(r"\{(.+?)\}", lambda found: sha1(found[1]), hashed)
    for style in range(16):
        text = written([said, {said: 1}], style)
        assert json.loads(POLICIES["hash"].scrub(text)) == [hashed, {hashed: 1}]
        assert json.loads(POLICIES["drop"].scrub(text)) == [dropped, {dropped: 1}]


@settings(deadline=None, max_examples=50)
@given(documents(), st.randoms(use_true_random=False), st.sampled_from(TREATING))
def test_addresses_spelled_as_escapes_are_treated(
    found: tuple[Any, list[str]], random: Any, policy: EmailPolicy
) -> None:
    value, inside = found
    plain = written(value, 1)
    text = re.sub(
        rb"(?<![\\\w])[\w@.]+",
        lambda word: word[0] if random.random() < 0.5 or word[0] in {b"true", b"false", b"null"} else spell(word[0]),
        plain,
    )
    assume(texts.meaning(text) == texts.meaning(plain) if sound(text) else False)
    scrubbed = policy.scrub_document(text)
    assert pairs(scrubbed) == pairs(plain)
    for said in strings(json.loads(scrubbed)):
        assert not clear(said)
        assert not any(address in said for address in inside)


def spell(word: bytes) -> bytes:
    return b"".join(b"\\u%04x" % byte for byte in word)


def sound(text: bytes) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("text", "spells"),
    [
        (rb'"ann\u0040host.example"', True),
        (rb'{"\u0065mail":"ann"}', True),
        (rb'"\\\u0040"', True),
        (rb'"\\u0040"', False),
        (rb'"\\\\u0040"', False),
        (rb'"\u003cann@host.example\u003e \u0026 \u0027 \u001b \u007f \u00e4 \u2028"', False),
        (b'"plain@host.example"', False),
    ],
)
def test_only_what_an_address_is_made_of_counts_as_spelled(text: bytes, spells: bool) -> None:  # noqa: FBT001
    assert spells_addresses(text) is spells


def test_spelling_out_keeps_what_a_document_says() -> None:
    text = rb'{"a":"\u005c\u0022\u0041\\u0041\u00e4\ud83d\ude00\n","\u0041":"\u005b\u007D"}'
    assert json.loads(POLICIES["hash"].scrub_document(text)) == json.loads(text)


# -------------------------------------------------------------------------------------------- damaged bytes and logs


@settings(deadline=None, max_examples=50)
@given(documents(), styles, st.sampled_from(TREATING), st.data())
def test_no_address_stays_in_a_damaged_document(
    found: tuple[Any, list[str]], style: int, policy: EmailPolicy, data: st.DataObject
) -> None:
    """Cut anywhere, with rubbish around: no name before an @ stays."""
    text = written(found[0], style & ~1)
    start = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.binary(max_size=5)) + text[start:] + data.draw(st.binary(max_size=5))
    for damaged in (cut, cut.replace(b"@", ESCAPED_AT.encode())):
        treated = policy.scrub_damaged(damaged).decode("latin-1").encode("latin-1").decode(errors="replace")
        assert not clear(treated.replace(ESCAPED_AT, "@"))


def test_the_ssh_address_of_a_repository_stays_in_damaged_bytes() -> None:
    kept = b'"ssh_url":"git@github.com:ann/tool.git","a":'
    assert all(policy.scrub_damaged(kept) == kept for policy in TREATING)
    assert b"git@" not in POLICIES["hash"].scrub_damaged(b'by <git@host.example>","a":')


@pytest.mark.parametrize("end", [1, 3, 8, 12])
@pytest.mark.parametrize("before", ['"email":"', '"email" : "', f'["{SHA}","', f'[ "{SHA}", "'])
@pytest.mark.parametrize("policy", TREATING)
def test_the_head_of_a_cut_address_in_a_field_is_treated(before: str, end: int, policy: EmailPolicy) -> None:
    cut = (before + "zoe.of.the.hill"[:end]).encode()
    treated = policy.scrub_damaged(cut)
    assert treated.startswith(before.encode())
    assert b"zoe.of.the.hill"[:end] not in treated[len(before) :].replace(b"[e-mail]", b"")


@given(sentences())
def test_logs_show_no_address(found: tuple[str, list[str]]) -> None:
    text, inside = found
    logged = scrub_text(text)
    assert not clear(logged)
    assert not any(address in logged for address in inside)
    assert scrub_text(logged) == logged


@pytest.mark.parametrize(
    "line",
    [
        "2015-01-01-15: 11,351 events, 3 damaged",
        "https://data.gharchive.org/2015-01-01-15.json.gz",
        "gs://bucket/lake/events/year=2015",
        "at 12:00, thanks @ann",
    ],
)
def test_logs_without_addresses_stay(line: str) -> None:
    assert scrub_text(line) == line


# -------------------------------------------------------------------------------------------------- encoded and linear


@pytest.mark.parametrize("at", ["%40", "%2540", "&#64;", "&#064;", "&#x40;", "&#X0040;", "&commat;", "\\u0026#64;"])
def test_an_encoded_at_is_treated_as_one(at: str) -> None:
    text = f'{{"body":"see https://x.example/?to=zed{at}host.example&x=1"}}'.encode()
    hashed = POLICIES["hash"].scrub_document(text)
    assert f"to={sha1('zed')}{at}host.example".encode() in hashed
    assert POLICIES["hash"].scrub_document(hashed) == hashed
    assert b"to=[e-mail]" in POLICIES["drop"].scrub_document(text)
    assert all(b"zed" not in policy.scrub_damaged(text[5:]) for policy in TREATING)


def test_what_is_no_encoded_address_stays() -> None:
    text = b'["https://x.example/%40types/node","https://x.example/%40zed.host","100%40","a&#64;"]'
    assert all(policy.scrub_document(text) == text for policy in TREATING)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("policy", TREATING)
def test_an_address_in_bytes_that_are_no_text_is_treated(policy: EmailPolicy, encoding: str) -> None:
    junk = bytes(range(256)).replace(b"@", b"") * 40
    data = junk + "zed.quux@host.example".encode(encoding) + junk
    assert "zed.quux".encode(encoding) not in policy.scrub_bytes(data)
    assert policy.scrub_bytes(junk) == junk


HARD: Final = (
    *(
        b"QUJD",
        b"@",
        b"a@",
        b"\\",
        b"\\@",
        b'\\"@',
        b'"@',
        b"[ ",
        b'mail":"',
        b'mail" ',
        b'"email":"',
        b"a.",
        b"@a.",
        b"@a",
    ),
    *(b"@1", b"%40", b"&#0", b"\\u0040", b"\\u00e4", b"\xff", b"-", b"@-", b"a@b.c ", b"\0", b"@\0a"),
)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("unit", HARD)
def test_the_work_for_a_text_grows_no_faster_than_the_text(unit: bytes) -> None:
    """Calls are counted; within a call, a rule that is not linear would take minutes for the longest text."""
    policy = POLICIES["drop"]
    for treat in (policy.scrub_document, policy.scrub_damaged, policy.scrub_bytes):
        counts = [calls(partial(treat, unit * (size // len(unit)))) for size in (1 << 12, 1 << 13)]
        assert counts[1] <= 2 * counts[0] + 100
        treat((unit * (1 << 18))[: 1 << 18])
    scrub_text((unit * (1 << 18))[: 1 << 18].decode("latin-1"))


@pytest.mark.timeout(120)
def test_runs_of_backslashes_before_each_at_are_cheap() -> None:
    text = b'["' + (b"\\" * 512 + b"@") * 2_000 + b'"]'
    for policy in TREATING:
        policy.scrub_document(text)
        policy.scrub_damaged(text)


def calls(work: Any) -> int:
    """Counts the calls that some work makes, of Python's functions and of the interpreter's."""
    count = 0

    def note(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


# ------------------------------------------------------------------------------------------------------------ settings


def test_an_unknown_policy_and_a_short_key_are_refused() -> None:
    with pytest.raises(UsageError, match="shred") as unknown:
        EmailPolicy.of("shred")
    assert "hash, keep, drop" in str(unknown.value.hint)
    with pytest.raises(UsageError, match="15 bytes") as short:
        EmailPolicy.of("hash", b"k" * 15)
    assert "kkk" not in str(short.value)


def test_a_policy_never_shows_its_key() -> None:
    for shown in (repr(POLICIES["keyed"]), str(POLICIES["keyed"]), POLICIES["keyed"].name):
        assert KEY.decode() not in shown
        assert KEY.hex() not in shown
    assert re.fullmatch("hash-keyed:[0-9a-f]{8}", POLICIES["keyed"].name)
    assert [POLICIES[name].name for name in ("hash", "keep", "drop")] == ["hash", "keep", "drop"]
