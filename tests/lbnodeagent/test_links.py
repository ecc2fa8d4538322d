# SPDX-License-Identifier: Apache-2.0
"""Interfaces and subnets: each odd node of the specification, and the invariant that ties the two together."""

from __future__ import annotations

import re
from ipaddress import IPv4Network, ip_address, ip_interface, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from purelb.lbnodeagent.host import (
    DADFAILED,
    DEPRECATED,
    PROTO_RA,
    TAG,
    TEMPORARY,
    TENTATIVE,
    Address,
    Interface,
    KernelState,
    Route,
)
from purelb.lbnodeagent.links import Layout, layout, not_for_dummy
from purelb.net.subnets import parse_subnets, print_subnets


def link(index: int, name: str, **changes: object) -> Interface:
    return Interface(**{"index": index, "name": name, "up": True, "carrier": True, **changes})  # type: ignore[arg-type]


def address(text: str, index: int = 2, **changes: object) -> Address:
    found = ip_interface(text)
    return Address(
        **{"ip": found.ip, "prefixlen": found.network.prefixlen, "ifindex": index, **changes}  # type: ignore[arg-type]
    )


def default(index: int = 2, *, family: int = 4, metric: int = 0, hops: tuple[int, ...] = ()) -> Route:
    gateway = ip_address("192.0.2.1" if family == 4 else "fe80::1")
    return Route(
        family=4 if family == 4 else 6, network=None, hops=hops or (index,), gateways=(gateway,), metric=metric
    )


LO = link(1, "lo", loopback=True)
ETH0 = link(2, "eth0")
ETH1 = link(3, "eth1")


def laid(
    interfaces: tuple[Interface, ...],
    addresses: tuple[Address, ...],
    routes: tuple[Route, ...] = (),
    *,
    main: str | None = None,
    extra: tuple[str, ...] = (),
    dummy: str = "kube-lb0",
) -> Layout:
    state = KernelState(interfaces=interfaces, addresses=addresses, routes=routes)
    return layout(state, main=re.compile(main) if main else None, extra=extra, dummy=dummy)


def subnets(found: Layout) -> list[str]:
    return [str(network) for network in found.subnets]


def names(found: Layout) -> list[str]:
    return [item.interface.name for item in found.links]


def test_without_a_default_route_nothing_is_offered() -> None:
    assert subnets(laid((LO, ETH0), (address("192.0.2.5/24"),))) == []


def test_the_interface_of_the_default_route_offers_its_subnet() -> None:
    found = laid((LO, ETH0), (address("192.0.2.5/24"), address("127.0.0.1/8", 1)), (default(),))
    assert (names(found), subnets(found)) == (["eth0"], ["192.0.2.0/24"])
    assert found.links[0].gateways == (ip_address("192.0.2.1"),)


def test_each_family_has_the_interface_of_its_own_default_route() -> None:
    addresses = (
        address("192.0.2.5/24", 2),
        address("2001:db8:2::5/64", 2),
        address("198.51.100.5/24", 3),
        address("2001:db8:3::5/64", 3),
    )
    found = laid((ETH0, ETH1), addresses, (default(2), default(3, family=6)))
    assert subnets(found) == ["192.0.2.0/24", "2001:db8:3::/64"]
    assert subnets(laid((ETH0, ETH1), addresses, (default(3, family=6),))) == ["2001:db8:3::/64"]


def test_of_several_default_routes_the_lowest_metric_counts_then_the_lowest_index() -> None:
    links = (ETH0, ETH1, link(4, "eth2"))
    addresses = (address("192.0.2.5/24", 2), address("198.51.100.5/24", 3), address("203.0.113.5/24", 4))
    found = laid(links, addresses, (default(2, metric=100), default(3, metric=50), default(4, metric=75)))
    assert names(found) == ["eth1"]
    assert names(laid(links, addresses, (default(4), default(3)))) == ["eth1"]


def test_of_a_multipath_default_route_the_hop_whose_name_sorts_first_counts() -> None:
    links = (link(2, "zulu"), link(3, "alpha"))
    found = laid(links, (address("192.0.2.5/24", 3),), (default(hops=(2, 3)),))
    assert names(found) == ["alpha"]


