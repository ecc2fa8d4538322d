# SPDX-License-Identifier: Apache-2.0
"""A peer at rest: what its cluster writes and asks while nothing changes, against ours with the same Services.

Writes of Services are counted by the watch of a stranger. Requests are the API server's own count of all that it answered; the rest of
each cluster is in it (controllers, kubelets), so two clusters that are otherwise alike are to be compared. One whose API server does not
tell its metrics has no such row. The memory and CPU of a peer's processes are not asked for: they may be anywhere.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.kube.errors import KubeError
from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.peers import NAMESPACE, OURS, WITHIN_S, Peer, compared, prepared, serving, turns
from purelb.sandbox.bench.suites import in_parallel, until_quiet

if TYPE_CHECKING:
    from collections.abc import Sequence

    from purelb.kube.client import ApiClient
    from purelb.sandbox.bench.observer import Observer
    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.bench.suites import Stage

SERVICES_AT_REST: Final = 100
QUIET_S: Final = 5.0
RESTING_S: Final = 10.0
COUNTER: Final = "apiserver_request_total"


class Figures(Struct, kw_only=True):
    """What was seen of one load balancer, over all rounds."""

    versions: list[float]
    writes: list[float]
    requests: list[float]


async def rested(stage: Stage, peers: Sequence[Peer], *, services: int = SERVICES_AT_REST) -> list[Row]:
    """Ours and each peer in turns: Services until they are announced and quiet, then ten seconds of nothing."""
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures(versions=[], writes=[], requests=[]) for peer in clusters}
    for turn, peer in turns(clusters):
        async with serving(stage, peer, agent=True):
            await _measured(peer, figures[peer.name], [f"resting-{turn}-{number}" for number in range(services)])
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name, services)]


async def _measured(peer: Peer, figures: Figures, names: list[str]) -> None:
    client = peer.client

    async def create(name: str) -> None:
        await client.create(SERVICES, objects.service(name, lb_class=None, classless=True), namespace=NAMESPACE)

    async def delete(name: str) -> None:
        await client.delete(SERVICES, name, namespace=NAMESPACE)

    async with observing(client, NAMESPACE, links=False) as seen:
        await in_parallel(names, create)
        await until(f"addresses by {peer.name}", lambda: len(seen.served(names)) == len(names), within_s=WITHIN_S)
        await until_quiet(seen, for_s=QUIET_S, within_s=WITHIN_S)
        figures.versions += [float(len(seen.versions[name]) - 1) for name in names]
        written, asked = _versions(seen), await answered(client)
        await asyncio.sleep(RESTING_S)
        figures.writes.append(float(_versions(seen) - written))
        if asked is not None and (now := await answered(client)) is not None:
            figures.requests.append(now - asked)  # questions for metrics are not among those that it counts
        await in_parallel(names, delete)


def _versions(seen: Observer) -> int:
    return sum(map(len, seen.versions.values()))


async def answered(client: ApiClient) -> float | None:
    """How many requests the API server has answered so far; None where it does not tell."""
    try:
        metrics = await client.raw("GET", "/metrics")
    except KubeError:
        return None
    return counted(bytes(metrics.body).decode())


def counted(text: str) -> float | None:
    """The sum of the API server's counter of requests; None where there is none."""
    found = [float(line.rpartition(" ")[2]) for line in text.splitlines() if line.startswith(f"{COUNTER}{{")]
    return sum(found) if found else None


def _rows(ours: Figures, theirs: Figures, name: str, services: int) -> list[Row]:
    case = "versions of a Service, from its creation until nothing changes, node agents included"
    rows = compared(name, case, "count", ours=ours.versions, theirs=theirs.versions)
    case = f"writes of Services in {RESTING_S:g} s at rest, {services} Services"
    rows += compared(name, case, "count", ours=ours.writes, theirs=theirs.writes)
    case = f"requests that the API server answered in {RESTING_S:g} s at rest, {services} Services"
    if ours.requests and theirs.requests:
        rows += compared(name, case, "count", ours=ours.requests, theirs=theirs.requests)
    else:
        print(
            f"not compared with {name}, an API server keeps its metrics to itself: {case}", file=sys.stderr, flush=True
        )
    return rows
