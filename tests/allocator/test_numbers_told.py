# SPDX-License-Identifier: Apache-2.0
"""Who waits for a full pool is told of its numbers as they are: a minute late at most, and the oldest few where many wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.keys import ServiceKey
from purelb.kube.resources import NODES, SERVICES
from purelb.sandbox.bench.clusters import services
from purelb.sandbox.bench.rehearsal import Rehearsal
from tests.allocator.cluster import pool
from tests.allocator.test_crowds import default

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.11", reuseDelay="1h"),)


async def serve(cluster: Cluster, *names: str) -> None:
    for name in names:
        await cluster.serve(name)
        await cluster.clock.advance(1.0)


async def told(cluster: Cluster, *names: str) -> set[str]:
    return {(await cluster.allocated(name))[2] for name in names}


async def test_that_an_address_is_kept_back_is_told_to_those_who_wait(cluster: Cluster) -> None:
    async with cluster.allocator():
        await serve(cluster, "a", "b", "c", "d", "e")
        assert await told(cluster, "c", "d", "e") == {"default: 2 of 2 IPv4 addresses in use"}
        await cluster.admin.delete(SERVICES, "a", namespace="shop")
        await cluster.clock.advance(62.0)
        assert await told(cluster, "c", "d", "e") == {"default: 1 of 2 IPv4 addresses in use, 1 quarantined"}
        await cluster.clock.advance(3600.0)
        assert await cluster.addresses("c") == ("192.0.2.10",)
        assert await told(cluster, "d", "e") == {"default: 2 of 2 IPv4 addresses in use"}


async def test_that_an_address_is_reserved_no_longer_is_told_to_those_who_go_on_waiting(cluster: Cluster) -> None:
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]}}
    await cluster.patch(NODES, "n1", addresses, subresource="status")
    async with cluster.allocator():
        await serve(cluster, "a", "b", "c", "d")
        assert await told(cluster, "b", "c", "d") == {"default: 1 of 2 IPv4 addresses in use, 1 reserved"}
        await cluster.admin.delete(NODES, "n1")
        await cluster.clock.advance(62.0)
        assert await cluster.addresses("b") == ("192.0.2.10",)
        assert await told(cluster, "c", "d") == {"default: 2 of 2 IPv4 addresses in use"}


@pytest.mark.parametrize("delay", ["0s", "1h"], ids=["to who waits", "to be kept back"])
def test_a_release_costs_three_decisions_however_many_wait(delay: str) -> None:
    rehearsal = Rehearsal(groups=[default("192.0.2.0-192.0.2.9", reuseDelay=delay)], services=services(210))
    rehearsal.begin()
    rehearsal.settle()
    assert len(rehearsal.state.waiting) == 200
    (first, *_) = rehearsal.services()
    where = f"{first.metadata.namespace}/{first.metadata.name}"
    rehearsal.steps.clear()
    rehearsal.delete_service(where)
    rehearsal.settle()
    asked = [key for key, _ in rehearsal.steps if isinstance(key, ServiceKey) and str(key) != where]
    assert 1 <= len(asked) <= 3