def test_an_expression_is_searched_in_names_and_never_matches_lo_the_dummy_or_kube_ipvs0() -> None:
    links = (LO, link(5, "kube-lb0"), link(6, "kube-ipvs0"), link(7, "br-lan"), ETH1, ETH0)
    found = laid(links, tuple(address(f"10.{n}.0.1/24", n) for n in (1, 2, 3, 5, 6, 7)), main=".")
    assert names(found) == ["br-lan", "eth0", "eth1"]
    assert names(laid(links, (), main="^eth")) == ["eth0", "eth1"]
    assert names(laid(links, (), main="lan$")) == ["br-lan"]


def test_listed_interfaces_come_after_in_listed_order_and_a_missing_one_is_shown() -> None:
    links = (LO, ETH0, ETH1, link(4, "eth2"))
    found = laid(links, (address("10.1.0.1/24", 1),), (default(),), extra=("eth2", "gone0", "lo", "eth0"))
    assert names(found) == ["eth0", "eth2", "lo"]
    assert found.missing == ("gone0",)
    assert subnets(found) == ["10.1.0.0/24"]
    assert [item.role for item in found.links] == ["local", "extra", "extra"]


@pytest.mark.parametrize(
    "address_",
    [
        address("169.254.7.7/16"),
        address("192.0.2.5/24", scope=253),
        address("fe80::5/64"),
        address("2001:db8::5/64", flags=TENTATIVE),
        address("2001:db8::5/64", flags=DADFAILED),
        address("2001:db8::5/64", flags=DEPRECATED),
        address("2001:db8::5/64", flags=TEMPORARY),
        address("192.0.2.5/24", proto=TAG),
    ],
)
def test_such_an_address_makes_no_subnet(address_: Address) -> None:
    assert subnets(laid((ETH0,), (address_,), (default(), default(family=6)))) == []


def test_a_tentative_address_counts_once_it_is_valid() -> None:
    routes = (default(family=6),)
    assert subnets(laid((ETH0,), (address("2001:db8::5/64"),), routes)) == ["2001:db8::/64"]


def test_a_host_prefix_takes_the_longest_on_link_route_around_it_and_none_without_one() -> None:
    around = Route(family=6, network=ip_network("2001:db8::/64"), hops=(2,), protocol=PROTO_RA)
    wider = Route(family=6, network=ip_network("2001:db8::/48"), hops=(2,), protocol=PROTO_RA)
    own = Route(family=6, network=ip_network("2001:db8::5/128"), hops=(2,))
    other = Route(family=6, network=ip_network("2001:db8::/72"), hops=(3,), protocol=PROTO_RA)
    through = Route(family=6, network=ip_network("2001:db8::/80"), hops=(2,), gateways=(ip_address("fe80::1"),))
    bgp = Route(family=6, network=ip_network("2001:db8::/96"), hops=(2,), protocol=186)
    found = laid((ETH0,), (address("2001:db8::5/128"),), (default(family=6), wider, around, own, other, through, bgp))
    assert subnets(found) == ["2001:db8::/64"]
    assert subnets(laid((ETH0,), (address("2001:db8::5/128"),), (default(family=6), own, through, bgp))) == []


def test_an_interface_that_is_down_or_without_carrier_offers_nothing() -> None:
    for changes in ({"up": False}, {"carrier": False}):
        found = laid((link(2, "eth0", **changes),), (address("192.0.2.5/24"),), (default(),))
        assert (subnets(found), found.place(ip_address("192.0.2.10"))) == ([], None)


def test_no_more_than_256_subnets_are_offered_and_what_is_cut_has_no_interface() -> None:
    addresses = tuple(address(f"10.{number // 256}.{number % 256}.1/24") for number in range(300))
    found = laid((ETH0,), addresses, (default(),))
    assert (len(found.subnets), len(found.cut)) == (256, 44)
    assert all(found.place(network[10]) is None for network in found.cut)


def test_a_subnet_on_two_interfaces_is_served_by_the_first_and_named() -> None:
    found = laid((ETH0, ETH1), (address("192.0.2.5/24", 2), address("192.0.2.6/24", 3)), main="eth")
    placed = found.place(ip_address("192.0.2.10"))
    assert placed is not None
    assert (placed.interface.name, found.shared) == ("eth0", ("eth1",))


