"""How long ``python etl status`` takes over a lake of all hours since 2011, as a whole process.

Usage: ``python -m benchmarks.coverage [--hours N] [--rounds N]``. It writes as many manifests as there are hours (no
events, which ``status`` does not read), builds the index once, then repeats the same command. It ends with 1 when
the median of these takes 2 seconds or more.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import statistics
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Final

from benchmarks.measuring import ETL, Usage, measure, positive
from etl.hours import FIRST_HOUR, Hour
from etl.lake.layout import events_key, manifest_key
from etl.lake.manifest import Content, FileFacts, Manifest, SourceFacts, Status, encode

_HOURS: Final = 137_000
_ROUNDS: Final = 5
_MOST_SECONDS: Final = 2.0
_SHARES: Final = {
    "PushEvent": 0.5,
    "CreateEvent": 0.14,
    "PullRequestEvent": 0.08,
    "WatchEvent": 0.07,
    "IssueCommentEvent": 0.06,
    "IssuesEvent": 0.03,
    "DeleteEvent": 0.03,
    "ForkEvent": 0.02,
    "PullRequestReviewEvent": 0.02,
    "PullRequestReviewCommentEvent": 0.02,
    "GollumEvent": 0.01,
    "ReleaseEvent": 0.008,
    "MemberEvent": 0.006,
    "CommitCommentEvent": 0.004,
    "PublicEvent": 0.002,
}


def main() -> int:
    """Measures and prints; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=positive, default=_HOURS, help="Hours in the lake.")
    parser.add_argument("--rounds", type=positive, default=_ROUNDS, help="How often to ask.")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for step in range(options.hours):
            _write(place / "lake", FIRST_HOUR + step, step)
        command = [*ETL, "status"]
        print(_line("the index made", measure([*command, "--rebuild"], place)))
        rounds = [measure(command, place) for _ in range(options.rounds)]
        for usage in rounds:
            print(_line("asked", usage))
    wall = statistics.median(usage.wall for usage in rounds)
    load = os.getloadavg()[0]
    print(f"{options.hours:,} hours: median {wall:.2f} s, promised less than {_MOST_SECONDS:g} s; load {load:.1f}")
    return int(wall >= _MOST_SECONDS)


def _write(lake: Path, hour: Hour, step: int) -> None:
    path = lake / manifest_key(hour)
    path.parent.mkdir(parents=True)
    path.write_bytes(encode(_manifest(hour, step)))


def _manifest(hour: Hour, step: int) -> Manifest:
    """Makes up what is known of an hour, with traffic that grows and has the rhythm of a day and a week."""
    day = 1 + 0.3 * math.sin(2 * math.pi * step / 24)
    total = 2000 * math.exp(step / 30_000) * day * (0.7 if hour.start.weekday() in {5, 6} else 1)
    types = {name: int(total * share) + 1 for name, share in _SHARES.items()}
    events = sum(types.values())
    sha256 = hashlib.sha256(str(step).encode()).hexdigest()
    end = hour.start + timedelta(minutes=59)
    source = SourceFacts(
        address=f"https://data.gharchive.org/{hour}.json.gz",
        etag=f'"{sha256[:32]}"',
        last_modified=None,
        bytes=events * 500,
        sha256=sha256,
        sidecar=False,
        interrupted=False,
    )
    content = Content(
        hour=str(hour),
        status=Status.COMPLETE,
        reason=None,
        era="C",
        source=source,
        documents=events,
        events=events,
        unreadable=0,
        repaired=0,
        duplicates=0,
        types=types,
        first_created_at=hour.start,
        last_created_at=end,
        damage=[],
        quarantine_file=None,
        schema_version=1,
        emails="hash",
        software="gharchive-etl benchmark",
    )
    return Manifest(
        hour=str(hour),
        status=Status.COMPLETE,
        content=content,
        events_file=FileFacts(key=events_key(hour), bytes=events * 300, rows=events, sha256=sha256),
        started_at=end + timedelta(minutes=10),
        finished_at=end + timedelta(minutes=10, seconds=3),
        attempts=1,
    )


def _line(what: str, usage: Usage) -> str:
    return f"{what:>15}: {usage.wall:6.2f} s wall, {usage.cpu:6.2f} s CPU, {usage.peak >> 20:5} MiB at most"


if __name__ == "__main__":
    sys.exit(main())
