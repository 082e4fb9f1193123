"""Made-up words, sentences and commit messages, as JSON string contents (escapes already in place).

Sentences are strung together from a fixed pool of short phrases. The pool is large enough that a compressor
finds in them about what it finds in English, and a draw costs one look-up.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from etl.practice.rng import Dice, fingerprint

WORDS: Final = tuple(
    """able about accept access account across action active adapter add address admin after again agent align all
    allow alpha also always amount and animation any apply archive argument array arrow aspect assert asset async atlas
    attach audit author auto avoid away back badge balance banner base basic batch beacon before begin behaviour below
    bench better between binary binding blank block board body border both bottom bounds branch break bridge brief bring
    broken browser bucket buffer build bump bundle button byte cache call canvas capture card careful case catch center
    chain change channel char chart check child chunk circle clean clear click client clock clone close cloud cluster
    code collapse collect color column command comment commit common compare compile complete component compress config
    confirm connect console constant contain content context continue control convert copper copy core correct count
    cover crash create cross current cursor custom cycle daemon dark dash data debug decode deep default defer define
    delay delete delta demo depend deploy depth derive desktop detail detect device diff digest direct disable disk
    display docs document domain done double down draft drag drain drift drive drop during early echo edge edit effect
    either element else embed emit empty enable encode end engine ensure enter entry enum error escape even event every
    exact example except exchange execute exist expand expect explain export expose extend extra fail fallback false
    fast feature fetch field file fill filter final find first fixture flag flaky flat flow flush focus folder follow
    font force fork form format forward found frame free fresh from front full function future garden gate gateway
    generate getter given glass global graph green grid group guard guide handle harbor hard hash header heap height
    help here hidden high hint history hold home hook host hour icon idea idle ignore image import improve include index
    indent info init inline inner input insert inside install instance instead into invalid issue item iterate javelin
    join jump just keep kernel key kind label lantern large last late layer layout lazy leak left legacy length less
    level library light limit line link linter list listen little load local lock log logic long look loop lower machine
    macro main make manager many map mark marker mask match matrix maybe measure media member memory menu merge message
    meta method metric middle migrate minor mirror missing mobile mock mode model module monitor more mount mouse move
    much mutex name native near nested never next night node noise none normal note nothing notice null number object
    offset often old only open option orbit order other outer output over owner pack package page pager panel paper
    param parent parse part pass patch path pattern pause peer pending perform phase pick pipe pixel place plain plan
    plugin point policy poll pool port possible prefix prepare present press prevent preview print private probe process
    profile progress project promise prompt proper protocol proxy public pull pulse pump purge push quartz query queue
    quick quiet quote race radar random range rate raw reach read ready real reason receive recent record recover redo
    reduce refactor reference refresh register release reload remote remove rename render repeat replace reply report
    request require reset resize resolve resource response rest restart result retry return reuse review revert right
    river root rotate round route row rule run runner runtime safe same sample save scale scan schema scope screen
    script scroll search second secret section seed select send sensor serial series server service session setting
    setup shadow shape share sheet shell shift short should show side signal silent silver simple since single size
    skeleton skip slice slot slow small smart snapshot socket solve some sort source space spark spawn spec speed spin
    split stable stack stage stale standard start state static status step still stop storage store stream strict string
    strip struct style subject submit such suite super support sure suspend swap switch symbol sync syntax system table
    target task team template tensor term test text than that theme then there thin this thread through throw ticket
    tidy time tiny title toggle token tool tooltip top topic total touch trace track trail transform tree trigger trim
    true try tune turn type under undo union unique unit unless until unused update upgrade upload upper usage use user
    utility valid value variable vector verify version very view visible visit voice volume wait walk warm warning
    watch water wave web weight were when where which while wide widget width wild will window wire with without word
    work worker wrap write wrong yield zero zone""".split()
)
"""Ordinary words of the trade, in alphabetical order."""

_FOREIGN: Final = (
    "修复了一个问题",
    "添加测试用例",
    "更新文档和示例",
    "バグを修正しました",
    "ドキュメントを更新",
    "버그 수정",
    "исправлена ошибка",
    "обновить зависимости",
    "größere Änderung",
    "déjà corrigé",
    "corrección de señales",
    "não é necessário",
    "اصلاح خطا",
    "🎉",
    "🚀 ship it",
    "🐛 fix",
    "✨",
    "👍🏽",
    "✅ done",
    "→",
    "“quoted”",
    "café",
)
_MARKUP: Final = (
    r"\u003cdetails\u003e",
    r"\u003c/details\u003e",
    r"a \u0026\u0026 b",
    "<br/>",
    r"\"as is\"",
    r"C:\\temp\\build",
    r"\tindented",
    r"`\"key\": null`",
    "**note**",
    "- [x] done",
    "- [ ] open",
    r"```\r\nresult = run(\"all\")\r\n```",
    r"| a | b |\r\n|---|---|",
    r"\/escaped\/slash",
)
PHRASE_BITS: Final = 15
_BREAKS: Final = (r".\r\n\r\n", r".\r\n- ", r":\r\n\r\n", r".\n\n", r"?\r\n\r\n\u003e ")
_TYPES: Final = ("feat", "fix", "chore", "docs", "test", "refactor", "build", "ci", "perf", "style")
_FIXED_MESSAGES: Final = ("Initial commit", "Update README.md", "update", "first commit", "Add files via upload", "wip")


@cache
def phrases() -> tuple[str, ...]:
    """Returns the pool of 2**15 phrases of one to four words."""
    dice = Dice(fingerprint("phrases"))
    return tuple(_phrase(dice) for _ in range(1 << PHRASE_BITS))


def _phrase(dice: Dice) -> str:
    kind = dice.below(100)
    words = [dice.pick(WORDS) for _ in range(dice.between(1, 4))]
    if kind < 76:
        return " ".join(words)
    if kind < 84:
        return _code(dice, words)
    if kind < 90:
        return " ".join(words) + dice.pick((",", ".", ";", "?", "!", ":"))
    if kind < 94:
        return " ".join(words) + dice.pick(_BREAKS) + dice.pick(WORDS).capitalize()
    if kind < 97:
        version = f"v{dice.below(20)}.{dice.below(40)}.{dice.below(9)}"
        return dice.pick((f"#{dice.below(9000)}", version, f"{dice.bits(28):07x}"))
    return dice.pick(_MARKUP if kind == 97 else _FOREIGN)


def _code(dice: Dice, words: list[str]) -> str:
    joined = dice.pick((".", "_", "/", "-", "::")).join(words)
    file = f"src/{'/'.join(words)}.{dice.pick(('py', 'ts', 'go', 'rs', 'c'))}"
    return dice.pick((joined, f"`{joined}`", f"`{joined}()`", file))


def prose(dice: Dice, count: int) -> str:
    """Strings ``count`` phrases together, about 17 bytes each."""
    bits, pool = dice.bits, phrases()
    return " ".join([pool[bits(PHRASE_BITS)] for _ in range(count)])


def words(dice: Dice, count: int, *, joint: str = " ") -> str:
    """Strings ``count`` plain words together: nothing in them needs an escape."""
    return joint.join([dice.pick(WORDS) for _ in range(count)])


def branch(dice: Dice) -> str:
    """Draws a branch's name."""
    kind = dice.below(8)
    if kind < 3:
        return words(dice, 2, joint="-")
    if kind < 6:
        return f"{dice.pick(('feature', 'fix', 'chore', 'users'))}/{words(dice, 3, joint='-')}"
    return f"{dice.pick(('release', 'patch', 'dev', 'issue'))}-{dice.below(5000)}"


