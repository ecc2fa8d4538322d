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

METRICS = """\
# TYPE apiserver_request_total counter
apiserver_request_total{code="200",verb="GET"} 40
apiserver_request_total{code="201",verb="POST"} 2
apiserver_request_total_of_somebody_else{code="200"} 1000
apiserver_request_duration_seconds_count{verb="GET"} 7
"""


def test_the_requests_of_all_kinds_are_added_up() -> None:
    assert peers_resting.counted(METRICS) == 42.0


def test_metrics_without_the_counter_are_not_zero() -> None:
    assert peers_resting.counted("go_goroutines 5\n") is None


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
    assert "an API server keeps its metrics to itself" in capsys.readouterr().err


async def test_requests_are_compared_where_both_tell_them(monkeypatch: pytest.MonkeyPatch) -> None:
    told = iter(float(number * 11) for number in range(100))

    async def answered(_: object) -> float:
        return next(told)

    async def quiet(*_: object, **__: object) -> None:
        await asyncio.sleep(0.05)

    monkeypatch.setattr(peers_resting, "until_quiet", quiet)
    monkeypatch.setattr(peers_resting, "answered", answered)
    monkeypatch.setattr(peers_resting, "RESTING_S", 0.0)
    ours, other = Cluster(), Cluster()
    stand: Any = Stand(ours)
    async with ours.client, other.client, asyncio.TaskGroup() as group:
        balancers = [group.create_task(cluster.balance()) for cluster in (ours, other)]
        rows = await peers_resting.rested(stand, [peers.Peer("other", other.client)], services=1)
        for balancer in balancers:
            balancer.cancel()
    found = [row for row in rows if "requests" in row.case]
    assert [row.max for row in found] == [11.0, 11.0]
    assert [row.ratio.value for row in found if row.ratio] == [1.0]
