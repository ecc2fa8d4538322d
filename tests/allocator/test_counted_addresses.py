# SPDX-License-Identifier: Apache-2.0
"""The gauges of announced addresses count addresses: each of a Service with several, and one that several Services share once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator import metrics
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from purelb.allocator.main import Allocator
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19", six="2001:db8::10-2001:db8::19"),)


def counted(component: Allocator) -> tuple[dict[str, float], dict[str, float]]:
    """By state, and by reason."""
    samples = list(component.samples())
    states, why = metrics.ADDRESSES.name, metrics.UNANNOUNCED.name
    found = {name: {s.labels[0]: s.value for s in samples if s.metric.name == name} for name in (states, why)}
    return found[states], found[why]


async def test_each_address_counts_once_and_for_itself(cluster: Cluster) -> None:
    async with cluster.allocator() as component:
        await cluster.serve("both", ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack")
        await cluster.clock.advance(1.0)
        for name, port in (("one", 80), ("two", 81)):
            await cluster.serve(name, annotations={"purelb.io/allow-shared-ip": "key"}, port=port)
            await cluster.clock.advance(1.0)
        await cluster.serve("twice")
        await cluster.clock.advance(1.0)
        states = {"announced": 0.0, "unannounced": 4.0, "conflicting": 0.0}
        assert counted(component) == (states, {"NoLiveAgent": 4.0}), "10 and its IPv6 address, 11 for two, 12"
        nodes = [Node(cluster, name, "192.0.2.0/24,2001:db8::/64") for name in ("n1", "n2")]
        for node in nodes:
            await node.renew()
            await node.report(("192.0.2.12", "eth0"), *([("192.0.2.10", "eth0")] if node is nodes[0] else []))
        for _ in range(10):
            for node in nodes:
                await node.live(2.0)
        states = {"announced": 1.0, "unannounced": 2.0, "conflicting": 1.0}
        assert counted(component) == (states, {"AwaitingNode": 2.0, "AnnouncedTwice": 1.0})
        for name in ("both", "one"):
            await cluster.admin.delete(SERVICES, name, namespace="shop")
        await cluster.clock.advance(1.0)
        states = {"announced": 0.0, "unannounced": 1.0, "conflicting": 1.0}
        assert counted(component) == (states, {"AwaitingNode": 1.0, "AnnouncedTwice": 1.0}), (
            "the other one shares 11 with nobody"
        )
