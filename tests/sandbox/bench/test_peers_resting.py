# SPDX-License-Identifier: Apache-2.0
"""A peer at rest: its writes are counted, and its API server's own count where it tells it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from purelb.sandbox.bench import peers, peers_resting
from tests.sandbox.bench.balancers import Cluster, Stand, at_once

if TYPE_CHECKING:
    import pytest


async def test_writes_at_rest_are_compared_and_unknown_requests_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr(peers_resting, "RESTING_S", 0.05)
    ours, other = Cluster(), Cluster(twice=True)
    stand: Any = Stand(ours)
    async with stand.beside(other):
        rows = await peers_resting.rested(stand, [peers.Peer("other", other.client)], services=3)
    assert (stand.turns, stand.agents) == (peers.ROUNDS, peers.ROUNDS)
    assert [(row.n, row.p50) for row in rows if "versions" in row.case] == [(9, 2.0), (9, 1.0)]
    writes = [row for row in rows if "writes of Services" in row.case]
    assert [(row.n, row.max, row.ratio) for row in writes] == [(3, 0.0, None), (3, 0.0, None)]
    assert not [row for row in rows if "requests" in row.case]
    assert not [row for row in rows if "writes of any kind" in row.case]
    assert capsys.readouterr().err.count("not compared with other, an API server keeps its metrics to itself") == 2


async def test_requests_are_compared_where_both_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch)
    monkeypatch.setattr(peers_resting, "RESTING_S", 0.0)
    ours, other = Cluster(tells=True), Cluster(tells=True, twice=True)
    stand: Any = Stand(ours)
    async with stand.beside(other):
        rows = await peers_resting.rested(stand, [peers.Peer("other", other.client)], services=2)
    found = [row for row in rows if "requests" in row.case]
    assert [row.max for row in found] == [Cluster.NOISE] * 2
    assert [row.ratio.value for row in found if row.ratio] == [1.0]
    writes = [row for row in rows if "writes of any kind per Service" in row.case]
    assert [(row.n, row.max) for row in writes] == [(peers.ROUNDS, 2.0), (peers.ROUNDS, 1.0)]


async def test_a_peer_that_is_started_without_its_agent_is_not_compared_with_ours_and_its_agent(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cluster = Cluster()
    stand: Any = Stand(cluster)
    alone = peers.Peer("alone", cluster.client, allocator=("/nowhere/allocator",))
    assert await peers_resting.rested(stand, [alone]) == []
    assert "not compared with alone, whose node agent was not given (--peer-agent): at rest" in capsys.readouterr().err