def test_the_nodes_own_addresses_are_known_except_those_of_kube_ipvs0() -> None:
    links = (ETH0, link(6, "kube-ipvs0"))
    found = laid(links, (address("192.0.2.5/24"), address("192.0.2.10/32", 6)), (default(),))
    assert found.own_interface(ip_address("192.0.2.5")) == "eth0"
    assert found.own_interface(ip_address("192.0.2.10")) is None


texts = st.sampled_from(
    [
        "192.0.2.5/24",
        "192.0.2.6/24",
        "198.51.100.5/25",
        "10.0.0.1/8",
        "2001:db8::5/64",
        "2001:db8:1::5/48",
        "fe80::1/64",
    ]
)
plain = st.builds(address, texts, st.sampled_from([1, 2, 3]))
tagged = st.builds(lambda text, index: address(text, index, proto=TAG), texts, st.sampled_from([1, 2, 3]))


@given(st.lists(plain, max_size=6), st.lists(tagged, max_size=6))
def test_addresses_of_ours_change_nothing(own: list[Address], ours: list[Address]) -> None:
    routes = (default(2), default(3, family=6))
    without = laid((LO, ETH0, ETH1), tuple(own), routes, extra=("eth1",))
    assert laid((LO, ETH0, ETH1), (*own, *ours), routes, extra=("eth1",)) == without


@given(st.lists(plain, max_size=8), st.sampled_from(["192.0.2.77", "198.51.100.9", "10.9.9.9", "2001:db8::77", "::1"]))
def test_an_interface_exists_for_a_vip_if_and_only_if_an_advertised_subnet_contains_it(
    own: list[Address], vip: str
) -> None:
    found = laid((LO, ETH0, ETH1), tuple(own), (default(2), default(2, family=6)), extra=("eth1", "lo"))
    ip = ip_address(vip)
    assert (found.place(ip) is not None) == any(ip.version == net.version and ip in net for net in found.subnets)


@given(st.lists(plain, max_size=8))
def test_the_text_of_subnets_reads_back(own: list[Address]) -> None:
    found = laid((LO, ETH0, ETH1), tuple(own), main=".")
    assert parse_subnets(print_subnets(found.subnets)) == found.subnets
    assert all(isinstance(network, IPv4Network) or network.version == 6 for network in found.subnets)


@pytest.mark.parametrize(
    ("interface", "addresses", "routes", "why"),
    [
        pytest.param(link(2, "x"), ("192.0.2.5/24",), (default(),), "is the interface of the default route", id="main"),
        pytest.param(
            link(2, "x", kind="dummy"), (), (default(family=6),), "is the interface of the default route", id="a dummy"
        ),
        pytest.param(link(2, "x"), ("192.0.2.5/24",), (), "carries 192.0.2.5, an address of the node", id="further"),
        pytest.param(
            link(2, "x", kind="vlan"), ("2001:db8::5/64",), (), "carries 2001:db8::5, an address of the node", id="vlan"
        ),
        pytest.param(link(2, "x"), ("fe80::1/64",), (), "is a network card of the node", id="card without address"),
        pytest.param(link(2, "x", kind="dummy"), ("203.0.113.1/24",), (), None, id="a dummy with an address"),
        pytest.param(link(2, "x", kind="ifb"), (), (default(9),), None, id="an ifb"),
        pytest.param(link(2, "x", kind="bridge"), ("fe80::1/64",), (), None, id="an empty bridge"),
        pytest.param(link(2, "x", loopback=True), ("203.0.113.1/32",), (), None, id="loopback"),
        pytest.param(link(2, "y"), ("192.0.2.5/24",), (default(),), None, id="not there: it will be made"),
    ],
)
def test_an_interface_of_the_node_is_not_for_non_local_addresses(
    interface: Interface, addresses: tuple[str, ...], routes: tuple[Route, ...], why: str | None
) -> None:
    state = KernelState(interfaces=(LO, interface), addresses=tuple(map(address, addresses)), routes=routes)
    assert not_for_dummy("x", state) == why


def test_addresses_that_we_put_there_do_not_make_an_interface_one_of_the_node() -> None:
    ours = address("192.0.2.10/32", proto=TAG)
    state = KernelState(interfaces=(link(2, "x", kind="bridge"),), addresses=(ours,), routes=())
    assert not_for_dummy("x", state) is None
