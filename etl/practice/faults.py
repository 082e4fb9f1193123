"""Faults on order: a practice archive that fails in the ways archives and networks have failed.

A plan (YAML) says which faults there are, which hours they strike and how often::

    seed: 7
    faults:
      - {kind: not-found, share: 0.2, times: 2}
      - {kind: reset, hours: [2015-01-01-15, 2015-01-02-0..2015-01-02-5], after: 0.3}

Each hour keeps its own count of requests, so what the n-th request for an hour meets depends on the plan alone:
not on the clock, not on other hours, not on who asks. Requests beyond the plan's faults are served well.
"""

from __future__ import annotations

import gzip
import random
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from http import HTTPStatus
from itertools import chain, repeat
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct
from typing_extensions import override

from etl.errors import StoreError, UsageError
from etl.hours import Hour, HourRange
from etl.practice.generator import PracticeManifest
from etl.practice.rng import Dice, fingerprint
from etl.practice.server import (
    Generated,
    PracticeServer,
    Request,
    Reset,
    Response,
    in_full,
    json_bytes,
    json_content,
    message,
)

COUNTS_PATH: Final = "/faults.json"
"""Where the server tells how many faults of each kind it has injected."""

_HINT: Final = "docs/how-to/practice.md lists the kinds of faults and what may be said of each"
_MIB: Final = 1 << 20
_SLOW_STEPS: Final = 20
_GZIP_TYPE: Final = "application/gzip"
_LOOP: Final = "loop"
_MOVED: Final = "moved"
_MEMBERS: Final = gzip.compress(b"", mtime=0) * (_MIB // 20)
_GARBAGE: Final = random.Random(0).randbytes(_MIB)  # noqa: S311 -- not a secret
_SIGN_IN: Final = b"<!doctype html>\n<html><head><title>Sign in</title></head><body>Please sign in.</body></html>\n"

_Share: TypeAlias = Annotated[float, Meta(gt=0, le=1)]
_Part: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
_Seconds: TypeAlias = Annotated[float, Meta(ge=0, le=3600)]
_Count: TypeAlias = Annotated[int, Meta(ge=1, le=1000)]
_RetryAfter: TypeAlias = Annotated[int, Meta(ge=0, le=3600)]


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind"):
    """What all faults have in common.

    Attributes:
        share: The share of hours that it strikes, drawn by the plan's seed.
        hours: The hours that it may strike, each ``2015-01-01-15`` or ``2015-01-01-15..2015-01-02-3``; all
            when empty.
        skip: How many requests for an hour go well before it strikes, counted from the fault before it.
        times: How many requests for an hour it strikes, one after the other.
    """

    share: _Share = 1.0
    hours: tuple[str, ...] = ()
    skip: Annotated[int, Meta(ge=0, le=1000)] = 0
    times: _Count = 1

    def __post_init__(self) -> None:
        """Refuses hours that are none: ``ValueError`` is what the decoder tells with its place."""
        try:
            self.ranges()
        except UsageError as error:
            raise ValueError(error.message) from None

    def ranges(self) -> tuple[HourRange, ...]:
        """The hours that it may strike.

        Raises:
            UsageError: If one is no hour, or a range ends before it begins.
        """
        return tuple(_range_of(text) for text in self.hours)

    def may_strike(self, hour: Hour) -> bool:
        """Whether an hour is among its hours; the share is not asked."""
        return not self.hours or any(hour in each for each in self.ranges())

    def answer(self, case: Case) -> Response:
        """Makes the faulty answer to one request."""
        raise NotImplementedError


class NotFound(Fault, frozen=True, kw_only=True, tag="not-found"):
    """404, and later the hour is there: it was published late."""

    @override
    def answer(self, case: Case) -> Response:
        return message(HTTPStatus.NOT_FOUND, "not found\n")


class ServerError(Fault, frozen=True, kw_only=True, tag="server-error"):
    """500."""

    @override
    def answer(self, case: Case) -> Response:
        return message(HTTPStatus.INTERNAL_SERVER_ERROR, "out of order\n")


class Unavailable(Fault, frozen=True, kw_only=True, tag="unavailable"):
    """503 with Retry-After.

    Attributes:
        retry_after: Seconds.
    """

    retry_after: _RetryAfter = 1

    @override
    def answer(self, case: Case) -> Response:
        return message(HTTPStatus.SERVICE_UNAVAILABLE, "come again\n", {"Retry-After": str(self.retry_after)})


class TooManyRequests(Fault, frozen=True, kw_only=True, tag="too-many-requests"):
    """429 with Retry-After.

    Attributes:
        retry_after: Seconds.
    """

    retry_after: _RetryAfter = 1

    @override
    def answer(self, case: Case) -> Response:
        return message(HTTPStatus.TOO_MANY_REQUESTS, "not so fast\n", {"Retry-After": str(self.retry_after)})


class Slow(Fault, frozen=True, kw_only=True, tag="slow"):
    """The body trickles.

    Attributes:
        seconds: How long it takes altogether.
    """

    seconds: _Seconds = 5.0

    @override
    def answer(self, case: Case) -> Response:
        return case.with_body(lambda body: self._trickle(body, case))

    def _trickle(self, body: bytes, case: Case) -> Iterator[bytes]:
        step = max(len(body) // _SLOW_STEPS, 1)
        for start in range(0, len(body), step):
            case.wait(self.seconds / _SLOW_STEPS)
            yield body[start : start + step]


class Stalled(Fault, frozen=True, kw_only=True, tag="stalled"):
    """The body stops and the connection stays open.

    Attributes:
        after: The part of the body that comes before.
        seconds: How long the connection is held; then it is closed.
    """

    after: _Part = 0.5
    seconds: _Seconds = 300.0

    @override
    def answer(self, case: Case) -> Response:
        return case.with_body(lambda body: self._stop(body, case))

    def _stop(self, body: bytes, case: Case) -> Iterator[bytes]:
        yield _first_part(body, self.after)
        case.wait(self.seconds)


class BrokenOff(Fault, frozen=True, kw_only=True, tag="reset"):
    """The connection is reset in the middle of the body.

    Attributes:
        after: The part of the body that is sent before; how much of it arrives depends on the network.
    """

    after: _Part = 0.5

    @override
    def answer(self, case: Case) -> Response:
        return case.with_body(self._break)

    def _break(self, body: bytes) -> Iterator[bytes]:
        yield _first_part(body, self.after)
        raise Reset


class Truncated(Fault, frozen=True, kw_only=True, tag="truncated"):
    """The file itself is truncated: a version of its own whose length is stated correctly.

    Attributes:
        keep: The part of the file that is there.
    """

    keep: _Part = 0.5

    @override
    def answer(self, case: Case) -> Response:
        return _version(_first_part(case.file(), self.keep))


class WrongLength(Fault, frozen=True, kw_only=True, tag="wrong-length"):
    """Content-Length is not the length of what is sent.

    Attributes:
        by: How many bytes too many (or, negative, too few) it announces.
    """

    by: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 1000

    @override
    def answer(self, case: Case) -> Response:
        well = case.well()
        if "Content-Length" not in well.headers:
            return well
        length = max(int(well.headers["Content-Length"]) + self.by, 1)
        return Response(well.status, {**well.headers, "Content-Length": str(length)}, well.body, well.close)


class Corrupt(Fault, frozen=True, kw_only=True, tag="corrupt"):
    """Some bytes of the gzip stream are others on the way; length and ETag are those of the file.

    Attributes:
        after: The part of the body before them.
    """

    after: _Part = 0.5

    @override
    def answer(self, case: Case) -> Response:
        return case.with_body(self._spoil)

    def _spoil(self, body: bytes) -> Iterator[bytes]:
        at = int(len(body) * self.after)
        spoilt = bytes(byte ^ 0xA5 for byte in body[at : at + 16])
        yield body[:at] + spoilt + body[at + 16 :]


class Page(Fault, frozen=True, kw_only=True, tag="page"):
    """An HTML page with status 200, as from a sign-in page in between."""

    @override
    def answer(self, case: Case) -> Response:
        return in_full(HTTPStatus.OK, _SIGN_IN, "text/html; charset=utf-8")


class RedirectLoop(Fault, frozen=True, kw_only=True, tag="redirect-loop"):
    """A redirect that leads to itself; following it is not counted as requests."""

    @override
    def answer(self, case: Case) -> Response:
        return _redirect(case.request)


class Shrunk(Fault, frozen=True, kw_only=True, tag="shrunk"):
    """The archive has another version with fewer events, sound in itself, and its manifest agrees.

    Attributes:
        keep: The part of the events that it has.
    """

    keep: _Part = 0.5

    @override
    def answer(self, case: Case) -> Response:
        content, events = case.fewer(self.keep)
        case.publish(content, events)
        return _version(content)


class Changed(Fault, frozen=True, kw_only=True, tag="changed"):
    """The file is replaced while it is read: the first part of an older version comes, the rest is asked of the new.

    Attributes:
        after: The part of the older version that is sent before the connection ends.
    """

    after: _Part = 0.5

    @override
    def answer(self, case: Case) -> Response:
        content, _ = case.fewer(0.9)
        whole = _version(content)
        return Response(whole.status, whole.headers, iter((_first_part(content, self.after),)))


class LyingEtag(Fault, frozen=True, kw_only=True, tag="lying-etag"):
    """The ETag does not say which version it is.

    Attributes:
        lie: ``same``: the first part of another version comes under the file's own ETag, date and length, and the
            rest that is asked for is the file's. ``new``: the file's own bytes come under an ETag never seen.
    """

    lie: Literal["same", "new"] = "same"

    @override
    def answer(self, case: Case) -> Response:
        if self.lie == "new":
            return _version(case.file(), etag=f'"{fingerprint(str(case.hour), case.number):016x}"')
        content, _ = case.fewer(0.9)
        return case.with_body(lambda _: iter((_first_part(content, 0.5),)))


class Bomb(Fault, frozen=True, kw_only=True, tag="bomb"):
    """A small gzip file that inflates to far more than an hour.

    Attributes:
        mib: MiB that it inflates to.
    """

    mib: Annotated[int, Meta(ge=1, le=1 << 16)] = 256

    @override
    def answer(self, case: Case) -> Response:
        return _version(_bomb(self.mib))


class BrokenManifest(Fault, frozen=True, kw_only=True, tag="broken-manifest"):
    """The hour is served well, and the manifest beside it is a MiB that nobody can parse.

    Attributes:
        form: ``deep``: objects in objects. ``number``: a count of a million digits. ``large``: a MiB too much.
    """

    form: Literal["deep", "number", "large"] = "deep"

    @override
    def answer(self, case: Case) -> Response:
        texts = {
            "deep": b'{"event_count":' * (_MIB // 16),
            "number": b'{"event_count":' + b"9" * 1_000_000 + b"}",
            "large": b'{"event_count":1}' + b" " * (2 * _MIB),
        }
        case.published[case.hour] = texts[self.form]
        return case.well()


class Endless(Fault, frozen=True, kw_only=True, tag="endless"):
    """Behind the sound file comes more that holds nothing, and no length is announced.

    Attributes:
        what: ``garbage``: bytes that are no gzip. ``members``: gzip members without text. ``zeros``: NUL bytes.
        mib: MiB of it; then the connection ends.
    """

    what: Literal["garbage", "members", "zeros"] = "garbage"
    mib: Annotated[int, Meta(ge=1, le=1 << 16)] = 4096

    @override
    def answer(self, case: Case) -> Response:
        piece = {"garbage": _GARBAGE, "members": _MEMBERS, "zeros": bytes(_MIB)}[self.what]
        headers = {"Content-Type": _GZIP_TYPE, "Connection": "close"}
        return Response(HTTPStatus.OK, headers, chain((case.file(),), repeat(piece, self.mib)))


class EndlessHead(Fault, frozen=True, kw_only=True, tag="endless-head"):
    """The response never ends; every read of it returns something.

    Attributes:
        what: ``interim``: ``100 Continue`` again and again. ``slow``: one header, byte by byte. ``trailers``: a
            chunked body, and behind its last chunk header lines again and again.
        seconds: The pause before each piece of it.
        times_sent: How many pieces come; then the connection ends.
    """

    what: Literal["interim", "slow", "trailers"] = "interim"
    seconds: _Seconds = 0.1
    times_sent: Annotated[int, Meta(ge=1, le=1_000_000)] = 10_000

    @override
    def answer(self, case: Case) -> Response:
        begin, again = {
            "interim": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            "slow": (b"HTTP/1.1 200 OK\r\nX-Slow: ", b"x"),
            "trailers": (_chunked(case.file()), b"X-More: x\r\n"),
        }[self.what]
        return Response(HTTPStatus.OK, {}, wire=chain((begin,), self._again(again, case)))

    def _again(self, piece: bytes, case: Case) -> Iterator[bytes]:
        for _ in range(self.times_sent):
            if case.wait(self.seconds):
                return
            yield piece


class BadHeader(Fault, frozen=True, kw_only=True, tag="bad-header"):
    """A header that no client can make sense of.

    Attributes:
        what: ``length``: a Content-Length of 5,000 digits. ``lengths``: two that differ. ``range``: a Content-Range
            of 5,000 digits. ``line``: a line without a colon, with the headers that count behind it.
    """

    what: Literal["length", "lengths", "range", "line"] = "length"

    @override
    def answer(self, case: Case) -> Response:
        number, content = b"9" * 5_000, case.file()
        length = b"Content-Length: %d\r\n" % len(content)
        status, fields = {
            "length": (b"200 OK", b"Content-Length: " + number + b"\r\n"),
            "lengths": (b"200 OK", length + b"Content-Length: 1\r\n"),
            "range": (b"206 Partial Content", length + b"Content-Range: bytes 0-" + number + b"/" + number + b"\r\n"),
            "line": (b"200 OK", b"no header\r\n" + length),
        }[self.what]
        head = b"HTTP/1.1 " + status + b"\r\n" + fields + b"\r\n"
        return Response(HTTPStatus.OK, {}, wire=iter((head, content)))


class Moved(Fault, frozen=True, kw_only=True, tag="moved"):
    """A redirect to the same file under another name of this machine; following it is not counted as a request."""

    @override
    def answer(self, case: Case) -> Response:
        port = urlsplit(f"//{case.request.headers.get('host', '')}").port or 80
        path = urlsplit(case.request.target).path
        return message(HTTPStatus.FOUND, "elsewhere\n", {"Location": f"http://localhost:{port}{path}?{_MOVED}"})


AnyFault: TypeAlias = (
    NotFound
    | ServerError
    | Unavailable
    | TooManyRequests
    | Slow
    | Stalled
    | BrokenOff
    | Truncated
    | WrongLength
    | Corrupt
    | Page
    | RedirectLoop
    | Shrunk
    | Changed
    | LyingEtag
    | Bomb
    | BrokenManifest
    | Endless
    | EndlessHead
    | BadHeader
    | Moved
)

KINDS: Final[Mapping[str, type[Fault]]] = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyFault)}
"""Every kind of fault, by its name in a plan."""


class FaultPlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which faults strike which requests.

    Attributes:
        seed: Decides which hours a share is, and the order where it is shuffled.
        order: How an hour's faults follow each other: as the plan lists them, or shuffled for each hour.
        faults: The faults.
    """

    seed: int = 0
    order: Literal["plan", "shuffled"] = "plan"
    faults: tuple[AnyFault, ...] = ()

    def of(self, hour: Hour) -> tuple[AnyFault | None, ...]:
        """What the requests for an hour meet, in order: a fault, or None where one goes well; later ones all do."""
        dice = Dice(fingerprint("faults", self.seed, str(hour)))
        # Each fault takes one draw whether it may strike or not, so that to list hours does not move the others.
        drawn = [(fault, dice.unit()) for fault in self.faults]
        struck = [fault for fault, chance in drawn if chance < fault.share and fault.may_strike(hour)]
        if self.order == "shuffled":
            places = [dice.bits(64) for _ in struck]
            struck = [struck[place] for place in sorted(range(len(struck)), key=places.__getitem__)]
        turns = (chain(repeat(None, fault.skip), repeat(fault, fault.times)) for fault in struck)
        return tuple(chain.from_iterable(turns))


class Counts(Struct, frozen=True, kw_only=True):
    """What a server has done so far.

    Attributes:
        requests: Requests for hours that it has, that faults can strike (GET, redirects not followed up).
        faults: Faults injected, by kind; kinds of the plan that have not struck yet are 0.
    """

    requests: int
    faults: dict[str, int]


def read_plan(path: Path) -> FaultPlan:
    """Reads a plan from a YAML file.

    Raises:
        UsageError: If it cannot be read, or is no plan.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the fault plan {path} cannot be read: {error.strerror}", hint=_HINT) from error
    return parse_plan(content, str(path))


def parse_plan(content: bytes | str, name: str = "the fault plan") -> FaultPlan:
    """Reads a plan from YAML (or JSON, which is YAML).

    Args:
        content: The text.
        name: What to call it in errors.

    Raises:
        UsageError: If it is not YAML, has an unknown key or kind, or a value that is not allowed.
    """
    try:
        plan = msgspec.yaml.decode(content, type=FaultPlan)
    except msgspec.DecodeError as error:
        raise UsageError(f"{name} is no fault plan: {' '.join(str(error).split())}", hint=_HINT) from None
    for fault in plan.faults:
        if isinstance(fault, WrongLength) and fault.by == 0:
            raise UsageError(f"{name}: a wrong-length that is wrong by 0 is no fault", hint=_HINT)
    return plan


class FaultyServer(PracticeServer):
    """A practice archive with faults.

    ``GET /faults.json`` tells ``Counts``; manifests and HEAD are answered well.

    Args:
        source: A folder of hour files, or what to generate.
        plan: Which faults.
        port: Where to listen; 0 takes a free one.
        manifests: Whether to publish a manifest beside each hour.

    Raises:
        UsageError: If the folder is not there or the port cannot be had.
    """

    def __init__(self, source: Path | Generated, plan: FaultPlan, port: int = 0, *, manifests: bool = False) -> None:
        self._plan = plan
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._asked_for: Counter[Hour] = Counter()
        self._injected: Counter[str] = Counter({_kind(fault): 0 for fault in plan.faults})
        self._published: dict[Hour, bytes] = {}
        super().__init__(source, port, manifests=manifests)

    @property
    def counts(self) -> Counts:
        """What it has done so far."""
        with self._lock:
            return Counts(requests=self._asked_for.total(), faults=dict(sorted(self._injected.items())))

    @override
    def close(self) -> None:
        """Lets what is stalled go, and stops listening."""
        self._closing.set()
        super().close()

    @override
    def respond(self, request: Request) -> Response:
        """Answers one request, with a fault if the plan has one for it."""
        target = urlsplit(request.target)
        if target.path == COUNTS_PATH:
            return json_content(self.counts)
        asked = self._asked(request.target)
        if asked is None or request.method != "GET":
            return super().respond(request)
        path, kind = asked
        hour = Hour.parse(path.name.partition(".")[0])
        if kind != "json.gz":
            shown = self._published.get(hour) if self._manifests else None
            return super().respond(request) if shown is None else json_bytes(shown)
        if target.query.startswith(_LOOP):
            return _redirect(request)
        number, fault = (0, None) if target.query == _MOVED else self._next(hour)
        if fault is None:
            self._published.pop(hour, None)
            return super().respond(request)
        return fault.answer(
            Case(
                request=request,
                hour=hour,
                number=number,
                path=path,
                well=lambda: super(FaultyServer, self).respond(request),
                wait=self._closing.wait,
                published=self._published,
            )
        )

    def _next(self, hour: Hour) -> tuple[int, AnyFault | None]:
        """Counts a request for an hour; returns its number (from 0) and its fault."""
        with self._lock:
            number = self._asked_for[hour]
            self._asked_for[hour] += 1
            turns = _turns(self._plan, hour)
            fault = turns[number] if number < len(turns) else None
            if fault is not None:
                self._injected[_kind(fault)] += 1
            return number, fault


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request that meets a fault, and what a fault needs to answer it.

    Attributes:
        request: What was asked for.
        hour: The hour of it.
        number: Which request for this hour it is, from 0.
        path: The hour's true file.
        well: Makes the answer without a fault.
        wait: Waits for so many seconds, or until the server closes; returns whether it does.
        published: What stands in the place of the true manifests.
    """

    request: Request
    hour: Hour
    number: int
    path: Path
    well: Callable[[], Response]
    wait: Callable[[float], bool]
    published: dict[Hour, bytes]

    def file(self) -> bytes:
        """The true file's bytes."""
        return self.path.read_bytes()

    def with_body(self, change: Callable[[bytes], Iterator[bytes]]) -> Response:
        """The answer without a fault but for its body; an answer without a body (304) stays as it is."""
        well = self.well()
        if "Content-Length" not in well.headers:
            return well
        return Response(well.status, well.headers, change(b"".join(well.body)), well.close)

    def fewer(self, keep: float) -> tuple[bytes, int]:
        """Another version of the file, with the first part of its documents, and how many these are.

        Raises:
            StoreError: If the file is damaged, so that no sound version can be made of it.
        """
        try:
            with gzip.open(self.path, "rb") as text:
                lines = [line for line in text if not line.isspace()]
        except (OSError, EOFError, zlib.error) as error:
            raise StoreError(f"{self.path} is damaged, so it cannot be served shrunk or changed") from error
        kept = lines[: int(len(lines) * keep)]
        return gzip.compress(b"".join(kept), 6, mtime=0), len(kept)

    def publish(self, content: bytes, events: int) -> None:
        """Lets the manifest beside the hour describe this version, until the hour is served well again."""
        self.published[self.hour] = msgspec.json.encode(
            PracticeManifest(event_count=events, compressed_bytes=len(content), sha256=sha256(content).hexdigest())
        )


@lru_cache(maxsize=4096)
def _turns(plan: FaultPlan, hour: Hour) -> tuple[AnyFault | None, ...]:
    return plan.of(hour)


@lru_cache(maxsize=4)
def _bomb(mib: int) -> bytes:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    parts = [squeeze.compress(part) for part in repeat(b"\n" * _MIB, mib)]
    return b"".join([*parts, squeeze.flush()])


def _kind(fault: Fault) -> str:
    return str(fault.__struct_config__.tag)


def _range_of(text: str) -> HourRange:
    first, dots, last = text.partition("..")
    return HourRange(Hour.parse(first), Hour.parse(last if dots else first))


def _first_part(content: bytes, part: float) -> bytes:
    return content[: int(len(content) * part)]


def _version(content: bytes, *, etag: str | None = None) -> Response:
    """Answers with a whole file of these bytes, whatever part of which version was asked for."""
    named = etag or f'"{sha256(content).hexdigest()[:32]}"'
    return in_full(HTTPStatus.OK, content, _GZIP_TYPE, {"ETag": named, "Accept-Ranges": "bytes"})


def _redirect(request: Request) -> Response:
    path = urlsplit(request.target).path
    return message(HTTPStatus.FOUND, "elsewhere\n", {"Location": f"{path}?{_LOOP}"})


def _chunked(content: bytes) -> bytes:
    """An answer in chunks up to its last one, behind which trailers may come."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: {_GZIP_TYPE}\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head.encode() + b"%x\r\n" % len(content) + content + b"\r\n0\r\n"
