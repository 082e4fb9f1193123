"""The manifest that a mirror publishes beside an hour: what it should hold, to check a download against.

GH Archive itself publishes none. OpenDigger's mirror does since 2026-09-06; it names ``event_count`` and
``compressed_bytes``, a SHA-256 of the file, and more that is of no use here. The form is not documented,
so what is missing or unknown is passed over, and only a known key with a sound value is believed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

_SHA256_KEYS: Final = ("sha256", "compressed_sha256")
_COUNT_MAX: Final = 1 << 53
"""The largest count that is believed; a larger one is no count of events or bytes, and slow to print."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Companion:
    """What a mirror says of an hour's file; None for what it does not say.

    Attributes:
        event_count: Documents in the file.
        compressed_bytes: Bytes of the file.
        sha256: Lower-case hex digest of the file.
    """

    event_count: int | None
    compressed_bytes: int | None
    sha256: str | None


def parse_companion(content: bytes) -> Companion | None:
    """Reads a companion; None when it is no JSON object, is nested too deeply, or says nothing of use."""
    try:
        fields = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    digests = (_digest(fields.get(key)) for key in _SHA256_KEYS)
    companion = Companion(
        event_count=_count(fields.get("event_count")),
        compressed_bytes=_count(fields.get("compressed_bytes")),
        sha256=next((digest for digest in digests if digest is not None), None),
    )
    return None if companion == Companion(None, None, None) else companion


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX else None


def _digest(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.strip().lower().removeprefix("sha256:")
    return text if _SHA256.fullmatch(text) else None
