"""What becomes of e-mail addresses: hashed, kept or dropped, wherever they stand.

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
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from itertools import chain
from typing import Final, Self

from etl.errors import UsageError

SHORTEST_KEY: Final = 16
"""Least bytes of an HMAC key."""

# The one character all addresses share. What is hashed already, and every repository's ssh address, go by.
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
# A host name with a top-level domain; not a version (pkg@1.2.3), not a picture for dense screens (logo@2x.png).
# A letter beyond ASCII may be spelled as an escape.
_SPELLED_LETTER: Final = re.compile(rb"\\u(?!00[0-7])[0-9a-fA-F]{4}")
_DOMAIN: Final = re.compile(
    rb"(?!\d+\.\d|\dx\.)(?:(?:L|\d)(?:(?:L|[\d-])*(?:L|\d))?\.)+L{2,}".replace(
        b"L", rb"(?:[A-Za-z\x80-\xff]|" + _SPELLED_LETTER.pattern + rb")"
    )
)
# What an address is made of, spelled as an escape, as no known writer of JSON does; "\u0040" is an @.
_SPELLED: Final = re.compile(rb"\\u00(2[5bdeBDE]|3[0-9]|[46][0-9a-fA-F]|5[0-9abdfABDF]|7[0-9a-eA-E])")
_SHA1: Final = re.compile(rb"[0-9a-f]{40}")
_HMAC: Final = re.compile(rb"[0-9a-f]{64}")
_BARE_EMAIL: Final = re.compile(rb'("email"\s*:\s*)("(?:[^"@\\]++|\\.)*+")')
_BARE_SHA: Final = re.compile(rb'(\[\s*"[0-9a-f]{40}"\s*,\s*)("(?:[^"@\\]++|\\.)*+")')
# In bytes that are no sound JSON, anything around an @ may be the rest of an address.
_LOOSE: Final = re.compile(rb"[^\s\"'<>\\:;,()\[\]{}@]+@[^\s\"'<>\\;,()\[\]{}]*")
_CUT_FIELD: Final = re.compile(rb'((?:mail"\s*:\s*|\[\s*"[0-9a-f]{40}"\s*,\s*)")((?:[^"@\\]|\\.)+)\Z')
_NOT_A_PERSON: Final = b"git"
"""The login of every Git host's ssh address, ``git@github.com:owner/name``; before no path, a person's after all."""
_PATH_BEGINS: Final = (b":", b"/", rb"\/")
_BACKSLASH: Final = 0x5C
_CONTINUED: Final = 0x80
"""The upper two bits of a byte that continues a UTF-8 character."""
_DROPPED_WORD: Final = b"[e-mail]"


class EmailMode(StrEnum):
    """The three policies."""

    HASH = "hash"
    KEEP = "keep"
    DROP = "drop"


@dataclass(frozen=True)
class EmailPolicy:
    """A policy, ready to be applied.

    Attributes:
        mode: What becomes of an address.
        key: Key of the HMAC; None for the official dataset's bare SHA-1.
    """

    mode: EmailMode
    key: bytes | None = field(default=None, repr=False)

    @classmethod
    def of(cls, mode: str, key: bytes | None = None) -> Self:
        """Makes a policy of its setting.

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
        """The policy as manifests name it; a keyed one with a fingerprint, since hashes of two keys never meet."""
        if self.mode is EmailMode.HASH and self.key is not None:
            return f"hash-keyed:{hmac.new(self.key, b'fingerprint', hashlib.sha256).hexdigest()[:8]}"
        return self.mode.value

    @property
    def keeps(self) -> bool:
        """Whether addresses stay as they are."""
        return self.mode is EmailMode.KEEP

    def scrub(self, text: bytes) -> bytes:
        """Treats every address with an ``@`` in sound JSON text; the result is sound JSON again.

        Args:
            text: One document, or many, in UTF-8.
        """
        return text if self.keeps else _Scrubber(self, text).run()

    def scrub_document(self, text: bytes) -> bytes:
        """Treats every address with an ``@`` in one sound document, also where one is spelled as escapes.

        Args:
            text: One document in UTF-8.
        """
        return text if self.keeps else self.scrub(_spell_out(text))

    def scrub_bare_fields(self, text: bytes) -> bytes:
        """Treats the values without ``@`` of the fields that are there for an address.

        Args:
            text: JSON of a push's payload or of ``actor_attributes``.
        """
        if self.keeps:
            return text
        for pattern in (_BARE_EMAIL, _BARE_SHA):
            text = pattern.sub(lambda found: found[1] + self._bare(found[2]), text)
        return text

    def has_bare_fields(self, text: bytes | memoryview) -> bool:
        """Whether ``scrub_bare_fields`` would change anything."""
        if self.keeps:
            return False
        found = chain.from_iterable(pattern.finditer(text) for pattern in (_BARE_EMAIL, _BARE_SHA))
        return any(self._bare(match[2]) != match[2] for match in found)

    def scrub_damaged(self, data: bytes) -> bytes:
        """Treats whatever may be an address, or the rest of one, in bytes that are no sound JSON."""
        if self.keeps:
            return data
        data = self.scrub_bare_fields(_spell_out(data))
        data = _CUT_FIELD.sub(lambda found: found[1] + self._word(found[2]), data)
        return _LOOSE.sub(self._loose, data)

    def digest(self, local: bytes) -> bytes:
        """Hashes the part before the ``@``, given as it stands in JSON; a hash of this policy stays as it is."""
        return _digest(_unescape(local), self.key)

    @property
    def to_look_at(self) -> re.Pattern[bytes]:
        """Finds the ``@`` that may belong to an address this policy has not treated yet."""
        if self.mode is EmailMode.DROP:
            return _AT
        return _AT_NOT_SHA1 if self.key is None else _AT_NOT_HMAC

    def _word(self, local: bytes) -> bytes:
        return _DROPPED_WORD if self.mode is EmailMode.DROP else self.digest(local)

    def _bare(self, value: bytes) -> bytes:
        if self.mode is EmailMode.DROP:
            return b"null"
        return b'"' + self.digest(value[1:-1]) + b'"'

    def _loose(self, found: re.Match[bytes]) -> bytes:
        *names, host = found[0].split(b"@")
        if names == [_NOT_A_PERSON] and (b":" in host or b"/" in host):
            return found[0]
        if self.mode is EmailMode.DROP:
            return _DROPPED_WORD
        return b"@".join([*(_digest(name, self.key) if name else name for name in names), host])


