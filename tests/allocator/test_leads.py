# SPDX-License-Identifier: Apache-2.0
"""Who leads can be read from a scrape, with an election or without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from purelb.kube.metrics import LEADER
from purelb.sandbox.apiserver.faults import Reset, Rule
from tests.allocator.cluster import ALLOCATOR

if TYPE_CHECKING:
    from purelb.allocator.main import Allocator
    from tests.allocator.cluster import Cluster

NAME = ("purelb-allocator",)


def leads(component: Allocator) -> dict[tuple[str, ...], float]:
    return {sample.labels: sample.value for sample in component.samples() if sample.metric is LEADER}


async def test_of_two_exactly_one_says_that_it_leads(cluster: Cluster) -> None:
    async with cluster.allocator(leader_elect=True) as first, cluster.allocator(leader_elect=True) as second:
        await cluster.clock.advance(5.0)
        assert sorted((leads(first)[NAME], leads(second)[NAME])) == [0.0, 1.0]


async def test_without_an_election_it_leads_as_soon_as_it_has_seen_everything(cluster: Cluster) -> None:
    away = cluster.core.faults.add(Rule(effect=Reset(), subject=ALLOCATOR.name, verb="list"))
    watch = cluster.core.faults.add(Rule(effect=Reset(), subject=ALLOCATOR.name, verb="watch"))
    async with cluster.allocator(leader_elect=False) as only:
        await cluster.clock.advance(5.0)
        assert leads(only) == {NAME: 0.0}
        cluster.core.faults.remove(away)
        cluster.core.faults.remove(watch)
        await cluster.clock.advance(60.0)
        assert leads(only) == {NAME: 1.0}


async def test_what_it_waits_before_its_first_look_at_the_lease_passes_while_it_reads_the_cluster(
    cluster: Cluster,
) -> None:
    """A start that had to read 10,000 Services first waited for up to two seconds after that."""
    away = cluster.core.faults.add(Rule(effect=Reset(), subject=ALLOCATOR.name, verb="watch", resource="services"))
    async with cluster.allocator(leader_elect=True) as only:
        await cluster.clock.advance(5.0)
        assert only.phase() == "Syncing"
        cluster.core.faults.remove(away)
        await cluster.clock.run_until(lambda: only.checks()["synced"] is None)
        assert leads(only) == {NAME: 1.0}
