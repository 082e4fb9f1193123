"""Parses sidecar manifests: the ``*.manifest.json`` files that a mirror publishes next to its hours.

A download is verified against them. GH Archive itself publishes none. OpenDigger's mirror has published them since
2026-09-06, with ``event_count``, ``compressed_bytes``, a SHA-256 of the file, and other keys that are not used here.
The format is undocumented: missing and unknown keys are ignored, and so are known keys with an invalid value.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

_SHA256_KEYS: Final = ("sha256", "compressed_sha256")
_COUNT_MAX: Final = 1 << 53
"""Largest count that is accepted. A larger one cannot be a number of events or bytes, and is slow to print."""
_SHA256: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class SidecarManifest:
    """A mirror's description of an hour's file. Attributes are None if the mirror does not provide them.

    Attributes:
        event_count: Number of documents in the file.
        compressed_bytes: Size of the file in bytes.
        sha256: Lower-case hex digest of the file.
    """

    event_count: int | None
    compressed_bytes: int | None
    sha256: str | None


def parse_sidecar(content: bytes) -> SidecarManifest | None:
    """Parses a sidecar manifest; returns None if it is not a JSON object or has no usable value."""
    try:
        fields = msgspec.json.decode(content, type=dict[str, object])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    digests = (_digest(fields.get(key)) for key in _SHA256_KEYS)
    manifest = SidecarManifest(
        event_count=_count(fields.get("event_count")),
        compressed_bytes=_count(fields.get("compressed_bytes")),
        sha256=next((digest for digest in digests if digest is not None), None),
    )
    return None if manifest == SidecarManifest(None, None, None) else manifest


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _COUNT_MAX else None


def _digest(value: object) -> str | None:
    if not isinstance(value, str):
        return None
    text = value.strip().lower().removeprefix("sha256:")
    return text if _SHA256.fullmatch(text) else None
