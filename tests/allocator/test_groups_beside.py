# SPDX-License-Identifier: Apache-2.0
"""Edits of a group that move nobody and still show: how its addresses are announced. And what a node gives up is there for who waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NODES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.11"),)


async def edit(cluster: Cluster, **local: object) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"local": local}}, INSTALL)
    await cluster.clock.advance(2.0)


async def test_that_duplicates_need_not_be_detected_is_noted_in_services_as_soon_as_the_group_says_so(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        for value, expected in ((True, "true"), (False, None)):
            await edit(cluster, skipIPv6DAD=value)
            noted = (await cluster.service()).metadata.annotations or {}
            assert noted.get("purelb.io/skip-ipv6-dad") == expected
        assert cluster.status_writes() == 3


async def test_where_an_address_may_stand_decides_what_is_told_of_it_at_once(cluster: Cluster) -> None:
    async def reason() -> str:
        found = await cluster.condition("Announced")
        assert found is not None
        return found.reason

    node = Node(cluster, "n1", subnets="198.51.100.0/24")
    async with cluster.allocator():
        await cluster.serve()
        await node.report(remote={"interface": "kube-lb0", "count": 1, "addresses": ["192.0.2.10/24"]})
        await node.live(4)
        assert await reason() == "NoNodeInSubnet"
        for off_subnet, expected in (("Dummy", "AnnouncingNonLocal"), ("Withhold", "NoNodeInSubnet")):
            await node.renew()
            await edit(cluster, offSubnet=off_subnet)
            await node.live(4)
            assert await reason() == expected


@pytest.mark.parametrize("how", ["the node goes", "it has another address"])
async def test_what_a_node_gives_up_is_given_to_who_waits(cluster: Cluster, how: str) -> None:
    def addresses(*ips: str) -> dict[str, Any]:
        return {"status": {"addresses": [{"type": "InternalIP", "address": ip} for ip in ips]}}

    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    await cluster.patch(NODES, "n1", addresses("192.0.2.10", "192.0.2.11"), subresource="status")
    async with cluster.allocator():
        await cluster.serve("waits")
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.11"})
        await cluster.clock.advance(2.0)
        told = await cluster.condition(name="waits")
        assert told is not None
        assert told.message == "default: 0 of 2 IPv4 addresses in use, 2 reserved"
        if how == "the node goes":
            await cluster.admin.delete(NODES, "n1")
        else:
            await cluster.patch(NODES, "n1", addresses("203.0.113.1"), subresource="status")
        await cluster.clock.advance(2.0)
        assert [await cluster.addresses(name) for name in ("waits", "wants")] == [("192.0.2.10",), ("192.0.2.11",)]
