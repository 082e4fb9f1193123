"""Eras C and D: the Events API's records, in full from 2015 and trimmed from October 2025."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from etl.practice import eras, objects, text
from etl.practice.entities import Account, Repo, Thread
from etl.practice.eras import Detail, Era
from etl.practice.event_context import Draft, Scene
from etl.practice.objects import flag, quoted

_API: Final = "https://api.github.com"
_WEB: Final = "https://github.com"
_EARLY_ACTIONS: Final = ("opened", "opened", "opened", "closed", "closed", "closed", "reopened")
_FULL_ACTIONS: Final = ("opened",) * 24 + ("closed",) * 24 + ("reopened",)
_TRIMMED_ACTIONS: Final = (
    ("opened",) * 16 + ("merged",) * 12 + ("closed",) * 5 + ("labeled",) * 6 + ("unlabeled", "assigned", "unassigned")
)
_SHOWN_COMMITS: Final = 20


def record(kind: str, draft: Draft, scene: Scene) -> str:
    """Writes an event of era C or D as one line of JSON."""
    actor, repo = draft.actor, draft.repo
    if actor is None or repo is None:
        raise ValueError(f"{kind} of this era needs an actor and a repository")
    shown = f'"display_login":"{actor.shown}",' if scene.now >= eras.DISPLAY_LOGIN else ""
    org = f',"org":{_account(repo.owner, "", "orgs")}' if repo.owner.kind == "Organization" else ""
    return (
        f'{{"id":"{scene.id}","type":"{kind}","actor":{_account(actor, shown, "users")},'
        f'"repo":{{"id":{repo.id},"name":"{repo.full_name}","url":"{_API}/repos/{repo.full_name}"}},'
        f'"payload":{draft.payload},"public":true,"created_at":"{scene.stamp}"{org}}}\n'
    )


def _account(account: Account, shown: str, kind: str) -> str:
    return (
        f'{{"id":{account.id},"login":"{account.login}",{shown}"gravatar_id":"","url":"{_API}/{kind}/{account.login}",'
        f'"avatar_url":"https://avatars.githubusercontent.com/u/{account.id}?"}}'
    )


def push(scene: Scene) -> Draft:
    """Draws a push: up to 20 of its commits in full until the trim, only their end points after."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    actor = scene.worker(repo)
    ref = f"refs/heads/{repo.branch if dice.bits(2) else text.branch(dice)}"
    number = eras.PUSH_IDS.at(scene.now) + dice.below(90_000)
    head, before = dice.sha(), dice.sha()
    where = f'"repository_id":{repo.id},' if scene.detail >= Detail.REACTIONS else ""
    if scene.era is Era.D:
        return Draft(actor, repo, f'{{{where}"push_id":{number},"ref":"{ref}","head":"{head}","before":"{before}"}}')
    size = scene.commit_count()
    shown = min(size, _SHOWN_COMMITS)
    commits = ",".join([_commit(scene, repo, actor, head if left == 1 else dice.sha()) for left in range(shown, 0, -1)])
    distinct = size if dice.bits(3) else size // 2
    payload = (
        f'{{{where}"push_id":{number},"size":{size},"distinct_size":{distinct},"ref":"{ref}","head":"{head}",'
        f'"before":"{before}","commits":[{commits}]}}'
    )
    return Draft(actor, repo, payload)


def _commit(scene: Scene, repo: Repo, actor: Account, sha: str) -> str:
    author = actor if scene.dice.bits(3) else scene.world.contributor(repo, scene.dice.below(9))
    return (
        f'{{"sha":"{sha}","author":{{"email":"{scene.email(author)}","name":"{author.name}"}},'
        f'"message":"{scene.message(author)}","distinct":{flag(scene.dice.bits(4))},'
        f'"url":"{_API}/repos/{repo.full_name}/commits/{sha}"}}'
    )


def create(scene: Scene) -> Draft:
    """Draws the creation of a repository, a branch or a tag."""
    dice, chance = scene.dice, scene.dice.below(100)
    made = scene.created_repo() if chance < 40 else None
    if made is not None:
        return Draft(made.owner, made, _created(scene, made, "repository", None))
    repo = scene.world.draw_repo(dice)
    kind, ref = (
        ("tag", text.tag(dice)) if chance > 92 else ("branch", text.branch(dice) if dice.bits(2) else repo.branch)
    )
    return Draft(scene.worker(repo, bots=1.6), repo, _created(scene, repo, kind, ref))


