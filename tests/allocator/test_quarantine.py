# SPDX-License-Identifier: Apache-2.0
"""Released addresses that are kept back: for how long, what an edit of `reuseDelay` does to them, and who is told."""

from __future__ import annotations

from typing import Any

import pytest

from purelb.allocator.quarantine import Quarantine
from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, ip, key

ONE = "192.0.2.10/32"
KEPT = "192.0.2.10 is kept for shop/web until the reuseDelay of"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text=ONE, reuseDelay="10m"),)


async def released(cluster: Cluster) -> None:
    """The only address was just given back, and two other Services want it."""
    await cluster.serve()
    await cluster.clock.advance(1.0)
    assert await cluster.addresses() == ("192.0.2.10",)
    await cluster.admin.delete(SERVICES, "web", namespace="shop")
    await cluster.clock.advance(1.0)
    await cluster.serve("waits")
    await cluster.serve("wants", annotations={"purelb.io/addresses": "192.0.2.10"})
    await cluster.clock.advance(20.0)
    assert [await cluster.addresses(name) for name in ("waits", "wants")] == [(), ()]
    assert await cluster.allocated("wants") == ("False", "InUse", f"{KEPT} default (10m) has passed")


async def served(cluster: Cluster) -> tuple[str, ...]:
    return tuple([name for name in ("waits", "wants") if await cluster.addresses(name)])


@pytest.mark.parametrize("spec", [{"reuseDelay": None}, {"reuseDelay": "5s"}], ids=["removed", "over already"])
async def test_a_delay_that_is_removed_is_over_at_once_and_who_waits_for_it_is_asked(
    cluster: Cluster, spec: dict[str, object]
) -> None:
    async with cluster.allocator():
        await released(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": spec}, INSTALL)
        await cluster.clock.advance(1.0)
        assert len(await served(cluster)) == 1
        await cluster.clock.advance(2.0)
        status = (await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)).status
        assert status is not None
        assert (status.allocated_ipv4, status.quarantined_ipv4) == (1, 0)


async def test_a_delay_that_is_shortened_counts_from_the_release(cluster: Cluster) -> None:
    async with cluster.allocator():
        await released(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"reuseDelay": "1m"}}, INSTALL)
        await cluster.clock.advance(30.0)
        assert await served(cluster) == ()
        await cluster.serve("late", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated("late"))[2] == f"{KEPT} default (1m) has passed"
        await cluster.clock.advance(15.0)
        assert len(await served(cluster)) == 1


async def test_a_delay_that_is_made_longer_changes_nothing_for_what_is_kept_back_already(cluster: Cluster) -> None:
    async with cluster.allocator():
        await released(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"reuseDelay": "1h"}}, INSTALL)
        await cluster.serve("late", annotations={"purelb.io/addresses": "192.0.2.10"})
        await cluster.clock.advance(560.0)
        assert await served(cluster) == ()
        assert [(await cluster.allocated(name))[2] for name in ("wants", "late")] == [
            f"{KEPT} default (10m) has passed"
        ] * 2
        await cluster.clock.advance(30.0)
        assert len(await served(cluster)) == 1


async def test_whose_delay_it_is_is_told_where_another_group_has_the_address_by_now(cluster: Cluster) -> None:
    async with cluster.allocator():
        await released(cluster)
        for name, delay, told in (("longer", "1h", "default (10m)"), ("shorter", "5m", "shorter (5m)")):
            was = "default" if name == "longer" else "longer"
            await cluster.admin.delete(SERVICE_GROUPS, was, namespace=INSTALL)
            await cluster.create(SERVICE_GROUPS, pool(name, ONE, reuseDelay=delay), INSTALL)
            await cluster.clock.advance(70.0)
            assert (await cluster.allocated("wants"))[2] == f"{KEPT} {told} has passed"


async def test_an_address_that_is_now_of_a_group_without_a_delay_is_kept_back_no_longer(cluster: Cluster) -> None:
    async with cluster.allocator():
        await released(cluster)
        await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"drain": True}}, INSTALL)
        await cluster.clock.advance(1.0)
        assert await served(cluster) == (), "nothing else of the group shortens it"
        await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
        await cluster.clock.advance(1.0)
        await cluster.create(SERVICE_GROUPS, pool("other", ONE), INSTALL)
        await cluster.clock.advance(1.0)
        assert await served(cluster) == ("wants",)


def test_what_is_shortened_ends_then_and_only_then() -> None:
    kept = Quarantine()
    kept.add(ip("192.0.2.10"), key("a"), group="default", since=10.0, until=610.0)
    kept.add(ip("192.0.2.11"), key("b"), group="default", since=20.0, until=120.0)
    assert kept.deadline() == 120.0
    kept.shorten(ip("192.0.2.10"), 60.0, by="default")
    kept.shorten(ip("192.0.2.11"), 600.0, by="default")
    assert kept.deadline() == 70.0
    assert kept.due(119.0) == (ip("192.0.2.10"),)
    kept.drop(ip("192.0.2.10"))
    assert kept.deadline() == 120.0
    kept.add(ip("192.0.2.12"), key("c"), group="default", since=20.0, until=120.0)
    first = kept.due(120.0, most=1)
    kept.drop(first[0])
    assert {*first, *kept.due(120.0, most=1)} == {ip("192.0.2.11"), ip("192.0.2.12")}
