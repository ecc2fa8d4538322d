# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec

from purelb.api.groups import Accepted, parse_group
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.model import Node, ObjectMeta, Pod, Service, ServicePort, ServiceSpec
from purelb.sandbox.cluster import objects
from purelb.sandbox.cluster.programs import INSTALL_NAMESPACE, layout, programs
from purelb.sandbox.rig.topology import Shape

TOPOLOGY = layout(Shape(nodes=2))
ALL = {program.pod: program for program in programs(TOPOLOGY, proxy="nft")}


def echo_service(**spec: object) -> Service:
    wanted = {
        "type": "LoadBalancer",
        "selector": {"app": "echo"},
        "ports": (ServicePort(name="http", port=80),),
        **spec,
    }
    return Service(metadata=ObjectMeta(name="web", namespace="default", uid="u"), spec=ServiceSpec(**wanted))  # type: ignore[arg-type]


def test_no_two_programs_listen_in_one_room_on_one_port() -> None:
    listeners = [program.room for program in ALL.values() if program.probe is not None and ":7472" in program.probe]
    assert sorted(listeners) == ["allocator", "n1", "n2"]


def test_agents_run_on_their_nodes_network_and_the_allocator_on_its_own() -> None:
    assert ALL["lbnodeagent-n2"].host_network
    assert ALL["lbnodeagent-n2"].env["PURELB_NODE_NAME"] == "n2"
    assert not ALL["allocator"].host_network
    assert {ALL[name].namespace for name in ("allocator", "lbnodeagent-n1")} == {INSTALL_NAMESPACE}


def test_nothing_of_the_callers_environment_reaches_a_program() -> None:
    assert all("KUBECONFIG" not in program.env and "HOME" not in program.env for program in ALL.values())


def test_a_service_gets_a_slice_per_family_with_the_backends_its_selector_matches() -> None:
    backends = [(program, True) for program in ALL.values()]
    slices = objects.slices(echo_service(ip_families=("IPv4", "IPv6")), backends)
    assert [(one["addressType"], len(one["endpoints"])) for one in slices] == [("IPv4", 2), ("IPv6", 2)]
    assert slices[0]["endpoints"][0]["nodeName"] == "n1"
    assert slices[0]["ports"] == [{"name": "http", "protocol": "TCP", "port": 8080}]


def test_a_backend_that_is_not_ready_is_listed_as_such() -> None:
    (only,) = objects.slices(echo_service(), [(ALL["echo-n1"], False)])
    assert only["endpoints"][0]["conditions"] == {"ready": False, "serving": False, "terminating": False}


def test_a_service_without_a_selector_or_in_another_namespace_is_left_alone() -> None:
    backends = [(ALL["echo-n1"], True)]
    assert objects.slices(echo_service(selector=None), backends) == ()
    elsewhere = msgspec.structs.replace(echo_service(), metadata=ObjectMeta(name="web", namespace="other"))
    assert all(not one["endpoints"] for one in objects.slices(elsewhere, backends))


def test_the_bodies_decode_as_what_components_read() -> None:
    program, place = ALL["allocator"], TOPOLOGY.node("n1")
    node = msgspec.convert({**objects.node(place), **objects.node_status(place, at="2026-01-01T00:00:00Z")}, Node)
    assert node.status is not None
    assert [one.address for one in node.status.addresses or ()][:2] == ["172.30.1.1", "fd00:30:1::1"]
    state = objects.PodState(running=True, ready=True, restarts=0)
    status = objects.pod_status(program, state, host_ip="172.30.1.1", at="2026-01-01T00:00:00Z")
    pod = msgspec.convert({**objects.pod(program), **status}, Pod)
    assert pod.status is not None
    assert pod.status.pod_ip == "10.244.1.2"


def test_the_group_has_a_pool_of_each_family_in_every_subnet_in_their_order() -> None:
    body = objects.service_group(layout(Shape(nodes=2, subnets=2)).subnets)
    assert body["spec"]["local"] == {
        "v4pools": [
            {"pool": "172.30.1.200-172.30.1.250", "subnet": "172.30.1.0/24"},
            {"pool": "172.30.2.200-172.30.2.250", "subnet": "172.30.2.0/24"},
        ],
        "v6pools": [
            {"pool": "fd00:30:1::200-fd00:30:1::250", "subnet": "fd00:30:1::/64"},
            {"pool": "fd00:30:2::200-fd00:30:2::250", "subnet": "fd00:30:2::/64"},
        ],
    }
    ours = msgspec.convert(body, SERVICE_GROUPS.type)
    assert isinstance(parse_group(ours, install_namespace=INSTALL_NAMESPACE, scope="install"), Accepted)
    assert list(objects.service_group(layout(Shape(family="ipv6")).subnets)["spec"]["local"]) == ["v6pools"]


def test_in_a_cluster_of_one_family_nodes_programs_and_endpoints_have_no_other() -> None:
    topology = layout(Shape(nodes=2, family="ipv6"))
    status = objects.node_status(topology.node("n1"), at="2026-01-01T00:00:00Z")["status"]
    assert [one["address"] for one in status["addresses"]] == ["fd00:30:1::1", "n1"]
    assert objects.node(topology.node("n1"))["spec"]["podCIDRs"] == ["fd00:244:1::/64"]
    every = programs(topology, proxy="nft")
    (agent,) = (program for program in every if program.pod == "lbnodeagent-n1")
    assert agent.env["KUBERNETES_SERVICE_HOST"] == "fd00:254::254"
    assert agent.probe == "http://[fd00:30:1::1]:7472/readyz"
    slices = objects.slices(echo_service(ip_families=("IPv6", "IPv4")), [(program, True) for program in every])
    assert [(one["addressType"], len(one["endpoints"])) for one in slices] == [("IPv6", 2), ("IPv4", 0)]
