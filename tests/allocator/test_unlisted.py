# SPDX-License-Identifier: Apache-2.0
"""A node with more remote addresses than its report can list: it counts as having those that nobody lists, while it lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


CUT_OFF: dict[str, Any] = {"remote": {"interface": "kube-lb0", "count": 9000, "addresses": ["198.51.100.9/24"]}}
WHOLE: dict[str, Any] = {"remote": {"interface": "kube-lb0", "count": 1, "addresses": ["198.51.100.9/24"]}}
ANNOUNCED = ("True", "AnnouncingNonLocal")


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    entry = {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}
    body = {"metadata": {"name": "default"}, "spec": {"remote": {"v4pool": entry}}}
    return (body,)


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
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")


async def test_a_list_that_is_whole_again_says_what_is_missing(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await cluster.serve()
        await node.renew()
        await node.report(**CUT_OFF)
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ANNOUNCED
        await node.report(**WHOLE)
        await node.live(4.0)
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")


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
