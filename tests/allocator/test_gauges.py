# SPDX-License-Identifier: Apache-2.0
"""What a scrape shows, and what health checks say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NODES, SERVICES
from purelb.sandbox.apiserver.faults import Answer, Reset, Rule
from tests.allocator.cluster import ALLOCATOR, Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from purelb.allocator.main import Allocator


def gauges(component: Allocator, prefix: str) -> dict[tuple[str, ...], float]:
    return {
        (sample.metric.name.removeprefix(prefix), *sample.labels): sample.value
        for sample in component.samples()
        if sample.metric.name.startswith(prefix)
    }


async def test_pools_and_services_are_counted_as_they_stand(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10-192.0.2.11"), INSTALL)
    await cluster.create(SERVICE_GROUPS, pool("broken", "192.0.2.99-192.0.2.90"), INSTALL)
    await cluster.create(SERVICE_GROUPS, pool("elsewhere", "192.0.2.50"), "shop")
    everywhere = {"metadata": {"name": "everywhere"}, "spec": {"remote": pool("x", "192.0.2.51")["spec"]["local"]}}
    await cluster.create(SERVICE_GROUPS, everywhere, "shop")
    async with cluster.allocator() as component:
        for name in ("a", "b", "c"):
            await cluster.serve(name)
            await cluster.clock.advance(1.0)
        await cluster.clock.advance(10.0)
        pools = gauges(component, "purelb_address_pool_")
        assert pools["size", "default"] == 2
        assert pools["addresses_in_use", "default"] == 2
        assert pools["addresses", "default", "IPv4", "available"] == 0
        services = gauges(component, "purelb_allocator_")
        assert [services["services", state] for state in ("allocated", "partial", "pending")] == [2, 0, 1]
        assert services["services_pending", "PoolExhausted"] == 1
        assert services["oldest_pending_seconds", "PoolExhausted"] == pytest.approx(11.0, abs=0.5)
        assert services["addresses", "unannounced"] == 2
        assert services["addresses_unannounced", "NoLiveAgent"] == 2
        assert services["double_assignments",] == 0
        groups = gauges(component, "purelb_servicegroup")
        assert groups["_accepted", "default"] == 1
        assert groups["_accepted", "broken"] == 0
        assert groups["s_out_of_scope", "shop", "elsewhere", "local"] == 1
        assert groups["s_out_of_scope", "shop", "everywhere", "remote"] == 1
        counted = cluster.sink.counts
        assert counted["purelb_allocator_allocations_total", "local", "assigned"] == 2
        assert counted["purelb_allocator_allocations_total", "local", "refused"] == 1
        assert counted["purelb_address_pool_allocation_rejected_total", "default", "PoolExhausted"] == 1
        for name in ("a", "b", "c"):
            await cluster.admin.delete(SERVICES, name, namespace="shop")
        await cluster.clock.advance(1.0)
        left = gauges(component, "purelb_allocator_")
        assert not any(left["services", state] for state in ("allocated", "partial", "pending"))
        assert ("services_pending", "PoolExhausted") not in left


async def test_a_refused_service_is_counted_once_however_often_it_is_asked(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10"), INSTALL)
    async with cluster.allocator():
        await cluster.serve("a")
        await cluster.clock.advance(1.0)
        await cluster.serve("b")
        for number in range(5):
            await cluster.patch(SERVICES, "b", {"metadata": {"labels": {"n": str(number)}}}, "shop")
            await cluster.clock.advance(1.0)
        assert cluster.sink.counts["purelb_address_pool_allocation_rejected_total", "default", "PoolExhausted"] == 1
        assert cluster.status_writes("b") == 1


async def test_every_check_has_a_name_and_passes_while_it_works(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(5.0)
        assert component.checks() == dict.fromkeys(("phase", "synced", "access", "lease", "ledger"))
        assert component.health() == {"owner": None}


async def test_a_write_that_is_refused_is_counted_once_and_pending_after_a_minute(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    number = cluster.core.faults.add(Rule(effect=Answer(code=422), resource="services/status", verb="patch"))
    async with cluster.allocator() as component:
        await cluster.serve()
        await cluster.clock.advance(40.0)
        assert gauges(component, "purelb_allocator_")["services", "allocated"] == 1
        await cluster.clock.advance(160.0)
        found = gauges(component, "purelb_allocator_")
        assert (found["services", "pending"], found["services_pending", "PublishRefused"]) == (1, 1)
        assert found["oldest_pending_seconds", "PublishRefused"] == pytest.approx(200.0, abs=1.0)
        assert cluster.sink.counts["purelb_address_pool_allocation_rejected_total", "", "PublishRefused"] == 1
        cluster.core.faults.remove(number)
        await cluster.clock.advance(200.0)
        found = gauges(component, "purelb_allocator_")
        assert (found["services", "allocated"], found["services", "pending"]) == (1, 0)


@pytest.mark.parametrize(
    "effect",
    [
        pytest.param(Answer(code=500, text="failed calling webhook"), id="an admission that is down"),
        pytest.param(Answer(code=409), id="conflicts without end"),
        pytest.param(Reset(), id="no answer"),
    ],
)
@pytest.mark.parametrize("written", ["services", "services/status"])
async def test_who_cannot_be_told_its_address_is_pending_after_a_minute(
    cluster: Cluster, effect: Answer | Reset, written: str
) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    number = cluster.core.faults.add(Rule(effect=effect, resource=written, verb="patch", subject=ALLOCATOR.name))
    async with cluster.allocator() as component:
        await cluster.serve(externalTrafficPolicy="Local")
        await cluster.clock.advance(50.0)
        found = gauges(component, "purelb_allocator_")
        assert (found["services", "allocated"], found["services", "pending"]) == (1, 0)
        await cluster.clock.advance(100.0)
        found = gauges(component, "purelb_allocator_")
        assert (found["services", "pending"], found["services_pending", "PublishRefused"]) == (1, 1)
        assert found["oldest_pending_seconds", "PublishRefused"] == pytest.approx(150.0, abs=1.0)
        assert ("purelb_address_pool_allocation_rejected_total", "", "PublishRefused") not in cluster.sink.counts
        cluster.core.faults.remove(number)
        await cluster.clock.advance(200.0)
        found = gauges(component, "purelb_allocator_")
        assert (found["services", "allocated"], found["services", "pending"]) == (1, 0)


async def test_one_name_in_two_namespaces_is_one_series(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.20"), "shop")
    async with cluster.allocator(config_scope="all") as component:
        await cluster.clock.advance(1.0)
        found = [(sample.metric.name, sample.labels) for sample in component.samples()]
        assert len(found) == len(set(found))
        assert gauges(component, "purelb_servicegroup_")["accepted", "default"] == 1


async def test_a_refusal_is_counted_for_the_group_that_refused(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await cluster.create(SERVICE_GROUPS, pool("dry", "192.0.2.20", drain=True), INSTALL)
    asking: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
        "FamilyUnavailable": ({}, {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"}),
        "InUse": ({"purelb.io/addresses": "192.0.2.10"}, {}),
        "GroupDraining": ({"purelb.io/service-group": "dry"}, {}),
    }
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        for reason, (noted, spec) in asking.items():
            await cluster.serve(reason.lower(), annotations=noted, **spec)
        await cluster.clock.advance(1.0)
        name = "purelb_address_pool_allocation_rejected_total"
        counted = {key[1:]: count for key, count in cluster.sink.counts.items() if key[0] == name}
        assert counted == {
            ("default", "FamilyUnavailable"): 1,
            ("default", "InUse"): 1,
            ("dry", "GroupDraining"): 1,
        }


async def test_what_cannot_be_given_is_unavailable_whether_excluded_kept_back_or_somebody_elses(
    cluster: Cluster,
) -> None:
    entry = {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24", "exclude": ["192.0.2.11-192.0.2.13,192.0.2.99"]}
    dark = {"pool": "2001:db8::1-2001:db8::4", "subnet": "2001:db8::/64", "exclude": ["2001:db8::/64"]}
    spec = {"local": {"v4pool": entry, "v6pool": dark}, "reuseDelay": "1h"}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, "spec": spec}, INSTALL)
    node = {"metadata": {"name": "n"}, "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.19"}]}}
    await cluster.create(NODES, node)
    async with cluster.allocator() as component:
        for name in ("a", "b"):
            await cluster.serve(name)
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICES, "b", namespace="shop")
        await cluster.clock.advance(1.0)
        pools = gauges(component, "purelb_address_pool_")
        assert pools["size", "default"] == 7
        assert {key[2:]: value for key, value in pools.items() if key[0] == "addresses"} == {
            ("IPv4", "in_use"): 1,
            ("IPv4", "available"): 4,
            ("IPv4", "unavailable"): 3 + 1 + 1,
            ("IPv6", "in_use"): 0,
            ("IPv6", "available"): 0,
            ("IPv6", "unavailable"): 4,
        }


def standings(component: Allocator) -> dict[tuple[str, ...], float]:
    """What is counted of Services, addresses and pools, but for how long."""
    found = gauges(component, "purelb_allocator_") | gauges(component, "purelb_address_pool_")
    return {labels: value for labels, value in found.items() if value and "seconds" not in labels[0]}


DUAL: dict[str, Any] = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}
ELSEWHERE = {"metadata": {"annotations": {"purelb.io/service-group": "nowhere"}}}


@pytest.mark.parametrize(
    ("families", "edit", "lives_on"),
    [
        pytest.param({}, {}, True, id="announced"),
        pytest.param({}, {}, False, id="announced by a node that died meanwhile"),
        pytest.param(DUAL, {}, True, id="without its second family"),
        pytest.param({}, ELSEWHERE, True, id="refused what it asked for last"),
    ],
)
async def test_a_service_that_is_being_deleted_is_counted_alike_before_and_after_a_restart(
    cluster: Cluster, families: dict[str, Any], edit: dict[str, Any], lives_on: bool
) -> None:
    """It has its address until it is gone, and wants nothing more."""
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    node = Node(cluster, "n1")
    await node.renew()
    await node.report(("192.0.2.10", "eth0"))
    async with cluster.allocator() as component:
        await cluster.serve("web", **families)
        await node.live(4.0)
        for change in ({"metadata": {"finalizers": ["example.com/wait"]}}, edit):
            await cluster.patch(SERVICES, "web", change, "shop")
        await node.live(4.0)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await (node.live(30.0) if lives_on else cluster.clock.advance(30.0))
        before = standings(component)
        assert before["services", "allocated"] == 1
        assert not [labels for labels in before if labels[0] == "services_pending"]
        assert before["addresses", "announced" if lives_on else "unannounced"] == 1
    if lives_on:
        await node.renew()
    async with cluster.allocator() as component:
        await (node.live(30.0) if lives_on else cluster.clock.advance(30.0))
        assert standings(component) == before
