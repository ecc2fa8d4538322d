# SPDX-License-Identifier: Apache-2.0
"""Whole agents over a virtual link: who answers for an address, through starts, deaths, outages and leavings."""

from __future__ import annotations

import asyncio

import pytest

from purelb.api.kinds import LB_NODE_AGENTS, SERVICE_GROUPS
from purelb.kube.client import PatchType
from purelb.kube.errors import AlreadyExists
from purelb.kube.resources import ENDPOINT_SLICES, EVENTS, LEASES, NODES, SERVICES
from tests.lbnodeagent.lan import INSTALL, Lan

WEB = "192.0.2.10"
FAR = "198.51.100.10"


async def lan(**config: object) -> Lan:
    made = Lan()
    await made.prepare(**config)
    return made


async def test_a_service_is_announced_by_exactly_one_node_within_a_blink_of_being_seen() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        assert {agent.phase() for agent in crew.agents.values()} == {"Running"}
        await cluster.serve("web", WEB)
        await cluster.clock.settle()
        (holder,) = cluster.answering(WEB)
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == [holder]
        report = await cluster.report(holder)
        assert [(entry.ip, entry.interface, entry.services) for entry in report.announced] == [
            (WEB, "eth0", ("shop/web",))
        ]
        assert all(check is None for agent in crew.agents.values() for check in agent.checks().values())


async def test_many_services_are_spread_and_each_is_on_one_node() -> None:
    cluster = Lan()
    await cluster.prepare()
    for number in range(60):
        await cluster.serve(f"web{number}", f"192.0.2.{10 + number}")
    async with cluster.running():
        for number in range(60):
            assert len(cluster.answering(f"192.0.2.{10 + number}")) == 1
        held = [sum(host.has(f"192.0.2.{10 + number}") for number in range(60)) for host in cluster.hosts]
        assert min(held) > 5


async def test_a_remote_address_is_on_every_node_and_leaves_with_its_service() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(1.0)
        assert cluster.answering(FAR) == ["n1", "n2", "n3"]
        (address,) = [found for found in cluster.hosts[0].model.addresses.values() if str(found.ip) == FAR]
        assert (address.prefixlen, address.ends_at) == (24, None)
        await cluster.admin.delete(SERVICES, "far", namespace="shop")
        await cluster.clock.advance(1.0)
        assert cluster.answering(FAR) == []


async def test_a_deleted_service_leaves_the_kernel_and_the_report() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        (holder,) = cluster.answering(WEB)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.settle()
        assert cluster.answering(WEB) == []
        await cluster.clock.advance(2.0)
        assert (await cluster.report(holder)).announced == ()


async def test_who_leaves_hands_over_without_a_gap_and_deletes_its_lease() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        crew.agents[holder].stop()
        for _ in range(400):
            await cluster.clock.advance(0.01)
            assert cluster.answering(WEB)
            if crew.tasks[holder].done():
                break
        assert crew.tasks[holder].done()
        assert len(cluster.answering(WEB)) == 1
        assert cluster.answering(WEB) != [holder]
        leases = [lease.metadata.name async for page in cluster.admin.list_pages(LEASES) for lease in page.objects]
        assert f"purelb-node-{holder}" not in leases
        report = await cluster.report(holder)
        assert (report.announced, report.failure_detection.state) == ((), "draining")


async def test_the_last_node_leaves_its_addresses_to_their_lifetime_and_the_next_agent_adopts_them() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await crew.leave("n1")
        assert cluster.answering(WEB) == ["n1"]
        frames = len(cluster.hosts[0].sent)
        crew.start("n1", pod_uid="the next")
        await cluster.clock.advance(30.0)
        assert cluster.answering(WEB) == ["n1"]
        assert len(cluster.hosts[0].sent) == frames


async def test_an_address_that_nobody_adopts_runs_out() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await crew.kill("n1")
        await cluster.clock.advance(21.0)
        assert cluster.answering(WEB) == []


async def test_an_agent_that_is_killed_and_restarted_loses_nothing_and_says_nothing() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        host = cluster.host(holder)
        frames, log = len(host.sent), len(host.log)
        await crew.kill(holder)
        await cluster.clock.advance(2.0)
        crew.start(holder)
        for _ in range(40):
            await cluster.clock.advance(0.5)
            assert cluster.answering(WEB) == [holder]
        assert len(host.sent) == frames
        assert {verb for _, verb, _ in host.log[log:]} == {"renew"}


