# SPDX-License-Identifier: Apache-2.0
"""Why an entry gives no address follows the nodes of its subnet, in both directions, for who waits and for who has others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import SERVICES
from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

FULL = "default: 192.0.2.0/24: 1 of 1 IPv4 addresses in use"
DARK = "default: no live node advertises any of 192.0.2.0/24"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    entries = [
        {"pool": "192.0.2.10", "subnet": "192.0.2.0/24"},
        {"pool": "198.51.100.10-198.51.100.19", "subnet": "198.51.100.0/24"},
    ]
    return ({"metadata": {"name": "default"}, "spec": {"local": {"v4pools": entries, "multiPool": True}}},)


async def said(cluster: Cluster) -> tuple[str, str]:
    found = await cluster.condition()
    assert found is not None
    return found.reason, found.message


async def test_who_waits_for_a_full_entry_is_told_when_nobody_is_in_its_subnet_any_more(cluster: Cluster) -> None:
    near, far = Node(cluster, "n1"), Node(cluster, "n2", "203.0.113.0/24")
    async with cluster.allocator():
        await near.live(2)
        await cluster.serve("first")
        await cluster.clock.advance(1.0)
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert (await said(cluster))[0] == "PoolExhausted"
        await far.live(16)
        assert await said(cluster) == (
            "NoActiveSubnet",
            "default: no live node advertises any of 192.0.2.0/24, 198.51.100.0/24",
        )
        await near.live(2)
        assert (await said(cluster))[0] == "PoolExhausted"
        await cluster.admin.delete(SERVICES, "first", namespace="shop")
        await near.live(2)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_who_has_another_entrys_address_is_told_as_well(cluster: Cluster) -> None:
    near, far = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    partly = "198.51.100.11 from default; missing 192.0.2.0/24: {}: {}"
    async with cluster.allocator():
        await near.live(2)
        await cluster.serve("first")
        await cluster.clock.advance(1.0)
        await far.renew()
        await near.renew()
        await cluster.clock.advance(1.0)
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await said(cluster) == ("AddressAssignedPartially", partly.format("PoolExhausted", FULL))
        await far.live(90)  # words alone wait for a minute
        assert await said(cluster) == ("AddressAssignedPartially", partly.format("NoActiveSubnet", DARK))
        assert await cluster.addresses() == ("198.51.100.11",)
