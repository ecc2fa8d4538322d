# SPDX-License-Identifier: Apache-2.0
"""A node with more addresses on its dummy interface than its report can list: it counts as having those that nobody lists, while it lives.

Remote addresses stand there, and local ones of a group with offSubnet Dummy.
"""

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

ENTRY: dict[str, Any] = {"v4pool": {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}}
REMOTE = pytest.param({"remote": ENTRY}, id="remote")
DUMMY = pytest.param({"local": {**ENTRY, "offSubnet": "Dummy"}}, id="local, offSubnet Dummy")


@pytest.fixture(params=[REMOTE, DUMMY])
def groups(request: pytest.FixtureRequest) -> tuple[dict[str, Any], ...]:
    return ({"metadata": {"name": "default"}, "spec": request.param},)


async def test_its_death_is_told_of_addresses_that_it_did_not_list(cluster: Cluster) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2")
    async with cluster.allocator():
        await cluster.serve()
        await node.renew()
        await node.report(**CUT_OFF)
        await other.renew()
        await other.report(**WHOLE)
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        await other.live(9.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        await other.live(4.0)
        assert (await cluster.announced())[:2] == AWAITED


@pytest.mark.parametrize("stray", [False, True], ids=["of the group", "of no group any more"])
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


async def test_its_death_is_told_of_what_the_other_one_withholds(cluster: Cluster) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2")
    failed = {"ip": "198.51.100.1", "reason": "AnnouncementFailed", "message": "n2: kube-lb0 is gone"}
    async with cluster.allocator():
        await cluster.serve()
        for each in (node, other):
            await each.renew()
        await node.report(**CUT_OFF)
        await other.report(**CUT_OFF, withheld=[failed])
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        await other.live(14.0)
        assert (await cluster.announced())[:2] == ("False", "AnnouncementFailed")
