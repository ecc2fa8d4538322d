# SPDX-License-Identifier: Apache-2.0
"""A peer at rest: its writes are counted, and its API server's own count where it tells it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from purelb.sandbox.bench import peers, peers_resting
from tests.sandbox.bench.balancers import Cluster, Stand
from tests.virtual_clock import VirtualClock

if TYPE_CHECKING:
    import pytest


async def test_writes_at_rest_are_compared_and_unknown_requests_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def quiet(*_: object, **__: object) -> None:
        await VirtualClock().settle()  # everybody is in this loop: who has something to do is ready

    monkeypatch.setattr(peers_resting, "until_quiet", quiet)
    monkeypatch.setattr(peers_resting, "RESTING_S", 0.05)
    ours, other = Cluster(), Cluster(twice=True)
    stand: Any = Stand(ours)
    async with ours.client, other.client, asyncio.TaskGroup() as group:
        balancers = [group.create_task(cluster.balance()) for cluster in (ours, other)]
        rows = await peers_resting.rested(stand, [peers.Peer("other", other.client)], services=3)
        for balancer in balancers:
            balancer.cancel()
    assert (stand.turns, stand.agents) == (peers.ROUNDS, peers.ROUNDS)
    assert [(row.n, row.p50) for row in rows if "versions" in row.case] == [(9, 2.0), (9, 1.0)]
    writes = [row for row in rows if "writes of Services" in row.case]
    assert [(row.n, row.max, row.ratio) for row in writes] == [(3, 0.0, None), (3, 0.0, None)]
    assert not [row for row in rows if "requests" in row.case]
    assert not [row for row in rows if "writes of any kind" in row.case]
    assert capsys.readouterr().err.count("not compared with other, an API server keeps its metrics to itself") == 2


async def test_requests_are_compared_where_both_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(float(number * 11) for number in range(100))

    async def answered(_: object) -> float:
        return next(told)

    async def quiet(*_: object, **__: object) -> None:
        await asyncio.sleep(0.05)

    async def written(_: object, **__: object) -> float:
        return next(told)

    monkeypatch.setattr(peers_resting, "until_quiet", quiet)
    monkeypatch.setattr(peers_resting, "answered", answered)
    monkeypatch.setattr(peers_resting, "written", written)
    monkeypatch.setattr(peers_resting, "settled", written)
    monkeypatch.setattr(peers_resting, "RESTING_S", 0.0)
    ours, other = Cluster(), Cluster()
    stand: Any = Stand(ours)
    async with ours.client, other.client, asyncio.TaskGroup() as group:
        balancers = [group.create_task(cluster.balance()) for cluster in (ours, other)]
        rows = await peers_resting.rested(stand, [peers.Peer("other", other.client)], services=2)
        for balancer in balancers:
            balancer.cancel()
    found = [row for row in rows if "requests" in row.case]
    assert [row.max for row in found] == [11.0, 11.0]
    assert [row.ratio.value for row in found if row.ratio] == [1.0]
    writes = [row for row in rows if "writes of any kind per Service" in row.case]
    assert [(row.n, row.max) for row in writes] == [(peers.ROUNDS, 5.5)] * 2


async def test_a_peer_that_is_started_without_its_agent_is_not_compared_with_ours_and_its_agent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster()
    stand: Any = Stand(cluster)
    alone = peers.Peer("alone", cluster.client, allocator=("/nowhere/allocator",))
    assert await peers_resting.rested(stand, [alone]) == []
    assert "not compared with alone, whose node agent was not given (--peer-agent): at rest" in capsys.readouterr().err