_Span = tuple[int, bytes, int]
"""What to put in the place of ``text[start:end]``: (start, replacement, end)."""


class _Scrubber:
    """One pass over a text, from ``@`` to ``@``."""

    def __init__(self, policy: EmailPolicy, text: bytes) -> None:
        self._policy = policy
        self._text = text
        self._done = 0

    def run(self) -> bytes:
        """Gives the text with every address treated."""
        text = self._text
        pieces: list[bytes] = []
        for found in self._policy.to_look_at.finditer(text):
            at = found.start()
            span = self._treat(at) if at >= self._done else None
            if span is not None:
                start, replacement, end = span
                pieces.append(text[self._done : start])
                pieces.append(replacement)
                self._done = end
        return b"".join([*pieces, text[self._done :]]) if pieces else text

    def _treat(self, at: int) -> _Span | None:
        text = self._text
        quote = text.rfind(b'"', max(self._done, at - _LONGEST_LOCAL), at)
        # The common case first, for speed: a compact field.
        opens_field = text[quote - 6 : quote] == b'mail":' or self._opens_field(quote := self._opening_quote(at))
        if opens_field and text.find(b"@", quote, at) < 0:
            return self._field(quote, at)
        return self._word(at) if text[at - 1] in _LOCAL_BYTES else None

    def _opens_field(self, quote: int) -> bool:
        """Whether this quote opens the value of a field that is there for an address."""
        before = self._text[max(0, quote - 6) : max(0, quote)]
        if before.endswith(b'":'):
            return before == b'mail":'
        # Only a colon, a comma or space can stand between a key, or a sha, and its value.
        if not before.endswith((b":", b",", b" ", b"\t", b"\r", b"\n")):
            return False
        return _FIELD.search(self._text, max(0, quote - _FIELD_REACH), quote) is not None

    def _opening_quote(self, at: int) -> int:
        """Finds the quote that opens the string ``at`` stands in, or -1 if it is far off."""
        low = max(self._done, at - _LONGEST_LOCAL)
        quote = self._text.rfind(b'"', low, at)
        while quote > low and _is_escaped(self._text, quote):
            quote = self._text.rfind(b'"', low, quote)
        return quote

    def _field(self, quote: int, at: int) -> _Span:
        """Replaces what stands before the ``@``, or, when addresses are dropped, the whole value."""
        text = self._text
        if self._policy.mode is EmailMode.HASH:
            # Space before an address is no part of it, as in the official dataset.
            return quote + 1, self._policy.digest(text[quote + 1 : at].lstrip(b" ")), at
        end = text.find(b'"', at)
        while end >= 0 and _is_escaped(text, end):
            end = text.find(b'"', end + 1)
        return quote, b"null", end + 1 if end >= 0 else len(text)

    def _word(self, at: int) -> _Span | None:
        domain = _DOMAIN.match(self._text, at + 1)
        start = self._word_start(at)
        local = self._text[start:at]
        if domain is None or not local:
            return None
        if local == _NOT_A_PERSON and self._text.startswith(_PATH_BEGINS, domain.end()):
            return None
        if self._policy.mode is EmailMode.HASH:
            return start, self._policy.digest(local), at
        return start, _DROPPED_WORD, domain.end()

    def _word_start(self, at: int) -> int:
        """Finds where the word before ``at`` begins; of escapes, only letters beyond ASCII are part of it."""
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


