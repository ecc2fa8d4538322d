# SPDX-License-Identifier: Apache-2.0
"""The announcing of a peer: when its address is seen where ours are, by the same observers.

On an interface of this network namespace, and in a frame at the other end of the node's cable. A peer is seen where its node agent runs in
this namespace, or on this LAN; the first Service says which of the two it is, and what both were seen to do is compared: a speaker that
answers ARP itself puts no address on an interface. Of one of which nothing is seen it is said what is missing, and the others are
compared; the API's word that it announced is not taken for it.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from purelb.sandbox.bench.observer import Observer, until
from purelb.sandbox.bench.overhearing import Overheard
from purelb.sandbox.bench.peers import (
    APART_S,
    NAMESPACE,
    OURS,
    Peer,
    compared,
    prepared,
    serving,
    turns,
    with_backend,
    without_backend,
)
from purelb.sandbox.bench.suites import NODE, NODE_ADDRESS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from purelb.sandbox.bench.results import Row
    from purelb.sandbox.bench.suites import Stage

SERVED_WITHIN_S: Final = 60.0
SEEN_WITHIN_S: Final = 10.0
INTERFACE: Final = "one Service: create to address on the interface"
FRAME: Final = "one Service: create to the first frame on the wire"
GONE: Final = "one Service: delete to address gone from the interface"
NOWHERE: Final[frozenset[str]] = frozenset()


class Looked(Struct, frozen=True):
    """Where one looks: this network namespace's interfaces, and the other end of the cable."""

    seen: Observer
    heard: Overheard


class Figures:
    """What was seen of one load balancer, by case, in milliseconds. `sights` None: nothing was looked for yet; empty: in vain."""

    def __init__(self) -> None:
        self.sights: frozenset[str] | None = None
        self.values: dict[str, list[float]] = {INTERFACE: [], FRAME: [], GONE: []}


def announcing(peers: Sequence[Peer], what: str) -> list[Peer]:
    """Those that may have node agents; the others are said not to be compared in `what`."""
    for peer in peers:
        if not peer.announces:
            print(
                f"not compared with {peer.name}, whose node agent was not given (--peer-agent): {what}", file=sys.stderr
            )
    return [peer for peer in peers if peer.announces]


async def announced(stage: Stage, peers: Sequence[Peer], *, singles: int) -> list[Row]:
    """Ours and each peer in turns: one Service at a time, where it is seen."""
    peers = announcing(peers, "announcing")
    if not peers:
        return []
    clusters = await prepared(stage, peers)
    figures = {peer.name: Figures() for peer in clusters}
    with stage.overhearing() as heard:
        for turn, peer in turns(clusters):
            if figures[peer.name].sights == NOWHERE:
                continue
            async with (
                serving(stage, peer, agent=True) as alive,
                stage.observing(peer.client, NAMESPACE) as seen,
            ):
                await asyncio.sleep(APART_S)
                heard.claims.clear()  # of the Service that shows that somebody is there; its address may be given again
                names = [f"announced-{turn}-{number}" for number in range(singles)]
                await _followed(peer, names, alive, Looked(seen, heard), figures[peer.name])
    return [found for peer in peers for found in _rows(figures[OURS], figures[peer.name], peer.name)]


def _rows(ours: Figures, theirs: Figures, name: str) -> list[Row]:
    rows: list[Row] = []
    for case, values in theirs.values.items():
        if values and ours.values[case]:
            rows += compared(name, case, "ms", ours=ours.values[case], theirs=values)
        else:
            print(f"not compared with {name}, of which it was not seen: {case}", file=sys.stderr, flush=True)
    return rows


async def _followed(peer: Peer, names: list[str], alive: Callable[[], bool], looked: Looked, figures: Figures) -> None:
    """Create one Service after the other and look for its address; delete them again, in the same way.

    Each has an address of its own: who claims one several times may not claim it anew at once when it is given again.
    """
    made = []
    for name in names:
        made.append(name)
        if not await _appeared(peer, name, alive, looked, figures):
            break
        await asyncio.sleep(APART_S)
    for name in made:
        await _removed(peer, name, looked.seen, figures)
        await asyncio.sleep(APART_S)
    for times in (looked.seen.addresses, looked.heard.claims):
        times.clear()  # the next turn may be given the same addresses


async def _appeared(peer: Peer, name: str, alive: Callable[[], bool], looked: Looked, figures: Figures) -> bool:
    """Create a Service and take down where its address was seen when; False for a peer of which nothing is ever seen."""
    seen = looked.seen
    asked = await with_backend(peer.client, name, address=NODE_ADDRESS, node=NODE)
    await until(
        f"an address by {peer.name}", lambda: alive() and seen.served_at(name) is not None, within_s=SERVED_WITHIN_S
    )
    address = seen.address(name) or ""
    where = {INTERFACE: seen.addresses, FRAME: looked.heard.claims}
    wanted = frozenset(where) if figures.sights is None else figures.sights
    await _waited(lambda: all(address in where[sight] for sight in wanted), within_s=SEEN_WITHIN_S)
    found = frozenset(sight for sight in wanted if address in where[sight])
    if not found:
        said = (
            f"{peer.name} gave {address}, and within {SEEN_WITHIN_S:g} s no interface of this network namespace had it and no frame "
            f"on its LAN claimed it: its node has to be here, or on this LAN, for its announcing to be compared"
        )
        if figures.sights is not None or peer.name == OURS:
            raise RuntimeError(said)
        print(said, file=sys.stderr, flush=True)
    figures.sights = found if figures.sights is None else figures.sights
    for sight in found:
        figures.values[sight].append((where[sight][address] - asked) * 1000)
    return bool(found)


async def _removed(peer: Peer, name: str, seen: Observer, figures: Figures) -> None:
    """Delete a Service and, where its address was on an interface, take down when it was gone from there."""
    address = seen.address(name) or ""
    seen.gone.pop(address, None)
    deleted = time.perf_counter()
    await without_backend(peer.client, name)
    if INTERFACE in (figures.sights or NOWHERE):
        await until(f"{address} gone from the interface", lambda: address in seen.gone, within_s=SEEN_WITHIN_S)
        figures.values[GONE].append((seen.gone[address] - deleted) * 1000)


async def _waited(holds: Callable[[], bool], *, within_s: float) -> None:
    """Until it holds, or no longer than that."""
    deadline = time.perf_counter() + within_s
    while not holds() and time.perf_counter() < deadline:
        await asyncio.sleep(0.005)
