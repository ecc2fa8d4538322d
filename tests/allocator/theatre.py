# SPDX-License-Identifier: Apache-2.0
"""A whole world in one thread, played step by step: a model of the API server, what of it was seen, and the owner of one term.

The steps, the handlers and the stores are the real ones; the server, the watches, the writer and time are models, so that any order of
events, answers and deaths is one call away and a story costs milliseconds. What the server holds and what the allocator has seen of
it are two things: events wait in a backlog until they are delivered, answers until somebody gives them, and what a dead allocator
had sent may be applied long after. After each step the sentences about the ledger are checked, and at each write those about
statuses: `Broken` names the first one that is not true.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec
from msgspec.structs import replace

from purelb.allocator.keys import Key, ReadAgain, ServiceKey, Wrote
from purelb.allocator.observed import Ownership, published
from purelb.allocator.ranges import Address, ip_text
from purelb.allocator.rebuild import rebuild
from purelb.allocator.reconciler import Reconciler
from purelb.allocator.serving import Rules
from purelb.allocator.state import Config, State, Stores
from purelb.allocator.watching import watch
from purelb.api.kinds import LBNodeAgent, LBNodeAgentStatus, ServiceGroup, ServiceGroupStatus
from purelb.kube.errors import Status, TransportError
from purelb.kube.metrics import NO_SINK
from purelb.kube.model import LoadBalancerIngress, LoadBalancerStatus, Service, ServiceStatus
from purelb.kube.owner import After, Retry
from purelb.kube.resources import SERVICES, Resource
from purelb.kube.store import Added, Deleted, Store, Updated
from purelb.kube.writer import Conflicted, Failed, Missing, Refused, WriteResult, Written
from purelb.process.pacing import Pace
from tests.allocator.objects import INSTALL
from tests.allocator.sentences import after_a_step, of_a_write
from tests.allocator.sentences import name as name_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from purelb.allocator.occasions import Occasion
    from purelb.allocator.sources.source import Call
    from purelb.kube.informer import Handler
    from purelb.kube.model import ObjectReference

Outcome = Literal["ok", "conflict", "lost", "lost and refused", "unsent", "refused", "missing"]
KINDS = ("services", "groups", "agents", "namespaces", "nodes", "reports", "leases")
STATUSES: dict[type, type] = {Service: ServiceStatus, ServiceGroup: ServiceGroupStatus, LBNodeAgent: LBNodeAgentStatus}
STEPS_MAX = 20_000
PATIENT_FOR = 2.0


class Broken(AssertionError):
    """A promise that is not kept."""


class Sent(NamedTuple):
    """A write on its way. `settled`: the versions of the Services that had been seen and decided when it was made."""

    number: int
    kind: str
    where: str
    body: bytes
    rv: str | None
    settled: frozenset[tuple[str, str]]
    patient: bool = False


class Feed:
    """The store of one kind, and who is told of its changes."""

    def __init__(self) -> None:
        self.store: Store[Any] = Store()
        self.handlers: list[Handler[Any]] = []

    def add_handler(self, handler: Handler[Any]) -> Handler[Any]:
        self.handlers.append(handler)
        return handler

    def tell(self, changes: object) -> None:
        assert isinstance(changes, tuple), changes
        for change in changes:
            for handler in self.handlers:
                match change:
                    case Added(obj=obj):
                        handler.added(obj, initial=False)
                    case Updated(old=old, new=new):
                        handler.updated(old, new)
                    case Deleted(obj=obj, final=final):
                        handler.deleted(obj, final=final)
                    case _:
                        pass


class World:
    """What an allocator has seen."""

    def __init__(self) -> None:
        for kind in KINDS:
            setattr(self, kind, Feed())

    def feed(self, kind: str) -> Feed:
        found = getattr(self, kind)
        assert isinstance(found, Feed)
        return found


class Theatre:
    """The world. Implements `Hands` for the steps and `Clock` for the rebuild."""

    sink = NO_SINK

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.time = 1000.0
        self.rv = 100
        self.uids = 0
        self.there: dict[str, dict[str, Any]] = {kind: {} for kind in KINDS}
        self.held_back: set[str] = set()  # Services with a finalizer
        self.backlog: dict[str, deque[tuple[str, Any, str]]] = {kind: deque() for kind in KINDS}
        self.late: list[Sent] = []
        self.told: list[tuple[str, str]] = []  # about whom, and the reason
        self.by_hand: dict[str, set[Address]] = {}  # what somebody wrote into a status
        self.touched: dict[str, float] = {}  # uid -> when its user last edited it
        self.shown: dict[str, dict[Address, float]] = {}  # uid -> since when each address stands in its status
        self.turns = 0
        self.world = World()
        self.begin()

    # The allocator

    def begin(self, *, warm: bool = False) -> None:
        """A term begins: in a new process, or in a standby that has seen what was delivered to it, but for a fresh list of Services."""
        world = self.world if warm else World()
        for kind in KINDS:
            feed = world.feed(kind)
            feed.handlers.clear()
            if not warm or kind == "services":
                feed.tell(feed.store.replace(tuple(self.there[kind].values()), {}, str(self.rv)))
                self.backlog[kind].clear()
        self.world = world
        self.writes: list[Sent] = []
        self.reads: list[ServiceKey] = []
        self.ready: dict[Key, None] = {}
        self.delayed: dict[Key, float] = {}
        stores = Stores(**{kind: world.feed(kind).store for kind in KINDS})
        self.state = State(Config(Ownership(), Rules(), INSTALL), stores)
        self.reconciler = Reconciler(self.state, self)
        watch(world, self)  # type: ignore[arg-type]
        finish(rebuild(self.state, self, self))  # type: ignore[arg-type]
        self.check()

    def kill(self, *, warm: bool) -> None:
        """The term is over. What was sent may be applied some time; nobody hears the answer."""
        self.late += [sent for sent in self.writes if self.rng.random() < 0.5]
        self.begin(warm=warm)

    def step(self, key: Key) -> None:
        self.ready.pop(key, None)
        self.turns += 1
        if self.turns > STEPS_MAX:
            raise Broken(f"no rest after {STEPS_MAX} steps: {key}")
        outcome = finish(self.reconciler.step(key, self.time))
        match outcome:
            case After(delay=delay):
                self.later(key, delay)
            case Retry():
                self.later(key, 1.0)
            case _:
                pass
        self.check()

    def soon(self, key: Key, *, priority: int = 0) -> None:
        self.delayed.pop(key, None)
        self.ready[key] = None

    def afterwards(self, key: Key) -> None:
        self.soon(key)

    def later(self, key: Key, delay: float, *, priority: int = 0) -> None:
        if key not in self.ready:
            self.delayed[key] = min(self.delayed.get(key, float("inf")), self.time + delay)

    def write(
        self,
        number: int,
        resource: Resource[Any],
        *,
        namespace: str,
        name: str,
        body: bytes,
        rv: str | None,
        patient: bool = False,
        **_: Any,
    ) -> None:
        kind = "services" if resource is SERVICES else "groups" if resource.kind == "ServiceGroup" else "agents"
        waits = {str(asked) for asked in self.ready}
        seen = ((name_of(each), each.metadata.resource_version) for each in self.feed("services").store.values())
        settled = frozenset(row for row in seen if row[0] not in waits)
        self.writes.append(Sent(number, kind, f"{namespace}/{name}", body, rv, settled, patient))

    def read(self, service: ServiceKey) -> None:
        if service not in self.reads:
            self.reads.append(service)

    def call(self, call: Call) -> None:
        raise Broken(f"no group here asks a source: {call}")

    def tell(self, regarding: ObjectReference, told: Occasion, *, ago: float = 0.0) -> None:
        self.told.append((regarding.name, told.reason))

    def wall(self) -> str:
        return "2030-01-01T00:00:00Z"

    def answered_at(self) -> float:
        return self.time

    def ask_whether_it_answers(self) -> None:
        """It always does."""

    def now(self) -> float:
        return self.time

    def pace(self) -> Pace:
        return Pace(self.now)

    # What happens

    def feed(self, kind: str) -> Feed:
        """What the allocator has seen of one kind."""
        return self.world.feed(kind)

    def pass_time(self, seconds: float) -> None:
        self.time += seconds
        for key, due in sorted(self.delayed.items(), key=lambda row: row[1]):
            if due <= self.time:
                self.soon(key)

    def deliver(self, kind: str, most: int = 1 << 30) -> None:
        """Events reach the store, in their order."""
        feed = self.world.feed(kind)
        for _ in range(min(most, len(self.backlog[kind]))):
            where, obj, rv = self.backlog[kind].popleft()
            feed.tell(feed.store.remove(where, None, rv) if obj is None else feed.store.upsert(obj, rv))

    def answer(self, sent: Sent, outcome: Outcome) -> None:
        """A write is over, one way or another."""
        self.writes.remove(sent)
        result: WriteResult
        match outcome:
            case "conflict":
                result = Conflicted()
            case "unsent":
                result = Failed(TransportError("reset", "it was cut"), 1)
            case "refused":
                result = Refused(Status(code=403, reason="Forbidden", message="no"))
            case "missing":
                result = Missing() if sent.where not in self.there[sent.kind] else self.apply(sent)
            case "lost":
                self.apply(sent)
                result = Failed(TransportError("reset", "it was cut"), 1)
            case "lost and refused":  # the second time it was sent
                self.apply(sent)
                result = Refused(Status(code=403, reason="Forbidden", message="no"), attempts=2)
            case _:
                result = self.apply(sent)
        if isinstance(result, Written) and sent.kind != "agents":
            feed = self.world.feed(sent.kind)
            feed.tell(feed.store.note_write(result.obj))
        self.state.flights.answer(sent.number, result, self.time)
        if sent.patient and isinstance(result, Written) and sent.number % 2:  # as in a burst
            self.later(ServiceKey(*sent.where.split("/")), PATIENT_FOR)
        else:
            self.soon(Wrote(sent.number))

    def apply(self, sent: Sent, *, late: bool = False) -> WriteResult:
        """What the server makes of a write. Nobody answers for one that comes late: it is of another time."""
        before = self.there[sent.kind].get(sent.where)
        if before is None:
            return Missing()
        if sent.rv is not None and before.metadata.resource_version != sent.rv:
            return Conflicted()
        after = merged(before, msgspec.json.decode(sent.body))
        if after == before:
            return Written(before, before.metadata.resource_version)
        if sent.kind == "services" and not late and (wrong := list(of_a_write(self, before, after, sent.settled))):
            raise Broken("; ".join(wrong))
        obj = self.put(sent.kind, after)
        return Written(obj, obj.metadata.resource_version)

    def apply_late(self, which: int) -> None:
        """What a dead allocator had sent reaches the server. What it publishes is nobody's, as if somebody had written it by hand."""
        sent = self.late.pop(which)
        before = self.there[sent.kind].get(sent.where)
        if self.apply(sent, late=True) != Conflicted() and before is not None and sent.kind == "services":
            came = {*published(self.there[sent.kind][sent.where])} - {*published(before)}
            self.by_hand.setdefault(before.metadata.uid, set()).update(came)

    def read_again(self, service: ServiceKey) -> None:
        """The Service is read from the server; or is found to be gone, and all are listed again."""
        self.reads.remove(service)
        feed, found = self.feed("services"), self.there["services"].get(str(service))
        if found is None:
            self.backlog["services"].clear()
            feed.tell(feed.store.replace(tuple(self.there["services"].values()), {}, str(self.rv)))
            return
        feed.tell(feed.store.note_write(found))
        self.soon(ReadAgain(service))

    # The server

    def put(self, kind: str, obj: Any) -> Any:
        """An object is created or changed."""
        self.rv += 1
        obj = replace(obj, metadata=replace(obj.metadata, resource_version=str(self.rv)))
        where = f"{obj.metadata.namespace}/{obj.metadata.name}" if obj.metadata.namespace else obj.metadata.name
        self.there[kind][where] = obj
        self.backlog[kind].append((where, obj, str(self.rv)))
        if kind == "services":
            known = self.shown.setdefault(obj.metadata.uid, {})
            self.shown[obj.metadata.uid] = {a: known.get(a, self.time) for a in published(obj)}
        return obj

    def remove(self, kind: str, where: str) -> None:
        """An object is gone."""
        if self.there[kind].pop(where, None) is not None:
            self.rv += 1
            self.backlog[kind].append((where, None, str(self.rv)))

    def edit(self, where: str, change: Callable[[Service], Service]) -> None:
        """The user of a Service edits it."""
        found = self.there["services"].get(where)
        if found is not None and (edited := change(found)) != found:
            self.touched[found.metadata.uid] = self.time
            self.put("services", edited)

    def write_by_hand(self, where: str, *addresses: Address) -> None:
        """Somebody writes an ingress."""
        found = self.there["services"].get(where)
        if found is None or found.spec.type != "LoadBalancer":
            return
        self.by_hand[found.metadata.uid] = {*addresses}
        ingress = tuple(LoadBalancerIngress(ip=ip_text(address)) for address in addresses)
        status = replace(found.status, load_balancer=LoadBalancerStatus(ingress=ingress))
        self.edit(where, lambda service: replace(service, status=status))

    def delete(self, where: str) -> None:
        """A Service is deleted; with a finalizer it lingers."""
        found = self.there["services"].get(where)
        if found is None:
            return
        if where in self.held_back:
            gone = replace(found.metadata, deletion_timestamp="2030-01-01T00:00:00Z")
            self.edit(where, lambda service: replace(service, metadata=gone))
        else:
            self.remove("services", where)

    def let_go(self, where: str) -> None:
        """Its finalizer is gone."""
        self.held_back.discard(where)
        found = self.there["services"].get(where)
        if found is not None and found.metadata.deletion_timestamp:
            self.remove("services", where)

    def check(self) -> None:
        """The sentences about the ledger, between two steps."""
        if wrong := list(after_a_step(self)):
            raise Broken("; ".join(wrong[:3]))

    # Rest

    def heal(self, *, seconds: float) -> None:
        """No more faults: everything arrives, everything is answered, until nothing is left to do for so long."""
        for kind in ("nodes", "reports", "leases"):
            for where in list(self.there[kind]):
                self.remove(kind, where)
        while self.late:
            self.apply_late(0)
        ends = self.time + seconds
        while True:
            for kind in KINDS:
                self.deliver(kind)
            for service in list(self.reads):
                self.read_again(service)
            for sent in list(self.writes):
                self.answer(sent, "ok")
            if self.ready:
                self.step(next(iter(self.ready)))
            elif not any(self.backlog.values()) and not self.writes:
                due = min(self.delayed.values(), default=ends + 1)
                if due > ends:
                    return
                self.pass_time(max(0.0, due - self.time))


def merged(obj: Any, patch: dict[str, Any]) -> Any:
    """A merge patch of the status, of our annotations, or of the policy."""
    noted = dict(obj.metadata.annotations or {})
    for key, value in patch.get("metadata", {}).get("annotations", {}).items():
        if value is None:
            noted.pop(key, None)
        else:
            noted[key] = value
    if "annotations" in patch.get("metadata", {}):
        obj = replace(obj, metadata=replace(obj.metadata, annotations=noted or None))
    if "status" in patch:
        kind = STATUSES[type(obj)]
        whole = {} if obj.status is None else msgspec.to_builtins(obj.status)
        whole |= patch["status"]
        obj = replace(obj, status=msgspec.convert({k: v for k, v in whole.items() if v is not None}, kind))
    if "spec" in patch:
        obj = replace(obj, spec=replace(obj.spec, external_traffic_policy=patch["spec"]["externalTrafficPolicy"]))
    return obj


def finish(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine that waits for nothing but its turn."""
    while True:
        try:
            work.send(None)
        except StopIteration as ended:
            return ended.value