async def test_the_addresses_of_a_dead_node_are_taken_over_once_its_lease_is_confirmed_to_have_run_out() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        await crew.kill(holder)
        cluster.host(holder).connected = False
        died = cluster.clock.now()
        taken = await cluster.clock.run_until(
            lambda: any(name != holder for name in cluster.answering(WEB)), within=20.0
        )
        assert 5.0 < taken - died <= 11.5
        await cluster.clock.advance(20.0)
        (heir,) = cluster.answering(WEB)
        assert heir != holder


async def test_an_outage_of_the_api_moves_nothing_however_long_it_lasts() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        for number in range(12):
            await cluster.serve(f"web{number}", f"192.0.2.{20 + number}")
        await cluster.clock.advance(5.0)
        await cluster.fold()
        await cluster.clock.advance(5.0)
        before = {number: cluster.answering(f"192.0.2.{20 + number}") for number in range(12)}
        logs = {host.name: len(host.log) for host in cluster.hosts}
        cluster.api_down = True
        for _ in range(20):
            await cluster.clock.advance(10.0)
            assert {number: cluster.answering(f"192.0.2.{20 + number}") for number in range(12)} == before
        assert all("could not be renewed" in str(agent.checks()["lease"]) for agent in crew.agents.values())
        cluster.api_down = False
        await cluster.clock.advance(60.0)
        assert {number: cluster.answering(f"192.0.2.{20 + number}") for number in range(12)} == before
        for host in cluster.hosts:
            assert {verb for _, verb, _ in host.log[logs[host.name] :]} <= {"renew"}
        assert all(agent.checks()["lease"] is None for agent in crew.agents.values())


async def test_with_withdraw_a_node_without_the_api_lets_go_before_its_peers_may_act() -> None:
    cluster = await lan(onAPIOutage="Withdraw")
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        cluster.api_down = True
        await cluster.clock.advance(11.0)
        assert cluster.answering(WEB) == []
        cluster.api_down = False
        await cluster.clock.advance(30.0)
        assert len(cluster.answering(WEB)) == 1


async def test_an_agent_that_starts_during_an_outage_keeps_what_it_finds() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await crew.kill("n1")
        cluster.api_down = True
        agent = crew.start("n1")
        await cluster.clock.advance(300.0)
        assert cluster.answering(WEB) == ["n1"]
        assert agent.phase() == "Syncing"
        assert "refused" in str(agent.checks()["synced"])
        cluster.api_down = False
        await cluster.clock.advance(60.0)
        assert (cluster.answering(WEB), agent.phase()) == (["n1"], "Running")


async def test_a_better_node_is_given_an_address_back_after_thirty_seconds_without_a_gap() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        await crew.leave(holder)
        await cluster.fold()
        (heir,) = cluster.answering(WEB)
        crew.start(holder, pod_uid="again")
        returned = cluster.clock.now()
        while cluster.answering(WEB) != [holder]:
            await cluster.clock.advance(0.05)
            assert cluster.answering(WEB)
            assert cluster.clock.now() < returned + 40
        assert cluster.clock.now() > returned + 29
        assert heir != holder


@pytest.mark.parametrize("mark", ["cordon", "label", "annotation"])
async def test_a_node_that_is_cordoned_or_excluded_hands_its_addresses_over(mark: str) -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        bodies: dict[str, dict[str, object]] = {
            "cordon": {"spec": {"unschedulable": True}},
            "label": {"metadata": {"labels": {"node.kubernetes.io/exclude-from-external-load-balancers": ""}}},
            "annotation": {"metadata": {"annotations": {"purelb.io/drain": ""}}},
        }
        await cluster.patch(NODES, holder, bodies[mark])
        for _ in range(100):
            await cluster.clock.advance(0.05)
            assert cluster.answering(WEB)
        assert len(cluster.answering(WEB)) == 1
        assert cluster.answering(WEB) != [holder]
        assert (holder in cluster.answering(FAR)) == (mark == "cordon")


