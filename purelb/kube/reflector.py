# SPDX-License-Identifier: Apache-2.0
"""The list and watch protocol of one resource, without I/O.

Rules. Every transition is in this file, and nothing here knows HTTP, a clock or a store. At most one request is outstanding:
`List` and `Watch` start one, `Close` gives it up. After `Stop` no action but `Close` is emitted. A stream that ended is
continued where it stood (`last_rv`); only what the server can no longer tell from there is listed again, and a list never goes
back in time, unless the server no longer has that time. Versions are opaque: they are compared with nothing.

Rejected: one coroutine of nested loops. Its fourth branch could only be tested against a server that misbehaves on cue.

Not here: streaming the initial state, idle limits, audits. A watch that goes silent is ended by TCP keepalive, by the server's
own timeout, or by the client's whole-stream limit.

Source: the behaviour of client-go's reflector; differences are named where they are.
"""

from collections.abc import Callable, Mapping
from typing import Final, Generic, Literal, TypeVar, assert_never

from msgspec import Struct

from purelb.kube.decode import Event, Failed, Foreign, Garbled, Page, Paging, Poison, Spoiled, WatchEvent
from purelb.kube.errors import ApiError, DecodeError, Expired, KubeError, NotFound, TooManyRequests, TransportError
from purelb.kube.model import KubeObject, key

T = TypeVar("T", bound=KubeObject)

PAGE_SIZE: Final = 500
WATCH_MIN: Final = 300.0  # a watch asks for [m, 2m) seconds, so that not all of a fleet ends at once
SHORT_WATCH: Final = 1.0
HEALTHY_AFTER: Final = 120.0
HURRY_WITHIN: Final = 2.0
MISSING_AFTER: Final = 3


# Inputs


class Start(Struct, frozen=True): ...


class ListFailed(Struct, frozen=True):
    error: KubeError


class Opened(Struct, frozen=True): ...


class Batch(Struct, Generic[T], frozen=True):
    events: tuple[WatchEvent[T], ...]


class Ended(Struct, frozen=True):
    """The request for a watch is over; `error` None: the server ended the stream."""

    error: KubeError | None = None


class Reachable(Struct, frozen=True):
    """Another request of the same client has succeeded after a failure."""


class Relist(Struct, frozen=True):
    why: str
    consistent: bool = False


class Tick(Struct, frozen=True):
    """The deadline may have been reached."""


class Stop(Struct, frozen=True): ...


Input = Start | Page[T] | ListFailed | Opened | Batch[T] | Ended | Reachable | Relist | Tick | Stop


# Actions


class List(Struct, frozen=True):
    """Fetch one page. `rv` `""` reads from the quorum, `"0"` from the server's cache; `limit` 0 means all in one."""

    rv: str
    match: str | None = None
    limit: int = 0
    continue_: str | None = None


class Watch(Struct, frozen=True):
    rv: str
    timeout_s: float


class Close(Struct, frozen=True):
    """Give up the outstanding request."""


class Replace(Struct, Generic[T], frozen=True):
    """These objects are all there are. `serves`: how many of the relists asked for so far this one answers."""

    objects: tuple[T, ...]
    poison: tuple[Poison, ...]
    rv: str
    serves: int = 0


class Upsert(Struct, Generic[T], frozen=True):
    obj: T
    rv: str


class Remove(Struct, Generic[T], frozen=True):
    """`obj` is what the server sent, None when that did not decode."""

    key: str
    obj: T | None
    rv: str


class Spoil(Struct, frozen=True):
    """An object changed into something that does not decode: what is stored is stale."""

    poison: Poison


class Progress(Struct, frozen=True):
    rv: str


class Synced(Struct, frozen=True): ...


class Notice(Struct, frozen=True):
    """Something a person may want to know; `code` is stable."""

    level: Literal["info", "debug"]
    code: str
    details: Mapping[str, object]


