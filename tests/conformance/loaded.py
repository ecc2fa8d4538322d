# SPDX-License-Identifier: Apache-2.0
"""A real API server with 2,000 Services that somebody changes all the time, and two whole components that follow and mark them.

`ordeal` tells the one story there is: load, a fault in the middle of it, load, rest. What the fault is comes as an argument; what
must be true in the end does not depend on it. The components are those of the tests on the API server in memory, and so are
the judges. Load comes from the cluster's administrator, whom no fault singles out; it gives up what is not answered.

Nothing here knows when a fault is noticed, only what the world looks like afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from purelb.kube.access import load_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.errors import KubeError
from purelb.kube.lease import Timing
from purelb.kube.metrics import REFLECTOR_BACKOFF
from purelb.kube.resources import SERVICES
from purelb.kube.transport import AiohttpTransport
from tests.conformance.streams import Streams
from tests.conformance.test_kube_runtime import open_transports, until
from tests.kube.cancelling import agrees
from tests.kube.judges import Fenced, Sent, Wire, held, one_result_each, sent_again
from tests.kube.whole import INDICES, MARK, Marker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from hack.api import Api
    from hack.control_plane import ControlPlane
    from purelb.kube.elector import Term
    from purelb.kube.transport import Request

COUNT: Final = 2000
CHANGES_PER_S: Final = 200
CHANGERS: Final = 8
ACCOUNT: Final = "marker"
TIMING: Final = Timing(6, 4, 1)  # short: a term is lost and won again within a test
PATH: Final = "/api/v1/namespaces/default/services"
REST_S: Final = 3.0
RESTS_WITHIN_S: Final = 90.0
LATER: Final = ("/apis/coordination.k8s.io/", "/apis/events.k8s.io/")
MARKED: Final = 150  # so few, that all of them have had their Event when the fault comes
OBJECTS_MORE_MAX: Final = (
    20  # of one class, from rest to rest; what is left behind by a fault is left hundreds of times
)
BLOCKS_MORE_MAX: Final = 15_000  # of memory; one store of 2,000 Services has three times as many


def populate(plane: ControlPlane) -> None:
    """An account that may do everything without being exempt from anything, and the Services, marked already."""
    admin = plane.api()
    about = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": "default"}
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": ACCOUNT}}
    admin.post("/api/v1/namespaces/default/serviceaccounts", account).ok()
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    binding = {"metadata": {"name": ACCOUNT}, "roleRef": role, "subjects": [about]}
    admin.post("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding).ok()
    admin.close()
    asyncio.run(_make_services(plane))


async def _make_services(plane: ControlPlane) -> None:
    access = await load_access(kubeconfig=plane.kubeconfig)
    left = list(range(COUNT))

    async def maker() -> None:
        while left:
            meta = {"name": f"s{left.pop()}", "annotations": {MARK: "1"}}
            spec = {"clusterIP": "None", "ports": [{"port": 1}]}  # without an address: made in half the time
            await client.create(SERVICES, {"metadata": meta, "spec": spec}, namespace="default")

    async with ApiClient(access, user_agent="load", clock=SystemClock()) as client, asyncio.TaskGroup() as group:
        for _ in range(CHANGERS):
            group.create_task(maker())


class Tapped(Wire):
    """Knows besides which of a component's streams stand."""

    def __init__(self, inner: AiohttpTransport, who: str, clock: SystemClock, log: list[Sent]) -> None:
        super().__init__(inner, who, clock, log)
        self.streams = Streams()

    def stream(self, request: Request) -> Any:
        return self.streams.follow(super().stream(request))


