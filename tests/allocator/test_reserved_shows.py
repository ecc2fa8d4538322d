# SPDX-License-Identifier: Apache-2.0
"""What is reserved inside a pool shows in the status of its group as soon as it is, and no longer when it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NODES, SERVICES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19"),)


async def available(cluster: Cluster) -> int | None:
    await cluster.clock.advance(2.0)
    status = (await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)).status
    return status.available_ipv4 if status is not None else None


async def test_the_addresses_of_nodes_and_of_others_are_not_available(cluster: Cluster) -> None:
    async with cluster.allocator():
        assert await available(cluster) == 10
        await cluster.create(NODES, {"metadata": {"name": "n1"}})
        addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}}
        await cluster.patch(NODES, "n1", addresses, subresource="status")
        assert await available(cluster) == 9
        node = Node(cluster, "n1")
        await node.renew()
        await node.report(interfaces=[{"name": "eth0", "role": "local", "gateways": ["192.0.2.11", "192.0.2.12"]}])
        assert await available(cluster) == 7
        await cluster.serve("theirs", loadBalancerClass="example.com/x")
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.13"}]}}}
        await cluster.patch(SERVICES, "theirs", ingress, "shop", subresource="status")
        assert await available(cluster) == 6
        cluster.writes.clear()
        await node.report(interfaces=[{"name": "eth1", "role": "local", "gateways": ["192.0.2.11", "192.0.2.12"]}])
        assert await available(cluster) == 6
        assert not [path for _, path in cluster.writes if "servicegroups" in path]
        await cluster.admin.delete(SERVICES, "theirs", namespace="shop")
        await cluster.admin.delete(NODES, "n1")
        await node.report(interfaces=[])
        assert await available(cluster) == 10
