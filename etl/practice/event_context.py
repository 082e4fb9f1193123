"""The stage on which the events of one practice hour are drawn: its world, its chance, the instant at hand."""

from __future__ import annotations

from typing import Final, NamedTuple

from etl.hours import Hour
from etl.practice import eras, text
from etl.practice.entities import BOTS_SINCE, Account, Repo, World, published_email
from etl.practice.eras import Detail, Era
from etl.practice.rng import Dice, fingerprint

_SHARE_OF_BOTS: Final = {Era.A: 0.0, Era.B: 0.0, Era.C: 0.17, Era.D: 0.22}


class Draft(NamedTuple):
    """An event before it is dressed in its era's form.

    Attributes:
        actor: Who did it; None for an anonymous gist.
        repo: Where; None for what happens in no repository.
        payload: JSON.
        url: The page of it, which era B tells.
    """

    actor: Account | None
    repo: Repo | None
    payload: str
    url: str = ""


class Scene:
    """What the makers of events draw from.

    Attributes:
        dice: The hour's chance.
        world: Who and what exists.
        era: The form of the hour.
        detail: How much payloads say.
        now: Instant of the event at hand.
        stamp: The same as payloads of this era write it.
        id: The event's id.
    """

    __slots__ = ("_created", "_forked", "_share_of_bots", "detail", "dice", "era", "id", "now", "stamp", "world")

    def __init__(self, hour: Hour, era: Era, seed: int) -> None:
        start = int(hour.window[0].timestamp())
        self.dice = Dice(fingerprint("hour", seed, str(hour)))
        self.world = World(seed, start)
        self.era = era
        self.detail: Detail = eras.detail_at(start, era)
        self.now = start
        self.stamp = ""
        self.id = 0
        self._created = 0
        self._forked = 0
        self._share_of_bots = _SHARE_OF_BOTS[era] if start >= BOTS_SINCE else 0.0

    def actor(self, *, bots: float = 1.0) -> Account:
        """Draws anyone; ``bots`` multiplies the usual share of bots."""
        if self.dice.unit() < self._share_of_bots * bots:
            return self.world.draw_bot(self.dice)
        return self.world.draw_user(self.dice)

    def worker(self, repo: Repo, *, bots: float = 1.0) -> Account:
        """Draws someone who works on a repository: its owner above all, or a bot."""
        if self.dice.unit() < self._share_of_bots * bots:
            return self.world.draw_bot(self.dice)
        return self.world.contributor(repo, self.dice.octave(0, 3 + min(repo.stars.bit_length() // 3, 5)))

    def created_repo(self) -> Repo | None:
        """Returns the next repository that this hour creates; None when it has created all it could."""
        if self._created >= self.world.new_repos:
            return None
        self._created += 1
        return self.world.new_repo(self._created - 1)

    def fork_number(self) -> int:
        """Numbers the hour's forks."""
        self._forked += 1
        return self._forked

    def email(self, account: Account) -> str:
        """Returns an account's address as the archive published it then."""
        return published_email(account.email, self.now)

    def trailer(self, account: Account) -> str:
        """Writes the line that signs a commit off; the archive never hashed addresses in there."""
        kind = self.dice.pick(("Signed-off-by", "Co-authored-by", "Reviewed-by"))
        if self.dice.bits(1):
            return f"{kind}: {account.name} <{account.email}>"
        return rf"{kind}: {account.name} \u003c{account.email}\u003e"

    def message(self, author: Account) -> str:
        """Draws a commit's message."""
        return text.commit_message(self.dice, self.trailer(author))

    def commit_count(self) -> int:
        """Draws how many commits a push brings: mostly one, sometimes dozens, now and then none."""
        chance = self.dice.bits(10)
        if chance < 850:
            return 1
        if chance < 857:
            return 0
        return 2 + self.dice.octave(1, 6 if chance > 1018 else 3)

    def paragraphs(self, typical: int, longest: int) -> str:
        """Draws a text, JSON-escaped.

        Args:
            typical: Doublings of the usual number of phrases.
            longest: Doublings of the greatest number of phrases.
        """
        return text.prose(self.dice, 1 + self.dice.octave(typical, longest))