class Loaded:
    """The world of one story. `plane` and `admin` are for the fault; `log` is what the components sent."""

    def __init__(self, plane: ControlPlane, admin: Api) -> None:
        self.plane = plane
        self.admin = admin
        self.markers: list[Marker] = []
        self.clients: list[ApiClient] = []
        self.taps: list[Tapped] = []
        self.log: list[Sent] = []
        self.wrongs: list[str] = []
        self.changed = 0
        self.unanswered = 0
        self._clock = SystemClock()
        self._running: list[asyncio.Task[None]] = []

    # What happens

    @contextlib.asynccontextmanager
    async def components(self) -> AsyncIterator[None]:
        """Two of them, until the block ends; then nothing of them is left."""
        before = asyncio.all_tasks()
        kubeconfig = self.plane.kubeconfig_of_service_account("default", ACCOUNT)
        async with contextlib.AsyncExitStack() as stack:
            for who in "ab":
                access = await load_access(kubeconfig=kubeconfig)
                inner = await stack.enter_async_context(AiohttpTransport(access.server))
                self._add(who, access, Tapped(inner, who, self._clock, self.log))
            async with asyncio.TaskGroup() as group:
                self._running = [group.create_task(each.run()) for each in self.markers]
                try:
                    yield
                    assert [task.done() for task in self._running] == [False, False], "a component ended by itself"
                finally:
                    for task in self._running:
                        task.cancel()
        assert not (left := asyncio.all_tasks() - before), left
        for marker in self.markers:
            assert one_result_each(marker)
            assert not any(term.fence.valid(self._clock.now()) for term in marker.terms)

    def _add(self, who: str, access: Any, wire: Tapped) -> None:
        def client(transport: Any) -> ApiClient:
            return ApiClient(access, user_agent=who, clock=self._clock, transport=transport)

        def writing(term: Term) -> ApiClient:
            return client(Fenced(wire, term, clock=self._clock, terms=self._terms, wrongs=self.wrongs))

        self.taps.append(wire)
        self.clients.append(client(wire))
        self.markers.append(Marker(self.clients[-1], identity=who, writing=writing, timing=TIMING))

    def _terms(self) -> list[Term]:
        return [term for marker in self.markers for term in marker.terms]

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """About 200 changes a second, half of which want a mark, as long as the block lasts."""
        access = await load_access(kubeconfig=self.plane.kubeconfig)
        async with ApiClient(access, user_agent="load", clock=self._clock) as client:
            numbers = self._due()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._change(client, numbers)) for _ in range(CHANGERS)]
                try:
                    yield
                finally:
                    for task in tasks:
                        task.cancel()

    def _due(self) -> Iterator[tuple[int, float]]:
        """Numbers, and when each is due; what an outage made late is left out."""
        number, due = 0, self._clock.now()
        while True:
            number += 1
            due = max(due + 1 / CHANGES_PER_S, self._clock.now() - 0.1)
            yield number, due

    async def _change(self, client: ApiClient, numbers: Iterator[tuple[int, float]]) -> None:
        while True:
            number, due = next(numbers)
            await self._clock.until(due)
            which = number * 7 % COUNT
            body: dict[str, object] = {"metadata": {"labels": {"turn": secrets.token_hex(4)}}}
            if number % 2:
                which, body = number // 2 % MARKED, {"spec": {"ports": [{"port": 1 + secrets.randbelow(60_000)}]}}
            try:
                await client.patch(SERVICES, f"s{which}", body, kind=PatchType.MERGE, namespace="default")
            except KubeError:
                self.unanswered += 1
            else:
                self.changed += 1

    # What must be true

    async def healed(self, *, within_s: float = RESTS_WITHIN_S) -> None:
        """Wait until both stores equal the server, every mark is right, and nobody has anything left to do."""
        deadline = self._clock.now() + within_s
        while (unrest := await asyncio.to_thread(self._difference) or self._work_left()) is not None:
            assert self._clock.now() < deadline, f"not within {within_s:g} s: {unrest}"
            await self._clock.until(self._clock.now() + 0.3)

    def _work_left(self) -> str | None:
        """What a component has still to do although the world is as it should be, of which requests would follow."""
        for marker, tap in zip(self.markers, self.taps, strict=True):
            informers = list(marker.informers)
            if waits := [
                each for each in marker.informers.samples() if each.metric is REFLECTOR_BACKOFF and each.value
            ]:
                return f"informers wait before they ask again: {waits}"
            if tap.streams.standing != len(informers):
                return f"{tap.streams.standing} watches stand for {len(informers)} informers"
            if not one_result_each(marker):
                return "a write has no result yet"
            if marker.recorder.waiting:
                return f"{marker.recorder.waiting} Events wait"
        return None

    def _difference(self) -> str | None:
        answer = self.admin.get("/api/v1/services")
        if answer.status != 200:  # a server that was started again may have to fill its cache once more
            return f"the server answers {answer}"
        items = answer.body["items"]
        there = {f"{each['metadata']['namespace']}/{each['metadata']['name']}": each for each in items}
        versions = {name: each["metadata"]["resourceVersion"] for name, each in there.items()}
        for marker in self.markers:
            snapshot = marker.services.store.snapshot()
            known = {
                name: service.metadata.resource_version
                for name, service in zip(snapshot.keys(), snapshot.values(), strict=True)
            }
            if known != versions:
                wrong = [name for name in known.keys() | versions if known.get(name) != versions.get(name)]
                return f"{len(wrong)} Services differ between store and server, such as {wrong[0]}"
        for name, each in there.items():
            mark = each["metadata"].get("annotations", {}).get(MARK)
            if mark != str(each["spec"]["ports"][0]["port"]):
                return f"{name} is marked {mark}"
        return None

    async def at_rest(self) -> tuple[dict[str, int], int]:
        """For 3 s nothing is asked for, and nothing written but leases and the last Events. What the process holds then: objects
        of our classes, blocks of memory. When the server ends a watch meanwhile, another 3 s begin after what it has caused."""
        deadline = self._clock.now() + RESTS_WITHIN_S
        while True:
            began, ended = len(self.log), self._ended()
            await self._clock.until(self._clock.now() + REST_S)
            rest = [each for each in self.log[began:] if not each.path.startswith(LATER)]
            if self._ended() == ended:
                break
            assert self._clock.now() < deadline, f"the server ends watches all the time: {rest}"
            await self.healed()
        asked = [f"{each.method} {each.path}?{each.query}" for each in rest]
        assert not asked, f"at rest, and yet: {asked}"
        self.check_writes()
        self.log.clear()
        return dict(held(self.markers)), sys.getallocatedblocks()

    def _ended(self) -> int:
        return sum(tap.streams.ended for tap in self.taps)

    def check_writes(self) -> None:
        assert not self.wrongs, self.wrongs
        again = sent_again(self.log, self.markers)
        assert not again, f"sent again after an answer: {again}"
        for marker in self.markers:
            agrees(marker.services.store, INDICES)


