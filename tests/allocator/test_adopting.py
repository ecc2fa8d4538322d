# SPDX-License-Identifier: Apache-2.0
"""An address that was published before we knew its Service is taken over as if it had been asked for, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.metrics import ALLOCATIONS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19"), pool("full", "192.0.2.50"), pool("dry", "192.0.2.60", drain=True))


async def publish(cluster: Cluster, *ips: str, name: str = "web") -> None:
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}}
    await cluster.patch(SERVICES, name, ingress, "shop", subresource="status")


async def test_it_is_counted_as_adopted_and_never_left_to_another_host(cluster: Cluster) -> None:
    """It was not chosen by us, and may have had clients for years."""
    node = Node(cluster, "n1")
    await node.renew()
    await cluster.serve()
    await publish(cluster, "192.0.2.12")
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.12",)
        counted = {key[1:]: count for key, count in cluster.sink.counts.items() if key[0] == ALLOCATIONS.name}
        assert counted == {("local", "adopted"): 1}
        text = "another host answers for 192.0.2.12: 02:00:00:00:00:01"
        withheld = {"ip": "192.0.2.12", "services": ["shop/web"], "reason": "DuplicateOnLAN", "message": text}
        await node.report(withheld=[withheld])
        await node.live(10)
        assert await cluster.addresses() == ("192.0.2.12",)


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        pytest.param(("192.0.2.60",), ("192.0.2.10",), id="of a group that drains"),
        pytest.param(("203.0.113.1",), ("192.0.2.10",), id="of no group"),
        pytest.param(("192.0.2.12", "203.0.113.1"), ("192.0.2.10",), id="one of which is of no group"),
        pytest.param(("192.0.2.50",), ("192.0.2.10",), id="of another Service"),
        pytest.param(("192.0.2.12", "192.0.2.11"), ("192.0.2.12", "192.0.2.11"), id="two that are free"),
    ],
)
async def test_what_could_not_be_given_is_replaced_on_a_service_of_our_class(
    cluster: Cluster, ips: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    await cluster.serve("other", annotations={"purelb.io/service-group": "full"})
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("other") == ("192.0.2.50",)
    await cluster.clock.advance(1.1)
    await cluster.serve()
    await publish(cluster, *ips)
    async with cluster.allocator():
        await cluster.clock.advance(3.0)
        assert await cluster.addresses() == expected
        assert await cluster.addresses("other") == ("192.0.2.50",)
