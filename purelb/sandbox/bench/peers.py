# SPDX-License-Identifier: Apache-2.0
"""The same Services, by the same client, on another cluster of this machine whose load balancer is somebody else's.

The peer is running there already and serves Services without a class, as load balancers do when nobody says otherwise; ours is
told to do the same. Both clusters are measured in turns, the order alternating, and each figure of ours has its ratio to the
peer's: a bare number from another machine says nothing. Nothing is assumed of the peer but that it writes ingress addresses.

Here is its allocation; `peers_announcing` and `peers_resting` compare what can be seen of the rest. Not measured are its start and its
memory, which are elsewhere than this process can look, and its failover: that needs nodes whose power we can take.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.kube.client import ApiClient
from purelb.kube.errors import AlreadyExists
from purelb.kube.resources import NAMESPACES, SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.results import Ratio, Row, Unit, percentile, row
from purelb.sandbox.bench.suites import in_parallel, until_quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from purelb.sandbox.bench.suites import Stage

SUITE: Final = "peer"
NAMESPACE: Final = "bench-peer"
OURS: Final = "PureLB"
ROUNDS: Final = 3
WITHIN_S: Final = 1800.0
APART_S: Final = 0.1


class Peer(Struct, frozen=True):
    """A cluster to compare with, under the name that the results shall give it."""

    name: str
    client: ApiClient


class Figures(Struct, kw_only=True):
    """What was seen of one load balancer, over all rounds."""

    rates: list[float]
    waits_ms: list[float]
    versions: list[float]


async def against(stage: Stage, peers: Sequence[Peer], *, services: int, singles: int) -> list[Row]:
    """Ours and each peer in turns: many Services while they are created, then one at a time."""
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures(rates=[], waits_ms=[], versions=[]) for peer in clusters}
    for turn, peer in turns(clusters):
        async with serving(stage, peer):
            await _measured(peer, figures[peer.name], turn=turn, services=services, singles=singles)
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name, services)]


async def prepared(stage: Stage, peers: Sequence[Peer]) -> list[Peer]:
    """Our cluster and those of the peers, each with the namespace of the comparison."""
    clusters = [Peer(OURS, stage.client), *peers]
    for peer in clusters:
        try:
            await peer.client.create(NAMESPACES, objects.namespace(NAMESPACE))
        except AlreadyExists:
            pass  # a peer's cluster outlives the benchmark, and with it the namespace
    return clusters


def turns(clusters: Sequence[Peer]) -> Iterator[tuple[int, Peer]]:
    """Who is measured after whom, with the number of the round: every second round in the other direction."""
    for turn in range(ROUNDS):
        for peer in clusters if turn % 2 == 0 else clusters[::-1]:
            yield turn, peer


@asynccontextmanager
async def serving(stage: Stage, peer: Peer, *, agent: bool = False) -> AsyncIterator[None]:
    """Ours runs while its turn lasts, with a node agent if asked for; a peer is running already."""
    async with AsyncExitStack() as stack:
        if peer.name == OURS:
            await stack.enter_async_context(stage.allocator(env={"DEFAULT_ANNOUNCER": OURS}))
            if agent:
                await stack.enter_async_context(stage.agent())
        yield


def compared(name: str, case: str, unit: Unit, *, ours: Sequence[float], theirs: Sequence[float]) -> list[Row]:
    """The peer's row, and ours with its ratio to it; to nothing there is none."""
    to, divisor = f"{name}: {case}", percentile(theirs, 0.5)
    ratio = Ratio(to=to, value=round(percentile(ours, 0.5) / divisor, 3)) if divisor else None
    return [
        row(suite=SUITE, case=to, unit=unit, values=theirs),
        row(suite=SUITE, case=f"{OURS} against {name}: {case}", unit=unit, values=ours, ratio=ratio),
    ]


async def _measured(peer: Peer, figures: Figures, *, turn: int, services: int, singles: int) -> None:
    client, names = peer.client, [f"peer-{turn}-{number}" for number in range(services)]

    async def create(name: str) -> None:
        await client.create(SERVICES, objects.service(name, lb_class=None, classless=True), namespace=NAMESPACE)

    async def delete(name: str) -> None:
        await client.delete(SERVICES, name, namespace=NAMESPACE)

    async with observing(client, NAMESPACE, links=False) as seen:
        began = time.perf_counter()
        await in_parallel(names, create)
        await until(f"addresses by {peer.name}", lambda: len(seen.served(names)) == services, within_s=WITHIN_S)
        figures.rates.append(services / (max(seen.served(names)) - began))
        await until_quiet(seen, within_s=WITHIN_S)
        figures.versions += [float(len(seen.versions[name]) - 1) for name in names]
        await in_parallel(names, delete)
        for number in range(singles):
            name = f"peer-{turn}-single-{number}"
            await create(name)
            answered = time.perf_counter()
            await until(f"an address by {peer.name}", lambda name=name: seen.served_at(name) is not None, within_s=60)  # type: ignore[misc]
            figures.waits_ms.append(((seen.served_at(name) or 0.0) - answered) * 1000)
            await delete(name)
            await asyncio.sleep(APART_S)


def _rows(ours: Figures, theirs: Figures, name: str, services: int) -> list[Row]:
    measured: tuple[tuple[str, Unit, list[float], list[float]], ...] = (
        (f"{services} Services created by 8 clients: served per second", "1/s", ours.rates, theirs.rates),
        ("one Service: POST answered to address in the status", "ms", ours.waits_ms, theirs.waits_ms),
        ("versions of a Service after its creation, without agents of ours", "count", ours.versions, theirs.versions),
    )
    return [
        found for case, unit, mine, other in measured for found in compared(name, case, unit, ours=mine, theirs=other)
    ]
