"""The people, organizations and repositories of the practice archive, the same in every hour of a seed.

Nothing is stored: an entity's features are computed from its number, so that the millionth repository of 2024
costs what the first does and memory stays flat. Entities are born evenly over the archive's time and have a
*rank* of popularity that has nothing to do with their age; whoever draws one draws among those already born.
One in twenty changes its name every few months and keeps its id, as real ones do.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha1
from typing import Final

from etl.practice import eras, text
from etl.practice.rng import Dice, fingerprint, mix

_FIRST: Final = eras.seconds(2008, 1, 1)
_SPAN: Final = eras.seconds(2028, 1, 1) - _FIRST
_DAY: Final = 86_400
_SPREAD: Final = 0x9E375
"""Odd, so that multiplying by it modulo a power of two shuffles the numbers below that power."""
_ENTITY_BITS: Final = 20
_ORG_BITS: Final = 16
_CACHED: Final = 1 << 14
_FRESH_HOURS_BITS: Final = 8
_FRESH_CAP: Final = 4096

_CONSONANTS: Final = "bdfghjklmnprstvz"
_SYLLABLES: Final = tuple(consonant + vowel for consonant in _CONSONANTS for vowel in "aeio")
_GIVEN: Final = tuple(
    "Ada Bram Cleo Dario Edda Farid Greta Hiro Imke Jarek Kaya Lior Mina Nils Odile Pavel Quin Rosa Sven Tala Uma Vito"
    " Wanda Xaver Yuna Zeno Åse Çağla Łucja Søren Zoë 芽衣 小明 지우 Ольга".split()
)
_FAMILY: Final = tuple(
    "Alderbrook Birchfeld Carrowmere Dunhollow Eastermead Fennwick Galbrooke Hartmoor Ivesdale Juniperley Kestrelton"
    " Larkmoor Mossgrave Northam Oakhallow Pemberlow Quillfeather Rowanby Sedgecombe Thornbury Underhay Vexleigh"
    " Wrenfield Yarrowdale Zephyrine O'Mossley Größ 田中山 Ивкин".split()
)
_PLACES: Final = ("Port Larkmoor", "Upper Fenn", "Sedge Bay, XX", "Østerhavn", "Rowan City", "the moon", "Nuevo Ivés")
_MAIL_HOSTS: Final = ("example.com", "example.com", "example.com", "example.org", "example.net", "mail.example")
NOREPLY_HOST: Final = "users.noreply.github.example"
"""Stands for GitHub's own host of that kind, whose addresses belong to people."""
BOTS_SINCE: Final = eras.seconds(2016, 11, 1)
"""From when accounts of applications (``…[bot]``) take part."""
_NOREPLY_SINCE: Final = eras.seconds(2017, 7, 1)
_LANGUAGES: Final = tuple(
    "JavaScript JavaScript Python Python TypeScript Java C++ C Go Rust Ruby PHP C# Shell HTML CSS Kotlin Swift"
    " Dart".split()
)
_LICENSES: Final = (
    ("mit", "MIT License", "MIT"),
    ("mit", "MIT License", "MIT"),
    ("apache-2.0", "Apache License 2.0", "Apache-2.0"),
    ("gpl-3.0", "GNU General Public License v3.0", "GPL-3.0"),
    ("bsd-3-clause", 'BSD 3-Clause \\"New\\" or \\"Revised\\" License', "BSD-3-Clause"),
)
_BOT_SLUGS: Final = tuple(
    "depkeeper runner-actions freshen mergetrain codecover lint-fixer imgslim stale-sweeper translate-hub"
    " release-drum preview-deploys security-scout pull-sync badge-painter cla-checker docs-mirror".split()
)


@dataclass(frozen=True, slots=True)
class Account:
    """A user, an organization or a bot, under the name it has at the hour in question.

    Attributes:
        id: Stays through renames.
        login: Name; a bot's ends in ``[bot]``.
        shown: ``display_login``: the login without ``[bot]``.
        path: The login as it stands in addresses.
        page: The path of its page on the site.
        kind: ``User``, ``Organization`` or ``Bot``.
        name: Full name, JSON-escaped.
        email: Address in clear, at a reserved domain.
        feature: 64 bits from which further features are taken.
        born: Instant it joined.
    """

    id: int
    login: str
    shown: str
    path: str
    page: str
    kind: str
    name: str
    email: str
    feature: int
    born: int

    @property
    def gravatar(self) -> str:
        """32 hex digits, as the MD5 of an address would have."""
        return f"{mix(self.feature):016x}{mix(~self.feature):016x}"

    @property
    def place(self) -> str:
        """Where it says it lives."""
        return _PLACES[(self.feature >> 9 & 0xFFFF) % len(_PLACES)]


