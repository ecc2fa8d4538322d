# SPDX-License-Identifier: Apache-2.0
"""Who gets an address that becomes free: who asked for this very one before who takes any, and the older before the younger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import NODES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Reset, Rule
from tests.allocator.cluster import ALLOCATOR, pool

if TYPE_CHECKING:
    from purelb.sandbox.apiserver.faults import Effect
    from tests.allocator.cluster import Cluster

ONE, TWO = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text=f"{ONE}-{TWO}"),)


async def node_has(cluster: Cluster, *addresses: str) -> None:
    told = [{"type": "InternalIP", "address": address} for address in addresses]
    await cluster.patch(NODES, "n1", {"status": {"addresses": told}}, subresource="status")
    await cluster.clock.advance(2.0)


async def ask(cluster: Cluster, **wanted: str) -> None:
    """Services that come one after the other, oldest first; an empty text asks for any address."""
    for name, address in wanted.items():
        await cluster.serve(name, annotations={"purelb.io/addresses": address} if address else {})
        await cluster.clock.advance(2.0)


async def test_who_asked_for_an_address_of_a_node_gets_it_before_who_was_woken_for_another_one(
    cluster: Cluster,
) -> None:
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    async with cluster.allocator():
        await node_has(cluster, ONE, TWO)
        await ask(cluster, asks="192.0.2.1", waits="", other="192.0.2.2")
        await node_has(cluster, ONE)
        assert (await cluster.addresses("other"), await cluster.addresses("waits")) == ((TWO,), ())
        await cluster.admin.delete(NODES, "n1")
        await cluster.clock.advance(2.0)
        assert (await cluster.addresses("asks"), await cluster.addresses("waits")) == ((ONE,), ())


async def test_of_two_who_ask_for_one_address_the_older_gets_it_although_the_younger_has_still_to_be_told_something(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await ask(cluster, holds=ONE, older=ONE)
        await cluster.clock.advance(
            70.0
        )  # what is told of the older may change at once, and of the younger in a minute
        await ask(cluster, younger=ONE)
        key = {"metadata": {"annotations": {"purelb.io/allow-shared-ip": "key"}}}
        await cluster.patch(SERVICES, "holds", key, "shop")
        await cluster.clock.advance(2.0)
        older, younger = await cluster.allocated("older"), await cluster.allocated("younger")
        assert older[:2] == younger[:2] == ("False", "InUse")
        assert older[2] != younger[2], "it still says what was true before the key"
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(2.0)
        assert (await cluster.addresses("older"), await cluster.addresses("younger")) == ((ONE,), ())


@pytest.mark.parametrize("effect", [Answer(code=403), Answer(code=409), Reset()], ids=["refused", "a conflict", "lost"])
async def test_the_older_gets_it_although_what_the_younger_is_to_be_told_could_not_be_written(
    cluster: Cluster, effect: Effect
) -> None:
    async with cluster.allocator():
        await ask(cluster, holds=ONE, older=ONE)
        rule = Rule(effect=effect, subject=ALLOCATOR.name, verb="patch", resource="services/status", name="younger")
        number = cluster.core.faults.add(rule)
        await ask(cluster, younger=ONE)
        await cluster.clock.advance(20.0)
        assert await cluster.condition(name="younger") is None
        cluster.core.faults.remove(number)
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(100.0)
        assert (await cluster.addresses("older"), await cluster.addresses("younger")) == ((ONE,), ())
