# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from purelb.sandbox.rig.cuts import Cut, port, problem, ruleset
from purelb.sandbox.rig.topology import Shape, Topology, plan

NODES = ("n1", "n2", "n3")
ONE_LAN = plan(Shape(nodes=3))
TWO_LANS = plan(Shape(nodes=3, subnets=2))


def drops(*cuts: Cut, topology: Topology = ONE_LAN) -> list[str]:
    return [line.strip() for line in ruleset(cuts, topology).splitlines() if "drop" in line]


def test_only_a_cut_of_the_whole_network_moves_a_port() -> None:
    cuts = (
        Cut(node="n1", away="lan"),
        Cut(node="n1", away="api", carrier="down"),
        Cut(node="n2", away="lan", oneway=True),
        Cut(node="n2", away="n3"),
    )
    stands = {(node, network): port(cuts, node, network) for node in NODES for network in ("lan", "api")}
    assert stands.pop(("n1", "lan")) == "out"
    assert stands.pop(("n1", "api")) == "down"
    assert set(stands.values()) == {"joined"}


def test_a_pair_is_cut_in_both_directions_on_both_networks_and_one_way_in_one() -> None:
    both = drops(Cut(node="n1", away="n2"))
    assert sorted(both) == [
        'iifname "n1-api0" oifname "n2-api0" drop',
        'iifname "n1-eth0" oifname "n2-eth0" drop',
        'iifname "n2-api0" oifname "n1-api0" drop',
        'iifname "n2-eth0" oifname "n1-eth0" drop',
    ]
    one = drops(Cut(node="n1", away="n2", oneway=True))
    assert one == [line for line in both if line.startswith('iifname "n1')]


def test_two_nodes_of_different_subnets_are_cut_on_both_sides_of_the_router() -> None:
    sent = [line for line in drops(Cut(node="n1", away="n2", oneway=True), topology=TWO_LANS) if "api0" not in line]
    assert sent == [
        'iifname "n1-eth0" oifname "router-lan1" ip daddr { 172.30.2.2, 10.244.2.0/24 } drop',
        'iifname "router-lan2" oifname "n2-eth0" ip saddr { 172.30.1.1, 10.244.1.0/24 } drop',
        'iifname "n1-eth0" oifname "router-lan1" ip6 daddr { fd00:30:2::2, fd00:244:2::/64 } drop',
        'iifname "router-lan2" oifname "n2-eth0" ip6 saddr { fd00:30:1::1, fd00:244:1::/64 } drop',
    ]
    ipv4 = drops(Cut(node="n1", away="n2"), topology=plan(Shape(nodes=2, subnets=2, family="ipv4")))
    assert not [line for line in ipv4 if "ip6" in line]


def test_a_node_with_two_interfaces_loses_both_when_it_is_cut_from_the_lan() -> None:
    topology = plan(Shape(nodes=2, subnets=2, nics=2))
    assert drops(Cut(node="n1", away="lan", oneway=True), topology=topology) == [
        'iifname "n1-eth0" drop',
        'iifname "n1-eth1" drop',
    ]


def test_where_the_api_is_on_the_lan_it_is_cut_with_the_lan_only() -> None:
    why = problem(Cut(node="n1", away="api"), plan(Shape(single_nic=True)))
    assert why is not None
    assert "--from lan cuts both" in why


def test_without_a_cut_that_needs_rules_the_table_is_only_removed() -> None:
    assert "chain" not in ruleset([Cut(node="n1", away="lan")], ONE_LAN)
    assert "delete table bridge sandbox_cuts" in ruleset([], ONE_LAN)


@pytest.mark.parametrize(
    ("cut", "says"),
    [
        ({"node": "n9", "away": "lan"}, "no node 'n9': there are n1, n2, n3"),
        ({"node": "n1", "away": "wan"}, "one of lan, api, n1, n2, n3"),
        ({"node": "n1", "away": "n1"}, "not cut from itself"),
        ({"node": "n1", "away": "n2", "carrier": "down"}, "share no cable"),
        ({"node": "n1", "away": "lan", "carrier": "down", "oneway": True}, "either way"),
    ],
)
def test_what_cannot_be_cut_is_refused_with_what_can(cut: dict[str, Any], says: str) -> None:
    assert says in (problem(Cut(**cut), ONE_LAN) or "")


@pytest.mark.parametrize("away", ["lan", "api", "n2"])
def test_every_network_and_every_other_node_can_be_cut(away: str) -> None:
    assert problem(Cut(node="n1", away=away, oneway=True), ONE_LAN) is None
