# SPDX-License-Identifier: Apache-2.0
"""Which Services are ours, what is left alone, and which addresses are never ours to give."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import msgspec
import pytest

from purelb.allocator import reservations
from purelb.allocator.ledger import Ledger
from purelb.allocator.observed import Ownership
from purelb.api.kinds import LB_NODE_STATUSES, SERVICE_GROUPS, LBNodeStatus
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.apiserver.faults import Delay, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL, service

BRAND = {"purelb.io/allocated-by": "PureLB"}


@pytest.mark.parametrize(
    ("given", "default_announcer", "ours"),
    [
        pytest.param({"load_balancer_class": "purelb.io/purelb"}, False, True, id="our first class"),
        pytest.param({"load_balancer_class": "purelb.io/purelbv2"}, False, True, id="our second class"),
        pytest.param(
            {"load_balancer_class": "purelb.io/other"}, True, False, id="a class of our prefix that is not ours"
        ),
        pytest.param({}, True, True, id="no class, and we are the default"),
        pytest.param({}, False, False, id="no class, and we are not"),
        pytest.param({"annotations": BRAND}, False, True, id="no class, but our brand"),
        pytest.param(
            {"annotations": BRAND, "load_balancer_class": "x.y/z"}, True, False, id="our brand, another class"
        ),
        pytest.param({"type": "ClusterIP", "annotations": BRAND}, True, False, id="another type"),
    ],
)
def test_a_service_is_ours_when(given: dict[str, Any], default_announcer: bool, ours: bool) -> None:
    assert Ownership(default_announcer=default_announcer).owns(service(**given)) is ours


def test_the_set_of_classes_is_replaced_and_not_extended() -> None:
    mine = Ownership(frozenset({"example.com/lb"}))
    assert mine.owns(service(load_balancer_class="example.com/lb"))
    assert not mine.owns(service(load_balancer_class="purelb.io/purelb"))


async def test_switching_the_default_off_keeps_the_branded_and_leaves_the_others(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.serve("branded", loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("branded") == ("192.0.2.10",)
    await cluster.serve("unbranded", loadBalancerClass=None)
    before = [await cluster.service(name) for name in ("branded", "unbranded")]
    async with cluster.allocator(default_announcer=""):
        await cluster.clock.advance(5.0)
        assert [await cluster.service(name) for name in ("branded", "unbranded")] == before
        await cluster.patch(SERVICES, "branded", {"metadata": {"annotations": {next(iter(BRAND)): None}}}, "shop")
        await cluster.clock.advance(2.0)
        left = await cluster.service("branded")
        assert not left.metadata.annotations
        assert await cluster.addresses("branded") == (), "this is how a Service is given to another controller"


async def test_a_pending_service_that_changes_its_type_loses_our_condition_and_nothing_else(cluster: Cluster) -> None:
    async with cluster.allocator():
        foreign = {"type": "example.com/Ready", "status": "True", "reason": "Fine", "message": "as it was"}
        await cluster.serve(annotations={"example.com/note": "mine"})
        await cluster.clock.advance(1.0)
        conditions = [*_plain((await cluster.condition(),)), {**foreign, "lastTransitionTime": "2030-01-01T00:00:00Z"}]
        await cluster.patch(SERVICES, "web", {"status": {"conditions": conditions}}, "shop", subresource="status")
        await cluster.patch(SERVICES, "web", {"spec": {"type": "ClusterIP", "loadBalancerClass": None}}, "shop")
        await cluster.clock.advance(1.0)
        left = await cluster.service()
        assert left.metadata.annotations == {"example.com/note": "mine"}
        assert left.status is not None
        assert [(c.type, c.reason) for c in left.status.conditions or ()] == [("example.com/Ready", "Fine")]


def _plain(conditions: tuple[Any, ...]) -> list[dict[str, Any]]:
    return [
        {
            "type": c.type,
            "status": c.status,
            "reason": c.reason,
            "message": c.message,
            "lastTransitionTime": c.last_transition_time,
        }
        for c in conditions
    ]


async def test_what_fifty_others_hold_is_given_to_none_of_fifty_older_ones_of_ours(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.0-192.0.2.109"), INSTALL)
    for number in range(50):
        await cluster.serve(f"ours{number:02}")
    await cluster.clock.advance(2.0)
    for number in range(50):
        await cluster.serve(f"theirs{number:02}", loadBalancerClass="example.com/other")
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": f"192.0.2.{2 * number}"}]}}}
        await cluster.patch(SERVICES, f"theirs{number:02}", ingress, "shop", subresource="status")
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        given = await cluster.all_addresses()
        assert len(given) == len(set(given)) == 100


async def test_an_address_that_somebody_wrote_into_a_status_is_given_to_nobody_while_it_stands_there(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        late = Rule(
            effect=Delay(seconds=3.0), resource="services/status", verb="patch", name="web", subject=ALLOCATOR.name
        )
        cluster.core.faults.add(late)
        written = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.11"}]}}}
        await cluster.patch(SERVICES, "web", written, "shop", subresource="status")
        await cluster.clock.advance(0.5)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.11",), "it is not put back yet"
        assert await cluster.addresses("next") == ("192.0.2.12",)
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.serve("last")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("last") == ("192.0.2.11",)


async def test_what_is_written_into_a_status_that_lingers_is_given_to_nobody_either(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "nowhere"})
        await cluster.patch(SERVICES, "web", {"metadata": {"finalizers": ["example.com/stays"]}}, "shop")
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        written = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.10"}]}}}
        await cluster.patch(SERVICES, "web", written, "shop", subresource="status")
        await cluster.clock.advance(1.0)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.11",)
        await cluster.patch(SERVICES, "web", {"metadata": {"finalizers": None}}, "shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("last")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("last") == ("192.0.2.10",)


async def test_addresses_of_nodes_gateways_and_the_cluster_are_reserved_and_say_whose_they_are(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    inside = {"pool": "10.96.0.0/16", "subnet": "10.96.0.0/16"}
    await cluster.create(
        SERVICE_GROUPS, {"metadata": {"name": "inside"}, "spec": {"remote": {"v4pool": inside}}}, INSTALL
    )
    node = Node(cluster, "n1")
    await node.renew()
    interface = {"name": "eth0", "role": "local", "addresses": ["192.0.2.10/24"], "gateways": ["192.0.2.11"]}
    await node.report(interfaces=[interface])
    kubernetes = await cluster.create(SERVICES, {"metadata": {"name": "api"}, "spec": {"ports": [{"port": 1}]}}, "shop")
    assert kubernetes.spec is not None
    cluster_ip = kubernetes.spec.cluster_ip
    async with cluster.allocator():
        await cluster.serve()
        for name, ip in (("node", "192.0.2.10"), ("gateway", "192.0.2.11"), ("inside", cluster_ip)):
            await cluster.serve(name, annotations={"purelb.io/addresses": ip})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.12",)
        said = {}
        for name in ("node", "gateway", "inside"):
            found = await cluster.says(name=name)
            assert found.reason == "AddressReserved"
            said[name] = found.message
        assert said == {
            "node": "192.0.2.10 is an address of node n1",
            "gateway": "192.0.2.11 is a gateway of node n1",
            "inside": f"{cluster_ip} is the cluster IP of shop/api",
        }


async def test_reports_of_another_namespace_without_a_lease_or_of_nobodys_addresses_change_nothing(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.create(NAMESPACES, {"metadata": {"name": "evil"}})
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        before = await cluster.service()
        mine = {"announced": [{"ip": "192.0.2.10", "prefixLength": 24, "interface": "eth0"}]}
        await cluster.create(LB_NODE_STATUSES, {"metadata": {"name": "n1"}, "status": mine}, "evil")
        await cluster.create(LB_NODE_STATUSES, {"metadata": {"name": "no-lease"}, "status": mine}, INSTALL)
        many = [f"203.0.{n // 250}.{n % 250}" for n in range(4000)]
        await node.report(*[(ip, "eth0") for ip in many])
        await cluster.clock.advance(5.0)
        assert await cluster.service() == before


def test_of_a_report_as_much_is_believed_as_an_agent_may_write_and_no_more() -> None:
    own = [{"name": f"eth{n}", "addresses": [f"10.{n}.0.{each}" for each in range(65)]} for n in range(65)]
    own[0]["gateways"] = [f"10.200.0.{each}" for each in range(9)]
    body = {"metadata": {"name": "n"}, "status": {"interfaces": own}}
    ledger = Ledger()
    reservations.of_node(ledger, "n", None, msgspec.convert(body, LBNodeStatus))
    addresses = {int(IPv4Address(f"10.{n}.0.{each}")) for n in range(64) for each in range(64)}
    gateways = {int(IPv4Address(f"10.200.0.{each}")) for each in range(8)}
    assert {number for _, number in ledger.reserved} == addresses | gateways