async def ordeal(plane: ControlPlane, fault: Callable[[Loaded], Awaitable[None]]) -> None:
    """Load, `fault` in the middle of it, load, rest: at the end all is as it was, and then nothing is left."""
    asyncio.get_running_loop().set_debug(False)  # it keeps the stack of every callback, which costs time and memory
    with contextlib.closing(plane.api()) as admin:
        admin.get("/readyz").ok()
        connected = len(connections(plane))
        await _told(Loaded(plane, admin), fault)
        await until("its sockets are closed", lambda: not open_transports() and len(connections(plane)) <= connected)


async def _told(world: Loaded, fault: Callable[[Loaded], Awaitable[None]]) -> None:
    async with world.components():
        for marker in world.markers:
            await marker.informers.wait_synced(30.0)
        async with world.load():
            await asyncio.sleep(2.0)
        await world.healed()
        objects, blocks = await world.at_rest()
        async with world.load():
            await asyncio.sleep(1.0)
            await fault(world)
            changed = world.changed
            await until("load goes on", lambda: world.changed > changed + CHANGES_PER_S)
        await world.healed()
        objects_after, blocks_after = await world.at_rest()
    more = {kind: number - objects.get(kind, 0) for kind, number in objects_after.items()}
    left = {kind: number for kind, number in more.items() if number > OBJECTS_MORE_MAX}
    assert not left, f"more objects than before: {left}"
    assert blocks_after - blocks < BLOCKS_MORE_MAX, f"{blocks} blocks of memory before, {blocks_after} after"


def connections(plane: ControlPlane) -> list[str]:
    """This process's sockets that are or were connected with the API server; the administrator and the plane keep one each."""
    ours = {str(inode) for each in Path("/proc/self/fd").iterdir() if (inode := _socket(int(each.name))) is not None}
    port = f":{int(plane.server.rpartition(':')[2]):04X}"
    rows = [line.split() for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]]
    return [row[1] for row in rows if row[2].endswith(port) and row[9] in ours]


def _socket(descriptor: int) -> int | None:
    try:
        found = os.fstat(descriptor)
    except OSError:
        return None  # it was that of the list
    return found.st_ino if stat.S_ISSOCK(found.st_mode) else None
