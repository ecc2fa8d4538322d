# SPDX-License-Identifier: Apache-2.0
"""An address that another host on the LAN has: who leaves it to that host, who stays, and how often."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.taken import LEFT_FOR, LEFT_MAX, MOVES, WITHIN, YOUNG_FOR, Taken
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL, key

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from purelb.allocator.ranges import Address

STRANGER = "02:00:00:00:00:01"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19"),)


def duplicate(ip: str, service: str = "shop/web") -> Mapping[str, object]:
    text = f"another host answers for {ip}: {STRANGER}"
    return {"ip": ip, "services": [service], "reason": "DuplicateOnLAN", "message": text}


async def test_a_fresh_address_that_another_host_has_is_left_for_the_next_one(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.11",)
        allocated = await cluster.says()
        assert (allocated.reason, allocated.message) == ("AddressAssigned", "192.0.2.11 from default")
        told = [reason for name, reason, _ in await cluster.events() if name == "web"]
        assert told.count("DuplicateOnLAN") == 1, "who wonders why an address went away finds out"
        assert cluster.status_writes() == 2

        await cluster.serve("next")
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.12",), "nobody gets it meanwhile"
        refused = await cluster.says(name="wants")
        assert (refused.reason, refused.message) == (
            "AddressReserved",
            "another host on the LAN answers for 192.0.2.10",
        )

        await node.report()
        await node.live(LEFT_FOR)
        assert await cluster.addresses("wants") == ("192.0.2.10",), "after ten minutes it is anybody's again"
        assert await cluster.addresses() == ("192.0.2.11",)


@pytest.mark.parametrize(
    "annotations",
    [
        pytest.param({"purelb.io/addresses": "192.0.2.10"}, id="requested"),
        pytest.param({"purelb.io/addresses": "192.0.2.10", "purelb.io/service-group": "default"}, id="with a group"),
    ],
)
async def test_a_requested_address_stays_and_its_condition_says_who_answers(
    cluster: Cluster, annotations: dict[str, str]
) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(annotations=annotations)
        await cluster.clock.advance(1.0)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(90)
        assert await cluster.addresses() == ("192.0.2.10",)
        announced = await cluster.says("Announced")
        assert (announced.status, announced.reason) == ("False", "DuplicateOnLAN")
        assert STRANGER in announced.message


async def test_an_address_that_was_pinned_after_it_had_been_chosen_stays_and_is_not_left_to_anybody(
    cluster: Cluster,
) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        pinned = {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.10"}}}
        await cluster.patch(SERVICES, "web", pinned, "shop")
        await cluster.clock.advance(1.0)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(5)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert "DuplicateOnLAN" not in {reason for _, reason, _ in await cluster.events()}, "for 15 s nobody is told"
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("wants") == ("192.0.2.10",)


async def test_an_address_that_was_announced_once_stays(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(1.0)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(30)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert (await cluster.announced())[1] == "DuplicateOnLAN"


async def test_an_address_of_more_than_a_minute_stays(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    async with cluster.allocator():
        await cluster.serve()
        await node.live(YOUNG_FOR + 2)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(10)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert (await cluster.announced())[1] == "DuplicateOnLAN"


async def test_an_address_that_was_published_before_this_term_stays(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
    async with cluster.allocator():
        await node.renew()
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(10)
        assert await cluster.addresses() == ("192.0.2.10",)
        assert (await cluster.announced())[1] == "DuplicateOnLAN"


async def test_what_a_dead_node_or_a_report_for_another_service_says_moves_nothing(cluster: Cluster) -> None:
    living, dead = Node(cluster, "n1"), Node(cluster, "n2")
    await living.renew()
    async with cluster.allocator():
        await cluster.serve()
        await dead.report(withheld=[duplicate("192.0.2.10")])
        await living.report(withheld=[duplicate("192.0.2.10", service="shop/before")])
        await living.live(10)
        assert await cluster.addresses() == ("192.0.2.10",)


async def test_a_service_moves_three_times_an_hour_and_then_stays(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        for last in (10, 11, 12, 13):
            await cluster.clock.advance(1.0)
            assert await cluster.addresses() == (f"192.0.2.{last}",)
            await node.report(withheld=[duplicate(f"192.0.2.{last}")])
            await node.live(2)
        await node.live(10)
        assert await cluster.addresses() == ("192.0.2.13",)
        announced = await cluster.says("Announced")
        assert announced.reason == "DuplicateOnLAN"


@asynccontextmanager
async def waiting_to_move(cluster: Cluster) -> AsyncIterator[Node]:
    """The only address of the group tiny is another host's, and the Service that was given it has nowhere to go."""
    await cluster.create(SERVICE_GROUPS, pool("tiny", "192.0.2.30/32"), INSTALL)
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "tiny"})
        await cluster.clock.advance(1.0)
        await node.report(withheld=[duplicate("192.0.2.30")])
        await node.live(4)
        yield node


async def test_without_another_address_it_is_kept_and_moves_when_there_is_one(cluster: Cluster) -> None:
    async with waiting_to_move(cluster) as node:
        assert await cluster.addresses() == ("192.0.2.30",)
        allocated = await cluster.says()
        assert (allocated.status, allocated.reason) == ("False", "PoolExhausted")
        assert allocated.message.endswith("; keeps 192.0.2.30")
        wider = {"spec": {"local": {"v4pool": {"pool": "192.0.2.30-192.0.2.31", "subnet": "192.0.2.0/24"}}}}
        await cluster.patch(SERVICE_GROUPS, "tiny", wider, INSTALL)
        await node.live(2)
        assert await cluster.addresses() == ("192.0.2.31",)


