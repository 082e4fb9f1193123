"""Fetches five real hours of the archive into ``build/real-data``: ``make real-hours``.

Tests use them if the variable TEST_REAL_DATA names that folder. They hold addresses of people, so they stay in a folder
that git ignores, and no test prints them.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from typing import Final

from etl.archive.fetch import open_download
from etl.archive.retry import FetchPolicy
from etl.archive.sources import source_at
from etl.errors import EtlError
from etl.hours import Hour
from tests.tools import ROOT

FOLDER: Final = ROOT / "build/real-data"
HOURS: Final = {
    "2011-02-15-0": "0ef6b259ac51951ccb02b363226dc6856aea7aa6cac757171d4e55446c0d0df4",
    "2013-02-15-0": "6ea9ca7b59f0c56e1ad32d3d1e250948faa610717a8eb7494a2b328eb29b1abc",
    "2015-01-01-0": "a007aec0e8583d84ce5f3f77688e72e6c158fff384c98f301e3093dbb77e1498",
    "2015-01-01-4": "35dfe243c6b11f17189743ca69d131aece2308736a8fe2577cca66d25464f841",
    "2015-01-01-15": "54feca99896fa3ec09c145819731e4cd5b40a84eecef26da672080633e840a4c",
}
"""SHA-256 of each file as the tests know it: the figures in the tests are those of these files."""


def main() -> int:
    """Fetches what is not there yet.

    Returns:
        0 if all five hours are there, 1 if one could not be fetched or is another file than the tests know.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", default="https://data.gharchive.org", help="URL or folder (default: %(default)s)")
    source = parser.parse_args().source
    there = sum([_fetch(name, digest, source) for name, digest in HOURS.items()])
    sys.stdout.write(f"{there} of {len(HOURS)} hours are in {FOLDER.relative_to(ROOT)}\n")
    return 0 if there == len(HOURS) else 1


def _fetch(name: str, digest: str, source: str) -> bool:
    """Fetches one hour unless it is there, and tells whether it is there then."""
    path = FOLDER / "archive" / f"{name}.json.gz"
    try:
        content = path.read_bytes() if path.is_file() else _content(Hour.parse(name), source)
    except EtlError as error:
        sys.stderr.write(f"error: {error.message}\n")
        return False
    if hashlib.sha256(content).hexdigest() != digest:
        sys.stderr.write(f"error: {name} is not the file that the tests were written for\n")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return True


def _content(hour: Hour, source: str) -> bytes:
    download = open_download(source_at(source), hour, FetchPolicy())
    assert download is not None, "asked for whatever version there is"
    with download:
        return b"".join(download)


if __name__ == "__main__":
    sys.exit(main())
