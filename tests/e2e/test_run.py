"""Real hours, run as a person runs them: the counts, the addresses, and that doing it again is free."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from etl.errors import ExitCode
from etl.events.schema import ARROW_SCHEMA
from etl.hours import Hour
from etl.practice.generator import write_hour
from tests.e2e.running import ROOT, Done, etl
from tests.integration.events.reading import texts

REAL_EVENTS = {
    "2011-02-15-0": 1_639,
    "2013-02-15-0": 6_851,
    "2015-01-01-0": 7_702,
    "2015-01-01-4": 5_869,
    "2015-01-01-15": 11_351,
}
WITH_ADDRESSES = "2013-02-15-0"


@dataclass(frozen=True)
class Checkout:
    """A folder that looks like a checkout beside the real data, and what the first runs in it said."""

    folder: Path
    said: dict[str, Done]

    def file(self, hour: str) -> Path:
        (found,) = self.folder.glob(f"lake/events/*/*/{hour}.parquet")
        return found


def parts(hour: str) -> list[str]:
    return [
        f"--{name}={int(value)}" for name, value in zip(("year", "month", "day", "hour"), hour.split("-"), strict=True)
    ]


@pytest.fixture(scope="module")
def checkout(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """All five hours, each by the command of the documentation."""
    place = tmp_path_factory.mktemp("beside")
    folder = place / "checkout"
    folder.mkdir()
    (place / "archive").symlink_to(real_data / "archive")
    (folder / "etl").symlink_to(ROOT / "etl")
    said = {hour: etl(folder, *parts(hour), "--source", "../archive", "--lake", "lake") for hour in REAL_EVENTS}
    yield Checkout(folder, said)
    shutil.rmtree(folder)  # it holds what was made of real addresses


def test_every_real_hour_holds_its_events(checkout: Checkout) -> None:
    for hour, events in REAL_EVENTS.items():
        done = checkout.said[hour]
        assert done.code == ExitCode.OK, hour
        assert done.out.startswith(f"{hour} is complete: {events:,} events in "), hour
        assert pq.ParquetFile(checkout.file(hour)).metadata.num_rows == events
    verified = etl(checkout.folder, "verify", "--deep")
    assert (verified.code, verified.err) == (ExitCode.OK, "")
    assert verified.out.startswith(f"{len(REAL_EVENTS)} hours verified, ")
    assert verified.out.endswith(f": {len(REAL_EVENTS)} sound\n")


def test_the_hour_of_the_documentation_holds_its_types(checkout: Checkout) -> None:
    done = checkout.said["2015-01-01-15"]
    with duckdb.connect() as db:
        events = f"read_parquet('{checkout.folder}/lake/events/**/*.parquet', hive_partitioning = true)"
        counted = db.execute(
            f"SELECT type, count(*) FROM {events} WHERE date = '2015-01-01' AND hour = 15"  # noqa: S608
            " GROUP BY type ORDER BY count(*) DESC LIMIT 4"
        ).fetchall()
    assert counted == [("PushEvent", 5_815), ("CreateEvent", 1_471), ("WatchEvent", 1_230), ("IssueCommentEvent", 844)]
    for kind, count in counted:
        assert re.search(rf"^ *{kind} +{count:,} ", done.out, re.MULTILINE), kind


def test_a_second_run_does_nothing_and_says_so(checkout: Checkout) -> None:
    before = {path: path.stat() for path in checkout.folder.rglob("lake/*/*/*/*")}
    for hour, events in REAL_EVENTS.items():
        done = etl(checkout.folder, *parts(hour), "--source", "../archive", "--lake", "lake")
        assert done.code == ExitCode.OK
        assert done.out.startswith(f"{hour} is complete already with {events:,} events; nothing was done"), hour
    after = {path: path.stat() for path in checkout.folder.rglob("lake/*/*/*/*")}
    assert [(path, found.st_mtime_ns, found.st_ino) for path, found in before.items()] == [
        (path, found.st_mtime_ns, found.st_ino) for path, found in after.items()
    ]


def test_status_counts_the_real_hours(checkout: Checkout) -> None:
    done = etl(checkout.folder, "status")
    assert done.code == ExitCode.OK

    assert f"5 hours in lake (5 complete): {sum(REAL_EVENTS.values()):,} events" in done.out


# ---- addresses

_WORD = re.compile(
    r"(?<![^\s\"'<>\\:;,()\[\]{}@/])[^\s\"'<>\\:;,()\[\]{}@/]++@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)*\.[A-Za-z]{2,}"
)
_SEPARATOR_BYTES = b"\"'<>\\:;,()[]{}/"
_SEPARATORS = bytes.maketrans(_SEPARATOR_BYTES, b" " * len(_SEPARATOR_BYTES))
_FIELDS = (re.compile(r'mail"\s*:\s*"([^"\\]+)"'), re.compile(r'\["[0-9a-f]{40}",\s*"([^"\\]+)"'))
_CUT_FIELD = re.compile(r'[eE]mail"\s*:\s*"([^"\\\n\0]+)')
_HASHED = re.compile(r"[0-9a-f]{40}")


def _words(text: str) -> list[str]:
    """Returns all that ``_WORD`` finds, which is slow: text without an ``@`` between separators is skipped."""
    if "@" not in text:
        return []
    parts = text.encode(errors="replace").translate(_SEPARATORS).split()
    return [word for part in parts if b"@" in part for word in _WORD.findall(part.decode())]


def _fields(value: Any) -> Iterator[str]:
    """The values of the places where an address stands by itself."""
    if isinstance(value, dict):
        for key, part in value.items():
            if key.endswith("email") and isinstance(part, str):
                yield part
            elif key == "shas" and isinstance(part, list):
                yield from (sha[1] for sha in part if isinstance(sha[1], str))
            yield from _fields(part)
    elif isinstance(value, list):
        for part in value:
            yield from _fields(part)


def _is_clear(word: str) -> bool:
    local = word.partition("@")[0]
    return local != "git" and not _HASHED.fullmatch(local)


def _official(address: str) -> str:
    """An address as the official dataset has it."""
    local, at, domain = address.partition("@")
    if _HASHED.fullmatch(local):
        return address
    return hashlib.sha1(local.encode(), usedforsecurity=False).hexdigest() + at + domain


class Addresses:
    """The addresses of an hour, found without any code of the program's. Tests compare numbers and print none."""

    def __init__(self, archive: Path) -> None:
        self._lines = gzip.decompress((archive / f"{WITH_ADDRESSES}.json.gz").read_bytes()).splitlines()

    @cached_property
    def clear(self) -> frozenset[str]:
        """All that are in clear, wherever they stand."""
        events = [json.loads(line) for line in self._lines]
        words = {word for event in events for text in texts(event) for word in _words(text)}
        fields = {field for event in events for field in _fields(event) if "@" in field}
        return frozenset(filter(_is_clear, words | fields))

    @cached_property
    def official(self) -> frozenset[str]:
        """What the official dataset makes of those that stand in a place of their own; two in one place aside."""
        fields = {field for line in self._lines for field in _fields(json.loads(line))}
        return frozenset(_official(field) for field in fields if field and field.count("@") < 2)

    @cached_property
    def bare(self) -> frozenset[str]:
        """What stands in the place of an address and has no @, and the official dataset hashes as well."""
        fields = {field for line in self._lines for field in _fields(json.loads(line))}
        return frozenset(field for field in fields if field and "@" not in field)

    def leaked(self, text: str) -> int:
        """How many of the clear and of the bare ones stand in a text."""
        fields = {field for pattern in _FIELDS for field in pattern.findall(text)}
        return len(set(_words(text)) & self.clear) + len(fields & (self.clear | self.bare))


