"""Makes practice hours: the documents of any hour in its era's form, and the gzip files of an archive.

The same hour, number of events and seed give the same documents on every machine. People and repositories
belong to the seed, not to the hour, so that they turn up again in other hours, some under a new name.
"""

from __future__ import annotations

import os
import zlib
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import BinaryIO, Final, cast

import msgspec

from etl.errors import StoreError, UsageError
from etl.hours import Hour
from etl.practice import era_a, era_b, era_c_d, eras
from etl.practice.eras import Era
from etl.practice.event_context import Draft, Scene

GENERATOR_VERSION: Final = 1
"""Grows whenever the same arguments give other bytes than before."""

DEFAULT_EVENTS: Final[Mapping[Era, int]] = {Era.A: 1_600, Era.B: 6_000, Era.C: 8_000, Era.D: 8_000}
"""Events of an hour when nobody asks for a number: real for 2011 to 2015, small for later years."""

_HOUR: Final = 3600
_GZIP_LEVEL: Final = 6
_CHUNK: Final = 1 << 20
_DUPLICATE_EVERY: Final = 1500
_LATE_IN_THOUSAND: Final = ((500, 0), (870, 1), (990, 2))
"""Since 2025-05-24, of a thousand events so many were created in the file's hour, one hour before, two before."""


@dataclass(frozen=True, slots=True)
class _Form:
    """An era's way to make and to write its events."""

    makers: Mapping[str, Callable[[Scene], Draft]]
    record: Callable[[str, Draft, Scene], str]
    shares: Mapping[str, int]


class Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What a practice file was made from.

    Attributes:
        events: How many events were asked for.
        seed: Which world they were drawn from.
        version: ``GENERATOR_VERSION`` of the program that made it.
    """

    events: int
    seed: int
    version: int = GENERATOR_VERSION


class PracticeManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The manifest beside a practice file, of the form the OpenDigger mirror publishes, plus the recipe.

    Attributes:
        event_count: Documents in the file.
        compressed_bytes: Bytes of the file.
        sha256: Lower-case hex digest of the file.
        recipe: What it was made from; None when that is not known.
    """

    event_count: int
    compressed_bytes: int
    sha256: str
    recipe: Recipe | None = None


def generate_hour(hour: Hour, *, events: int | None = None, seed: int = 0) -> Iterator[bytes]:
    """Makes the documents of an hour in the form of its era.

    Args:
        hour: Any hour, also one yet to come; only the hour decides the era.
        events: How many; ``DEFAULT_EVENTS`` of the era when None. 300,000 make an hour as large as those of 2024.
        seed: Another seed, another world.

    Yields:
        One JSON document each, compact, in UTF-8, with its newline.

    Raises:
        NotPublishedError: If the archive never had a file of that name.
        UsageError: If ``events`` is negative.
    """
    era = eras.era_of(hour)
    count = _event_count(era, events)
    scene = Scene(hour, era, seed)
    return _documents(scene, _form(scene), count)


def write_hour(hour: Hour, path: Path, *, events: int | None = None, seed: int = 0) -> PracticeManifest:
    """Writes an hour as a gzip file, atomically, and returns its manifest.

    The gzip header holds neither a time nor a name, so equal arguments give equal files with the same zlib.

    Args:
        hour: Which hour.
        path: The file, usually named ``2015-01-01-15.json.gz``; its folder is made when it is not there.
        events: How many; ``DEFAULT_EVENTS`` of the era when None.
        seed: Another seed, another world.

    Raises:
        NotPublishedError: If the archive never had a file of that name.
        UsageError: If ``events`` is negative.
        StoreError: If the file cannot be written.
    """
    return _write(hour, path, events=events, seed=seed, announce=lambda _: None)


def write_archive(hours: Iterable[Hour], folder: Path, *, events: int | None = None, seed: int = 0) -> list[Path]:
    """Writes a small archive: for each hour its file and, beside it, its manifest.

    A file that is there already, made from the same recipe, is kept. Hours the real archive never had are
    left out.

    Args:
        hours: Which hours.
        folder: Where they go, named as the archive names them.
        events: How many an hour; ``DEFAULT_EVENTS`` of each era when None.
        seed: Another seed, another world.

    Returns:
        The files of the hours, kept or written, in the order asked for.

    Raises:
        UsageError: If ``events`` is negative, or the folder holds an hour that was not made here.
        StoreError: If a file cannot be written.
    """
    return [provide_hour(hour, folder, events=events, seed=seed) for hour in hours if eras.existed(hour)]


def provide_hour(hour: Hour, folder: Path, *, events: int | None = None, seed: int = 0) -> Path:
    """Writes one hour of an archive unless the folder already holds it, made from the same recipe.

    Args:
        hour: Which hour.
        folder: Where it goes, with its manifest beside it.
        events: How many; ``DEFAULT_EVENTS`` of the era when None.
        seed: Another seed, another world.

    Returns:
        The hour's file.

    Raises:
        NotPublishedError: If the archive never had a file of that name.
        UsageError: If ``events`` is negative, or the folder holds a file of that name that was not made here.
        StoreError: If the file cannot be written.
    """
    path, beside = folder / f"{hour}.json.gz", folder / f"{hour}.manifest.json"
    recipe = Recipe(events=_event_count(eras.era_of(hour), events), seed=seed)
    known = read_manifest(beside)
    if path.is_file():
        if known is None or known.recipe is None:
            raise UsageError(
                f"{path} was not made here and is not replaced",
                hint="give the practice archive a folder of its own",
            )
        if known.recipe == recipe and path.stat().st_size == known.compressed_bytes:
            return path
    # The manifest comes first: a crash after it leaves a manifest that fits no file, which is made again, and
    # not a file without a recipe, which would be taken for somebody else's.
    _write(hour, path, events=events, seed=seed, announce=lambda made: _write_manifest(made, beside))
    return path


