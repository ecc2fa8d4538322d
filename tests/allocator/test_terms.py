# SPDX-License-Identifier: Apache-2.0
"""How a term begins and ends: with a list that is no older than itself, and with nothing sent once its time is over."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from purelb.allocator.main import Allocator, Deps
from purelb.allocator.settings import AllocatorSettings
from purelb.kube.access import fixed_access
from purelb.kube.resources import SERVICES
from purelb.process import pacing
from purelb.sandbox.apiserver.faults import Delay, Rule
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime

    from purelb.kube.transport import ByteStream, Request, Response
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.99"),)


class Reading(MemoryTransport):
    """Keeps how all Services were read: by a list, or by a watch that begins with one."""

    reads: list[dict[str, list[str]]]

    def _note(self, request: Request) -> None:
        path, _, query = request.target.partition("?")
        asked = parse_qs(query)
        if (
            request.method == "GET"
            and path == "/api/v1/services"
            and ("watch" not in asked or "sendInitialEvents" in asked)
        ):
            self.reads.append(asked)

    async def exchange(self, request: Request) -> Response:
        self._note(request)
        return await super().exchange(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        self._note(request)
        async with super().stream(request) as found:
            yield found


async def test_before_a_term_gives_anything_it_lists_the_services_from_the_quorum(cluster: Cluster) -> None:
    """A list with a resourceVersion, be it 0, may come from a cache that lacks the last writes of the leader before."""
    transport = Reading(cluster.core, clock=cluster.clock, user=ALLOCATOR)
    transport.reads = []
    settings = AllocatorSettings(namespace=INSTALL, leader_elect=False)
    component = Allocator(
        settings, Deps(cluster.clock, cluster.sink, access=fixed_access("http://memory"), transport=transport)
    )
    await cluster.serve()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(component.run())
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert len(transport.reads) == 2, "when the process starts, and when its term does"
        assert "resourceVersion" not in transport.reads[-1]
        component.stop()
        await cluster.clock.advance(20.0)
        assert running.done()


async def test_a_leader_that_slept_in_the_middle_of_a_burst_sends_nothing_that_it_had_decided(cluster: Cluster) -> None:
    """Its writes are on time when they are taken, and their lease is over when they would be sent."""
    names = [f"s{number:02}" for number in range(20)]

    def sent() -> int:
        return sum("/services/" in path for _, path in cluster.writes)

    async with cluster.allocator(leader_elect=True, writers=2) as component:
        await cluster.clock.advance(3.0)
        slow = Rule(effect=Delay(seconds=0.25), resource="services/status", verb="patch", subject=ALLOCATOR.name)
        number = cluster.core.faults.add(slow)
        for name in names:
            await cluster.serve(name)
        await cluster.clock.advance(0.3)
        assert (component.phase(), sent()) == ("Running", 4), "two are served, two on their way, the others decided"
        cluster.clock.jump(60.0)
        while component.phase() == "Running" and sent() == 4:
            await cluster.clock.advance(1 / 64)
        assert (component.phase(), sent()) == ("Standby", 4)
        cluster.core.faults.remove(number)
        before = {name: await cluster.addresses(name) for name in names}
        await cluster.clock.advance(30.0)
        assert component.phase() == "Running"
        given = await cluster.all_addresses()
        assert len(given) == len(set(given)) == len(names)
        after = {name: await cluster.addresses(name) for name in names}
        assert {name: after[name] for name, held in before.items() if held} == {n: h for n, h in before.items() if h}


async def test_of_two_that_start_together_one_leads_and_nobody_gets_two_addresses(cluster: Cluster) -> None:
    for number in range(20):
        await cluster.serve(f"s{number:02}")
    async with cluster.allocator(leader_elect=True) as first, cluster.allocator(leader_elect=True) as second:
        await cluster.clock.advance(3.0)
        assert sorted((first.phase(), second.phase())) == ["Running", "Standby"]
        given = await cluster.all_addresses()
        assert len(given) == len(set(given)) == 20
        assert sum("/services/" in path for _, path in cluster.writes) == 20
        await cluster.admin.delete(SERVICES, "s00", namespace="shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.10",)


async def test_who_comes_while_the_ledger_is_rebuilt_is_served_as_well(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With many Services that takes a while. A look at the wall, for the lease of a node, happens only then."""
    monkeypatch.setattr(pacing, "SLICE", -1.0)  # it gives way after each piece of its work
    for number in range(80):
        await cluster.serve(f"old{number:02}")
    await Node(cluster, "n1").renew()
    look, phases = cluster.clock.wall, list[str]()
    transport = MemoryTransport(cluster.core, clock=cluster.clock, user=ALLOCATOR)
    component = Allocator(
        AllocatorSettings(namespace=INSTALL, leader_elect=False),
        Deps(cluster.clock, cluster.sink, access=fixed_access("http://memory"), transport=transport),
    )
    async with asyncio.TaskGroup() as group:

        async def come() -> None:
            await cluster.serve("new")
            phases.append(component.phase())

        def wall() -> datetime:
            if component.phase() == "Standby" and not phases:
                phases.append("Standby")
                group.create_task(come())
            return look()

        monkeypatch.setattr(cluster.clock, "wall", wall)
        running = group.create_task(component.run())
        await cluster.clock.advance(5.0)
        assert (phases, component.phase()) == (["Standby", "Standby"], "Running"), "it came in the middle"
        assert len(await cluster.addresses("new")) == 1
        component.stop()
        await cluster.clock.advance(20.0)
        assert running.done()
