# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from purelb.sandbox.rig.topology import LAN4, LAN6, plan


def test_no_address_is_given_twice() -> None:
    topology = plan(nodes=99, pods=[(f"p{number}", f"n{number % 99 + 1}") for number in range(300)])
    given = [
        address
        for node in topology.nodes
        for address in (node.lan4, node.lan6, node.management, node.gateway4, node.gateway6)
    ] + [address for pod in topology.pods for address in (pod.ip4, pod.ip6)]
    assert len(given) == len(set(given))


def test_every_node_is_in_the_lan_of_both_families() -> None:
    assert all(node.lan4 in LAN4 and node.lan6 in LAN6 for node in plan(nodes=99).nodes)


@pytest.mark.parametrize("count", [0, -1, 100])
def test_a_number_of_nodes_that_does_not_fit_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match="1 to 99"):
        plan(nodes=count)
