# SPDX-License-Identifier: Apache-2.0
"""Clusters in memory whose load balancers are a few lines, to be compared with each other.

Everybody is in one loop: with no pause between two looks (`at_once`), whoever has something to do has his turn in each.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.clock import SystemClock
from purelb.kube.decode import Event
from purelb.kube.resources import SERVICES
from purelb.kube.transport import Response
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.memory import MemoryTransport
from purelb.sandbox.bench import peers_counting, suites

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

    from purelb.kube.transport import Request
    from purelb.sandbox.bench.observer import Observer
    from purelb.sandbox.bench.overhearing import Overheard


METRICS = "/metrics"


def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks and questions follow each other without a pause."""
    monkeypatch.setattr(suites, "LOOKED_EVERY_S", 0.0)
    monkeypatch.setattr(peers_counting, "ASKED_EVERY_S", 0.0)


class Telling(MemoryTransport):
    """An API server that answers questions for its metrics with what `tell` says, once it has any; others keep them to themselves."""

    tell: Callable[[], str] | None = None

    async def exchange(self, request: Request) -> Response:
        if request.target == METRICS and self.tell is not None:
            return Response(status=200, headers={}, body=self.tell().encode())
        return await super().exchange(request)


def _balanced(service: Any) -> bool:
    return bool(service.spec.type == "LoadBalancer")


class Cluster:
    """An API server in memory and a load balancer of a few lines. `twice`: it writes everything two times.

    `tells`: the API server counts those writes in its metrics, and `NOISE` requests of somebody else between two questions for them.
    `seen` and `heard`: where its addresses are shown, as those of a node would be on its interface and on its LAN.
    """

    NOISE = 11

    def __init__(self, *, twice: bool = False, tells: bool = False) -> None:
        clock = SystemClock()
        core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
        self.server = Telling(core, clock=clock)
        if tells:
            self.server.tell = self._counted
        self.client = ApiClient(fixed_access("http://memory"), user_agent="t", clock=clock, transport=self.server)
        self.twice = twice
        self.writes = 0
        self.asked = 0
        self.seen: Observer | None = None
        self.heard: Overheard | None = None
        self.classes: set[str | None] = set()

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
        for address in ("192.0.2.1", "192.0.2.2")[: 1 + self.twice]:
            status = {"status": {"loadBalancer": {"ingress": [{"ip": address}]}}}
            where = {"namespace": service.metadata.namespace, "subresource": "status"}
            await self.client.patch(SERVICES, service.metadata.name, status, kind=PatchType.MERGE, **where)
            self.writes += 1
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


@asynccontextmanager
async def balancing(*clusters: Cluster) -> AsyncIterator[None]:
    """Their load balancers run, and their clients are open."""
    async with AsyncExitStack() as stack:
        for cluster in clusters:
            await stack.enter_async_context(cluster.client)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        balancers = [group.create_task(cluster.balance()) for cluster in clusters]
        try:
            yield
        finally:
            for balancer in balancers:
                balancer.cancel()


class Stand:
    """As much of a stage as the comparison uses: ours runs while its turn lasts."""

    def __init__(self, ours: Cluster, *, logs: Path = Path()) -> None:
        self.client = ours.client
        self.logs = logs
        self.ours = ours
        self.turns = 0
        self.agents = 0
        self.env: dict[str, str] = {}

    def allocator(self, *, env: dict[str, str]) -> Stand:
        self.env = env
        return self

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[None]:
        self.agents += 1
        yield

    async def __aenter__(self) -> None:
        self.turns += 1

    async def __aexit__(self, *error: object) -> None:
        pass
