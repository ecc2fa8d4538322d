# SPDX-License-Identifier: Apache-2.0
"""What is told about the host, and that nothing is told about one that is as it should be."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest

from purelb.lbnodeagent.claims import Claim
from purelb.lbnodeagent.prerequisites import unmet
from tests.lbnodeagent.test_links import ETH0, ETH1, address, default, laid, link

if TYPE_CHECKING:
    from purelb.lbnodeagent.host import Interface

LOCAL = Claim(ip=ip_address("192.0.2.10"), announce="local", services=("shop/web",))
LOCAL6 = Claim(ip=ip_address("2001:db8::10"), announce="local", services=("shop/web",))
INSIDE = Claim(ip=ip_address("192.0.2.11"), announce="remote", services=("shop/far",))
FINE = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/arp_ignore": 0,
    "ipv4/conf/all/rp_filter": 0,
}
IPVS = link(6, "kube-ipvs0")
OWN = (address("192.0.2.5/24"), address("2001:db8::5/64"))
ROUTES = (default(), default(family=6))


def told(
    *claims: Claim, extra: tuple[str, ...] = (), others: tuple[Interface, ...] = (), but: dict[str, int] | None = None
) -> tuple[str, ...]:
    settings = {**FINE, **(but or {})}
    links = (ETH0, ETH1, *others)
    own = (*OWN, address("192.0.2.6/24", 3)) if extra else OWN
    return unmet(laid(links, own, ROUTES, extra=extra), links, claims, setting=settings.get)


def test_a_host_that_is_as_it_should_be_is_not_mentioned() -> None:
    assert told(LOCAL, LOCAL6) == ()


def test_without_forwarding_clients_reach_only_local_endpoints_and_that_is_told_once() -> None:
    assert told(LOCAL, LOCAL6, but={"ipv4/ip_forward": 0}) == ("forwarding is off",)
    assert told(LOCAL, but={"ipv6/conf/all/forwarding": 0}) == ()
    assert told(LOCAL6, but={"ipv6/conf/all/forwarding": 0}) == ("forwarding is off",)
    assert told(but={"ipv4/ip_forward": 0}) == ()


def test_in_ipvs_mode_without_strict_arp_every_node_answers() -> None:
    assert told(LOCAL, others=(IPVS,)) == ("strictARP is off: every node answers for every VIP",)
    strict = {"ipv4/conf/all/arp_ignore": 1, "ipv4/conf/eth0/arp_announce": 2}
    assert told(LOCAL, others=(IPVS,), but=strict) == ()


@pytest.mark.parametrize(("claims", "extra"), [((LOCAL, INSIDE), ()), ((LOCAL,), ("eth1",))])
def test_the_wrong_card_may_answer_where_several_could(claims: tuple[Claim, ...], extra: tuple[str, ...]) -> None:
    assert told(*claims, extra=extra)[0] == "arp_ignore is 0 on eth0"


def test_a_strict_reverse_path_filter_matters_with_several_interfaces_only() -> None:
    strict = {"ipv4/conf/eth0/rp_filter": 1}
    assert told(LOCAL, but=strict) == ()
    assert "rp_filter is strict on eth0" in told(LOCAL, extra=("eth1",), but=strict)


def test_ipv6_that_is_disabled_and_a_foreign_dummy_that_does_not_promote_are_told() -> None:
    foreign = link(9, "kube-lb0")
    assert told(LOCAL6, others=(foreign,), but={"ipv6/conf/eth0/disable_ipv6": 1}) == (
        "promote_secondaries is 0 on kube-lb0",
        "IPv6 is disabled on eth0",
    )
    assert told(LOCAL, others=(link(9, "kube-lb0", alias="purelb"),)) == ()
    assert told(LOCAL, others=(link(9, "kube-lb0", alias="purelb", up=False),)) == ("kube-lb0 is down",)