async def test_a_lease_that_somebody_deletes_is_written_again_and_nothing_moves() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(3.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        await cluster.admin.delete(LEASES, f"purelb-node-{holder}", namespace=INSTALL)
        for _ in range(100):
            await cluster.clock.advance(0.1)
            assert cluster.answering(WEB)
        assert (await cluster.lease(holder)).spec.holder_identity == holder


async def test_of_two_agents_with_one_name_the_second_does_nothing_and_says_who_is_there() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(3.0)
        first = crew.tasks["n1"]
        log = len(cluster.hosts[0].log)
        second = crew.start("n1", pod_uid="another")
        other = crew.tasks["n1"]
        await cluster.clock.advance(60.0)
        assert not first.done()
        assert "another agent (uid-n1) renews lease purelb-node-n1" in str(second.checks()["lease"])
        assert {verb for _, verb, _ in cluster.hosts[0].log[log:]} <= {"renew"}
        assert cluster.answering(WEB) == ["n1"]
        first.cancel()
        other.cancel()


async def test_what_a_foreign_hand_removes_is_back_at_once_and_a_fight_is_slowed_down() -> None:
    cluster = await lan()
    async with cluster.running("n1"):
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        host = cluster.hosts[0]
        for _ in range(4):
            host.take_away(WEB)
            await cluster.clock.advance(0.09)
            assert host.has(WEB)
        before = sum(verb == "add" for _, verb, _ in host.log)
        for _ in range(30):
            host.take_away(WEB)
            await cluster.clock.advance(1.0)
        assert sum(verb == "add" for _, verb, _ in host.log) - before <= 10
        await cluster.clock.advance(6.0)
        assert host.has(WEB)


async def test_an_address_that_is_not_ours_is_never_touched_and_the_vip_is_withheld() -> None:
    cluster = await lan()
    host = cluster.hosts[0]
    host.give(f"{WEB}/32")
    before = dict(host.model.addresses)
    async with cluster.running("n1"):
        await cluster.serve("web", WEB)
        await cluster.clock.advance(3.0)
        assert host.model.addresses == before
        (entry,) = (await cluster.report("n1")).withheld
        assert (entry.reason, entry.message) == ("AnnouncementFailed", f"{WEB} is an address of this node on eth0")


async def test_what_the_kernel_refuses_is_reported_and_its_neighbours_are_announced() -> None:
    cluster = await lan()
    cluster.hosts[0].refuse[WEB] = "EINVAL"
    async with cluster.running("n1"):
        await cluster.serve("web", WEB)
        await cluster.serve("shop", "192.0.2.11")
        await cluster.clock.advance(3.0)
        assert cluster.answering("192.0.2.11") == ["n1"]
        (entry,) = (await cluster.report("n1")).withheld
        assert (entry.reason, entry.message) == ("AnnouncementFailed", f"add {WEB}/32 on eth0: EINVAL")
        del cluster.hosts[0].refuse[WEB]
        await cluster.clock.advance(61.0)
        assert cluster.answering(WEB) == ["n1"]
        await cluster.clock.advance(2.0)
        assert (await cluster.report("n1")).withheld == ()


async def test_a_dummy_kind_that_the_kernel_does_not_have_is_reported_and_local_addresses_do_not_mind() -> None:
    cluster = await lan()
    cluster.hosts[0].refuse["dummy"] = "EOPNOTSUPP"
    async with cluster.running("n1"):
        await cluster.serve("web", WEB)
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(3.0)
        assert cluster.answering(WEB) == ["n1"]
        (entry,) = (await cluster.report("n1")).withheld
        assert (entry.ip, entry.message) == (FAR, "cannot create kube-lb0: EOPNOTSUPP")
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"dummyKind": "ifb"}}}, INSTALL)
        await cluster.clock.advance(70.0)
        assert cluster.answering(FAR) == ["n1"]


async def test_while_the_kernel_cannot_be_read_nothing_is_done_and_readiness_says_so() -> None:
    cluster = await lan()
    cluster.hosts[0].interrupted = 3
    await cluster.serve("web", WEB)
    async with cluster.running("n1") as crew:
        await cluster.clock.advance(10.0)
        assert cluster.answering(WEB) == ["n1"]
        cluster.hosts[0].interrupted = 1_000_000
        await cluster.clock.advance(120.0)
        assert "cannot be read" in str(crew.agents["n1"].checks()["netlink"])
        assert cluster.answering(WEB) == ["n1"]


