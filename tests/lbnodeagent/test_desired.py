# SPDX-License-Identifier: Apache-2.0
"""What should be on the interfaces: a function of the present, and a reason for what is not."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from purelb.api.nodeagents import AgentSettings, Lifetimes
from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.desired import (
    Elsewhere,
    OnDummy,
    OnLink,
    Renewal,
    Snapshot,
    Withhold,
    desired,
    place,
    renewal,
    want,
    withheld,
)
from purelb.lbnodeagent.host import NODAD, NOPREFIXROUTE, PRIORITY
from purelb.lbnodeagent.vipwords import Vip
from tests.lbnodeagent.test_links import ETH0, address, default, laid, link

if TYPE_CHECKING:
    from purelb.lbnodeagent.links import Layout
    from purelb.net.ranges import IPAddress

HERE = ip_address("192.0.2.10")
HERE6 = ip_address("2001:db8::10")
AWAY = ip_address("198.51.100.10")

LAYOUT: Layout = laid(
    (ETH0, link(9, "kube-lb0")),
    (address("192.0.2.5/24"), address("2001:db8::5/64")),
    (default(), default(family=6)),
)


def claim(ip: IPAddress, **changes: object) -> Claim:
    return Claim(**{"ip": ip, "announce": "local", "services": ("default/web",), **changes})  # type: ignore[arg-type]


def snap(*claims: Claim, vips: tuple[Vip, ...] = (), **changes: object) -> Snapshot:
    base: dict[str, object] = {
        "node": "n1",
        "settings": AgentSettings(),
        "layout": LAYOUT,
        "claims": {item.ip: item for item in claims},
        "vips": {item.ip: item for item in vips},
        "serves_remote": True,
        "local_ends_at": 120.0,
        "local_renewal": Renewal(20, 8.0),
    }
    return Snapshot(**{**base, **changes})  # type: ignore[arg-type]


def why(ip: IPAddress, found: Snapshot) -> Withhold | None:
    item = found.claims[ip]
    return withheld(item, place(item, found.layout), serves_remote=found.serves_remote, node=found.node)


def test_a_local_address_belongs_to_the_interface_with_its_subnet_and_else_to_nobody_here() -> None:
    assert place(claim(HERE), LAYOUT) == OnLink(2)
    assert place(claim(AWAY), LAYOUT) == Elsewhere()
    assert place(claim(AWAY, off_subnet_dummy=True, prefixlen=24), LAYOUT) == OnDummy(24)
    assert place(claim(HERE, off_subnet_dummy=True), LAYOUT) == OnLink(2)
    assert place(claim(HERE, announce="remote", prefixlen=24), LAYOUT) == OnDummy(24)


def test_an_address_of_the_node_itself_is_withheld_and_says_where_it_is() -> None:
    own = ip_address("192.0.2.5")
    assert place(claim(own), LAYOUT) == Withhold("AnnouncementFailed", "192.0.2.5 is an address of this node on eth0")


def test_a_local_address_is_a_host_prefix_with_both_tags_and_the_end_of_the_sweep() -> None:
    held = Vip(ip=HERE, state="Holding", on=2)
    found = want(HERE, snap(claim(HERE), vips=(held,)))
    assert found is not None
    assert (found.prefixlen, found.ifindex, found.flags, found.priority) == (32, 2, NOPREFIXROUTE, PRIORITY)
    assert (found.valid, found.ends_at, found.preferred) == (20, 120.0, None)
    six = want(HERE6, snap(claim(HERE6), vips=(Vip(ip=HERE6, state="Holding", on=2),)))
    assert six is not None
    assert (six.prefixlen, six.flags, six.preferred) == (128, NOPREFIXROUTE | NODAD, 0)


@pytest.mark.parametrize(
    ("state", "there"),
    [("Idle", False), ("Holding", True), ("Offering", True), ("Closing", True), ("Adopted", True)],
)
def test_a_local_address_is_there_exactly_in_the_states_that_say_so(state: str, there: bool) -> None:
    vip = Vip(ip=HERE, state=state, on=2)  # type: ignore[arg-type]
    assert (want(HERE, snap(claim(HERE), vips=(vip,))) is not None) is there


def test_an_offered_address_stays_where_it_is_when_its_subnet_has_gone() -> None:
    moved = snap(
        claim(HERE), vips=(Vip(ip=HERE, state="Offering", on=2),), layout=replace(LAYOUT, links=(), subnets=())
    )
    found = want(HERE, moved)
    assert found is not None
    assert found.ifindex == 2


def test_a_remote_address_has_its_prefix_and_route_on_the_dummy_of_every_fit_node() -> None:
    remote = claim(AWAY, announce="remote", prefixlen=24)
    found = want(AWAY, snap(remote))
    assert found is not None
    assert (found.prefixlen, found.ifindex, found.flags, found.priority, found.ends_at) == (24, 9, 0, 0, None)
    assert want(AWAY, snap(remote, serves_remote=False)) is None
    assert want(AWAY, snap(remote, layout=replace(LAYOUT, dummy=None))) is None


def test_a_remote_address_with_traffic_policy_local_needs_an_endpoint_here_and_says_so() -> None:
    remote = claim(AWAY, announce="remote", healthy_for_all=frozenset({"n2"}), healthy_for_any=frozenset({"n2"}))
    assert want(AWAY, snap(remote)) is None
    found = why(AWAY, snap(remote))
    assert found is not None
    assert found.reason == "NoLocalEndpoint"
    here = replace(remote, healthy_for_any=frozenset({"n1"}))
    assert want(AWAY, snap(here)) is not None
    assert why(AWAY, snap(here)) is None


def test_endpoints_that_are_not_known_yet_are_a_reason() -> None:
    unknown = claim(AWAY, announce="remote", endpoints_unknown=True)
    found = why(AWAY, snap(unknown))
    assert found == Withhold("AnnouncementFailed", "endpoints are not known yet")
    assert want(AWAY, snap(unknown)) is None


def test_a_fenced_node_wants_nothing() -> None:
    held = Vip(ip=HERE, state="Holding", on=2)
    assert desired(snap(claim(HERE), vips=(held,), fenced=True, serves_remote=False)) == frozenset()


@pytest.mark.parametrize(
    ("given_s", "expected"),
    [(None, Renewal(20, 8.0)), (0, Renewal(None)), (60, Renewal(60, 30.0)), (300, Renewal(300, 150.0))],
)
def test_a_lifetime_is_tied_to_the_lease_or_renewed_at_half(given_s: int | None, expected: Renewal) -> None:
    assert renewal(Lifetimes(valid_s=given_s, no_prefix_route=True), lease_duration=10) == expected


ips = st.sampled_from([HERE, HERE6, AWAY, ip_address("192.0.2.5"), ip_address("203.0.113.1")])
claims = st.builds(
    lambda ip, announce, dummy, nodes: claim(
        ip, announce=announce, off_subnet_dummy=dummy, healthy_for_all=nodes, healthy_for_any=nodes
    ),
    ips,
    st.sampled_from(["local", "remote"]),
    st.booleans(),
    st.sampled_from([None, frozenset(), frozenset({"n1"}), frozenset({"n2"})]),
)
vips = st.builds(
    lambda ip, state: Vip(ip=ip, state=state, on=2),
    st.sampled_from([HERE, HERE6]),
    st.sampled_from(["Idle", "Holding", "Offering", "Closing"]),
)


@given(st.lists(claims, max_size=6), st.lists(vips, max_size=2))
def test_every_claim_is_announced_here_or_left_to_others_or_withheld_with_a_reason(
    wanted: list[Claim], held: list[Vip]
) -> None:
    found = snap(*wanted, vips=tuple(held))
    for ip, item in found.claims.items():
        here = want(ip, found) is not None
        reason = why(ip, found)
        where = place(item, found.layout)
        vip = found.vips.get(ip)
        if here and (vip is None or not vip.in_kernel):
            assert reason is None
        if not here and reason is None:
            assert isinstance(where, Elsewhere | OnLink)


@given(st.lists(claims, max_size=6), st.lists(vips, max_size=2))
def test_the_whole_is_the_sum_of_its_parts_in_whatever_order_they_came(wanted: list[Claim], held: list[Vip]) -> None:
    by_ip = {item.ip: item for item in wanted}
    one, other = snap(*by_ip.values(), vips=tuple(held)), snap(*reversed(by_ip.values()), vips=tuple(held[:]))
    assert desired(one) == desired(other)
    parts = {want(ip, one) for ip in by_ip.keys() | {vip.ip for vip in held}} - {None}
    assert desired(one) == parts