@dataclass(frozen=True, slots=True)
class Repo:
    """A repository, under the name it has at the hour in question.

    Attributes:
        id: Stays through renames.
        owner: A user or an organization.
        name: Name without the owner.
        full_name: ``owner/name``.
        feature: 64 bits from which further features are taken.
        born: Instant of its creation.
        stars: Popularity.
        description: JSON-escaped; empty for some.
        fork: Whether it is one.
    """

    id: int
    owner: Account
    name: str
    full_name: str
    feature: int
    born: int
    stars: int
    description: str
    fork: bool

    @property
    def language(self) -> str | None:
        """Main language; None for a seventh of them."""
        number = self.feature >> 20 & 0xFFFF
        return None if number % 7 == 0 else _LANGUAGES[number % len(_LANGUAGES)]

    @property
    def license(self) -> tuple[str, str, str] | None:
        """Key, name and SPDX id; None for half of them."""
        number = self.feature >> 37 & 0xFF
        return _LICENSES[number % len(_LICENSES)] if number < 128 else None

    @property
    def branch(self) -> str:
        """Default branch: ``main`` since October 2020."""
        return "main" if self.born >= eras.seconds(2020, 10, 1) else "master"

    @property
    def homepage(self) -> str:
        """Address of its site; empty for most."""
        return f"https://{self.name.lower()}.example/" if self.feature >> 45 & 7 == 0 else ""

    @property
    def size(self) -> int:
        """Kilobytes."""
        return (self.feature >> 11 & 0x3FFF) >> (self.feature >> 3 & 7)


@dataclass(frozen=True, slots=True)
class Thread:
    """An issue or a pull request, the same whenever it turns up again.

    Attributes:
        number: Within its repository; pull requests have the even ones.
        id: Over all of GitHub.
        title: JSON-escaped.
        author: Who opened it.
        created: Instant.
        feature: 64 bits from which further features are taken.
    """

    number: int
    id: int
    title: str
    author: Account
    created: int
    feature: int


