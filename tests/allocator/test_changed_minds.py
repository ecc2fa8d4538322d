# SPDX-License-Identifier: Apache-2.0
"""Somebody changes his mind while the write that answers him is still on its way.

The API server refuses that write, for the object is another one by then. What was decided for the earlier wish was never seen by
anybody: it binds nobody, and what is published is what is held.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Delay, LoseAnswer, Rule
from tests.allocator.cluster import Cluster, pool
from tests.allocator.nodes import Node
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

ADDRESSES = "purelb.io/addresses"
GROUP = "purelb.io/service-group"
SHARED = "purelb.io/allow-shared-ip"
LATE = 0.0625


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (
        pool(text="192.0.2.10-192.0.2.19"),
        pool("other", "192.0.2.30-192.0.2.39"),
    )


def writes_are_late(cluster: Cluster) -> None:
    cluster.core.faults.add(Rule(effect=Delay(seconds=LATE), resource="services/status", verb="patch"))


async def ask(cluster: Cluster, notes: Mapping[str, str | None], name: str = "web") -> None:
    """Set annotations; None takes one away."""
    await cluster.patch(SERVICES, name, {"metadata": {"annotations": notes}}, "shop")


async def test_a_request_made_before_the_first_answer_is_what_counts(cluster: Cluster) -> None:
    async with cluster.allocator():
        writes_are_late(cluster)
        await cluster.serve()
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {ADDRESSES: "192.0.2.15"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.15",)
        await cluster.serve("next")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("next") == ("192.0.2.10",), "what was never published is free"


async def test_a_request_for_a_taken_address_made_before_the_first_answer_is_refused(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve("first")
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await cluster.serve()
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {ADDRESSES: "192.0.2.10"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ()
        told = await cluster.says()
        assert (told.status, told.reason) == ("False", "InUse")


async def test_a_group_named_before_the_first_answer_is_the_one_it_gets(cluster: Cluster) -> None:
    async with cluster.allocator():
        writes_are_late(cluster)
        await cluster.serve()
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {GROUP: "other"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.30",)


@pytest.mark.parametrize("asked", [{ADDRESSES: "192.0.2.15"}, {GROUP: "other"}], ids=["address", "group"])
async def test_a_move_that_is_called_off_before_it_is_published_never_happens(
    cluster: Cluster, asked: dict[str, str]
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await ask(cluster, asked)
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, dict.fromkeys(asked))
        for _ in range(20):
            await cluster.clock.advance(0.1)
            assert await cluster.addresses() == ("192.0.2.10",)
        await cluster.serve("next")
        await ask(cluster, asked, "next")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("next") == ("192.0.2.15" if ADDRESSES in asked else "192.0.2.30",)


async def test_a_third_wish_that_is_refused_keeps_what_is_published_and_not_what_was_decided_for_the_second(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve("first")
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.11",)
        writes_are_late(cluster)
        await ask(cluster, {ADDRESSES: "192.0.2.15"})
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {ADDRESSES: "192.0.2.10"})
        for _ in range(20):
            await cluster.clock.advance(0.1)
            assert await cluster.addresses() == ("192.0.2.11",)
        told = await cluster.says()
        assert (told.status, told.reason) == ("False", "InUse")
        assert "keeps 192.0.2.11" in told.message


async def test_an_edit_that_asks_for_nothing_else_does_not_change_what_is_on_its_way(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await ask(cluster, {GROUP: "other"})
        await cluster.clock.advance(LATE / 2)
        await cluster.patch(SERVICES, "web", {"metadata": {"labels": {"some": "label"}}}, "shop")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.30",)


DUAL: dict[str, Any] = {"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack"}
SINGLE = {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "clusterIPs": None}
KEY = "purelb.io/allow-shared-ip"
RE_EVALUATE = "purelb.io/re-evaluate"


async def stays(cluster: Cluster, addresses: tuple[str, ...], name: str = "web") -> None:
    for _ in range(20):
        await cluster.clock.advance(0.1)
        assert await cluster.addresses(name) == addresses


async def test_a_family_that_is_wanted_again_before_it_was_taken_away_keeps_its_address(cluster: Cluster) -> None:
    entries = {"v4pool": None, "v6pools": [{"pool": "2001:db8::10-2001:db8::19", "subnet": "2001:db8::/64"}]}
    entries["v4pools"] = [{"pool": "192.0.2.10-192.0.2.19", "subnet": "192.0.2.0/24"}]
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"local": entries}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve(**DUAL)
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await cluster.patch(SERVICES, "web", {"spec": SINGLE}, "shop")
        await cluster.clock.advance(LATE / 2)
        await cluster.patch(SERVICES, "web", {"spec": DUAL}, "shop")
        await stays(cluster, ("192.0.2.10", "2001:db8::10"))


def both(v4: str, v6: str) -> dict[str, Any]:
    """The source of a group with addresses of both families."""
    return {
        "v4pool": None,
        "v4pools": [{"pool": v4, "subnet": "192.0.2.0/24"}],
        "v6pools": [{"pool": v6, "subnet": "2001:db8::/64"}],
    }


async def test_a_family_that_was_never_published_comes_from_the_group_of_the_address_that_is_asked_for(
    cluster: Cluster,
) -> None:
    first = {"spec": {"local": both("192.0.2.10-192.0.2.19", "2001:db8::10-2001:db8::19")}}
    other = {"spec": {"local": both("192.0.2.30-192.0.2.39", "2001:db8::30-2001:db8::39")}}
    await cluster.patch(SERVICE_GROUPS, "default", first, INSTALL)
    await cluster.patch(SERVICE_GROUPS, "other", other, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.serve("told", **DUAL)
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",)
        writes_are_late(cluster)
        await cluster.patch(SERVICES, "web", {"spec": DUAL}, "shop")
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {ADDRESSES: "192.0.2.35"})
        await ask(cluster, {ADDRESSES: "192.0.2.36"}, "told")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.35", "2001:db8::30")
        assert await cluster.addresses("told") == ("192.0.2.36", "2001:db8::10"), "a published one stays"


@pytest.mark.parametrize(
    ("there", "back"),
    [
        ({"metadata": {"annotations": {KEY: "other"}}}, {"metadata": {"annotations": {KEY: "key"}}}),
        ({"spec": {"ports": [{"port": 80}]}}, {"spec": {"ports": [{"port": 81}]}}),
    ],
    ids=["key", "ports"],
)
async def test_a_sharer_that_takes_its_change_back_before_it_was_parted_shares_on(
    cluster: Cluster, there: dict[str, object], back: dict[str, object]
) -> None:
    async with cluster.allocator():
        await cluster.serve("first", annotations={KEY: "key"}, port=80)
        await cluster.serve(annotations={KEY: "key"}, port=81)
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await cluster.patch(SERVICES, "web", there, "shop")
        await cluster.clock.advance(LATE / 2)
        await cluster.patch(SERVICES, "web", back, "shop")
        await stays(cluster, ("192.0.2.10",))
        assert await cluster.addresses("first") == ("192.0.2.10",)


async def test_a_port_that_another_sharer_took_meanwhile_is_not_shared_again(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve("first", annotations={KEY: "key"}, port=80)
        await cluster.serve(annotations={KEY: "key"}, port=81)
        await cluster.clock.advance(1.0)
        cluster.core.faults.add(Rule(effect=Delay(seconds=LATE), resource="services/status", verb="patch", name="web"))
        await ask(cluster, {KEY: "other"})
        await cluster.clock.advance(LATE / 4)
        await cluster.patch(SERVICES, "first", {"spec": {"ports": [{"port": 81}]}}, "shop")
        await cluster.clock.advance(LATE / 4)
        await ask(cluster, {KEY: "key"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("first") == ("192.0.2.10",)
        assert await cluster.addresses() != ("192.0.2.10",)


async def test_a_second_look_that_is_called_off_before_it_is_published_moves_nothing(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)
        await cluster.patch(SERVICE_GROUPS, "other", {"spec": {"autoAssign": True}}, INSTALL)
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await ask(cluster, {RE_EVALUATE: "true"})
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {RE_EVALUATE: None})
        await stays(cluster, ("192.0.2.10",))


async def test_a_second_look_whose_answer_is_lost_is_not_taken_back(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)
        await cluster.patch(SERVICE_GROUPS, "other", {"spec": {"autoAssign": True}}, INSTALL)
        await cluster.clock.advance(1.0)
        cluster.core.faults.add(Rule(effect=LoseAnswer(), resource="services/status", verb="patch", count=1))
        await ask(cluster, {RE_EVALUATE: "true"})
        await cluster.clock.advance(LATE)
        assert await cluster.addresses() == ("192.0.2.30",), "the write was applied"
        await stays(cluster, ("192.0.2.30",))


async def test_the_last_free_address_that_is_on_its_way_to_a_service_does_not_stand_in_its_way(
    cluster: Cluster,
) -> None:
    await cluster.patch(SERVICE_GROUPS, "other", pool("other", "192.0.2.30/32"), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await ask(cluster, {GROUP: "other"})
        await cluster.clock.advance(LATE / 2)
        await ask(cluster, {"purelb.io/multi-pool": "false"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ("192.0.2.30",)
        assert not [reason for _, reason, _ in await cluster.events() if reason == "PoolExhausted"]


FINALIZER = {"metadata": {"finalizers": ["example.com/stays"]}}


async def delete(cluster: Cluster, name: str = "web") -> None:
    await cluster.admin.delete(SERVICES, name, namespace="shop")


async def test_who_is_deleted_before_his_first_answer_and_lingers_keeps_no_address_from_others(
    cluster: Cluster,
) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", pool(text="192.0.2.10/32"), INSTALL)
    async with cluster.allocator():
        writes_are_late(cluster)
        await cluster.serve()
        await cluster.patch(SERVICES, "web", FINALIZER, "shop")
        await cluster.clock.advance(LATE / 2)
        await delete(cluster)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == ()
        await cluster.serve("next")
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("next") == ("192.0.2.10",)


async def test_a_move_of_a_service_that_is_deleted_meanwhile_and_lingers_never_happens(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.patch(SERVICES, "web", FINALIZER, "shop")
        await cluster.clock.advance(1.0)
        writes_are_late(cluster)
        await ask(cluster, {GROUP: "other"})
        await cluster.clock.advance(LATE / 2)
        await delete(cluster)
        await stays(cluster, ("192.0.2.10",))
        await cluster.serve("next", annotations={ADDRESSES: "192.0.2.30"})
        await cluster.clock.advance(2.0)
        assert await cluster.addresses("next") == ("192.0.2.30",)
        assert await cluster.addresses() == ("192.0.2.10",)


@asynccontextmanager
async def being_written(cluster: Cluster) -> AsyncIterator[Node]:
    """`first` has 192.0.2.10 with a sharing key, and a slow write about it is on its way. Answers the node that announces it."""
    node = Node(cluster, "n1")
    await node.renew()
    async with cluster.allocator():
        await cluster.serve("first", annotations={SHARED: "k1"})
        await cluster.clock.advance(3.0)
        await cluster.serve("asks", port=82, annotations={SHARED: "k3", ADDRESSES: "192.0.2.10"})
        await cluster.clock.advance(LATE)
        assert (await cluster.says(name="asks")).reason == "SharingKeyMismatch"
        await node.renew()
        cluster.core.faults.add(Rule(effect=Delay(seconds=8 * LATE), resource="services/status", verb="patch"))
        await node.report(("192.0.2.10", "eth0"))
        await cluster.clock.advance(4 * LATE)
        yield node


@pytest.mark.parametrize("key", [None, "k2"], ids=["no key", "another key"])
async def test_who_takes_its_sharing_key_back_while_a_write_of_it_is_on_its_way_is_joined_by_nobody(
    cluster: Cluster, key: str | None
) -> None:
    """Whoever came then had to be told apart later: the first one has the older live address, and would have had to leave it."""
    async with being_written(cluster) as node:
        await ask(cluster, {SHARED: key}, "first")
        await cluster.clock.advance(LATE)
        await cluster.serve("later", port=81, annotations={SHARED: "k1"})
        await node.live(6.0)
        held = [await cluster.addresses(name) for name in ("first", "later")]
        assert held == [("192.0.2.10",), ("192.0.2.11",)]


async def test_who_is_refused_beside_it_is_told_that_there_is_no_key_to_share_by_any_more(cluster: Cluster) -> None:
    async with being_written(cluster) as node:
        await ask(cluster, {SHARED: None}, "first")
        await node.live(6.0)
        assert (await cluster.says(name="asks")).reason == "InUse"


async def test_a_port_that_it_asks_for_while_a_write_of_it_is_on_its_way_is_taken_by_nobody(cluster: Cluster) -> None:
    """Whoever came with it would have been there first when the edit was decided, and would have cost it its live address."""
    async with being_written(cluster) as node:
        await cluster.patch(SERVICES, "first", {"spec": {"ports": [{"port": 81, "protocol": "TCP"}]}}, "shop")
        await cluster.clock.advance(LATE)
        await cluster.serve("later", port=81, annotations={SHARED: "k1"})
        await cluster.serve("beside", port=443, annotations={SHARED: "k1"})
        await node.live(6.0)
        held = [await cluster.addresses(name) for name in ("first", "later", "beside")]
        assert held == [("192.0.2.10",), (), ("192.0.2.10",)]
        assert (await cluster.says(name="later")).reason == "SharingPortClash"
