"""Era B: the timeline's records of 2012-03-10 to 2014-12-31, without ids, in Pacific time.

The actor is a login with ``actor_attributes`` beside it, the repository an object of its own. What a person or
a repository did not say (company, blog, language ...) has no key at all. Follows and gists happen in no
repository, a gist can be anonymous, forks have an empty payload and publications none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from etl.practice import eras, objects, text
from etl.practice.entities import Account, Repo
from etl.practice.event_context import Draft, Scene
from etl.practice.objects import flag, quoted

_API: Final = "https://api.github.com"
_WEB: Final = "https://github.com"
_ACTIONS: Final = ("opened", "opened", "opened", "closed", "closed", "reopened")
_PULL_ACTIONS: Final = ("opened",) * 12 + ("closed",) * 12 + ("reopened", "synchronize")


def record(kind: str, draft: Draft, scene: Scene) -> str:
    """Writes an event of era B as one line of JSON."""
    actor = draft.actor
    payload = f'"payload":{draft.payload},' if draft.payload else ""
    who = '"actor":null' if actor is None else f'"actor":"{actor.login}"'
    if actor is not None and scene.dice.below(160):
        who += f',"actor_attributes":{_attributes(actor, scene)}'
    where = "" if draft.repo is None else f',"repository":{_repository(draft.repo)}'
    url = draft.url or (f"{_WEB}/{draft.repo.full_name}" if draft.repo else _WEB)
    created = eras.pacific(scene.now)
    return f'{{"created_at":"{created}",{payload}"public":true,"type":"{kind}","url":"{url}",{who}{where}}}\n'


def _attributes(actor: Account, scene: Scene) -> str:
    said = actor.feature >> 34
    known = (
        ("name", actor.name, said & 3),
        ("company", f"{actor.name.split()[-1]} & Co.", said >> 2 & 3 == 0),
        ("blog", f"http://{actor.login.lower()}.example/", said >> 4 & 3 == 0),
        ("location", actor.place, said >> 6 & 1),
        ("email", scene.email(actor), said >> 7 & 1),
    )
    keys = "".join([f'"{key}":"{value}",' for key, value, told in known if told])
    return f'{{{keys}"login":"{actor.login}","type":"User","gravatar_id":"{actor.gravatar}"}}'


def _repository(repo: Repo) -> str:
    homepage = f'"homepage":"{repo.homepage}",' if repo.feature & 1 else ""
    language = f'"language":"{repo.language}",' if repo.language else ""
    org = f',"organization":"{repo.owner.login}"' if repo.owner.kind == "Organization" else ""
    born = eras.pacific(repo.born)
    return (
        f'{{"id":{repo.id},"name":"{repo.name}","url":"{_WEB}/{repo.full_name}","description":"{repo.description}",'
        f'{homepage}"watchers":{repo.stars},"stargazers":{repo.stars},"forks":{repo.stars // 6},'
        f'"fork":{flag(repo.fork)},'
        f'"size":{repo.size},"owner":"{repo.owner.login}","private":false,"open_issues":{repo.stars // 40},'
        f'"has_issues":true,"has_downloads":true,"has_wiki":true,{language}"created_at":"{born}",'
        f'"pushed_at":"{born}","master_branch":"master"{org}}}'
    )


def push(scene: Scene) -> Draft:
    """Draws a push with its commits as ``shas``: hash, e-mail, message, name, distinct."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    actor = scene.worker(repo)
    size = max(scene.commit_count(), 1)
    shas = [dice.sha() for _ in range(min(size, 20))]
    commits = ",".join([_commit(scene, repo, actor, sha) for sha in shas])
    ref = f"refs/heads/{repo.branch if dice.bits(2) else text.branch(dice)}"
    url = f"{_WEB}/{repo.full_name}/compare/{dice.sha()[:10]}...{shas[-1][:10]}"
    return Draft(actor, repo, f'{{"shas":[{commits}],"size":{size},"ref":"{ref}","head":"{shas[-1]}"}}', url)


def _commit(scene: Scene, repo: Repo, actor: Account, sha: str) -> str:
    author = actor if scene.dice.bits(3) else scene.world.contributor(repo, scene.dice.below(9))
    distinct = flag(scene.dice.bits(4))
    return f'["{sha}","{scene.email(author)}","{scene.message(author)}","{author.name}",{distinct}]'


def create(scene: Scene) -> Draft:
    """Draws the creation of a repository, a branch or a tag."""
    dice, chance = scene.dice, scene.dice.below(100)
    made = scene.created_repo() if chance < 45 else None
    repo = made or scene.world.draw_repo(dice)
    kind, ref = ("tag", text.tag(dice)) if chance > 85 else ("branch", text.branch(dice))
    kind, ref_ = ("repository", None) if made else (kind, ref)
    payload = (
        f'{{"ref":{quoted(ref_)},"ref_type":"{kind}","master_branch":"master","description":"{repo.description}"}}'
    )
    return Draft(repo.owner if made else scene.worker(repo), repo, payload)


