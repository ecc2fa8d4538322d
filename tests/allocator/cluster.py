# SPDX-License-Identifier: Apache-2.0
"""The real component against the embedded API server in one process, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from purelb.allocator.main import Allocator, AllocatorSettings, Deps
from purelb.allocator.observed import published
from purelb.allocator.ranges import ip_text
from purelb.api.crds import all_definitions
from purelb.kube.access import fixed_access
from purelb.kube.client import ApiClient, PatchType
from purelb.kube.resources import CRDS, EVENTS, NAMESPACES, SERVICES
from purelb.sandbox.apiserver.core import ApiCore
from purelb.sandbox.apiserver.identity import User
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.allocator.objects import INSTALL
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from purelb.kube.metrics import Metric
    from purelb.kube.model import Condition, Event, Service
    from purelb.kube.resources import Resource
    from purelb.kube.transport import Request, Response

ALLOCATOR = User(
    name="the-allocator", groups=("system:masters", "system:authenticated")
)  # so that faults can aim at it


class CountingSink:
    """Counts by metric name and labels."""

    def __init__(self) -> None:
        self.counts: dict[tuple[str, ...], float] = {}

    def count(self, metric: Metric, *labels: str, by: float = 1) -> None:
        self.counts[metric.name, *labels] = self.counts.get((metric.name, *labels), 0) + by

    def observe(self, metric: Metric, value: float, *labels: str) -> None:
        pass


class Recording(MemoryTransport):
    """Keeps the writes that were sent: method and path."""

    writes: list[tuple[str, str]]

    async def exchange(self, request: Request) -> Response:
        if request.method != "GET" and "selfsubject" not in request.target:
            self.writes.append((request.method, request.target.partition("?")[0]))
        return await super().exchange(request)


class Cluster:
    """The server, an admin's client, and how to ask what people would ask."""

    def __init__(self) -> None:
        self.clock = VirtualClock(chance=0.5)
        self.core = ApiCore(rng=random.Random(1).random, epoch=datetime(2030, 1, 1, tzinfo=UTC))
        self.admin = self._client("admin")
        self.writes: list[tuple[str, str]] = []
        self.sink = CountingSink()

    def _transport(self) -> MemoryTransport:
        return MemoryTransport(self.core, clock=self.clock)

    def _client(self, name: str) -> ApiClient:
        return ApiClient(fixed_access("http://memory"), user_agent=name, clock=self.clock, transport=self._transport())

    async def prepare(self) -> None:
        for definition in all_definitions().values():
            await self.admin.create(CRDS, definition)
        await self.create(NAMESPACES, {"metadata": {"name": INSTALL}})
        await self.create(NAMESPACES, {"metadata": {"name": "shop"}})

    async def create(self, r: Resource[Any], body: Mapping[str, Any], namespace: str | None = None) -> Any:
        whole = {"apiVersion": r.api_version, "kind": r.kind, **body}
        return await self.admin.create(r, whole, namespace=namespace)

    async def patch(
        self, r: Resource[Any], name: str, body: Mapping[str, Any], namespace: str | None = None, **more: Any
    ) -> Any:
        return await self.admin.patch(r, name, body, kind=PatchType.MERGE, namespace=namespace, **more)

    async def serve(
        self,
        name: str = "web",
        *,
        namespace: str = "shop",
        annotations: Mapping[str, str] | None = None,
        port: int = 80,
        **spec: Any,
    ) -> Service:
        body = {
            "metadata": {"name": name, "annotations": dict(annotations or {})},
            "spec": {
                "type": "LoadBalancer",
                "loadBalancerClass": "purelb.io/purelb",
                "ports": [{"port": port}],
                **spec,
            },
        }
        made: Service = await self.create(SERVICES, body, namespace)
        return made

    async def service(self, name: str = "web", namespace: str = "shop") -> Service:
        return await self.admin.get(SERVICES, name, namespace=namespace)

    async def addresses(self, name: str = "web", namespace: str = "shop") -> tuple[str, ...]:
        return tuple(ip_text(address) for address in published(await self.service(name, namespace)))

    async def all_addresses(self) -> list[str]:
        """Every address in every status, once per status."""
        found: list[str] = []
        async for page in self.admin.list_pages(SERVICES):
            found += [ip_text(address) for each in page.objects for address in published(each)]
        return found

    async def condition(self, type_: str = "Allocated", name: str = "web", namespace: str = "shop") -> Condition | None:
        found = await self.service(name, namespace)
        conditions = (found.status.conditions if found.status is not None else ()) or ()
        return next((c for c in conditions if c.type == f"purelb.io/{type_}"), None)

    async def events(self) -> list[tuple[str, str, str]]:
        found: list[Event] = []
        async for page in self.admin.list_pages(EVENTS):
            found += page.objects
        return sorted((e.regarding.name if e.regarding else "", e.reason, e.note) for e in found)

    @asynccontextmanager
    async def allocator(self, **settings: Any) -> AsyncIterator[Allocator]:
        """The component, running; stopped at the end."""
        transport = Recording(self.core, clock=self.clock, user=ALLOCATOR)
        transport.writes = self.writes
        wanted = AllocatorSettings(**{"namespace": INSTALL, "leader_elect": False, **settings})
        component = Allocator(
            wanted, Deps(self.clock, self.sink, access=fixed_access("http://memory"), transport=transport)
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(component.run())
            await self.clock.advance(1.0)
            try:
                yield component
            finally:
                component.stop()
                await self.clock.advance(20.0)
                assert running.done(), "the component did not stop"

    @asynccontextmanager
    async def killed_allocator(self, **settings: Any) -> AsyncIterator[Allocator]:
        """The component, running; at the end it is gone in the middle of whatever it did."""
        transport = Recording(self.core, clock=self.clock, user=ALLOCATOR)
        transport.writes = self.writes
        wanted = AllocatorSettings(**{"namespace": INSTALL, "leader_elect": False, **settings})
        component = Allocator(
            wanted, Deps(self.clock, self.sink, access=fixed_access("http://memory"), transport=transport)
        )
        async with asyncio.TaskGroup() as group:
            running = group.create_task(component.run())
            try:
                yield component
            finally:
                self.core.faults = type(self.core.faults)()
                running.cancel()
                await self.clock.advance(5.0)

    def status_writes(self, name: str = "web") -> int:
        return sum(path.endswith(f"/services/{name}/status") for _, path in self.writes)


def pool(name: str = "default", text: str = "192.0.2.10-192.0.2.12", **spec: Any) -> dict[str, Any]:
    """The body of a ServiceGroup with one IPv4 entry."""
    entry = {"pool": text, "subnet": "192.0.2.0/24"}
    return {"metadata": {"name": name}, "spec": {"local": {"v4pool": entry}, **spec}}