async def test_without_carrier_the_address_goes_to_another_node() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        cluster.host(holder).set_link(carrier=False)
        await cluster.clock.advance(0.4)
        assert cluster.answering(WEB) == [holder]
        await cluster.clock.advance(2.0)
        assert len(cluster.answering(WEB)) == 1
        assert cluster.answering(WEB) != [holder]


async def test_a_node_that_is_not_selected_announces_nothing_and_hands_over() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        for host in cluster.hosts:
            await cluster.patch(NODES, host.name, {"metadata": {"labels": {"lb": str(host.name != holder)}}})
        selector = {"spec": {"nodeSelector": {"matchLabels": {"lb": "True"}}}}
        await cluster.patch(LB_NODE_AGENTS, "default", selector, INSTALL)
        for _ in range(60):
            await cluster.clock.advance(0.05)
            assert cluster.answering(WEB)
        assert cluster.answering(WEB) != [holder]
        assert (await cluster.report(holder)).config.state == "deselected"


async def test_at_rest_nothing_is_written_but_leases() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(10.0)
        await cluster.fold()
        await cluster.clock.advance(10.0)
        writes = {
            host.name: cluster.sinks[host.name].counts.get(("purelb_lbnodeagent_report_writes_total", "success"))
            for host in cluster.hosts
        }
        log = {host.name: len(host.log) for host in cluster.hosts}
        await cluster.clock.advance(180.0)
        assert writes == {
            host.name: cluster.sinks[host.name].counts.get(("purelb_lbnodeagent_report_writes_total", "success"))
            for host in cluster.hosts
        }
        for host in cluster.hosts:
            assert {verb for _, verb, _ in host.log[log[host.name] :]} <= {"renew"}


@pytest.mark.parametrize("turns", [*range(0, 60, 4), *range(60, 400, 40)])
async def test_an_agent_that_dies_anywhere_on_its_way_leaves_a_state_that_the_next_one_repairs(turns: int) -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare()
    host = cluster.hosts[0]
    host.give("192.0.2.77/32")
    await cluster.serve("web", WEB, "192.0.2.77")
    await cluster.serve("far", FAR, group="wan")
    untouched = {key: address for key, address in host.model.addresses.items() if not address.ours}
    async with asyncio.TaskGroup() as group:
        first = group.create_task(cluster.component("n1").run())
        for _ in range(turns):
            await asyncio.sleep(0)
        first.cancel()
        await asyncio.wait({first})
    async with cluster.running("n1") as crew:
        await cluster.clock.advance(15.0)
        assert cluster.answering(WEB) == cluster.answering(FAR) == ["n1"]
        assert untouched == {key: address for key, address in host.model.addresses.items() if not address.ours}
        crew.agents["n1"].stop()
        for _ in range(turns):
            await asyncio.sleep(0)
        await crew.kill("n1")
        assert cluster.answering(WEB) == ["n1"]
        crew.start("n1")
        await cluster.clock.advance(30.0)
        assert cluster.answering(WEB) == cluster.answering(FAR) == ["n1"]


async def test_of_two_nodes_that_add_at_once_one_yields_and_the_address_answers_throughout() -> None:
    cluster = Lan(nodes=2)
    await cluster.prepare()
    await cluster.serve("web", WEB)
    async with cluster.running("n1"):
        assert cluster.answering(WEB) == ["n1"]
        other = cluster.host("n2")
        async with asyncio.TaskGroup() as group:
            agent = cluster.component("n2")
            task = group.create_task(agent.run())
            await cluster.clock.run_until(lambda: agent.phase() == "Running", within=5.0)
            for _ in range(200):
                await cluster.clock.advance(0.1)
                assert cluster.answering(WEB)
            assert len(cluster.answering(WEB)) == 1
            assert other.connected
            task.cancel()


async def test_an_offer_that_nobody_takes_is_said_and_the_holder_keeps_the_address() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        for host in cluster.hosts:
            if host.name != holder:
                host.refuse[WEB] = "EPERM"
        crew.agents[holder].stop()
        await cluster.clock.advance(10.0)
        assert cluster.answering(WEB) == [holder]
        assert not crew.tasks[holder].done()
        await cluster.clock.advance(8.0)
        assert crew.tasks[holder].done()
        assert cluster.answering(WEB) == [holder]
        assert cluster.sinks[holder].counts["purelb_lbnodeagent_handover_stalled_total",] == 1


