# SPDX-License-Identifier: Apache-2.0
"""What nodes report, folded into Services: annotations, `Announced`, and what happens when a node dies. And the traffic policy."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.api.kinds import LB_NODE_STATUSES, SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Delay, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def test_a_report_makes_a_service_announced_with_one_more_write(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(0.5)
        assert await cluster.announced() == ("False", "AwaitingNode", "no node has reported 192.0.2.10 yet")
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(0.5)
        assert await cluster.announced() == ("True", "AnnouncingLocal", "192.0.2.10 by n1 on eth0")
        assert await cluster.noted("announcing-IPv4") == "n1,eth0,192.0.2.10"
        assert cluster.status_writes() == 2
        await node.live(60)
        assert cluster.status_writes() == 2
        assert ("web", "AnnouncingLocal", "192.0.2.10 by n1 on eth0") in await cluster.events()


async def test_a_move_between_two_nodes_is_one_change(cluster: Cluster) -> None:
    one, two = Node(cluster, "n1"), Node(cluster, "n2")
    await one.renew()
    await two.renew()
    async with cluster.allocator():
        await cluster.serve()
        await one.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        count = cluster.status_writes()
        await one.report()
        await cluster.clock.advance(0.5)
        await two.report(("192.0.2.10", "eth1"))
        await cluster.clock.advance(1.0)
        assert await cluster.announced() == ("True", "AnnouncingLocal", "192.0.2.10 by n2 on eth1")
        assert await cluster.noted("announcing-IPv4") == "n2,eth1,192.0.2.10"
        assert cluster.status_writes() == count + 1


async def test_an_address_that_nobody_answers_for_any_more_is_told_after_two_seconds(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        await node.report()
        await cluster.clock.advance(1.5)
        assert (await cluster.announced())[0] == "True"
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")
        assert await cluster.noted("announcing-IPv4") is None


async def test_the_report_of_a_dead_node_does_not_count(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    other = Node(cluster, "n2", subnets="198.51.100.0/24")
    async with cluster.allocator():
        await node.renew()
        await node.report(("192.0.2.10", "eth0"))
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
        await other.live(20)
        assert await cluster.announced() == (
            "False",
            "NoNodeInSubnet",
            "no live node advertises a subnet containing 192.0.2.10",
        )
        await node.live(2)
        assert (await cluster.announced())[0] == "True"


@pytest.mark.parametrize("phase", [0.1, 0.7, 1.3, 1.9])
async def test_a_node_that_dies_and_its_heir_are_one_change_though_our_lease_is_not_due_yet(
    cluster: Cluster, phase: float
) -> None:
    one, two = Node(cluster, "n1"), Node(cluster, "n2")
    await two.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await cluster.clock.advance(phase)
        await one.renew()
        await one.report(("192.0.2.10", "eth0"))
        await two.report()
        for _ in range(5):
            await two.renew()
            await cluster.clock.advance(2.0)
        count = cluster.status_writes()
        await two.renew()
        await two.report(("192.0.2.10", "eth1"))  # it saw the other's lease run out at this moment
        await cluster.clock.advance(1.0)
        assert await cluster.noted("announcing-IPv4") == "n2,eth1,192.0.2.10"
        assert cluster.status_writes() == count + 1


async def test_what_a_node_withholds_is_told_with_its_reason(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/addresses": "192.0.2.10"})
        withheld = {
            "ip": "192.0.2.10",
            "reason": "DuplicateOnLAN",
            "message": "another host answers for 192.0.2.10: 02:00:00:00:00:01",
        }
        await node.report(withheld=[withheld])
        await cluster.clock.advance(1.0)
        expected = ("False", "DuplicateOnLAN", "another host answers for 192.0.2.10: 02:00:00:00:00:01")
        assert await cluster.announced() == expected


async def test_a_remote_address_needs_one_node_and_no_annotation(cluster: Cluster) -> None:
    entry = {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "far"}, "spec": {"remote": {"v4pool": entry}}}, INSTALL)
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "far"})
        await node.report(remote={"interface": "kube-lb0", "count": 1, "addresses": ["198.51.100.1/24"]})
        await cluster.clock.advance(1.0)
        assert await cluster.announced() == (
            "True",
            "AnnouncingNonLocal",
            "198.51.100.1 on the dummy interface of the nodes",
        )
        assert await cluster.noted("announcing-IPv4") is None
        assert ((await cluster.service()).metadata.annotations or {})["purelb.io/pool-type"] == "remote"


async def test_a_hostile_report_is_ignored(cluster: Cluster) -> None:
    node = Node(cluster, "n1", subnets="0.0.0.0/0,garbage,,::/0")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        lies = [
            {"ip": text, "prefixLength": 0, "interface": "eth0"} for text in ("203.0.113.1", "garbage", "", "::1%eth0")
        ]
        await cluster.create(LB_NODE_STATUSES, {"metadata": {"name": "ghost"}, "status": {"announced": lies}}, INSTALL)
        await node.report(*[(f"203.0.113.{n}", "eth0") for n in range(200)])
        await cluster.clock.advance(3.0)
        assert cluster.status_writes() == 1


async def policy(cluster: Cluster) -> str:
    spec = (await cluster.service()).spec
    assert spec is not None
    return spec.external_traffic_policy


async def test_local_on_a_local_address_is_set_to_cluster_before_the_status_is_written(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve(externalTrafficPolicy="Local")
        await cluster.clock.advance(1.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Cluster", ("192.0.2.10",))
        mine = [path.rpartition("/")[2] for _, path in cluster.writes if "/services/" in path]
        assert mine == ["web", "status"]
        assert "LocalOverride" in {reason for _, reason, _ in await cluster.events()}


@pytest.mark.parametrize(
    ("settings", "noted"),
    [({}, {"purelb.io/allow-local": ""}), ({"external_traffic_policy": "honor"}, {})],
    ids=["its user allows it", "the setting honours it"],
)
async def test_local_stays_when(cluster: Cluster, settings: dict[str, Any], noted: dict[str, str]) -> None:
    async with cluster.allocator(**settings):
        await cluster.serve(externalTrafficPolicy="Local", annotations=noted)
        await cluster.clock.advance(1.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Local", ("192.0.2.10",))
        assert cluster.status_writes() == 1


async def test_a_refused_service_is_never_patched(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve(externalTrafficPolicy="Local", annotations={"purelb.io/service-group": "nowhere"})
        await cluster.clock.advance(1.0)
        assert await policy(cluster) == "Local"


async def test_a_service_that_gets_one_of_two_families_is_served_and_its_policy_set(cluster: Cluster) -> None:
    async with cluster.allocator():
        dual: dict[str, Any] = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv4", "IPv6"]}
        await cluster.serve(externalTrafficPolicy="Local", **dual)
        await cluster.clock.advance(1.0)
        told = await cluster.says()
        assert (told.status, told.reason) == ("True", "AddressAssignedPartially")
        assert await policy(cluster) == "Cluster"


async def test_who_sets_local_again_and_again_is_left_alone_for_an_hour(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        for _ in range(5):
            await cluster.patch(SERVICES, "web", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
            await cluster.clock.advance(1.0)
        assert await policy(cluster) == "Local"
        patched = [path for _, path in cluster.writes if path.endswith("/services/web")]
        assert len(patched) == 3
        assert await cluster.addresses() == ("192.0.2.10",)
        assert "LocalOverrideContested" in {reason for _, reason, _ in await cluster.events()}
        for minutes, times in ((59, 3), (2, 4)):
            await cluster.clock.advance(60.0 * minutes)
            await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"at": str(minutes)}}}, "shop")
            await cluster.clock.advance(1.0)
            patched = [path for _, path in cluster.writes if path.endswith("/services/web")]
            assert len(patched) == times, "an hour of rest, and then again"
        assert await policy(cluster) == "Cluster"


async def test_a_missing_announcement_becomes_an_event_only_when_it_lasts(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(14.0)
        assert "NoLiveAgent" not in {reason for _, reason, _ in await cluster.events()}
        await cluster.clock.advance(3.0)
        assert ("web", "NoLiveAgent", "no node agent is alive") in await cluster.events()
        await cluster.clock.advance(600.0)
        assert [reason for _, reason, _ in await cluster.events()].count("NoLiveAgent") == 1


async def test_a_short_absence_of_agents_is_no_event(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(5.0)
        await node.live(20)
        assert "NoLiveAgent" not in {reason for _, reason, _ in await cluster.events()}


async def test_two_nodes_that_answer_for_one_address_are_told_after_fifteen_seconds(cluster: Cluster) -> None:
    one, two = Node(cluster, "n1"), Node(cluster, "n2")
    async with cluster.allocator():
        await cluster.serve()
        for node in (one, two):
            await node.renew()
            await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[1] == "AnnouncingLocal"
        assert await cluster.noted("announcing-IPv4") == "n1,eth0,192.0.2.10 n2,eth0,192.0.2.10"
        for _ in range(10):
            await one.renew()
            await two.renew()
            await cluster.clock.advance(2.0)
        assert await cluster.announced() == ("True", "AnnouncedTwice", "192.0.2.10 by n1 and n2")
        await two.report()
        await one.renew()
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[1] == "AnnouncingLocal"


async def test_a_report_for_the_service_that_had_the_address_before_does_not_count_for_the_next(
    cluster: Cluster,
) -> None:
    """Else the next one is published with a holder that lets go, and every other node waits for it."""
    n1, n2 = Node(cluster, "n1"), Node(cluster, "n2")
    await n1.renew()
    await n2.renew()
    entry = {"ip": "192.0.2.10", "prefixLength": 32, "interface": "eth0"}
    await n2.report(announced=[entry | {"services": ["shop/before"]}])
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.noted("announcing-IPv4") is None
        assert (await cluster.announced())[1] == "AwaitingNode"
        await n1.report(announced=[entry | {"services": ["shop/web"]}])
        await cluster.clock.advance(1.0)
        assert await cluster.noted("announcing-IPv4") == "n1,eth0,192.0.2.10"


async def test_why_a_node_withheld_an_address_from_who_had_it_before_is_not_told_to_the_next(cluster: Cluster) -> None:
    n1, n2 = Node(cluster, "n1"), Node(cluster, "n2")
    await n1.renew()
    await n2.renew()
    withheld = {"ip": "192.0.2.10", "reason": "NoLocalEndpoint", "message": ""}
    await n1.report(withheld=[withheld | {"services": ["shop/before"]}])
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[1] == "AwaitingNode"
        await n2.report(
            withheld=[{**withheld, "services": ["shop/web"], "reason": "AnnouncementFailed", "message": "x"}]
        )
        await cluster.clock.advance(3.0)
        assert await cluster.announced() == ("False", "AnnouncementFailed", "n2: x")


FAR = {
    "metadata": {"name": "far"},
    "spec": {"remote": {"v4pool": {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}}},
}
SHRUNK = {"spec": {"remote": {"v4pool": {"pool": "198.51.100.5-198.51.100.9"}}}}
UNREADABLE = {"spec": {"remote": {"v4pool": {"pool": "198.51.100.9-198.51.100.1"}}}}


@pytest.mark.parametrize("edit", [None, SHRUNK, UNREADABLE], ids=["deleted", "shrunk", "made unreadable"])
async def test_local_stays_on_the_address_of_a_remote_group_that_was(
    cluster: Cluster, edit: dict[str, Any] | None
) -> None:
    await cluster.create(SERVICE_GROUPS, FAR, INSTALL)
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "far"}, externalTrafficPolicy="Local")
        await cluster.clock.advance(1.0)
        if edit is None:
            await cluster.admin.delete(SERVICE_GROUPS, "far", namespace=INSTALL)
        else:
            await cluster.patch(SERVICE_GROUPS, "far", edit, INSTALL)
        await cluster.clock.advance(5.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Local", ("198.51.100.1",))
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        assert (await policy(cluster), await cluster.addresses()) == ("Local", ("198.51.100.1",))
        assert not [path for _, path in cluster.writes if path.endswith("/services/web")]


async def reasons(cluster: Cluster, *names: str) -> list[str]:
    found = [await cluster.condition("Announced", name) for name in names]
    return [each.reason if each is not None else "" for each in found]


async def test_why_an_address_is_not_announced_follows_the_nodes_that_come_and_go(cluster: Cluster) -> None:
    elsewhere, here = Node(cluster, "n1", subnets="198.51.100.0/24"), Node(cluster, "n2")
    async with cluster.allocator():
        await cluster.serve("old")
        await cluster.clock.advance(1.0)
        assert await reasons(cluster, "old") == ["NoLiveAgent"]
        await elsewhere.live(4)
        await cluster.serve("new")
        await cluster.clock.advance(1.0)
        assert await reasons(cluster, "old", "new") == ["NoNodeInSubnet"] * 2
        await here.live(2)
        assert await reasons(cluster, "old", "new") == ["AwaitingNode"] * 2
        await elsewhere.live(14)
        assert await reasons(cluster, "old", "new") == ["NoNodeInSubnet"] * 2
        await cluster.clock.advance(90.0)  # until the API server was heard again
        assert await reasons(cluster, "old", "new") == ["NoLiveAgent"] * 2
        count = len(cluster.writes)
        await cluster.clock.advance(600.0)
        assert len(cluster.writes) == count


async def test_after_a_start_a_lease_that_nobody_renews_is_not_believed_for_ever(cluster: Cluster) -> None:
    await Node(cluster, "n1").renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await cluster.clock.advance(3.0)
        assert await reasons(cluster, "web") == ["AwaitingNode"]
    async with cluster.allocator(leader_elect=True):
        await cluster.clock.advance(20.0)
        assert await reasons(cluster, "web") == ["NoLiveAgent"]


async def test_a_node_that_comes_asks_only_those_who_are_not_announced(cluster: Cluster) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2", subnets="198.51.100.0/24")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve("a")
        await cluster.clock.advance(1.0)
        await cluster.serve("b")
        await node.report(("192.0.2.10", "eth0"))
        await node.live(4)
        assert await reasons(cluster, "a", "b") == ["AnnouncingLocal", "AwaitingNode"]
        turns = cluster.sink.counts["purelb_k8s_client_updates_total",]
        await other.renew()
        await cluster.clock.advance(1.0)
        # the node, the lives, the LBNodeAgents, the one Service
        assert cluster.sink.counts["purelb_k8s_client_updates_total",] - turns == 4


async def test_what_a_former_leader_saw_announced_is_missing_for_two_seconds_before_it_is_told(
    cluster: Cluster,
) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
    await node.report()
    await node.renew()
    async with cluster.allocator():  # one second has passed
        assert (await cluster.announced())[0] == "True"
        assert await cluster.noted("announcing-IPv4") == "n1,eth0,192.0.2.10"
        await node.renew()
        await cluster.clock.advance(1.5)
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")
        assert await cluster.noted("announcing-IPv4") is None


async def test_an_address_that_was_never_announced_is_told_at_once(cluster: Cluster) -> None:
    both = pool("both", "192.0.2.40-192.0.2.49", six="2001:db8::10-2001:db8::19")
    await cluster.create(SERVICE_GROUPS, both, INSTALL)
    node = Node(cluster, "n1", subnets="192.0.2.0/24,2001:db8::/64")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(
            annotations={"purelb.io/service-group": "both"}, ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"]
        )
        await node.report(("192.0.2.40", "eth0"))
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
        wider = {"spec": {"ipFamilyPolicy": "RequireDualStack", "ipFamilies": ["IPv4", "IPv6"]}}
        await cluster.patch(SERVICES, "web", wider, "shop")
        await cluster.clock.advance(0.5)
        assert await cluster.addresses() == ("192.0.2.40", "2001:db8::10")
        assert (await cluster.announced())[:2] == ("False", "AwaitingNode")


async def test_of_two_nodes_for_one_address_the_annotation_names_both_and_waits_for_more(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{n}") for n in range(4)]
    for node in nodes:
        await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await nodes[0].report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        count = cluster.status_writes()
        for node in nodes[1:]:
            await node.report(("192.0.2.10", "eth0"))
            await cluster.clock.advance(0.05)
        await cluster.clock.advance(1.0)
        assert await cluster.noted("announcing-IPv4") == " ".join(f"n{n},eth0,192.0.2.10" for n in range(4))
        assert cluster.status_writes() == count + 1, "three reports within 200 ms are one write"


async def test_a_remote_list_that_is_cut_off_counts_as_complete_but_for_what_is_withheld(cluster: Cluster) -> None:
    entry = {"pool": "198.51.100.1-198.51.100.9", "subnet": "198.51.100.0/24"}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "far"}, "spec": {"remote": {"v4pool": entry}}}, INSTALL)
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        for name in ("web", "other"):
            await cluster.serve(name, annotations={"purelb.io/service-group": "far"})
        failed = {"ip": "198.51.100.2", "reason": "AnnouncementFailed", "message": "n1: kube-lb0 is gone"}
        await node.report(
            remote={"interface": "kube-lb0", "count": 9000, "addresses": ["198.51.100.9/24"]}, withheld=[failed]
        )
        await cluster.clock.advance(3.0)
        assert (await cluster.announced())[:2] == ("True", "AnnouncingNonLocal")
        other = await cluster.says("Announced", "other")
        assert (other.status, other.reason, other.message) == ("False", "AnnouncementFailed", "n1: kube-lb0 is gone")


async def test_the_reason_of_the_first_node_by_name_is_told_and_a_word_we_do_not_know_is_none(
    cluster: Cluster,
) -> None:
    for name, reason, message in (
        ("n2", "NodeUnfit", "n2 is draining"),
        ("n1", "Whatever", "something\x00else"),
    ):
        node = Node(cluster, name)
        await node.renew()
        await node.report(withheld=[{"ip": "192.0.2.10", "reason": reason, "message": message}])
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.announced() == ("False", "AnnouncementFailed", "n1: Whatever something?else")


async def test_bookkeeping_of_a_failover_does_not_hold_back_an_allocation(cluster: Cluster) -> None:
    one, two = Node(cluster, "n1"), Node(cluster, "n2")
    wide = {"spec": {"local": {"v4pool": {"pool": "192.0.2.10-192.0.2.99", "subnet": "192.0.2.0/24"}}}}
    await cluster.patch(SERVICE_GROUPS, "default", wide, INSTALL)
    await one.renew()
    await two.renew()
    async with cluster.allocator(writers=1):
        for n in range(40):
            await cluster.serve(f"s{n}")
        await one.report(*[(f"192.0.2.{10 + n}", "eth0") for n in range(40)])
        await cluster.clock.advance(3.0)
        cluster.core.faults.add(Rule(effect=Delay(seconds=0.25), resource="services/status", verb="patch"))
        await one.report()
        await two.report(*[(f"192.0.2.{10 + n}", "eth0") for n in range(40)])
        await cluster.clock.advance(0.5)
        cluster.writes.clear()
        await cluster.serve("newcomer")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("newcomer") == ("192.0.2.50",)
        assert len([path for _, path in cluster.writes if path.endswith("/status")]) < 10, "ten seconds of others wait"
