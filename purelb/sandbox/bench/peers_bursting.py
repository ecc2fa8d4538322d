# SPDX-License-Identifier: Apache-2.0
"""The burst of a peer: Services that wait before it is started, from the first address to the last.

Who creates Services takes a part of the machine, and a load balancer that is faster than he is can only be measured behind him. So this
needs the command that runs the peer (`--peer-allocator`): it is started when the Services are there, as ours is, and ended before they are
deleted. Its start is not in the rate. A peer that runs already is compared while Services arrive, and not here.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.peers import NAMESPACE, OURS, WITHIN_S, Peer, compared, prepared, serving, turns
from purelb.sandbox.bench.results import Budget
from purelb.sandbox.bench.suites import in_parallel, rate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.bench.suites import Stage

SEEN_WITHIN_S: Final = 30.0
# How many times as fast ours has to be, by how the peer's name begins (ADR 36: five times MetalLB is more than the API server can do).
AT_LEAST: Final = {"PureLB (Go)": 300.0, "MetalLB": 3.0}


async def bursts(stage: Stage, peers: Sequence[Peer], *, services: int) -> list[Row]:
    """Ours and each peer that can be started, in turns: so many Services that wait when it starts."""
    case = f"burst of {services} waiting Services"
    for peer in peers:
        if not peer.allocator:
            print(f"not compared with {peer.name}, which runs by itself (--peer-allocator): {case}", file=sys.stderr)
    able = [peer for peer in peers if peer.allocator]
    if not able:
        return []
    rates: dict[str, list[float]] = {peer.name: [] for peer in (Peer(OURS, stage.client), *able)}
    for turn, peer in turns(await prepared(stage, able)):
        names = [f"burst-{turn}-{number}" for number in range(services)]
        rates[peer.name].append(await _burst(stage, peer, names))
    return [
        found
        for peer in able
        for found in compared(
            peer.name, case, "1/s", ours=rates[OURS], theirs=rates[peer.name], budget=_budget(peer.name)
        )
    ]


def _budget(name: str) -> Budget | None:
    least = next((least for known, least in AT_LEAST.items() if name.startswith(known)), None)
    return None if least is None else Budget(of="ratio", at_least=least)


async def _burst(stage: Stage, peer: Peer, names: list[str]) -> float:
    """Addresses per second, of the Services `names`, which are deleted again."""
    client = peer.client

    async def create(name: str) -> None:
        await client.create(SERVICES, objects.service(name, lb_class=None, classless=True), namespace=NAMESPACE)

    async def delete(name: str) -> None:
        await client.delete(SERVICES, name, namespace=NAMESPACE)

    async with observing(client, NAMESPACE, links=False) as seen:
        await in_parallel(names, create)
        await until("the Services of a burst", lambda: seen.versions.keys() >= set(names), within_s=SEEN_WITHIN_S)
        async with serving(stage, peer, probed=False) as alive:
            await until(
                f"addresses by {peer.name}",
                lambda: alive() and seen.all_served(names),
                within_s=WITHIN_S,
            )
        await in_parallel(names, delete)
        return rate(seen.served(names))
