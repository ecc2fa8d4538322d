# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from typing import Any

import pytest

from purelb.sandbox.rig.cuts import Cut, port, problem, ruleset

NODES = ("n1", "n2", "n3")


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
    both = [line.strip() for line in ruleset([Cut(node="n1", away="n2")]).splitlines() if "drop" in line]
    assert sorted(both) == [
        'iifname "n1-api0" oifname "n2-api0" drop',
        'iifname "n1-eth0" oifname "n2-eth0" drop',
        'iifname "n2-api0" oifname "n1-api0" drop',
        'iifname "n2-eth0" oifname "n1-eth0" drop',
    ]
    one = [line.strip() for line in ruleset([Cut(node="n1", away="n2", oneway=True)]).splitlines() if "drop" in line]
    assert one == [line for line in both if line.startswith('iifname "n1')]


def test_without_a_cut_that_needs_rules_the_table_is_only_removed() -> None:
    assert "chain" not in ruleset([Cut(node="n1", away="lan")])
    assert "delete table bridge sandbox_cuts" in ruleset([])


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
    assert says in (problem(Cut(**cut), NODES) or "")


@pytest.mark.parametrize("away", ["lan", "api", "n2"])
def test_every_network_and_every_other_node_can_be_cut(away: str) -> None:
    assert problem(Cut(node="n1", away=away, oneway=True), NODES) is None
