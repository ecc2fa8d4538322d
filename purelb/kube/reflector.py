# SPDX-License-Identifier: Apache-2.0
"""The list and watch protocol of one resource, without I/O.

Rules. Every transition is in this file, and nothing here knows HTTP, a clock or a store. At most one request is outstanding:
`List` and `Watch` start one, `Close` gives it up. After `Stop` no action but `Close` is emitted. A stream that ended is
continued where it stood; only what the server can no longer tell from there is fetched again. What is asked for is kept
beside it: from which version (`position`), in which pages (`gathering`), after which wait (`waiting`), and when it is
compared with the quorum (`audit`). So is how long a stream may live (`liveness`), and what its events change (`changes`).

Everything there is comes as a list or, where the server can, as the first events of a watch, which then goes on. A server
that cannot, or says nothing for 30 s, is listed for the rest of this reflector's life.

An audit lists from the quorum and compares, then watches on from where it stood, so that what had merely not arrived yet
arrives; what no event explains within a minute is a fault of somebody and is counted and fetched. Rejected: storing the
audit's list at once (each change in flight would count as a fault, and versions must not be ordered to tell them apart).

Rejected: one coroutine of nested loops. Its fourth branch could only be tested against a server that misbehaves on cue.

Source: the behaviour of client-go's reflector; differences are named where they are.
"""

from collections.abc import Callable
from typing import Final, Generic, Literal, TypeVar, assert_never

from purelb.kube.audit import Audit
from purelb.kube.changes import Changes, few, without_effect
from purelb.kube.decode import Event, Failed, Garbled, Page, Poison, WatchEvent
from purelb.kube.errors import (
    ApiError,
    DecodeError,
    Expired,
    Forbidden,
    Invalid,
    KubeError,
    TooManyRequests,
    TransportError,
)
from purelb.kube.gathering import Gathering
from purelb.kube.initial import InitialState, ends_it
from purelb.kube.listwatch import (
    Action,
    Batch,
    CannotStream,
    Close,
    Compared,
    Ended,
    Input,
    List,
    ListFailed,
    Notice,
    Opened,
    Reachable,
    Relist,
    Replace,
    Spoil,
    Start,
    Stop,
    Synced,
    Tick,
    Watch,
)
from purelb.kube.liveness import IDLE_LIMIT, QUIET_MAX, WATCH_MIN, Liveness
from purelb.kube.model import KubeObject, key
from purelb.kube.position import Position
from purelb.kube.waiting import Waiting

T = TypeVar("T", bound=KubeObject)

NAMED_MAX: Final = 5

State = Literal["New", "Listing", "Streaming", "Opening", "Watching", "Backoff", "Stopped"]


