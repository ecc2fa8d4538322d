# SPDX-License-Identifier: Apache-2.0
"""A ServiceGroup that was deleted while somebody's finalizer holds it: it gives nothing more, and takes nothing from anybody."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from purelb.allocator.groups import Groups
from purelb.api.kinds import SERVICE_GROUPS, ServiceGroup
from purelb.kube.resources import SERVICES
from tests.allocator.cluster import Cluster, pool
from tests.allocator.objects import INSTALL, group, service, v4
from tests.allocator.theatre import Theatre

NO_MORE = "default hands out no new addresses: it is being deleted"
NOBODY = "no ServiceGroup can be chosen for namespace shop: default is being deleted"


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(),)


async def delete(cluster: Cluster) -> None:
    """The group `default` is deleted, and held."""
    await cluster.patch(SERVICE_GROUPS, "default", {"metadata": {"finalizers": ["example.com/wait"]}}, INSTALL)
    await cluster.admin.delete(SERVICE_GROUPS, "default", namespace=INSTALL)
    await cluster.clock.advance(1.0)


async def let_go(cluster: Cluster) -> None:
    await cluster.patch(SERVICE_GROUPS, "default", {"metadata": {"finalizers": None}}, INSTALL)
    await cluster.clock.advance(1.0)


async def ready(cluster: Cluster) -> tuple[str, str]:
    found: ServiceGroup = await cluster.admin.get(SERVICE_GROUPS, "default", namespace=INSTALL)
    assert found.status is not None
    assert found.status.conditions
    return found.status.conditions[0].reason, found.status.conditions[0].message


@pytest.mark.parametrize("restarted", [False, True])
async def test_nobody_gets_an_address_of_it_any_more_and_who_has_one_is_told_nothing(
    cluster: Cluster, restarted: bool
) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        if not restarted:
            await delete(cluster)
    if restarted:
        await delete(cluster)
    told = [event for event in await cluster.events() if event[0] == "web"]
    cluster.writes.clear()
    async with cluster.allocator():
        await cluster.serve("any")
        await cluster.serve("named", annotations={"purelb.io/service-group": "default"})
        await cluster.serve("pinned", annotations={"purelb.io/addresses": "192.0.2.12"})
        await cluster.clock.advance(1.0)
        assert await cluster.all_addresses() == ["192.0.2.10"]
        assert await cluster.allocated("any") == ("False", "NoMatchingGroup", NOBODY)
        for name in ("named", "pinned"):
            assert await cluster.allocated(name) == ("False", "GroupDraining", NO_MORE)
        assert await ready(cluster) == ("Draining", "hands out no new addresses: it is being deleted")
        assert await cluster.allocated() == ("True", "AddressAssigned", "192.0.2.10 from default")
        assert cluster.status_writes("web") == 0
        assert [event for event in await cluster.events() if event[0] == "web"] == told


async def test_who_names_no_group_gets_its_address_where_it_would_get_it_once_it_is_gone(cluster: Cluster) -> None:
    far = pool("far", "192.0.2.50-192.0.2.59") | {}
    far["spec"] |= {"namespaces": ["shop"]}
    await cluster.create(SERVICE_GROUPS, far, INSTALL)
    near = {"spec": {"namespaces": ["shop"], "namespaceDefault": True}}
    await cluster.patch(SERVICE_GROUPS, "default", near, INSTALL)
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await delete(cluster)
        await cluster.serve("next")
        await cluster.clock.advance(1.0)
        assert (await cluster.addresses(), await cluster.addresses("next")) == (("192.0.2.10",), ("192.0.2.50",))
        await cluster.patch(SERVICES, "web", {"metadata": {"annotations": {"purelb.io/re-evaluate": "true"}}}, "shop")
        await cluster.clock.advance(1.0)
        assert await cluster.addresses() == ("192.0.2.51",)


async def test_who_waits_is_served_when_it_is_made_again_under_its_name(cluster: Cluster) -> None:
    async with cluster.allocator():
        await cluster.serve()
        await cluster.clock.advance(1.0)
        await delete(cluster)
        await cluster.serve("next", annotations={"purelb.io/service-group": "default"})
        await cluster.clock.advance(1.0)
        await let_go(cluster)
        assert (await cluster.allocated())[1] == "AddressKept"
        assert (await cluster.allocated("next"))[1] == "UnknownGroup"
        await cluster.create(SERVICE_GROUPS, pool(), INSTALL)
        await cluster.clock.advance(1.0)
        assert (await cluster.allocated())[1] == "AddressAssigned"
        assert (await cluster.addresses(), await cluster.addresses("next")) == (("192.0.2.10",), ("192.0.2.11",))
        assert await ready(cluster) == ("Accepted", "accepted")


def test_of_a_group_that_went_and_came_again_unseen_the_new_one_is_read() -> None:
    world = Theatre(0)
    made = group("default", v4("192.0.2.10/32"))
    world.put("groups", replace(made, metadata=replace(made.metadata, deletion_timestamp="2030-01-01T00:00:00Z")))
    world.put("services", replace(service(load_balancer_class="purelb.io/purelb"), status=None))
    world.begin()
    world.heal(seconds=5.0)
    assert not world.state.ledger.claims
    world.put("groups", replace(made, metadata=replace(made.metadata, uid="another")))  # one event tells of both
    world.heal(seconds=5.0)
    assert len(world.state.ledger.claims) == 1


def test_a_deletion_alone_is_read_anew() -> None:
    made = group("default", v4("192.0.2.10/32"))
    before = Groups((made,), install_namespace=INSTALL)
    gone = replace(made, metadata=replace(made.metadata, deletion_timestamp="2030-01-01T00:00:00Z"))
    assert before.known(made) is not None
    assert before.known(gone) is None
