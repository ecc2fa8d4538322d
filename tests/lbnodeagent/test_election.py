# SPDX-License-Identifier: Apache-2.0
"""Golden vectors of the specification, and what must hold for every view."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.election import (
    Mine,
    Nobody,
    Ranking,
    Standing,
    Theirs,
    Verdict,
    View,
    digest,
    elect,
    order,
    view_of,
)

if TYPE_CHECKING:
    from purelb.net.ranges import IPAddress

NODES = frozenset(f"node-{letter}" for letter in "abcdef")
IP = IPv4Address("192.168.1.240")
NET = IPv4Network("192.168.1.0/24")


@pytest.mark.parametrize(
    ("key", "expected", "first_of_a"),
    [
        ("192.168.1.240", "adefcb", "0905ce28e61d7edb"),
        ("192.168.1.241", "dcfeab", "ab24a5f9134003b0"),
        ("192.168.1.242", "ecadbf", "9e27b290b350678d"),
        ("fd00::f0", "fabedc", "b012a6e08a6331fb"),
        ("fc00:1:2:3::10", "badfec", "30a015561916fe29"),
        ("10.0.0.1", "fbeadc", "dd41591fe8f31f9f"),
        ("2001:db8:0:1:1:1:1:1", "decbaf", "9b61bb23c6c4a2eb"),
    ],
)
def test_the_order_of_six_nodes_is_that_of_the_golden_vectors(key: str, expected: str, first_of_a: str) -> None:
    assert str(ip_address(key)) == key
    assert "".join(node[-1] for node in order(NODES, key)) == expected
    assert digest("node-a", key).hex()[:16] == first_of_a


@pytest.mark.parametrize(("key", "winner"), [("test-key", 0), ("test-key-nodeXX", 1), ("test-key-foo", 2)])
def test_the_winner_of_three_nodes_is_that_of_the_golden_vectors(key: str, winner: int) -> None:
    nodes = frozenset(f"test-node{number}" for number in range(3))
    assert order(nodes, key)[0] == f"test-node{winner}"


def claim(**changes: object) -> Claim:
    return Claim(**{"ip": IP, "announce": "local", "services": ("default/web",), **changes})  # type: ignore[arg-type]


def standing(node: str, **changes: object) -> Standing:
    return Standing(**{"node": node, "liveness": "alive", "networks": (NET,), **changes})  # type: ignore[arg-type]


def view(*standings: Standing, me: str = "node-a", offers: dict[IPAddress, str] | None = None) -> View:
    return view_of(me, {member.node: member for member in standings}, dict(offers or {}))


def everybody(**changes: object) -> tuple[Standing, ...]:
    return tuple(standing(node, **changes) for node in sorted(NODES))


def test_the_best_digest_wins_and_nobody_else_takes_part_when_nothing_is_preferred() -> None:
    assert elect(claim(), view(*everybody())) == Mine("fresh")
    assert elect(claim(), view(*everybody(), me="node-b")) == Theirs("node-a")


def test_a_draining_winner_gives_way_to_the_next_one_that_does_not_drain() -> None:
    members = (standing("node-a", liveness="draining"), standing("node-c"), standing("node-b"))
    assert elect(claim(), view(*members)) == Theirs("node-c")


def test_the_last_draining_node_keeps_serving() -> None:
    members = (standing("node-b", liveness="draining"), standing("node-a", liveness="dead"))
    assert elect(claim(), view(*members, me="node-b")) == Mine("fresh")


def test_a_member_without_the_subnet_is_no_candidate() -> None:
    members = (standing("node-a", networks=()), standing("node-b"))
    assert elect(claim(), view(*members)) == Theirs("node-b")
    assert elect(claim(), view(standing("node-a", networks=()))) == Nobody("NoCandidate")


def test_the_preferred_node_comes_before_affinity_and_affinity_before_digest() -> None:
    members = everybody()
    assert elect(claim(affinity=frozenset({"node-c"})), view(*members)) == Theirs("node-c")
    assert elect(claim(affinity=frozenset({"node-c"}), preferred="node-b"), view(*members)) == Theirs("node-b")
    assert elect(claim(preferred="node-z"), view(*members)) == Mine("fresh")


def test_a_preferred_node_that_drains_comes_after_one_that_does_not() -> None:
    members = (standing("node-b", liveness="draining"), standing("node-c"))
    assert elect(claim(preferred="node-b"), view(*members, me="node-b")) == Theirs("node-c")


def test_with_traffic_policy_local_only_nodes_with_endpoints_of_all_services_else_of_any_are_candidates() -> None:
    both = claim(healthy_for_all=frozenset({"node-b"}), healthy_for_any=frozenset({"node-a", "node-b"}))
    assert elect(both, view(*everybody())) == Theirs("node-b")
    either = claim(healthy_for_all=frozenset(), healthy_for_any=frozenset({"node-c", "node-b"}))
    assert elect(either, view(*everybody())) == Theirs("node-c")
    none = claim(healthy_for_all=frozenset(), healthy_for_any=frozenset())
    assert elect(none, view(*everybody())) == Nobody("NoLocalEndpoint")
    outside = claim(healthy_for_all=frozenset({"node-z"}), healthy_for_any=frozenset({"node-z"}))
    assert elect(outside, view(*everybody())) == Nobody("NoLocalEndpoint")


def test_a_win_is_contested_while_a_living_candidate_is_named_as_holder() -> None:
    named = claim(holders=frozenset({"node-b"}))
    assert elect(named, view(*everybody())) == Mine("contested", "node-b")


def test_a_named_holder_that_is_dead_departed_or_no_candidate_does_not_stand_in_the_way() -> None:
    named = claim(holders=frozenset({"node-b"}))
    assert elect(named, view(standing("node-a"), standing("node-b", liveness="dead"))) == Mine("contested")
    assert elect(named, view(standing("node-a"))) == Mine("contested")
    assert elect(named, view(standing("node-a"), standing("node-b", networks=()))) == Mine("contested")


def test_a_draining_holder_offers_everything_by_its_mark() -> None:
    named = claim(holders=frozenset({"node-b"}))
    assert elect(named, view(standing("node-a"), standing("node-b", liveness="draining"))) == Mine("offered", "node-b")


def test_an_offer_to_me_makes_a_win_offered_whoever_is_named() -> None:
    named = claim(holders=frozenset({"node-b"}))
    assert elect(named, view(*everybody(), offers={IP: "node-b"})) == Mine("offered", "node-b")


def test_an_offer_to_a_node_that_does_not_win_gives_it_nothing() -> None:
    assert elect(claim(), view(*everybody(), me="node-b", offers={IP: "node-a"})) == Theirs("node-a")


names = st.sampled_from([f"n{number}" for number in range(14)])
liveness = st.sampled_from(["alive", "draining", "dead"])
networks = st.sampled_from([(NET,), (), (IPv4Network("192.168.0.0/16"),), (IPv4Network("10.0.0.0/8"), NET)])
members = st.dictionaries(names, st.tuples(liveness, networks), min_size=1)


def built(found: dict[str, tuple[str, tuple[IPv4Network, ...]]], me: str) -> View:
    return view(*(standing(node, liveness=of, networks=nets) for node, (of, nets) in found.items()), me=me)


def winner(verdict: Verdict, me: str) -> str | None:
    match verdict:
        case Mine():
            return me
        case Theirs(node=node):
            return node
        case Nobody():
            return None


@given(members, st.sets(names), st.one_of(st.none(), names))
def test_every_node_names_the_same_winner_and_it_is_a_candidate(
    found: dict[str, tuple[str, tuple[IPv4Network, ...]]], affinity: set[str], preferred: str | None
) -> None:
    wanted = claim(affinity=frozenset(affinity) or None, preferred=preferred)
    winners = {winner(elect(wanted, built(found, me)), me) for me in found}
    assert len(winners) == 1
    (won,) = winners
    if won is not None:
        assert found[won][0] != "dead"
        assert any(IP in network for network in found[won][1])


@given(members, names)
def test_removing_a_loser_moves_nothing(found: dict[str, tuple[str, tuple[IPv4Network, ...]]], other: str) -> None:
    before = winner(elect(claim(), built(found, "n0")), "n0")
    if other != before and other in found:
        smaller = {node: of for node, of in found.items() if node != other}
        assert winner(elect(claim(), built(smaller, "n0")), "n0") == before


@given(members, names, st.tuples(liveness, networks))
def test_a_newcomer_takes_only_what_it_wins_itself(
    found: dict[str, tuple[str, tuple[IPv4Network, ...]]], node: str, of: tuple[str, tuple[IPv4Network, ...]]
) -> None:
    if node in found:
        return
    before = winner(elect(claim(), built(found, "n0")), "n0")
    assert winner(elect(claim(), built({**found, node: of}, "n0")), "n0") in {before, node}


@given(st.lists(members, min_size=1, max_size=6), st.integers(min_value=1, max_value=4))
def test_cached_and_full_ranking_agree_whatever_came_before(
    worlds: list[dict[str, tuple[str, tuple[IPv4Network, ...]]]], keep: int
) -> None:
    ranking = Ranking(keep=keep)
    for world in worlds:
        seen = built(world, "n0")
        assert elect(claim(), seen, ranking) == elect(claim(), seen)


@given(st.lists(st.sets(names, min_size=1), min_size=1, max_size=8), st.integers(min_value=1, max_value=5))
def test_a_ranking_is_always_an_exact_prefix_of_the_order(worlds: list[set[str]], keep: int) -> None:
    ranking = Ranking(keep=keep)
    for world in worlds:
        best = ranking.best("192.0.2.1", frozenset(world))
        assert best
        assert best == order(frozenset(world), "192.0.2.1")[: len(best)]
