# SPDX-License-Identifier: Apache-2.0
"""What an LBNodeAgent is told of itself: how many nodes use it, and why none does."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from purelb.allocator.statuses import AGENTS_APART, AGENTS_SETTLE
from purelb.api.crds import all_definitions
from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS, LBNodeAgent
from purelb.kube.resources import CRDS, NODES
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

CONFIGURED = {"state": "configured", "source": f"{INSTALL}/lan"}


async def lan(cluster: Cluster, name: str = "lan", namespace: str = INSTALL, **spec: Any) -> None:
    whole = {"local": {}, **spec}
    await cluster.create(LB_NODE_AGENTS, {"metadata": {"name": name}, "spec": whole}, namespace)


async def ready(cluster: Cluster, name: str = "lan", namespace: str = INSTALL) -> tuple[int | None, str, str, str]:
    """(nodes, status, reason, message)."""
    found: LBNodeAgent = await cluster.admin.get(LB_NODE_AGENTS, name, namespace=namespace)
    assert found.status is not None
    (condition,) = found.status.conditions or ()
    assert condition.type == "Ready"
    assert condition.observed_generation == found.metadata.generation == found.status.observed_generation
    return found.status.nodes, condition.status, condition.reason, condition.message


def writes(cluster: Cluster) -> int:
    return sum(path.endswith("/lbnodeagents/lan/status") for _, path in cluster.writes)


async def test_the_nodes_that_name_an_object_as_their_source_are_counted(cluster: Cluster) -> None:
    nodes = [Node(cluster, name) for name in ("n1", "n2", "n3")]
    await lan(cluster)
    for node in nodes[:2]:
        await node.renew()
        await node.report(config=CONFIGURED)
    async with cluster.allocator():
        assert await ready(cluster) == (2, "True", "Applied", "used by 2 nodes")
        await nodes[2].renew()
        await nodes[2].report(config=CONFIGURED)
        await cluster.clock.advance(AGENTS_APART)
        assert await ready(cluster) == (3, "True", "Applied", "used by 3 nodes")
        assert writes(cluster) == 2
        for _ in range(30):
            for node in nodes:
                await node.renew()
            await cluster.clock.advance(2.0)
        assert writes(cluster) == 2, "renewed leases change nothing"


async def test_the_report_of_a_dead_node_does_not_count(cluster: Cluster) -> None:
    one, two = Node(cluster, "n1"), Node(cluster, "n2")
    await lan(cluster)
    for node in (one, two):
        await node.renew()
        await node.report(config=CONFIGURED)
    async with cluster.allocator():
        await one.live(20)
        assert (await ready(cluster))[0] == 1


async def test_many_reports_are_folded_at_most_every_five_seconds(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{n}") for n in range(8)]
    await lan(cluster)
    async with cluster.allocator():
        before = writes(cluster)
        for node in nodes:
            await node.renew()
            await node.report(config=CONFIGURED)
            await cluster.clock.advance(0.5)
        await cluster.clock.advance(AGENTS_APART)
        assert (await ready(cluster))[0] == 8
        assert writes(cluster) <= before + 2


async def test_reports_that_never_come_to_rest_cost_one_write_every_five_seconds(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{n}") for n in range(4)]
    await lan(cluster)
    async with cluster.allocator():
        await cluster.clock.advance(10.0)
        before = writes(cluster)
        for turn in range(200):  # each of them says something else every time
            node = nodes[turn % 4]
            await node.renew()
            await node.report(config={"state": "invalid", "source": f"{INSTALL}/lan", "message": f"problem {turn}"})
            await cluster.clock.advance(0.25)
        assert 8 <= writes(cluster) - before <= 11


async def test_an_edit_is_judged_once_the_nodes_have_said_what_they_made_of_it(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    async with cluster.allocator():
        await cluster.clock.advance(10.0)
        await node.renew()
        await lan(cluster)
        await cluster.clock.advance(1.0)
        await node.report(config=CONFIGURED)
        await cluster.clock.advance(AGENTS_SETTLE)
        assert await ready(cluster) == (1, "True", "Applied", "used by 1 nodes")
        assert writes(cluster) == 1, "nothing was said before that would have been wrong"


async def test_the_first_node_that_cannot_use_it_is_named(cluster: Cluster) -> None:
    await lan(cluster)
    for name, config in (
        ("n3", CONFIGURED),
        ("n2", {**CONFIGURED, "state": "invalid", "message": 'no interface matches "eth7"'}),
        ("n1", {"state": "configured", "source": f"{INSTALL}/other"}),
    ):
        node = Node(cluster, name)
        await node.renew()
        await node.report(config=config)
    async with cluster.allocator():
        assert await ready(cluster) == (1, "False", "ConfigError", 'n2: no interface matches "eth7"')


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        pytest.param(
            {"nodeSelector": {"matchLabels": {"rack": "b"}}},
            "NoNodeSelected",
            "no node matches the nodeSelector",
            id="no such node",
        ),
        pytest.param(
            {"nodeSelector": {"matchExpressions": [{"key": "rack", "operator": "In"}]}},
            "InvalidNodeSelector",
            'nodeSelector: In of "rack" needs at least one value',
            id="a selector that cannot be read",
        ),
        pytest.param({"local": None}, "ConfigIgnored", "there is no spec.local", id="nothing configured"),
        pytest.param(
            {"nodeSelector": {"matchLabels": {"rack": "a"}}},
            "ConfigIgnored",
            "another LBNodeAgent comes first on every node",
            id="shadowed",
        ),
        pytest.param(
            {"nodeSelector": {"matchLabels": {"rack": "dark"}}},
            "NoNodeSelected",
            "no node agent is alive on the nodes that match the nodeSelector",
            id="nobody is there",
        ),
    ],
)
async def test_why_no_node_uses_it(cluster: Cluster, spec: dict[str, Any], reason: str, message: str) -> None:
    for name, rack in (("n1", "a"), ("n2", "dark")):
        await cluster.create(NODES, {"metadata": {"name": name, "labels": {"rack": rack}}})
    node = Node(cluster, "n1")
    await node.renew()
    await node.report(config={"state": "configured", "source": f"{INSTALL}/other"})
    await lan(cluster, **spec)
    async with cluster.allocator():
        assert await ready(cluster) == (0, "False", reason, message)


async def test_what_is_odd_where_it_is_used_is_told_of_the_first_such_node(cluster: Cluster) -> None:
    await lan(cluster)
    for name, message in (("n1", ""), ("n3", "forwarding is off"), ("n2", "interface eth7 does not exist")):
        node = Node(cluster, name)
        await node.renew()
        await node.report(config={**CONFIGURED, "message": message})
    async with cluster.allocator():
        assert await ready(cluster) == (3, "True", "Applied", "used by 3 nodes; n2: interface eth7 does not exist")


@pytest.mark.parametrize("selector", [None, {}], ids=["no selector", "an empty selector"])
async def test_who_selects_no_nodes_in_particular_is_not_told_of_its_selector(cluster: Cluster, selector: Any) -> None:
    await lan(cluster, nodeSelector=selector)
    async with cluster.allocator():
        assert await ready(cluster) == (0, "False", "NoNodeSelected", "there is no node")
        await cluster.create(NODES, {"metadata": {"name": "n1"}})
        await cluster.clock.advance(AGENTS_APART)
        assert await ready(cluster) == (0, "False", "NoNodeSelected", "no node agent is alive")


async def test_a_node_that_gets_the_label_is_noticed(cluster: Cluster) -> None:
    await cluster.create(NODES, {"metadata": {"name": "n1", "labels": {"rack": "a"}}})
    await lan(cluster, nodeSelector={"matchLabels": {"rack": "b"}})
    async with cluster.allocator():
        assert (await ready(cluster))[3] == "no node matches the nodeSelector"
        await cluster.patch(NODES, "n1", {"metadata": {"labels": {"rack": "b"}}})
        await cluster.clock.advance(AGENTS_APART)
        assert (await ready(cluster))[3] == "no node agent is alive on the nodes that match the nodeSelector"


async def test_an_object_of_another_namespace_is_out_of_scope_unless_all_are_read(cluster: Cluster) -> None:
    await lan(cluster, namespace="shop")
    text = f"only LBNodeAgents in namespace {INSTALL} are read: move it there, or set --config-scope=all"
    async with cluster.allocator():
        assert await ready(cluster, namespace="shop") == (0, "False", "OutOfScope", text)
    async with cluster.allocator(config_scope="all"):
        assert (await ready(cluster, namespace="shop"))[2] == "NoNodeSelected"


async def test_a_status_that_somebody_edits_is_put_back_and_a_restart_writes_nothing(cluster: Cluster) -> None:
    await lan(cluster)
    async with cluster.allocator():
        said = await ready(cluster)
        await cluster.patch(LB_NODE_AGENTS, "lan", {"status": {"nodes": 99}}, INSTALL, subresource="status")
        await cluster.clock.advance(AGENTS_APART)
        assert await ready(cluster) == said
    count = writes(cluster)
    async with cluster.allocator():
        await cluster.clock.advance(60.0)
        assert await ready(cluster) == said
        assert writes(cluster) == count


async def test_without_a_status_subresource_it_is_told_once_and_tried_every_ten_minutes(
    cluster: Cluster, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for plural in ("servicegroups", "lbnodeagents"):
        spec: Any = copy.deepcopy(all_definitions()[f"{plural}.purelb.io"]["spec"])
        for version in spec["versions"]:
            del version["subresources"]
        await cluster.patch(CRDS, f"{plural}.purelb.io", {"spec": spec})
    await lan(cluster)
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)

    def tries() -> tuple[int, int]:
        groups = sum(path.endswith("/servicegroups/default/status") for _, path in cluster.writes)
        return writes(cluster), groups

    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(10.0)
        assert await cluster.addresses() == ("192.0.2.10",), "allocation does not wait for it"
        for count in range(5):
            await cluster.serve(f"more-{count}")
            await cluster.create(NODES, {"metadata": {"name": f"n{count}"}})  # which is a reason to look at both again
            await cluster.clock.advance(30.0)
        assert tries() == (2, 2)
        told = [
            getattr(record, "kind", "") for record in caplog.records if getattr(record, "code", "") == "statusMissing"
        ]
        assert sorted(told) == ["LBNodeAgent", "ServiceGroup"]
        await cluster.clock.advance(600.0)
        assert tries() == (3, 3)
        assert len([1 for record in caplog.records if getattr(record, "code", "") == "statusMissing"]) == 2


async def test_a_refused_status_is_tried_again_and_stops_nothing_else(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
    await lan(cluster)
    cluster.core.faults.add(Rule(effect=Answer(code=403), resource="lbnodeagents*/status", verb="patch"))
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        found: LBNodeAgent = await cluster.admin.get(LB_NODE_AGENTS, "lan", namespace=INSTALL)
        assert found.status is None
        assert writes(cluster) == 1
        cluster.core.faults = type(cluster.core.faults)()
        await cluster.clock.advance(70.0)
        assert (await ready(cluster))[2] == "NoNodeSelected"


async def test_an_agents_report_without_a_node_of_ours_counts_for_nobody(cluster: Cluster) -> None:
    await lan(cluster)
    ghost = Node(cluster, "ghost")
    await ghost.report(config=CONFIGURED)
    async with cluster.allocator():
        await cluster.clock.advance(10.0)
        assert (await ready(cluster))[0] == 0
