# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from purelb.sandbox.rig.topology import Shape, Topology, plan, problem

SHAPES = [
    Shape(nodes=99),
    Shape(nodes=99, subnets=99),
    Shape(nodes=5, subnets=2, family="ipv4"),
    Shape(nodes=5, subnets=3, family="ipv6", nics=2),
    Shape(nodes=4, subnets=2, single_nic=True),
]


def laid_out(shape: Shape) -> Topology:
    return plan(shape, pods=[(f"p{number}", f"n{number % shape.nodes + 1}") for number in range(300)])


@pytest.mark.parametrize("shape", SHAPES)
def test_no_address_and_no_mac_is_given_twice(shape: Shape) -> None:
    topology = laid_out(shape)
    given = [address for node in topology.nodes for address in node.own]
    given += [address for pod in topology.pods for address in pod.addresses]
    given += [*topology.client, topology.api, *(one for subnet in topology.subnets for one in subnet.at(254))]
    assert len(given) == len(set(given))
    macs = [nic.mac for node in topology.nodes for nic in node.nics]
    assert len(macs) == len(set(macs))


@pytest.mark.parametrize("shape", SHAPES)
def test_no_link_has_a_name_that_is_too_long_or_taken(shape: Shape) -> None:
    names = [cable.port for node in laid_out(shape).nodes for cable in node.cables]
    assert len(names) == len(set(names))
    assert max(map(len, names)) < 16


@pytest.mark.parametrize("shape", SHAPES)
def test_every_interface_is_in_its_subnet_in_every_family_and_outside_of_its_pools(shape: Shape) -> None:
    for node in laid_out(shape).nodes:
        for nic in node.nics:
            assert [
                address in network for address, network in zip(nic.addresses, nic.subnet.networks, strict=True)
            ] == [True] * (2 if shape.family == "dual" else 1)
    assert "172.30.2.200-172.30.2.250" in plan(Shape(nodes=2, subnets=2)).subnets[1].pools


def test_nodes_are_spread_over_the_subnets_and_a_second_interface_is_in_the_next_one() -> None:
    topology = plan(Shape(nodes=5, subnets=2, nics=2))
    assert [[nic.subnet.number for nic in node.nics] for node in topology.nodes] == [[1, 2], [2, 1]] * 2 + [[1, 2]]
    assert [str(address) for address in topology.node("n2").addresses] == ["172.30.2.2", "fd00:30:2::2"]


def test_pods_of_a_node_on_the_same_lan_are_reached_directly_and_others_by_the_router() -> None:
    topology = plan(Shape(nodes=3, subnets=2))
    first, other, neighbour = topology.nodes
    assert [str(hop) for _, hop in topology.hops(first, neighbour)] == ["172.30.1.3", "fd00:30:1::3"]
    assert [str(hop) for _, hop in topology.hops(first, other)] == ["172.30.1.254", "fd00:30:1::254"]
    both = plan(Shape(nodes=3, subnets=2, nics=2))
    assert [str(hop) for _, hop in both.hops(*both.nodes[:2])] == ["172.30.2.2", "fd00:30:2::2"]


def test_a_cluster_of_one_family_has_no_address_of_the_other() -> None:
    for family, version in (("ipv4", 4), ("ipv6", 6)):
        topology = laid_out(Shape(nodes=3, subnets=2, family=family))  # type: ignore[arg-type]
        seen = {address.version for node in topology.nodes for address in node.own}
        seen |= {address.version for pod in topology.pods for address in pod.addresses}
        assert seen | {topology.api.version, topology.client[0].version} == {version}


@pytest.mark.parametrize(
    ("shape", "says"),
    [
        (Shape(nodes=0), "--nodes 0: 1 to 99"),
        (Shape(nodes=100), "--nodes 100: 1 to 99"),
        (Shape(subnets=0), "--subnets 0: 1 or more"),
        (Shape(nodes=2, subnets=3), "use --nodes 3"),
        (Shape(nics=2), "use --subnets 2"),
        (Shape(nics=3, subnets=3), "--nics 3: 1 or 2"),
    ],
)
def test_a_shape_that_does_not_fit_is_refused_with_one_that_does(shape: Shape, says: str) -> None:
    assert says in (problem(shape) or "")
    with pytest.raises(ValueError, match="--"):
        plan(shape)
