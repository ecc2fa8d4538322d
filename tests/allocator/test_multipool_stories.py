# SPDX-License-Identifier: Apache-2.0
"""One address per pool entry in a running cluster: nodes come and go, entries are written, a full one becomes free, a restart."""

from __future__ import annotations

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NAMESPACES, SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

A = {"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}
B = {"pool": "198.51.100.10/32", "subnet": "198.51.100.0/24"}
C = {"pool": "203.0.113.10-203.0.113.11", "subnet": "203.0.113.0/24"}
EVERYWHERE = "192.0.2.0/24,198.51.100.0/24,203.0.113.0/24"


def racks(*entries: dict[str, str], **flags: Any) -> dict[str, Any]:
    return {"spec": {"local": {"v4pools": list(entries), "multiPool": True, **flags}}}


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return ({"metadata": {"name": "default"}, **racks(A, B)},)


async def reason(cluster: Cluster, name: str = "web") -> tuple[str, str]:
    found = await cluster.says(name=name)
    return found.reason, found.message or ""


async def test_a_service_grows_with_the_subnets_that_come_to_life_and_never_shrinks(cluster: Cluster) -> None:
    one, two = Node(cluster, "n1", "192.0.2.0/24"), Node(cluster, "n2", "198.51.0.0/16")
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        waits = "default: no live node advertises any of 192.0.2.0/24, 198.51.100.0/24"
        assert await reason(cluster) == ("NoActiveSubnet", waits)
        await one.renew()
        await cluster.clock.advance(0.5)
        assert await cluster.addresses() == ("192.0.2.10",)
        partly = (
            "192.0.2.10 from default; missing 198.51.100.0/24: NoActiveSubnet: "
            "default: no live node advertises any of 198.51.100.0/24"
        )
        assert await reason(cluster) == ("AddressAssignedPartially", partly)
        await two.renew()
        await cluster.clock.advance(0.5)
        assert await cluster.addresses() == ("192.0.2.10", "198.51.100.10")
        assert (await reason(cluster))[0] == "AddressAssigned"
        await cluster.clock.advance(60.0)
        assert await cluster.addresses() == ("192.0.2.10", "198.51.100.10"), "both nodes are dead by now"
    pools = {name: value for (name, *labels), value in cluster.sink.counts.items() if labels == ["default"]}
    assert pools["purelb_address_pool_multipool_allocations_total"] == 2
    assert pools["purelb_address_pool_multipool_partial_total"] == 1
    told = sorted(reason for _, reason, _ in await cluster.events() if reason.startswith("AddressAssigned"))
    assert told == ["AddressAssigned", "AddressAssignedPartially"], "each address stands in one of them"


async def test_an_entry_written_later_is_added_and_an_edit_that_changes_none_writes_nothing(cluster: Cluster) -> None:
    await Node(cluster, "n1", EVERYWHERE).renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.serve("single", annotations={"purelb.io/multi-pool": "false"})
        await cluster.clock.advance(1.0)
        cluster.writes.clear()
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"priority": 7}}, INSTALL)
        await cluster.clock.advance(1.0)
        assert not cluster.status_writes()
        await cluster.patch(SERVICE_GROUPS, "default", racks(C, A, B), INSTALL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("203.0.113.10", "192.0.2.10", "198.51.100.10")
        assert await cluster.addresses("single") == ("192.0.2.11",)
        await cluster.patch(SERVICE_GROUPS, "default", racks(A, B, multiPool=False), INSTALL)
        await cluster.clock.advance(1.0)
        assert len(await cluster.addresses()) == 3


async def test_a_group_that_begins_to_give_several_adds_to_its_holders(cluster: Cluster) -> None:
    await Node(cluster, "n1", EVERYWHERE).renew()
    await cluster.patch(SERVICE_GROUPS, "default", racks(A, B, multiPool=False), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.patch(SERVICE_GROUPS, "default", racks(A, B), INSTALL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10", "198.51.100.10")


async def test_an_address_of_a_full_entry_goes_to_who_waits_for_it_and_not_past_who_waits_for_any(
    cluster: Cluster,
) -> None:
    await Node(cluster, "n1", EVERYWHERE).renew()
    async with cluster.allocator():
        await cluster.serve("holder", annotations={"purelb.io/addresses": "198.51.100.10"})
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.serve("released", annotations={"purelb.io/multi-pool": "false"})
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICE_GROUPS, "default", racks({**A, "pool": "192.0.2.10-192.0.2.11"}, B), INSTALL)
        await cluster.serve("late", annotations={"purelb.io/multi-pool": "false"})
        await cluster.clock.advance(1.0)
        assert (await reason(cluster, "late"))[0] == "PoolExhausted"
        await cluster.admin.delete(SERVICES, "released", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("late") == ("192.0.2.11",), "the older waiter cannot use it"
        await cluster.admin.delete(SERVICES, "holder", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10", "198.51.100.10")


async def patched(cluster: Cluster, **spec: Any) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": spec}, INSTALL)


async def labelled(cluster: Cluster, team: str) -> None:
    await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"team": team}}})


