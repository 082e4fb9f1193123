"""What a practice hour must be: repeatable, of its era's form, made up throughout."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl.errors import NotPublishedError, StoreError, UsageError
from etl.hours import FIRST_HOUR, Hour, HourRange
from etl.practice import era_a, era_b, era_c_d, eras, generator
from etl.practice.eras import Era
from etl.practice.generator import generate_hour, provide_hour, write_archive, write_hour

Event = dict[str, Any]

_HOURS = {
    Era.A: "2011-02-15-0",
    Era.B: "2013-02-15-0",
    Era.C: "2024-05-21-15",
    Era.D: "2025-12-15-0",
}
_ADDRESS = re.compile(rb"[^\s\"<>,;:()]+@([A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+)")
_RESERVED = re.compile(r"(?:.*\.)?(?:example|example\.(?:com|org|net))")
_HASHED = re.compile(r"[0-9a-f]{40}@.+")


@lru_cache(maxsize=8)
def _events(hour: str, *, events: int = 1500, seed: int = 0) -> list[Event]:
    return [json.loads(line) for line in generate_hour(Hour.parse(hour), events=events, seed=seed)]


def _author_emails(event: Event) -> Iterator[str]:
    payload = event.get("payload") or {}
    yield from (sha[1] for sha in payload.get("shas", []))
    yield from (commit["author"]["email"] for commit in payload.get("commits", []))
    if "email" in event.get("actor_attributes", {}):
        yield event["actor_attributes"]["email"]


# ------------------------------------------------------------------------------------------------ repeatable
@pytest.mark.parametrize("hour", _HOURS.values())
def test_same_bytes_in_another_process_whatever_the_hash_seed(hour: str) -> None:
    program = (
        "import sys; from hashlib import sha256; from etl.hours import Hour;"
        "from etl.practice.generator import generate_hour;"
        "print(sha256(b''.join(generate_hour(Hour.parse(sys.argv[1]), events=300, seed=7))).hexdigest())"
    )

    def digest(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "TZ": "Asia/Tokyo", "LC_ALL": "C"}
        command = [sys.executable, "-c", program, hour]
        root = Path(__file__).parents[3]
        return subprocess.run(command, env=environment, cwd=root, capture_output=True, check=True, text=True).stdout

    assert digest("1") == digest("2")


@pytest.mark.parametrize(
    ("hour", "expected"),
    [
        ("2011-02-15-0", "8dd1a5db"),
        ("2013-02-15-0", "d15be7a9"),
        ("2024-05-21-15", "51caa6fb"),
        ("2025-12-15-0", "6269af97"),
    ],
)
def test_bytes_stay_what_they_were(hour: str, expected: str) -> None:
    """When this fails on purpose, raise GENERATOR_VERSION and write the new sums."""
    made = b"".join(generate_hour(Hour.parse(hour), events=200))
    assert f"{zlib.crc32(made):08x}" == expected


def test_another_seed_is_another_world() -> None:
    logins = [{event["actor"]["login"] for event in _events("2024-05-21-15", seed=seed)} for seed in (0, 1)]
    humans = [{login for login in found if not login.endswith("[bot]")} for found in logins]
    assert len(humans[0] & humans[1]) < 5


# ---------------------------------------------------------------------------------------------- form and eras
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 24 * 365 * 17), st.integers(0, 40), st.integers(0, 3))
def test_every_hour_is_valid_and_in_its_window(step: int, events: int, seed: int) -> None:
    hour = FIRST_HOUR + step
    if not eras.existed(hour):
        with pytest.raises(NotPublishedError):
            generate_hour(hour)
        return
    lines = list(generate_hour(hour, events=events, seed=seed))
    assert len(lines) == events
    start, end = hour.window
    late = hour.start >= datetime(2025, 5, 24, tzinfo=UTC)
    for line in lines:
        assert line.endswith(b"}\n")
        assert line.count(b"\n") == 1
        event = json.loads(line)
        assert json.dumps(event, separators=(",", ":"))
        created = _instant(event["created_at"])
        earliest = start - timedelta(hours=26) if late else start
        assert earliest <= created < end + timedelta(seconds=34)


def _instant(text: str) -> datetime:
    form = "%Y/%m/%d %H:%M:%S %z" if "/" in text else "%Y-%m-%dT%H:%M:%S%z"
    return datetime.strptime(text, form).astimezone(UTC)


def test_era_a_has_its_keys_and_its_slips() -> None:
    events = _events("2011-02-15-0")
    for event in events:
        assert list(event) in (
            ["repo", "type", "public", "created_at", "payload", "actor", "id"],
            ["repo", "type", "org", "public", "created_at", "payload", "actor", "id"],
        )
        assert event["actor"]["url"].startswith("https://api.github.dev/")
    nowhere = [event for event in events if event["repo"] == {"url": "https://api.github.dev/repos//", "name": "/"}]
    assert 0.05 < len(nowhere) / len(events) < 0.16
    assert any("login" not in event["actor"] for event in events)
    pushes = [event["payload"] for event in events if event["type"] == "PushEvent"]
    assert all(len(payload["shas"]) == payload["size"] for payload in pushes)


def test_era_b_has_no_ids_and_may_lack_nearly_everything() -> None:
    events = _events("2013-02-15-0", events=6000)
    assert not any("id" in event or "repo" in event for event in events)
    assert {event["created_at"][-6:] for event in events} == {"-08:00"}
    placeless = {event["type"] for event in events if "repository" not in event}
    assert placeless == {"FollowEvent", "GistEvent"}
    assert {event["type"] for event in events if event["actor"] is None} == {"GistEvent"}
    assert any("actor_attributes" not in event for event in events if event["actor"])
    assert all(event["payload"] == {} for event in events if event["type"] == "ForkEvent")
    assert any(not event.get("payload") for event in events if event["type"] == "PublicEvent")
    assert {"language", "organization", "homepage"} <= {key for e in events for key in e.get("repository", {})}


@pytest.mark.parametrize(
    ("hour", "form"),
    [
        ("2012-03-10-22", r"2012/03/10 2[23]:\d\d:\d\d -0800"),
        ("2012-06-10-22", r"2012/06/10 2[23]:\d\d:\d\d -0700"),
        ("2013-07-15-1", r"2013-07-15T0[12]:\d\d:\d\d-07:00"),
        ("2014-12-31-23", r"201(4-12-31T23|5-01-01T00):\d\d:\d\d-08:00"),
    ],
)
def test_era_b_writes_pacific_time(hour: str, form: str) -> None:
    assert all(re.fullmatch(form, event["created_at"]) for event in _events(hour, events=100))


@pytest.mark.parametrize(("hour", "shown"), [("2015-01-01-15", False), ("2016-06-01-0", True), ("2025-12-15-0", True)])
def test_modern_records_have_the_events_api_keys(hour: str, shown: bool) -> None:  # noqa: FBT001
    for event in _events(hour, events=400):
        assert list(event)[:7] == ["id", "type", "actor", "repo", "payload", "public", "created_at"]
        assert set(event) - {"id", "type", "actor", "repo", "payload", "public", "created_at"} <= {"org"}
        assert ("display_login" in event["actor"]) == shown
        assert list(event["repo"]) == ["id", "name", "url"]


def test_era_c_is_large() -> None:
    events = _events("2024-05-21-15")
    assert max(event["repo"]["id"] for event in events) < 2**31 < max(int(event["id"]) for event in events)
    pushes = [event["payload"] for event in events if event["type"] == "PushEvent"]
    assert all(len(payload["commits"]) == min(payload["size"], 20) for payload in pushes)
    merged = [event for event in events if event["payload"].get("pull_request", {}).get("merged")]
    assert merged
    assert all(event["payload"]["action"] == "closed" for event in merged)


def test_era_d_is_trimmed() -> None:
    events = _events("2025-12-15-0")
    assert b"author_association" not in b"".join(generate_hour(Hour.parse("2025-12-15-0"), events=500))
    for event in events:
        payload = event["payload"]
        if event["type"] == "PushEvent":
            assert set(payload) == {"repository_id", "push_id", "ref", "head", "before"}
        if event["type"] == "PullRequestEvent":
            assert set(payload["pull_request"]) == {"url", "id", "number", "head", "base"}
    actions = {event["payload"]["action"] for event in events if event["type"] == "PullRequestEvent"}
    assert {"opened", "merged", "closed", "labeled"} <= actions
    before = _events("2025-10-20-0", events=3000)
    assert "merged" not in {event["payload"].get("action") for event in before}


def test_late_events_come_after_may_2025_only() -> None:
    def late(hour: str) -> int:
        start = Hour.parse(hour).start
        return sum(_instant(event["created_at"]) < start for event in _events(hour))

    assert late("2025-05-23-12") == 0
    assert 500 < late("2025-05-24-12") < 1000


def test_ids_grow_and_restart_in_october_2025() -> None:
    for hour in ("2011-02-15-0", "2015-01-01-15", "2024-05-21-15"):
        ids = [int(line["id"]) for line in _events(hour)]
        fresh = sorted(set(ids))
        assert len(fresh) > len(ids) - 10
        assert sum(one > other for one, other in pairwise(ids)) < 10
    first_after = min(int(event["id"]) for event in _events("2025-10-09-0"))
    assert first_after < int(_events("2025-10-06-0")[0]["id"]) // 5


@pytest.mark.parametrize("hour", ["2012-03-10-9", "2012-03-10-21", "2012-03-11-2", "2013-03-10-2", "2014-03-09-2"])
def test_hours_that_never_were_are_refused(hour: str) -> None:
    with pytest.raises(NotPublishedError, match=hour):
        generate_hour(Hour.parse(hour))


def test_a_negative_number_of_events_is_refused_before_the_first() -> None:
    with pytest.raises(UsageError, match="-1 events"):
        generate_hour(Hour.parse("2015-01-01-15"), events=-1)


# ------------------------------------------------------------------------------------------------ believable
@pytest.mark.parametrize(
    ("hour", "shares"),
    [
        ("2011-02-15-0", era_a.SHARES),
        ("2013-02-15-0", era_b.SHARES),
        ("2015-01-01-15", era_c_d.SHARES_2015),
        ("2024-05-21-15", era_c_d.SHARES_2024),
    ],
)
def test_types_come_in_their_proportions(hour: str, shares: dict[str, int]) -> None:
    counted = Counter(event["type"] for event in _events(hour, events=4000))
    assert set(counted) <= set(shares)
    for kind, share in shares.items():
        expected = 4000 * share / sum(shares.values())
        assert abs(counted[kind] - expected) <= 5 * expected**0.5 + 3, kind


@pytest.mark.parametrize("hour", ["2011-02-15-0", "2013-02-15-0", "2015-01-01-15"])
def test_sizes_and_proportions_are_those_of_the_real_hour(hour: str, real_data: Path) -> None:
    def measured(lines: list[bytes]) -> tuple[float, dict[str, float]]:
        kinds = Counter(json.loads(line)["type"] for line in lines)
        return sum(map(len, lines)) / len(lines), {kind: count / len(lines) for kind, count in kinds.items()}

    real_size, real = measured(gzip.decompress((real_data / f"archive/{hour}.json.gz").read_bytes()).splitlines())
    size, made = measured(list(generate_hour(Hour.parse(hour))))
    assert 0.75 < size / real_size < 1.25
    for kind, share in real.items():
        assert abs(made.get(kind, 0) - share) < 0.03


def test_bots_do_a_believable_share_since_they_exist() -> None:
    def share(hour: str) -> float:
        events = _events(hour)
        return sum("[bot]" in event["actor"]["login"] for event in events) / len(events)

    assert share("2015-01-01-15") == 0
    assert 0.1 < share("2024-05-21-15") < 0.3
    assert 0.1 < share("2025-12-15-0") < 0.35


def test_a_few_events_come_twice() -> None:
    lines = list(generate_hour(Hour.parse("2024-05-21-15"), events=6000))
    assert 1 <= len(lines) - len(set(lines)) <= 12


def test_texts_hold_what_breaks_careless_readers() -> None:
    made = b"".join(generate_hour(Hour.parse("2024-05-21-15"), events=3000))
    for piece in (rb"\u003c", rb"\r\n", rb"\"", rb"\\", rb"\t", "🚀".encode(), "修复".encode()):
        assert piece in made


def test_an_hour_of_2024_weighs_and_squeezes_like_a_real_one() -> None:
    made = b"".join(generate_hour(Hour.parse("2024-05-21-15"), events=6000))
    assert 2000 < len(made) / 6000 < 2700
    assert 5 < len(made) / len(zlib.compress(made, 6)) < 7.5


# ------------------------------------------------------------------------------------------------- addresses
@pytest.mark.parametrize("hour", [*_HOURS.values(), "2012-03-11-5", "2014-05-05-5", "2019-11-27-3", "2022-06-01-4"])
def test_every_address_is_at_a_reserved_domain(hour: str) -> None:
    found = 0
    for line in generate_hour(Hour.parse(hour), events=2000):
        # An ssh address such as git@github.com:owner/name.git names a service, nobody's mailbox.
        for host in _ADDRESS.findall(line.replace(b"git@github.com:", b"")):
            found += 1
            assert _RESERVED.fullmatch(host.decode()), "an address outside the reserved domains"
    assert found or Hour.parse(hour).start.year == 2025


@pytest.mark.parametrize(
    ("hour", "hashed"),
    [
        ("2011-02-15-0", False),
        ("2013-02-15-0", False),
        ("2016-05-25-23", False),
        ("2016-05-26-0", True),
        ("2022-12-31-23", True),
        ("2024-05-21-15", False),
    ],
)
def test_emails_are_hashed_when_the_archive_hashed_them(hour: str, hashed: bool) -> None:  # noqa: FBT001
    emails = [email for event in _events(hour, events=600) for email in _author_emails(event)]
    assert len(emails) > 100
    assert {_HASHED.fullmatch(email) is not None for email in emails} == {hashed}


# -------------------------------------------------------------------------------------------------- entities
def _names(hour: str, part: str) -> dict[int, set[str]]:
    names: dict[int, set[str]] = defaultdict(set)
    for event in _events(hour, events=6000):
        names[event[part]["id"]].add(event[part]["name" if part == "repo" else "login"])
    return names


def test_entities_recur_and_some_are_renamed() -> None:
    for part in ("actor", "repo"):
        now, next_hour, next_year = (_names(hour, part) for hour in ("2023-05-21-15", "2023-05-21-16", "2024-05-21-15"))
        for names in (now, next_hour, next_year):
            assert all(len(found) == 1 for found in names.values())
        soon, later = now.keys() & next_hour.keys(), now.keys() & next_year.keys()
        assert min(len(soon), len(later)) > 50
        renamed = [identity for identity in later if now[identity] != next_year[identity]]
        assert 0 < len(renamed) < len(later) / 3


def test_a_few_entities_are_very_popular() -> None:
    counted = Counter(event["repo"]["name"] for event in _events("2024-05-21-15", events=6000))
    assert counted.most_common(1)[0][1] > 15
    assert sum(count == 1 for count in counted.values()) > len(counted) / 2


def test_one_repository_has_one_name_and_one_owner_within_an_hour() -> None:
    orgs = {
        event["repo"]["name"].split("/")[0]: event["org"]["id"]
        for event in _events("2024-05-21-15", events=6000)
        if "org" in event
    }
    assert len(orgs) == len(set(orgs.values()))


# ------------------------------------------------------------------------------------------------------ files
def test_write_hour_gives_the_same_file_and_its_manifest(tmp_path: Path) -> None:
    hour = Hour.parse("2015-01-01-15")
    made = [write_hour(hour, tmp_path / name / f"{hour}.json.gz", events=50) for name in "ab"]
    files = [(tmp_path / name / f"{hour}.json.gz").read_bytes() for name in "ab"]
    assert files[0] == files[1]
    assert files[0][:10] == b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
    assert gzip.decompress(files[0]) == b"".join(generate_hour(hour, events=50))
    assert made[0] == made[1]
    assert made[0].compressed_bytes == len(files[0])


def test_a_write_that_breaks_off_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hour, path = Hour.parse("2015-01-01-15"), tmp_path / "2015-01-01-15.json.gz"
    path.write_bytes(b"before")

    def breaking(hour: Hour, *, events: int, seed: int) -> Iterator[bytes]:
        yield next(generate_hour(hour, events=events, seed=seed))
        raise KeyboardInterrupt

    monkeypatch.setattr(generator, "generate_hour", breaking)
    with pytest.raises(KeyboardInterrupt):
        write_hour(hour, path, events=5)
    assert path.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_an_error_for_people(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot write"):
        write_hour(Hour.parse("2015-01-01-15"), tmp_path / "file/2015-01-01-15.json.gz", events=1)


def test_write_archive_keeps_what_is_there_and_leaves_out_what_never_was(tmp_path: Path) -> None:
    hours = HourRange(Hour.parse("2012-03-10-8"), Hour.parse("2012-03-10-23"))
    written = write_archive(hours, tmp_path, events=5)
    assert [path.name for path in written] == [f"2012-03-10-{hour}.json.gz" for hour in (8, 22, 23)]
    before = [path.stat().st_ino for path in written]
    assert [path.stat().st_ino for path in write_archive(hours, tmp_path, events=5)] == before
    assert [path.stat().st_ino for path in write_archive(hours, tmp_path, events=6)] != before


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    path = provide_hour(Hour.parse("2015-01-01-15"), tmp_path, events=5)
    sound = path.read_bytes()
    path.write_bytes(sound[:-9])
    assert provide_hour(Hour.parse("2015-01-01-15"), tmp_path, events=5).read_bytes() == sound


@pytest.mark.parametrize("manifest", [None, b'{"event_count": 3, "compressed_bytes": 6, "sha256": "00"}', b"rubbish"])
def test_a_real_hour_is_never_replaced(tmp_path: Path, manifest: bytes | None) -> None:
    (tmp_path / "2015-01-01-15.json.gz").write_bytes(b"a real")
    if manifest is not None:
        (tmp_path / "2015-01-01-15.manifest.json").write_bytes(manifest)
    with pytest.raises(UsageError, match="was not made here"):
        write_archive([Hour.parse("2015-01-01-15")], tmp_path, events=5)
    assert (tmp_path / "2015-01-01-15.json.gz").read_bytes() == b"a real"


def test_a_crash_between_manifest_and_file_is_repaired(tmp_path: Path) -> None:
    path = provide_hour(Hour.parse("2015-01-01-15"), tmp_path, events=5)
    sound = path.read_bytes()
    path.unlink()
    assert provide_hour(Hour.parse("2015-01-01-15"), tmp_path, events=5).read_bytes() == sound
