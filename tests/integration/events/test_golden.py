"""Every row equals what the official dataset's transformer makes of the record, less the differences on the list.

The list is ``docs/reference/differences.md``: its headings are the names of the rules here, and each rule says exactly
when it applies. A difference that no rule explains fails, and so does a rule that explains nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from etl.events.record import ENTITY_FIELDS
from tests.integration.events import reading
from tests.integration.events.reading import Lines, Rows

DOCUMENT: Final = Path(__file__).parents[3] / "docs/reference/differences.md"
GOLDEN_HOURS: Final = ("2011-02-15-0", "2013-02-15-0")

LOCAL: Final = r"[A-Za-z0-9._%+\-\u0080-\U0010ffff]+"
DOMAIN: Final = r"(?:[A-Za-z0-9\u0080-\U0010ffff][A-Za-z0-9\u0080-\U0010ffff-]*\.)+[A-Za-z\u0080-\U0010ffff]{2,}"


@dataclass(frozen=True)
class Absent:
    """Stands where a side has no value."""


@dataclass(frozen=True)
class Difference:
    """A place where our row and the official one say different things.

    Attributes:
        record: The record, parsed.
        path: Keys and indices from the official row's top.
        ours: Our value there.
        official: The official value there.
    """

    record: dict[str, Any]
    path: tuple[str | int, ...]
    ours: object
    official: object

    @property
    def said(self) -> object:
        """What the record says there; what went to ``other`` stands at the record's top."""
        value: Any = self.record
        for step in self.path[1:] if self.path[0] == "other" else self.path:
            inside = step in value if isinstance(value, dict) else isinstance(value, list)
            if not inside:
                return Absent()
            value = value[step]
        return value

    @property
    def in_scrubbed_field(self) -> bool:
        """Whether the official transformer treats the value as an address."""
        match self.path:
            case ("other", "actor_attributes", "email"):
                return True
            case ("payload", "shas", int(), 1) | ("payload", "commits", int(), "author", "email"):
                return True
            case _:
                return False

    def __repr__(self) -> str:
        return f"{self.record['type']} at {self.path}: the values differ"  # they may hold addresses


def name_has_its_owner(it: Difference) -> bool:
    repository = it.record.get("repository", {})
    return (
        it.path == ("repo", "name")
        and it.official == repository.get("name")
        and it.ours == f"{repository.get('owner')}/{it.official}"
    )


def no_address_no_hash(it: Difference) -> bool:
    nothing = hashlib.sha1(b"", usedforsecurity=False).hexdigest()
    return it.in_scrubbed_field and it.said == it.ours == Absent() and it.official == nothing


def null_is_kept(it: Difference) -> bool:
    return it.path[0] == "other" and it.said is None and it.ours is None and it.official == Absent()


def absent_payload_is_null(it: Difference) -> bool:
    return it.path == ("payload",) and it.said == it.ours == Absent() and it.official is None


def nothing_is_cut_off(it: Difference) -> bool:
    if not it.in_scrubbed_field or not isinstance(it.said, str) or it.said.count("@") < 2:
        return False
    local, first, *_ = it.said.strip().split("@")
    behind = it.said[it.said.index("@") + 1 :]
    return it.official == f"{sha1(local)}@{first}" and it.ours == f"{sha1(local)}@{treat_words(behind)}"


def space_behind_stays(it: Difference) -> bool:
    if not it.in_scrubbed_field or not isinstance(it.said, str) or it.said.count("@") != 1:
        return False
    local, _, behind = it.said.partition("@")
    treated = f"{sha1(local.lstrip())}@"
    return it.said != it.said.strip() and it.ours == treated + behind and it.official == treated + behind.rstrip()


def every_address_field_is_treated(it: Difference) -> bool:
    if it.in_scrubbed_field or not str(it.path[-1]).endswith("email") or not isinstance(it.said, str):
        return False
    local, at, domain = it.said.partition("@")
    return it.official == it.said and at == "@" and it.ours == f"{sha1(local)}@{domain}"


def addresses_in_text_are_treated(it: Difference) -> bool:
    if it.in_scrubbed_field or not isinstance(it.said, str):
        return False
    return it.official == it.said and it.ours == treat_words(it.said) != it.said


RULES: Final[dict[str, Callable[[Difference], bool]]] = {
    "The name of a repository has its owner": name_has_its_owner,
    "An absent payload is null": absent_payload_is_null,
    "A null is kept": null_is_kept,
    "Where there is no address there is no hash": no_address_no_hash,
    "Nothing after a second @ is cut off": nothing_is_cut_off,
    "Space after an address stays": space_behind_stays,
    "Every address field is treated": every_address_field_is_treated,
    "Addresses in text are treated": addresses_in_text_are_treated,
}


