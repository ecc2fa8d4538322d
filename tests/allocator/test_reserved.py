# SPDX-License-Identifier: Apache-2.0
"""Every address that a node or a Service has for itself is given to nobody, in each of its families and of each kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.allocator.ranges import ip_text
from purelb.allocator.reservations import of_node, of_service
from purelb.allocator.taken import on_lan
from purelb.api.kinds import InterfaceReport, LBNodeStatus, NodeReport
from purelb.kube.model import Node, NodeAddress, NodeStatus, ObjectMeta
from tests.allocator.desk import Desk
from tests.allocator.objects import group, ip, key, service, v4, v6

if TYPE_CHECKING:
    from purelb.allocator.claims import Source
    from purelb.allocator.ledger import Ledger


def reserved(ledger: Ledger) -> dict[str, list[tuple[str, str]]]:
    def told(sources: tuple[Source, ...]) -> list[tuple[str, str]]:
        return [(source.kind, source.name) for source in sources]

    return {ip_text(address): told(sources) for address, sources in ledger.reserved.items()}


def a_node_has(desk: Desk, text: str) -> None:
    addresses = (NodeAddress(type="InternalIP", address=text),)
    of_node(desk.ledger, "n1", Node(metadata=ObjectMeta(name="n1"), status=NodeStatus(addresses=addresses)), None)


def test_the_addresses_of_a_node_are_reserved_and_its_names_are_not() -> None:
    entries = (
        ("Hostname", "192.0.2.10"),
        ("InternalDNS", "192.0.2.11"),
        ("InternalIP", "192.0.2.12"),
        ("InternalIP", "2001:db8::12"),
        ("ExternalIP", "192.0.2.13"),
        ("ExternalIP", "nonsense"),
    )
    addresses = tuple(NodeAddress(type=kind, address=text) for kind, text in entries)
    node = Node(metadata=ObjectMeta(name="n1"), status=NodeStatus(addresses=addresses))
    desk = Desk(group("default", v4("192.0.2.12-192.0.2.14"), v6("2001:db8::12-2001:db8::13")))
    of_node(desk.ledger, "n1", node, None)
    mine = [("node", "n1")]
    assert reserved(desk.ledger) == {"192.0.2.12": mine, "2001:db8::12": mine, "192.0.2.13": mine}
    assert desk.get(service(families=("IPv4", "IPv6"))) == ("192.0.2.14", "2001:db8::13")
    assert len(of_node(desk.ledger, "n1", None, None)) == 3
    assert reserved(desk.ledger) == {}


def test_both_cluster_ips_of_a_service_are_reserved_and_named() -> None:
    desk = Desk(group("default", v4("192.0.2.10-192.0.2.11"), v6("2001:db8::10-2001:db8::11")))
    ips = ("192.0.2.10", "2001:db8::10")
    of_service(desk.ledger, key("api"), service("api", cluster_ip=ips[0], cluster_ips=ips), ours=False)
    assert reserved(desk.ledger) == {text: [("cluster IP", "shop/api")] for text in ips}
    assert desk.get(service(families=("IPv4", "IPv6"))) == ("192.0.2.11", "2001:db8::11")
    for text in ips:
        refusal = desk.ask(service("wants", families=("IPv4", "IPv6"), annotations={"purelb.io/addresses": text}))
        assert refusal is not None
        assert (refusal.reason, refusal.text) == ("AddressReserved", f"{text} is the cluster IP of shop/api")


def test_a_service_may_have_what_stands_in_its_own_status_and_nobody_else_may() -> None:
    desk = Desk(group())
    of_service(desk.ledger, key("web"), service(ingress=("192.0.2.11",)), ours=False)
    asked = {"purelb.io/addresses": "192.0.2.11"}
    assert desk.get(service("other", annotations=asked)) == ()
    assert desk.get(service(annotations=asked)) == ("192.0.2.11",)


def test_nobody_may_have_its_own_cluster_ip() -> None:
    desk = Desk(group())
    asked = service(cluster_ip="192.0.2.11", annotations={"purelb.io/addresses": "192.0.2.11"})
    of_service(desk.ledger, key("web"), asked, ours=True)
    refusal = desk.ask(asked)
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("AddressReserved", "192.0.2.11 is the cluster IP of shop/web")


def test_who_is_re_evaluated_leaves_an_address_that_turned_out_to_be_a_nodes() -> None:
    desk = Desk(group())
    assert desk.get(service()) == ("192.0.2.10",)
    a_node_has(desk, "192.0.2.10")
    assert desk.get(service()) == ("192.0.2.10",), "of itself nothing moves"
    again = {"purelb.io/re-evaluate": "true"}
    pinned = {**again, "purelb.io/addresses": "192.0.2.10"}
    refusal = desk.ask(service(annotations=pinned))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("AddressReserved", "192.0.2.10 is an address of node n1")
    assert desk.get(service(annotations=pinned)) == ("192.0.2.10",), "it asked for this very one"
    desk.recorded.clear()
    assert desk.get(service(annotations=again)) == ("192.0.2.11",)


def test_what_stands_in_its_own_status_is_no_reason_to_leave_it() -> None:
    desk = Desk(group())
    assert desk.get(service()) == ("192.0.2.10",)
    of_service(desk.ledger, key("web"), service(ingress=("192.0.2.10", "192.0.2.11")), ours=False)
    assert desk.get(service(annotations={"purelb.io/re-evaluate": "true"})) == ("192.0.2.10",)


def test_what_is_kept_back_for_a_service_is_not_given_to_it_when_it_has_become_a_nodes() -> None:
    desk = Desk(group(reuse_delay="10m"))
    assert desk.get(service()) == ("192.0.2.10",)
    desk.gone(service())
    a_node_has(desk, "192.0.2.10")
    assert desk.get(service(uid="another")) == ("192.0.2.11",)


def test_what_a_node_only_has_on_an_interface_is_given_to_nobody_and_no_reason_to_leave_it() -> None:
    """The load balancer before us may have left it there."""
    desk = Desk(group())
    assert desk.get(service()) == ("192.0.2.10",)
    left = (InterfaceReport(name="eth0", addresses=("192.0.2.10/24", "192.0.2.11")),)
    of_node(desk.ledger, "n1", None, LBNodeStatus(metadata=ObjectMeta(name="n1"), status=NodeReport(interfaces=left)))
    assert desk.get(service(annotations={"purelb.io/re-evaluate": "true"})) == ("192.0.2.10",)
    assert desk.get(service("other")) == ("192.0.2.12",)
    refusal = desk.ask(service("asks", annotations={"purelb.io/addresses": "192.0.2.11"}))
    assert refusal is not None
    assert (refusal.reason, refusal.text) == ("AddressReserved", "192.0.2.11 is an address of node n1")
    assert len(of_node(desk.ledger, "n1", None, None)) == 2


def test_who_gives_up_the_key_of_an_address_that_another_host_has_too_stays_contested_where_there_is_no_other() -> None:
    """Both are reasons to leave it, and the one must not hide the other: the rest of the crowd did not change."""
    desk = Desk(group("default", v4("192.0.2.10")))
    shared = {"purelb.io/allow-shared-ip": "k"}
    for name, port in (("web", 80), ("other", 81)):
        assert desk.get(service(name, annotations=shared, ports=(("TCP", port),))) == ("192.0.2.10",)
    desk.ledger.reserve(on_lan(ip("192.0.2.10")), (ip("192.0.2.10"),))
    refusal = desk.ask(service("web"))
    assert refusal is not None
    assert refusal.reason == "InUse"
    assert desk.held(service("web")) == desk.held(service("other")) == ("192.0.2.10",)
    assert desk.ledger.claims[ip("192.0.2.10")].contested
