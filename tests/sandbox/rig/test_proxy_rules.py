# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.model import (
    Endpoint,
    EndpointConditions,
    EndpointPort,
    EndpointSlice,
    LoadBalancerIngress,
    LoadBalancerStatus,
    ObjectMeta,
    Service,
    ServicePort,
    ServiceSpec,
    ServiceStatus,
)
from purelb.sandbox.rig.proxy_rules import Backend, Frontend, frontends, ruleset, unserved

if TYPE_CHECKING:
    from collections.abc import Callable

CLUSTER_IP, VIP = "10.96.0.7", "192.0.2.1"


def service(**spec: Any) -> Service:
    wanted: dict[str, Any] = {
        "type": "LoadBalancer",
        "cluster_ips": (CLUSTER_IP,),
        "ports": (ServicePort(name="http", port=80),),
        **spec,
    }
    ingress = (LoadBalancerIngress(ip=VIP, ip_mode="VIP"),)
    return Service(
        metadata=ObjectMeta(name="web", namespace="shop"),
        spec=ServiceSpec(**wanted),
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )


def endpoint(address: str, *, node: str = "n1", **conditions: bool) -> Endpoint:
    return Endpoint(addresses=(address,), node_name=node, conditions=EndpointConditions(**conditions))


def endpoints(*every: Endpoint, family: str = "IPv4", port: str = "http") -> EndpointSlice:
    return EndpointSlice(
        metadata=ObjectMeta(name=f"web-{family}", namespace="shop", labels={"kubernetes.io/service-name": "web"}),
        address_type=family,
        endpoints=every,
        ports=(EndpointPort(name=port, protocol="TCP", port=8080),),
    )


def served(one: Service, *slices: EndpointSlice, node: str = "n1") -> dict[str, tuple[str, ...]]:
    return {
        front.address: tuple(backend.address for backend in front.backends)
        for front in frontends([one], slices, node=node)
    }


def test_cluster_address_and_load_balancer_address_lead_to_the_ready_endpoints() -> None:
    slices = endpoints(endpoint("10.0.0.2"), endpoint("10.0.0.1"), endpoint("10.0.0.3", ready=False))
    assert served(service(), slices) == {CLUSTER_IP: ("10.0.0.1", "10.0.0.2"), VIP: ("10.0.0.1", "10.0.0.2")}


def test_without_a_ready_endpoint_those_that_still_serve_do() -> None:
    draining = endpoint("10.0.0.1", ready=False, serving=True, terminating=True)
    gone = endpoint("10.0.0.2", ready=False, serving=False)
    assert served(service(), endpoints(draining, gone))[VIP] == ("10.0.0.1",)


def test_a_service_without_endpoints_is_not_served() -> None:
    assert served(service(), endpoints()) == {}


def test_local_policy_keeps_to_the_own_node_and_keeps_the_source_for_outside_traffic_only() -> None:
    slices = endpoints(endpoint("10.0.0.1", node="n1"), endpoint("10.0.0.2", node="n2"))
    local = service(external_traffic_policy="Local")
    found = {front.address: front for front in frontends([local], [slices], node="n2")}
    assert found[VIP].backends == (Backend("10.0.0.2", 8080),)
    assert found[VIP].keep_source
    assert len(found[CLUSTER_IP].backends) == 2
    assert not found[CLUSTER_IP].keep_source


def test_an_address_meets_only_endpoints_of_its_own_family_and_port_name() -> None:
    slices = (endpoints(endpoint("fd00::1"), family="IPv6"), endpoints(endpoint("10.0.0.1"), port="other"))
    assert served(service(), *slices) == {}


def test_a_headless_service_and_a_proxied_ingress_have_no_frontend() -> None:
    headless = service(cluster_ips=("None",))
    ingress = (LoadBalancerIngress(ip=VIP, ip_mode="Proxy"),)
    proxied = Service(
        metadata=headless.metadata,
        spec=headless.spec,
        status=ServiceStatus(load_balancer=LoadBalancerStatus(ingress=ingress)),
    )
    assert served(proxied, endpoints(endpoint("10.0.0.1"))) == {}


def test_a_wish_that_is_not_kept_is_said() -> None:
    assert unserved([service(session_affinity="None"), service()]) == ()
    assert "ClientIP" in unserved([service(session_affinity="ClientIP")])[0]


@pytest.mark.netns
@pytest.mark.usefixtures("nft")
def test_the_kernel_takes_a_thousand_services_in_one_transaction_and_none_after_them(
    in_namespaces: Callable[[Callable[[], Any]], Any],
) -> None:
    many = [
        Frontend(f"192.0.{number // 250}.{number % 250}", "tcp", 80, (Backend("10.0.0.1", 8080),), keep_source=False)
        for number in range(1000)
    ] + [Frontend("2001:db8::1", "udp", 53, (Backend("fd00::1", 53), Backend("fd00::2", 53)), keep_source=True)]

    def body() -> list[int]:
        counts = []
        for batch in (many, many[:3], []):
            subprocess.run(["nft", "-f", "-"], input=ruleset(batch), text=True, check=True)
            listed = subprocess.run(["nft", "list", "ruleset"], capture_output=True, text=True, check=True).stdout
            counts.append(listed.count("dnat to"))
        return counts

    assert in_namespaces(body) == [1002, 3, 0]