def _created(scene: Scene, repo: Repo, kind: str, ref: str | None) -> str:
    full = ""
    if scene.era is Era.D:
        place = {"branch": f"refs/heads/{ref}", "tag": f"refs/tags/{ref}"}.get(kind)
        full = f'"full_ref":{quoted(place)},'
    return (
        f'{{"ref":{quoted(ref)},"ref_type":"{kind}",{full}"master_branch":"{repo.branch}",'
        f'"description":{quoted(repo.description or None)},"pusher_type":"user"}}'
    )


def delete(scene: Scene) -> Draft:
    """Draws the deletion of a branch or a tag."""
    repo = scene.world.draw_repo(scene.dice)
    kind, place = ("tag", "tags") if scene.dice.bits(3) == 0 else ("branch", "heads")
    ref = text.branch(scene.dice)
    full = f'"full_ref":"refs/{place}/{ref}",' if scene.era is Era.D else ""
    payload = f'{{"ref":"{ref}","ref_type":"{kind}",{full}"pusher_type":"user"}}'
    return Draft(scene.worker(repo, bots=2.0), repo, payload)


def watch(scene: Scene) -> Draft:
    """Draws a star."""
    return Draft(scene.actor(bots=0.0), scene.world.draw_known_repo(scene.dice), '{"action":"started"}')


def fork(scene: Scene) -> Draft:
    """Draws a fork with the new repository in full."""
    repo, actor = scene.world.draw_known_repo(scene.dice), scene.actor(bots=0.0)
    made = objects.repo(scene.world.new_fork(repo, actor, scene.fork_number()), scene)
    head = '"action":"forked",' if scene.era is Era.D else ""
    return Draft(actor, repo, f'{{{head}"forkee":{made[:-1]},"public":true}}}}')