def tag(dice: Dice) -> str:
    """Draws a tag's name, mostly a version."""
    return f"{dice.pick(('v', 'v', '', 'release-'))}{dice.below(12)}.{dice.below(30)}.{dice.below(20)}"


def path(dice: Dice) -> str:
    """Draws the path of a file in a repository."""
    return f"src/{words(dice, dice.between(1, 3), joint='/')}.{dice.pick(('py', 'ts', 'go', 'rs', 'js', 'java', 'md'))}"


def commit_message(dice: Dice, trailer: str) -> str:
    """Draws a commit's message; now and then a long one that ends in ``trailer``.

    Args:
        dice: Where the chance comes from.
        trailer: A line such as ``Signed-off-by: …``, JSON-escaped.
    """
    kind = dice.below(20)
    if kind < 3:
        return dice.pick(_FIXED_MESSAGES)
    if kind < 12:
        return prose(dice, dice.between(1, 4))
    subject = f"{dice.pick(_TYPES)}({dice.pick(WORDS)}): {prose(dice, dice.between(1, 3))}"
    if kind < 16:
        return subject
    if kind < 18:
        return f"{subject} (#{dice.below(9000)})"
    return rf"{subject}\n\n{prose(dice, dice.between(3, 16))}\n\n{trailer}"
