"""E-mail addresses are hashed, kept or dropped wherever they occur.

Files before 2016-05-26 and again those of 2023 and 2024 hold addresses in clear; in between the archive hashed
them. So the policy works on the bytes of every document of every era, before anything is made of them.

An address stands in one of two ways:

* as the whole value of a field that is there for it: a key that ends in ``email``, or the second item of
  ``shas``. The value is taken as the official dataset takes it (bigquery/transformer.rb of
  igrigorik/gharchive.org): SHA-1 of what stands before ``@``, in hex, then ``@domain``; a part of 40 hex
  digits is a hash already and stays; in a push or in ``actor_attributes``, a value without ``@`` is hashed whole;
* as a word in any other text, a commit message or a biography. The official dataset leaves these; here they
  are treated alike, since an address is no less one for standing in a sentence.

With a key, the hash is HMAC-SHA-256 over that SHA-1, because a bare SHA-1 of an address can be found in a
dictionary (igrigorik/gharchive.org#144). As the archive's own hashes go in where clear addresses would, one
person has one hash over all years.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Final, Self
from urllib.parse import unquote_to_bytes

from etl.errors import UsageError

SHORTEST_KEY: Final = 16
"""Minimum length of an HMAC key in bytes."""

# All addresses have this character. Hashes and the SSH addresses of repositories are skipped.
_NOT_SSH: Final = rb'(?<!"ssh_url":"git@)'
_AT: Final = re.compile(rb"@" + _NOT_SSH)
_AT_NOT_SHA1: Final = re.compile(rb'@(?<!"[0-9a-f]{40}@)' + _NOT_SSH)
_AT_NOT_HMAC: Final = re.compile(rb'@(?<!"[0-9a-f]{64}@)' + _NOT_SSH)
_FIELD: Final = re.compile(rb'(?:mail"\s*:\s*|\[\s*"[0-9a-f]{40}"\s*,\s*)\Z')
_FIELD_REACH: Final = 72
_LONGEST_LOCAL: Final = 512
_LOCAL_BYTES: Final = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._%+-" + bytes(range(0x80, 0x100))
)
_BINARY_LOCAL: Final = bytes(_LOCAL_BYTES) + b"\0"
# A host name with a top-level domain; not a version (pkg@1.2.3), not a picture for dense screens (logo@2x.png).
# A non-ASCII letter may be written as an escape.
_SPELLED_LETTER: Final = re.compile(rb"\\u(?!00[0-7])[0-9a-fA-F]{4}")
# Linear: backtracking into a label cannot match what follows, and the number of labels is bounded, as in the DNS.
# Groups must not be possessive: Python before 3.11.5 finds wrong matches for them (python/cpython#106052).
_DOMAIN: Final = re.compile(
    rb"(?!\d+\.\d|\dx\.)(?:(?:L|\d)+(?:-++(?:L|\d)+)*\.){1,127}L{2,}".replace(
        b"L", rb"(?:[A-Za-z\x80-\xff]|" + _SPELLED_LETTER.pattern + rb")"
    )
)
# An @ as written in URLs and HTML; JSON may escape it again.
_ENCODED_AT: Final = re.compile(rb"%(?:25){0,4}40|(?:&|\\u0026)(?:#0{0,6}64|#[xX]0{0,6}40|commat);")
# An ASCII character of an address, written as an escape. No known JSON writer does this. "\u0040" is an @.
_SPELLED: Final = re.compile(rb"\\u00(2[5bdeBDE]|3[0-9]|[46][0-9a-fA-F]|5[0-9abdfABDF]|7[0-9a-eA-E])")
_SHA1: Final = re.compile(rb"[0-9a-f]{40}")
_HMAC: Final = re.compile(rb"[0-9a-f]{64}")
_BARE_VALUE: Final = re.compile(rb'"(?:[^"@\\]++|\\.)*"')
_BARE_EMAIL: Final = re.compile(rb'("email"\s*:\s*)("(?:[^"@\\]++|\\.)*")')
_BARE_SHA: Final = re.compile(rb'(\[\s*"[0-9a-f]{40}"\s*,\s*)("(?:[^"@\\]++|\\.)*")')
# In invalid JSON, anything next to an @ may be part of an address; in UTF-16 there are NULs between the characters.
_ANY_AT: Final = re.compile(
    rb"(@|%(?:\0{0,16}2\0{0,16}5){0,4}\0{0,16}4\0{0,16}0|(?:&|\\u0026)(?:#0{0,6}64|#[xX]0{0,6}40|commat);)"
)
_NO_SEPARATOR: Final = bytes(set(range(256)) - set(b" \t\n\r\f\v\"'<>\\:;,()[]{}@"))
_LOOSE_HOST: Final = re.compile(rb"[^\s\"'<>\\;,()\[\]{}]*+")
# Each repetition takes what none after it can, and never backtracks, so that the search is linear.
_CUT_FIELD: Final = re.compile(
    rb'((?:mail"\s*+:\s*+|\[\s*+"[0-9a-f]{40}"\s*+,\s*+)")((?:[^"@\\\r\n\0]++|\\[^\r\n\0])+\\?)(?=[\r\n\0]|\Z)',
    re.DOTALL,
)
# In binary data as well: a local part, an @, a host of two or more labels, with NULs in between.
_BINARY_HOST: Final = re.compile(rb"\0{0,16}(?:[\w-]\0{0,16}){1,63}(?:\.\0{0,16}(?:[\w-]\0{0,16}){1,63}){1,16}")
_CONTROLS: Final = bytes(set(range(0x20)) - set(b"\t\n\r\x1e")) + b"\x7f"
_MOST_CONTROLS: Final = 1 / 32
"""Maximum share of control characters in text; in a compressed stream it is one byte in nine."""
_TEXT_STEP: Final = 4096
_NOT_A_PERSON: Final = b"git"
"""User name of Git hosts' SSH addresses, ``git@github.com:owner/name``; without a path it may be a person's."""
_PATH_BEGINS: Final = (b":", b"/", rb"\/")
_AT_SIGN: Final = 0x40
_CONTINUED: Final = 0x80
"""The upper two bits of a byte that continues a UTF-8 character."""
_DROPPED_WORD: Final = b"[e-mail]"
_PLAIN: Final = re.compile(rb"[ !\x23-\x5b\x5d-\x7e]*+")
"""Characters that stand for themselves in a JSON string, in any context."""
_LONGEST_REMEMBERED: Final = 256
"""Maximum length in bytes of a local part whose hash is cached."""
_BACKSLASH_STEP: Final = 4096


class EmailMode(StrEnum):
    """How addresses are handled."""

    HASH = "hash"
    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True)
class EmailPolicy:
    """A policy for e-mail addresses.

    Attributes:
        mode: How addresses are handled.
        key: Key of the HMAC; None for the official dataset's bare SHA-1.
    """

    mode: EmailMode
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, mode: str, key: bytes | None = None) -> Self:
        """Returns the policy for a setting.

        Raises:
            UsageError: If the mode is unknown, or the key too short.
        """
        if mode not in {known.value for known in EmailMode}:
            raise UsageError(f"there is no e-mail policy {mode!r}", hint="it is one of hash, keep, drop")
        if key is not None and len(key) < SHORTEST_KEY:
            raise UsageError(
                f"the e-mail key has {len(key)} bytes; it needs at least {SHORTEST_KEY}",
                hint="make one with: python -c 'import secrets; print(secrets.token_hex(32))'",
            )
        return cls(EmailMode(mode), key)

    @property
    def name(self) -> str:
        """Name of the policy in manifests. With a key it has a fingerprint: hashes of different keys differ."""
        if self.mode is EmailMode.HASH and self.key is not None:
            return f"hash-keyed:{hmac.new(self.key, b'fingerprint', hashlib.sha256).hexdigest()[:8]}"
        return self.mode.value

    @property
    def keeps(self) -> bool:
        """Whether addresses are kept."""
        return self.mode is EmailMode.KEEP

    def scrub(self, text: bytes) -> bytes:
        """Replaces every address with an ``@`` in valid JSON text; the result is valid JSON.

        Args:
            text: One document, or many, in UTF-8.
        """
        return self.scrub_block(text)[0]

    def scrub_block(self, text: bytes) -> tuple[bytes, bool]:
        """Replaces like ``scrub``, and returns whether all damage of the text is still visible in the result.

        Args:
            text: Any bytes.

        Returns:
            The new text; and False if something was replaced that may itself have been invalid.
        """
        if self.keeps:
            return text, True
        scrubber = _Scrubber(self, text)
        return scrubber.run(), scrubber.plain

    def scrub_encoded(self, text: bytes) -> bytes:
        """Replaces every address whose ``@`` is encoded as in a URL or in HTML, in valid JSON text.

        Args:
            text: One document, or many, in UTF-8.
        """
        return text if self.keeps else _Scrubber(self, text).run_encoded()

    def scrub_document(self, text: bytes) -> bytes:
        """Replaces every address in one valid document, also if it is written with escapes or encoded.

        Args:
            text: One document in UTF-8.
        """
        return text if self.keeps else self.scrub_encoded(self.scrub(_spell_out(text)))

    def scrub_bare_fields(self, text: bytes) -> bytes:
        """Replaces the values without ``@`` of fields for an address.

        Args:
            text: JSON of a push's payload or of ``actor_attributes``.
        """
        if self.keeps:
            return text
        for pattern in (_BARE_EMAIL, _BARE_SHA):
            text = pattern.sub(lambda found: found[1] + self._bare(found[2]), text)
        return text

    def scrub_bare_value(self, value: bytes) -> bytes:
        """Replaces the value of one field for an address, like ``scrub_bare_fields``.

        Args:
            value: A JSON value.
        """
        if self.keeps:
            return value
        return self._bare(value) if _BARE_VALUE.fullmatch(value) else self.scrub_bare_fields(value)

    def has_bare_fields(self, text: bytes | memoryview) -> bool:
        """Returns whether ``scrub_bare_fields`` would change anything."""
        if self.keeps:
            return False
        found = chain.from_iterable(pattern.finditer(text) for pattern in (_BARE_EMAIL, _BARE_SHA))
        return any(self._bare(match[2]) != match[2] for match in found)

    def scrub_damaged(self, data: bytes) -> bytes:
        """Replaces everything that may be an address, or a part of one, in invalid JSON."""
        if self.keeps:
            return data
        data = self.scrub_bare_fields(_spell_out(data))
        data = _CUT_FIELD.sub(lambda found: found[1] + self._word(found[2]), data)
        return _replaced(data, self._loose_spans(data))

    def scrub_bytes(self, data: bytes) -> bytes:
        """Replaces addresses in binary data, such as the rest of a broken container.

        Parts that are text nevertheless are handled like ``scrub_damaged``.
        """
        if self.keeps:
            return data
        data = _replaced(data, self._binary_spans(data))
        steps = (data[at : at + _TEXT_STEP] for at in range(0, len(data), _TEXT_STEP))
        return b"".join(self.scrub_damaged(self.scrub(step)) if _is_text(step) else step for step in steps)

    def digest(self, local: bytes) -> bytes:
        """Returns the hash of a local part as written in JSON; a hash by this policy is not hashed again."""
        return _digest(_unescape(local), self.key)

    @property
    def to_look_at(self) -> re.Pattern[bytes]:
        """Finds each ``@`` that may belong to an address that this policy has not replaced yet."""
        if self.mode is EmailMode.DROP:
            return _AT
        return _AT_NOT_SHA1 if self.key is None else _AT_NOT_HMAC

    def _word(self, local: bytes) -> bytes:
        return _DROPPED_WORD if self.mode is EmailMode.DROP else self.digest(local)

    def _bare(self, value: bytes) -> bytes:
        if self.mode is EmailMode.DROP:
            return b"null"
        return b'"' + self.digest(value[1:-1]) + b'"'

    def _loose_spans(self, data: bytes) -> Iterator[_Span]:
        """Yields everything that may be an address in damaged text. Linear: no byte is read for two addresses."""
        done = 0
        for found in _ANY_AT.finditer(data):
            if found.start() < done:
                continue
            start = done + len(data[done : found.start()].rstrip(_NO_SEPARATOR))
            if start == found.start():
                done = found.end()
                continue
            host = _LOOSE_HOST.match(data, found.end())
            done = found.end() if host is None else host.end()
            yield start, self._loose(data[start:done]), done

    def _loose(self, word: bytes) -> bytes:
        if word.startswith(b"git@") and word.count(b"@") == 1 and (b":" in word or b"/" in word):
            return word
        if self.mode is EmailMode.DROP:
            return _DROPPED_WORD
        *names, host = _ANY_AT.split(word)
        # Names and what stands between them take turns.
        hashed = [name if place % 2 or not name else _digest(name, self.key) for place, name in enumerate(names)]
        return b"".join([*hashed, host])

    def _binary_spans(self, data: bytes) -> Iterator[_Span]:
        done = 0
        for found in _ANY_AT.finditer(data):
            at, behind = found.span()
            if at < done:
                continue
            low = max(done, at - _LONGEST_LOCAL)
            start = low + len(data[low:at].rstrip(_BINARY_LOCAL))
            host = _BINARY_HOST.match(data, behind)
            local = data[start:at].replace(b"\0", b"")
            done = behind
            if local and host is not None:
                done = host.end()
                word = _DROPPED_WORD if self.mode is EmailMode.DROP else _digest(local, self.key) + data[at:done]
                yield start, word, done


_Span = tuple[int, bytes, int]
"""What to put in the place of ``text[start:end]``: (start, replacement, end)."""


def _replaced(text: bytes, spans: Iterable[_Span]) -> bytes:
    pieces: list[bytes] = []
    done = 0
    for start, replacement, end in spans:
        pieces += (text[done:start], replacement)
        done = end
    return b"".join([*pieces, text[done:]]) if pieces else text


def _is_text(data: bytes) -> bool:
    """Returns whether bytes may be text in an encoding that contains ASCII: few of them are control characters."""
    shown = data.replace(b"\0", b"")
    return len(shown) - len(shown.translate(None, _CONTROLS)) <= max(1, len(shown) * _MOST_CONTROLS)


class _Scrubber:
    """Replaces the addresses of a text in one pass, from ``@`` to ``@``."""

    def __init__(self, policy: EmailPolicy, text: bytes) -> None:
        self.plain = True
        """Whether everything replaced was free of escapes: then the result is valid only if the text is."""
        self._policy = policy
        self._text = text
        self._done = 0
        self._looked = 0
        self._quote = -1

    def run(self) -> bytes:
        """Returns the text with every address replaced."""
        return _replaced(self._text, self._spans())

    def run_encoded(self) -> bytes:
        """Returns the text with every address replaced whose ``@`` is encoded."""
        return _replaced(self._text, self._encoded_spans())

    def _spans(self) -> Iterator[_Span]:
        text = self._text
        for found in self._policy.to_look_at.finditer(text):
            at = found.start()
            # Behind an @ there is neither a name nor a field that the next one could end.
            passed = at < self._done or (at > 0 and text[at - 1] == _AT_SIGN)
            span = None if passed else self._treat(at)
            if span is not None:
                start, _, end = span
                quoted = text[start : start + 1] == b'"'
                self.plain = self.plain and _PLAIN.fullmatch(text, start + quoted, end - quoted) is not None
                self._done = end
                yield span

    def _encoded_spans(self) -> Iterator[_Span]:
        text = self._text
        for found in _ENCODED_AT.finditer(text):
            at = found.start()
            if at >= max(self._done, 1) and text[at - 1] in _LOCAL_BYTES:
                span = self._word(at, found.end())
                if span is not None:
                    self._done = span[2]
                    yield span

    def _treat(self, at: int) -> _Span | None:
        text = self._text
        quote = text.rfind(b'"', max(self._done, at - _LONGEST_LOCAL), at)
        # The common case first, for speed: a compact field.
        opens_field = text[quote - 6 : quote] == b'mail":' or self._opens_field(quote := self._opening_quote(at))
        if opens_field and text.find(b"@", quote, at) < 0:
            return self._field(quote, at)
        return self._word(at, at + 1) if text[at - 1] in _LOCAL_BYTES else None

    def _opens_field(self, quote: int) -> bool:
        """Returns whether this quote opens the value of a field for an address."""
        before = self._text[max(0, quote - 6) : max(0, quote)]
        if before.endswith(b'":'):
            return before == b'mail":'
        # Only a colon, a comma or space can stand between a key, or a sha, and its value.
        if not before.endswith((b":", b",", b" ", b"\t", b"\r", b"\n")):
            return False
        return _FIELD.search(self._text, max(0, quote - _FIELD_REACH), quote) is not None

    def _opening_quote(self, at: int) -> int:
        """Returns the position of the quote that opens the string around ``at``; -1 if it is too far away.

        The text before the previous ``@`` is not searched again, so that the search is linear.
        """
        low = max(self._done, at - _LONGEST_LOCAL)
        since = max(low, self._looked)
        quote = self._text.rfind(b'"', since, at)
        while quote > low and _is_escaped(self._text, quote):
            quote = self._text.rfind(b'"', since, quote)
        if quote < 0 and self._quote >= low:
            quote = self._quote
        self._looked, self._quote = at, quote
        return quote

    def _field(self, quote: int, at: int) -> _Span:
        """Replaces the part before the ``@``; or the whole value, if addresses are dropped."""
        text = self._text
        if self._policy.mode is EmailMode.HASH:
            # Space before an address is no part of it, as in the official dataset.
            return quote + 1, self._policy.digest(text[quote + 1 : at].lstrip(b" ")), at
        end = text.find(b'"', at)
        while end >= 0 and _is_escaped(text, end):
            end = text.find(b'"', end + 1)
        return quote, b"null", end + 1 if end >= 0 else len(text)

    def _word(self, at: int, behind: int) -> _Span | None:
        """Replaces the local part before an ``@`` that ends at ``behind``, if a host name follows."""
        domain = _DOMAIN.match(self._text, behind)
        start = self._word_start(at)
        local = self._text[start:at]
        if domain is None or not local:
            return None
        if local == _NOT_A_PERSON and self._text.startswith(_PATH_BEGINS, domain.end()):
            return None
        if self._policy.mode is EmailMode.HASH:
            is_url = self._text.startswith(b"%", at)
            return start, self._policy.digest(unquote_to_bytes(local) if is_url else local), at
        return start, _DROPPED_WORD, domain.end()

    def _word_start(self, at: int) -> int:
        """Returns where the word before ``at`` begins. Of all escapes, only non-ASCII letters belong to it."""
        text = self._text
        low = max(self._done, at - _LONGEST_LOCAL)
        start = at
        while True:
            while start > low and text[start - 1] in _LOCAL_BYTES:
                start -= 1
            while start < at and text[start] & 0xC0 == _CONTINUED:  # a word too long was cut inside a character
                start += 1
            begin, end = _escape_over(text, start)
            if not low < begin < start or _SPELLED_LETTER.match(text, begin, at) is None:
                return min(end, at)
            start = begin


_LOG_TOKEN: Final = re.compile(r"[^\s\"'<>\\:;,()\[\]{}@/]++(@[^\s\"'<>\\;,()\[\]{}/@]++)?")


def scrub_text(text: str) -> str:
    """Removes everything that looks like an address from a log line or an error message."""
    # Linear, as each match takes a whole run of characters, with an @ behind it or not.
    return _LOG_TOKEN.sub(lambda found: _DROPPED_WORD.decode() if found[1] else found[0], text)


def _digest(local: bytes, key: bytes | None) -> bytes:
    return _short_digest(local, key) if len(local) <= _LONGEST_REMEMBERED else _made_digest(local, key)


def _made_digest(local: bytes, key: bytes | None) -> bytes:
    if key is not None and _HMAC.fullmatch(local):
        return local
    plain = local if _SHA1.fullmatch(local) else hashlib.sha1(local, usedforsecurity=False).hexdigest().encode()
    return plain if key is None else hmac.new(key, plain, hashlib.sha256).hexdigest().encode()


_short_digest: Final = lru_cache(maxsize=1 << 16)(_made_digest)


def _unescape(local: bytes) -> bytes:
    """Returns the value of a JSON string without its quotes, in UTF-8."""
    if b"\\" not in local:
        return local
    try:
        return str(json.loads(b'"' + local + b'"')).encode(errors="surrogatepass")
    except ValueError:
        return local


def spells_addresses(text: bytes) -> bool:
    """Returns whether a character that an address may have is written as an escape; ``scrub_document`` finds these."""
    return any(not _is_escaped(text, found.start()) for found in _SPELLED.finditer(text))


def _spell_out(text: bytes) -> bytes:
    """Replaces the escapes of characters that an address may have by these characters."""
    return _SPELLED.sub(
        lambda found: found[0] if _is_escaped(text, found.start()) else bytes.fromhex(found[1].decode()), text
    )


def _escape_over(text: bytes, at: int) -> tuple[int, int]:
    """Returns the bounds of the escape around ``at``; ``at`` twice if there is none."""
    begin = text.find(b"\\", max(0, at - 5), at)
    while begin >= 0:
        if not _is_escaped(text, begin):
            end = begin + (6 if text[begin + 1 : begin + 2] == b"u" else 2)
            if end > at:
                return begin, end
        begin = text.find(b"\\", begin + 1, at)
    return at, at


def _is_escaped(text: bytes, at: int) -> bool:
    """Returns whether the byte at ``at`` follows an odd number of backslashes."""
    # The run before it is measured by the interpreter's own loops, in steps that bound what is copied.
    end = at
    while end > 0:
        low = max(0, end - _BACKSLASH_STEP)
        rest = len(text[low:end].rstrip(b"\\"))
        end = low + rest
        if rest:
            break
    return (at - end) % 2 == 1
