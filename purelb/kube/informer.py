# SPDX-License-Identifier: Apache-2.0
"""What a component knows of one resource: drives a `Reflector`, owns a `Store`, tells the handlers.

One task drives the machine and changes the store. The request under way, a list or a watch, is a task of its own that hands
over what it got through an inbox of one place, so a server cannot be faster than we are. What a given-up request left in the
inbox is taken out before anything of the next one can get in, and the machine ignores it.

Rules. An object that does not decode never costs its neighbours anything. Long work (a large list, its delivery, a full batch)
gives the loop a turn every 5 ms; events are held back meanwhile, because the driver is busy. `run` ends by cancellation or by
a mistake of ours, and leaves neither task nor open stream.

In `mode` `auto` the initial state is streamed if the server can do that, with `list` it never is. A server that has not been
asked for its version yet is asked by the request that wants to know, so an outage then is an outage like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, assert_never

from purelb.kube.audit import Comparison
from purelb.kube.bell import Bell
from purelb.kube.clock import breathe
from purelb.kube.decode import Page, Poison
from purelb.kube.errors import KubeError
from purelb.kube.handlers import Deliveries, Handler, Registration, enqueue
from purelb.kube.informerset import InformerSet, SyncTimeout
from purelb.kube.listwatch import (
    Action,
    Batch,
    CannotStream,
    Close,
    Compare,
    Compared,
    Ended,
    Input,
    List,
    ListFailed,
    Notice,
    Opened,
    Progress,
    Reachable,
    Relist,
    Remove,
    Replace,
    Spoil,
    Start,
    Synced,
    Tick,
    Upsert,
    Watch,
)
from purelb.kube.metrics import (
    INFORMER_LAST_EVENT_AGE,
    INFORMER_OBJECTS,
    INFORMER_OVERLAY_DROPPED,
    INFORMER_SYNCED,
    REFLECTOR_BACKOFF,
    REFLECTOR_ITEMS_PER_LIST,
    REFLECTOR_ITEMS_PER_WATCH,
    REFLECTOR_LIST_DURATION,
    REFLECTOR_LISTS,
    REFLECTOR_WATCH_DURATION,
    REFLECTOR_WATCHES,
    Sample,
)
from purelb.kube.model import KubeObject, key
from purelb.kube.reflector import Reflector
from purelb.kube.store import EMPTY, Rejected, Snapshot, Store
from purelb.kube.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Never

    from purelb.kube.client import ApiClient
    from purelb.kube.resources import Resource
    from purelb.kube.store import Index

__all__ = ["EMPTY", "Handler", "Informer", "InformerSet", "Registration", "Snapshot", "SyncTimeout", "enqueue"]

T = TypeVar("T", bound=KubeObject)

SLICE: Final = 0.005
AUDIT_EVERY: Final = 36_000.0


class Informer(Generic[T]):
    """The objects of one resource, in one namespace or all, kept up to date while `run` runs."""

    def __init__(
        self,
        client: ApiClient,
        r: Resource[T],
        *,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        indices: Mapping[str, Index[T]] = EMPTY,
        consistent: bool = False,
        mode: Literal["auto", "list"] = "auto",
        transform: Callable[[T], T] | None = None,
        audit: float = AUDIT_EVERY,
        name: str = "",
    ) -> None:
        """`name` is what metrics, log lines and tasks call it, by default its resource; unique in an `InformerSet`.

        `consistent`: the first list is a quorum read, which a consumer that decides exclusively needs.

        `mode` `list`: never ask for a streamed initial state. `audit`: about how often (seconds) everything is compared with
        a quorum read, 0 never. `transform` runs once for each object, before it is stored.
        """
        self.resource = r
        self.name = name or r.name
        self.scope = (r.name, namespace, labels, fields)
        self.mode = mode
        self.store: Store[T] = Store(indices)
        self.synced = False
        self._client = client
        self._clock = client.clock
        self._sink = client.sink
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._transform = transform
        self._machine: Reflector[T] = Reflector(
            rng=self._clock.random, consistent=consistent, streams=mode == "auto", audit=audit
        )
        self._deliveries: Deliveries[T] = Deliveries(self.name, client.sink)
        self._state: Literal["new", "running", "stopped"] = "new"
        self._replaced = False
        self._synced_bell = Bell(self._clock)
        self._inbox: asyncio.Queue[Input[T] | None] = asyncio.Queue(maxsize=1)
        self._told: deque[Input[T]] = deque()  # by other tasks of this process
        self._relists = 0
        self._replies: deque[tuple[int, Callable[[], None]]] = deque()
        self._request: asyncio.Task[None] | None = None
        self._troubles = Troubles(self.name, clock=client.clock, sink=client.sink)
        self._comparison = Comparison(self.store)  # of the audit under way
        self._dropped = 0
        self._seen_at = self._clock.now()
        self._lists_done = 0
        self._streams_failed = 0  # lists that were to come as a stream

    @property
    def lists_done(self) -> int:
        """How many lists, streamed ones included, were asked for and came."""
        return self._lists_done

    @property
    def lists_failed(self) -> int:
        """How many lists did not come."""
        return self._troubles.lists_failed + self._streams_failed

    @property
    def heard_at(self) -> float:
        """When the server last proved that what we know is current: a list, an opened watch, an event, a bookmark."""
        return self._seen_at

    @property
    def last_error(self) -> str:
        """The last trouble with the server, in words; empty when there was none."""
        return self._troubles.last_error

    @property
    def undecodable(self) -> Mapping[str, str]:
        """Keys of objects that could not be read, and why; an older version of them may be in the store."""
        return self.store.undecodable

    def add_handler(self, h: Handler[T], *, deliver_unchanged: bool = False) -> Registration[T]:
        """Register; what is stored already is delivered inside this call. Raises RuntimeError after the end of `run`."""
        if self._state == "stopped":
            raise RuntimeError(f"the informer of {self.name} has stopped")
        registration = Registration(h, deliver_unchanged=deliver_unchanged)
        self._deliveries.add(registration, self.store.values())
        return registration

    def note_write(self, obj: T) -> None:
        """Show what the server answered to a write of ours at once, unless the watch was faster."""
        if self._namespace is not None and obj.metadata.namespace != self._namespace:
            return
        shaped = self._shaped(obj)
        if isinstance(shaped, Poison):
            return  # it will come again through the watch, where it is counted and marked
        answer = self.store.note_write(shaped)
        if not isinstance(answer, Rejected):
            self._deliveries.tell(answer)

    def relist(self, why: str, *, consistent: bool = False, reply: Callable[[], None] | None = None) -> None:
        """List again. `consistent`: from the quorum. `reply` is called once a list that began after this call was delivered.

        After the end of `run` nothing happens, and nobody replies.
        """
        if self._state == "stopped":
            return
        self._relists += 1
        if reply is not None:
            self._replies.append((self._relists, reply))
        self._tell(Relist(why, consistent=consistent))

    async def wait_synced(self) -> None:
        """Return once the first list was delivered to every handler that was registered before it."""
        while not self.synced:
            await self._synced_bell.wait(None)

    def samples(self) -> Iterator[Sample]:
        """Gauges, computed when asked."""
        name, now = (self.name,), self._clock.now()
        yield Sample(INFORMER_OBJECTS, len(self.store), name)
        yield Sample(INFORMER_SYNCED, float(self.synced), name)
        yield Sample(INFORMER_LAST_EVENT_AGE, now - self._seen_at, name)
        waits_until = self._machine.waits_until
        yield Sample(REFLECTOR_BACKOFF, 0.0 if waits_until is None else max(0.0, waits_until - now), name)

    async def run(self) -> Never:
        """Keep the store up to date until cancelled. To be called once."""
        if self._state != "new":
            raise RuntimeError(f"the informer of {self.name} was started before")
        self._state = "running"
        end = self._client.on_reachable(lambda: self._tell(Reachable()))
        try:
            async with asyncio.TaskGroup() as group:
                await self._drive(group)
        finally:
            end()
            self._state = "stopped"
        raise AssertionError("driving never ends by itself")

    # Driving the machine

    async def _drive(self, group: asyncio.TaskGroup) -> Never:
        machine = self._machine
        seen: Input[T] = Start()
        while True:
            due = machine.deadline()
            now = self._clock.now()
            machine.receive(seen, max(now, due or now) if isinstance(seen, Tick) else now)
            await self._carry_out(machine.actions(), group)
            seen = await self._next(machine.deadline())

    async def _next(self, due: float | None) -> Input[T]:
        while not self._told:
            try:
                if self._inbox.empty():
                    async with self._clock.timeout_at(due):
                        seen = await self._inbox.get()
                else:  # no timer for what is there already; the next one needs a turn of the loop to come
                    seen = self._inbox.get_nowait()
            except TimeoutError:
                return Tick()
            if seen is not None:
                return seen
        return self._told.popleft()

    def _tell(self, seen: Input[T]) -> None:
        self._told.append(seen)
        if self._inbox.empty():
            self._inbox.put_nowait(None)  # wakes the driver; a full inbox does so anyway

    async def _carry_out(self, actions: list[Action[T]], group: asyncio.TaskGroup) -> None:
        until = self._clock.now() + SLICE
        for action in actions:
            match action:
                case Upsert(obj, rv):
                    self._upsert(obj, rv)
                case Remove(name, obj, rv):
                    self._troubles.mended(name)
                    self._deliveries.tell(self.store.remove(name, self._shaped_or_none(obj), rv))
                case Progress(rv):
                    self.store.progress(rv)
                case Spoil(poison):
                    self._troubles.spoiled(poison)
                    self.store.spoil(poison.key, poison.error, poison.rv)
                case Replace():
                    await self._replace(action)
                    until = self._clock.now() + SLICE
                case Compare():
                    await self._compare(action)
                    until = self._clock.now() + SLICE
                case Synced():
                    self.synced = True
                    self._synced_bell.ring_all()
                case Notice():
                    self._troubles.notice(action)
                case List():
                    self._start(group, self._list(action), "list")
                case Watch():
                    self._start(group, self._watch(action), "watch")
                case Close():
                    self._give_up()
                case _:
                    assert_never(action)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        self._count_dropped()

    # Requests

    def _start(self, group: asyncio.TaskGroup, request: Any, what: str) -> None:
        self._request = group.create_task(request, name=f"informer:{self.name}:{what}")

    def _give_up(self) -> None:
        if self._request is not None:
            self._request.cancel()
            self._request = None

    async def _list(self, action: List) -> None:
        name, started = self.name, self._clock.now()
        if action.continue_ is None:
            self._sink.count(REFLECTOR_LISTS, name)
        seen: Page[T] | ListFailed
        try:
            seen = await self._client.list_page(
                self.resource,
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                rv=action.rv,
                match=action.match,
                limit=action.limit,
                continue_=action.continue_,
            )
        except KubeError as error:
            seen = ListFailed(error)
        else:
            self._sink.observe(REFLECTOR_LIST_DURATION, self._clock.now() - started, name)
            self._sink.observe(REFLECTOR_ITEMS_PER_LIST, len(seen.objects) + len(seen.poison), name)
        await self._hand_over(seen)

    async def _watch(self, action: Watch) -> None:
        name, started, events = self.name, self._clock.now(), 0
        lists_before = self._lists_done
        ended: Ended | CannotStream = Ended()
        try:
            if action.initial_events and not await self._client.can_stream():
                await self._hand_over(CannotStream())
                return
            self._sink.count(REFLECTOR_WATCHES, name)
            async with self._client.watch(
                self.resource,
                namespace=self._namespace,
                labels=self._labels,
                fields=self._fields,
                rv=action.rv,
                timeout_s=action.timeout_s,
                initial_events=action.initial_events,
            ) as stream:
                await self._hand_over(Opened())
                async for batch in stream:
                    events += len(batch)
                    await self._hand_over(Batch(batch))
        except KubeError as error:
            ended = Ended(error)
            self._streams_failed += action.initial_events and self._lists_done == lists_before
        self._sink.observe(REFLECTOR_WATCH_DURATION, self._clock.now() - started, name)
        self._sink.observe(REFLECTOR_ITEMS_PER_WATCH, events, name)
        await self._hand_over(ended)

    async def _hand_over(self, seen: Input[T]) -> None:
        if not isinstance(seen, ListFailed | Ended | CannotStream):  # a failure proves nothing about what we know
            self._seen_at = self._clock.now()
        await self._inbox.put(seen)

    # Changing the store

    def _upsert(self, obj: T, rv: str) -> None:
        shaped = self._shaped(obj)
        if isinstance(shaped, Poison):
            self._troubles.spoiled(shaped)
            self.store.spoil(shaped.key, shaped.error, rv)
            return
        answer = self.store.upsert(shaped, rv)
        if isinstance(answer, Rejected):
            self._reject(answer, obj)
            return
        if self._troubles.any_spoiled:
            self._troubles.mended(key(obj))
        self._deliveries.tell(answer)

    async def _replace(self, action: Replace[T]) -> None:
        self._lists_done += 1
        replacement = self.store.replacement({bad.key: bad.error for bad in action.poison}, action.rv)
        for bad in action.poison:
            self._troubles.spoiled(bad)
        until = self._clock.now() + SLICE
        for obj in action.objects:
            shaped = self._shaped(obj)
            if isinstance(shaped, Poison):
                self._troubles.spoiled(shaped)
                replacement.refuse(shaped.key, shaped.error)
            else:
                replacement.take(shaped)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        for rejected in replacement.rejected:
            self._reject(rejected, None)
        self._deliveries.put(self.store.commit(replacement), initial=not self._replaced)
        self._replaced = True
        self._troubles.only(self.store.undecodable)
        until = self._clock.now() + SLICE
        while self._deliveries.step():
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        while self._replies and self._replies[0][0] <= action.serves:
            self._replies.popleft()[1]()

    async def _compare(self, action: Compare[T]) -> None:
        if action.first:
            self._comparison = Comparison(self.store)
        until = self._clock.now() + SLICE
        for bad in action.poison:
            self._comparison.refuse(bad)
        for obj in action.objects:
            self._comparison.take(obj)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        if action.last:
            differences, self._comparison = self._comparison.differences(), Comparison(self.store)
            self._told.append(Compared(differences))

    def _shaped(self, obj: T) -> T | Poison:
        if self._transform is None:
            return obj
        try:
            return self._transform(obj)
        except Exception as error:  # noqa: BLE001  one object is fenced off from its neighbours
            meta = obj.metadata
            why = f"it cannot be transformed: {type(error).__name__}: {error}"
            return Poison(key=key(obj), uid=meta.uid, rv=meta.resource_version, error=why)

    def _shaped_or_none(self, obj: T | None) -> T | None:
        shaped = None if obj is None else self._shaped(obj)
        return None if isinstance(shaped, Poison) else shaped

    def _reject(self, rejected: Rejected, obj: T | None) -> None:
        meta = None if obj is None else obj.metadata
        uid, rv = (meta.uid, meta.resource_version) if meta else ("", "")
        self._troubles.spoiled(Poison(key=rejected.key, uid=uid, rv=rv, error=rejected.why))

    def _count_dropped(self) -> None:
        if self.store.dropped != self._dropped:
            self._sink.count(INFORMER_OVERLAY_DROPPED, self.name, by=self.store.dropped - self._dropped)
            self._dropped = self.store.dropped
