# SPDX-License-Identifier: Apache-2.0
"""`reuseDelay` from the outside: what is kept back, for whom, until when, and what never is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.allocator.cluster import ALLOCATOR, pool
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

DELAY = 600.0


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.11", reuseDelay="10m"),)


async def said(cluster: Cluster, name: str = "web") -> tuple[str, str]:
    found = await cluster.condition(name=name)
    assert found is not None
    return found.reason, found.message


async def test_another_name_waits_until_the_delay_has_passed_and_the_same_name_does_not(cluster: Cluster) -> None:
    async with cluster.allocator():
        for name in ("web", "stays"):
            await cluster.serve(name)
            await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("other")
        await cluster.clock.advance(1.0)
        assert await said(cluster, "other") == (
            "PoolExhausted",
            "default: 1 of 2 IPv4 addresses in use, 1 quarantined",
        )
        await cluster.serve()
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.10",), "it is his again, with another uid"
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(DELAY - 5.0)
        assert await cluster.addresses("other") == ()
        await cluster.clock.advance(10.0)
        assert await cluster.addresses("other") == ("192.0.2.10",), "nothing else has happened"


@pytest.mark.parametrize(
    "edit",
    [
        pytest.param({"spec": {"type": "ClusterIP", "loadBalancerClass": None}}, id="with the type"),
        pytest.param({"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.77"}}}, id="by a move"),
    ],
)
async def test_an_address_is_kept_back_however_it_was_given_up(cluster: Cluster, edit: dict[str, Any]) -> None:
    await cluster.create(SERVICE_GROUPS, pool("far", "192.0.2.77", autoAssign=False), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.patch(SERVICES, "web", edit, "shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("other")
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("other") == ("192.0.2.11",)
        assert (await said(cluster, "wants"))[0] == "InUse"
        await cluster.clock.advance(DELAY)
        assert await cluster.addresses("wants") == ("192.0.2.10",)


async def test_what_was_never_published_is_free_at_once(cluster: Cluster) -> None:
    async with cluster.allocator():
        refused = Rule(effect=Answer(code=422), resource="services/status", verb="patch", name="web")
        number = cluster.core.faults.add(refused)
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.serve("beside")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("beside") == ("192.0.2.11",), (
            "the first one is decided, and could not be written"
        )
        cluster.core.faults.remove(number)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(0.5)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.10",)


async def test_the_delay_begins_when_it_is_known_to_be_gone_from_the_status(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("far", "192.0.2.77", autoAssign=False), INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        refused = Rule(effect=Answer(code=422), resource="services/status", verb="patch", subject=ALLOCATOR.name)
        number = cluster.core.faults.add(refused)
        pinned = {"metadata": {"annotations": {"purelb.io/addresses": "192.0.2.77"}}}
        await cluster.patch(SERVICES, "web", pinned, "shop")
        await cluster.clock.advance(DELAY + 60.0)
        cluster.core.faults.remove(number)
        await cluster.clock.advance(300.0)
        assert await cluster.addresses() == ("192.0.2.77",)
        await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert (await said(cluster, "wants"))[0] == "InUse", "it is in no status since less than the delay"
        await cluster.clock.advance(DELAY)
        assert await cluster.addresses("wants") == ("192.0.2.10",)


async def test_it_is_lost_with_the_term(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(1.0)
        await cluster.serve("early")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("early") == ("192.0.2.11",)
    async with cluster.allocator():
        await cluster.serve("other")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("other") == ("192.0.2.10",)
