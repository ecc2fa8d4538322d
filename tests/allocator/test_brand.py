# SPDX-License-Identifier: Apache-2.0
"""The brand says that we gave an address: it comes with the first one, never before, and stays with who was given one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from purelb.allocator.decision import Ignore, Leave, decide
from purelb.allocator.observed import Ownership, marked
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import pool
from tests.allocator.desk import Desk
from tests.allocator.objects import group, service

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

BRAND = "allocated-by"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10/32"),)


async def test_who_is_refused_is_told_so_and_not_branded(cluster: Cluster) -> None:
    async with cluster.allocator():
        for name in ("holds", "web"):
            await cluster.serve(name)
            await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[1] == "PoolExhausted"
        assert (await cluster.noted(BRAND), await cluster.noted(BRAND, "holds")) == (None, "PureLB")
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(1.0)
        assert (await cluster.addresses(), await cluster.noted(BRAND)) == (("192.0.2.10",), "PureLB")


async def test_a_branded_service_without_address_is_pending_like_any_other_and_stays_ours(cluster: Cluster) -> None:
    """Restored from a backup, say: it names no class, and nobody is the default announcer any more."""
    async with cluster.allocator():
        await cluster.serve("holds")
        await cluster.clock.advance(1.0)
        restored = {"purelb.io/allocated-by": "PureLB", "purelb.io/allocated-from": "gone"}
        await cluster.serve(annotations=restored, loadBalancerClass=None)
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[1] == "PoolExhausted"
        assert await cluster.noted(BRAND) == "PureLB"
        await cluster.admin.delete(SERVICES, "holds", namespace="shop")
        await cluster.clock.advance(1.0)
        assert (await cluster.addresses(), await cluster.noted("allocated-from")) == (("192.0.2.10",), "default")


def test_who_is_not_ours_any_more_gives_its_address_back_although_nothing_in_it_is_left_to_clean_up() -> None:
    """Replaced as a whole, and its status as well: only the ledger still knows."""
    desk = Desk(group())
    assert desk.get(service()) == ("192.0.2.10",)
    bare = service(type="ClusterIP")
    assert not marked(bare)
    rest: dict[str, Any] = {"ownership": Ownership(), "groups": desk.groups, "rules": desk.rules}
    found = decide(bare, ledger=desk.ledger, **rest)
    assert isinstance(found, Leave)
    desk.ledger.commit(found.plan)
    assert (desk.held(bare), desk.confirm(bare)) == ((), ("192.0.2.10",))
    assert isinstance(decide(bare, ledger=desk.ledger, **rest), Ignore)