@pytest.fixture(scope="module")
def differences(real_records: Path) -> list[Difference]:
    found = []
    for hour in GOLDEN_HOURS:
        lines = reading.archive_lines(real_records / f"archive/{hour}.json.gz")
        golden = reading.archive_lines(real_records / f"golden/{hour}.transformed.json.gz")
        assert len(lines) == len(golden)
        found += list(_compare(lines, golden))
    lines, golden = Lines(), Lines()
    for file in sorted(real_records.glob("fixtures/*/*_raw.json")):
        lines.append(reading.compact(file.read_bytes()))
        golden.append(file.with_name(file.name.replace("_raw", "_transformed")).read_bytes())
    assert len(lines) == 77
    found += list(_compare(lines, golden))
    return found


def test_no_difference_is_unexplained(differences: list[Difference]) -> None:
    unexplained = [it for it in differences if not any(rule(it) for rule in RULES.values())]
    assert unexplained == []


def test_every_rule_explains_something(differences: list[Difference]) -> None:
    used = Counter(name for it in differences for name, rule in RULES.items() if rule(it))
    assert set(used) == set(RULES)


def test_the_document_lists_the_rules() -> None:
    chapter = DOCUMENT.read_text().partition("\n## Differences\n")[2].partition("\n## ")[0]
    assert re.findall(r"^### (.+)$", chapter, re.MULTILINE) == list(RULES)


def test_the_comparison_sees_every_column(real_records: Path) -> None:
    # A comparison that looked away would pass as well.
    line = reading.compact((real_records / "fixtures/2015/PullRequestEvent_raw.json").read_bytes())
    (row,) = reading.read([line], "hash")
    row["org_id"], row["other"] = row["actor_id"], '{"other":1}'
    golden = _as_official(row)
    for column, value in row.items():
        changed = row | {column: None if value is not None else 1}
        if column != "created_at":
            assert list(_differences(_as_official(changed), golden)), column
    assert list(_differences(_as_official(row | {"created_at": None}), golden))


def _compare(lines: Lines, golden: Lines) -> Iterator[Difference]:
    rows = _rows_in_order(lines)
    for line, row, official in zip(lines, rows, map(reading.parse, golden), strict=True):
        for column in ("payload", "other"):
            if column in official:
                official[column] = reading.parse(official[column])
        record = reading.parse(line)
        for path, ours, theirs in _differences(_as_official(row), official):
            yield Difference(record, path, ours, theirs)


def _rows_in_order(lines: Lines) -> Rows:
    """Our rows in the order of the lines: a table is in order of type, and in order of the lines within each."""
    records = [reading.parse(line) for line in lines]
    found: dict[int, dict[str, Any]] = {}
    for has_id in (True, False):
        places = [place for place, record in enumerate(records) if ("id" in record) is has_id]
        places.sort(key=lambda place: str(records[place]["type"]))
        if places:
            found.update(zip(places, reading.read([lines[place] for place in places], "hash"), strict=True))
    return [found[place] for place in range(len(lines))]


def _as_official(row: dict[str, Any]) -> dict[str, Any]:
    """A row in the shape of the official one: entities as objects, no nulls, times as its loader takes them."""
    made = {key: row[key] for key in ("id", "type", "public") if row[key] is not None}
    made |= {key: reading.parse(row[key]) for key in ("payload", "other") if row[key] is not None}
    if row["created_at"] is not None:
        made["created_at"] = f"{row['created_at']:%Y-%m-%d %H:%M:%S}"
    for entity, keys in ENTITY_FIELDS.items():
        values = {key: row[f"{entity}_{key}"] for key in keys if row[f"{entity}_{key}"] is not None}
        if values:
            made[entity] = values
    return made


def _differences(
    ours: object, official: object, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], object, object]]:
    """Finds every place where two values differ; an absent key is no null."""
    if isinstance(ours, dict) and isinstance(official, dict):
        for key in ours.keys() | official.keys():
            yield from _differences(ours.get(key, Absent()), official.get(key, Absent()), (*path, key))
    elif isinstance(ours, list) and isinstance(official, list) and len(ours) == len(official):
        for index, (mine, theirs) in enumerate(zip(ours, official, strict=True)):
            yield from _differences(mine, theirs, (*path, index))
    elif type(ours) is not type(official) or ours != official:
        yield path, ours, official


def treat_words(text: str) -> str:
    """Hashes every address in a text, found by other means than the program's."""
    return re.sub(f"({LOCAL})@(?={DOMAIN})", lambda found: f"{sha1(found[1])}@", text)


def sha1(local: str) -> str:
    return hashlib.sha1(local.encode(), usedforsecurity=False).hexdigest()
