# SPDX-License-Identifier: Apache-2.0
"""The check `lease` of readiness: leading, or seeing another one lead; otherwise what is in the way, in the server's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.api.leases import ALLOCATOR_LEASE
from purelb.kube.resources import LEASES
from purelb.sandbox.apiserver.faults import Answer, Rule
from tests.allocator.cluster import ALLOCATOR
from tests.allocator.objects import INSTALL

if TYPE_CHECKING:
    from tests.allocator.cluster import Cluster

NO_NAMESPACE = Rule(effect=Answer(code=404), resource="leases*", verb="create", subject=ALLOCATOR.name)
NO_RENEWAL = Rule(effect=Answer(code=500), resource="leases*", verb="patch", subject=ALLOCATOR.name)


async def test_who_cannot_make_the_lease_says_why_and_not_that_nobody_leads(cluster: Cluster) -> None:
    number = cluster.core.faults.add(NO_NAMESPACE)
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(30.0)
        said = component.checks()["lease"]
        assert said is not None
        assert said.startswith("the lease cannot be had: POST ")
        assert "404 NotFound" in said
        cluster.core.faults.remove(number)
        await cluster.clock.advance(10.0)
        assert (component.checks()["lease"], component.phase()) == (None, "Running")


async def test_who_has_lost_the_lease_is_not_ready_by_having_held_it(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(5.0)
        assert component.checks()["lease"] is None
        await cluster.admin.delete(LEASES, ALLOCATOR_LEASE, namespace=INSTALL)
        await cluster.clock.run_until(lambda: component.phase() == "Standby")
        assert component.checks()["lease"] == "nobody leads yet"
        await cluster.clock.advance(10.0)
        assert (component.checks()["lease"], component.phase()) == (None, "Running")


async def test_who_reads_its_own_name_in_the_lease_of_a_term_that_it_lost_says_that_nobody_leads(
    cluster: Cluster,
) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(5.0)
        number = cluster.core.faults.add(NO_RENEWAL)
        await cluster.clock.run_until(lambda: component.phase() == "Standby")
        cluster.core.faults.remove(number)
        await cluster.clock.advance(5.0)
        assert (component.checks()["lease"], component.phase()) == ("nobody leads yet", "Standby")
        await cluster.clock.advance(20.0)
        assert (component.checks()["lease"], component.phase()) == (None, "Running")


async def test_who_sees_another_one_lead_is_ready(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as first:
        await cluster.clock.advance(5.0)
        async with cluster.allocator(leader_elect=True) as second:
            await cluster.clock.run_until(lambda: second.phase() == "Standby")
            await cluster.clock.advance(5.0)
            assert (first.checks()["lease"], second.checks()["lease"]) == (None, None)
            assert (first.phase(), second.phase()) == ("Running", "Standby")
