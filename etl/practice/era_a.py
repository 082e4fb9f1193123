"""Era A: the first Events API of 2011-02-12 to 2012-03-10, with its slips.

Addresses say ``api.github.dev``; a tenth of the events stand in a repository that was not found
(``{"url": ".../repos//", "name": "/"}``), and a few actors lost id and login.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from etl.practice import eras, text
from etl.practice.entities import Account, Repo
from etl.practice.event_context import Draft, Scene

_API: Final = "https://api.github.dev"
_NOWHERE: Final = f'{{"url":"{_API}/repos//","name":"/"}}'
_PICTURE: Final = "d=http://github.dev%2Fimages%2Fgravatars%2Fgravatar"
_LOST: Final = {"PushEvent": 7, "CreateEvent": 14, "ForkEvent": 7}


def record(kind: str, draft: Draft, scene: Scene) -> str:
    """Writes an event of era A as one line of JSON."""
    actor, repo = draft.actor, draft.repo
    if actor is None:
        raise ValueError(f"{kind} of this era needs an actor")
    lost = repo is None or scene.dice.below(100) < _LOST.get(kind, 1)
    where, org = _NOWHERE, ""
    if repo is not None and not lost:
        where = f'{{"id":{repo.id},"url":"{_API}/repos/{repo.full_name}","name":"{repo.full_name}"}}'
        if repo.owner.kind == "Organization":
            org = f'"org":{_account(repo.owner, "orgs", "org")},'
    who = _account(actor, "users", "user")
    if scene.dice.below(150) == 0:
        who = f'{{"url":"{_API}/users/","avatar_url":"https://secure.gravatar.com/avatar/?{_PICTURE}-user-420.png"}}'
    return (
        f'{{"repo":{where},"type":"{kind}",{org}"public":true,"created_at":"{scene.stamp}","payload":{draft.payload},'
        f'"actor":{who},"id":"{scene.id}"}}\n'
    )


def _account(account: Account, kind: str, picture: str) -> str:
    avatar = f"https://secure.gravatar.com/avatar/{account.gravatar}?{_PICTURE}-{picture}-420.png"
    return (
        f'{{"gravatar_id":"{account.gravatar}","id":{account.id},"url":"{_API}/{kind}/{account.login}",'
        f'"avatar_url":"{avatar}","login":"{account.login}"}}'
    )


def _signed(repo: Repo, actor: Account) -> str:
    """Writes the three keys that most payloads of the era share."""
    return f'"repo":"{repo.full_name}","actor":"{actor.login}","actor_gravatar":"{actor.gravatar}"'


def push(scene: Scene) -> Draft:
    """Draws a push with its commits as ``shas``: hash, e-mail, message, name and, when not distinct, false."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    actor, size = scene.worker(repo), scene.commit_count()
    shas = [dice.sha() for _ in range(size)]
    commits = ",".join([_commit(scene, repo, actor, sha) for sha in shas])
    ref = f"refs/heads/{repo.branch if dice.bits(2) else text.branch(dice)}"
    number = eras.PUSH_IDS.at(scene.now) + dice.below(9)
    head = shas[-1] if shas else dice.sha()
    payload = (
        f'{{"shas":[{commits}],"repo":"{repo.full_name}","actor":"{actor.login}","ref":"{ref}","size":{size},'
        f'"head":"{head}","actor_gravatar":"{actor.gravatar}","push_id":{number}}}'
    )
    return Draft(actor, repo, payload)


def _commit(scene: Scene, repo: Repo, actor: Account, sha: str) -> str:
    author = actor if scene.dice.bits(3) else scene.world.contributor(repo, scene.dice.below(9))
    distinct = "" if scene.dice.bits(5) else ",false"
    return f'["{sha}","{scene.email(author)}","{scene.message(author)}","{author.name}"{distinct}]'


def create(scene: Scene) -> Draft:
    """Draws the creation of a repository, a branch or a tag."""
    dice, chance = scene.dice, scene.dice.below(100)
    made = scene.created_repo() if chance < 35 else None
    repo = made or scene.world.draw_repo(dice)
    kind, named = ("tag", text.tag(dice)) if chance > 88 else ("branch", text.branch(dice) if chance > 70 else "master")
    target = '"object":"repository","object_name":null' if made else f'"object":"{kind}","object_name":"{named}"'
    return Draft(repo.owner if made else scene.worker(repo), repo, f'{{"name":"{repo.name}",{target}}}')


def watch(scene: Scene) -> Draft:
    """Draws a star."""
    repo, actor = scene.world.draw_known_repo(scene.dice), scene.actor()
    return Draft(actor, repo, f'{{{_signed(repo, actor)},"action":"started"}}')


def issues(scene: Scene) -> Draft:
    """Draws an issue being opened or closed."""
    repo, action = scene.world.draw_repo(scene.dice), scene.dice.pick(("opened", "opened", "closed", "reopened"))
    thread = scene.world.thread(repo, scene.dice, pull=False, opened=scene.now if action == "opened" else None)
    actor = thread.author
    payload = f'{{"number":{thread.number},{_signed(repo, actor)},"issue":{thread.id},"action":"{action}"}}'
    return Draft(actor, repo, payload)


def gollum(scene: Scene) -> Draft:
    """Draws an edit of a wiki."""
    repo = scene.world.draw_known_repo(scene.dice)
    actor, title = scene.worker(repo), text.words(scene.dice, 2).title()
    payload = (
        f'{{"title":"{title}","summary":null,"sha":"{scene.dice.sha()}",{_signed(repo, actor)},"page_name":"{title}",'
        f'"action":"{scene.dice.pick(("created", "edited"))}"}}'
    )
    return Draft(actor, repo, payload)


