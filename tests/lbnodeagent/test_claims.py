# SPDX-License-Identifier: Apache-2.0
"""Which Services ask for what, and what several of them together ask."""

from __future__ import annotations

from ipaddress import ip_address
from itertools import permutations

import pytest

from purelb.api.groups import Accepted, Group, parse_group
from purelb.api.kinds import LocalPools, NetBoxSource, PoolEntryV4, RemotePools, ServiceGroup, ServiceGroupSpec
from purelb.kube.model import (
    Endpoint,
    EndpointConditions,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServiceSpec,
    ServiceStatus,
)
from purelb.lbnodeagent.claims import Ask, asks, claim_of, parse_ingress
from purelb.lbnodeagent.endpoints import Lingering, healthy_nodes


def group(name: str, spec: ServiceGroupSpec) -> Group:
    found = parse_group(
        ServiceGroup(metadata=ObjectMeta(name=name, namespace="purelb"), spec=spec), install_namespace="purelb"
    )
    assert isinstance(found, Accepted), found
    return found.group


def entry(pool: str, subnet: str, aggregation: str = "default") -> PoolEntryV4:
    return PoolEntryV4(pool=pool, subnet=subnet, aggregation=aggregation)


LOCAL = group(
    "lan", ServiceGroupSpec(local=LocalPools(v4pool=entry("192.0.2.0/25", "192.0.2.0/24"), off_subnet="Dummy"))
)
REMOTE = group("wan", ServiceGroupSpec(remote=RemotePools(v4pool=entry("198.51.100.0/25", "198.51.100.0/24"))))
NETBOX = group(
    "nb", ServiceGroupSpec(netbox=NetBoxSource(url="https://nb", mode="reserved", tenant="t", announce="remote"))
)
GROUPS = {item.name: item for item in (LOCAL, REMOTE, NETBOX)}


def service(*ips: str, spec: ServiceSpec | None = None, announcing: str = "", **notes: str | None) -> Service:
    written = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "lan", "purelb.io/pool-type": "local"}
    if announcing:
        written["purelb.io/announcing-IPv4"] = announcing
    for key, value in notes.items():
        full = f"purelb.io/{key.replace('_', '-')}"
        if value is None:
            written.pop(full, None)
        else:
            written[full] = value
    return Service(
        metadata=ObjectMeta(name="web", namespace="default", annotations=written),
        spec=spec or ServiceSpec(type="LoadBalancer"),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(ingress=tuple(LoadBalancerIngress(ip=ip, ip_mode="VIP") for ip in ips))
        ),
    )


def asked(found: Service) -> list[str]:
    return [str(item.ip) for item in asks(found, GROUPS)[0]]


def only(found: Service) -> Ask:
    (item,) = asks(found, GROUPS)[0]
    return item


def test_a_service_without_our_brand_or_of_another_type_asks_for_nothing_whatever_its_ingress() -> None:
    assert asked(service("192.0.2.10")) == ["192.0.2.10"]
    assert asked(service("192.0.2.10", allocated_by=None)) == []
    assert asked(service("192.0.2.10", allocated_by="MetalLB")) == []
    assert asked(service("192.0.2.10", spec=ServiceSpec(type="ClusterIP"))) == []
    assert asked(service()) == []


def test_each_ingress_address_is_asked_for_once_and_hostnames_and_proxies_are_not_addresses() -> None:
    assert asked(service("192.0.2.10", "192.0.2.10", "2001:db8::1")) == ["192.0.2.10", "2001:db8::1"]
    proxied = Service(
        metadata=service().metadata,
        spec=ServiceSpec(type="LoadBalancer"),
        status=ServiceStatus(
            load_balancer=LoadBalancerStatus(
                ingress=(
                    LoadBalancerIngress(hostname="lb.example"),
                    LoadBalancerIngress(ip="192.0.2.11", ip_mode="Proxy"),
                    LoadBalancerIngress(ip="192.0.2.12"),
                )
            )
        ),
    )
    assert asked(proxied) == ["192.0.2.12"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("fe80::1%eth0", None),
        ("010.0.0.1", None),
        ("lb.example", None),
        ("", None),
    ],
)
def test_ingress_text_is_read_strictly(text: str, expected: str | None) -> None:
    found = parse_ingress(text)
    assert (str(found) if found else None) == expected


