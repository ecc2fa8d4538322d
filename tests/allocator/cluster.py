# SPDX-License-Identifier: Apache-2.0
"""The real component against the embedded API server in one process, on a clock that only the test moves."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from purelb.allocator.main import Allocator, Deps
from purelb.allocator.observed import published
from purelb.allocator.ranges import ip_text
from purelb.allocator.settings import AllocatorSettings
from purelb.kube.access import fixed_access
from purelb.kube.resources import EVENTS, SERVICES
from purelb.sandbox.apiserver.identity import User
from tests.allocator.objects import INSTALL
from tests.installed import CountingSink, Installed, Recording

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from purelb.allocator.sources.source import Factory
    from purelb.kube.model import Condition, Event, Service

ALLOCATOR = User(
    name="the-allocator", groups=("system:masters", "system:authenticated")
)  # so that faults can aim at it


class Cluster(Installed):
    """The server, an admin's client, and how to ask what people would ask."""

    def __init__(self) -> None:
        super().__init__(INSTALL)
        self.writes: list[tuple[str, str]] = []
        self.sink = CountingSink()
        self.sources: dict[str, Factory] = {}
        self.access = fixed_access("http://memory")  # how the component says that it got there

    def _component(self, settings: Mapping[str, Any]) -> Allocator:
        transport = Recording(self.core, clock=self.clock, user=ALLOCATOR)
        transport.writes = self.writes
        wanted = AllocatorSettings(**{"namespace": INSTALL, "leader_elect": False, **settings})
        edges = Deps(self.clock, self.sink, access=self.access, transport=transport, sources=self.sources)
        return Allocator(wanted, edges)

    prepare = Installed.install
    serve = Installed.wish

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

    async def says(self, type_: str = "Allocated", name: str = "web", namespace: str = "shop") -> Condition:
        """A condition that is there."""
        found = await self.condition(type_, name, namespace)
        assert found is not None, f"{namespace}/{name} has no condition {type_}"
        return found

    async def allocated(self, name: str = "web") -> tuple[str, str, str]:
        """The status, the reason and the message of `Allocated`."""
        found = await self.says(name=name)
        return found.status, found.reason, found.message

    async def announced(self, name: str = "web") -> tuple[str, str, str]:
        """The same of `Announced`."""
        found = await self.says("Announced", name)
        return found.status, found.reason, found.message

    async def noted(self, word: str, name: str = "web") -> str | None:
        """What an annotation of ours says; `word` is its name without our prefix."""
        return ((await self.service(name)).metadata.annotations or {}).get(f"purelb.io/{word}")

    async def events(self) -> list[tuple[str, str, str]]:
        """About whom, the reason, the note; one that was told again stands there again."""
        found: list[Event] = []
        async for page in self.admin.list_pages(EVENTS):
            found += (each for each in page.objects for _ in range(each.series.count if each.series else 1))
        return sorted((e.regarding.name if e.regarding else "", e.reason, e.note) for e in found)

    @asynccontextmanager
    async def allocator(self, **settings: Any) -> AsyncIterator[Allocator]:
        """The component, running; stopped at the end."""
        component = self._component(settings)
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
        component = self._component(settings)
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


def pool(name: str = "default", text: str = "192.0.2.10-192.0.2.12", *, six: str = "", **spec: Any) -> dict[str, Any]:
    """The body of a ServiceGroup with one IPv4 entry; `six`: the ranges of one for IPv6 beside it."""
    entries = {"v4pool": {"pool": text, "subnet": "192.0.2.0/24"}}
    if six:
        entries["v6pool"] = {"pool": six, "subnet": "2001:db8::/64"}
    return {"metadata": {"name": name}, "spec": {"local": entries, **spec}}