async def endpoints(cluster: Lan, service: str, *nodes: str, ready: bool = True) -> None:
    """One slice of a Service, with an endpoint on each of these nodes."""
    listed = [
        {"addresses": [f"10.0.0.{number}"], "nodeName": node, "conditions": {"ready": ready}}
        for number, node in enumerate(nodes, start=1)
    ]
    body = {
        "metadata": {"name": f"{service}-1", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "endpoints": listed,
        "ports": [],
    }
    try:
        await cluster.create(ENDPOINT_SLICES, body, "shop")
    except AlreadyExists:
        await cluster.patch(ENDPOINT_SLICES, f"{service}-1", {"endpoints": listed}, "shop")


async def test_with_traffic_policy_local_an_address_follows_the_endpoints_and_is_withheld_without_any() -> None:
    cluster = await lan()
    async with cluster.running():
        await endpoints(cluster, "web", "n2")
        await cluster.serve("web", WEB, policy="Local")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n2"]
        await cluster.fold()
        await endpoints(cluster, "web", "n3")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n3"]
        await cluster.fold()
        await endpoints(cluster, "web")
        await cluster.clock.advance(3.0)
        assert cluster.answering(WEB) == []
        reports = [(await cluster.report(host.name)).withheld for host in cluster.hosts]
        assert [entry.reason for withheld in reports for entry in withheld] == ["NoLocalEndpoint"]
        await cluster.fold()
        await endpoints(cluster, "web", "n1", "n2", "n3")
        await cluster.clock.advance(2.0)
        assert len(cluster.answering(WEB)) == 1


async def test_a_remote_address_with_traffic_policy_local_is_only_where_endpoints_are() -> None:
    cluster = await lan()
    async with cluster.running():
        await endpoints(cluster, "far", "n1", "n3")
        await cluster.serve("far", FAR, group="wan", policy="Local")
        await cluster.clock.advance(2.0)
        assert cluster.answering(FAR) == ["n1", "n3"]
        assert [entry.reason for entry in (await cluster.report("n2")).withheld] == ["NoLocalEndpoint"]


async def test_affinity_prefers_nodes_with_endpoints_and_the_preferred_node_is_given_the_address_at_once() -> None:
    cluster = await lan()
    async with cluster.running():
        await endpoints(cluster, "web", "n3")
        await cluster.serve("web", WEB, node_affinity="service-endpoints")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n3"]
        await cluster.fold()
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/preferred-node": "n1"}}}, "shop")
        for _ in range(40):
            await cluster.clock.advance(0.05)
            assert cluster.answering(WEB)
        assert cluster.answering(WEB) == ["n1"]


async def test_two_services_that_share_an_address_keep_it_until_both_are_gone() -> None:
    cluster = await lan()
    async with cluster.running("n1"):
        await cluster.serve("web", WEB)
        await cluster.serve("admin", WEB)
        await cluster.clock.advance(2.0)
        (entry,) = (await cluster.report("n1")).announced
        assert entry.services == ("shop/admin", "shop/web")
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n1"]
        await cluster.admin.delete(SERVICES, "admin", namespace="shop")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == []


async def test_a_wrong_expression_keeps_the_old_configuration_and_is_told_on_the_object() -> None:
    cluster = await lan()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "eth("}}}, INSTALL)
        await cluster.clock.advance(5.0)
        assert cluster.answering(WEB) == ["n1"]
        assert "not a regular expression" in str(crew.agents["n1"].checks()["config"])
        assert (await cluster.report("n1")).config.state == "invalid"
        found = [event async for page in cluster.admin.list_pages(EVENTS) for event in page.objects]
        assert [(event.reason, event.regarding and event.regarding.kind) for event in found] == [
            ("ConfigError", "LBNodeAgent")
        ]
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "nope0"}}}, INSTALL)
        await cluster.clock.advance(5.0)
        assert cluster.answering(WEB) == ["n1"]
        said = (await cluster.report("n1")).config
        assert (said.state, said.message) == ("invalid", 'no interface matches "nope0"; the configuration before stays')
        assert 'no interface matches "nope0"' in str(crew.agents["n1"].checks()["config"])
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "^eth"}}}, INSTALL)
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n1"]