@pytest.mark.parametrize("ip", ["fe80::1", "169.254.1.1", "0.0.0.0", "::", "127.0.0.1", "224.0.0.1", "255.255.255.255"])
def test_an_address_that_nobody_can_announce_is_named(ip: str) -> None:
    found, unfit = asks(service(ip), GROUPS)
    assert found == ()
    assert [item.text for item in unfit] == [f"{ip} cannot be announced"]


def test_the_group_says_how_the_pool_type_only_stands_in_for_a_group_that_is_gone() -> None:
    assert only(service("192.0.2.10")).announce == "local"
    assert only(service("198.51.100.1", allocated_from="wan", pool_type="local")).announce == "remote"
    gone = only(service("198.51.100.1", allocated_from="old", pool_type="remote"))
    assert (gone.announce, gone.prefixlen, gone.off_subnet_dummy) == ("remote", 32, False)


def test_without_annotations_the_first_group_that_contains_the_address_counts_and_else_it_is_local() -> None:
    assert only(service("198.51.100.1", allocated_from=None, pool_type=None)).announce == "remote"
    assert only(service("203.0.113.1", allocated_from=None, pool_type=None)).announce == "local"


def test_two_names_stand_for_two_ingress_entries_in_their_order() -> None:
    found = asks(service("198.51.100.1", "192.0.2.10", allocated_from="wan, lan", pool_type="remote, local"), GROUPS)[0]
    assert [(str(item.ip), item.announce, item.prefixlen) for item in found] == [
        ("198.51.100.1", "remote", 24),
        ("192.0.2.10", "local", 24),
    ]


def test_an_address_of_netbox_is_a_host_route_on_the_dummy() -> None:
    found = only(service("203.0.113.9", allocated_from="nb", pool_type="remote"))
    assert (found.announce, found.prefixlen) == ("remote", 32)


def test_off_subnet_dummy_of_the_group_is_known() -> None:
    assert only(service("192.0.2.10")).off_subnet_dummy


def test_who_announces_is_read_for_this_address_only() -> None:
    found = only(service("192.0.2.10", announcing="n1,eth0,192.0.2.10 n2,eth0,192.0.2.11 n3,a,b,192.0.2.10"))
    assert found.holders == {"n1", "n3"}


IP = ip_address("192.0.2.10")


def ask(name: str, **changes: object) -> Ask:
    base: dict[str, object] = {"service": f"default/{name}", "ip": IP, "announce": "local", "prefixlen": 24}
    return Ask(**{**base, **changes})  # type: ignore[arg-type]


def test_a_claim_lasts_while_one_service_asks_and_does_not_depend_on_their_order() -> None:
    several = [ask("a", preferred="n1"), ask("b", holders=frozenset({"n2"})), ask("c", local_policy=True)]
    found = {claim_of(IP, order, lambda service, family: frozenset({"n1"})) for order in permutations(several)}
    assert len(found) == 1
    (claim,) = found
    assert claim is not None
    assert claim.services == ("default/a", "default/b", "default/c")
    assert (claim.preferred, claim.holders, claim.healthy_for_all) == ("n1", frozenset({"n2"}), frozenset({"n1"}))
    assert claim_of(IP, [], lambda service, family: None) is None


def test_services_that_prefer_different_nodes_prefer_none() -> None:
    claim = claim_of(IP, [ask("a", preferred="n1"), ask("b", preferred="n2")], lambda service, family: None)
    assert claim is not None
    assert claim.preferred is None


def test_local_wins_over_remote_and_the_dispute_is_known() -> None:
    claim = claim_of(IP, [ask("a", announce="remote"), ask("b")], lambda service, family: None)
    assert claim is not None
    assert (claim.announce, claim.disputed) == ("local", True)


