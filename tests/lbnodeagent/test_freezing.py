# SPDX-License-Identifier: Apache-2.0
"""Whole agents that stand still for a while: what runs out meanwhile is not put back on the strength of old beliefs."""

from __future__ import annotations

import pytest

from tests.lbnodeagent.freezing import FreezingLan

WEB = "192.0.2.10"
GAPS = "purelb_lbnodeagent_deaf_gaps_total"


async def frozen_for(cluster: FreezingLan, name: str, seconds: float) -> None:
    """Freeze an agent, with the allocator at work meanwhile."""
    await cluster.freeze(name)
    left = seconds
    while left > 0:
        await cluster.clock.advance(min(1.0, left))
        await cluster.fold()
        left -= 1.0


async def test_who_was_frozen_until_its_address_ran_out_does_not_put_it_back_while_a_peer_holds_it() -> None:
    cluster = FreezingLan()
    await cluster.prepare()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        log = len(cluster.host(holder).log)
        await frozen_for(cluster, holder, 27.0)
        (heir,) = cluster.answering(WEB)
        assert heir != holder
        await cluster.thaw(holder)
        for _ in range(250):
            await cluster.clock.advance(0.1)
            assert cluster.answering(WEB) == [heir]
        assert not cluster.host(holder).log[log:]
        counts = cluster.sinks[holder].counts
        assert (counts[GAPS, "lag"], counts[GAPS, "lease"]) == (1, 1)
        await cluster.fold()
        await cluster.clock.advance(10.0)  # thirty seconds after it came back it is offered what it is first for
        assert cluster.answering(WEB) == [holder]


async def test_who_was_frozen_until_its_address_ran_out_takes_it_back_when_nobody_else_did() -> None:
    cluster = FreezingLan(nodes=1)
    await cluster.prepare()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await frozen_for(cluster, "n1", 27.0)
        assert cluster.answering(WEB) == []
        await cluster.thaw("n1")
        await cluster.clock.advance(1.0)
        assert cluster.answering(WEB) == ["n1"]


@pytest.mark.parametrize("seconds", [1.7, 4.0, 8.0])
async def test_a_pause_that_ends_before_the_lifetime_does_loses_nothing(seconds: float) -> None:
    cluster = FreezingLan()
    await cluster.prepare()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        await cluster.fold()
        (holder,) = cluster.answering(WEB)
        log = len(cluster.host(holder).log)
        for _ in range(4):
            await frozen_for(cluster, holder, seconds)
            await cluster.thaw(holder)
            for _ in range(10):
                assert holder in cluster.answering(WEB)
                await cluster.clock.advance(0.4)
        assert {verb for _, verb, _ in cluster.host(holder).log[log:]} <= {"renew"}
        assert cluster.sinks[holder].counts[GAPS, "lag"] >= 4


async def test_while_the_api_is_away_what_ran_out_in_a_pause_stays_away_and_what_runs_is_renewed() -> None:
    cluster = FreezingLan(nodes=1)
    await cluster.prepare()
    async with cluster.running():
        await cluster.serve("web", WEB)
        await cluster.clock.advance(5.0)
        cluster.api_down = True
        await cluster.clock.advance(60.0)
        await cluster.freeze("n1")
        await cluster.clock.advance(3.0)
        await cluster.thaw("n1")
        await cluster.clock.advance(60.0)
        assert cluster.answering(WEB) == ["n1"]
        await cluster.freeze("n1")
        await cluster.clock.advance(30.0)
        await cluster.thaw("n1")
        await cluster.clock.advance(60.0)
        assert cluster.answering(WEB) == []
        cluster.api_down = False
        await cluster.clock.advance(60.0)
        assert cluster.answering(WEB) == ["n1"]


async def test_a_service_that_came_during_a_pause_is_not_taken_before_its_holder_is_known() -> None:
    cluster = FreezingLan()
    await cluster.prepare()
    async with cluster.running() as crew:
        await cluster.serve("old", "192.0.2.11")
        await cluster.clock.advance(5.0)
        frozen = next(iter(crew.agents))
        await cluster.freeze(frozen)
        await cluster.clock.advance(15.0)
        for number in range(12, 24):
            await cluster.serve(f"web{number}", f"192.0.2.{number}")
        await cluster.clock.advance(2.0)
        await cluster.fold()
        before = {number: cluster.answering(f"192.0.2.{number}") for number in range(12, 24)}
        await cluster.thaw(frozen)
        for _ in range(50):
            await cluster.clock.advance(0.1)
            assert {number: cluster.answering(f"192.0.2.{number}") for number in range(12, 24)} == before
