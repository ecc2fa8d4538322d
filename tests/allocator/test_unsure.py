# SPDX-License-Identifier: Apache-2.0
"""An allocator that starts finds the lease of a node that died long ago: nothing is given for its sake, and nothing is told twice."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.api import leases
from purelb.api.kinds import LB_NODE_AGENTS, LB_NODE_STATUSES, SERVICE_GROUPS, LBNodeAgent
from purelb.kube.resources import LEASES, SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

A = {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}
B = {"pool": "198.51.100.10-198.51.100.19", "subnet": "198.51.100.0/24"}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def live_beside(cluster: Cluster, seconds: float, *nodes: Node) -> None:
    """Time passes in which these nodes live, and no others."""
    for _ in range(int(seconds / 2)):
        for node in nodes:
            await node.renew()
        await cluster.clock.advance(2.0)


async def racks(cluster: Cluster) -> None:
    body: dict[str, Any] = {
        "metadata": {"name": "racks"},
        "spec": {"local": {"v4pools": [A | {"pool": "192.0.2.50-192.0.2.59"}, B], "multiPool": True}},
    }
    await cluster.create(SERVICE_GROUPS, body, INSTALL)


async def test_the_subnet_of_a_node_long_dead_gives_no_address_after_a_start(cluster: Cluster) -> None:
    await racks(cluster)
    lives, died = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    await died.renew()
    await live_beside(cluster, 60, lives)
    await lives.renew()
    async with cluster.allocator(leader_elect=True) as allocator:
        view: Any = allocator.show(most=100)["view"]
        assert (list(view["membership"]), view["unsure"]) == (["n1"], ["n2"])
        await cluster.serve(annotations={"purelb.io/service-group": "racks"})
        for _ in range(10):
            await live_beside(cluster, 2, lives)
            assert await cluster.addresses() == ("192.0.2.50",)
        view = allocator.show(most=100)["view"]
        assert view["unsure"] == []
        await died.renew()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.50", "198.51.100.10")


async def test_who_has_an_address_there_keeps_it(cluster: Cluster) -> None:
    await racks(cluster)
    lives, died = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    await died.renew()
    await lives.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve(annotations={"purelb.io/service-group": "racks"})
        await live_beside(cluster, 60, lives)
        assert await cluster.addresses() == ("192.0.2.50", "198.51.100.10")
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await live_beside(cluster, 60, lives)
        assert await cluster.addresses() == ("192.0.2.50", "198.51.100.10")
        assert cluster.status_writes() == 0


@pytest.mark.parametrize("remote", [False, True])
async def test_what_was_told_of_a_dead_node_is_not_told_again_after_a_start(cluster: Cluster, remote: bool) -> None:
    if remote:
        entry = {"pool": "203.0.113.10-203.0.113.19", "subnet": "203.0.113.0/24"}
        far = {"metadata": {"name": "far"}, "spec": {"remote": {"v4pool": entry}}}
        await cluster.create(SERVICE_GROUPS, far, INSTALL)
    noted = {"purelb.io/service-group": "far" if remote else "default"}
    died = Node(cluster, "n1")
    await died.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve(annotations=noted)
        if remote:
            await died.report(remote={"interface": "kube-lb0", "count": 1, "addresses": ["203.0.113.10/24"]})
        else:
            await died.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
        await cluster.clock.advance(60.0)
        assert await cluster.announced() == ("False", "NoLiveAgent", "no node agent is alive")
    told = await cluster.events()
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await cluster.clock.advance(60.0)
        assert await cluster.announced() == ("False", "NoLiveAgent", "no node agent is alive")
        assert cluster.status_writes() == 0
        assert await cluster.events() == told


@pytest.mark.parametrize("remote", [False, True])
async def test_a_node_whose_clock_is_wrong_loses_nothing_by_a_start(cluster: Cluster, remote: bool) -> None:
    if remote:
        await cluster.patch(
            SERVICE_GROUPS, "default", {"spec": {"remote": pool()["spec"]["local"], "local": None}}, INSTALL
        )
    node = Node(cluster, "n1", behind=86_400.0)
    await node.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await node.renew()
        if remote:
            await node.report(remote={"interface": "kube-lb0", "count": 1, "addresses": ["192.0.2.10/24"]})
        else:
            await node.report(("192.0.2.10", "eth0"))
        await node.live(4)
        before = await cluster.announced(), await cluster.noted("announcing-IPv4")
        assert before[0][0] == "True"
    told = await cluster.events()
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        for _ in range(10):
            assert (await cluster.announced(), await cluster.noted("announcing-IPv4")) == before
            await node.live(2)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert cluster.status_writes() == 0
        assert [event for event in await cluster.events() if event[0] == "web"] == [e for e in told if e[0] == "web"]


async def test_an_address_that_moved_to_a_living_node_is_its_own_at_once(cluster: Cluster) -> None:
    died, heir = Node(cluster, "n1"), Node(cluster, "n2")
    await died.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await died.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
    await cluster.clock.advance(60.0)
    await heir.renew()
    await heir.report(("192.0.2.10", "eth1"))
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await live_beside(cluster, 30, heir)
        assert await cluster.announced() == ("True", "AnnouncingLocal", "192.0.2.10 by n2 on eth1")
        assert await cluster.noted("announcing-IPv4") == "n2,eth1,192.0.2.10"
        assert cluster.status_writes() == 1


async def test_a_new_service_waits_for_a_node_of_which_it_is_not_known_whether_it_lives(cluster: Cluster) -> None:
    died = Node(cluster, "n1")
    await died.renew()
    await cluster.clock.advance(60.0)
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.announced() == ("False", "AwaitingNode", "no node has reported 192.0.2.10 yet")
        await cluster.clock.advance(20.0)
        assert await cluster.announced() == ("False", "NoLiveAgent", "no node agent is alive")
        assert cluster.status_writes() == 2


async def test_another_address_is_not_told_what_was_said_of_the_one_before(cluster: Cluster) -> None:
    died = Node(cluster, "n1")
    await died.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[2] == "no node has reported 192.0.2.10 yet"
    await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.12"}}}, "shop")
    await cluster.clock.advance(60.0)
    async with cluster.allocator(leader_elect=True):
        assert await cluster.announced() == ("False", "AwaitingNode", "no node has reported 192.0.2.12 yet")


async def test_the_status_of_an_agent_waits_until_it_is_known_who_uses_it(cluster: Cluster) -> None:
    lan: dict[str, Any] = {"metadata": {"name": "lan"}, "spec": {"local": {}}}
    await cluster.create(LB_NODE_AGENTS, lan, INSTALL)
    skewed = Node(cluster, "n1", behind=86_400.0)
    await skewed.renew()
    await skewed.report(config={"state": "configured", "source": f"{INSTALL}/lan"})

    async def nodes() -> int | None:
        found: LBNodeAgent = await cluster.admin.get(LB_NODE_AGENTS, "lan", namespace=INSTALL)
        return None if found.status is None else found.status.nodes

    async with cluster.allocator(leader_elect=True):
        assert await nodes() is None
        await skewed.live(4)
        assert await nodes() == 1
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await skewed.live(20)
        assert await nodes() == 1
        assert not [path for _, path in cluster.writes if path.endswith("/lbnodeagents/lan/status")]
        await cluster.clock.advance(30.0)
        assert await nodes() == 0, "it is dead by now"


@pytest.mark.parametrize("how", ["it is gone", "it is empty", "it is empty and the node lives"])
async def test_what_a_report_ceases_to_say_while_its_node_is_unsure_is_not_told_for_ever(
    cluster: Cluster, how: str
) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2")
    await node.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
    await cluster.clock.advance(60.0)
    await other.renew()
    async with cluster.allocator(leader_elect=True):
        if how == "it is gone":
            await cluster.admin.delete(LB_NODE_STATUSES, "n1", namespace=INSTALL)
        else:
            await node.report()
        await cluster.clock.advance(0.1)
        await live_beside(cluster, 30, other, *([node] if how.endswith("lives") else []))
        assert await cluster.announced() == ("False", "AwaitingNode", "no node has reported 192.0.2.10 yet")
        assert await cluster.noted("announcing-IPv4") is None


async def test_a_list_that_is_cut_off_counts_no_longer_than_its_node_is_unsure(cluster: Cluster) -> None:
    entry = {"pool": "203.0.113.1-203.0.113.9", "subnet": "203.0.113.0/24"}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "far"}, "spec": {"remote": {"v4pool": entry}}}, INSTALL)
    node, other = Node(cluster, "n1"), Node(cluster, "n2")
    await node.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve(annotations={"purelb.io/service-group": "far"})
        await node.report(remote={"interface": "kube-lb0", "count": 9000, "addresses": ["203.0.113.9/24"]})
        await cluster.clock.advance(1.0)
        assert (await cluster.announced())[0] == "True"
    await cluster.clock.advance(60.0)
    await other.renew()
    async with cluster.allocator(leader_elect=True):
        assert (await cluster.announced())[0] == "True"
        await live_beside(cluster, 30, other)
        assert await cluster.announced() == ("False", "AwaitingNode", "no node has reported 203.0.113.1 yet")


@pytest.mark.parametrize("behind", [0.0, 86_400.0])
async def test_that_two_nodes_answer_for_an_address_is_not_told_again_after_a_start(
    cluster: Cluster, behind: float
) -> None:
    nodes = Node(cluster, "n1", behind=behind), Node(cluster, "n2")
    for node in nodes:
        await node.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        for node in nodes:
            await node.report(("192.0.2.10", "eth0"))
        await live_beside(cluster, 40, *nodes)
        assert await cluster.announced() == ("True", "AnnouncedTwice", "192.0.2.10 by n1 and n2")
    for node in nodes:
        await node.renew()
    told = await cluster.events()
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await live_beside(cluster, 40, *nodes)
        assert await cluster.announced() == ("True", "AnnouncedTwice", "192.0.2.10 by n1 and n2")
        assert await cluster.noted("announcing-IPv4") == "n1,eth0,192.0.2.10 n2,eth0,192.0.2.10"
        assert cluster.status_writes() == 0
        assert await cluster.events() == told
        await nodes[0].report()
        await live_beside(cluster, 4, *nodes)
        assert await cluster.announced() == ("True", "AnnouncingLocal", "192.0.2.10 by n2 on eth0")


@pytest.mark.parametrize("renewed", [False, True])
async def test_nobody_is_unsure_for_as_long_as_a_lease_may_promise(cluster: Cluster, renewed: bool) -> None:
    lan: dict[str, Any] = {"metadata": {"name": "lan"}, "spec": {"local": {}}}
    await cluster.create(LB_NODE_AGENTS, lan, INSTALL)
    odd, lives = Node(cluster, "n1"), Node(cluster, "n2")
    await odd.renew()
    ancient = {"leaseDurationSeconds": 2_147_483_647, "renewTime": "1900-01-01T00:00:00.000000Z"}
    await cluster.patch(LEASES, leases.node_lease("n1"), {"spec": ancient}, INSTALL)
    await lives.renew()
    await lives.report(config={"state": "configured", "source": f"{INSTALL}/lan"})
    async with cluster.allocator(leader_elect=True) as allocator:
        await live_beside(cluster, 50, lives)
        view: Any = allocator.show(most=100)["view"]
        assert view["unsure"] == ["n1"]
        await live_beside(cluster, 20, lives)
        if renewed:
            await cluster.patch(LEASES, leases.node_lease("n1"), {"spec": {"renewTime": None}}, INSTALL)
            await live_beside(cluster, 70, lives)
        view = allocator.show(most=100)["view"]
        assert (list(view["membership"]), view["unsure"]) == (["n1", "n2"] if renewed else ["n2"], [])
        found: LBNodeAgent = await cluster.admin.get(LB_NODE_AGENTS, "lan", namespace=INSTALL)
        assert found.status is not None
        assert found.status.nodes == 1


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_new_service_is_not_told_that_no_node_lives_where_nobody_knows_it_yet(
    cluster: Cluster, renewed: bool
) -> None:
    await racks(cluster)
    nodes = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    for node in nodes:
        await node.renew()
    await cluster.clock.advance(60.0)  # nobody reaches the API server, and then all leases look old
    async with cluster.allocator(leader_elect=True):
        await cluster.serve(annotations={"purelb.io/service-group": "racks"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ()
        assert await cluster.condition() is None
        assert cluster.status_writes() == 0
        assert not [event for event in await cluster.events() if event[0] == "web"]
        await live_beside(cluster, 20, *(nodes if renewed else ()))
        found = await cluster.says()
        text = "racks: no live node advertises any of 192.0.2.0/24, 198.51.100.0/24"
        assigned = ("True", "AddressAssigned", "192.0.2.50, 198.51.100.10 from racks")
        assert (found.status, found.reason, found.message) == (
            assigned if renewed else ("False", "NoActiveSubnet", text)
        )
        told = [event for event in await cluster.events() if event[1] == "NoActiveSubnet"]
        assert told == ([] if renewed else [("web", "NoActiveSubnet", text)])


async def test_who_gets_some_of_its_addresses_is_told_what_is_missing_once_that_is_known(cluster: Cluster) -> None:
    await racks(cluster)
    lives, died = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    await died.renew()
    await cluster.clock.advance(60.0)
    await lives.renew()

    async def allocated() -> tuple[str, str]:
        found = await cluster.says()
        return found.reason, found.message

    async with cluster.allocator(leader_elect=True):
        await cluster.serve(annotations={"purelb.io/service-group": "racks"})
        await cluster.clock.advance(1.0)
        assert await allocated() == ("AddressAssigned", "192.0.2.50 from racks")
        await live_beside(cluster, 20, lives)
        assert (known := await allocated())[0] == "AddressAssignedPartially"
        assert "no live node advertises any of 198.51.100.0/24" in known[1]
    await lives.renew()
    told = await cluster.events()
    cluster.writes.clear()
    async with cluster.allocator(leader_elect=True):
        await live_beside(cluster, 30, lives)
        assert await allocated() == known
        assert cluster.status_writes() == 0
        assert await cluster.events() == told


@pytest.mark.parametrize("renewed", [False, True])
async def test_who_asks_for_a_re_evaluation_that_is_about_nodes_is_answered_once_it_is_known_who_lives(
    cluster: Cluster, renewed: bool
) -> None:
    node, other = Node(cluster, "n1"), Node(cluster, "n2", "198.51.100.0/24")
    async with cluster.allocator(leader_elect=True):
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)
    spec = {"local": {"v4pools": [B], "multiPool": True}, "priority": 1, "autoAssign": True}
    await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "racks"}, "spec": spec}, INSTALL)
    await other.renew()
    await cluster.clock.advance(60.0)
    await node.renew()
    async with cluster.allocator(leader_elect=True):
        await cluster.clock.advance(1.0)
        cluster.writes.clear()
        noted = {"purelb.io/re-evaluate": "true"}
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": noted}}, "shop")
        await live_beside(cluster, 2, node)
        assert await cluster.noted("re-evaluate") == "true", "nobody knows yet"
        assert cluster.status_writes() == 0
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/pool-type": None}}}, "shop")
        await live_beside(cluster, 2, node)
        assert await cluster.noted("pool-type") == "local", "what is to be written for another reason is written"
        assert await cluster.noted("re-evaluate") == "true"
        assert not [event for event in await cluster.events() if "re-evaluate" in event[2]]
        await live_beside(cluster, 30, node, *([other] if renewed else ()))
        assert await cluster.noted("re-evaluate") is None
        assert await cluster.addresses() == (("198.51.100.10",) if renewed else ("192.0.2.10",))
        assert cluster.status_writes() == 2
        assert (await cluster.says()).reason == "AddressAssigned"
        told = [event for event in await cluster.events() if "re-evaluate" in event[2]]
        why = "no live node advertises any of 198.51.100.0/24); default: GroupDraining (hands out no new addresses)"
        text = f"purelb.io/re-evaluate: racks: NoActiveSubnet ({why}; keeps 192.0.2.10"
        assert told == ([] if renewed else [("web", "NoActiveSubnet", text)])