async def test_an_interface_of_the_node_that_is_named_as_dummy_interface_takes_no_address_away() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(2.0)
        before = cluster.answering(WEB)
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"dummyInterface": "eth0"}}}, INSTALL)
        await cluster.clock.advance(5.0)
        assert (cluster.answering(WEB), cluster.answering(FAR)) == (before, ["n1", "n2", "n3"])
        said = (await cluster.report("n1")).config
        text = 'dummyInterface "eth0" is the interface of the default route: name another, such as kube-lb0'
        assert (said.state, said.message) == ("invalid", f"{text}; the configuration before stays")
        assert text in str(crew.agents["n1"].checks()["config"])
        found = [event async for page in cluster.admin.list_pages(EVENTS) for event in page.objects]
        told = sorted((event.reason, event.note) for event in found)
        assert told == [("ConfigError", f"{node}: {text}") for node in ("n1", "n2", "n3")]
        await crew.kill("n1")
        crew.start("n1")
        await cluster.clock.advance(5.0)
        assert cluster.answering(WEB), "a fresh process keeps what it finds"
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"dummyInterface": "kube-lb1"}}}, INSTALL)
        await cluster.clock.advance(5.0)
        assert (await cluster.report("n1")).config.state == "configured"
        assert (cluster.answering(WEB), cluster.answering(FAR)) == (before, ["n1", "n2", "n3"])


async def test_without_its_node_object_an_agent_announces_nothing_and_says_so() -> None:
    cluster = await lan()
    await cluster.serve("web", WEB)
    await cluster.admin.delete(NODES, "n1")
    async with cluster.running("n1") as crew:
        await cluster.clock.advance(5.0)
        assert cluster.answering(WEB) == []
        text = 'Node "n1" does not exist: PURELB_NODE_NAME must be spec.nodeName'
        assert crew.agents["n1"].checks()["synced"] == text
        await cluster.create(NODES, {"metadata": {"name": "n1"}})
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n1"]


async def test_what_became_nobodys_while_no_agent_ran_is_removed_by_the_next() -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare()
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.serve("far", FAR, group="wan")
        await cluster.serve("near", "198.51.100.11", group="wan")
        await cluster.clock.advance(3.0)
        await crew.kill("n1")
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.admin.delete(SERVICES, "far", namespace="shop")
        crew.start("n1")
        await cluster.clock.advance(3.0)
        assert (cluster.answering(WEB), cluster.answering(FAR)) == ([], [])
        assert cluster.answering("198.51.100.11") == ["n1"]


async def test_on_a_kernel_that_keeps_no_tag_what_is_ours_is_told_by_its_priority() -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare()
    host = cluster.hosts[0]
    host.returns_tags = host.model.tags = False
    host.give("192.0.2.77/32")
    async with cluster.running("n1") as crew:
        await cluster.serve("web", WEB)
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(65.0)
        assert cluster.answering(WEB) == cluster.answering(FAR) == ["n1"]
        assert "tagging addresses by priority" in (await cluster.report("n1")).config.message
        await crew.kill("n1")
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.admin.delete(SERVICES, "far", namespace="shop")
        crew.start("n1")
        await cluster.clock.advance(5.0)
        assert (cluster.answering(WEB), cluster.answering(FAR)) == ([], [])
        assert host.has("192.0.2.77")


async def test_a_renamed_dummy_interface_is_filled_before_the_old_one_goes() -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare()
    host = cluster.hosts[0]
    async with cluster.running("n1"):
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(2.0)
        old = next(index for index, link in host.interfaces.items() if link.name == "kube-lb0")
        start = len(host.log)
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"dummyInterface": "kube-lb1"}}}, INSTALL)
        await cluster.clock.advance(2.0)
        assert [verb for _, verb, ip in host.log[start:] if ip == FAR] == ["add", "delete"]
        assert old not in host.interfaces
        assert {link.name for link in host.interfaces.values()} == {"lo", "eth0", "kube-lb1"}


async def test_a_node_that_is_deselected_lets_go_of_remote_addresses_and_takes_them_back() -> None:
    cluster = await lan()
    async with cluster.running("n1"):
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(2.0)
        selector = {"spec": {"nodeSelector": {"matchLabels": {"lb": "yes"}}}}
        await cluster.patch(LB_NODE_AGENTS, "default", selector, INSTALL)
        await cluster.clock.advance(2.0)
        assert cluster.answering(FAR) == []
        await cluster.patch(NODES, "n1", {"metadata": {"labels": {"lb": "yes"}}})
        await cluster.clock.advance(2.0)
        assert cluster.answering(FAR) == ["n1"]


