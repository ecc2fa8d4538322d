# SPDX-License-Identifier: Apache-2.0
"""The replica that does not lead is warm: it knows all there is, writes nothing but its wish to lead, and begins at once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.main import Allocator, Deps
from purelb.allocator.settings import AllocatorSettings
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.access import fixed_access
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import DropEvent, Rule
from purelb.sandbox.apiserver.identity import User
from purelb.sandbox.apiserver.memory import MemoryTransport
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from purelb.kube.transport import ByteStream, Request, Response

KINDS = ("services", "servicegroups", "lbnodeagents", "namespaces", "nodes", "lbnodestatuses", "leases")


class Listening(MemoryTransport):
    """Keeps every request: method, path and query."""

    asked: list[tuple[str, str, str]]

    async def exchange(self, request: Request) -> Response:
        path, _, query = request.target.partition("?")
        self.asked.append((request.method, path, query))
        return await super().exchange(request)

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[ByteStream]:
        path, _, query = request.target.partition("?")
        self.asked.append((request.method, path, query))
        async with super().stream(request) as found:
            yield found


class Standby:
    def __init__(self, cluster: Cluster, user: User = ALLOCATOR) -> None:
        self.asked: list[tuple[str, str, str]] = []
        transport = Listening(cluster.core, clock=cluster.clock, user=user)
        transport.asked = self.asked
        settings = AllocatorSettings(namespace=INSTALL, leader_elect=True)
        edges = Deps(cluster.clock, cluster.sink, access=fixed_access("http://memory"), transport=transport)
        self.component = Allocator(settings, edges)

    def writes(self) -> list[str]:
        return [path for method, path, _ in self.asked if method != "GET" and "selfsubject" not in path]

    def lists(self) -> list[str]:
        """The kinds that were read from the beginning, by a list or by a watch that begins with one."""
        reads = [(path, query) for method, path, query in self.asked if method == "GET"]
        begun = [path for path, query in reads if "watch=" not in query or "sendInitialEvents=true" in query]
        return sorted(set(KINDS).intersection(path.rpartition("/")[2] for path in begun))


@asynccontextmanager
async def standby(cluster: Cluster, user: User = ALLOCATOR) -> AsyncIterator[Standby]:
    made = Standby(cluster, user)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(made.component.run())
        await cluster.clock.advance(3.0)
        try:
            yield made
        finally:
            made.component.stop()
            await cluster.clock.advance(20.0)
            assert running.done()


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def test_a_standby_writes_nothing_whatever_happens(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True), standby(cluster) as second:
        node = Node(cluster, "n1")
        await node.renew()
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await node.live(30)
        await cluster.patch(SERVICES, "web", {"status": {"loadBalancer": None}}, "shop", subresource="status")
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await node.live(30)
        assert second.component.phase() == "Standby"
        assert second.writes() == []
        assert not [text for text in second.component.checks().values() if text], "it is ready"


async def test_a_standby_that_takes_over_lists_only_the_services_again_and_serves_at_once(cluster: Cluster) -> None:
    async with asyncio.TaskGroup() as group:
        first = Standby(cluster)
        leading = group.create_task(first.component.run())
        await cluster.clock.advance(3.0)
        async with standby(cluster) as second:
            assert (first.component.phase(), second.component.phase()) == ("Running", "Standby")
            assert second.lists() == sorted(KINDS), "it has looked at everything"
            await cluster.serve("a")
            await cluster.clock.advance(2.0)
            leading.cancel()
            second.asked.clear()
            await cluster.serve("b")
            for _ in range(40):
                await cluster.clock.advance(0.5)
                if second.component.phase() == "Running":
                    break
            await cluster.clock.advance(0.5)
            assert (await cluster.addresses("a"), await cluster.addresses("b")) == (("192.0.2.10",), ("192.0.2.11",))
            again = [path for path in second.lists() if path != "leases"]  # the lease of the leader is read by name
            assert again == ["services"]


async def test_what_the_former_leader_wrote_last_is_known_although_its_event_never_came(cluster: Cluster) -> None:
    deaf = User(name="deaf", groups=("system:masters", "system:authenticated"))
    # What comes before it: the list's end, the older one, its condition, the younger one.
    lost = Rule(effect=DropEvent(after_events=4), subject="deaf", verb="watch", resource="services", count=1)
    async with asyncio.TaskGroup() as group:
        first = Standby(cluster)
        leading = group.create_task(first.component.run())
        await cluster.clock.advance(3.0)
        cluster.core.faults.add(lost)
        async with standby(cluster, deaf) as second:
            await cluster.serve("older", annotations={"purelb.io/service-group": "nowhere"})
            await cluster.clock.advance(1.5)
            await cluster.serve("younger")
            await cluster.clock.advance(1.0)
            assert await cluster.addresses("younger") == ("192.0.2.10",)
            leading.cancel()
            anything = {"metadata": {"annotations": {"purelb.io/service-group": None}}}
            await cluster.patch(SERVICES, "older", anything, "shop")
            await cluster.clock.advance(25.0)
            assert second.component.phase() == "Running"
            given = (await cluster.addresses("younger"), await cluster.addresses("older"))
            assert given == (("192.0.2.10",), ("192.0.2.11",)), "an address of the last second is not given twice"
