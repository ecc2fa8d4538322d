# SPDX-License-Identifier: Apache-2.0
"""A peer at rest: what its cluster writes and asks while nothing changes, against ours with the same Services.

Writes of Services are counted by the watch of a stranger; requests, and writes of any kind, by the API server (`peers_counting`). The rest
of each cluster is in them (controllers, kubelets), so two clusters that are otherwise alike are to be compared. Each Service has an
endpoint, and ours runs with its node agent, so a peer of which we know that it has none is not compared. The memory and CPU of a peer's
processes are not asked for: they may be anywhere.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.peers import (
    NAMESPACE,
    OURS,
    SETTLED_WITHIN_S,
    WITHIN_S,
    Peer,
    compared,
    prepared,
    serving,
    turns,
    with_backend,
    without_backend,
)
from purelb.sandbox.bench.peers_announcing import announcing
from purelb.sandbox.bench.peers_counting import answered, settled, written
from purelb.sandbox.bench.suites import NODE, NODE_ADDRESS, in_parallel, until_quiet

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.bench.suites import Stage

SERVICES_AT_REST: Final = 100
QUIET_LOOKS: Final = 50
RESTING_S: Final = 10.0


class Figures(Struct, kw_only=True):
    """What was seen of one load balancer, over all rounds."""

    versions: list[float]
    writes: list[float]
    all_writes: list[float]
    requests: list[float]


async def rested(stage: Stage, peers: Sequence[Peer], *, services: int = SERVICES_AT_REST) -> list[Row]:
    """Ours and each peer in turns: Services until they are announced and quiet, then ten seconds of nothing."""
    peers = announcing(peers, "at rest")
    if not peers:
        return []
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures(versions=[], writes=[], all_writes=[], requests=[]) for peer in clusters}
    for turn, peer in turns(clusters):
        async with serving(stage, peer, agent=True) as alive:
            await _measured(peer, figures[peer.name], alive, [f"resting-{turn}-{number}" for number in range(services)])
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name, services)]


async def _measured(peer: Peer, figures: Figures, alive: Callable[[], bool], names: list[str]) -> None:
    client = peer.client

    async def create(name: str) -> None:
        await with_backend(client, name, address=NODE_ADDRESS, node=NODE)

    async def delete(name: str) -> None:
        await without_backend(client, name)

    async with observing(client, NAMESPACE, links=False) as seen:
        before = await written(client)
        await in_parallel(names, create)
        await until(f"addresses by {peer.name}", lambda: alive() and seen.all_served(names), within_s=WITHIN_S)
        await until_quiet(seen, looks=QUIET_LOOKS, within_s=WITHIN_S)
        figures.versions += [float(len(seen.versions[name]) - 1) for name in names]
        after = await settled(client, within_s=SETTLED_WITHIN_S)
        if before is not None and after is not None:
            figures.all_writes.append((after - before) / len(names))
        versions, asked = seen.writes(), await answered(client)
        await asyncio.sleep(RESTING_S)
        figures.writes.append(float(seen.writes() - versions))
        if asked is not None and (now := await answered(client)) is not None:
            figures.requests.append(now - asked)  # questions for metrics are not among those that it counts
        await in_parallel(names, delete)


def _rows(ours: Figures, theirs: Figures, name: str, services: int) -> list[Row]:
    case = "versions of a Service, from its creation until nothing changes, node agents included"
    rows = compared(name, case, "count", ours=ours.versions, theirs=theirs.versions)
    case = f"writes of Services in {RESTING_S:g} s at rest, {services} Services"
    rows += compared(name, case, "count", ours=ours.writes, theirs=theirs.writes)
    told = (
        (
            "writes of any kind per Service, until nothing changes, node agents included",
            ours.all_writes,
            theirs.all_writes,
        ),
        (
            f"requests that the API server answered in {RESTING_S:g} s at rest, {services} Services",
            ours.requests,
            theirs.requests,
        ),
    )
    for case, mine, other in told:
        if mine and other:
            rows += compared(name, case, "count", ours=mine, theirs=other)
        else:
            print(f"not compared with {name}, an API server keeps its metrics to itself: {case}", file=sys.stderr)
    return rows
