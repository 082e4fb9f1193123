"""The nested objects of payloads: users, repositories, issues and pull requests, as the API wrote them then.

An object of the API is nearly all addresses that repeat one name. So its template is kept cut at the name,
and ``name.join(pieces)`` writes it at once.
"""

from __future__ import annotations

from base64 import b64encode
from typing import Final

from etl.practice import eras, text
from etl.practice.entities import Account, Repo, Thread
from etl.practice.eras import Detail
from etl.practice.event_context import Scene

_API: Final = "https://api.github.com"
_WEB: Final = "https://github.com"
_NAME: Final = "\0"

_USER_ADDRESSES: Final = (
    f'"followers_url":"{_API}/users/\0/followers","following_url":"{_API}/users/\0/following{{/other_user}}",'
    f'"gists_url":"{_API}/users/\0/gists{{/gist_id}}","starred_url":"{_API}/users/\0/starred{{/owner}}{{/repo}}",'
    f'"subscriptions_url":"{_API}/users/\0/subscriptions","organizations_url":"{_API}/users/\0/orgs",'
    f'"repos_url":"{_API}/users/\0/repos","events_url":"{_API}/users/\0/events{{/privacy}}",'
    f'"received_events_url":"{_API}/users/\0/received_events"'
).split(_NAME)

_REPO_PATHS: Final = (
    "forks:/forks keys:/keys{/key_id} collaborators:/collaborators{/collaborator} teams:/teams hooks:/hooks"
    " issue_events:/issues/events{/number} events:/events assignees:/assignees{/user} branches:/branches{/branch}"
    " tags:/tags blobs:/git/blobs{/sha} git_tags:/git/tags{/sha} git_refs:/git/refs{/sha} trees:/git/trees{/sha}"
    " statuses:/statuses/{sha} languages:/languages stargazers:/stargazers contributors:/contributors"
    " subscribers:/subscribers subscription:/subscription commits:/commits{/sha} git_commits:/git/commits{/sha}"
    " comments:/comments{/number} issue_comment:/issues/comments{/number} contents:/contents/{+path}"
    " compare:/compare/{base}...{head} merges:/merges archive:/{archive_format}{/ref} downloads:/downloads"
    " issues:/issues{/number} pulls:/pulls{/number} milestones:/milestones{/number}"
    " notifications:/notifications{?since,all,participating} labels:/labels{/name}"
).split()


def _repo_addresses(detail: Detail) -> list[str]:
    paths = list(_REPO_PATHS)
    if detail >= Detail.EARLY:
        paths.append("releases:/releases{/id}")
    if detail >= Detail.NODES:
        paths.append("deployments:/deployments")
    pairs = (path.split(":", 1) for path in paths)
    addresses = ",".join(f'"{key}_url":"{_API}/repos/\0{path}"' for key, path in pairs)
    return f'"url":"{_API}/repos/\0",{addresses}'.split(_NAME)


_REPO_ADDRESSES: Final = {detail: _repo_addresses(detail) for detail in Detail}
_CLONES: Final = (
    f'"git_url":"git://github.com/\0.git","ssh_url":"git@github.com:\0.git","clone_url":"{_WEB}/\0.git","svn_url":"{_WEB}/\0"'
).split(_NAME)
_REACTIONS: Final = '"total_count":0,"+1":0,"-1":0,"laugh":0,"hooray":0,"confused":0,"heart":0,"rocket":0,"eyes":0}'
_LABELS: Final = (
    ("bug", "d73a4a"),
    ("enhancement", "a2eeef"),
    ("good first issue", "7057ff"),
    ("dependencies", "0366d6"),
    ("needs: triage 🔎", "ededed"),
)
_ASSOCIATIONS: Final = ("NONE", "NONE", "CONTRIBUTOR", "CONTRIBUTOR", "COLLABORATOR", "MEMBER", "OWNER")
_OLD_IMAGE: Final = "https%3A%2F%2Fa248.e.akamai.net%2Fassets.github.com%2Fimages%2Fgravatars%2Fgravatar-user-420.png"


def quoted(value: str | None) -> str:
    """Writes an already escaped text, or null."""
    return "null" if value is None else f'"{value}"'


def flag(value: object) -> str:
    """Writes a truth."""
    return "true" if value else "false"


def _node(detail: Detail, kind: str, number: int) -> str:
    if detail < Detail.NODES:
        return ""
    coded = b64encode(f"{len(kind):02}:{kind}{number}".encode()).decode()
    return f'"node_id":"{coded}",'