async def test_an_agent_that_leaves_keeps_its_remote_addresses_for_a_while_and_the_next_makes_them_permanent() -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare()
    host = cluster.hosts[0]

    def ends() -> list[float | None]:
        return [found.ends_at for found in host.model.addresses.values() if str(found.ip) == FAR]

    async with cluster.running("n1") as crew:
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(2.0)
        assert ends() == [None]
        await crew.leave("n1")
        (until,) = ends()
        assert until is not None
        assert 55 < until - cluster.clock.now() <= 60
        crew.start("n1")
        await cluster.clock.advance(5.0)
        assert ends() == [None]


async def test_a_pool_that_becomes_remote_moves_its_addresses_to_the_dummy_of_every_node() -> None:
    cluster = await lan()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        assert len(cluster.answering(WEB)) == 1
        pool = {"pool": "192.0.2.10-192.0.2.99", "subnet": "192.0.2.0/24"}
        await cluster.patch(SERVICE_GROUPS, "lan", {"spec": {"local": None, "remote": {"v4pool": pool}}}, INSTALL)
        await cluster.clock.advance(3.0)
        assert cluster.answering(WEB) == ["n1", "n2", "n3"]
        for host in cluster.hosts:
            held = [found for found in host.model.addresses.values() if str(found.ip) == WEB]
            assert [(host.interfaces[found.ifindex].name, found.prefixlen) for found in held] == [("kube-lb0", 24)]


async def test_who_leaves_while_the_api_is_away_goes_soon_and_leaves_its_addresses_to_their_lifetime() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        cluster.api_down = True
        await cluster.clock.advance(15.0)
        crew.agents[holder].stop()
        asked = cluster.clock.now()
        await cluster.clock.run_until(crew.tasks[holder].done, within=20.0)
        assert cluster.clock.now() - asked < 8.0
        assert cluster.answering(WEB) == [holder]
        cluster.api_down = False
        await cluster.clock.advance(60.0)
        assert len(cluster.answering(WEB)) == 1
        assert cluster.answering(WEB) != [holder]


async def test_a_holder_that_loses_its_endpoints_offers_at_once_and_no_client_is_left_without_an_answer() -> None:
    cluster = await lan(failback="Never")
    async with cluster.running():
        await endpoints(cluster, "web", "n2")
        await cluster.serve("web", WEB, policy="Local")
        await cluster.clock.advance(2.0)
        await cluster.fold()
        assert cluster.answering(WEB) == ["n2"]
        await endpoints(cluster, "web", "n3")
        for _ in range(60):
            await cluster.clock.advance(0.02)
            assert cluster.answering(WEB)
        assert cluster.answering(WEB) == ["n3"]


async def test_who_was_renewed_a_moment_ago_is_heard_at_once_when_it_leaves() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        before = (await cluster.lease(holder)).spec.renew_time
        while (await cluster.lease(holder)).spec.renew_time == before:
            await cluster.clock.advance(0.01)
        crew.agents[holder].stop()
        await cluster.clock.advance(0.02)
        assert len(cluster.answering(WEB)) == 2


