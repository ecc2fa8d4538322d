# SPDX-License-Identifier: Apache-2.0
"""Of several things that are due for one Service the first one comes first: none hides behind another that may wait."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


DUAL: dict[str, Any] = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}


def entries(six: str) -> dict[str, Any]:
    four = {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}
    return {"local": {"v4pool": four, "v6pool": {"pool": six, "subnet": "2001:db8::/64"}}}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    body = {"metadata": {"name": "default"}, "spec": entries("2001:db8::10-2001:db8::11")}
    return (body,)


async def partly_served(cluster: Cluster, node: Node) -> None:
    """A Service lacks a family, and the words about that have changed since they were written: they wait for a minute."""
    await node.renew()
    for name in ("first", "second"):
        await cluster.serve(name, **DUAL)
        await cluster.clock.advance(1.0)
    await cluster.serve(**DUAL)
    await cluster.clock.advance(1.0)
    assert await cluster.addresses() == ("192.0.2.12",)
    await node.report(("192.0.2.12", "eth0"))
    await cluster.clock.advance(1.0)
    assert (await cluster.announced())[:2] == ("True", "AnnouncingLocal")
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": entries("2001:db8::10")}, INSTALL)
    await cluster.clock.advance(2.0)
    told = await cluster.says()
    assert told.message.endswith("2 of 2 IPv6 addresses in use")


async def test_that_an_address_is_missing_does_not_wait_for_words_that_do(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await partly_served(cluster, node)
        await node.report()
        await cluster.clock.advance(1.5)
        assert (await cluster.announced())[:2] == ("True", "AnnouncingLocal")
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")


async def test_the_words_are_told_after_their_minute_all_the_same(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await partly_served(cluster, node)
        await node.live(70)
        told = await cluster.says()
        assert told.message.endswith("1 of 1 IPv6 addresses in use")


async def test_the_end_of_a_rest_does_not_wait_for_words_that_do(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await node.renew()
        for name in ("first", "second", "web"):
            await cluster.serve(name, **DUAL)
            await cluster.clock.advance(1.0)
        for _ in range(4):
            await cluster.patch(SERVICES, "web", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
            await cluster.clock.advance(1.0)
        await cluster.clock.advance(3580.0)
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/allocated-by": "x"}}}, "shop")
        await cluster.clock.advance(1.0)  # it is put back: the words begin to wait anew
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": entries("2001:db8::10")}, INSTALL)
        await cluster.clock.advance(30.0)
        spec = (await cluster.service()).spec
        assert spec is not None
        assert spec.external_traffic_policy == "Cluster"