def user(account: Account, detail: Detail) -> str:
    """Writes a user object, about 1 kB."""
    path = account.path
    if detail is Detail.TIMELINE:
        picture = f"https://secure.gravatar.com/avatar/{account.gravatar}?d={_OLD_IMAGE}"
        return (
            f'{{"login":"{account.login}","id":{account.id},"avatar_url":"{picture}","gravatar_id":"{account.gravatar}",'
            f'"url":"{_API}/users/{path}",{path.join(_USER_ADDRESSES)},"type":"{account.kind}"}}'
        )
    version = 3 if detail is Detail.EARLY else 4
    view = '"user_view_type":"public",' if detail is Detail.TRIMMED else ""
    return (
        f'{{"login":"{account.login}","id":{account.id},{_node(detail, account.kind, account.id)}'
        f'"avatar_url":"https://avatars.githubusercontent.com/u/{account.id}?v={version}","gravatar_id":"",'
        f'"url":"{_API}/users/{path}","html_url":"{_WEB}/{account.page}",{path.join(_USER_ADDRESSES)},'
        f'"type":"{account.kind}",{view}"site_admin":false}}'
    )


def repo(repo: Repo, scene: Scene) -> str:
    """Writes a repository object, about 5 kB."""
    detail, full = scene.detail, repo.full_name
    owner, private = f'"owner":{user(repo.owner, detail)},', '"private":false,'
    first, second = (private, owner) if detail >= Detail.NODES else (owner, private)
    return (
        f'{{"id":{repo.id},{_node(detail, "Repository", repo.id)}"name":"{repo.name}",'
        f'"full_name":"{full}",{first}{second}'
        f'"html_url":"{_WEB}/{full}","description":{quoted(repo.description or None)},"fork":{flag(repo.fork)},'
        f'{full.join(_REPO_ADDRESSES[detail])},"created_at":"{eras.zulu(repo.born)}","updated_at":"{scene.stamp}",'
        f'"pushed_at":"{scene.stamp}",{full.join(_CLONES)},"homepage":{quoted(repo.homepage or None)},'
        f'"size":{repo.size},'
        f"{_repo_counts(repo, detail)}"
    )


def _repo_counts(repo: Repo, detail: Detail) -> str:
    stars, forks, issues = repo.stars, repo.stars // 6, repo.stars // 40
    head = f'"stargazers_count":{stars},' if detail >= Detail.EARLY else ""
    has = '"has_issues":true,'
    if detail >= Detail.NODES:
        has += '"has_projects":true,'
    has += '"has_downloads":true,"has_wiki":true,'
    if detail >= Detail.EARLY:
        has += '"has_pages":false,'
    if detail >= Detail.REACTIONS:
        has += f'"has_discussions":{flag(stars > 900)},'
    more = _repo_terms(repo, detail)
    tail = f'"forks":{forks},"open_issues":{issues},"watchers":{stars},"default_branch":"{repo.branch}"}}'
    if detail is Detail.TIMELINE:
        tail = tail.replace('"default_branch"', f'"master_branch":"{repo.branch}","default_branch"')
    archived = '"archived":false,"disabled":false,' if detail >= Detail.NODES else ""
    return (
        f'{head}"watchers_count":{stars},"language":{quoted(repo.language)},{has}"forks_count":{forks},'
        f'"mirror_url":null,{archived}"open_issues_count":{issues},{more}{tail}'
    )


def _repo_terms(repo: Repo, detail: Detail) -> str:
    if detail < Detail.NODES:
        return ""
    terms = "null"
    if repo.license is not None:
        key, name, spdx = repo.license
        node = _node(detail, "License", len(key))
        terms = f'{{"key":"{key}","name":"{name}","spdx_id":"{spdx}","url":"{_API}/licenses/{key}",{node[:-1]}}}'
    if detail is Detail.NODES:
        return f'"license":{terms},'
    topics = ",".join(f'"{part}"' for part in repo.name.split("-")[: repo.feature >> 7 & 3]) if repo.stars > 8 else ""
    return (
        f'"license":{terms},"allow_forking":true,"is_template":false,"web_commit_signoff_required":false,'
        f'"topics":[{topics}],"visibility":"public",'
    )


