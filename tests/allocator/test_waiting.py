# SPDX-License-Identifier: Apache-2.0
"""One release wakes one waiter; what helps everybody wakes everybody, oldest first."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.waiting import Waiting
from purelb.allocator.waits import AddressChanges, GroupsChange, PoolHasRoom, QuotaHasRoom
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NAMESPACES, SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, ip, key

ROOM = PoolHasRoom("default", 4)


def line() -> Waiting:
    waiting = Waiting()
    for name, created in (("young", "3"), ("old", "1"), ("middle", "2")):
        waiting.put(key(name), created, (ROOM,))
    return waiting


def test_a_pool_wakes_its_oldest_waiter_and_the_next_after_it() -> None:
    waiting = line()
    assert waiting.wake(ROOM) == (key("old"),)
    assert waiting.woken_for(key("old")) == (ROOM,)
    assert waiting.woken_for(key("old")) == ()
    waiting.put(key("old"), "1", ())
    assert waiting.wake(ROOM) == (key("middle"),)


def test_who_was_woken_for_two_pools_hands_on_what_it_leaves_in_each_of_them() -> None:
    waiting, other = line(), PoolHasRoom("spare", 4)
    waiting.put(key("old"), "1", (ROOM, other))
    for wait in (ROOM, other, ROOM):
        assert waiting.wake(wait) == (key("old"),)
    assert waiting.woken_for(key("old")) == (ROOM, other)


def test_another_pool_and_another_quota_wake_nobody() -> None:
    waiting = line()
    assert waiting.wake(PoolHasRoom("default", 6)) == ()
    assert waiting.wake(QuotaHasRoom("default", "shop", 4)) == ()


def test_an_address_that_changes_hands_wakes_everybody_who_waits_for_it() -> None:
    waiting = Waiting()
    wait = AddressChanges(ip("192.0.2.1"))
    waiting.put(key("b"), "2", (wait,))
    waiting.put(key("a"), "1", (wait, ROOM))
    assert waiting.wake(wait) == (key("a"), key("b"))


def test_a_changed_group_wakes_who_waits_for_groups_each_once() -> None:
    waiting = line()
    waiting.put(key("b"), "2", (GroupsChange("UnknownGroup"), GroupsChange("NotInAnyPool")))
    waiting.put(key("a", "bank"), "1", (GroupsChange("UnknownGroup"),))
    assert tuple(waiting.groups_changed()) == (key("a", "bank"), key("b"))
    assert len(tuple(waiting.groups_changed({"default"}))) == 5
    assert waiting.in_namespace("bank") == (key("a", "bank"),)


def test_who_waits_for_nothing_any_more_leaves_no_line_behind() -> None:
    waiting = line()
    for name in ("old", "middle", "young"):
        waiting.put(key(name), "", ())
    assert (len(waiting), waiting.wake(ROOM)) == (0, ())


async def one_address(cluster: Cluster) -> None:
    """A pool that is full with one Service."""
    await cluster.prepare()
    await cluster.create(SERVICE_GROUPS, pool(text="192.0.2.10/32"), INSTALL)


async def next_waits(cluster: Cluster) -> None:
    """`web` gets the only address, and `next` waits for one."""
    await cluster.serve()
    await cluster.clock.advance(1.0)
    await cluster.serve("next")
    await cluster.clock.advance(1.0)
    assert await cluster.addresses("next") == ()


@pytest.mark.parametrize("before", [None, {"autoAssign": False}], ids=["new", "not to be chosen until now"])
async def test_who_waits_for_a_full_pool_is_served_by_a_group_that_begins_to_serve_it(
    before: dict[str, Any] | None,
) -> None:
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        if before is not None:
            await cluster.create(SERVICE_GROUPS, pool("more", "192.0.2.40/32", priority=5, **before), INSTALL)
        async with cluster.allocator():
            await next_waits(cluster)
            if before is None:
                await cluster.create(
                    SERVICE_GROUPS, pool("more", "192.0.2.40/32", autoAssign=True, priority=5), INSTALL
                )
            else:
                await cluster.patch(SERVICE_GROUPS, "more", {"spec": {"autoAssign": True}}, INSTALL)
            await cluster.clock.advance(1.0)
            assert await cluster.addresses("next") == ("192.0.2.40",)


async def test_who_waits_for_a_full_pool_is_served_by_the_group_that_a_new_label_of_its_namespace_opens() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        gold = pool("gold", "192.0.2.40/32", namespaceSelector={"matchLabels": {"tier": "gold"}})
        await cluster.create(SERVICE_GROUPS, gold, INSTALL)
        async with cluster.allocator():
            await next_waits(cluster)
            await cluster.patch(NAMESPACES, "shop", {"metadata": {"labels": {"tier": "gold"}}})
            await cluster.clock.advance(1.0)
            assert (await cluster.addresses(), await cluster.addresses("next")) == (("192.0.2.10",), ("192.0.2.40",))


async def test_why_a_request_is_refused_follows_an_edit_of_its_group() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        async with cluster.allocator():
            await cluster.serve(annotations={"purelb.io/addresses": "192.0.2.10"}, ipFamilies=["IPv6"], clusterIPs=None)
            await cluster.clock.advance(1.0)
            told = []
            for spec in ({"drain": True}, {"drain": None}):
                found = await cluster.condition()
                told.append(found.reason if found is not None else "")
                await cluster.patch(SERVICE_GROUPS, "default", {"spec": spec}, INSTALL)
                await cluster.clock.advance(1.0)
            found = await cluster.condition()
            assert [*told, found.reason if found is not None else ""] == [
                "FamilyMismatch",
                "GroupDraining",
                "FamilyMismatch",
            ]


def shares(name: str = "key") -> dict[str, str]:
    return {"purelb.io/allow-shared-ip": name}


async def test_who_waits_with_a_key_joins_the_first_of_that_key_that_is_served() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        async with cluster.allocator():
            await cluster.serve()
            await cluster.clock.advance(1.1)
            for name, port in (("one", 80), ("two", 81)):
                await cluster.serve(name, annotations=shares(), port=port)
                await cluster.clock.advance(1.1)
            assert await cluster.addresses("one") == await cluster.addresses("two") == ()
            await cluster.admin.delete(SERVICES, "web", namespace="shop")
            await cluster.clock.advance(1.0)
            assert await cluster.addresses("one") == await cluster.addresses("two") == ("192.0.2.10",)


async def test_who_was_bound_to_an_address_that_could_not_serve_it_is_asked_when_the_key_stands_for_it_no_longer() -> (
    None
):
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"priority": 1}}, INSTALL)
        both = pool("both", "192.0.2.40/32", six="2001:db8::40/128", autoAssign=True, priority=2)
        await cluster.create(SERVICE_GROUPS, both, INSTALL)
        async with cluster.allocator():
            await cluster.serve(annotations=shares())
            await cluster.clock.advance(1.0)
            await cluster.serve(
                "two", annotations=shares(), port=81, ipFamilies=["IPv4", "IPv6"], ipFamilyPolicy="RequireDualStack"
            )
            await cluster.clock.advance(1.0)
            assert (await cluster.addresses(), await cluster.addresses("two")) == (("192.0.2.10",), ())
            await cluster.admin.delete(SERVICES, "web", namespace="shop")
            await cluster.clock.advance(1.0)
            assert await cluster.addresses("two") == ("192.0.2.40", "2001:db8::40")


async def test_who_asks_for_several_is_told_when_its_group_begins_to_balance() -> None:
    cluster = Cluster()
    async with cluster.admin:
        await one_address(cluster)
        async with cluster.allocator():
            asked = {"purelb.io/multi-pool": "true", "purelb.io/addresses": "192.0.2.10"}
            await cluster.serve(annotations=asked)
            await cluster.clock.advance(1.0)
            await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"local": {"balancePools": True}}}, INSTALL)
            await cluster.clock.advance(1.0)
            told = await cluster.says()
            assert (told.status, told.reason) == ("False", "MultiPoolRefused")
            assert await cluster.addresses() == ("192.0.2.10",)