def issues(scene: Scene) -> Draft:
    """Draws an issue being opened, closed or reopened."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    action = dice.pick(_EARLY_ACTIONS)
    thread = scene.world.thread(repo, dice, pull=False, opened=scene.now if action == "opened" else None)
    actor = thread.author if action == "opened" else scene.worker(repo)
    issue = objects.issue(repo, thread, scene, closed=action == "closed")
    return Draft(actor, repo, f'{{"action":"{action}","issue":{issue}}}')


def issue_comment(scene: Scene) -> Draft:
    """Draws a comment on an issue or on a pull request."""
    dice, repo = scene.dice, scene.world.draw_known_repo(scene.dice)
    thread = scene.world.thread(repo, dice, pull=dice.bits(1) == 1)
    by = scene.worker(repo, bots=2.0)
    address = f"{_API}/repos/{repo.full_name}/issues"
    page = f"{_WEB}/{repo.full_name}/{'pull' if thread.number % 2 == 0 else 'issues'}/{thread.number}#issuecomment-"
    extra = f'"issue_url":"{address}/{thread.number}",'
    comment = objects.comment(scene, by, f"{address}/comments", page, extra)
    issue = objects.issue(repo, thread, scene, closed=dice.bits(2) == 0)
    return Draft(by, repo, f'{{"action":"created","issue":{issue},"comment":{comment}}}')


def pull_request(scene: Scene) -> Draft:
    """Draws a pull request being opened, closed, merged and so on."""
    dice, repo = scene.dice, scene.world.draw_repo(scene.dice)
    action = dice.pick(_TRIMMED_ACTIONS if scene.now >= eras.MERGED_ACTION else _FULL_ACTIONS)
    thread = scene.world.thread(repo, dice, pull=True, opened=scene.now if action == "opened" else None)
    actor = thread.author if action == "opened" else scene.worker(repo, bots=1.2)
    if scene.era is Era.D:
        body, extra = objects.short_pull_request(repo, thread, scene), _acted_on(action, thread, actor, scene)
    else:
        merged = actor if action == "closed" and dice.below(4) else None
        state = "open" if action != "closed" else "closed" if merged is None else "merged"
        ending = objects.pull_request_sizes(thread, scene, merged)
        body, extra = objects.pull_request(repo, thread, scene, state=state, ending=ending), ""
    return Draft(actor, repo, f'{{"action":"{action}","number":{thread.number},"pull_request":{body}{extra}}}')


def _acted_on(action: str, thread: Thread, actor: Account, scene: Scene) -> str:
    if action in ("labeled", "unlabeled"):
        return f',"label":{{"id":{thread.id // 7},"name":"bug","color":"d73a4a"}}'
    if action in ("assigned", "unassigned"):
        return f',"assignee":{objects.user(actor, scene.detail)}'
    return ""


def _reviewed(scene: Scene) -> tuple[Repo, Thread, Account, str]:
    dice, repo = scene.dice, scene.world.draw_known_repo(scene.dice)
    thread = scene.world.thread(repo, dice, pull=True)
    if scene.era is Era.D:
        body = objects.short_pull_request(repo, thread, scene)
    else:
        body = objects.pull_request(repo, thread, scene, state="open", ending="")
    return repo, thread, scene.worker(repo, bots=0.8), body


def review(scene: Scene) -> Draft:
    """Draws a review of a pull request."""
    repo, thread, by, pull = _reviewed(scene)
    dice = scene.dice
    number = eras.THREAD_IDS.at(scene.now) + dice.below(20_000)
    page = f"{_WEB}/{repo.full_name}/pull/{thread.number}#pullrequestreview-{number}"
    behind = f"{_API}/repos/{repo.full_name}/pulls/{thread.number}"
    body = "null" if dice.bits(1) else f'"{scene.paragraphs(2, 6)}"'
    written = (
        f'{{"id":{number},"user":{objects.user(by, scene.detail)},"body":{body},"commit_id":"{dice.sha()}",'
        f'"submitted_at":"{scene.stamp}","state":"{dice.pick(("approved", "commented", "changes_requested"))}",'
        f'"html_url":"{page}","pull_request_url":"{behind}",{objects.association(scene)}'
        f'"_links":{{"html":{{"href":"{page}"}},"pull_request":{{"href":"{behind}"}}}}}}'
    )
    return Draft(by, repo, f'{{"action":"created","review":{written},"pull_request":{pull}}}')


def review_comment(scene: Scene) -> Draft:
    """Draws a comment on a line of a pull request."""
    repo, thread, by, pull = _reviewed(scene)
    dice = scene.dice
    behind = f"{_API}/repos/{repo.full_name}/pulls/{thread.number}"
    name = text.words(dice, 2, joint="_")
    hunk = rf"@@ -{dice.below(90)},7 +{dice.below(90)},9 @@ def {name}():\n-\t{scene.paragraphs(1, 4)}"
    extra = (
        f'"diff_hunk":"{hunk}","path":"{text.path(dice)}","position":{dice.octave(2, 7)},"original_position":null,'
        f'"commit_id":"{dice.sha()}","original_commit_id":"{dice.sha()}","pull_request_url":"{behind}",'
    )
    page = f"{_WEB}/{repo.full_name}/pull/{thread.number}#discussion_r"
    comment = objects.comment(scene, by, f"{_API}/repos/{repo.full_name}/pulls/comments", page, extra)
    return Draft(by, repo, f'{{"action":"created","comment":{comment},"pull_request":{pull}}}')


def commit_comment(scene: Scene) -> Draft:
    """Draws a comment on a commit."""
    repo = scene.world.draw_known_repo(scene.dice)
    by, sha = scene.worker(repo), scene.dice.sha()
    extra = f'"position":null,"line":null,"path":null,"commit_id":"{sha}",'
    page = f"{_WEB}/{repo.full_name}/commit/{sha}#commitcomment-"
    comment = objects.comment(scene, by, f"{_API}/repos/{repo.full_name}/comments", page, extra)
    head = '"action":"created",' if scene.detail >= Detail.NODES else ""
    return Draft(by, repo, f'{{{head}"comment":{comment}}}')


def gollum(scene: Scene) -> Draft:
    """Draws an edit of a wiki."""
    repo = scene.world.draw_known_repo(scene.dice)
    pages = ",".join([_page(scene, repo) for _ in range(1 + scene.dice.octave(0, 2))])
    return Draft(scene.worker(repo, bots=0.1), repo, f'{{"pages":[{pages}]}}')


def _page(scene: Scene, repo: Repo) -> str:
    name = text.words(scene.dice, 2, joint="-").title()
    return (
        f'{{"page_name":"{name}","title":"{name.replace("-", " ")}","summary":null,'
        f'"action":"{scene.dice.pick(("created", "edited", "edited"))}","sha":"{scene.dice.sha()}",'
        f'"html_url":"{_WEB}/{repo.full_name}/wiki/{name}"}}'
    )


def release(scene: Scene) -> Draft:
    """Draws the publication of a release."""
    repo = scene.world.draw_known_repo(scene.dice)
    by = scene.worker(repo, bots=2.0)
    return Draft(by, repo, f'{{"action":"published","release":{objects.release(repo, by, scene)}}}')


def member(scene: Scene) -> Draft:
    """Draws someone being let into a repository."""
    repo, who = scene.world.draw_repo(scene.dice), scene.actor(bots=0.0)
    return Draft(scene.worker(repo, bots=0.0), repo, f'{{"member":{objects.user(who, scene.detail)},"action":"added"}}')


def public(scene: Scene) -> Draft:
    """Draws a repository being opened to the public."""
    repo = scene.world.draw_repo(scene.dice)
    return Draft(scene.worker(repo, bots=0.0), repo, "{}")


def discussion(scene: Scene) -> Draft:
    """Draws the start of a discussion."""
    repo = scene.world.draw_known_repo(scene.dice)
    thread = scene.world.thread(repo, scene.dice, pull=False, opened=scene.now)
    page = f"{_WEB}/{repo.full_name}/discussions/{thread.number}"
    payload = (
        f'{{"action":"created","discussion":{{"repository_url":"{_API}/repos/{repo.full_name}","html_url":"{page}",'
        f'"id":{thread.id // 300},"number":{thread.number},"title":"{thread.title}",'
        f'"user":{objects.user(thread.author, scene.detail)},"state":"open","comments":0,"created_at":"{scene.stamp}",'
        f'"updated_at":"{scene.stamp}","body":"{scene.paragraphs(3, 6)}"}}}}'
    )
    return Draft(thread.author, repo, payload)


MAKERS: Final[Mapping[str, Callable[[Scene], Draft]]] = {
    "PushEvent": push,
    "CreateEvent": create,
    "PullRequestEvent": pull_request,
    "IssueCommentEvent": issue_comment,
    "WatchEvent": watch,
    "DeleteEvent": delete,
    "PullRequestReviewEvent": review,
    "PullRequestReviewCommentEvent": review_comment,
    "IssuesEvent": issues,
    "ForkEvent": fork,
    "ReleaseEvent": release,
    "CommitCommentEvent": commit_comment,
    "GollumEvent": gollum,
    "MemberEvent": member,
    "PublicEvent": public,
    "DiscussionEvent": discussion,
}
"""How an event of each type comes about."""

SHARES_2015: Final[Mapping[str, int]] = {
    "PushEvent": 5123,
    "CreateEvent": 1296,
    "WatchEvent": 1084,
    "IssueCommentEvent": 744,
    "IssuesEvent": 480,
    "PullRequestEvent": 418,
    "ForkEvent": 313,
    "DeleteEvent": 229,
    "PullRequestReviewCommentEvent": 120,
    "CommitCommentEvent": 64,
    "GollumEvent": 54,
    "ReleaseEvent": 53,
    "MemberEvent": 22,
    "PublicEvent": 2,
}
"""Events of each type in ten thousand, as counted in 2015-01-01-15."""

SHARES_2024: Final[Mapping[str, int]] = {
    "PushEvent": 6380,
    "CreateEvent": 1390,
    "PullRequestEvent": 445,
    "IssueCommentEvent": 440,
    "WatchEvent": 420,
    "DeleteEvent": 310,
    "PullRequestReviewEvent": 120,
    "PullRequestReviewCommentEvent": 80,
    "IssuesEvent": 170,
    "ForkEvent": 110,
    "ReleaseEvent": 50,
    "CommitCommentEvent": 15,
    "GollumEvent": 12,
    "MemberEvent": 16,
    "PublicEvent": 11,
    "DiscussionEvent": 6,
}
"""Events of each type in ten thousand, of the size of 2024."""


def shares_at(now: int) -> Mapping[str, int]:
    """Returns how many of ten thousand events are of each type: reviews came in 2020, discussions in 2024."""
    if now < eras.seconds(2018, 1, 1):
        return SHARES_2015
    too_new = {
        "PullRequestReviewEvent": eras.seconds(2020, 9, 1),
        "DiscussionEvent": eras.seconds(2024, 1, 1),
    }
    return {kind: share for kind, share in SHARES_2024.items() if now >= too_new.get(kind, 0)}
