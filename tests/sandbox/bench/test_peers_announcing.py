# SPDX-License-Identifier: Apache-2.0
"""A peer's announcing is compared where it is seen, and refused where nothing of it is."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import pytest

from purelb.sandbox.bench import observer, peers, peers_announcing
from purelb.sandbox.bench.overhearing import Overheard
from tests.sandbox.bench.balancers import Cluster, Stand

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from purelb.kube.client import ApiClient
    from purelb.sandbox.bench.observer import Observer
    from purelb.sandbox.bench.results import Row

# Whoever is looked for in vain is waited for so long; who is there has much more.
VAIN_S = 2.0
PATIENCE_S = 20.0


async def compared(
    monkeypatch: pytest.MonkeyPatch,
    ours: Cluster,
    other: Cluster,
    *,
    interfaces: tuple[Cluster, ...],
    wires: tuple[Cluster, ...],
    patience_s: float = PATIENCE_S,
) -> tuple[list[Row], Stand]:
    """One Service a round; the addresses of `interfaces` and `wires` are seen there."""
    heard = Overheard()

    @asynccontextmanager
    async def observing(client: ApiClient, namespace: str, *, links: bool) -> AsyncIterator[Observer]:
        assert links
        async with observer.observing(client, namespace, links=False) as seen:
            for cluster in (ours, other):
                mine = cluster.client is client
                cluster.seen = seen if mine and cluster in interfaces else None
                cluster.heard = heard if mine and cluster in wires else None
            yield seen

    @contextmanager
    def overhearing(_: object) -> Iterator[Overheard]:
        yield heard

    monkeypatch.setattr(peers_announcing, "observing", observing)
    monkeypatch.setattr(peers_announcing, "overhearing", overhearing)
    monkeypatch.setattr(peers_announcing, "far_end", nullcontext)
    monkeypatch.setattr(peers_announcing, "SEEN_WITHIN_S", patience_s)
    stand: Any = Stand(ours)
    async with ours.client, other.client, asyncio.TaskGroup() as group:
        balancers = [group.create_task(cluster.balance()) for cluster in (ours, other)]
        try:
            rows = await peers_announcing.announced(stand, [peers.Peer("other", other.client)], singles=2)
        finally:
            for balancer in balancers:
                balancer.cancel()
    return rows, stand


async def test_what_is_seen_of_both_is_compared_and_ours_runs_with_its_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = Cluster(), Cluster()
    rows, stand = await compared(monkeypatch, ours, other, interfaces=(ours, other), wires=(ours, other))
    assert (stand.turns, stand.agents) == (peers.ROUNDS, peers.ROUNDS)
    cases = (peers_announcing.INTERFACE, peers_announcing.FRAME, peers_announcing.GONE)
    assert {row.case for row in rows} == {
        text for case in cases for text in (f"other: {case}", f"PureLB against other: {case}")
    }
    assert {row.n for row in rows} == {2 * peers.ROUNDS}
    assert all(row.ratio for row in rows if row.case.startswith("PureLB against"))


async def test_a_peer_that_puts_no_address_on_an_interface_is_compared_by_its_frames(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = Cluster(), Cluster()
    rows, _ = await compared(monkeypatch, ours, other, interfaces=(ours,), wires=(ours, other), patience_s=VAIN_S)
    assert {row.case for row in rows} == {
        f"other: {peers_announcing.FRAME}",
        f"PureLB against other: {peers_announcing.FRAME}",
    }
    assert f"not compared with other, of which it was not seen: {peers_announcing.INTERFACE}" in capsys.readouterr().err


async def test_a_peer_of_which_nothing_is_seen_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = Cluster(), Cluster()
    with pytest.raises(ExceptionGroup) as refused:
        await compared(monkeypatch, ours, other, interfaces=(ours,), wires=(ours,), patience_s=VAIN_S)
    (why,) = refused.value.exceptions
    while isinstance(why, ExceptionGroup):
        (why,) = why.exceptions
    assert "other gave 192.0.2.1, and within 2 s no interface" in str(why)
    assert "its node has to be here, or on this LAN" in str(why)