@pytest.fixture(scope="module")
def addresses(real_data: Path) -> Addresses:
    found = Addresses(real_data / "archive")
    assert len(found.clear) > 1_000
    assert len(found.official) > 1_000
    return found


def _texts(table: pa.Table) -> str:
    """All texts of a table, each also as its JSON says it."""
    found = []
    for column in table.columns:
        if column.type in {pa.string(), pa.binary()}:
            for value in column.unique().to_pylist():
                text = value.decode(errors="replace") if isinstance(value, bytes) else value
                found.append(text or "")
                if text and text[0] in "{[":
                    try:
                        found.extend(texts(json.loads(text)))
                    except ValueError:
                        continue
    return "\n".join(found)


def _lake_text(lake: Path) -> str:
    """Everything that anybody could read in a lake's files, metadata and statistics included."""
    found = []
    for path in sorted(path for path in lake.rglob("*") if path.is_file()):
        content = path.read_bytes()
        found.append(content.decode("utf-8", "replace"))
        if path.suffix == ".parquet":
            found.append(_texts(pq.ParquetFile(path).read()))
    return "\n".join(found)


def _said(done: Done) -> str:
    return done.out + "\n" + done.err


def test_no_clear_address_is_in_the_lake_and_the_official_hashes_are(checkout: Checkout, addresses: Addresses) -> None:
    text = _lake_text(checkout.folder / "lake")
    leaked = addresses.leaked(text)
    assert leaked == 0
    stored = _texts(pq.ParquetFile(checkout.file(WITH_ADDRESSES)).read())
    words = set(_words(stored))
    missing = sum(hashed not in stored for hashed in addresses.official - words)  # a search of all text is slow
    assert missing == 0
    looks_clear = sum(map(_is_clear, words))
    assert looks_clear == 0