def follow(scene: Scene) -> Draft:
    """Draws someone following someone else: in no repository."""
    target, actor = scene.actor(), scene.actor()
    payload = (
        f'{{"target":{{"gravatar_id":"{target.gravatar}","repos":{target.feature >> 8 & 63},'
        f'"followers":{target.feature & 255},"login":"{target.login}"}},"actor":"{actor.login}",'
        f'"actor_gravatar":"{actor.gravatar}"}}'
    )
    return Draft(actor, None, payload)


def fork(scene: Scene) -> Draft:
    """Draws a fork, told by its id alone."""
    repo, actor = scene.world.draw_known_repo(scene.dice), scene.actor()
    made = scene.world.new_fork(repo, actor, scene.fork_number())
    return Draft(actor, repo, f'{{{_signed(repo, actor)},"forkee":{made.id}}}')


def pull_request(scene: Scene) -> Draft:
    """Draws a pull request, told by seven facts."""
    dice, repo = scene.dice, scene.world.draw_known_repo(scene.dice)
    action = dice.pick(("opened", "closed"))
    thread = scene.world.thread(repo, dice, pull=True, opened=scene.now if action == "opened" else None)
    actor = thread.author if action == "opened" else scene.worker(repo)
    pull = (
        f'{{"title":"{thread.title}","number":{thread.number},"commits":{1 + dice.octave(0, 4)},'
        f'"deletions":{dice.octave(1, 10)},"id":{thread.id // 8},"issue_id":{thread.id},'
        f'"additions":{dice.octave(2, 11)}}}'
    )
    payload = f'{{"number":{thread.number},"pull_request":{pull},{_signed(repo, actor)},"action":"{action}"}}'
    return Draft(actor, repo, payload)


def gist(scene: Scene) -> Draft:
    """Draws a gist: in no repository."""
    number = 826_000 + (scene.now - eras.seconds(2011, 2, 12)) // 28 + scene.dice.below(30)
    actor, desc = scene.actor(), f'"{scene.paragraphs(1, 3)}"' if scene.dice.below(7) else "null"
    payload = (
        f'{{"name":"gist: {number}","desc":{desc},"actor":"{actor.login}","url":"https://gist.github.com/{number}",'
        f'"snippet":"{scene.paragraphs(2, 3)}","actor_gravatar":"{actor.gravatar}","action":"create"}}'
    )
    return Draft(actor, None, payload)


def commit_comment(scene: Scene) -> Draft:
    """Draws a comment on a commit, told by its number."""
    repo = scene.world.draw_known_repo(scene.dice)
    actor, number = scene.worker(repo), 270_000 + scene.dice.below(9000)
    return Draft(actor, repo, f'{{{_signed(repo, actor)},"comment_id":{number},"commit":"{scene.dice.sha()}"}}')


def delete(scene: Scene) -> Draft:
    """Draws the deletion of a branch."""
    repo = scene.world.draw_repo(scene.dice)
    return Draft(scene.worker(repo), repo, f'{{"ref_type":"branch","ref":"{text.branch(scene.dice)}"}}')


def member(scene: Scene) -> Draft:
    """Draws someone being let into a repository."""
    repo, who = scene.world.draw_repo(scene.dice), scene.actor()
    actor = scene.worker(repo)
    return Draft(actor, repo, f'{{{_signed(repo, actor)},"member":"{who.login}","action":"added"}}')


def download(scene: Scene) -> Draft:
    """Draws a file being offered for download."""
    repo = scene.world.draw_known_repo(scene.dice)
    file = f"http://cloud.github.com/downloads/{repo.full_name}/{repo.name}-{text.tag(scene.dice)}.zip"
    return Draft(scene.worker(repo), repo, f'{{"id":{78_000 + scene.dice.below(900)},"url":"{file}"}}')


def fork_apply(scene: Scene) -> Draft:
    """Draws commits being taken over from a fork's queue."""
    repo = scene.world.draw_known_repo(scene.dice)
    actor, dice = scene.worker(repo), scene.dice
    payload = f'{{{_signed(repo, actor)},"head":"master","original":"{dice.sha()}","commit":"{dice.sha()}"}}'
    return Draft(actor, repo, payload)


def public(scene: Scene) -> Draft:
    """Draws a repository being opened to the public."""
    repo = scene.world.draw_repo(scene.dice)
    actor = scene.worker(repo)
    return Draft(actor, repo, f"{{{_signed(repo, actor)}}}")


MAKERS: Final[Mapping[str, Callable[[Scene], Draft]]] = {
    "PushEvent": push,
    "CreateEvent": create,
    "WatchEvent": watch,
    "IssuesEvent": issues,
    "GollumEvent": gollum,
    "FollowEvent": follow,
    "ForkEvent": fork,
    "PullRequestEvent": pull_request,
    "GistEvent": gist,
    "CommitCommentEvent": commit_comment,
    "DeleteEvent": delete,
    "MemberEvent": member,
    "DownloadEvent": download,
    "ForkApplyEvent": fork_apply,
    "PublicEvent": public,
}
"""How an event of each type comes about."""

SHARES: Final[Mapping[str, int]] = {
    "PushEvent": 5424,
    "CreateEvent": 1483,
    "WatchEvent": 1019,
    "IssuesEvent": 397,
    "GollumEvent": 299,
    "FollowEvent": 293,
    "ForkEvent": 250,
    "PullRequestEvent": 244,
    "GistEvent": 238,
    "CommitCommentEvent": 153,
    "DeleteEvent": 73,
    "MemberEvent": 67,
    "DownloadEvent": 43,
    "ForkApplyEvent": 12,
    "PublicEvent": 6,
}
"""Events of each type in ten thousand, as counted in 2011-02-15-0."""
