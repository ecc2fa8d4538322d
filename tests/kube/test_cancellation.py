# SPDX-License-Identifier: Apache-2.0
"""Each talking part, and a small component of all of them, cancelled at every one of its suspensions."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient
from purelb.kube.elector import Elector, LeadershipLost, Term
from purelb.kube.informer import Informer
from purelb.kube.keeper import Keeper
from purelb.kube.lease import Heartbeat
from purelb.kube.model import ObjectReference, Service, key
from purelb.kube.order import Target, Verb, Write, WriteResult
from purelb.kube.owner import After, Done, Outcome, Owner, Retry
from purelb.kube.queue import WorkQueue
from purelb.kube.recorder import Recorder
from purelb.kube.resources import SERVICES
from purelb.kube.writer import Fence, Writer
from purelb.sandbox.apiserver.core import ApiCore, ApiRequest
from purelb.sandbox.apiserver.identity import ADMIN
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.kube.cancelling import Turns, agrees, cancelled_everywhere
from tests.kube.model_server import ModelServer
from tests.kube.scripted import Scripted
from tests.kube.small_server import Call, Reply, SmallServer
from tests.kube.whole import INDICES, MARK, Marker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from purelb.kube.model import Lease
    from purelb.kube.transport import Transport
    from tests.virtual_clock import VirtualClock

SLOT_TYPES = {"type": INDICES["type"]}


def client_of(transport: Transport, clock: VirtualClock) -> ApiClient:
    return ApiClient(fixed_access("http://api.test"), user_agent="tests", clock=clock, transport=transport)


class Listening:
    """An informer through pages, events, a poison object, a cut, a refused watch, a 410 and a relist."""

    lasts = 14.0
    grace = 0.0
    streams = False

    def __init__(self, clock: VirtualClock) -> None:
        server = self.server = ModelServer(streams=self.streams)
        for name in "abcde":
            server.write(name, "good")
        self.scripted = Scripted(server.respond)
        self.transport = Turns(self.scripted)
        self.informer: Informer[Service] = Informer(client_of(self.transport, clock), SERVICES, indices=SLOT_TYPES)
        self.known: dict[str, Service] = {}
        self.objections: list[str] = []
        self.informer.add_handler(self)
        self.replies: list[None] = []
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (1.0, lambda: server.write("f", "good")),
            (1.0, lambda: server.write("a", "poison")),
            (1.0, lambda: server.write("b", "recreate")),
            (2.0, server.bookmark),
            (2.0, lambda: self._ours(server)),
            (3.0, lambda: server.end("reset")),
            (4.0, lambda: server.faults.append("refused")),
            (4.0, lambda: server.end("")),
            (7.0, lambda: server.write("c", "delete")),
            (7.0, server.compact),
            (7.0, lambda: server.error(410)),
            (11.0, lambda: self.informer.relist("t", consistent=True, reply=lambda: self.replies.append(None))),
            (12.0, lambda: server.end("half a line")),
        )

    def _ours(self, server: ModelServer) -> None:
        server.write("d", "good")
        self.informer.note_write(msgspec.convert(server.objects["d"], Service))

    async def run(self) -> None:
        await self.informer.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        self.scripted.assert_all_closed()
        agrees(self.informer.store, SLOT_TYPES)
        assert self.objections == []
        assert len(self.replies) <= 1
        with pytest.raises(RuntimeError):
            self.informer.add_handler(self)

    async def complete(self) -> None:
        assert {name: obj.metadata.resource_version for name, obj in self.known.items()} == {
            f"d/{name}": rv for name, rv in self.server.readable().items()
        } | {"d/a": "101"}, "the last version of a that could be read stays"
        assert list(self.informer.store.stale) == ["d/a"]
        assert self.replies == [None]

    def added(self, obj: Service, *, initial: bool) -> None:
        if key(obj) in self.known:
            self.objections.append(f"{key(obj)} was added twice")
        self.known[key(obj)] = obj

    def updated(self, old: Service, new: Service) -> None:
        if self.known.get(key(new)) != old:
            self.objections.append(f"{key(new)} was updated from what it never was")
        self.known[key(new)] = new

    def deleted(self, obj: Service, *, final: bool) -> None:
        if self.known.pop(key(obj), None) is None:
            self.objections.append(f"{key(obj)} was deleted, and never was there")


class Streaming(Listening):
    """The same from a server that streams the initial state, after the version was asked for."""

    streams = True


class Writing:
    """A writer with every verb, a slot, a hold, a repeat after a reset and a fence; drained at the end if wanted."""

    lasts = 20.0
    grace = 0.0
    drains = False

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = SmallServer(clock)
        self.transport = Turns(self.server)
        self.troubles = {2: Reply(429, retry_after=1), 4: Reply(0), 6: Reply(0, commit=True), 9: Reply(503)}
        self.server.trouble = self._trouble
        self.fence = Fence(clock.now() + 8.0)
        self.writer = Writer(client_of(self.transport, clock), clock=clock, fence=self.fence, workers=2)
        self.results: dict[int, list[WriteResult]] = {}
        for number in range(3):
            self.server.put(f"/api/v1/namespaces/ns/services/s{number}", {"kind": "Service"})
        for number in range(8):
            self._submit(number, "patch", f"s{number % 3}", slot="status" if number % 2 else "")
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (3.0, lambda: self._submit(8, "create", "n")),
            (3.0, lambda: self._submit(9, "create", "")),
            (3.0, lambda: self._submit(10, "delete", "s0")),
            (4.0, lambda: self._submit(11, "patch", "s1", rv="1")),
            (9.0, lambda: self._submit(12, "patch", "s1")),
        )

    def _trouble(self, call: Call) -> Reply | None:
        if "generateName" in str(call.body):
            return Reply(0, commit=True)
        return self.troubles.get(self.server.calls.index(call) + 1)

    def _submit(self, number: int, verb: Verb, name: str, *, slot: str = "", rv: str | None = None) -> None:
        body: dict[str, Any] = {"metadata": {"annotations": {"n": str(number)}}}
        if verb == "create":
            body = {"kind": "Service", "metadata": {"name": name} if name else {"generateName": "g"}}
        target = Target(SERVICES, "ns", name)
        self.results[number] = []
        content = b"" if verb == "delete" else json.dumps(body).encode()
        reply = self.results[number].append
        self.writer.submit(Write(target=target, verb=verb, body=content, slot=slot, rv=rv, reply=reply))

    async def run(self) -> None:
        await self.writer.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled or self.drains
        assert {number: len(got) for number, got in self.results.items()} == dict.fromkeys(self.results, 1)
        assert self.writer.idle
        late: list[WriteResult] = []
        self.writer.submit(Write(target=Target(SERVICES, "ns", "s1"), verb="delete", reply=late.append))
        assert [type(each).__name__ for each in late] == ["Cancelled"]
        assert all(call.at < self.clock.now() and call.at < 1008.0 for call in self.server.writes())
        assert sum("generateName" in str(call.body) for call in self.server.writes()) <= 1

    async def complete(self) -> None:
        came = Counter(type(got[0]).__name__ for got in self.results.values())
        assert came == {"Written": 9, "Superseded": 1, "Conflicted": 1, "Failed": 1, "Fenced": 1}


class Draining(Writing):
    drains = True

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            running = group.create_task(self.writer.run(), name="writer")
            await self.clock.until(self.clock.now() + 0.5)
            await self.writer.drain(1.0)
            running.cancel()

    async def complete(self) -> None:
        came = Counter(type(got[0]).__name__ for got in self.results.values())
        assert came["Written"] > 0


class Competing:
    """An elector that waits for a foreign holder, leads, renews through trouble, and whose work takes a second to end."""

    lasts = 40.0
    grace = 2.0
    taken_at: float | None = None
    body_ends_at: float | None = None

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = SmallServer(clock)
        self.transport = Turns(self.server)
        spec = {"holderIdentity": "other", "leaseDurationSeconds": 4, "leaseTransitions": 3}
        self.lease = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/l"
        self.server.put(self.lease, {"kind": "Lease", "spec": spec})
        self.server.trouble = self._trouble
        self.elector = Elector(client_of(self.transport, clock), namespace="sys", name="l", identity="a", clock=clock)
        self.terms: list[Term] = []
        self.at_work = 0
        self.lost = False
        self.story: list[tuple[float, Callable[[], None]]] = []
        if self.taken_at is not None:
            self.story.append((self.taken_at, lambda: self._taken(spec)))

    def _taken(self, spec: Mapping[str, object]) -> None:
        self.server.put(self.lease, {"kind": "Lease", "spec": dict(spec)})

    def _trouble(self, call: Call) -> Reply | None:
        return {1012.0: Reply(503), 1014.0: Reply(409, "Conflict"), 1016.0: Reply(0, commit=True)}.get(call.at)

    async def body(self, term: Term) -> None:
        self.terms.append(term)
        self.at_work += 1
        try:
            if self.body_ends_at is None:
                await self.clock.until(float("inf"))
            await self.clock.until(self.body_ends_at or 0.0)
        finally:
            try:
                await self.clock.until(self.clock.now() + 1.0)
            finally:
                self.at_work -= 1

    async def run(self) -> None:
        try:
            await self.elector.lead(self.body)
        except LeadershipLost:
            self.lost = True

    async def check(self, *, cancelled: int) -> None:
        assert self.at_work == 0
        assert not self.elector.leading
        assert all(not term.fence.valid(self.clock.now()) for term in self.terms)
        assert all(term.fence.until == float("-inf") for term in self.terms), "the fence is not closed"
        if cancelled == 1 and self.terms and not self.lost and self.taken_at is None:
            assert self.server.objects[self.lease]["spec"]["holderIdentity"] == ""

    async def complete(self) -> None:
        assert self.at_work == 1
        assert self.elector.leading


class Keeping:
    """A keeper whose lease another process of its name holds at first, is poked, edited by others and deleted."""

    lasts = 30.0
    grace = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = SmallServer(clock)
        self.transport = Turns(self.server)
        self.lease = "/apis/coordination.k8s.io/v1/namespaces/sys/leases/n1"
        spec = {"holderIdentity": "n1", "leaseDurationSeconds": 4}
        self.server.put(self.lease, {"kind": "Lease", "metadata": {"annotations": {"by": "other"}}, "spec": spec})
        troubles = {10: Reply(503), 13: Reply(0, commit=True)}
        self.server.trouble = lambda call: troubles.get(self.server.calls.index(call))
        heart = Heartbeat(interval=5, retry=2, timeout=3, mine=self._is_ours, rng=clock.random)
        self.keeper = Keeper(
            client_of(self.transport, clock), namespace="sys", name="n1", heartbeat=heart, body=self._body, clock=clock
        )
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (8.0, self.keeper.poke),
            (9.0, lambda: self._edited(spec)),
            (12.0, self.server.objects.clear),
        )

    @staticmethod
    def _is_ours(lease: Lease) -> bool:
        return (lease.metadata.annotations or {}).get("by") == "us"

    def _body(self, known: Lease | None, now: str) -> Mapping[str, object]:
        metadata = {"annotations": {"by": "us"}} | ({} if known is not None else {"name": "n1"})
        return {"metadata": metadata, "spec": {"holderIdentity": "n1", "leaseDurationSeconds": 15, "renewTime": now}}

    def _edited(self, spec: Mapping[str, object]) -> None:
        self.server.put(self.lease, {"kind": "Lease", "metadata": {"annotations": {"by": "us"}}, "spec": dict(spec)})

    async def run(self) -> None:
        await self.keeper.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        self.keeper.poke()  # too late, and no trouble

    async def complete(self) -> None:
        assert not self.keeper.heartbeat.passive
        assert self.server.objects[self.lease]["metadata"]["annotations"] == {"by": "us"}
        assert {call.method for call in self.server.calls} == {"GET", "PATCH", "POST"}


class Overtaken(Competing):
    taken_at = 15.0

    async def complete(self) -> None:
        assert self.terms
        assert self.lost


class Finishing(Competing):
    body_ends_at = 1010.0
    lasts = 20.0

    async def complete(self) -> None:
        assert self.terms
        assert not self.lost


class Recording:
    """A recorder with new Events, a series, a refusal and a lost answer, while a writer is busy at times."""

    lasts = 12.0
    grace = 2.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.server = SmallServer(clock)
        self.transport = Turns(self.server)
        troubles = {2: Reply(403), 3: Reply(429, retry_after=1), 5: Reply(0, commit=True)}
        self.server.trouble = lambda call: troubles.get(self.server.calls.index(call) + 1)
        self.busy = False
        self.said: set[str] = set()
        self.recorder = Recorder(
            client_of(self.transport, clock),
            controller="c",
            instance="i",
            clock=clock,
            may_send=lambda: not self.busy,
        )
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (0.0, lambda: self._events(*range(5))),
            (3.0, lambda: self._events(0, busy=True)),
            (4.0, lambda: self._events(0, 1, 6, 7, busy=True)),
            (10.0, lambda: self._events(busy=False)),
        )

    def _events(self, *numbers: int, busy: bool = False) -> None:
        self.busy = busy
        for number in numbers:
            about = ObjectReference(kind="Service", namespace="ns", name=f"s{number}")
            self.said.add(about.name)
            self.recorder.event(about, type="Normal", reason="r", action="a", note="n")

    async def run(self) -> None:
        await self.recorder.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        about = Counter(each["regarding"]["name"] for each in self.server.objects.values())
        assert not about or max(about.values()) == 1, "an Event was written twice"
        if cancelled == 1:
            assert len(about) >= len(self.said) - 1, "more was left unsent than the one that the server refused"
        self._events(9)  # too late, and no trouble

    async def complete(self) -> None:
        assert len(self.server.objects) == len(self.said) - 1
        assert max(each.get("series", {}).get("count", 1) for each in self.server.objects.values()) > 1


class Owning:
    """An owner whose steps wait, fail, raise and ask for another turn, behind a gate that opens late."""

    lasts = 5.0
    grace = 0.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.transport = Turns(SmallServer(clock))
        self.queue: WorkQueue[str] = WorkQueue(clock=clock, name="o")
        self.open = False
        self.began: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()
        self.owner = Owner(name="o", queue=self.queue, step=self.step, clock=clock, gate=lambda: self.open)
        for name in ("done", "after", "retry", "raise"):
            self.queue.add(name)
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (1.0, self._open_gate),
            (2.0, lambda: self.queue.add("done")),
            (2.0, lambda: self.queue.add("late", priority=100)),
        )

    def _open_gate(self) -> None:
        self.open = True
        self.owner.wake()

    async def step(self, name: str, now: float) -> Outcome:
        self.began[name] += 1
        await self.clock.until(now + 0.25)
        self.queue.add("done")
        await asyncio.sleep(0)
        self.ended[name] += 1
        match name:
            case "after":
                return After(0.5)
            case "retry":
                return Retry("the test wants it")
            case "raise":
                raise RuntimeError("the test wants it")
            case _:
                return Done()

    async def run(self) -> None:
        await self.owner.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        unfinished = {name for name in self.began if self.began[name] != self.ended[name]}
        assert len(unfinished) <= 1
        gauges = {sample.metric.name: sample.value for sample in self.queue.samples()}
        assert gauges["workqueue_unfinished_work_seconds"] == 0.0, "a key is still in processing"
        waiting = {await self.queue.get() for _ in range(len(self.queue))}
        assert unfinished <= waiting, "a key whose turn did not end is lost"
        if not self.began:
            assert waiting == {"done", "after", "retry", "raise"}

    async def complete(self) -> None:
        assert self.began.keys() == {"done", "after", "retry", "raise", "late"}
        assert all(self.began[name] > 1 for name in ("done", "after", "retry", "raise"))


class Whole:
    """All of them together on an API server in memory: Services come, change and go, and the watch expires."""

    lasts = 9.0
    grace = 2.0

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime(2026, 1, 1, tzinfo=UTC))
        self.transport = Turns(MemoryTransport(self.core, clock=clock))
        self.marker = Marker(client_of(self.transport, clock), identity="a")
        services = "/api/v1/namespaces/default/services"
        for name in "abc":
            self._ask("POST", services, {"metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}})
        self.story: Sequence[tuple[float, Callable[[], None]]] = (
            (4.0, lambda: self._ask("POST", services, {"metadata": {"name": "d"}, "spec": {"ports": [{"port": 81}]}})),
            (5.0, lambda: self._ask("PATCH", f"{services}/a", {"spec": {"ports": [{"port": 82}]}})),
            (5.0, lambda: self._ask("DELETE", f"{services}/b")),
        )

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        media = "application/merge-patch+json" if method == "PATCH" else "application/json"
        asked = ApiRequest(
            method=method,
            target=path,
            headers={"content-type": media},
            body=b"" if body is None else msgspec.json.encode(body),
            user=ADMIN,
        )
        made: Any = self.core.handle(asked, self.clock.now() - 1000.0)
        assert made.status < 300, made.body
        return msgspec.json.decode(made.body)

    async def run(self) -> None:
        await self.marker.run()

    async def check(self, *, cancelled: int) -> None:
        assert cancelled
        marker = self.marker
        agrees(marker.services.store, INDICES)
        assert marker.at_work == 0
        assert not marker.elector.leading
        assert all(term.fence.until == float("-inf") for term in marker.terms)
        assert [len(answers) for answers in marker.tickets] == [1] * len(marker.tickets)
        if marker.writer is not None and marker.queue is not None:
            assert marker.writer.idle
            gauges = {sample.metric.name: sample.value for sample in marker.queue.samples()}
            assert gauges["workqueue_unfinished_work_seconds"] == 0.0
        for service in self._ask("GET", "/api/v1/namespaces/default/services")["items"]:
            mark = service["metadata"].get("annotations", {}).get(MARK)
            assert mark in {None, str(service["spec"]["ports"][0]["port"]), "80"}
        events = self._ask("GET", "/apis/events.k8s.io/v1/namespaces/default/events")["items"]
        told = Counter((each["regarding"]["name"], each["note"]) for each in events)
        assert not told or max(told.values()) == 1, "an Event was written twice"
        if cancelled == 1 and marker.terms:
            lease = self._ask("GET", "/apis/coordination.k8s.io/v1/namespaces/default/leases/marker")
            assert not lease["spec"].get("holderIdentity"), "the lease was not given back"

    async def complete(self) -> None:
        found = self._ask("GET", "/api/v1/namespaces/default/services")["items"]
        marks = {each["metadata"]["name"]: each["metadata"].get("annotations", {}).get(MARK) for each in found}
        assert marks == {"kubernetes": "443", "a": "82", "c": "80", "d": "81"}
        assert len(self._ask("GET", "/apis/events.k8s.io/v1/namespaces/default/events")["items"]) >= 5


CASES = [Listening, Streaming, Writing, Draining, Competing, Overtaken, Finishing, Keeping, Recording, Owning, Whole]


@pytest.mark.parametrize("case", CASES, ids=lambda case: str(case.__name__).lower())
def test_wherever_it_is_cancelled_nothing_is_left_and_nothing_is_lost(case: Any) -> None:
    run = cancelled_everywhere(case)
    assert run.points > 30, "the story is too short to say anything"
    assert run.ends["cancelled"] >= run.points - 5


@pytest.mark.parametrize("again", [1, 2, 5])
@pytest.mark.parametrize(
    "case", [Draining, Competing, Finishing, Recording], ids=lambda case: str(case.__name__).lower()
)
def test_whoever_loses_patience_may_cancel_twice(case: Any, again: int) -> None:
    assert cancelled_everywhere(case, again=again).points > 30
