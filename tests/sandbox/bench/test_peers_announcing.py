# SPDX-License-Identifier: Apache-2.0
"""A peer's announcing is compared where it is seen, and refused where nothing of it is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from purelb.kube.resources import ENDPOINT_SLICES
from purelb.sandbox.bench import peers, peers_announcing
from tests.sandbox.bench.balancers import Cluster, Outlook, Stand

if TYPE_CHECKING:
    from purelb.kube.transport import Request
    from purelb.sandbox.bench.results import Row

# Whoever is looked for in vain is waited for so long; who is there has much more.
VAIN_S = 2.0
PATIENCE_S = 20.0


def path_of(request: Request) -> str:
    return request.target.partition("?")[0]


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
    monkeypatch.setattr(peers_announcing, "SEEN_WITHIN_S", patience_s)
    stand: Any = Outlook(ours, interfaces=interfaces, wires=wires)
    async with stand.beside(other):
        rows = await peers_announcing.announced(stand, [peers.Peer("other", other.client)], singles=2)
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


async def test_a_peer_of_which_nothing_is_seen_is_not_compared_and_is_told_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, other = Cluster(), Cluster()
    rows, _ = await compared(monkeypatch, ours, other, interfaces=(ours,), wires=(ours,), patience_s=VAIN_S)
    assert rows == []
    said = capsys.readouterr().err
    assert said.count("other gave 192.0.2.1, and within 2 s no interface") == 1
    assert "its node has to be here, or on this LAN" in said
    assert f"not compared with other, of which it was not seen: {peers_announcing.FRAME}" in said


async def test_it_is_a_fault_when_nothing_is_seen_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, other = Cluster(), Cluster()
    with pytest.raises(ExceptionGroup) as refused:
        await compared(monkeypatch, ours, other, interfaces=(other,), wires=(other,), patience_s=VAIN_S)
    why: BaseException = refused.value
    while isinstance(why, BaseExceptionGroup):
        (why,) = why.exceptions
    assert "PureLB gave 192.0.2.1, and within 2 s no interface" in str(why)


async def test_each_service_that_is_announced_has_an_endpoint_of_its_own_and_nothing_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ours, other = Cluster(), Cluster()
    await compared(monkeypatch, ours, other, interfaces=(ours, other), wires=(ours, other))
    slices = ENDPOINT_SLICES.path(peers.NAMESPACE)
    noted = other.server.noted
    bodies = [json.loads(each.body) for each in noted if (each.method, path_of(each)) == ("POST", slices)]
    made = [body["metadata"]["labels"]["kubernetes.io/service-name"] for body in bodies]
    deleted = [path_of(each) for each in noted if each.method == "DELETE" and path_of(each).startswith(slices)]
    assert made == [f"announced-{turn}-{number}" for turn in range(peers.ROUNDS) for number in range(2)]
    assert deleted == [f"{slices}/{name}-bench" for name in made]


async def test_a_peer_that_is_started_without_its_agent_is_not_compared(capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster()
    alone = peers.Peer("alone", cluster.client, allocator=("/nowhere/allocator",))
    whole = peers.Peer("whole", cluster.client, allocator=("/nowhere/allocator",), agent=("/nowhere/agent",))
    running = peers.Peer("running", cluster.client)
    assert peers_announcing.announcing([alone, whole, running], "announcing") == [whole, running]
    assert (
        "not compared with alone, whose node agent was not given (--peer-agent): announcing" in capsys.readouterr().err
    )
    stand: Any = Stand(cluster)
    assert await peers_announcing.announced(stand, [alone], singles=1) == []
    assert stand.turns == 0
