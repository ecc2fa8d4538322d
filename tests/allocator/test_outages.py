# SPDX-License-Identifier: Apache-2.0
"""The API server, or a watch of it, is away, or it asks for patience: nobody is declared dead who was only not heard, nothing is sent early."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.leases import ALLOCATOR_LEASE
from purelb.kube.resources import LEASES as LEASES_OF
from purelb.sandbox.apiserver.faults import Answer, CutStream, Reset, Rule, Silence
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.allocator.cluster import Cluster

BURST = 20
LEASES = "leases*"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.99"),)


async def announced(cluster: Cluster) -> str:
    """The reason."""
    return (await cluster.announced())[1]


async def announces(cluster: Cluster, node: Node) -> None:
    """A new leader gives a Service its address, and the node announces it."""
    await cluster.clock.advance(3.0)
    await cluster.serve()
    await cluster.clock.advance(1.0)
    await node.report(("192.0.2.10", "eth0"))
    await cluster.clock.advance(1.0)
    assert await announced(cluster) == "AnnouncingLocal"


@asynccontextmanager
async def announcing(cluster: Cluster, *, leader_elect: bool) -> AsyncIterator[Node]:
    """A Service whose address a node announces, and an allocator whose watch of leases breaks off soon."""
    breaks = Rule(effect=CutStream(after_frames=8), subject=ALLOCATOR.name, resource=LEASES, verb="watch", count=1)
    cluster.core.faults.add(breaks)
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator(leader_elect=leader_elect):
        await announces(cluster, node)
        yield node


async def away(cluster: Cluster, node: Node, *, resource: str, seconds: float, renews: bool) -> None:
    """The watches of a resource break off, and cannot be opened again for so long."""
    rules = [Rule(effect=Reset(), subject=ALLOCATOR.name, resource=resource, verb=verb) for verb in ("list", "watch")]
    if resource == "*":
        rules = [Rule(effect=Reset(), subject=ALLOCATOR.name)]
    numbers = [cluster.core.faults.add(rule) for rule in rules]
    for _ in range(16):
        await node.renew()  # which is what breaks the watch of leases
        await cluster.clock.advance(0.125)
    for _ in range(int(seconds / 2)):
        if renews:
            await node.renew()
        await cluster.clock.advance(2.0)
    for number in numbers:
        cluster.core.faults.remove(number)


@pytest.mark.parametrize("seconds", [12, 44, 300])
@pytest.mark.parametrize("leader_elect", [True, False], ids=["two replicas", "one without an election"])
@pytest.mark.parametrize(
    ("resource", "renews"),
    [
        pytest.param("*", False, id="all is away, and no node can renew"),
        pytest.param(LEASES, True, id="only leases cannot be watched, and the nodes live"),
    ],
)
async def test_who_was_only_not_heard_is_not_declared_dead(
    cluster: Cluster, leader_elect: bool, resource: str, renews: bool, seconds: int
) -> None:
    async with announcing(cluster, leader_elect=leader_elect) as node:
        before = await cluster.service()
        cluster.writes.clear()
        await away(cluster, node, resource=resource, seconds=seconds, renews=renews)
        assert await cluster.service() == before
        await node.live(120)
        assert await cluster.service() == before
        assert not [path for _, path in cluster.writes if path.endswith("/services/web/status")]
        await cluster.clock.advance(30.0)
        assert await announced(cluster) == "NoLiveAgent", "who is heard no more when all is heard again is dead"


@pytest.mark.parametrize("leader_elect", [True, False], ids=["two replicas", "one without an election"])
@pytest.mark.parametrize("frames", [0, 1], ids=["says nothing", "says a part of what there is"])
async def test_a_watch_that_was_opened_again_and_is_silent_is_no_sign_that_a_node_is_dead(
    cluster: Cluster, leader_elect: bool, frames: int
) -> None:
    async with announcing(cluster, leader_elect=leader_elect) as node:
        before = await cluster.service()
        await away(cluster, node, resource=LEASES, seconds=20, renews=True)
        silent = Rule(
            effect=Silence(after_frames=frames), subject=ALLOCATOR.name, resource=LEASES, verb="watch", count=1
        )
        cluster.core.faults.add(silent)
        for _ in range(60):
            await node.renew()
            await cluster.clock.advance(1.0)
            assert await cluster.service() == before


async def test_who_takes_the_labels_off_the_lease_of_the_allocator_does_not_hide_a_dead_node(cluster: Cluster) -> None:
    dead, alive = Node(cluster, "n1"), Node(cluster, "n2")
    await dead.renew()
    await alive.renew()
    async with cluster.allocator(leader_elect=True):
        await announces(cluster, dead)
        await cluster.patch(LEASES_OF, ALLOCATOR_LEASE, {"metadata": {"labels": None}}, INSTALL)
        await alive.live(20)
        assert await announced(cluster) != "AnnouncingLocal"


async def test_while_the_server_is_away_it_is_asked_for_its_leases_once(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="purelb")
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator(leader_elect=False):
        await cluster.clock.advance(3.0)
        await away(cluster, node, resource="*", seconds=300, renews=False)
        asked = [each for each in caplog.records if getattr(each, "why", "") == "a node was not heard of"]
        assert len(asked) == 1
        assert getattr(asked[0], "code", "") == "relist"


async def test_in_a_burst_that_is_told_to_wait_two_seconds_nothing_is_sent_and_then_all_get_what_was_decided(
    cluster: Cluster,
) -> None:
    names = [f"s{number:02}" for number in range(BURST)]

    def sent() -> int:
        return sum(path.endswith("/status") and "/services/" in path for _, path in cluster.writes)

    async with cluster.allocator(writers=4) as component:
        patience = Answer(code=429, retry_after=2)
        cluster.core.faults.add(Rule(effect=patience, resource="services/status", verb="patch", count=1))
        for name in names:
            await cluster.serve(name)
        await cluster.clock.advance(0.125)
        early = sent()
        assert 1 <= early <= 4, "those that were on their way"
        view: Any = component.show(most=100)["view"]
        decided = {row["service"].partition("/")[2]: tuple(row["addresses"]) for row in view["ledger"]}
        assert len(decided) == BURST
        await cluster.clock.advance(1.75)
        assert sent() == early
        assert len(await cluster.all_addresses()) == early - 1
        await cluster.clock.advance(1.0)
        assert {name: await cluster.addresses(name) for name in names} == decided
        assert sent() == BURST + 1
