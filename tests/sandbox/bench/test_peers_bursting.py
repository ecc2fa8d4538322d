# SPDX-License-Identifier: Apache-2.0
"""Bursts are compared with a peer that can be started once the Services wait, and with no other."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import peers, peers_bursting
from tests.sandbox.bench.balancers import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from purelb.sandbox.bench.peers import Peer


@pytest.mark.parametrize(
    ("name", "least"), [("MetalLB 0.16.2", 5.0), ("PureLB (Go)", 300.0), ("another", None), ("not MetalLB", None)]
)
def test_a_budget_is_known_of_those_whose_names_begin_so(name: str, least: float | None) -> None:
    budget = peers_bursting._budget(name)
    assert (budget and budget.at_least) == least


async def test_a_peer_that_runs_by_itself_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    stage: Any = None
    assert await peers_bursting.bursts(stage, [peers.Peer("other", Cluster().client)], services=4) == []
    said = "not compared with other, which runs by itself (--peer-allocator): burst of 4 waiting Services"
    assert said in capsys.readouterr().err


async def test_who_is_measured_starts_when_all_services_are_there_and_has_ended_when_they_go(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, other = Cluster(), Cluster()
    clusters = {peers.OURS: ours, "MetalLB 1": other}
    there: list[tuple[str, int, int]] = []

    async def count(cluster: Cluster) -> int:
        return len((await cluster.client.list_page(SERVICES, namespace=peers.NAMESPACE)).objects)

    @asynccontextmanager
    async def serving(_: object, peer: Peer, *, probed: bool) -> AsyncIterator[Callable[[], bool]]:
        assert not probed
        cluster = clusters[peer.name]
        before = await count(cluster)
        async with asyncio.TaskGroup() as group:
            balancer = group.create_task(cluster.balance())
            yield lambda: True
            balancer.cancel()
        there.append((peer.name, before, await count(cluster)))

    monkeypatch.setattr(peers_bursting, "serving", serving)
    monkeypatch.setattr(peers_bursting, "rate", lambda at: float(len(at)))  # here all may be seen at one instant

    class Stage:
        client = ours.client

    stage: Any = Stage()
    async with ours.client, other.client:
        peer = peers.Peer("MetalLB 1", other.client, allocator=("/bin/metallb",))
        rows = await peers_bursting.bursts(stage, [peer], services=4)
        assert await count(ours) == await count(other) == 0
    order = [peers.OURS, "MetalLB 1", "MetalLB 1", peers.OURS, peers.OURS, "MetalLB 1"]
    assert there == [(name, 4, 4) for name in order]
    theirs, mine = rows
    assert (theirs.case, theirs.n) == ("MetalLB 1: burst of 4 waiting Services", peers.ROUNDS)
    assert [theirs.p50, mine.p50, mine.ratio and mine.ratio.value, mine.ok] == [4.0, 4.0, 1.0, False]
