# SPDX-License-Identifier: Apache-2.0
"""A Service is deleted, and the event that says so never comes: the first write that finds nothing there sets it right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import DropEvent, Rule
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10"),)


async def test_the_services_are_listed_again_and_its_address_is_free(cluster: Cluster) -> None:
    # Of the second watch, that of the term. What comes before it: the list's end, the one that waits and its condition, the one that is deleted and its address.
    lost = Rule(effect=DropEvent(after_events=5), subject=ALLOCATOR.name, verb="watch", resource="services", count=2)
    cluster.core.faults.add(lost)
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.serve("waits")
        await cluster.clock.advance(1.0)
        assert (await cluster.addresses(), await cluster.addresses("waits")) == (("192.0.2.10",), ())
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await node.live(4)
        assert await cluster.addresses("waits") == (), "else its end was heard of"
        await node.report(("192.0.2.10", "eth0"))  # which is to be noted in a Service that is not there
        await node.live(4)
        assert await cluster.addresses("waits") == ("192.0.2.10",)
