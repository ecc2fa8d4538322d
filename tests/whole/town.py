# SPDX-License-Identifier: Apache-2.0
"""The real allocator and the real node agents in one process: one clock, one API server in memory, one link.

`sights` has every moment at which a kernel's addresses changed, so a gap of no length is seen too. `judge` is called after
every step of a story. Processes end as by SIGKILL: their way to the API server is cut before they can say a last word.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from purelb.allocator.main import Allocator
from purelb.allocator.main import Deps as AllocatorDeps
from purelb.allocator.settings import AllocatorSettings
from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.resources import NODES, SERVICES
from purelb.lbnodeagent.host import Route
from purelb.sandbox.invariants import (
    Published,
    Sight,
    every_address_has_one_holder,
    never_two_holders,
    no_address_is_given_twice,
    no_agent_writes_a_service,
    what_is_not_ours_is_untouched,
)
from purelb.sandbox.tour import published
from tests.installed import SHOP, CountingSink
from tests.kube.cancelling import Turns
from tests.lbnodeagent.lan import INSTALL, Crew, Host, Lan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.kube.transport import Transport
    from tests.lbnodeagent.lan import Broken

B_OVERLAP = 3.0
D = 10.0
"""How long an agent's lease lasts by default."""


class Town(Lan):
    def __init__(self, nodes: int = 3) -> None:
        super().__init__(nodes)
        self.allocator_writes: list[tuple[str, str]] = []
        self.sights: list[Sight] = []
        for number, host in enumerate(self.hosts, start=1):
            host.give(f"2001:db8::{200 + number}/64")
            host.routes += (Route(family=6, network=None, hops=(2,), gateways=(ip_address("2001:db8::1"),)),)
        self.foreign = {host.name: host.foreign() for host in self.hosts}

    async def prepare(self, **config: Any) -> None:
        await self.install()
        for host in self.hosts:
            await self.create(NODES, {"metadata": {"name": host.name}})
        await self.create(LB_NODE_AGENTS, {"metadata": {"name": "default"}, "spec": {"local": config}}, INSTALL)
        pools = {
            "v4pool": {"pool": "192.0.2.10-192.0.2.99", "subnet": "192.0.2.0/24"},
            "v6pool": {"pool": "2001:db8::1:10-2001:db8::1:99", "subnet": "2001:db8::/64"},
        }
        await self.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": {"local": pools}}, INSTALL)

    # What there is

    async def published(self) -> tuple[Published, ...]:
        return published([item async for page in self.admin.list_pages(SERVICES) for item in page.objects])

    async def addresses(self, name: str) -> tuple[str, ...]:
        return next(service.addresses for service in await self.published() if service.key == f"{SHOP}/{name}")

    def holders(self) -> dict[str, frozenset[str]]:
        """By address, the nodes that answer for it on the link; what is a node's own is left out."""
        found: dict[str, frozenset[str]] = {}
        for host in self.hosts:
            for address in host.model.addresses.values():
                if host.connected and address not in self.foreign[host.name]:
                    found[str(address.ip)] = found.get(str(address.ip), frozenset()) | {host.name}
        return found

    def changed(self, host: Host) -> None:
        holders = self.holders()
        if not self.sights or self.sights[-1].holders != holders:
            self.sights.append(Sight(self.clock.now(), holders))

    # What must be

    async def judge(self, *, at_rest: bool = True) -> tuple[Published, ...]:
        """Assert what must hold always, and (`at_rest`) what must hold once everybody had time."""
        self.sights.append(Sight(self.clock.now(), self.holders()))
        services = await self.published()
        broken = [*no_address_is_given_twice(services)]
        for service in services:
            for address in service.addresses:
                broken += never_two_holders(self.sights, address, longer_than=B_OVERLAP)
        for host in self.hosts:
            broken += no_agent_writes_a_service(self.writes[host.name])
            if host.connected:
                broken += what_is_not_ours_is_untouched(self.foreign[host.name], host.foreign())
        if at_rest:
            broken += every_address_has_one_holder(services, self.holders())
            broken += [f"{service.key} has no address" for service in services if not service.addresses]
        assert not broken, "\n".join(broken)
        return services

    # What happens

    @asynccontextmanager
    async def living(self, **settings: Any) -> AsyncIterator[Processes]:
        """Allocator and agents, running; what still runs at the end is killed."""
        async with self.running(**settings) as crew, asyncio.TaskGroup() as group:
            processes = Processes(self, crew, group)
            processes.start_allocator()
            await self.clock.advance(5.0)
            try:
                yield processes
            finally:
                await processes.kill_allocator()


class Processes:
    """What runs in the town."""

    def __init__(self, town: Town, crew: Crew, group: asyncio.TaskGroup) -> None:
        self.town = town
        self.crew = crew
        self._group = group
        self._way: Broken | None = None
        self._task: asyncio.Task[None] | None = None
        self._others: list[asyncio.Task[None]] = []
        self.allocator: Allocator | None = None

    def start_allocator(self, *, step_by_step: bool = False) -> Allocator:
        """`step_by_step`: each request takes turns of the loop, so that there is a middle to be killed in."""
        self._way = self.town.transport(self.town.allocator_writes)
        transport: Transport = Turns(self._way) if step_by_step else self._way
        allocator = Allocator(
            AllocatorSettings(namespace=INSTALL, writers=2 if step_by_step else 8),
            AllocatorDeps(self.town.clock, CountingSink(), access=fixed_access("http://memory"), transport=transport),
        )
        self._task = self._group.create_task(allocator.run(), name="allocator")
        self.allocator = allocator
        return allocator

    def another_allocator(self) -> Allocator:
        """A second replica, which is ended with the first."""
        first, way, allocator = self._task, self._way, self.allocator
        second = self.start_allocator()
        assert first is not None
        assert self._task is not None
        self._others.append(self._task)
        self._task, self._way, self.allocator = first, way, allocator
        return second

    async def kill_allocator(self) -> None:
        assert self._way is not None
        assert self._task is not None
        self._way.dead = True
        self._task.cancel()
        for task in self._others:
            task.cancel()
        await self.town.clock.run_until(self._task.done, within=30.0)

    async def power_off(self, name: str) -> None:
        """Agent, kernel and card, all at once."""
        host = self.town.host(name)
        host.connected = False
        self.town.changed(host)
        await self.crew.kill(name)