_LOG_ADDRESS: Final = re.compile(r"[^\s\"'<>\\:;,()\[\]{}@/]+@[^\s\"'<>\\;,()\[\]{}/@]+")


def scrub_text(text: str) -> str:
    """Takes whatever looks like an address out of a line of a log or an error message."""
    return _LOG_ADDRESS.sub(_DROPPED_WORD.decode(), text)


@lru_cache(maxsize=1 << 16)
def _digest(local: bytes, key: bytes | None) -> bytes:
    if key is not None and _HMAC.fullmatch(local):
        return local
    plain = local if _SHA1.fullmatch(local) else hashlib.sha1(local, usedforsecurity=False).hexdigest().encode()
    return plain if key is None else hmac.new(key, plain, hashlib.sha256).hexdigest().encode()


def _unescape(local: bytes) -> bytes:
    """Gives the text that the inside of a JSON string says, in UTF-8."""
    if b"\\" not in local:
        return local
    try:
        return str(json.loads(b'"' + local + b'"')).encode(errors="surrogatepass")
    except ValueError:
        return local


def spells_addresses(text: bytes) -> bool:
    """Whether anything an address is made of is spelled as an escape, so that only ``scrub_document`` finds it."""
    return any(not _is_escaped(text, found.start()) for found in _SPELLED.finditer(text))


def _spell_out(text: bytes) -> bytes:
    """Writes the characters an address is made of as themselves."""
    return _SPELLED.sub(
        lambda found: found[0] if _is_escaped(text, found.start()) else bytes.fromhex(found[1].decode()), text
    )


def _escape_over(text: bytes, at: int) -> tuple[int, int]:
    """Finds begin and end of the escape that ``at`` stands inside of; ``at`` twice when it stands in none."""
    begin = text.find(b"\\", max(0, at - 5), at)
    while begin >= 0:
        if not _is_escaped(text, begin):
            end = begin + (6 if text[begin + 1 : begin + 2] == b"u" else 2)
            if end > at:
                return begin, end
        begin = text.find(b"\\", begin + 1, at)
    return at, at


def _is_escaped(text: bytes, at: int) -> bool:
    """Whether the byte at ``at`` stands behind an odd number of backslashes."""
    count = 0
    while count < at and text[at - 1 - count] == _BACKSLASH:
        count += 1
    return count % 2 == 1
