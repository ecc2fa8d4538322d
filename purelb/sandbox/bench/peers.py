# SPDX-License-Identifier: Apache-2.0
"""The same Services, by the same client, on another cluster of this machine whose load balancer is somebody else's.

The peer is running there already, or the command that runs it was given, which is then started and ended with its turn, as ours is. It
serves Services without a class, as load balancers do when nobody says otherwise; ours is told to do the same. Both clusters are measured
in turns, the order alternating, and each figure of ours has its ratio to the peer's: a bare number from another machine says nothing.
Nothing is assumed of the peer but that it writes ingress addresses: it is there once it has served a Service that nothing is measured of.

Here is its allocation, by ours without a node agent: where that lasts, ours warns of it in an Event of each Service, which is among its
writes of any kind. `peers_bursting`, `peers_announcing` and `peers_resting` compare what can be seen of the rest. Not measured are its
start and its memory, which may be elsewhere than this process can look, and its failover: that needs nodes whose power we can take.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.kube.client import ApiClient
from purelb.kube.errors import AlreadyExists, NotFound
from purelb.kube.resources import ENDPOINT_SLICES, NAMESPACES, SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.components import tail
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.peers_counting import settled, written
from purelb.sandbox.bench.results import Budget, Ratio, Row, Unit, percentile, row
from purelb.sandbox.bench.suites import emptied, in_parallel, until_quiet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from purelb.sandbox.bench.suites import Stage

SUITE: Final = "peer"
NAMESPACE: Final = "bench-peer"
OURS: Final = "PureLB"
ROUNDS: Final = 3
WITHIN_S: Final = 1800.0
SETTLED_WITHIN_S: Final = 120.0
PROBE: Final = "peer-probe"
PROBED_WITHIN_S: Final = 60.0
APART_S: Final = 0.1


class Peer(Struct, frozen=True):
    """A cluster to compare with, under the name that the results shall give it.

    `allocator` and `agent`: the commands that run its processes in this network namespace. Without the first it is running already,
    and whatever else belongs to it; with the first and without the second there is nobody who announces.
    """

    name: str
    client: ApiClient
    allocator: tuple[str, ...] = ()
    agent: tuple[str, ...] = ()

    @property
    def announces(self) -> bool:
        """Whether somebody may be there who announces its addresses."""
        return bool(self.agent) or not self.allocator


class Figures(Struct, kw_only=True):
    """What was seen of one load balancer, over all rounds."""

    rates: list[float]
    waits_ms: list[float]
    versions: list[float]
    writes: list[float]


async def against(stage: Stage, peers: Sequence[Peer], *, services: int, singles: int) -> list[Row]:
    """Ours and each peer in turns: many Services while they are created, then one at a time."""
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures(rates=[], waits_ms=[], versions=[], writes=[]) for peer in clusters}
    for turn, peer in turns(clusters):
        async with serving(stage, peer) as alive:
            await _measured(peer, figures[peer.name], alive, turn=turn, services=services, singles=singles)
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name, services)]


async def prepared(stage: Stage, peers: Sequence[Peer]) -> list[Peer]:
    """Our cluster and those of the peers, each with the namespace of the comparison, empty."""
    clusters = [Peer(OURS, stage.client), *peers]
    for peer in clusters:
        try:
            await peer.client.create(NAMESPACES, objects.namespace(NAMESPACE))
        except AlreadyExists:  # a peer's cluster outlives the benchmark, and with it what a part that failed left there
            await emptied(peer.client, NAMESPACE)
            await peer.client.raw("DELETE", ENDPOINT_SLICES.path(NAMESPACE))
    return clusters


def turns(clusters: Sequence[Peer]) -> Iterator[tuple[int, Peer]]:
    """Who is measured after whom, with the number of the round: every second round in the other direction."""
    for turn in range(ROUNDS):
        for peer in clusters if turn % 2 == 0 else clusters[::-1]:
            yield turn, peer


@asynccontextmanager
async def serving(
    stage: Stage, peer: Peer, *, agent: bool = False, probed: bool = True
) -> AsyncIterator[Callable[[], bool]]:
    """Whoever's turn it is runs, with its node agent if asked for, and has served a Service unless `probed` is False.

    Yields what answers True while the processes of a peer run, and raises RuntimeError with the end of the log once one has ended.
    """
    async with AsyncExitStack() as stack:
        started: list[tuple[asyncio.subprocess.Process, Path]] = []
        if peer.name == OURS:
            await stack.enter_async_context(stage.allocator(env={"DEFAULT_ANNOUNCER": OURS}))
            if agent:
                await stack.enter_async_context(stage.agent())
        for command in filter(None, (peer.allocator, peer.agent if agent else ())):
            log = stage.logs / f"peer-{Path(command[0]).name}.log"
            started.append((await stack.enter_async_context(stage.peer(command, log=log)), log))

        def alive() -> bool:
            for process, log in started:
                if process.returncode is not None:
                    raise RuntimeError(f"{peer.name} ended with {process.returncode}:\n{tail(log)}")
            return True

        if probed:
            await _probed(peer, alive)
        yield alive


async def _probed(peer: Peer, alive: Callable[[], bool]) -> None:
    """Wait until a Service has an address, and delete it."""
    await peer.client.create(SERVICES, objects.service(PROBE, lb_class=None, classless=True), namespace=NAMESPACE)
    deadline = time.perf_counter() + PROBED_WITHIN_S
    while alive():
        status = (await peer.client.get(SERVICES, PROBE, namespace=NAMESPACE)).status
        if status and status.load_balancer and status.load_balancer.ingress:
            break
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{peer.name} gave a Service without a class no address within {PROBED_WITHIN_S:g} s")
        await asyncio.sleep(APART_S)
    await peer.client.delete(SERVICES, PROBE, namespace=NAMESPACE)


async def with_backend(client: ApiClient, name: str, *, address: str, node: str) -> float:
    """Create a Service that has an endpoint, and answer when it was asked for: there are load balancers that announce no other."""
    endpoints = objects.endpoints(name, family="IPv4", address=address, port=8080, node=node)
    await client.create(ENDPOINT_SLICES, endpoints, namespace=NAMESPACE)
    asked = time.perf_counter()
    await client.create(SERVICES, objects.service(name, lb_class=None, classless=True), namespace=NAMESPACE)
    return asked


async def without_backend(client: ApiClient, name: str) -> None:
    """Delete such a Service."""
    await client.delete(SERVICES, name, namespace=NAMESPACE)
    with suppress(NotFound):  # the controllers of a whole cluster may have been faster
        await client.delete(ENDPOINT_SLICES, f"{name}-bench", namespace=NAMESPACE)


def compared(
    name: str,
    case: str,
    unit: Unit,
    *,
    ours: Sequence[float],
    theirs: Sequence[float],
    budget: Budget | None = None,
) -> list[Row]:
    """The peer's row, and ours with its ratio to it; to nothing there is none."""
    to, divisor = f"{name}: {case}", percentile(theirs, 0.5)
    ratio = Ratio(to=to, value=round(percentile(ours, 0.5) / divisor, 3)) if divisor else None
    return [
        row(suite=SUITE, case=to, unit=unit, values=theirs),
        row(suite=SUITE, case=f"{OURS} against {name}: {case}", unit=unit, values=ours, ratio=ratio, budget=budget),
    ]


