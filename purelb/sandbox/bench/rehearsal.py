# SPDX-License-Identifier: Apache-2.0
"""The allocator's owner at work without a server, a loop or a clock: its real steps, its real queue, and stores we fill.

Writes are kept until `answer` applies them as the API server would, so a benchmark counts exactly what a step did and
measures nothing else. Time is a number that only the benchmark moves: an hour without a change takes what its steps take.

Not here: HTTP, the informers, the writer. What they cost is measured on a real API server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec.structs import replace

from purelb.allocator.keys import Key, ServiceKey, Wrote
from purelb.allocator.observed import Ownership
from purelb.allocator.rebuild import rebuild
from purelb.allocator.reconciler import Reconciler
from purelb.allocator.serving import Rules
from purelb.allocator.state import Config, State, Stores
from purelb.allocator.watching import watch
from purelb.kube.metrics import NO_SINK
from purelb.kube.model import Service, ServiceStatus
from purelb.kube.owner import After, Retry
from purelb.kube.queue import INITIAL, LIVE, URGENT, QueueCore
from purelb.kube.resources import SERVICES
from purelb.kube.store import Added, Deleted, Store, Unchanged, Updated
from purelb.kube.writer import Written
from purelb.process.pacing import Pace
from purelb.sandbox.bench.components import INSTALL_NAMESPACE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping

    from purelb.api.kinds import LBNodeStatus, ServiceGroup
    from purelb.kube.informer import Handler
    from purelb.kube.model import Lease
    from purelb.kube.store import Change

START: Final = 1000.0
RETRIED_AFTER: Final = 1.0


class _Feed:
    """What a term listens to: a store, and the handler that is told of its changes."""

    def __init__(self) -> None:
        self.store: Store[Any] = Store()
        self._handlers: list[Handler[Any]] = []

    def add_handler(self, handler: Handler[Any]) -> Handler[Any]:
        self._handlers.append(handler)
        return handler

    def put(self, obj: Any) -> None:
        self.tell(self.store.upsert(obj, obj.metadata.resource_version))

    def tell(self, changes: object) -> None:
        if not isinstance(changes, tuple):
            raise TypeError(f"the store refused an object: {changes}")
        for change in changes:
            self._told(change)

    def _told(self, change: Change[Any]) -> None:
        for handler in self._handlers:
            match change:
                case Added(obj=obj):
                    handler.added(obj, initial=False)
                case Updated(old=old, new=new):
                    handler.updated(old, new)
                case Deleted(obj=obj, final=final):
                    handler.deleted(obj, final=final)
                case Unchanged():
                    pass


class _World:
    def __init__(self) -> None:
        self.services, self.groups, self.agents, self.namespaces = _Feed(), _Feed(), _Feed(), _Feed()
        self.nodes, self.reports, self.leases = _Feed(), _Feed(), _Feed()


class _Sent:
    """A write that was submitted."""

    __slots__ = ("body", "name", "namespace", "number", "service")

    def __init__(self, number: int, namespace: str, name: str, body: bytes, *, service: bool) -> None:
        self.number, self.namespace, self.name, self.body, self.service = number, namespace, name, body, service


class Rehearsal:
    """One term. Implements `Hands` for its steps and `Clock` for its rebuild."""

    sink = NO_SINK

    def __init__(self, *, groups: Iterable[ServiceGroup], services: Iterable[Service] = ()) -> None:
        self.time = START
        self.writes: list[_Sent] = []
        self.steps: list[tuple[Key, float]] = []  # with the CPU of its longest stretch without a pause
        self.rebuilding = 0.0  # the longest stretch of the rebuild
        self.events = 0
        self.world = _World()
        self._rv = 1_000_000
        self._queue: QueueCore[Key] = QueueCore()
        self.world.groups.store.replace(groups, {}, "1")
        self.world.services.store.replace(services, {}, "1")
        stores = Stores(**{name: feed.store for name, feed in vars(self.world).items()})
        config = Config(Ownership(), Rules(), INSTALL_NAMESPACE)
        self.state = State(config, stores)
        self._reconciler = Reconciler(self.state, self)
        watch(self.world, self)  # type: ignore[arg-type]

    # Running

    def begin(self) -> float:
        """Rebuild the ledger; the CPU that took. The first decisions are still to be made."""
        began = time.thread_time()
        _, self.rebuilding = finish(rebuild(self.state, self, self))  # type: ignore[arg-type]
        return time.thread_time() - began

    def run(self, *, until: float | None = None) -> float:
        """Every step that is ready, and with `until` those that become ready by then; the CPU they took."""
        began = time.thread_time()
        while True:
            taken = self._queue.take(self.time)
            if taken is not None:
                self._step(taken[0])
                continue
            due = self._queue.deadline()
            if until is None or due is None or due > until:
                break
            self.time = max(self.time, due)
        if until is not None:
            self.time = until
        return time.thread_time() - began

    def settle(self) -> None:
        """Run and answer until nothing is ready and nothing is on its way."""
        self.run()
        while self.writes:
            self.answer()
            self.run()

    def answer(self) -> None:
        """The server applies every write that was submitted, and shows what became of it."""
        sent, self.writes = self.writes, []
        for write in sent:
            self._apply(write)

    def forget(self) -> None:
        """Ask nobody again who was asked so far: what follows is measured alone."""
        self._queue = QueueCore()
        self.steps.clear()

    # The world

    def put_service(self, service: Service) -> None:
        self.world.services.put(self._versioned(service))

    def delete_service(self, name: str) -> None:
        feed = self.world.services
        feed.tell(feed.store.remove(name, None, str(self._next_rv())))

    def put_group(self, group: ServiceGroup) -> None:
        self.world.groups.put(self._versioned(group))

    def put_report(self, report: LBNodeStatus) -> None:
        self.world.reports.put(self._versioned(report))

    def put_lease(self, lease: Lease) -> None:
        self.world.leases.put(self._versioned(lease))

    def services(self) -> tuple[Service, ...]:
        found: tuple[Service, ...] = self.world.services.store.values()
        return found

    def longest(self, kind: type[Key] | None = None) -> float:
        """The longest that a step of one kind of key, or of any, held the loop so far, in seconds of CPU."""
        return max((took for key, took in self.steps if kind is None or isinstance(key, kind)), default=0.0)

    # Hands

    def soon(self, key: Key, *, priority: int = LIVE) -> None:
        self._queue.add(key, priority=priority, now=self.time)

    def afterwards(self, key: Key) -> None:
        self.soon(key, priority=INITIAL)

    def later(self, key: Key, delay: float, *, priority: int = LIVE) -> None:
        self._queue.add_after(key, delay, priority=priority, now=self.time)

    def write(self, number: int, resource: object, *, namespace: str, name: str, body: bytes, **_: object) -> None:
        self.writes.append(_Sent(number, namespace, name, body, service=resource is SERVICES))

    def read(self, service: ServiceKey) -> None:
        raise RuntimeError(f"every write is answered here, so {service} need not be read")

    def call(self, call: object) -> None:
        raise RuntimeError(f"no group here asks a source: {call}")

    def tell(self, regarding: object, told: object, *, ago: float = 0.0) -> None:  # noqa: ARG002
        self.events += 1

    def wall(self) -> str:
        return "2026-01-01T00:00:00Z"

    def pace(self) -> Pace:
        return Pace(time.thread_time)

    def answered_at(self) -> float:
        return self.time

    def ask_whether_it_answers(self) -> None:
        """It always does."""

    # Clock

    def now(self) -> float:
        return self.time

    # One turn

    def _step(self, key: Key) -> None:
        outcome, longest = finish(self._reconciler.step(key, self.time))
        self.steps.append((key, longest))
        self._queue.done(key, now=self.time)
        match outcome:
            case After(delay=delay):
                self._queue.add_after(key, delay, priority=LIVE, now=self.time)
            case Retry():
                self._queue.add_after(key, RETRIED_AFTER, priority=INITIAL, now=self.time)
            case _:
                pass

    def _apply(self, write: _Sent) -> None:
        patch = msgspec.json.decode(write.body)
        if not write.service:
            self.state.flights.answer(write.number, Written(None, str(self._next_rv()), unchanged=False), self.time)
            self._queue.add(Wrote(write.number), priority=URGENT, now=self.time)
            return
        feed = self.world.services
        before = feed.store.get(f"{write.namespace}/{write.name}")
        if before is None:
            raise RuntimeError(f"{write.namespace}/{write.name} was written and does not exist")
        obj = self._versioned(_merged(before, patch))
        self.state.flights.answer(write.number, Written(obj, obj.metadata.resource_version, unchanged=False), self.time)
        feed.tell(feed.store.note_write(obj))
        self._queue.add(Wrote(write.number), priority=URGENT, now=self.time)

    def _versioned(self, obj: Any) -> Any:
        return replace(obj, metadata=replace(obj.metadata, resource_version=str(self._next_rv())))

    def _next_rv(self) -> int:
        self._rv += 1
        return self._rv


def finish(work: Coroutine[Any, Any, Any]) -> tuple[Any, float]:
    """Run a coroutine that waits for nothing but its turn; its answer, and the CPU of its longest stretch without a pause."""
    longest = 0.0
    while True:
        began = time.thread_time()
        try:
            work.send(None)
        except StopIteration as ended:
            return ended.value, max(longest, time.thread_time() - began)
        longest = max(longest, time.thread_time() - began)


def _merged(service: Service, patch: Mapping[str, Any]) -> Service:
    """What a merge patch of the status makes of a Service."""
    noted = dict(service.metadata.annotations or {})
    for name, value in patch.get("metadata", {}).get("annotations", {}).items():
        if value is None:
            noted.pop(name, None)
        else:
            noted[name] = value
    status = msgspec.to_builtins(service.status or ServiceStatus()) | patch.get("status", {})
    return replace(
        service,
        metadata=replace(service.metadata, annotations=noted or None),
        status=msgspec.convert(status, ServiceStatus),
    )
