# SPDX-License-Identifier: Apache-2.0
"""An address in use that its group excludes now: still allocated from that group, and still one of its namespace's quota.

Who wants to empty a range excludes it and waits for the number to become 0. So it must not become 0 before the last one has gone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.api.kinds import SERVICE_GROUPS
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.desk import Desk
from tests.allocator.objects import INSTALL, group, service, v4

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

RANGE = "192.0.2.10-192.0.2.19"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text=RANGE),)


async def numbers(cluster: Cluster) -> tuple[int, int | None]:
    """What the status says that is allocated and available."""
    await cluster.clock.advance(2.0)
    status = (await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)).status
    assert status is not None
    return status.allocated_ipv4, status.available_ipv4


async def exclude(cluster: Cluster, *texts: str) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"local": {"v4pool": {"exclude": texts}}}}, INSTALL)


async def test_it_counts_as_allocated_until_it_is_given_up(cluster: Cluster) -> None:
    async with cluster.allocator():
        for name in ("a", "b"):
            await cluster.serve(name)
            await cluster.clock.advance(1.0)
        assert await numbers(cluster) == (2, 8)
        await exclude(cluster, RANGE.replace(".19", ".14"))
        assert await numbers(cluster) == (2, 5)
        await cluster.admin.delete(SERVICES, "a", namespace="shop")
        assert await numbers(cluster) == (1, 5)
    async with cluster.allocator():
        assert await numbers(cluster) == (1, 5), "the next term counts the same"
        await cluster.admin.delete(SERVICES, "b", namespace="shop")
        assert await numbers(cluster) == (0, 5)


async def test_a_group_counts_what_it_excludes_as_soon_as_nobody_else_hands_it_out(cluster: Cluster) -> None:
    await cluster.create(SERVICE_GROUPS, pool("other", "192.0.2.10,192.0.2.30", priority=1), INSTALL)
    await exclude(cluster, "192.0.2.10")
    async with cluster.allocator():
        await cluster.serve(annotations={"purelb.io/service-group": "default"})
        await cluster.serve("web2", annotations={"purelb.io/addresses": "192.0.2.10"})
        assert await numbers(cluster) == (1, 8)
        await cluster.admin.delete(SERVICE_GROUPS, "other", namespace=INSTALL)
        assert await numbers(cluster) == (2, 8)


async def test_who_waits_for_its_quota_is_served_when_an_excluded_address_is_given_up(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"spec": {"quotaPerNamespace": 1}}, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await exclude(cluster, "192.0.2.10")
        await cluster.clock.advance(1.0)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        text = "default: namespace shop holds 1 of 1 IPv4 addresses"
        assert await cluster.allocated("next") == ("False", "QuotaExceeded", text)
        await cluster.admin.delete(SERVICES, "web", namespace="shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses("next") == ("192.0.2.11",)


def test_who_moves_away_from_an_excluded_address_is_not_held_back_by_it() -> None:
    desk = Desk(group("default", v4(RANGE), quota_per_namespace=1))
    assert desk.get(service()) == ("192.0.2.10",)
    desk.configure(group("default", v4(RANGE, exclude=("192.0.2.10",)), quota_per_namespace=1))
    refusal = desk.ask(service("next"))
    assert refusal is not None
    assert refusal.reason == "QuotaExceeded"
    assert desk.get(service(annotations={"purelb.io/re-evaluate": "true"})) == ("192.0.2.11",)