def issue_comment(scene: Scene) -> Draft:
    """Draws a comment on an issue, of which the payload holds only numbers."""
    repo = scene.world.draw_known_repo(scene.dice)
    thread = scene.world.thread(repo, scene.dice, pull=scene.dice.bits(1) == 1)
    comment = _comment_number(scene)
    url = f"{_WEB}/{repo.full_name}/issues/{thread.number}#issuecomment-{comment}"
    return Draft(scene.worker(repo), repo, f'{{"issue_id":{thread.id},"comment_id":{comment}}}', url)


def issues(scene: Scene) -> Draft:
    """Draws an issue being opened, closed or reopened, of which the payload holds only numbers."""
    repo, action = scene.world.draw_repo(scene.dice), scene.dice.pick(_ACTIONS)
    thread = scene.world.thread(repo, scene.dice, pull=False, opened=scene.now if action == "opened" else None)
    payload = f'{{"action":"{action}","issue":{thread.id},"number":{thread.number}}}'
    return Draft(thread.author, repo, payload, f"{_WEB}/{repo.full_name}/issues/{thread.number}")


def watch(scene: Scene) -> Draft:
    """Draws a star."""
    return Draft(scene.actor(), scene.world.draw_known_repo(scene.dice), '{"action":"started"}')


def fork(scene: Scene) -> Draft:
    """Draws a fork, whose payload is empty; the page is the new repository's."""
    repo, actor = scene.world.draw_known_repo(scene.dice), scene.actor()
    return Draft(actor, repo, "{}", f"{_WEB}/{actor.login}/{repo.name}")


