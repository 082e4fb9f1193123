"""A run killed at any instant leaves the hour as it was or as it was to become, and the next run completes it."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow.parquet as pq
import pytest

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.lake.lake import Lake
from etl.lake.layout import events_key
from etl.lake.manifest import CONTENT_KEY, Content, decode_content
from etl.practice.generator import generate_hour
from tests.e2e.killer import HOUR
from tests.e2e.running import etl, start
from tests.orders import Orders, taking_orders

EVENTS: Final = {"one": 700, "two": 701}
"""Events of the hour at each of two sources; at both it is damaged, so that there is a quarantine to publish."""
BY_TIME, BY_CALL, BY_HAND = 12, 14, 6


@dataclass(frozen=True)
class Answer:
    word: str
    seconds: float
    calls: int


class Killer:
    """Speaks with ``killer.py``."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    def __call__(self, source: Path, lake: Path, *, force: bool = False, seconds: float = -1, call: int = -1) -> Answer:
        answer = Answer(*json.loads(self._orders.give([str(source), str(lake), force, seconds, call])))
        assert answer.word in {"killed", "done"}
        return answer


@pytest.fixture(scope="module")
def killer(request: pytest.FixtureRequest) -> Iterator[Killer]:
    with taking_orders("tests.e2e.killer", request.config.rootpath) as orders:
        yield Killer(orders)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:

    folder = tmp_path_factory.mktemp("sources")
    for seed, (name, events) in enumerate(EVENTS.items()):
        (folder / name).mkdir()
        lines = [*generate_hour(HOUR, events=events, seed=seed), b'{"id":"%d","type":"Cut\n' % seed]
        (folder / name / f"{HOUR}.json.gz").write_bytes(gzip.compress(b"".join(lines), 1))
    return {name: folder / name for name in EVENTS}


def _instants(killer: Killer, source: Path, folder: Path) -> list[dict[str, float | int]]:
    """Draws instants all over a run: points in time, and calls that publish."""
    dice = random.Random(HOUR.hour)  # noqa: S311 -- not a secret
    runs = [killer(source, folder / f"measured-{number}") for number in range(3)]
    longest = max(run.seconds for run in runs)
    calls = runs[0].calls
    times = [dice.uniform(0, longest) for _ in range(BY_TIME - 4)] + [
        dice.uniform(longest / 2, longest) for _ in range(4)
    ]
    drawn: list[dict[str, float | int]] = [{"seconds": seconds} for seconds in times]
    drawn += [{"call": 1 + dice.randrange(calls)} for _ in range(BY_CALL)]
    dice.shuffle(drawn)
    return drawn


def _seen_by_a_reader(lake: Path) -> Content | None:
    """What one sees who reads the events without asking the manifest: nothing, or a whole file."""
    file = lake / events_key(HOUR)
    if not file.exists():
        return None
    parquet = pq.ParquetFile(file)
    content = decode_content((parquet.metadata.metadata or {})[CONTENT_KEY])
    assert content is not None
    assert parquet.read().num_rows == content.events
    return content


def _recovered(lake: Path) -> Content | None:
    """What the hour is once the killed publication has been completed or forgotten; file and manifest agree on it."""
    place = Lake.at(str(lake))
    manifest = place.recover(HOUR)
    if manifest is None:
        return None
    assert place.verify(HOUR, ARROW_SCHEMA) == []
    return manifest.content


def _whole(lake: Path, name: str) -> None:
    """The hour is that of a source, and nothing else lies about."""
    place = Lake.at(str(lake))
    assert place.verify(HOUR, ARROW_SCHEMA) == []
    manifest = place.manifest(HOUR)
    assert manifest is not None
    assert manifest.content is not None
    assert manifest.content.events == EVENTS[name]
    assert len(list(place.store.list(""))) == 3
    assert not [path for path in (lake / ".tmp").iterdir() if path.suffix != ".lock"]


def test_a_first_run_killed_at_any_instant_leaves_nothing_or_all(
    killer: Killer, sources: dict[str, Path], tmp_path: Path
) -> None:
    outcomes = set()
    for number, instant in enumerate(_instants(killer, sources["one"], tmp_path)):
        lake = tmp_path / str(number)
        killer(sources["one"], lake, **instant)  # type: ignore[arg-type]
        seen = _seen_by_a_reader(lake)
        known = Lake.at(str(lake)).manifest(HOUR)
        assert known is None or known.content == seen
        content = _recovered(lake)
        assert content == seen, "what a reader saw is what it is"
        assert content is None or content.events == EVENTS["one"]
        outcomes.add(content is not None)
        assert killer(sources["one"], lake).word == "done"
        _whole(lake, "one")
    assert outcomes == {True, False}, "some were killed before the hour was there, some after"


def test_a_replacing_run_killed_at_any_instant_leaves_the_old_or_the_new(
    killer: Killer, sources: dict[str, Path], tmp_path: Path
) -> None:
    lake = tmp_path / "lake"
    instants = _instants(killer, sources["two"], tmp_path)
    killer(sources["one"], lake)
    old, new = "one", "two"
    turns = set()
    for instant in instants:
        killer(sources[new], lake, force=True, **instant)  # type: ignore[arg-type]
        seen = _seen_by_a_reader(lake)
        known = Lake.at(str(lake)).manifest(HOUR)
        assert seen is not None, "there is an hour all the time"
        assert known is not None
        content = _recovered(lake)
        assert content == seen
        assert content.events in {EVENTS[old], EVENTS[new]}
        turned = content.events == EVENTS[new]
        turns.add(turned)
        if turned:
            old, new = new, old
    assert turns == {True, False}
    assert killer(sources[new], lake, force=True).word == "done"
    _whole(lake, new)


@pytest.mark.parametrize("force", [False, True])
def test_the_program_itself_killed_leaves_the_old_or_the_new(
    *, force: bool, sources: dict[str, Path], tmp_path: Path
) -> None:
    dice = random.Random(force)  # noqa: S311 -- not a secret
    flags = ("--force",) if force else ()
    if force:
        assert etl(tmp_path, "--at", HOUR, "--source", sources["one"]).code == ExitCode.OK
    for _ in range(BY_HAND // 2):
        with start(tmp_path, "--at", HOUR, "--source", sources["two"], *flags) as process:
            try:
                process.wait(timeout=dice.uniform(0.4, 1.2))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        seen = _seen_by_a_reader(tmp_path / "lake")
        assert (seen is None) <= (not force)
        verified = etl(tmp_path, "verify", HOUR)
        assert verified.code in {ExitCode.OK, ExitCode.VERIFY_FAILED}
        assert _recovered(tmp_path / "lake") == seen
    done = etl(tmp_path, "--at", HOUR, "--source", sources["two"], *flags)
    assert done.code == ExitCode.OK, done.err
    assert etl(tmp_path, "verify", HOUR).out == f"{HOUR}: sound\n"
    _whole(tmp_path / "lake", "two")


def test_the_driver_runs_what_the_program_runs(killer: Killer, sources: dict[str, Path], tmp_path: Path) -> None:
    killer(sources["one"], tmp_path / "forked")
    done = etl(tmp_path, "--at", HOUR, "--source", sources["one"])
    assert done.code == ExitCode.OK, done.err
    key = events_key(HOUR)
    assert (tmp_path / "forked" / key).read_bytes() == (tmp_path / "lake" / key).read_bytes()