def test_no_log_and_no_output_has_a_clear_address(checkout: Checkout, addresses: Addresses) -> None:
    said = [checkout.said[WITH_ADDRESSES]]
    for form in ("plain", "json"):
        flags = ("--log-level", "debug", "--log-format", form)
        said.append(etl(checkout.folder, *parts(WITH_ADDRESSES), "--source", "../archive", "--force", *flags))
        said.append(etl(checkout.folder, "status", "--format", "json", *flags))
    said.append(etl(checkout.folder, "show", WITH_ADDRESSES, "--events", "500", "--quarantine", "500"))
    assert [done.code for done in said] == [ExitCode.OK] * len(said)
    leaked = addresses.leaked("\n".join(map(_said, said)))
    assert leaked == 0


def _cut_in_addresses(text: bytes) -> bytes:
    """Damages an hour where it hurts: some documents end inside an address, some lose their beginning to NUL."""
    damaged = []
    for number, line in enumerate(text.splitlines(keepends=True)):
        at = line.find(b"@")
        if at > 0 and number % 5 == 0:
            damaged.append(line[: at - 1 - number % 3] + b"\n")
        elif at > 0 and number % 5 == 1:
            damaged.append(line[: at + 4] + b"\n")
        elif at > 0 and number % 5 == 2:
            damaged.append(line[: at + 4] + b"\0\0" + line[at + 4 :])
        elif number % 5 == 3:
            damaged.append(line[7:])
        else:
            damaged.append(line)
    return b"".join(damaged)


_HARM: dict[str, Callable[[bytes], bytes]] = {
    "cut in the text": lambda content: gzip.compress(_cut_in_addresses(gzip.decompress(content)), 1),
    "cut in the gzip": lambda content: content[: len(content) * 3 // 5],
    "not UTF-8": lambda content: gzip.compress(gzip.decompress(content).replace(b'"type"', b'"\xfftype"'), 1),
}


@pytest.fixture
def passing_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that does not outlive the test: what is in it was made of real addresses."""
    yield tmp_path
    shutil.rmtree(tmp_path)


@pytest.mark.parametrize("harm", _HARM)
def test_a_damaged_hour_gives_no_clear_address_away(
    harm: str, real_data: Path, passing_folder: Path, addresses: Addresses
) -> None:
    content = _HARM[harm]((real_data / f"archive/{WITH_ADDRESSES}.json.gz").read_bytes())
    (passing_folder / "archive").mkdir()
    (passing_folder / f"archive/{WITH_ADDRESSES}.json.gz").write_bytes(content)
    said = []
    for form in ("plain", "json") if harm == "cut in the text" else ("json",):
        flags = ("--log-level", "debug", "--log-format", form)
        done = etl(passing_folder, "--at", WITH_ADDRESSES, "--source", "archive", "--force", *flags)
        assert done.code == (ExitCode.OK if harm == "not UTF-8" else ExitCode.DAMAGED)
        said.append(done)
    said.append(etl(passing_folder, "show", WITH_ADDRESSES, "--events", "500", "--quarantine", "500"))
    leaked = addresses.leaked("\n".join(map(_said, said)))
    assert leaked == 0
    text = _lake_text(passing_folder / "lake")
    leaked = addresses.leaked(text)
    assert leaked == 0
    # The part before an @ is not given away either where the cut took the rest.
    locals_ = {address.partition("@")[0] for address in addresses.clear}
    given_away = len(set(_CUT_FIELD.findall(text)) & locals_)
    assert given_away == 0
    if harm != "cut in the gzip":
        quarantine = pq.ParquetFile(next((passing_folder / "lake").rglob("quarantine/**/*.parquet"))).read()
        assert quarantine.num_rows > 1_000
        looks_clear = sum(map(_is_clear, set(_words(_texts(quarantine)))))
        assert looks_clear == 0


def test_a_kept_hour_holds_its_addresses_as_they_were(
    real_data: Path, passing_folder: Path, addresses: Addresses
) -> None:
    """Shows that the search of the tests above finds what is there."""
    done = etl(passing_folder, "--at", WITH_ADDRESSES, "--source", real_data / "archive", "--emails", "keep")
    assert done.code == ExitCode.OK
    found = addresses.leaked(_lake_text(passing_folder / "lake"))
    assert found > 0.99 * len(addresses.clear)


# ---- reruns


def test_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    hour = "2019-01-02-3"
    write_hour(Hour.parse(hour), tmp_path / f"archive/{hour}.json.gz", events=2_000)
    made = []
    for seed in ("1", "2"):
        words = ("--at", hour, "--source", "archive", "--lake", f"lake-{seed}")
        done = etl(tmp_path, *words, env={"PYTHONHASHSEED": seed, "TZ": f"UTC+{seed}"})
        assert done.code == ExitCode.OK, done.err
        (file,) = (tmp_path / f"lake-{seed}").glob("events/**/*.parquet")
        made.append(file.read_bytes())
    assert made[0] == made[1]
    assert pq.ParquetFile(pa.BufferReader(made[0])).schema_arrow.remove_metadata().equals(ARROW_SCHEMA)