def pull_request(scene: Scene) -> Draft:
    """Draws a pull request with the whole object."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    action = dice.pick(_PULL_ACTIONS)
    thread = scene.world.thread(repo, dice, pull=True, opened=scene.now if action == "opened" else None)
    actor = thread.author if action != "closed" else scene.worker(repo)
    merged = actor if action == "closed" and dice.bits(2) else None
    state = "open" if action != "closed" else "closed" if merged is None else "merged"
    ending = objects.pull_request_sizes(thread, scene, merged)
    body = objects.pull_request(repo, thread, scene, state=state, ending=ending)
    payload = f'{{"action":"{action}","number":{thread.number},"pull_request":{body}}}'
    return Draft(actor, repo, payload, f"{_WEB}/{repo.full_name}/pull/{thread.number}")


def follow(scene: Scene) -> Draft:
    """Draws someone following someone else: in no repository."""
    target, actor = scene.actor(), scene.actor()
    payload = (
        f'{{"target":{{"id":{target.id},"login":"{target.login}","followers":{target.feature & 255},'
        f'"repos":{target.feature >> 8 & 63},"gravatar_id":"{target.gravatar}"}}}}'
    )
    return Draft(actor, None, payload, f"{_WEB}/{target.login}")


def gollum(scene: Scene) -> Draft:
    """Draws an edit of a wiki."""
    repo = scene.world.draw_known_repo(scene.dice)
    title = text.words(scene.dice, 2).title()
    url = f"{_WEB}/{repo.full_name}/wiki/{title.replace(' ', '-')}"
    payload = (
        f'{{"pages":[{{"page_name":"{title}","title":"{title}","summary":null,"action":"edited",'
        f'"sha":"{scene.dice.sha()}","html_url":"{url}"}}]}}'
    )
    return Draft(scene.worker(repo), repo, payload, url)


def commit_comment(scene: Scene) -> Draft:
    """Draws a comment on a commit, of which the payload holds only numbers."""
    repo, sha, comment = scene.world.draw_known_repo(scene.dice), scene.dice.sha(), _comment_number(scene)
    url = f"{_WEB}/{repo.full_name}/commit/{sha}#commitcomment-{comment}"
    return Draft(scene.worker(repo), repo, f'{{"commit":"{sha}","comment_id":{comment}}}', url)


def review_comment(scene: Scene) -> Draft:
    """Draws a comment on a line of a pull request."""
    repo, dice = scene.world.draw_known_repo(scene.dice), scene.dice
    thread = scene.world.thread(repo, dice, pull=True)
    by, sha, number = scene.worker(repo), dice.sha(), _comment_number(scene)
    page = f"{_WEB}/{repo.full_name}/pull/{thread.number}#discussion_r{number}"
    address = f"{_API}/repos/{repo.full_name}/pulls"
    payload = (
        f'{{"comment":{{"url":"{address}/comments/{number}","id":{number},"body":"{scene.paragraphs(2, 6)}",'
        f'"path":"{text.path(dice)}","position":{dice.octave(2, 7)},"original_position":{dice.octave(2, 7)},'
        f'"commit_id":"{sha}","original_commit_id":"{sha}","user":{objects.user(by, scene.detail)},'
        f'"created_at":"{scene.stamp}","updated_at":"{scene.stamp}","_links":{{"self":{{"href":"{address}/comments/{number}"}},'
        f'"html":{{"href":"{page}"}},"pull_request":{{"href":"{address}/{thread.number}"}}}}}}}}'
    )
    return Draft(by, repo, payload, page)


def delete(scene: Scene) -> Draft:
    """Draws the deletion of a branch; its page is the front page."""
    repo = scene.world.draw_repo(scene.dice)
    return Draft(scene.worker(repo), repo, f'{{"ref":"{text.branch(scene.dice)}","ref_type":"branch"}}', f"{_WEB}/")


def member(scene: Scene) -> Draft:
    """Draws someone being let into a repository."""
    repo, who = scene.world.draw_repo(scene.dice), scene.actor()
    return Draft(scene.worker(repo), repo, f'{{"member":{objects.user(who, scene.detail)},"action":"added"}}')


def gist(scene: Scene) -> Draft:
    """Draws a gist, a fifth of them anonymous."""
    number = 2_000_000 + (scene.now - eras.seconds(2012, 3, 10)) // 13 + scene.dice.below(64)
    url = f"https://gist.github.com/{number}"
    actor = scene.actor() if scene.dice.below(5) else None
    desc = scene.paragraphs(1, 3)
    return Draft(
        actor, None, f'{{"id":{number},"url":"{url}","name":"gist: {number}","desc":"{desc}","action":"create"}}', url
    )


def download(scene: Scene) -> Draft:
    """Draws a file being offered for download."""
    repo = scene.world.draw_known_repo(scene.dice)
    url = f"{_WEB}/downloads/{repo.full_name}/{repo.name}-{text.tag(scene.dice)}.tar.gz"
    return Draft(scene.worker(repo), repo, f'{{"id":{380_000 + scene.dice.below(9000)},"url":"{url}"}}', url)


def public(scene: Scene) -> Draft:
    """Draws a publication: at first with an empty payload, then null, then without the key."""
    repo = scene.world.draw_repo(scene.dice)
    return Draft(scene.worker(repo), repo, scene.dice.pick(("", "null", "{}")))


def release(scene: Scene) -> Draft:
    """Draws the publication of a release (since July 2013)."""
    repo = scene.world.draw_known_repo(scene.dice)
    by = scene.worker(repo)
    return Draft(by, repo, f'{{"action":"published","release":{objects.release(repo, by, scene)}}}')


def team_add(scene: Scene) -> Draft:
    """Draws a repository being given to a team of an organization."""
    repo, number = scene.world.draw_known_repo(scene.dice), 600_000 + scene.dice.below(90_000)
    name = scene.dice.pick(("Developers", "Core", "Owners", "Docs"))
    team = (
        f'{{"name":"{name}","id":{number},"slug":"{name.lower()}","permission":"push","url":"{_API}/teams/{number}",'
        f'"members_url":"{_API}/teams/{number}/members{{/member}}","repositories_url":"{_API}/teams/{number}/repos"}}'
    )
    return Draft(repo.owner, repo, f'{{"team":{team},"repository":{objects.repo(repo, scene)}}}')


def _comment_number(scene: Scene) -> int:
    return eras.COMMENT_IDS.at(scene.now) + scene.dice.below(2000)


MAKERS: Final[Mapping[str, Callable[[Scene], Draft]]] = {
    "PushEvent": push,
    "IssueCommentEvent": issue_comment,
    "CreateEvent": create,
    "IssuesEvent": issues,
    "WatchEvent": watch,
    "ForkEvent": fork,
    "PullRequestEvent": pull_request,
    "FollowEvent": follow,
    "GollumEvent": gollum,
    "CommitCommentEvent": commit_comment,
    "PullRequestReviewCommentEvent": review_comment,
    "DeleteEvent": delete,
    "MemberEvent": member,
    "GistEvent": gist,
    "DownloadEvent": download,
    "PublicEvent": public,
    "ReleaseEvent": release,
    "TeamAddEvent": team_add,
}
"""How an event of each type comes about."""

SHARES: Final[Mapping[str, int]] = {
    "PushEvent": 4449,
    "IssueCommentEvent": 1398,
    "CreateEvent": 966,
    "IssuesEvent": 904,
    "WatchEvent": 842,
    "ForkEvent": 403,
    "PullRequestEvent": 337,
    "FollowEvent": 213,
    "GollumEvent": 159,
    "CommitCommentEvent": 99,
    "PullRequestReviewCommentEvent": 88,
    "DeleteEvent": 69,
    "MemberEvent": 48,
    "GistEvent": 30,
    "DownloadEvent": 4,
    "PublicEvent": 6,
    "TeamAddEvent": 8,
}
"""Events of each type in ten thousand, as counted in 2013-02-15-0; the rare ones a little more often."""

_RELEASES_SINCE: Final = eras.seconds(2013, 7, 2)
_SHARE_OF_RELEASES: Final = 45


def shares_at(now: int) -> Mapping[str, int]:
    """Returns how many of ten thousand events are of each type: in July 2013 releases took the place of downloads."""
    if now < _RELEASES_SINCE:
        return SHARES
    kept = {kind: share for kind, share in SHARES.items() if kind not in ("DownloadEvent", "FollowEvent")}
    return {**kept, "ReleaseEvent": _SHARE_OF_RELEASES}