def reactions(address: str, detail: Detail) -> str:
    """Writes a key ``reactions`` with a comma before it; nothing before there were any."""
    return f',"reactions":{{"url":"{address}/reactions",{_REACTIONS}' if detail >= Detail.REACTIONS else ""


def association(scene: Scene) -> str:
    """Writes a key ``author_association`` and a comma; nothing before 2018 and after the trim."""
    if scene.detail not in (Detail.NODES, Detail.REACTIONS):
        return ""
    return f'"author_association":"{scene.dice.pick(_ASSOCIATIONS)}",'


def labels(repo: Repo, thread: Thread, detail: Detail) -> str:
    """Writes the list of a thread's labels."""
    count = (0, 0, 0, 0, 1, 1, 2, 3)[thread.feature & 7]
    written = []
    for position in range(count):
        name, color = _LABELS[(thread.feature + position) % len(_LABELS)]
        path = name.replace(" ", "%20").replace("🔎", "%F0%9F%94%8E")
        number = repo.id * 8 + position
        node = _node(detail, "Label", number)
        head = f'"id":{number},{node}' if node else ""
        tail = f',"default":{flag(position == 0)},"description":null' if node else ""
        written.append(
            f'{{{head}"url":"{_API}/repos/{repo.full_name}/labels/{path}","name":"{name}","color":"{color}"{tail}}}'
        )
    return f"[{','.join(written)}]"


def issue(repo: Repo, thread: Thread, scene: Scene, *, closed: bool) -> str:
    """Writes an issue object; for a pull request, the issue that stands behind it."""
    detail, pull = scene.detail, thread.number % 2 == 0
    address = f"{_API}/repos/{repo.full_name}/issues/{thread.number}"
    page = f"{_WEB}/{repo.full_name}/{'pull' if pull else 'issues'}/{thread.number}"
    above = f'"repository_url":"{_API}/repos/{repo.full_name}",' if detail >= Detail.NODES else ""
    assignees = '"assignees":[],' if detail >= Detail.NODES else ""
    reason = ""
    if detail >= Detail.REACTIONS:
        state = '"completed"' if closed and not pull else "null"
        reason = f',"timeline_url":"{address}/timeline","performed_via_github_app":null,"state_reason":{state}'
    behind = f"{_API}/repos/{repo.full_name}/pulls/{thread.number}"
    link = (
        f'"draft":false,"pull_request":{{"url":"{behind}","html_url":"{page}","diff_url":"{page}.diff",'
        f'"patch_url":"{page}.patch","merged_at":null}},'
    )
    return (
        f'{{"url":"{address}",{above}"labels_url":"{address}/labels{{/name}}","comments_url":"{address}/comments",'
        f'"events_url":"{address}/events","html_url":"{page}","id":{thread.id},{_node(detail, "Issue", thread.id)}'
        f'"number":{thread.number},"title":"{thread.title}","user":{user(thread.author, detail)},'
        f'"labels":{labels(repo, thread, detail)},"state":"{"closed" if closed else "open"}","locked":false,'
        f'"assignee":null,{assignees}"milestone":null,"comments":{thread.feature >> 50 & 15},'
        f'"created_at":"{eras.zulu(thread.created)}","updated_at":"{scene.stamp}",'
        f'"closed_at":{quoted(scene.stamp if closed else None)},'
        f"{association(scene)}{_lock(detail)}{link if pull else ''}"
        f'"body":{_thread_body(thread)}{reactions(address, detail)}{reason}}}'
    )


def _lock(detail: Detail) -> str:
    if detail < Detail.REACTIONS:
        return ""
    return ('"type":null,' if detail is Detail.TRIMMED else "") + '"active_lock_reason":null,'


def _thread_body(thread: Thread) -> str:
    """Writes the first message of a thread, the same each time, by a chain of its own."""
    if thread.feature % 11 == 0:
        return "null"
    pool, state = text.phrases(), thread.feature
    length = 4 << (state >> 33) % 5
    if thread.author.kind == "Bot":
        length *= 2
    chosen = []
    for _ in range(length + (state & 3)):
        state = (state * 6364136223846793005 + 1442695040888963407) & 0xFFFFFFFFFFFFFFFF
        chosen.append(pool[state >> 64 - text.PHRASE_BITS])
    return f'"{" ".join(chosen)}"'