async def _measured(
    peer: Peer, figures: Figures, alive: Callable[[], bool], *, turn: int, services: int, singles: int
) -> None:
    client, names = peer.client, [f"peer-{turn}-{number}" for number in range(services)]

    async def create(name: str) -> None:
        await client.create(SERVICES, objects.service(name, lb_class=None, classless=True), namespace=NAMESPACE)

    async def delete(name: str) -> None:
        await client.delete(SERVICES, name, namespace=NAMESPACE)

    async with observing(client, NAMESPACE, links=False) as seen:
        before = await written(client)
        began = time.perf_counter()
        await in_parallel(names, create)
        await until(f"addresses by {peer.name}", lambda: alive() and seen.all_served(names), within_s=WITHIN_S)
        figures.rates.append(services / (max(seen.served(names)) - began))
        await until_quiet(seen, within_s=WITHIN_S)
        figures.versions += [float(len(seen.versions[name]) - 1) for name in names]
        after = await settled(client, within_s=SETTLED_WITHIN_S)
        if before is not None and after is not None:
            figures.writes.append((after - before) / services)
        await in_parallel(names, delete)
        await settled(client, within_s=SETTLED_WITHIN_S)  # who looks at all Services when one goes is at it for long
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
        ("writes of any kind per Service, without agents of ours", "count", ours.writes, theirs.writes),
    )
    return [
        found
        for case, unit, mine, other in measured
        if mine and other  # writes are not told by every API server
        for found in compared(name, case, unit, ours=mine, theirs=other)
    ]