async def fenced_by_its_group(cluster: Cluster) -> None:
    await patched(cluster, namespaces=["other"], enforceNamespaces=True)


async def freed_by_its_group(cluster: Cluster) -> None:
    await patched(cluster, enforceNamespaces=False)


async def fenced_by_another_group(cluster: Cluster) -> None:
    fence: dict[str, Any] = {"namespaces": ["shop"], "enforceNamespaces": True}
    await cluster.create(SERVICE_GROUPS, pool("fence", "192.0.2.99/32", **fence), INSTALL)


async def freed_by_another_group(cluster: Cluster) -> None:
    await cluster.admin.delete(SERVICE_GROUPS, "fence", namespace=INSTALL)


async def fenced_by_its_label(cluster: Cluster) -> None:
    await patched(cluster, namespaceSelector={"matchLabels": {"team": "a"}})
    await fenced_by_another_group(cluster)


async def freed_by_its_label(cluster: Cluster) -> None:
    await labelled(cluster, "a")


@pytest.mark.parametrize("restarted", [False, True], ids=["in one term", "in two terms"])
@pytest.mark.parametrize(
    ("fence", "free"),
    [
        pytest.param(fenced_by_its_group, freed_by_its_group, id="its group"),
        pytest.param(fenced_by_another_group, freed_by_another_group, id="another group"),
        pytest.param(fenced_by_its_label, freed_by_its_label, id="its label"),
    ],
)
async def test_a_namespace_that_may_use_the_group_again_gets_what_was_added_meanwhile(
    cluster: Cluster, fence: Any, free: Any, restarted: bool
) -> None:
    await Node(cluster, "n1", EVERYWHERE).renew()
    before = ("192.0.2.10", "198.51.100.10")
    await labelled(cluster, "b")
    async with AsyncExitStack() as term:
        await term.enter_async_context(cluster.allocator())
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await fence(cluster)
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICE_GROUPS, "default", racks(A, B, C), INSTALL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == before
        if restarted:
            await term.aclose()
            await Node(cluster, "n1", EVERYWHERE).renew()
            await term.enter_async_context(cluster.allocator())
            await cluster.clock.advance(1.0)
            assert await cluster.addresses() == before
        await free(cluster)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == (*before, "203.0.113.10")
        assert (await reason(cluster))[0] == "AddressAssigned"


async def test_a_restart_writes_nothing(cluster: Cluster) -> None:
    node = Node(cluster, "n1", EVERYWHERE)
    await node.renew()
    async with cluster.killed_allocator():
        await cluster.clock.advance(1.0)
        await cluster.serve()
        await cluster.clock.advance(1.0)
    before = await cluster.addresses()
    assert len(before) == 2
    cluster.writes.clear()
    async with cluster.allocator():
        await node.live(30)
    assert not cluster.status_writes()
    assert await cluster.addresses() == before


