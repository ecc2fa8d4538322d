# SPDX-License-Identifier: Apache-2.0
"""Local addresses that may stand on dummy interfaces, on a node whose report cannot list all it has: told as remote ones are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

CUT_OFF: dict[str, Any] = {"remote": {"interface": "kube-lb0", "count": 9000, "addresses": ["198.51.100.9/24"]}}
WHOLE: dict[str, Any] = {"remote": {"interface": "kube-lb0", "count": 1, "addresses": ["198.51.100.9/24"]}}
ANNOUNCED, AWAITED = ("True", "AnnouncingNonLocal"), ("False", "AwaitingNode")


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    entry = {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}
    return ({"metadata": {"name": "default"}, "spec": {"local": {"v4pool": entry, "offSubnet": "Dummy"}}},)


@pytest.mark.parametrize("stray", [False, True], ids=["of a group with offSubnet Dummy", "of no group any more"])
async def test_a_list_that_is_whole_again_says_what_is_missing(cluster: Cluster, stray: bool) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await cluster.serve()
        await node.renew()
        await node.report(**CUT_OFF)
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        if stray:
            await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
            await node.live(4.0)
            assert (await cluster.announced())[:2] == ANNOUNCED
        await node.report(**WHOLE)
        await node.live(4.0)
        assert (await cluster.announced())[:2] == AWAITED
        await node.report(**CUT_OFF)
        await node.live(4.0)
        assert (await cluster.announced())[:2] == ANNOUNCED


async def test_the_death_of_such_a_node_is_told(cluster: Cluster) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2")
    async with cluster.allocator():
        await cluster.serve()
        await node.renew()
        await node.report(**CUT_OFF)
        await other.renew()
        await other.report(**WHOLE)
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        await other.live(14.0)
        assert (await cluster.announced())[:2] == AWAITED