async def test_who_waits_to_move_stays_once_its_user_insists_on_the_address(cluster: Cluster) -> None:
    async with waiting_to_move(cluster) as node:
        pinned = {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.30", "purelb.io/service-group": None}}}
        await cluster.patch(SERVICES, "web", pinned, "shop")
        await node.live(4)
        assert await cluster.addresses() == ("192.0.2.30",)
        allocated = await cluster.says()
        assert (allocated.status, allocated.reason) == ("True", "AddressAssigned")
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/addresses": None}}}, "shop")
        await cluster.create(SERVICE_GROUPS, pool("more", "192.0.2.40/32", autoAssign=True), INSTALL)
        await node.live(4)
        assert await cluster.addresses() == ("192.0.2.30",), "it was asked for, so it moves no more"
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.30"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("wants") == ("192.0.2.30",), "and it is left to nobody"


async def test_who_waits_to_move_stays_once_a_node_announces_the_address(cluster: Cluster) -> None:
    async with waiting_to_move(cluster) as node:
        await node.report(("192.0.2.30", "eth0"))
        await node.live(4)
        wider = {"spec": {"local": {"v4pool": {"pool": "192.0.2.30-192.0.2.31", "subnet": "192.0.2.0/24"}}}}
        await cluster.patch(SERVICE_GROUPS, "tiny", wider, INSTALL)
        await node.live(4)
        assert await cluster.addresses() == ("192.0.2.30",)
        allocated = await cluster.says()
        assert allocated.status == "True"


async def test_a_shared_address_stays_for_its_key_binds_the_others_to_it(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        for name, port in (("web", 80), ("other", 81)):
            await cluster.serve(name, annotations={"purelb.io/allow-shared-ip": "together"}, port=port)
        await cluster.clock.advance(1.0)
        both = {**duplicate("192.0.2.10"), "services": ["shop/web", "shop/other"]}
        await node.report(withheld=[both])
        await node.live(4)
        assert await cluster.addresses() == await cluster.addresses("other") == ("192.0.2.10",)
        assert not [reason for _, reason, _ in await cluster.events() if reason == "DuplicateOnLAN"], "nobody was to go"


async def test_only_the_family_that_another_host_has_moves(cluster: Cluster) -> None:
    both = pool("both", "192.0.2.40-192.0.2.49", six="2001:db8::10-2001:db8::19")
    await cluster.create(SERVICE_GROUPS, both, INSTALL)
    node = Node(cluster, "n1", subnets="192.0.2.0/24,2001:db8::/64")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve(
            annotations={"purelb.io/service-group": "both"},
            ipFamilyPolicy="RequireDualStack",
            ipFamilies=["IPv4", "IPv6"],
        )
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.40", "2001:db8::10")
        await node.report(withheld=[duplicate("2001:db8::10")])
        await node.live(2)
        assert await cluster.addresses() == ("192.0.2.40", "2001:db8::11")


async def test_a_service_that_is_gone_takes_its_past_along(cluster: Cluster) -> None:
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await node.report(withheld=[duplicate("192.0.2.10")])
        await node.live(2)
        assert await cluster.addresses() == ("192.0.2.11",)


def address(number: int) -> Address:
    return (4, number)


def test_no_more_than_so_many_addresses_are_left_alone_and_each_ends_in_its_turn() -> None:
    taken = Taken()
    assert (YOUNG_FOR, LEFT_FOR, LEFT_MAX) == (60.0, 600.0, 1024)
    for number in range(LEFT_MAX):
        service = key(f"s{number}")
        taken.given(service, [address(number)], now=0.0)
        assert taken.take(service, address(number), now=float(number >= LEFT_MAX // 2))
    taken.given(key("late"), [address(9999)], now=2.0)
    assert not taken.take(key("late"), address(9999), now=2.0)
    assert taken.deadline() == LEFT_FOR
    assert len(taken.due(LEFT_FOR)) == LEFT_MAX // 2
    assert taken.take(key("late"), address(9999), now=LEFT_FOR)


def test_three_moves_an_hour_and_the_fourth_an_hour_after_the_first() -> None:
    taken, web = Taken(), key("web")
    for count in range(MOVES):
        assert taken.take(web, address(count), now=float(count))
    assert (MOVES, WITHIN) == (3, 3600.0)
    assert not taken.take(web, address(MOVES), now=WITHIN - 1)
    assert taken.take(web, address(MOVES), now=WITHIN)
    assert not taken.take(web, address(MOVES + 1), now=WITHIN)


def test_what_is_not_young_or_not_its_own_may_not_move() -> None:
    taken, web = Taken(), key("web")
    taken.given(web, [address(1)], now=0.0)
    assert taken.may_move(web, address(1), now=YOUNG_FOR - 0.1)
    assert not taken.may_move(web, address(1), now=YOUNG_FOR)
    assert not taken.may_move(key("other"), address(1), now=0.0)
    taken.stays(address(1))
    assert not taken.may_move(web, address(1), now=1.0)