def test_endpoints_that_are_needed_and_not_known_decide_nothing() -> None:
    unknown = claim_of(IP, [ask("a", local_policy=True)], lambda service, family: None)
    assert unknown is not None
    assert unknown.endpoints_unknown
    unneeded = claim_of(IP, [ask("a")], lambda service, family: None)
    assert unneeded is not None
    assert not unneeded.endpoints_unknown


def test_of_two_sharers_with_traffic_policy_local_all_and_any_are_told_apart() -> None:
    nodes = {"default/a": frozenset({"n1", "n2"}), "default/b": frozenset({"n2", "n3"})}
    both = [ask("a", local_policy=True, affinity=True), ask("b", local_policy=True, affinity=True), ask("c")]
    claim = claim_of(IP, both, lambda service, family: nodes[service])
    assert claim is not None
    assert claim.healthy_for_all == claim.affinity == frozenset({"n2"})
    assert claim.healthy_for_any == frozenset({"n1", "n2", "n3"})


def endpoint(node: str | None, address: str = "10.0.0.1", **conditions: bool | None) -> Endpoint:
    return Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(**conditions))


def part(*endpoints: Endpoint, address_type: str = "IPv4") -> EndpointSlice:
    return EndpointSlice(metadata=ObjectMeta(name="s"), address_type=address_type, endpoints=endpoints)


@pytest.mark.parametrize(
    ("conditions", "healthy"),
    [
        ({}, True),
        ({"ready": True}, True),
        ({"ready": False}, False),
        ({"ready": False, "serving": True, "terminating": True}, True),
        ({"ready": False, "serving": False}, False),
        ({"ready": None, "serving": False}, True),
    ],
)
def test_an_endpoint_is_healthy_when_ready_or_serving_and_null_means_yes(
    conditions: dict[str, bool | None], healthy: bool
) -> None:
    found = Endpoint(addresses=("10.0.0.1",), node_name="n1", conditions=EndpointConditions(**conditions))
    assert healthy_nodes([part(found)], family=4) == (frozenset({"n1"}) if healthy else set())


def test_endpoints_without_node_of_another_family_or_of_names_are_skipped() -> None:
    parts = [part(endpoint(None)), part(endpoint("n1"), address_type="IPv6"), part(endpoint("n2"), address_type="FQDN")]
    assert healthy_nodes(parts, family=4) == frozenset()
    assert healthy_nodes(parts, family=6) == {"n1"}
    assert healthy_nodes([], family=4) == frozenset()


def test_an_address_in_two_slices_counts_only_if_both_say_so_whatever_their_order() -> None:
    parts = [part(endpoint("n1", ready=True)), part(endpoint("n1", ready=False))]
    assert healthy_nodes(parts, family=4) == healthy_nodes(parts[::-1], family=4) == frozenset()
    assert healthy_nodes([*parts, part(endpoint("n1", "10.0.0.2"))], family=4) == {"n1"}


def test_more_than_a_thousand_endpoints_and_a_split_slice_give_the_same_nodes() -> None:
    many = [endpoint(f"n{number % 7}", f"10.0.{number // 250}.{number % 250}") for number in range(1500)]
    whole = healthy_nodes([part(*many)], family=4)
    assert whole == healthy_nodes([part(*many[:700]), part(*many[700:])], family=4)
    assert len(whole) == 7


def test_a_node_that_loses_its_last_endpoint_counts_for_another_tenth_of_a_second() -> None:
    lingering = Lingering()
    assert lingering.nodes("s", 4, frozenset({"n1"}), 10.0) == {"n1"}
    assert lingering.nodes("s", 4, frozenset({"n2"}), 11.0) == {"n1", "n2"}
    assert lingering.deadline("s", 4) == 11.1
    assert lingering.nodes("s", 4, frozenset({"n2"}), 11.1) == {"n2"}
    assert lingering.deadline("s", 4) is None
