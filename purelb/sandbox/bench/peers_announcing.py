# SPDX-License-Identifier: Apache-2.0
"""The announcing of a peer: when its address is seen where ours are, by the same observers.

On an interface of this network namespace, and in a frame at the other end of the node's cable. A peer is seen where its node agent runs in
this namespace, or on this LAN; the first Service says which of the two it is, and what both were seen to do is compared: a speaker that
answers ARP itself puts no address on an interface. One of which nothing is seen is refused with what is missing; the API's word that
it announced is not taken for it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from purelb.kube.resources import SERVICES
from purelb.sandbox.bench import objects
from purelb.sandbox.bench.cable import far_end
from purelb.sandbox.bench.observer import observing, until
from purelb.sandbox.bench.overhearing import overhearing
from purelb.sandbox.bench.peers import APART_S, NAMESPACE, OURS, Peer, compared, prepared, serving, turns
from purelb.sandbox.bench.suites import NODE_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from purelb.sandbox.bench.observer import Observer
    from purelb.sandbox.bench.overhearing import Overheard
    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.bench.suites import Stage

SERVED_WITHIN_S: Final = 60.0
SEEN_WITHIN_S: Final = 10.0
INTERFACE: Final = "one Service: create to address on the interface"
FRAME: Final = "one Service: create to the first frame on the wire"
GONE: Final = "one Service: delete to address gone from the interface"


class Figures:
    """What was seen of one load balancer, by case, in milliseconds. `sights` None: nothing was looked for yet."""

    def __init__(self) -> None:
        self.sights: frozenset[str] | None = None
        self.values: dict[str, list[float]] = {INTERFACE: [], FRAME: [], GONE: []}


async def announced(stage: Stage, peers: Sequence[Peer], *, singles: int) -> list[Row]:
    """Ours and each peer in turns: one Service at a time, where it is seen."""
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures() for peer in clusters}
    with far_end(NODE_ADDRESS) as far, overhearing(far) as heard:
        for turn, peer in turns(clusters):
            async with serving(stage, peer, agent=True), observing(peer.client, NAMESPACE, links=True) as seen:
                for number in range(singles):
                    await _followed(peer, f"announced-{turn}-{number}", seen, heard, figures[peer.name])
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name)]


def _rows(ours: Figures, theirs: Figures, name: str) -> list[Row]:
    rows: list[Row] = []
    for case, values in theirs.values.items():
        if values and ours.values[case]:
            rows += compared(name, case, "ms", ours=ours.values[case], theirs=values)
        else:
            print(f"not compared with {name}, of which it was not seen: {case}", file=sys.stderr, flush=True)
    return rows


async def _followed(peer: Peer, name: str, seen: Observer, heard: Overheard, figures: Figures) -> None:
    """Create one Service, look for its address, delete it."""
    asked = time.perf_counter()
    body = objects.service(name, lb_class=None, classless=True)
    await peer.client.create(SERVICES, body, namespace=NAMESPACE)
    await until(f"an address by {peer.name}", lambda: seen.served_at(name) is not None, within_s=SERVED_WITHIN_S)
    address = seen.address(name) or ""
    where = {INTERFACE: seen.addresses, FRAME: heard.claims}
    wanted = frozenset(where) if figures.sights is None else figures.sights
    await _waited(lambda: all(address in where[sight] for sight in wanted), within_s=SEEN_WITHIN_S)
    found = frozenset(sight for sight in wanted if address in where[sight])
    if not found:
        raise RuntimeError(
            f"{peer.name} gave {address}, and within {SEEN_WITHIN_S:g} s no interface of this network namespace had it and no frame "
            f"on its LAN claimed it: its node has to be here, or on this LAN, for its announcing to be compared"
        )
    figures.sights = figures.sights or found
    for sight in found:
        figures.values[sight].append((where[sight].pop(address) - asked) * 1000)
    deleted = time.perf_counter()
    await peer.client.delete(SERVICES, name, namespace=NAMESPACE)
    if INTERFACE in found:
        await until(f"{address} gone from the interface", lambda: address in seen.gone, within_s=SEEN_WITHIN_S)
        figures.values[GONE].append((seen.gone.pop(address) - deleted) * 1000)
    await asyncio.sleep(APART_S)
    for times in (*where.values(), seen.gone):
        times.pop(address, None)  # what was late; the next Service may be given the same address


async def _waited(holds: Callable[[], bool], *, within_s: float) -> None:
    """Until it holds, or no longer than that."""
    deadline = time.perf_counter() + within_s
    while not holds() and time.perf_counter() < deadline:
        await asyncio.sleep(0.005)
