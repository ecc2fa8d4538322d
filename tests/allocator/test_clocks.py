# SPDX-License-Identifier: Apache-2.0
"""Clocks that jump, processes that sleep and servers that go away: no address moves, and what comes back knows what was."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.apiserver.faults import Reset, Rule
from tests.allocator.cluster import Cluster, pool

if TYPE_CHECKING:
    from purelb.kube.model import Service

NAMES = ("a", "b", "c")


@pytest.fixture
def groups() -> tuple[dict[str, Any], ...]:
    return (pool(text="192.0.2.10-192.0.2.19", reuseDelay="1h"),)


async def served(cluster: Cluster) -> list[Service]:
    """Three Services with addresses."""
    for name in NAMES:
        await cluster.serve(name)
    await cluster.clock.advance(20.0)  # everything about them was told
    return [await cluster.service(name) for name in NAMES]


async def goes_on(cluster: Cluster, before: list[Service]) -> None:
    """The three are as they were and were not written, and the next one gets the next address."""
    assert [await cluster.service(name) for name in NAMES] == before
    assert not [path for _, path in cluster.writes if path.endswith("/status")]
    await cluster.serve("next")
    await cluster.clock.advance(1.0)
    assert await cluster.addresses("next") == ("192.0.2.13",)


@pytest.mark.parametrize("days", [1, -1])
async def test_a_wall_clock_that_jumps_by_a_day_changes_nothing(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, days: int
) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        before = await served(cluster)
        cluster.writes.clear()
        wall = cluster.clock.wall
        monkeypatch.setattr(cluster.clock, "wall", lambda: wall() + timedelta(days=days))
        await cluster.clock.advance(120.0)
        assert component.phase() == "Running"
        await goes_on(cluster, before)


async def test_a_process_that_slept_for_a_minute_ends_its_term_and_begins_another_with_what_is_published(
    cluster: Cluster,
) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        before = await served(cluster)
        cluster.writes.clear()
        phases: list[str] = []
        cluster.clock.jump(60.0)
        for _ in range(400):
            await cluster.clock.advance(0.1)
            if not phases or phases[-1] != component.phase():
                phases.append(component.phase())
        assert phases in (["Standby", "Running"], ["Running", "Standby", "Running"])
        await goes_on(cluster, before)


async def test_ten_minutes_without_the_api_server_end_the_term_and_the_next_has_the_same_ledger(
    cluster: Cluster,
) -> None:
    async with cluster.allocator(leader_elect=True) as component:
        await cluster.clock.advance(3.0)
        before = await served(cluster)
        cluster.writes.clear()
        number = cluster.core.faults.add(Rule(effect=Reset(), subject="the-allocator"))
        await cluster.clock.advance(600.0)
        assert component.phase() == "Standby"
        cluster.core.faults.remove(number)
        await cluster.clock.advance(120.0)
        assert component.phase() == "Running"
        await goes_on(cluster, before)
