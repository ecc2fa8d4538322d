# SPDX-License-Identifier: Apache-2.0
"""How often an Event is told: once per reason and generation, once an hour, not within ten seconds; and what is never one."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import EVENTS, SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

HOUR = 3600.0


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def times(cluster: Cluster, reason: str, name: str = "web") -> int:
    return [event[:2] for event in await cluster.events()].count((name, reason))


async def test_that_a_status_was_put_back_is_told_once_an_hour(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        for waits, told in ((30.0, 1), (30.0, 1), (HOUR, 2)):
            await cluster.clock.advance(waits)
            await cluster.patch(SERVICES, "web", {"status": {"loadBalancer": None}}, "shop", subresource="status")
            await cluster.clock.advance(2.0)
            assert await cluster.addresses() == ("192.0.2.10",)
            assert await times(cluster, "StatusRestored") == told


async def test_that_somebody_sets_local_again_and_again_is_told_once_an_hour(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        for _ in range(4):
            await cluster.patch(SERVICES, "web", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
            await cluster.clock.advance(5.0)
        for number in range(5):
            await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"n": str(number)}}}, "shop")
            await cluster.clock.advance(300.0)
        assert await times(cluster, "LocalOverride") == 3
        assert await times(cluster, "LocalOverrideContested") == 1
        await cluster.clock.advance(HOUR)
        assert await times(cluster, "LocalOverride") == 4, "an hour later it is set again, though nobody touches it"
        for _ in range(4):
            await cluster.patch(SERVICES, "web", {"spec": {"externalTrafficPolicy": "Local"}}, "shop")
            await cluster.clock.advance(5.0)
        assert await times(cluster, "LocalOverrideContested") == 2


async def test_who_announces_is_told_when_it_changes_and_not_twice_within_ten_seconds(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{number}") for number in range(2)]

    async def moves(to: int, *, waits: int) -> int:
        await nodes[1 - to].report()
        await nodes[to].report(("192.0.2.10", "eth0"))
        for _ in range(waits // 2):
            for node in nodes:
                await node.renew()
            await cluster.clock.advance(2.0)
        return await times(cluster, "AnnouncingLocal")

    for node in nodes:
        await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(0.5)
        assert await moves(0, waits=20) == 1
        assert await moves(0, waits=20) == 1, "nothing is new"
        assert await moves(1, waits=4) == 2
        assert await moves(0, waits=4) == 2
        assert await moves(1, waits=4) == 2
        assert await moves(0, waits=20) == 3


async def last_told(cluster: Cluster, reason: str) -> str:
    """The note of the newest Event of a reason."""
    found = []
    async for page in cluster.admin.list_pages(EVENTS):
        found += [
            ((each.series.last_observed_time if each.series else None) or each.event_time or "", each.note)
            for each in page.objects
            if each.reason == reason
        ]
    return max(found)[1]


async def test_of_moves_within_ten_seconds_the_last_is_told_when_they_are_over(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{number}") for number in range(3)]

    async def stands(at: int, *, waits: float) -> int:
        for number, node in enumerate(nodes):
            await node.renew()
            await node.report(*([("192.0.2.10", "eth0")] if number == at else []))
        await cluster.clock.advance(waits)
        return await times(cluster, "AnnouncingLocal")

    for node in nodes:
        await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(0.5)
        assert await stands(0, waits=2.0) == 1
        assert await stands(1, waits=2.0) == 1
        assert await stands(2, waits=4.0) == 1
        assert await stands(2, waits=4.0) == 2
        assert await last_told(cluster, "AnnouncingLocal") == "192.0.2.10 by n2 on eth0"
        assert await stands(2, waits=9.0) == 2, "nothing is new"
        assert await stands(0, waits=2.0) == 3
        assert await stands(1, waits=2.0) == 3
        for _ in range(4):
            assert await stands(0, waits=5.0) == 3, "it is again as it was told"


async def test_that_an_address_is_announced_again_is_told_as_that_it_is_not_was(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await node.renew()
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await node.live(12)
        assert await times(cluster, "AnnouncingLocal") == 1
        await cluster.clock.advance(40.0)
        assert await times(cluster, "NoLiveAgent") == 1
        await node.live(12)
        assert (await cluster.announced())[0] == "True"
        assert await times(cluster, "AnnouncingLocal") == 2


async def test_that_two_nodes_answer_is_an_event_when_it_has_stood_there_for_fifteen_seconds(cluster: Cluster) -> None:
    nodes = [Node(cluster, f"n{number}") for number in range(2)]

    async def pass_by(seconds: int) -> tuple[str, int]:
        for _ in range(seconds):
            for node in nodes:
                await node.renew()
            await cluster.clock.advance(1.0)
        return (await cluster.announced())[1], await times(cluster, "AnnouncedTwice")

    async with cluster.allocator():
        await cluster.serve()
        for node in nodes:
            await node.renew()
            await node.report(("192.0.2.10", "eth0"))
        assert await pass_by(14) == ("AnnouncingLocal", 0)
        assert await pass_by(2) == ("AnnouncedTwice", 0), "the condition says so after as long as a move may take"
        assert await pass_by(13) == ("AnnouncedTwice", 0)
        assert await pass_by(4) == ("AnnouncedTwice", 1)


async def test_a_state_that_lasted_is_told_as_it_is_then_and_not_as_it_began(cluster: Cluster) -> None:
    far_away = Node(cluster, "n1", subnets="198.51.100.0/24")
    async with cluster.allocator():
        await far_away.renew()
        await cluster.serve()
        await far_away.live(6)
        asked = {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.12"}}}
        await cluster.patch(SERVICES, "web", asked, "shop")
        await far_away.live(14)
        told = [note for _, reason, note in await cluster.events() if reason == "NoNodeInSubnet"]
        assert told == ["no live node advertises a subnet containing 192.0.2.12"]


async def events_of_groups(cluster: Cluster) -> list[tuple[str, str, str, str]]:
    found = []
    async for page in cluster.admin.list_pages(EVENTS):
        found += [
            (each.regarding.namespace or "", each.reason, each.type, each.action)
            for each in page.objects
            for _ in range(each.series.count if each.series else 1)
            if each.regarding is not None and each.regarding.kind == "ServiceGroup"
        ]
    return sorted(found)


async def test_what_became_of_a_group_is_told_once_per_reason_and_generation(cluster: Cluster) -> None:
    def edit(text: str) -> dict[str, Any]:
        return {"spec": {"local": {"v4pool": {"pool": text}}}}

    accepted = (INSTALL, "Accepted", "Normal", "Configure")
    invalid = (INSTALL, "InvalidSpec", "Warning", "Configure")
    empty = (INSTALL, "NoAddresses", "Warning", "Configure")
    expected = [accepted]
    for _ in range(2):  # nobody tells it again who only starts
        async with cluster.allocator():
            await cluster.serve(f"web{cluster.clock.now():.0f}")
            await cluster.clock.advance(30.0)
            assert await events_of_groups(cluster) == expected
    async with cluster.allocator():
        for text, told in (
            ("192.0.2.9-192.0.2.1", invalid),
            ("192.0.2.8-192.0.2.1", invalid),
            ("192.0.2.0/30", accepted),
        ):
            await cluster.patch(SERVICE_GROUPS, "default", edit(text), INSTALL)
            await cluster.clock.advance(30.0)
            expected.append(told)
            assert await events_of_groups(cluster) == sorted(expected)
        nothing = {"spec": {"local": {"v4pool": {"exclude": ["192.0.2.0/24"]}}}}
        await cluster.patch(SERVICE_GROUPS, "default", nothing, INSTALL)
        await cluster.clock.advance(30.0)
        assert await events_of_groups(cluster) == sorted([*expected, empty])


async def test_of_one_name_in_several_namespaces_the_install_namespaces_group_is_used_then_the_first(
    cluster: Cluster,
) -> None:
    await cluster.create(SERVICE_GROUPS, pool("default", "192.0.2.99"), "default")
    for namespace, text in (("shop", "192.0.2.20"), ("default", "192.0.2.30")):
        await cluster.create(SERVICE_GROUPS, pool("other", text, autoAssign=False), namespace)

    async def ready(namespace: str, name: str) -> tuple[str, str, str]:
        status = (await cluster.admin.get(SERVICE_GROUPS, name, namespace=namespace)).status
        assert status is not None
        (found,) = status.conditions or ()
        return found.status, found.reason, found.message

    duplicate = "namespace {} has a ServiceGroup of this name, which is used"
    async with cluster.allocator(config_scope="all"):
        await cluster.serve()
        await cluster.serve("named", annotations={"purelb.io/service-group": "other"})
        await cluster.clock.advance(5.0)
        assert (await cluster.addresses(), await cluster.addresses("named")) == (("192.0.2.10",), ("192.0.2.30",))
        assert await ready("default", "default") == ("False", "Duplicate", duplicate.format(INSTALL))
        assert await ready("shop", "other") == ("False", "Duplicate", duplicate.format("default"))
        assert ("default", "Duplicate", "Warning", "Configure") in await events_of_groups(cluster)
    async with cluster.allocator():
        await cluster.clock.advance(5.0)
        status, reason, text = await ready("default", "default")
        assert (status, reason) == ("False", "OutOfScope")
        assert text == f"only ServiceGroups in namespace {INSTALL} are read: move it there, or set --config-scope=all"
        assert await cluster.addresses("named") == ("192.0.2.30",), "nobody loses an address for it"


async def test_who_has_lost_its_address_says_so_and_nobody_is_told_by_an_event(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": pool(text="192.0.2.10/32")["spec"]}, INSTALL)
    key = {"purelb.io/allow-shared-ip": "k"}
    async with cluster.allocator():
        for name, port in (("other", 80), ("web", 81)):
            await cluster.serve(name, annotations=key, port=port)
            await cluster.clock.advance(1.0)
        assert (await cluster.condition("Announced")) is not None
        await cluster.patch(SERVICES, "web", {"spec": {"ports": [{"port": 80}]}}, "shop")
        await cluster.clock.advance(60.0)
        assert await cluster.addresses() == ()
        announced = await cluster.says("Announced")
        assert (announced.status, announced.reason, announced.message) == ("False", "NotAllocated", "no address")
        assert ("web", "AddressReleased", "192.0.2.10") in await cluster.events()
        assert await times(cluster, "NotAllocated") == 0
        noted = (await cluster.service()).metadata.annotations or {}
        assert not {word for word in noted if word.startswith(("purelb.io/allocated-", "purelb.io/pool-"))} - {
            "purelb.io/allocated-by"
        }, "nothing is allocated from anywhere"
        await cluster.serve("never", annotations={"purelb.io/service-group": "nowhere"})
        await cluster.clock.advance(5.0)
        assert await cluster.condition("Announced", "never") is None