def pull_request(repo_: Repo, thread: Thread, scene: Scene, *, state: str, ending: str) -> str:
    """Writes a full pull request object, 15 to 20 kB.

    Args:
        repo_: Where it is meant to go.
        thread: Its number, title and author.
        scene: The event's stage.
        state: ``open``, ``closed`` or ``merged``.
        ending: Further keys, with a comma before the first.
    """
    dice, detail, full = scene.dice, scene.detail, repo_.full_name
    address, page = f"{_API}/repos/{full}/pulls/{thread.number}", f"{_WEB}/{full}/pull/{thread.number}"
    behind = f"{_API}/repos/{full}/issues/{thread.number}"
    sha = dice.sha()
    status = f"{_API}/repos/{full}/statuses/{sha}"
    review = f"{_API}/repos/{full}/pulls/comments{{/number}}"
    closed = quoted(scene.stamp if state != "open" else None)
    merged = quoted(scene.stamp if state == "merged" else None)
    more = '"assignees":[],"requested_reviewers":[],"requested_teams":[],' if detail >= Detail.NODES else ""
    if detail >= Detail.NODES:
        more += f'"labels":{labels(repo_, thread, detail)},'
    draft = f'"draft":{flag(thread.feature >> 13 & 15 == 0)},' if detail >= Detail.REACTIONS else ""
    lock = '"locked":false,' if detail >= Detail.EARLY else ""
    after = (
        '"auto_merge":null,"active_lock_reason":null'
        if detail >= Detail.REACTIONS
        else '"merged":' + flag(state == "merged")
    )
    return (
        f'{{"url":"{address}","id":{thread.id},{_node(detail, "PullRequest", thread.id)}"html_url":"{page}",'
        f'"diff_url":"{page}.diff","patch_url":"{page}.patch","issue_url":"{behind}","number":{thread.number},'
        f'"state":"{"open" if state == "open" else "closed"}",{lock}"title":"{thread.title}",'
        f'"user":{user(thread.author, detail)},"body":{_thread_body(thread)},'
        f'"created_at":"{eras.zulu(thread.created)}",'
        f'"updated_at":"{scene.stamp}","closed_at":{closed},"merged_at":{merged},"merge_commit_sha":"{dice.sha()}",'
        f'"assignee":null,{more}"milestone":null,{draft}"commits_url":"{address}/commits",'
        f'"review_comments_url":"{address}/comments","review_comment_url":"{review}","comments_url":"{behind}/comments",'
        f'"statuses_url":"{status}","head":{_side(_head_repo(repo_, thread), text.branch(dice), sha, scene)},'
        f'"base":{_side(repo_, repo_.branch, dice.sha(), scene)},"_links":{{"self":{{"href":"{address}"}},'
        f'"html":{{"href":"{page}"}},"issue":{{"href":"{behind}"}},"comments":{{"href":"{behind}/comments"}},'
        f'"review_comments":{{"href":"{address}/comments"}},"review_comment":{{"href":"{review}"}},'
        f'"commits":{{"href":"{address}/commits"}},"statuses":{{"href":"{status}"}}}},{association(scene)}{after}{ending}}}'
    )


def _head_repo(base: Repo, thread: Thread) -> Repo | None:
    """A third of the pull requests come from a branch of the repository itself, some from a fork since deleted."""
    origin = thread.feature >> 17 & 7
    if origin == 7:
        return None
    if origin < 4 or thread.author.kind == "Bot":
        return base
    number = base.id ^ (thread.author.id & 0xFFFF) << 3 | 1
    by = thread.author
    return Repo(
        number, by, base.name, f"{by.login}/{base.name}", thread.feature, base.born, 0, base.description, fork=True
    )


def _side(repo_: Repo | None, ref: str, sha: str, scene: Scene) -> str:
    if repo_ is None:
        return f'{{"label":"unknown repository","ref":"{ref}","sha":"{sha}","user":null,"repo":null}}'
    return (
        f'{{"label":"{repo_.owner.login}:{ref}","ref":"{ref}","sha":"{sha}","user":{user(repo_.owner, scene.detail)},'
        f'"repo":{repo(repo_, scene)}}}'
    )