async def test_the_example_of_the_manual_is_accepted_and_serves(cluster: Cluster) -> None:
    manual = (Path(__file__).parents[2] / "docs" / "multi-pool.md").read_text()
    body = yaml.safe_load(manual.partition("```yaml\n")[2].partition("```")[0])
    await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
    await cluster.create(
        SERVICE_GROUPS, {"metadata": {"name": body["metadata"]["name"]}, "spec": body["spec"]}, INSTALL
    )
    await Node(cluster, "n1", EVERYWHERE).renew()
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": body["metadata"]["name"]})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.200", "198.51.100.200")


@pytest.mark.parametrize("gone", [False, True], ids=["the group is edited", "the group goes and comes again"])
@pytest.mark.parametrize("balanced", [True, False])
async def test_who_has_a_stray_of_a_group_is_told_what_a_restart_would_tell_of_its_flags(
    cluster: Cluster, balanced: bool, gone: bool
) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", racks(A, multiPool=False), INSTALL)
    noted = {"purelb.io/multi-pool": "true", "purelb.io/addresses": "192.0.2.10"}
    async with cluster.allocator():
        await cluster.serve(annotations=noted)
        await cluster.clock.advance(1.0)
        elsewhere = {**A, "pool": "192.0.2.11-192.0.2.19"}
        await cluster.patch(
            SERVICE_GROUPS, "default", racks(elsewhere, multiPool=False, balancePools=not balanced), INSTALL
        )
        await cluster.clock.advance(1.0)
        edited = racks(elsewhere, multiPool=False, balancePools=balanced)
        if gone:
            await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
            await cluster.clock.advance(1.0)
            await cluster.create(SERVICE_GROUPS, {"metadata": {"name": "default"}, **edited}, INSTALL)
        else:
            await cluster.patch(SERVICE_GROUPS, "default", edited, INSTALL)
        await cluster.clock.advance(1.0)
        before = await reason(cluster)
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await reason(cluster) == before


@pytest.mark.parametrize("flag", ["by the group", "by its annotation"])
async def test_a_word_that_is_neither_true_nor_false_is_refused_and_takes_no_address_away(
    cluster: Cluster, flag: str
) -> None:
    both = ("192.0.2.10", "198.51.100.10")
    noted = {} if flag == "by the group" else {"purelb.io/multi-pool": "true"}

    async def annotated(**annotations: str | None) -> tuple[str, str, str]:
        notes = {f"purelb.io/{word.replace('_', '-')}": text for word, text in annotations.items()}
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": notes}}, "shop")
        await cluster.clock.advance(1.0)
        return await cluster.allocated()

    await Node(cluster, "n1", EVERYWHERE).renew()
    assigned = ("True", "AddressAssigned", "192.0.2.10, 198.51.100.10 from default")
    async with cluster.allocator():
        if noted:
            await cluster.patch(SERVICE_GROUPS, "default", racks(A, B, multiPool=False), INSTALL)
        await cluster.serve(annotations=noted)
        await cluster.clock.advance(1.0)
        assert await cluster.allocated() == assigned
        for word in ("True", "1", "T", "TRUE"):
            assert await annotated(multi_pool=word) == assigned
        refused = 'purelb.io/multi-pool: neither true nor false in "nein"; keeps 192.0.2.10, 198.51.100.10'
        assert await annotated(multi_pool="nein") == ("False", "InvalidRequest", refused)
        assert await cluster.addresses() == both
    async with cluster.allocator():  # the next term finds it so
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == both
        assert await cluster.allocated() == ("False", "InvalidRequest", refused)
        refused = refused.replace("multi-pool", "re-evaluate").replace("nein", "yes")
        assert await annotated(multi_pool="true", re_evaluate="yes") == ("False", "InvalidRequest", refused)
        assert await cluster.noted("re-evaluate") == "yes", "it is its user's, and stands until it is corrected"
        assert await annotated(re_evaluate="True") == assigned
        assert await cluster.noted("re-evaluate") is None
        assert await cluster.addresses() == both
    told = [event[1] for event in await cluster.events() if event[0] == "web"]
    assert sorted(told) == ["AddressAssigned", "InvalidRequest"], "once for the reason, as any other"
