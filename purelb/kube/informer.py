# SPDX-License-Identifier: Apache-2.0
"""What a component knows of one resource: drives a `Reflector`, owns a `Store`, tells the handlers.

One task drives the machine and changes the store (`filling`). The request under way (`asking`), a list or a watch, is a task of
its own that hands over what it got through an inbox of one place, so a server cannot be faster than we are. What a given-up
request left in the inbox is thrown away with it: the machine would take it for the beginning, or the end, of the next one.
Up to eight changes of a watch, which find the driver waiting and nothing before them, are taken in at once, in one stretch, by whoever
brings them: a turn of the loop less between an event and its consumer. So a handler should only put keys on a queue.

Rules. Long work (a large list, its delivery, a full batch) gives the loop a turn every 5 ms; events are held back meanwhile,
because the driver is busy. `run` ends by cancellation or by a mistake of ours, and leaves neither task nor open stream.

In `mode` `auto` the initial state is streamed if the server can do that, with `list` it never is. A server that has not been
asked for its version yet is asked by the request that wants to know, so an outage then is an outage like any other.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, Literal, TypeVar, assert_never

from purelb.kube.asking import Asking
from purelb.kube.bell import Bell
from purelb.kube.clock import breathe
from purelb.kube.filling import Filling
from purelb.kube.handlers import Handler, Registration, enqueue
from purelb.kube.informerset import InformerSet, SyncTimeout
from purelb.kube.listwatch import (
    Action,
    Batch,
    Close,
    Compare,
    Input,
    List,
    Notice,
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
    INFORMER_SYNCED,
    REFLECTOR_BACKOFF,
    Sample,
)
from purelb.kube.model import KubeObject
from purelb.kube.reflector import Reflector
from purelb.kube.store import EMPTY, Snapshot, Store
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
        self.store: Store[T] = Store(indices, sharing=client.sharing(r))
        self.synced = False
        self._client = client
        self._clock = client.clock
        self._namespace = namespace
        self._machine: Reflector[T] = Reflector(
            rng=self._clock.random, consistent=consistent, streams=mode == "auto", audit=audit
        )
        self._state: Literal["new", "running", "stopped"] = "new"
        self._synced_bell = Bell(self._clock)
        self._inbox: asyncio.Queue[Input[T] | None] = asyncio.Queue(maxsize=1)
        self._waits = False  # whether the driver has nothing to do but to wait for the inbox
        self._told: deque[Input[T]] = deque()  # by other tasks of this process
        self._relists = 0
        self._replies: deque[tuple[int, Callable[[], None]]] = deque()
        self._asking: Asking[T] = Asking(
            client,
            r,
            name=self.name,
            namespace=namespace,
            labels=labels,
            fields=fields,
            transform=transform,
            store=self.store,
            hand_over=self._hand_over,
            lists_done=lambda: self._filling.replaced,
        )
        self._troubles = Troubles(self.name, clock=client.clock, sink=client.sink)
        self._filling: Filling[T] = Filling(
            self.store,
            name=self.name,
            transform=transform,
            troubles=self._troubles,
            clock=client.clock,
            sink=client.sink,
        )

    @property
    def lists_done(self) -> int:
        """How many lists, streamed ones included, were asked for and came."""
        return self._filling.replaced

    @property
    def lists_failed(self) -> int:
        """How many lists did not come."""
        return self._troubles.lists_failed + self._asking.streams_failed

    @property
    def heard_at(self) -> float:
        """When the server last proved that what we know is current: a list, an opened watch, an event, a bookmark."""
        return self._asking.seen_at

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
        self._filling.add(registration)
        return registration

    def note_write(self, obj: T) -> None:
        """Show what the server answered to a write of ours at once, unless the watch was faster."""
        if self._namespace is not None and obj.metadata.namespace != self._namespace:
            return
        self._filling.note_write(obj)

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
        yield Sample(INFORMER_LAST_EVENT_AGE, now - self._asking.seen_at, name)
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
            seen = await self._next()

    async def _next(self) -> Input[T]:
        while not self._told:
            due = self._machine.deadline()
            try:
                if self._inbox.empty():
                    self._waits = True
                    async with self._clock.timeout_at(due):
                        seen = await self._inbox.get()
                else:  # no timer for what is there already; the next one needs a turn of the loop to come
                    seen = self._inbox.get_nowait()
            except TimeoutError:
                if self._machine.deadline() == due:
                    return Tick()
                continue  # what was taken in meanwhile has put it off
            finally:
                self._waits = False
            if seen is not None:
                return seen
        return self._told.popleft()

    async def _hand_over(self, seen: Input[T]) -> None:
        if self._waits and self._inbox.empty() and isinstance(seen, Batch) and self._machine.takes_in_at_once(seen):
            self._machine.receive(seen, self._clock.now())
            for action in self._machine.actions():
                self._change(action)
            self._filling.count_dropped()
        else:
            await self._inbox.put(seen)

    def _change(self, action: Action[T]) -> None:
        match action:
            case Upsert():
                self._filling.upsert(action)
            case Remove():
                self._filling.remove(action)
            case _:
                raise AssertionError(f"{action} is nothing that a few changes of a watch lead to")

    def _tell(self, seen: Input[T]) -> None:
        self._told.append(seen)
        if self._inbox.empty():
            self._inbox.put_nowait(None)  # wakes the driver; a full inbox does so anyway

    async def _carry_out(self, actions: list[Action[T]], group: asyncio.TaskGroup) -> None:
        until = self._clock.now() + SLICE
        for action in actions:
            match action:
                case Upsert():
                    self._filling.upsert(action)
                case Remove():
                    self._filling.remove(action)
                case Progress(rv):
                    self.store.progress(rv)
                case Spoil():
                    self._filling.spoil(action)
                case Replace(serves=serves):
                    await self._filling.replace(action)
                    while self._replies and self._replies[0][0] <= serves:
                        self._replies.popleft()[1]()
                    until = self._clock.now() + SLICE
                case Compare():
                    if (compared := await self._filling.compare(action)) is not None:
                        self._told.append(compared)
                    until = self._clock.now() + SLICE
                case Synced():
                    self.synced = True
                    self._synced_bell.ring_all()
                case Notice():
                    self._troubles.notice(action)
                case List() | Watch():
                    self._asking.start(action, group)
                case Close():
                    self._asking.give_up()
                    while not self._inbox.empty():
                        self._inbox.get_nowait()
                case _:
                    assert_never(action)
            if self._clock.now() >= until:
                await breathe()
                until = self._clock.now() + SLICE
        self._filling.count_dropped()