class World:
    """Everyone and everything that exists at an hour of a seed.

    Args:
        seed: Another seed, another world.
        now: The hour's first instant: who is born later does not exist yet.
    """

    def __init__(self, seed: int, now: int) -> None:
        self._key = fingerprint("world", seed)
        self.now = now
        self._limit = _slots_before(now, _ENTITY_BITS)
        self._org_limit = _slots_before(now, _ORG_BITS)
        gained = eras.REPO_IDS.at(now + 3600) - eras.REPO_IDS.at(now)
        self.new_repos = min(_FRESH_CAP, max(gained // 4, 1))
        """How many repositories this hour can create."""
        self.user: Callable[[int], Account] = lru_cache(_CACHED)(self._user)
        self.org: Callable[[int], Account] = lru_cache(_CACHED)(self._org)
        self.repo: Callable[[int], Repo] = lru_cache(_CACHED)(self._repo)
        self.fresh: Callable[[int, int], Repo] = lru_cache(_CACHED)(self._fresh)
        self.bots = tuple(self._bot(number) for number in range(len(_BOT_SLUGS)))

    def draw_user(self, dice: Dice) -> Account:
        """Draws a user by popularity."""
        return self.user(_draw_rank(dice, 4, _ENTITY_BITS, self._limit))

    def draw_bot(self, dice: Dice) -> Account:
        """Draws a bot, the first ones most."""
        return self.bots[min(dice.octave(1, 4), len(self.bots) - 1)]

    def draw_repo(self, dice: Dice) -> Repo:
        """Draws a repository by popularity; a third of them are only hours or days old."""
        if dice.below(100) < 34:
            hour = self.now // 3600 - 1 - dice.octave(2, _FRESH_HOURS_BITS)
            return self.fresh(hour, dice.octave(4, 12) % _fresh_count(hour))
        return self.draw_known_repo(dice)

    def draw_known_repo(self, dice: Dice) -> Repo:
        """Draws a repository by popularity, none of the very young."""
        return self.repo(_draw_rank(dice, 4, _ENTITY_BITS, self._limit))

    def new_repo(self, number: int) -> Repo:
        """Returns the repository that is created in this hour as its ``number``-th."""
        return self.fresh(self.now // 3600, number % self.new_repos)

    def new_fork(self, of: Repo, by: Account, number: int) -> Repo:
        """Makes the fork that is created in this hour as its ``number``-th."""
        low, high = eras.REPO_IDS.at(self.now), eras.REPO_IDS.at(self.now + 3600)
        half = max((high - low) // 4, 1)
        identity = low // 2 * 2 + 1 + 2 * (half + number % half)
        feature = mix(self._key ^ identity)
        return Repo(identity, by, of.name, f"{by.login}/{of.name}", feature, self.now, 0, of.description, fork=True)

    def contributor(self, repo: Repo, number: int) -> Account:
        """Returns the ``number``-th of those who work on a repository; 0 is its owner, if that is a user."""
        if number == 0 and repo.owner.kind == "User":
            return repo.owner
        slot = mix(repo.feature + number) % max(self._limit, 1)
        return self.user(_rank_of(slot, _ENTITY_BITS))

    def thread(self, repo: Repo, dice: Dice, *, pull: bool, opened: int | None = None) -> Thread:
        """Draws one of a repository's issues or pull requests, the recent ones most.

        Args:
            repo: Where it was opened.
            dice: Where the chance comes from.
            pull: Whether it is a pull request.
            opened: The instant at hand if it is opened right now; None for one that was there before.
        """
        pace = max(_DAY * 12 >> min(repo.stars.bit_length(), 10), 1800)
        last = max((self.now - repo.born) // pace, 0) + 1
        number = max(last - dice.octave(2, 10), 1) if opened is None else last + dice.below(3)
        # What the number decides does not change from one hour to the next: id, title, author.
        began = repo.born + number * pace
        number = number * 2 + (0 if pull else -1)
        feature = mix(repo.feature ^ number << 20)
        pool = text.phrases()
        title = " ".join([pool[feature >> shift & (1 << text.PHRASE_BITS) - 1] for shift in (0, 15, 30)])
        identity = eras.THREAD_IDS.at(began) + feature % 999
        created = min(began, self.now) if opened is None else opened
        return Thread(number, identity, title, self._thread_author(repo, feature, pull=pull), created, feature)

    def _thread_author(self, repo: Repo, feature: int, *, pull: bool) -> Account:
        if pull and self.now >= BOTS_SINCE and feature % 100 < 25:
            return self.bots[(feature >> 50) % 3]
        return self.contributor(repo, feature >> 45 & 31)

    def _user(self, rank: int) -> Account:
        slot = _slot_of(rank, _ENTITY_BITS)
        born = _born(slot, _ENTITY_BITS)
        feature = mix(self._key ^ rank)
        identity = eras.USER_IDS.at(born) // 2 * 2
        login = _login(rank, feature, self._versions(feature, born), self._key)
        given, family = _GIVEN[feature >> 5 & 31], _FAMILY[(feature >> 10 & 0xFF) % len(_FAMILY)]
        name = login if feature & 3 == 0 else f"{given} {family}"
        email = _email(login, identity, feature, born)
        return Account(identity, login, login, login, login, "User", name, email, feature, born)

    def _org(self, rank: int) -> Account:
        born = _born(_slot_of(rank, _ORG_BITS), _ORG_BITS)
        feature = mix(self._key ^ rank ^ 1 << 40)
        version = self._versions(feature, born)
        code = ((rank << 2 | version & 3) * 0x15A4B ^ self._key) & 0x3FFFF
        login = f"{text.WORDS[feature % len(text.WORDS)]}-{_spell(code, 3)}"
        identity = eras.USER_IDS.at(born) // 4 * 4 + 1
        email = f"team@{login}.example"
        return Account(identity, login, login, login, login, "Organization", login.title(), email, feature, born)

    def _bot(self, number: int) -> Account:
        slug = _BOT_SLUGS[number]
        identity = 20_000_003 + 1_600_004 * number
        email = f"{identity}+{slug}[bot]@{NOREPLY_HOST}"
        born = eras.seconds(2016, 10, 1)
        feature = mix(self._key ^ number ^ 1 << 41)
        login = f"{slug}[bot]"
        return Account(identity, login, slug, f"{slug}%5Bbot%5D", f"apps/{slug}", "Bot", login, email, feature, born)

    def _repo(self, rank: int) -> Repo:
        slot = _slot_of(rank, _ENTITY_BITS)
        born = _born(slot, _ENTITY_BITS)
        feature = mix(self._key ^ rank ^ 1 << 42)
        identity = eras.REPO_IDS.at(born) // 2 * 2
        by_org = feature % 10 < (6 if rank < 4096 else 2)
        owner = self._owner_org(feature, born) if by_org else self.user(_rank_of(feature % (slot + 1), _ENTITY_BITS))
        stars = (1 << 18) // (rank + 8) + (feature & 7)
        return self._named(identity, owner, feature, born, stars)

    def _fresh(self, hour: int, number: int) -> Repo:
        low = eras.REPO_IDS.at(hour * 3600)
        feature = mix(self._key ^ hour << 24 ^ number)
        slot = feature % max(_slots_before(hour * 3600, _ENTITY_BITS), 1)
        owner = self.user(_rank_of(slot, _ENTITY_BITS))
        born = hour * 3600 + (feature >> 30) % 3600
        return self._named(low // 2 * 2 + 1 + 2 * number, owner, feature, born, feature >> 50 & 1)

    def _owner_org(self, feature: int, born: int) -> Account:
        limit = max(_slots_before(born, _ORG_BITS), 1)
        chance = feature >> 24 & 0xFFFF
        slot = (chance % limit) >> (chance & 7)
        return self.org(_rank_of(slot, _ORG_BITS))

    def _named(self, identity: int, owner: Account, feature: int, born: int, stars: int) -> Repo:
        version = self._versions(feature, born)
        names = mix(feature + version)
        name = f"{text.WORDS[names % len(text.WORDS)]}-{text.WORDS[(names >> 20) % len(text.WORDS)]}"
        if names >> 40 & 3:
            name = f"{name}-{_spell(names >> 44, 2)}" if names >> 42 & 1 else name.title().replace("-", "")
        pool = text.phrases()
        picked = [pool[feature >> shift & 0x7FFF] for shift in (0, 14, 28)[: feature >> 44 & 3]]
        fork = feature >> 55 & 7 == 0
        return Repo(identity, owner, name, f"{owner.login}/{name}", feature, born, stars, " ".join(picked), fork)

    def _versions(self, feature: int, born: int) -> int:
        """Counts the renames an entity has gone through by now."""
        if (feature >> 56) % 20:
            return 0
        age = max(self.now - born, 0)
        first_days = 1 if age > (feature >> 48 & 15) * 3600 else 0
        return first_days + age // (_DAY * (150 + (feature >> 40 & 63)))


def published_email(email: str, now: int) -> str:
    """Writes an address as the archive did then: in clear, or from 2016-05-26 to 2022 with a hashed local part."""
    if not eras.EMAILS_HASHED <= now < eras.EMAILS_CLEAR_AGAIN:
        return email
    local, _, host = email.partition("@")
    return f"{sha1(local.encode(), usedforsecurity=False).hexdigest()}@{host}"


def _email(login: str, identity: int, feature: int, born: int) -> str:
    choice = feature >> 16 & 15
    if choice < 6 and born >= _NOREPLY_SINCE:
        return f"{identity}+{login}@{NOREPLY_HOST}"
    if choice < 8:
        return f"me@{login.lower()}.example"
    local = login.lower() if choice < 12 else f"{login.lower()}.{feature >> 20 & 63}+git"
    return f"{local}@{_MAIL_HOSTS[(feature >> 26 & 0xFF) % len(_MAIL_HOSTS)]}"


def _login(rank: int, feature: int, version: int, key: int) -> str:
    """Writes a login that no other rank and version has: 24 shuffled bits spelt in four syllables."""
    spelt = _spell(((rank << 4 | version & 15) * 0x5F35A1 ^ key) & 0xFFFFFF, 4)
    style = feature >> 3 & 3
    if style == 0:
        return spelt
    if style == 1:
        return f"{text.WORDS[(feature >> 30) % len(text.WORDS)]}-{spelt}"
    if style == 2:
        return f"{spelt}{feature >> 33 & 63:02}"
    return f"{spelt[:4].title()}{spelt[4:].title()}"


def _spell(code: int, syllables: int) -> str:
    return "".join([_SYLLABLES[code >> 6 * place & 63] for place in range(syllables)])


def _fresh_count(hour: int) -> int:
    gained = eras.REPO_IDS.at(hour * 3600 + 3600) - eras.REPO_IDS.at(hour * 3600)
    return min(_FRESH_CAP, max(gained // 4, 1))


def _slot_of(rank: int, bits: int) -> int:
    return rank * _SPREAD & (1 << bits) - 1


def _rank_of(slot: int, bits: int) -> int:
    return slot * _INVERSE[bits] & (1 << bits) - 1


def _born(slot: int, bits: int) -> int:
    return _FIRST + (slot * _SPAN >> bits)


def _slots_before(instant: int, bits: int) -> int:
    """Counts the slots whose birth lies before an instant."""
    return min(max(((instant - _FIRST) << bits) // _SPAN, 0), 1 << bits)


def _draw_rank(dice: Dice, low: int, bits: int, limit: int) -> int:
    while True:
        rank = dice.octave(low, bits)
        if _slot_of(rank, bits) < limit:
            return rank


_INVERSE: Final = {bits: pow(_SPREAD, -1, 1 << bits) for bits in (_ENTITY_BITS, _ORG_BITS)}
