# SPDX-License-Identifier: Apache-2.0
"""A system gives an address that is somebody's in this cluster: it goes back, and the next one is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import NODES, SERVICES
from tests.allocator.cluster import pool
from tests.allocator.ipam import V4, Ipam, lie, netbox

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

NODES_OWN, THEIRS, INSIDE = "203.0.113.77", "203.0.113.78", "10.96.0.77"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(), netbox())


@pytest.mark.parametrize("ip", [NODES_OWN, THEIRS, INSIDE], ids=["a node's", "another controller's", "its cluster IP"])
async def test_it_is_not_published_and_goes_back(cluster: Cluster, ip: str) -> None:
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": NODES_OWN}]}}
    await cluster.patch(NODES, "n1", addresses, subresource="status")
    await cluster.serve("theirs", loadBalancerClass="example.com/x")
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": THEIRS}]}}}
    await cluster.patch(SERVICES, "theirs", ingress, "shop", subresource="status")
    async with cluster.allocator():
        ipam.mood["allocate"].append(lie(ip))
        await cluster.serve(annotations={"purelb.io/service-group": "far"}, clusterIP=INSIDE)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == (V4[0],)
        assert [held.ip for verb, held in ipam.calls if verb == "release"] == [ip]
        ipam.always["allocate"] = lie(ip)
        await cluster.serve("never", annotations={"purelb.io/service-group": "far"})
        await cluster.clock.advance(5.0)
        told = await cluster.condition(name="never")
        assert told is not None
        assert told.reason == "IPAMMisconfigured"
        assert f"{ip} is reserved in this cluster" in told.message