def pull_request_sizes(thread: Thread, scene: Scene, merged: Account | None) -> str:
    """Writes the counts at the end of a pull request event's object, with a comma before the first."""
    dice, detail = scene.dice, scene.detail
    by = "null" if merged is None else user(merged, detail)
    first = f',"merged":{flag(merged)}' if detail >= Detail.REACTIONS else ""
    rebase = '"rebaseable":null,' if detail >= Detail.REACTIONS else ""
    modify = '"maintainer_can_modify":false,' if detail >= Detail.NODES else ""
    return (
        f'{first},"mergeable":null,{rebase}"mergeable_state":"unknown","merged_by":{by},'
        f'"comments":{thread.feature >> 50 & 15},"review_comments":{thread.feature >> 54 & 7},{modify}'
        f'"commits":{1 + dice.octave(0, 5)},"additions":{dice.octave(2, 12)},"deletions":{dice.octave(1, 11)},'
        f'"changed_files":{1 + dice.octave(1, 6)}'
    )


def short_pull_request(repo_: Repo, thread: Thread, scene: Scene) -> str:
    """Writes what the trim of October 2025 left of a pull request: url, id, number, head and base."""
    dice = scene.dice
    head = _head_repo(repo_, thread) or repo_
    return (
        f'{{"url":"{_API}/repos/{repo_.full_name}/pulls/{thread.number}","id":{thread.id},"number":{thread.number},'
        f'"head":{_short_side(head, text.branch(dice), dice.sha())},'
        f'"base":{_short_side(repo_, repo_.branch, dice.sha())}}}'
    )


def _short_side(repo_: Repo, ref: str, sha: str) -> str:
    place = f'{{"id":{repo_.id},"url":"{_API}/repos/{repo_.full_name}","name":"{repo_.name}"}}'
    return f'{{"ref":"{ref}","sha":"{sha}","repo":{place}}}'


def comment(scene: Scene, by: Account, address: str, page: str, extra: str) -> str:
    """Writes a comment on an issue, a commit or a pull request.

    Args:
        scene: The event's stage.
        by: Who wrote it.
        address: The API's address of all comments of this kind, without the number.
        page: The page it stands on, up to its number.
        extra: Keys of its kind, with a comma after each.
    """
    number = eras.COMMENT_IDS.at(scene.now) + scene.dice.below(40_000)
    detail = scene.detail
    app = ',"performed_via_github_app":null' if detail >= Detail.REACTIONS else ""
    body = scene.paragraphs(5, 8) if by.kind == "Bot" else scene.paragraphs(2, 7)
    return (
        f'{{"url":"{address}/{number}","html_url":"{page}{number}",{extra}"id":{number},'
        f"{_node(detail, 'Comment', number)}"
        f'"user":{user(by, detail)},"created_at":"{scene.stamp}","updated_at":"{scene.stamp}",{association(scene)}'
        f'"body":"{body}"{reactions(f"{address}/{number}", detail)}{app}}}'
    )


def release(repo_: Repo, by: Account, scene: Scene) -> str:
    """Writes a release object; a quarter of them carry a file."""
    number = eras.COMMENT_IDS.at(scene.now) // 9 + scene.dice.below(900)
    version, detail = text.tag(scene.dice), scene.detail
    address = f"{_API}/repos/{repo_.full_name}/releases"
    asset = f"{repo_.name}-{version}.zip"
    file = (
        f'{{"url":"{address}/assets/{number * 3}","id":{number * 3},"name":"{asset}","label":null,'
        f'"uploader":{user(by, detail)},"content_type":"application/zip","state":"uploaded",'
        f'"size":{scene.dice.octave(10, 26)},"download_count":0,"created_at":"{scene.stamp}",'
        f'"updated_at":"{scene.stamp}",'
        f'"browser_download_url":"{_WEB}/{repo_.full_name}/releases/download/{version}/{asset}"}}'
    )
    return (
        f'{{"url":"{address}/{number}","assets_url":"{address}/{number}/assets",'
        f'"upload_url":"https://uploads.github.com/repos/{repo_.full_name}/releases/{number}/assets{{?name,label}}",'
        f'"html_url":"{_WEB}/{repo_.full_name}/releases/tag/{version}","id":{number},"author":{user(by, detail)},'
        f'{_node(detail, "Release", number)}"tag_name":"{version}","target_commitish":"{repo_.branch}",'
        f'"name":"{version}",'
        f'"draft":false,"prerelease":{flag(number % 7 == 0)},"created_at":"{scene.stamp}",'
        f'"published_at":"{scene.stamp}",'
        f'"assets":[{file if number % 4 == 0 else ""}],'
        f'"tarball_url":"{_API}/repos/{repo_.full_name}/tarball/{version}",'
        f'"zipball_url":"{_API}/repos/{repo_.full_name}/zipball/{version}","body":"{scene.paragraphs(2, 7)}"}}'
    )
