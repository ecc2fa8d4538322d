# SPDX-License-Identifier: Apache-2.0
"""Bursts are compared with a peer that can be started once the Services wait, and with no other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import peers, peers_bursting
from purelb.sandbox.bench.results import Budget
from tests.sandbox.bench.balancers import Cluster, Stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


@pytest.mark.parametrize(
    ("name", "least"), [("MetalLB 0.16.2", 3.0), ("PureLB (Go)", 300.0), ("another", None), ("not MetalLB", None)]
)
def test_a_budget_is_known_of_those_whose_names_begin_so(name: str, least: float | None) -> None:
    budget = peers_bursting._budget(name)
    assert (budget and budget.at_least) == least


async def test_a_peer_that_runs_by_itself_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    stage: Any = None
    assert await peers_bursting.bursts(stage, [peers.Peer("other", Cluster().client)], services=4) == []
    said = "not compared with other, which runs by itself (--peer-allocator): burst of 4 waiting Services"
    assert said in capsys.readouterr().err


async def count(cluster: Cluster) -> int:
    return len((await cluster.client.list_page(SERVICES, namespace=peers.NAMESPACE)).objects)


class Counting(Stand):
    """How many Services were there when a load balancer started, and when it had ended."""

    def __init__(self, ours: Cluster, *, commands: Mapping[str, Cluster]) -> None:
        super().__init__(ours, commands=commands)
        self.there: list[tuple[Cluster, int, int]] = []

    @asynccontextmanager
    async def runs(self, cluster: Cluster) -> AsyncIterator[None]:
        before = await count(cluster)
        async with super().runs(cluster):
            yield
        self.there.append((cluster, before, await count(cluster)))


async def test_who_is_measured_starts_when_all_services_are_there_and_has_ended_when_they_go() -> None:
    ours, other = Cluster(slow=True), Cluster(slow=True)
    stand: Any = Counting(ours, commands={"/bin/metallb": other})
    async with ours.client, other.client:
        peer = peers.Peer("MetalLB 1", other.client, allocator=("/bin/metallb",))
        rows = await peers_bursting.bursts(stand, [peer], services=4)
        assert await count(ours) == await count(other) == 0
    assert stand.there == [(cluster, 4, 4) for cluster in (ours, other, other, ours, ours, other)]
    assert peers.PROBE not in ours.served | other.served, "it would be ready before the burst"
    theirs, mine = rows
    assert (theirs.case, theirs.n) == ("MetalLB 1: burst of 4 waiting Services", peers.ROUNDS)
    assert (mine.ratio and mine.ratio.to, mine.budget) == (theirs.case, Budget(of="ratio", at_least=3.0))
