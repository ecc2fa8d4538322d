# SPDX-License-Identifier: Apache-2.0
"""An address that was published before we knew its Service is taken over as if it had been asked for, or not at all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.metrics import ALLOCATIONS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.nodes import Node

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19"), pool("full", "192.0.2.50"), pool("dry", "192.0.2.60", drain=True))


async def publish(cluster: Cluster, *ips: str, name: str = "web") -> None:
    ingress = {"status": {"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}}
    await cluster.patch(SERVICES, name, ingress, "shop", subresource="status")


async def test_it_is_counted_as_adopted_and_never_left_to_another_host(cluster: Cluster) -> None:
    """It was not chosen by us, and may have had clients for years."""
    node = Node(cluster, "n1")
    await node.renew()
    await cluster.serve()
    await publish(cluster, "192.0.2.12")
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.12",)
        counted = {key[1:]: count for key, count in cluster.sink.counts.items() if key[0] == ALLOCATIONS.name}
        assert counted == {("local", "adopted"): 1}
        text = "another host answers for 192.0.2.12: 02:00:00:00:00:01"
        withheld = {"ip": "192.0.2.12", "services": ["shop/web"], "reason": "DuplicateOnLAN", "message": text}
        await node.report(withheld=[withheld])
        await node.live(10)
        assert (await cluster.announced())[1] == "DuplicateOnLAN"
        assert await cluster.addresses() == ("192.0.2.12",)


@pytest.mark.parametrize(
    ("ips", "expected"),
    [
        pytest.param(("192.0.2.60",), ("192.0.2.10",), id="of a group that drains"),
        pytest.param(("203.0.113.1",), ("192.0.2.10",), id="of no group"),
        pytest.param(("192.0.2.12", "203.0.113.1"), ("192.0.2.10",), id="one of which is of no group"),
        pytest.param(("192.0.2.50",), ("192.0.2.10",), id="of another Service"),
        pytest.param(("192.0.2.12", "192.0.2.11"), ("192.0.2.12", "192.0.2.11"), id="two that are free"),
    ],
)
async def test_what_could_not_be_given_is_replaced_on_a_service_of_our_class(
    cluster: Cluster, ips: tuple[str, ...], expected: tuple[str, ...]
) -> None:
    await cluster.serve("other", annotations={"purelb.io/service-group": "full"})
    async with cluster.allocator():
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("other") == ("192.0.2.50",)
    await cluster.clock.advance(1.1)
    await cluster.serve()
    await publish(cluster, *ips)
    async with cluster.allocator():
        await cluster.clock.advance(3.0)
        assert await cluster.addresses() == expected
        assert await cluster.addresses("other") == ("192.0.2.50",)


SLIP = {"purelb.io/addresses": "192.0.2.l2"}


@pytest.mark.parametrize(
    ("classname", "ip", "stays", "told"),
    [
        pytest.param(None, "203.0.113.1", True, "ForeignIngress", id="of another controller"),
        pytest.param(None, "192.0.2.60", True, "ForeignIngress", id="of another controller, in a pool that drains"),
        pytest.param(None, "192.0.2.12", True, "InvalidRequest", id="that could be given"),
        pytest.param("purelb.io/purelb", "192.0.2.12", True, "InvalidRequest", id="that could be given, of our class"),
        pytest.param("purelb.io/purelb", "203.0.113.1", False, "InvalidRequest", id="of no group, of our class"),
    ],
)
async def test_a_slip_in_an_annotation_takes_away_no_published_address(
    cluster: Cluster, classname: str | None, ip: str, *, stays: bool, told: str
) -> None:
    await cluster.serve(annotations=SLIP, loadBalancerClass=classname)
    await publish(cluster, ip)
    for _ in range(2):  # the second one finds what the first one left
        async with cluster.allocator(default_announcer="PureLB"):
            await cluster.clock.advance(5.0)
            assert await cluster.addresses() == ((ip,) if stays else ())
    assert [reason for name, reason, _ in await cluster.events() if name == "web"] == [told]
    if told == "ForeignIngress":
        assert await cluster.condition() is None, "nothing of ours stands in it"
    else:
        end = f"; keeps {ip}" if stays else ""
        said = f'purelb.io/addresses: no address in "192.0.2.l2"{end}'
        assert await cluster.allocated() == ("False", "InvalidRequest", said)


async def test_what_a_former_leader_gave_late_stays_with_a_service_whose_annotations_cannot_be_read(
    cluster: Cluster,
) -> None:
    async with cluster.allocator():
        await cluster.serve(annotations=SLIP)
        await cluster.clock.advance(1.0)
        body = {"metadata": {"annotations": {"purelb.io/allocated-by": "PureLB"}}}
        ingress = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.60"}]}}}
        await cluster.patch(SERVICES, "web", body | ingress, "shop", subresource="status")
        await cluster.clock.advance(5.0)
        assert await cluster.addresses() == ("192.0.2.60",), "of a pool that drains: it is learnt, not adopted"
        assert (await cluster.allocated())[1:] == (
            "InvalidRequest",
            'purelb.io/addresses: no address in "192.0.2.l2"; keeps 192.0.2.60',
        )


PINNED = {"purelb.io/addresses": "192.0.2.15"}


@pytest.mark.parametrize(
    ("classname", "annotations", "expected"),
    [
        pytest.param("purelb.io/purelb", PINNED, "192.0.2.15", id="of us, by its class"),
        pytest.param(None, PINNED, "192.0.2.12", id="of whoever served it before"),
        pytest.param(None, {**PINNED, "purelb.io/re-evaluate": "true"}, "192.0.2.15", id="and wants it now"),
    ],
)
async def test_who_is_adopted_gets_what_it_asks_for_where_it_asked(
    cluster: Cluster, classname: str | None, annotations: dict[str, str], expected: str
) -> None:
    await cluster.serve(annotations=annotations, loadBalancerClass=classname)
    await publish(cluster, "192.0.2.12")
    for _ in range(2):
        async with cluster.allocator(default_announcer="PureLB"):
            await cluster.clock.advance(5.0)
            assert await cluster.addresses() == (expected,)
            assert (await cluster.allocated())[0] == "True"
            assert await cluster.noted("re-evaluate") is None


@pytest.mark.parametrize("classname", ["purelb.io/purelb", None])
async def test_what_we_refused_is_not_forgotten_when_somebody_publishes_another_address(
    cluster: Cluster, classname: str | None
) -> None:
    await cluster.serve(annotations={"purelb.io/addresses": "198.51.100.9"}, loadBalancerClass=classname)
    told = "198.51.100.9 is in no ServiceGroup"
    async with cluster.allocator(default_announcer="PureLB"):
        await cluster.clock.advance(5.0)
        assert await cluster.allocated() == ("False", "NotInAnyPool", told)
    await publish(cluster, "192.0.2.12")
    for _ in range(2):
        async with cluster.allocator(default_announcer="PureLB"):
            await cluster.clock.advance(90.0)
            assert await cluster.addresses() == ("192.0.2.12",)
            assert await cluster.allocated() == ("False", "NotInAnyPool", f"{told}; keeps 192.0.2.12")


async def test_what_somebody_wrote_while_nobody_led_is_not_what_its_user_agreed_to(cluster: Cluster) -> None:
    """A term takes what is published for what was given; our condition knows better."""
    async with cluster.allocator():
        for name in ("web", "late"):
            await cluster.serve(name, annotations=PINNED if name == "web" else {"purelb.io/addresses": "192.0.2.16"})
            await cluster.clock.advance(1.0)
    await publish(cluster, "192.0.2.12")
    await publish(cluster, "192.0.2.13", name="late")
    await cluster.serve("quick", annotations={"purelb.io/addresses": "192.0.2.16"})
    await cluster.patch(SERVICES, "quick", {"metadata": {"annotations": {"purelb.io/allocated-by": "PureLB"}}}, "shop")
    await publish(cluster, "192.0.2.16", name="quick")
    told = "192.0.2.16 is held by shop/quick without a sharing key; keeps 192.0.2.13"
    for _ in range(2):
        async with cluster.allocator():
            await cluster.clock.advance(90.0)
            assert (await cluster.addresses(), await cluster.addresses("late")) == (("192.0.2.15",), ("192.0.2.13",))
            assert await cluster.allocated("late") == ("False", "InUse", told)
