# SPDX-License-Identifier: Apache-2.0
"""Clusters in memory whose load balancers are a few lines, to be compared with each other.

Everybody is in one loop: with no pause between two looks (`at_once`), whoever has something to do has his turn in each.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.decode import Event
from purelb.kube.resources import SERVICES
from purelb.kube.transport import Response
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.bench import peers_counting, suites
from purelb.sandbox.bench.observer import observing
from purelb.sandbox.bench.overhearing import Overheard
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence

    import pytest

    from purelb.kube.transport import Request
    from purelb.sandbox.bench.observer import Observer


METRICS: Final = "/metrics"
NOBODY: Final[Mapping[str, Cluster]] = MappingProxyType({})


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and questions follow each other without a pause."""
    monkeypatch.setattr(suites, "LOOKED_EVERY_S", 0.0)
    monkeypatch.setattr(peers_counting, "ASKED_EVERY_S", 0.0)


class Telling(MemoryTransport):
    """An API server that notes what it is asked, and answers questions for its metrics with what `tell` says, if anything."""

    def __init__(self, core: ApiCore, *, clock: SystemClock) -> None:
        super().__init__(core, clock=clock)
        self.tell: Callable[[], str] | None = None
        self.noted: list[Request] = []

    async def exchange(self, request: Request) -> Response:
        self.noted.append(request)
        if request.target == METRICS and self.tell is not None:
            return Response(status=200, headers={}, body=self.tell().encode())
        return await super().exchange(request)


def _balanced(service: Any) -> bool:
    return bool(service.spec.type == "LoadBalancer")


class Cluster:
    """An API server in memory and a load balancer of a few lines. `twice`: it writes everything two times.

    `tells`: the API server counts those writes in its metrics, and `NOISE` requests of somebody else between two questions for them.
    `slow`: each of its writes is seen by everybody before it makes the next.
    `seen` and `heard`: where its addresses are shown, as those of a node would be on its interface and on its LAN.
    """

    NOISE = 11

    def __init__(self, *, twice: bool = False, tells: bool = False, slow: bool = False) -> None:
        clock = SystemClock()
        core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
        self.server = Telling(core, clock=clock)
        if tells:
            self.server.tell = self._counted
        self.client = ApiClient(fixed_access("http://memory"), user_agent="t", clock=clock, transport=self.server)
        self.twice = twice
        self.slow = slow
        self.writes = 0
        self.asked = 0
        self.seen: Observer | None = None
        self.heard: Overheard | None = None
        self.classes: set[str | None] = set()
        self.served: set[str] = set()

    async def balance(self) -> None:
        async with self.client.watch(SERVICES, rv="0", timeout_s=60) as stream:
            async for events in stream:
                for event in events:
                    if isinstance(event, Event) and event.type == "ADDED" and _balanced(event.object):
                        await self.serve(event.object)
                    elif isinstance(event, Event) and event.type == "DELETED" and self.seen is not None:
                        self.seen.gone["192.0.2.1"] = time.perf_counter()

    async def serve(self, service: Any) -> None:
        self.classes.add(service.spec.load_balancer_class)
        self.served.add(service.metadata.name)
        for address in ("192.0.2.1", "192.0.2.2")[: 1 + self.twice]:
            status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
            where = {"namespace": service.metadata.namespace, "subresource": "status"}
            await self.client.patch(SERVICES, service.metadata.name, status, kind=PatchType.MERGE, **where)
            self.writes += 1
            if self.slow:
                await VirtualClock().settle()
            if self.seen is not None:
                self.seen.addresses[address] = time.perf_counter()
            if self.heard is not None:
                self.heard.claims[address] = time.perf_counter()

    def _counted(self) -> str:
        self.asked += 1
        return (
            f'apiserver_request_total{{resource="services",subresource="status",verb="PATCH"}} {self.writes}\n'
            f'apiserver_request_total{{resource="nodes",subresource="",verb="GET"}} {self.NOISE * self.asked}\n'
        )


class Child:
    """A process, as far as it is looked at."""

    def __init__(self, returncode: int | None = None) -> None:
        self.returncode = returncode


class Stand:
    """As much of a stage as the comparison uses: ours runs while its turn lasts, and so does a peer whose command is among `commands`.

    Nobody's address is on a real interface or wire: what the clusters show of them is what is seen and heard.
    """

    def __init__(self, ours: Cluster, *, logs: Path = Path(), commands: Mapping[str, Cluster] = NOBODY) -> None:
        self.client = ours.client
        self.logs = logs
        self.ours = ours
        self.commands = commands
        self.turns = 0
        self.agents = 0
        self.env: dict[str, str] = {}
        self.told: list[str] = []

    @asynccontextmanager
    async def runs(self, cluster: Cluster) -> AsyncIterator[None]:
        """The load balancer of a cluster."""
        async with asyncio.TaskGroup() as group:
            balancer = group.create_task(cluster.balance())
            try:
                yield
            finally:
                balancer.cancel()

    @asynccontextmanager
    async def allocator(self, *, env: dict[str, str]) -> AsyncIterator[None]:
        self.env = env
        self.turns += 1
        async with self.runs(self.ours):
            yield

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        self.agents += 1
        yield

    @asynccontextmanager
    async def peer(self, command: Sequence[str], *, log: Path) -> AsyncIterator[Child]:
        cluster = self.commands.get(command[0])
        self.told.append(f"started {' '.join(command)}")
        async with self.runs(cluster) if cluster is not None else nullcontext():
            yield Child()
        self.told.append(f"ended {command[0]}")

    @asynccontextmanager
    async def beside(self, *others: Cluster) -> AsyncIterator[None]:
        """The clients are open, and the load balancers of the others run all the time."""
        async with AsyncExitStack() as stack:
            for cluster in (self.ours, *others):
                await stack.enter_async_context(cluster.client)
            for cluster in others:
                await stack.enter_async_context(self.runs(cluster))
            yield


class Outlook(Stand):
    """A stand from which one sees the addresses of `interfaces`, and hears of those of `wires`."""

    def __init__(self, ours: Cluster, *, interfaces: Sequence[Cluster], wires: Sequence[Cluster]) -> None:
        super().__init__(ours)
        self.interfaces = interfaces
        self.wires = wires
        self.heard = Overheard()

    @asynccontextmanager
    async def observing(self, client: ApiClient, namespace: str) -> AsyncIterator[Observer]:
        async with observing(client, namespace, links=False) as seen:
            for cluster in {*self.interfaces, *self.wires}:
                mine = cluster.client is client
                cluster.seen = seen if mine and cluster in self.interfaces else None
                cluster.heard = self.heard if mine and cluster in self.wires else None
            yield seen

    @contextmanager
    def overhearing(self) -> Iterator[Overheard]:
        yield self.heard