def read_manifest(path: Path) -> PracticeManifest | None:
    """Reads a manifest that stands beside a practice file; None when there is none that makes sense.

    Raises:
        StoreError: If it is there and cannot be opened.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=PracticeManifest)
    except (FileNotFoundError, NotADirectoryError, msgspec.MsgspecError):
        return None
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}", hint="may you read it?") from error


def _write(
    hour: Hour, path: Path, *, events: int | None, seed: int, announce: Callable[[PracticeManifest], None]
) -> PracticeManifest:
    """Writes an hour; ``announce`` is called with its manifest when all is written and nothing visible yet."""
    documents = generate_hour(hour, events=events, seed=seed)
    count = _event_count(eras.era_of(hour), events)
    digest, size = sha256(), 0
    with _atomic_file(path) as file:
        for chunk in _compressed(documents):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        made = PracticeManifest(
            event_count=count,
            compressed_bytes=size,
            sha256=digest.hexdigest(),
            recipe=Recipe(events=count, seed=seed),
        )
        announce(made)
    return made


def _write_manifest(manifest: PracticeManifest, path: Path) -> None:
    with _atomic_file(path) as file:
        file.write(msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n")


def _event_count(era: Era, events: int | None) -> int:
    if events is None:
        return DEFAULT_EVENTS[era]
    if events < 0:
        raise UsageError(f"an hour cannot hold {events} events", hint="events is 0 or more")
    return events


def _form(scene: Scene) -> _Form:
    if scene.era is Era.A:
        return _Form(era_a.MAKERS, era_a.record, era_a.SHARES)
    if scene.era is Era.B:
        return _Form(era_b.MAKERS, era_b.record, era_b.shares_at(scene.now))
    return _Form(era_c_d.MAKERS, era_c_d.record, era_c_d.shares_at(scene.now))


def _documents(scene: Scene, form: _Form, count: int) -> Iterator[bytes]:
    kinds = tuple(form.shares)
    bounds = tuple(accumulate(form.shares.values()))
    makers = [form.makers[kind] for kind in kinds]
    clock = _Clock(scene, count)
    recent: deque[bytes] = deque(maxlen=8)
    again = scene.dice.below(_DUPLICATE_EVERY) % max(count // 2, 1)
    for position in range(count):
        if recent and position % _DUPLICATE_EVERY == again:
            yield scene.dice.pick(recent)
            continue
        chosen = bisect_right(bounds, scene.dice.below(bounds[-1]))
        clock.set(position, pushes=kinds[chosen] in ("PushEvent", "CreateEvent", "DeleteEvent"))
        line = form.record(kinds[chosen], makers[chosen](scene), scene).encode()
        recent.append(line)
        yield line


class _Clock:
    """Returns each event of an hour its instant and its id, both growing through the file (late events aside)."""

    def __init__(self, scene: Scene, count: int) -> None:
        self._scene = scene
        self._count = max(count, 1)
        # Era B's files ran half a minute late: their first event is of :00:34, their last of :00:34 past the hour.
        self._start = scene.now + (34 if scene.era is Era.B else 0)
        self._late = scene.now >= eras.LATE_EVENTS

    def set(self, position: int, *, pushes: bool) -> None:
        """Sets the scene to the event at ``position``; ``pushes``: whether its id is of the pushes' sequence."""
        scene = self._scene
        behind = self._hours_behind() if self._late else 0
        start = self._start - behind * _HOUR
        within = (position * _HOUR + scene.dice.below(_HOUR)) // self._count
        scene.now = start + within
        scene.stamp = eras.zulu(scene.now)
        ids = eras.event_ids(start, pushes=pushes)
        low, high = ids.at(start), ids.at(start + _HOUR)
        step = max((high - low) // self._count, 1)
        if step < 8:
            scene.id = low + position * step + scene.dice.below(step)
            return
        # Late events take numbers of an earlier file's range; the last octal digit keeps the two apart.
        eighths = step // 8
        scene.id = 8 * (low // 8 + position * eighths + scene.dice.below(eighths)) + min(behind, 7)

    def _hours_behind(self) -> int:
        chance = self._scene.dice.below(1000)
        for bound, hours in _LATE_IN_THOUSAND:
            if chance < bound:
                return hours
        return 3 + self._scene.dice.octave(2, 5) % 22


def _compressed(documents: Iterator[bytes]) -> Iterator[bytes]:
    """Compresses in chunks of about 1 MiB of text, so that an hour of any size takes the same memory."""
    squeeze = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    waiting: list[bytes] = []
    size = 0
    for document in documents:
        waiting.append(document)
        size += len(document)
        if size >= _CHUNK:
            yield squeeze.compress(b"".join(waiting))
            waiting, size = [], 0
    yield squeeze.compress(b"".join(waiting))
    yield squeeze.flush()


@contextmanager
def _atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Opens a file beside ``path`` that takes its place when the block ends well; when it raises, nothing is left."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # A dot in front: neither a static server nor a glob for *.json.gz takes it for an hour.
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp", delete=False) as file:
            made = Path(file.name)
            try:
                yield cast("BinaryIO", file)
                file.flush()
                os.fsync(file.fileno())
                made.chmod(0o644)
                made.replace(path)
            except BaseException:
                made.unlink(missing_ok=True)
                raise
    except OSError as error:
        hint = "is there room, and may you write there?"
        raise StoreError(f"cannot write {path}: {error.strerror}", hint=hint) from error