async def test_an_address_that_cannot_be_put_back_while_it_is_offered_leaves_the_agent_at_rest() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(2.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        cluster.deaf = True  # nobody hears the heir, so the offer stays open
        await cluster.patch(NODES, holder, {"spec": {"unschedulable": True}})
        host = cluster.host(holder)
        host.refuse[WEB] = "ENODEV"
        host.take_away(WEB)
        await cluster.clock.advance(30.0)
        assert all(check is None for check in crew.agents[holder].checks().values())
        assert len(cluster.answering(WEB)) == 1


async def test_agents_that_start_with_a_configuration_they_cannot_use_keep_what_they_find_and_add_nothing() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.serve("shop", "192.0.2.11")
        await cluster.serve("far", FAR, group="wan")
        await cluster.clock.advance(3.0)
        await cluster.fold()
        before = cluster.answering(WEB), cluster.answering("192.0.2.11")
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "eth("}}}, INSTALL)
        for host in cluster.hosts:
            await crew.kill(host.name)
        for host in cluster.hosts:
            crew.start(host.name)
        await cluster.serve("new", "192.0.2.12")
        for _ in range(60):
            await cluster.clock.advance(1.0)
            assert (cluster.answering(WEB), cluster.answering("192.0.2.11")) == before
            assert cluster.answering(FAR) == ["n1", "n2", "n3"]
        assert cluster.answering("192.0.2.12") == []
        (holder,) = before[0]
        report = await cluster.report(holder)
        assert WEB in [entry.ip for entry in report.announced]
        assert WEB not in [entry.ip for entry in report.withheld]
        assert "192.0.2.12" in [entry.ip for entry in report.withheld]
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == []
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "default"}}}, INSTALL)
        await cluster.clock.advance(5.0)
        assert cluster.answering("192.0.2.11") == before[1]
        assert len(cluster.answering("192.0.2.12")) == 1


async def test_one_agent_that_starts_with_a_wrong_configuration_yields_to_peers_that_have_a_right_one() -> None:
    cluster = await lan()
    async with cluster.running() as crew:
        await cluster.serve("web", WEB)
        await cluster.clock.advance(3.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        await cluster.patch(LB_NODE_AGENTS, "default", {"spec": {"local": {"localInterface": "eth("}}}, INSTALL)
        await crew.kill(holder)
        crew.start(holder)
        for _ in range(100):
            await cluster.clock.advance(0.1)
            assert cluster.answering(WEB)
        assert len(cluster.answering(WEB)) == 1
        assert cluster.answering(WEB) != [holder]


async def test_an_interface_that_comes_later_makes_the_configuration_usable_and_one_that_goes_breaks_none() -> None:
    cluster = Lan(nodes=1)
    await cluster.prepare(localInterface="^net")
    await cluster.serve("web", WEB)
    host = cluster.hosts[0]
    async with cluster.running("n1") as crew:
        assert cluster.answering(WEB) == []
        assert (await cluster.report("n1")).config.message == 'no interface matches "^net"; announcing nothing'
        host.set_link(name="net0")
        await cluster.clock.advance(2.0)
        assert cluster.answering(WEB) == ["n1"]
        assert crew.agents["n1"].checks()["config"] is None
        host.set_link(name="eth0")
        await cluster.patch(NODES, "n1", {"metadata": {"labels": {"any": "change"}}})
        await cluster.clock.advance(2.0)
        assert (await cluster.report("n1")).config.state == "configured"


async def test_after_all_leases_were_deleted_each_address_is_soon_on_one_node_again_and_was_never_on_none() -> None:
    cluster = await lan()
    async with cluster.running():
        ips = [f"192.0.2.{number}" for number in range(10, 16)]
        for ip in ips:
            await cluster.serve(f"web{ip[-2:]}", ip)
        await cluster.clock.advance(40.0)
        await cluster.fold()
        for host in cluster.hosts:
            await cluster.admin.delete(LEASES, f"purelb-node-{host.name}", namespace=INSTALL)
        await cluster.clock.advance(0.01)
        assert [(await cluster.lease(host.name)).spec.holder_identity for host in cluster.hosts] == ["n1", "n2", "n3"]
        for _ in range(50):
            await cluster.clock.advance(0.1)
            assert all(cluster.answering(ip) for ip in ips)
        await cluster.fold()
        await cluster.clock.advance(40.0)
        assert [len(cluster.answering(ip)) for ip in ips] == [1] * len(ips)


async def test_an_agent_whose_node_has_its_address_elsewhere_says_so_and_how_to_mend_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cluster = await lan()
    elsewhere = {"status": {"addresses": [{"type": "InternalIP", "address": "203.0.113.9"}]}}
    await cluster.admin.patch(NODES, "n1", elsewhere, kind=PatchType.MERGE, subresource="status")
    caplog.set_level("INFO")
    async with cluster.running("n1"):
        (said,) = [record for record in caplog.records if getattr(record, "check", "") == "internalIP"]
        assert said.getMessage() == (
            "no interface carries this node's InternalIP 203.0.113.9, so nothing is announced where the node is"
        )
        assert vars(said)["hint"] == "set hostNetwork: true in the DaemonSet"