Action = List | Watch | Close | Replace[T] | Upsert[T] | Remove[T] | Spoil | Progress | Synced | Notice
State = Literal["New", "Listing", "Opening", "Watching", "Backoff", "Stopped"]


class Backoff:
    """Growing waits between attempts: 0.8 s, doubling to 30 s, each step uniform in [d, 2d).

    Starts over only after an attempt that went well for 120 s: a long outage never falls back to its first step.
    """

    def __init__(self, *, base: float = 0.8, factor: float = 2.0, cap: float = 30.0) -> None:
        self._base, self._factor, self._cap = base, factor, cap
        self._delay = base
        self._attempt_at = 0.0

    def attempt(self, now: float) -> None:
        """An attempt begins."""
        self._attempt_at = now

    def failed(self, now: float, *, rng: Callable[[], float], at_least: float = 0.0) -> float:
        """The attempt failed: the time of the next one, in seconds from now."""
        if now - self._attempt_at >= HEALTHY_AFTER:
            self._delay = self._base
        delay = self._delay * (1.0 + rng())
        self._delay = min(self._cap, self._delay * self._factor)
        return max(delay, at_least)


class Reflector(Generic[T]):
    """`receive(input, now)`, `actions()`, `deadline()`."""

    def __init__(
        self,
        *,
        rng: Callable[[], float],
        consistent: bool = False,
        page_size: int | None = None,
        watch_min: float = WATCH_MIN,
    ) -> None:
        """`consistent`: the first list is a quorum read. `page_size`: page every list by it."""
        self._rng = rng
        self._consistent = consistent
        self._page_size = page_size
        self._watch_min = max(WATCH_MIN, watch_min)
        self._out: list[Action[T]] = []
        self._state: State = "New"
        self._deadline: float | None = None
        self._backoff = Backoff()
        # What the next list has to be
        self.last_rv = ""
        self._listed = False
        self._synced = False
        self._expired = False  # the server no longer has, or does not have yet, the version we asked for
        self._always_page = False
        self._asked = 0  # relists asked for
        self._asked_consistent = 0  # the last of them that must be a quorum read
        self._served = 0
        # The list under way
        self._list = List(rv="")
        self._list_serves = 0
        self._list_rv = ""
        self._objects: list[T] = []
        self._poison: list[Poison] = []
        self._pages = Paging()
        # The watch under way
        self._watch_rv = ""
        self._opened_at = 0.0
        self._events = 0
        self._holding = False
        # The wait under way
        self._next_is_watch = False
        self._may_hurry = False
        self._missing = 0
        self._only_expired = False  # the last watch answered 410 and nothing else

    @property
    def state(self) -> State:
        return self._state

    def deadline(self) -> float | None:
        """When a `Tick` is due, None while only an input can change anything."""
        return self._deadline

    def actions(self) -> list[Action[T]]:
        """What is to be done now, in order; each is handed out once."""
        out, self._out = self._out, []
        return out

    def receive(self, seen: Input[T], now: float) -> None:
        """Take in what happened. What comes too late, for a request that was given up, is ignored."""
        if self._state == "Stopped":
            return
        match seen:
            case Stop():
                self._close()
                self._state, self._deadline = "Stopped", None
            case Start():
                if self._state == "New":
                    self._backoff.attempt(now)
                    self._start_list()
            case Page():
                if self._state == "Listing":
                    self._page(seen, now)
            case ListFailed(error):
                if self._state == "Listing":
                    self._list_failed(error, now)
            case Opened():
                if self._state == "Opening":
                    self._state, self._opened_at, self._events, self._missing = "Watching", now, 0, 0
            case Batch(events):
                if self._state == "Watching":
                    self._batch(events, now)
            case Ended(error):
                if self._state == "Opening":
                    self._open_failed(error, now)
                elif self._state == "Watching":
                    self._watch_ended(error, now)
            case Reachable():
                if self._state == "Backoff" and self._may_hurry and self._deadline is not None:
                    self._may_hurry = False
                    self._deadline = min(self._deadline, now + HURRY_WITHIN * self._rng())
            case Relist(why, consistent):
                self._relist(why, consistent=consistent)
            case Tick():
                if self._state == "Backoff" and self._deadline is not None and now >= self._deadline:
                    self._deadline = None
                    self._backoff.attempt(now)
                    if self._next_is_watch:
                        self._start_watch()
                    else:
                        self._start_list()
            case _:
                assert_never(seen)

    # Listing

    def _start_list(self) -> None:
        quorum = self._expired or self._asked_consistent > self._served
        if self._listed:
            rv = "" if quorum else self.last_rv
        else:
            rv = "" if quorum or self._consistent else "0"
        limit = self._page_size or 0
        if not limit and (rv in {"", "0"} or self._always_page):
            limit = PAGE_SIZE
        self._list_serves = self._asked
        self._fetch(List(rv=rv, limit=limit))

    def _fetch(self, page: List) -> None:
        if page.continue_ is None:
            self._objects, self._poison, self._list, self._pages = [], [], page, Paging()
        self._state = "Listing"
        self._out.append(page)

    def _page(self, page: Page[T], now: float) -> None:
        if wrong := self._pages.complaint(page):
            self._list_failed(DecodeError(wrong), now)
            return
        if not self._paging():
            self._list_rv = page.rv
        self._objects += page.objects
        self._poison += page.poison
        if page.continue_:
            if self._list.rv == "0" and not self._listed:
                self._always_page = True  # a server that pages its cache has no cache worth asking
            following = List(rv=self._list.rv, match=self._list.match, limit=self._list.limit, continue_=page.continue_)
            self._list = following
            self._fetch(following)
            return
        objects, poison, self._objects, self._poison = tuple(self._objects), tuple(self._poison), [], []
        self._expired, self._listed, self._missing = False, True, 0
        self._served, self.last_rv = self._list_serves, self._list_rv
        self._out.append(Replace(objects, poison, self.last_rv, self._served))
        if not self._synced:
            self._synced = True
            self._out.append(Synced())
        if self._asked > self._served:
            self._start_list()
        else:
            self._start_watch()

    def _paging(self) -> bool:
        return self._list.continue_ is not None

    def _list_failed(self, error: KubeError, now: float) -> None:
        if isinstance(error, Expired) and self._paging():
            # Too slow for the pages: everything in one, as of the version first asked for.
            self._fetch(List(rv=self._list.rv, match=self._list.match, limit=0))
            return
        gone = isinstance(error, Expired) or (isinstance(error, ApiError) and error.rv_too_large)
        if gone and not self._expired:
            self._expired = True
            self._start_list()
            return
        self._notice("listFailed", error)
        self._wait(now, error, then_watch=False)

    # Watching

    def _start_watch(self) -> None:
        self._state = "Opening"
        self._watch_rv = self.last_rv
        self._holding = self.last_rv in {"", "0"}
        self._out.append(Watch(rv=self.last_rv, timeout_s=self._watch_min * (1.0 + self._rng())))

    def _open_failed(self, error: KubeError | None, now: float) -> None:
        match error:
            case None | TransportError(kind="eof" | "timeout"):
                self._short_watch(error, now)
            case TransportError(kind="refused") | TooManyRequests():
                self._notice("watchFailed", error)
                self._wait(now, error, then_watch=True)
            case _:
                self._notice("watchFailed", error)
                self._wait(now, error, then_watch=False)

    def _watch_ended(self, error: KubeError | None, now: float) -> None:
        match error:
            case None | TransportError(kind="eof" | "reset" | "timeout"):
                if self._events or now - self._opened_at >= SHORT_WATCH:
                    self._start_watch()
                else:
                    self._short_watch(error, now)
            case _:
                self._notice("watchFailed", error)
                self._wait(now, error, then_watch=False)

    def _short_watch(self, error: KubeError | None, now: float) -> None:
        self._out.append(Notice("debug", "shortWatch", {"error": str(error) if error else "ended at once"}))
        self._wait(now, error, then_watch=False)

    def _batch(self, events: tuple[WatchEvent[T], ...], now: float) -> None:
        for event in events:
            self._events += 1
            match event:
                case Event(type="ADDED" | "MODIFIED" | "DELETED" | "BOOKMARK" as kind, object=obj):
                    rv = obj.metadata.resource_version
                    self._advance(rv, kind)
                    if kind == "BOOKMARK":
                        self._out.append(Progress(rv))
                    elif kind == "DELETED":
                        self._out.append(Remove(key(obj), obj, rv))
                    else:
                        self._out.append(Upsert(obj, rv))
                case Spoiled(type=kind, poison=poison):
                    self._advance(poison.rv, kind)
                    if kind == "DELETED":
                        self._out.append(Remove(poison.key, None, poison.rv))
                    elif kind in {"ADDED", "MODIFIED"}:
                        self._out.append(Spoil(poison))
                case Event(type=kind):
                    self._out.append(Notice("info", "unknownEvent", {"type": kind}))
                case Foreign(type=kind, kind=foreign):
                    self._out.append(Notice("info", "foreignEvent", {"type": kind, "kind": foreign}))
                case Failed(error=error):
                    self._close()
                    self._in_stream(error, now)
                    return
                case Garbled(why=why):
                    self._close()
                    self._out.append(Notice("info", "watchGarbled", {"error": why}))
                    self._wait(now, None, then_watch=False)
                    return
                case _:
                    assert_never(event)
        self._only_expired = False

    def _in_stream(self, error: ApiError, now: float) -> None:
        if not isinstance(error, Expired):
            self._notice("watchFailed", error)
            self._wait(now, error, then_watch=isinstance(error, TooManyRequests))
            return
        self._notice("watchExpired", error, level="debug")
        self._wait(now, error, then_watch=False)
        # A server that was restarted answers so to everybody. It is well again: the step that its outage has grown to does
        # not apply, unless nothing but this came since the last time. (client-go waits that step.)
        if not self._only_expired and self._deadline is not None:
            self._deadline = min(self._deadline, now + HURRY_WITHIN * self._rng())
        self._only_expired = True

    def _advance(self, rv: str, kind: str) -> None:
        if kind != "ADDED":
            self._holding = False
        # A watch from "any version" begins with one ADDED per object, in no order of versions.
        if rv and not self._holding:
            self.last_rv = rv

    # Waiting, and being told

    def _wait(self, now: float, error: KubeError | None, *, then_watch: bool) -> None:
        retry_after = (error.retry_after if isinstance(error, ApiError) else None) or 0.0
        self._state, self._next_is_watch = "Backoff", then_watch
        self._deadline = now + self._backoff.failed(now, rng=self._rng, at_least=retry_after)
        passing = isinstance(error, TransportError) or (
            isinstance(error, ApiError) and (error.code == 429 or error.code >= 500)
        )
        self._may_hurry = passing and not retry_after
        self._missing = self._missing + 1 if isinstance(error, NotFound) else 0
        if self._missing == MISSING_AFTER:
            self._out.append(Notice("info", "ResourceMissing", {"error": str(error)}))

    def _relist(self, why: str, *, consistent: bool) -> None:
        self._asked += 1
        if consistent:
            self._asked_consistent = self._asked
        self._out.append(Notice("debug", "relist", {"why": why}))
        match self._state:
            case "Opening" | "Watching":
                self._close()
                self._start_list()
            case "Backoff":
                self._next_is_watch = False  # the wait goes on: whatever made us wait has not been mended by asking
            case "New" | "Listing" | "Stopped":
                pass  # the first list will serve it; one under way began too early, so another follows it
            case state:
                assert_never(state)

    def _close(self) -> None:
        if self._state in {"Listing", "Opening", "Watching"}:
            self._out.append(Close())

    def _notice(self, code: str, error: KubeError | None, *, level: Literal["info", "debug"] = "info") -> None:
        self._out.append(Notice(level, code, {"error": str(error)}))
