"""No address of a real hour is in any column of its rows; what is counted is printed, addresses never."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.events import reading

HOURS = ("2011-02-15-0", "2013-02-15-0", "2015-01-01-0", "2015-01-01-4", "2015-01-01-15")
# Every hour has some; the archive hashed those of 2015-01-01-4 itself, though not what stands in texts.
Hash = Callable[[str], str]


def sha1(local: str) -> str:
    if re.fullmatch("[0-9a-f]{40}", local):
        return local
    return hashlib.sha1(local.encode(), usedforsecurity=False).hexdigest()


def keyed(local: str) -> str:
    return hmac.new(reading.KEY, sha1(local).encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("hour", HOURS)
@pytest.mark.parametrize(("policy", "digest"), [("hash", sha1), ("keyed", keyed), ("drop", None)])
def test_no_column_shows_an_address(hour: str, policy: str, digest: Hash | None, real_data: Path) -> None:
    lines = reading.archive_lines(real_data / f"archive/{hour}.json.gz").some(3000)
    records = [reading.parse(line) for line in lines]
    addresses = {address for record in records for address in _addresses(record) if "@" in address}
    in_clear = {address for address in addresses if not re.match("[0-9a-f]{40}@|@", address)}
    assert len(addresses) > 100

    words: set[str] = set()
    for row in reading.read(lines, policy):
        for column in ("payload", "other"):
            if row[column] is not None:
                words.update(reading.texts(reading.parse(row[column])))
        words.update(value for value in row.values() if isinstance(value, str))
    text = "\n".join(words)

    shown = _count_shown(in_clear, text)
    hashes = set(re.findall("(?<![0-9a-f])([0-9a-f]{64}|[0-9a-f]{40})@", text))
    if digest is None:
        left = len(hashes & {sha1(address.partition("@")[0]) for address in addresses})
        assert (shown, left) == (0, 0)
    else:
        missing = len({digest(address.partition("@")[0]) for address in addresses} - hashes)
        assert (shown, missing) == (0, 0)


def test_an_address_that_is_shown_would_be_found() -> None:
    assert _count_shown({"ann@host.example", "zoe@host.example"}, "x\n<ann@host.example>\nff0ann@host.example\n") == 1


def _count_shown(addresses: set[str], text: str) -> int:
    """How often one of the addresses stands in the text; but a short name may well be the end of a hash."""
    hosts: dict[str, list[str]] = {}
    for address in addresses:
        local, _, host = address.partition("@")
        hosts.setdefault(local, []).append(host)
    lengths = sorted(set(map(len, hosts)))
    return sum(
        text.startswith(host, at + 1)
        for at in (found.start() for found in re.finditer("@", text))
        for length in lengths
        if length < at and text[at - length - 1] not in "0123456789abcdef"
        for host in hosts.get(text[at - length : at], ())
    )


def _addresses(value: Any) -> Iterator[str]:
    """What stands in the fields for addresses: keys that end in email, and the second item of shas."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key.lower().endswith("email") and isinstance(inner, str):
                yield inner
            if key == "shas" and isinstance(inner, list):
                yield from (commit[1] for commit in inner if isinstance(commit[1], str))
            yield from _addresses(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _addresses(inner)