class Reflector(Generic[T]):
    """`receive(input, now)`, `actions()`, `deadline()`."""

    def __init__(
        self,
        *,
        rng: Callable[[], float],
        consistent: bool = False,
        streams: bool = False,
        page_size: int | None = None,
        watch_min: float = WATCH_MIN,
        audit: float = 0.0,
    ) -> None:
        """`consistent`: the first list is a quorum read. `streams`: try to have the initial state streamed.

        `page_size`: page every list by it. `audit`: compare with the quorum about that often, 0 never.
        """
        self._streams = streams
        self._out: list[Action[T]] = []
        self._state: State = "New"
        self._position = Position(consistent=consistent, page_size=page_size)
        self._waiting = Waiting(rng=rng)
        self._audit = Audit(audit, rng=rng)
        self._liveness = Liveness(rng=rng, watch_min=watch_min)
        self._changes: Changes[T] = Changes(position=self._position, audit=self._audit, liveness=self._liveness)
        # The list or the initial state under way
        self._gathering: Gathering[T] = Gathering(List(rv=""))
        self._initial: InitialState[T] = InitialState()

    @property
    def last_rv(self) -> str:
        """The version up to which everything was told."""
        return self._position.rv

    @property
    def state(self) -> State:
        return self._state

    @property
    def waits_until(self) -> float | None:
        """When the next attempt is made, None unless one has failed."""
        return self._waiting.until if self._state == "Backoff" else None

    def deadline(self) -> float | None:
        """When a `Tick` is due, None while only an input can change anything."""
        match self._state:
            case "Backoff":
                return self._waiting.until
            case "Streaming":
                return self._liveness.quiet_at
            case "Watching":
                audit, idle_at = self._audit.deadline(), self._liveness.idle_at
                if audit is None or idle_at is None:
                    return idle_at if audit is None else audit
                return min(audit, idle_at)
            case _:
                return None

    def takes_in_at_once(self, seen: Batch[T]) -> bool:
        """Whether nothing comes of this but a few `Upsert` and `Remove`."""
        return self._state == "Watching" and few(seen.events)

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
                self._state = "Stopped"
            case Start():
                if self._state == "New":
                    self._waiting.attempt(now)
                    self._fill(now)
            case Page():
                if self._state == "Listing":
                    self._page(seen, now)
            case ListFailed(error):
                if self._state == "Listing":
                    self._list_failed(error, now)
            case Opened():
                self._opened(now)
            case Batch(events):
                if self._state == "Streaming":
                    self._take_in(events, now)
                elif self._state == "Watching":
                    self._batch(events, now)
            case Ended(error):
                if self._state == "Streaming":
                    self._stream_ended(error, now)
                elif self._state == "Opening":
                    self._open_failed(error, now)
                elif self._state == "Watching":
                    self._watch_ended(error, now)
            case CannotStream():
                if self._state == "Streaming":
                    self._list_from_now_on(now)
            case Reachable():
                if self._state == "Backoff":
                    self._waiting.reachable(now)
            case Relist(why, consistent):
                self._relist(why, now, consistent=consistent)
            case Compared(differences):
                if self._state in {"Opening", "Watching"}:
                    self._audit.suspect(differences, now)
            case Tick():
                self._tick(now)
            case _:
                assert_never(seen)

    def _tick(self, now: float) -> None:
        due = self.deadline()
        if due is None or now < due:
            return
        match self._state:
            case "Backoff":
                self._waiting.attempt(now)
                if self._waiting.then_watch:
                    self._start_watch()
                else:
                    self._fill(now)
            case "Streaming":
                self._stream_is_quiet(now)
            case _:
                self._watch_is_due(now)

    # Fetching everything there is

    def _fill(self, now: float) -> None:
        if self._streams:
            self._start_stream(now)
        else:
            self._fetch(Gathering(self._position.next_list()))

    def _filled(self, objects: tuple[T, ...], poison: tuple[Poison, ...], rv: str, now: float) -> None:
        first = self._position.filled(rv)
        self._waiting.found(now)
        self._audit.acquit()
        if not self._audit.scheduled:
            self._audit.schedule(now)
        self._out.append(Replace(objects, poison, rv, self._position.served))
        if first:
            self._out.append(Synced())

    # ... as a list

    def _fetch(self, gathering: Gathering[T]) -> None:
        self._state, self._gathering = "Listing", gathering
        self._out.append(gathering.asked)

    def _page(self, page: Page[T], now: float) -> None:
        gathering = self._gathering
        if wrong := gathering.take(page):
            self._list_failed(DecodeError(wrong), now)
            return
        if gathering.audits:
            self._out.append(gathering.compare(page))
        if page.continue_:
            self._position.continued(gathering.asked)
            self._out.append(gathering.next(page.continue_))
            return
        if gathering.audits:
            self._audit.schedule(now)
        else:
            self._filled(*gathering.complete(), gathering.rv, now)
        if self._position.owes:
            self._fill(now)
        else:
            self._start_watch()

    def _list_failed(self, error: KubeError, now: float) -> None:
        audits = self._gathering.audits
        if isinstance(error, Expired) and (whole := self._gathering.in_one()) is not None:
            # Too slow for the pages: everything in one, as of the version first asked for.
            self._fetch(Gathering(whole, audits=audits))
            return
        self._gathering.complete()  # nothing of it is used
        if audits:
            self._audit.schedule(now)
            self._notice("auditFailed", error)
            self._wait(now, error, then_watch=not self._position.owes)
        elif self._position.went_too_far(error):
            self._fill(now)
        else:
            self._notice("listFailed", error)
            self._wait(now, error, then_watch=False)

    # ... as the first events of a watch

    def _start_stream(self, now: float) -> None:
        self._state, self._initial = "Streaming", InitialState()
        self._liveness.begun(now)
        self._watch(self._position.next_stream(), initial_events=True)

    def _take_in(self, events: tuple[WatchEvent[T], ...], now: float) -> None:
        self._liveness.heard(now)
        for at, event in enumerate(events, start=1):
            match event:
                case Event(type="BOOKMARK", object=obj):
                    if ends_it(obj):
                        self._streamed(obj.metadata.resource_version, now)
                        if self._state == "Watching":
                            self._batch(events[at:], now)
                        return
                case Failed(error=error):
                    self._close()
                    self._stream_ended(error, now)
                    return
                case Garbled(why=why):
                    self._close()
                    self._garbled(why, now)
                    return
                case Event(type="ADDED" | "MODIFIED", object=obj) if not key(obj):
                    self._out.append(Spoil(Poison(rv=obj.metadata.resource_version, error="it has no name")))
                case _:
                    if not self._initial.take(event):
                        self._out.append(without_effect(event))
        if self._initial.too_large:
            self._close()
            self._garbled("the initial state does not end", now)

    def _streamed(self, rv: str, now: float) -> None:
        complete, self._initial = self._initial.complete(), InitialState()
        self._filled(complete.objects, complete.poison, rv, now)
        self._out += (Spoil(poison) for poison in complete.spoiled)
        if self._position.owes:
            self._close()
            self._fill(now)
        else:
            self._state = "Watching"
            self._liveness.filled()
            self._position.streamed()

    def _stream_is_quiet(self, now: float) -> None:
        quiet = self._liveness.quiet(now)
        details = {"error": f"nothing of the initial state came for {quiet:g} s"}
        if quiet < QUIET_MAX:
            self._out.append(Notice("info", "initialStateWaits", details))
            return
        self._close()
        self._out.append(Notice("info", "initialStateMissing", details))
        self._list_from_now_on(now)

    def _stream_ended(self, error: KubeError | None, now: float) -> None:
        if self._position.went_too_far(error):
            self._fill(now)
            return
        text = str(error) if error else "the stream of the initial state ended before all of it was sent"
        self._out.append(Notice("info", "watchFailed", {"error": text}))
        # Aggregated servers have gates of their own, and some just send changes until the time is up.
        refused = isinstance(error, ApiError) and (
            error.code in {400, 422}
            or isinstance(error, Invalid)
            or (isinstance(error, Forbidden) and not self._waiting.starts(now))  # the rights may not be loaded yet
        )
        if refused or self._liveness.served(now):
            self._list_from_now_on(now)
        else:
            self._wait(now, error, then_watch=False, ended=error is None)

    def _list_from_now_on(self, now: float) -> None:
        self._streams, self._initial = False, InitialState()
        self._fill(now)

    # Watching

    def _start_watch(self) -> None:
        self._state = "Opening"
        self._position.watched()
        self._watch(self._position.rv, initial_events=False)

    def _watch(self, rv: str, *, initial_events: bool) -> None:
        match = "NotOlderThan" if initial_events else None
        self._out.append(Watch(rv, self._liveness.asked(rv), match=match, initial_events=initial_events))

    def _opened(self, now: float) -> None:
        if self._state in {"Opening", "Streaming"}:
            self._liveness.begun(now)
        if self._state == "Opening":
            self._state = "Watching"
            self._waiting.found(now)

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
        if isinstance(error, TransportError):
            self._waiting.lost()
        match error:
            case None | TransportError(kind="eof" | "reset" | "timeout"):
                if error is not None and error.kind == "timeout" and self._liveness.outlived(now):
                    self._out.append(Notice("debug", "watchOutlived", {"error": str(error)}))
                if self._liveness.short(self._position.rv, now):
                    self._short_watch(error, now)
                else:
                    self._start_watch()
            case _:
                self._notice("watchFailed", error)
                self._wait(now, error, then_watch=False)

    def _short_watch(self, error: KubeError | None, now: float) -> None:
        self._out.append(Notice("debug", "shortWatch", {"error": str(error) if error else "ended at once"}))
        self._wait(now, error, then_watch=False, ended=error is None)

    def _batch(self, events: tuple[WatchEvent[T], ...], now: float) -> None:
        self._liveness.heard(now)
        match self._changes.take(events, now, out=self._out):
            case None:
                self._waiting.heard()
            case Failed(error=error):
                self._close()
                self._in_stream(error, now)
            case Garbled(why=why):
                self._close()
                self._garbled(why, now)
            case unknown:
                assert_never(unknown)

    def _garbled(self, why: str, now: float) -> None:
        self._out.append(Notice("info", "watchGarbled", {"error": why}))
        self._wait(now, None, then_watch=False)

    def _in_stream(self, error: ApiError, now: float) -> None:
        if not isinstance(error, Expired):
            self._notice("watchFailed", error)
            self._wait(now, error, then_watch=isinstance(error, TooManyRequests))
            return
        self._notice("watchExpired", error, level="debug")
        self._wait(now, error, then_watch=False)
        self._waiting.expired(now)

    def _watch_is_due(self, now: float) -> None:
        if self._liveness.idle(now):
            self._close()
            self._out.append(Notice("debug", "watchIdle", {"error": f"nothing came for {IDLE_LIMIT:g} s"}))
            self._start_watch()
        elif unexplained := self._audit.unexplained(now):
            named = ", ".join(unexplained[:NAMED_MAX]) + (", ..." if len(unexplained) > NAMED_MAX else "")
            self._out.append(Notice("info", "auditDifferences", {"count": len(unexplained), "keys": named}))
            self._close()
            self._position.distrust()
            self._fill(now)
        elif self._audit.due(now):
            self._close()
            self._fetch(Gathering(List(rv="", limit=self._position.page_size), audits=True))

    # Waiting, and being told

    def _wait(self, now: float, error: KubeError | None, *, then_watch: bool, ended: bool = False) -> None:
        self._state, self._initial = "Backoff", InitialState()
        if self._waiting.failed(error, now, then_watch=then_watch, ended=ended):
            self._out.append(Notice("info", "ResourceMissing", {"error": str(error)}))

    def _relist(self, why: str, now: float, *, consistent: bool) -> None:
        self._position.relist(consistent=consistent)
        self._out.append(Notice("debug", "relist", {"why": why}))
        match self._state:
            case "Opening" | "Watching":
                self._close()
                self._fill(now)
            case "Backoff":
                self._waiting.then_watch = (
                    False  # the wait goes on: whatever made us wait has not been mended by asking
                )
            case "New" | "Listing" | "Streaming" | "Stopped":
                pass  # the first fill will serve it; one under way began too early, so another follows it
            case state:
                assert_never(state)

    def _close(self) -> None:
        if self._state in {"Listing", "Streaming", "Opening", "Watching"}:
            self._out.append(Close())

    def _notice(self, code: str, error: KubeError | None, *, level: Literal["info", "debug"] = "info") -> None:
        self._out.append(Notice(level, code, {"error": str(error)}))
