# SPDX-License-Identifier: Apache-2.0
"""What a system says is checked: an address that is somebody's in this cluster, too many of them, another owner; and who it is may change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.keys import ServiceKey
from purelb.allocator.sources.answers import GRANTS_MAX, check
from purelb.allocator.sources.ask import Ask
from purelb.allocator.sources.source import Adopted, Held
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import NODES, SERVICES
from tests.allocator.cluster import pool
from tests.allocator.ipam import V4, Ipam, lie, netbox
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

NODES_OWN, THEIRS, INSIDE = "203.0.113.77", "203.0.113.78", "10.96.0.77"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(), netbox())


@pytest.mark.parametrize("ip", [NODES_OWN, THEIRS, INSIDE], ids=["a node's", "another controller's", "its cluster IP"])
async def test_it_is_not_published_and_goes_back(cluster: Cluster, ip: str) -> None:
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}
    await cluster.create(NODES, {"metadata": {"name": "n1"}})
    addresses = {"status": {"addresses": [{"type": "InternalIP", "address": NODES_OWN}]}}
    await cluster.patch(NODES, "n1", addresses, subresource="status")
    await cluster.serve("theirs", loadBalancerClass="example.com/x")
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": THEIRS}]}}}
    await cluster.patch(SERVICES, "theirs", ingress, "shop", subresource="status")
    async with cluster.allocator():
        ipam.mood["allocate"].append(lie(ip))
        await cluster.serve(annotations={"purelb.io/service-group": "far"}, clusterIP=INSIDE)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == (V4[0],)
        assert [held.ip for verb, held in ipam.calls if verb == "release"] == [ip]
        ipam.always["allocate"] = lie(ip)
        await cluster.serve("never", annotations={"purelb.io/service-group": "far"})
        await cluster.clock.advance(5.0)
        told = await cluster.condition(name="never")
        assert told is not None
        assert told.reason == "IPAMMisconfigured"
        assert f"{ip} is reserved in this cluster" in told.message


async def test_a_group_that_is_sent_to_another_system_asks_that_one_first_what_it_holds_and_keeps_what_is_published(
    cluster: Cluster,
) -> None:
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}
    far = {"purelb.io/service-group": "far"}
    async with cluster.allocator():
        await cluster.serve(annotations=far)
        await cluster.clock.advance(2.0)
        assert await cluster.addresses() == (V4[0],)
        adopted = ipam.asked("adopt")
        await cluster.patch(SERVICE_GROUPS, "far", {"spec": {"priority": 7}}, INSTALL)
        await cluster.clock.advance(2.0)
        assert ipam.asked("adopt") == adopted, "nothing about the system was edited"
        ipam.always["adopt"] = "away"
        await cluster.patch(SERVICE_GROUPS, "far", {"spec": {"netbox": {"url": "http://other.example"}}}, INSTALL)
        await cluster.clock.advance(2.0)
        await cluster.serve("next", annotations=far)
        await cluster.clock.advance(4.0)
        assert ipam.asked("adopt") > adopted
        told = await cluster.condition(name="next")
        assert told is not None
        assert told.reason == "IPAMUnavailable", "it has not said yet what it holds"
        assert await cluster.addresses() == (V4[0],)
        ipam.always.clear()
        await cluster.clock.advance(60.0)
        assert await cluster.addresses("next") == (V4[1],)


async def test_that_an_address_we_hold_is_somebody_elses_there_is_told_once_an_hour_and_it_stays(
    cluster: Cluster,
) -> None:
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "far"})
        await cluster.clock.advance(2.0)
        meta = (await cluster.service()).metadata
        held = Held(ServiceKey("shop", "web"), meta.uid, V4[0])
        ipam.always["adopt"] = Adopted(conflicting=(held,))
        await cluster.clock.advance(3000.0)
        told = [event for event in await cluster.events() if event[1] == "OwnershipLost"]
        assert told == [("far", "OwnershipLost", f"{V4[0]} of shop/web is somebody else's")]
        assert ipam.asked("adopt") >= 5
        assert await cluster.addresses() == (V4[0],)


async def test_who_comes_back_while_its_address_goes_back_is_asked_for_when_that_is_over(cluster: Cluster) -> None:
    """Else the system may give what it is just being told to take back, and we publish what is free there."""
    ipam = Ipam(cluster.clock)
    cluster.sources = {"netbox": ipam}

    async def names(group: str) -> None:
        edit = {"metadata": {"annotations": {"purelb.io/service-group": group}}}
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(1.0)

    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "far"})
        await cluster.clock.advance(2.0)
        ipam.delay = 10.0
        await names("default")
        assert (await cluster.addresses(), ipam.busy) == (("192.0.2.10",), 1)
        await names("far")
        assert ipam.asked("allocate") == 1
        await cluster.clock.advance(60.0)
        assert await cluster.addresses() == (V4[0],)
        assert ipam.holds((await cluster.service()).metadata.uid) == (V4[0],)
        assert ipam.busiest_for_one == 1


def test_of_an_endless_answer_no_more_is_read_than_anybody_asks_for() -> None:
    looked: list[object] = []

    def taken(address: object) -> None:
        looked.append(address)

    ask = Ask(ServiceKey("shop", "web"), "u", families=(4,))
    endless = lie(*(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(100_000)))
    checked = check(ask, endless, parents=(), taken=taken)
    assert len(checked.good) == 1
    assert len(looked) == GRANTS_MAX
