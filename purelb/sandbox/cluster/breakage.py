# SPDX-License-Identifier: Apache-2.0
"""Everything that is broken on purpose: which nodes are down and how, which networks are cut. The only one that breaks and mends.

Orders come from the control socket and are carried out one after the other by one task, so that two of them never work on one link. An order is checked
whole before anything is done; what fails half-way is said, and `heal` starts from what should be, not from what was done.

A node loses power in this order: its programs stand still, its links go, then everybody in its namespaces is killed. So nothing of it, a FIN least of
all, is seen outside. Not as in real life: the cluster hears of it at once, because the supervisor is every node's kubelet. A node cut off from the API is
not asked whether its pods are ready: its kubelet could not tell.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never

import msgspec

from purelb.sandbox.rig import outages
from purelb.sandbox.rig.aside import Failed, aside
from purelb.sandbox.rig.cuts import Cut, problem
from purelb.sandbox.rig.doctor import SYSTEM_PATH
from purelb.sandbox.rig.namespaces import new_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from purelb.sandbox.cluster.keeper import Keeper, Reaper
    from purelb.sandbox.rig.kernels import KernelWatch
    from purelb.sandbox.rig.links import Rig

How = Literal["power-off", "agent", "freeze"]
SIGNALS: Final[Mapping[str, signal.Signals]] = {"agent": signal.SIGKILL, "freeze": signal.SIGSTOP}
SAID: Final[Mapping[str, str]] = {
    "power-off": "has no power",
    "agent": "has no agent: killed, and kept from restarting",
    "freeze": "has a frozen agent",
}
# Killing is at once; what is waited for is the kernel, which takes processes apart.
GONE_LIMIT_S: Final = 5.0

log = logging.getLogger(__name__)


class Cannot(Exception):
    """Why an order is not carried out, and what can be ordered."""


class Kill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    node: str
    how: How


class Start(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    node: str


class Heal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag=True):
    """`node` None means all."""

    node: str | None = None


Order = Kill | Start | Heal | Cut


class Breakage:
    def __init__(self, rig: Rig, keepers: Mapping[str, Keeper], *, watch: KernelWatch, reaper: Reaper) -> None:
        self._rig = rig
        self._keepers = keepers
        self._watch = watch
        self._reaper = reaper
        self._down: dict[str, How] = {}
        self._cuts: dict[tuple[str, str], Cut] = {}
        self._orders = asyncio.Queue[tuple[Order, asyncio.Future[None]]]()

    def in_force(self) -> tuple[Mapping[str, Any], ...]:
        """Each fault with the nodes it hurts, as a sentence."""
        down = ({"nodes": [node], "what": f"{node} {SAID[how]}"} for node, how in sorted(self._down.items()))
        cuts = ({"nodes": list(cut.ends), "what": str(cut)} for cut in self._cuts.values())
        return (*down, *cuts)

    def reaches_api(self, node: str) -> bool:
        cut = self._cuts.get((node, "api"))
        return cut is None and self._down.get(node) != "power-off"

    async def order(self, order: Order) -> None:
        """Have it carried out; returns when it is. Raises Cannot."""
        done = asyncio.get_running_loop().create_future()
        self._orders.put_nowait((order, done))
        await done

    async def run(self) -> None:
        while True:
            order, done = await self._orders.get()
            try:
                await self._carry_out(order)
            except (Cannot, Failed) as error:
                if not done.cancelled():
                    done.set_exception(Cannot(str(error)))
            else:
                if not done.cancelled():
                    done.set_result(None)

    async def _carry_out(self, order: Order) -> None:
        match order:
            case Kill(node=node, how=how):
                self._check_node(node)
                await self._kill(node, how)
            case Start(node=node):
                self._check_node(node)
                await self._start(node)
            case Cut():
                await self._cut(order)
            case Heal():
                await self._heal(order.node)
            case _:
                assert_never(order)

    async def _heal(self, node: str | None) -> None:
        if node is not None:
            self._check_node(node)
        await self._join(cut for cut in self._cuts.values() if node is not None and node not in cut.ends)
        for name in tuple(self._down) if node is None else (node,):
            await self._start(name)

    def _check_node(self, node: str) -> None:
        names = self._names()
        if node not in names:
            raise Cannot(f"no node {node!r}: there are {', '.join(names)}")

    def _names(self) -> tuple[str, ...]:
        return tuple(place.name for place in self._rig.topology.nodes)

    # Down and up

    async def _kill(self, node: str, how: How) -> None:
        before = self._down.get(node)
        if before == "power-off" or (before == "agent" and how == "freeze"):
            raise Cannot(f"{node} {SAID[before]}: start-node {node} first")
        if how == "power-off":
            await self._power_off(node)
        else:
            self._keepers[f"lbnodeagent-{node}"].terminate(number=SIGNALS[how])
        self._down[node] = how

    async def _power_off(self, node: str) -> None:
        programs = self._on(node)
        for keeper in programs:
            keeper.terminate(number=signal.SIGSTOP)
        await aside(partial(outages.unplug, self._rig.topology.node(node)), expect=self._reaper.expect)
        self._watch.forget(node)
        inodes = {os.fstat(self._rig.networks[room]).st_ino for room in self._rig.rooms(node)}
        for keeper in programs:
            keeper.terminate(number=signal.SIGKILL)
        try:
            async with asyncio.timeout(GONE_LIMIT_S):
                while _kill_all_in(inodes) or any(keeper.pid is not None for keeper in programs):
                    await asyncio.sleep(0.01)
        except TimeoutError:
            log.warning(
                "%s: killed processes have not ended after %g s; its namespaces outlive them", node, GONE_LIMIT_S
            )
        self._let_go(node)

    def _let_go(self, node: str) -> None:
        for room in self._rig.rooms(node):
            os.close(self._rig.networks.pop(room))

    async def _start(self, node: str) -> None:
        how = self._down.get(node)
        if how is None:
            return
        if how == "power-off":
            await self._power_on(node)
            for keeper in self._on(node):
                keeper.release()
        else:
            self._keepers[f"lbnodeagent-{node}"].release()
        del self._down[node]

    async def _power_on(self, node: str) -> None:
        for room in self._rig.rooms(node):
            self._rig.networks[room] = new_network()

        def boot() -> None:
            outages.plug_in(self._rig, node)
            outages.stand(self._rig.topology, [node], self._cuts.values(), rules=False)

        try:
            await aside(boot, expect=self._reaper.expect)
        except Failed:
            self._let_go(node)  # and with the namespaces what is in them: it can be tried again
            raise
        self._watch.follow(node, self._rig.networks[node])
        for keeper in self._on(node):
            keeper.move(self._rig.networks[keeper.program.room])

    def _on(self, node: str) -> tuple[Keeper, ...]:
        return tuple(keeper for keeper in self._keepers.values() if keeper.program.node == node)

    # Cuts

    async def _cut(self, cut: Cut) -> None:
        if (why := problem(cut, self._rig.topology)) is not None:
            raise Cannot(why)
        if cut.needs_nft and shutil.which("nft", path=SYSTEM_PATH) is None:
            raise Cannot("a pair of nodes and --oneway need nft, which is not installed: apt-get install nftables")
        for node in cut.ends:
            if self._down.get(node) == "power-off":
                raise Cannot(f"{node} {SAID['power-off']} and reaches nobody: start-node {node} first")
        others = (one for name, one in self._cuts.items() if name != (cut.node, cut.away))
        await self._join((*others, cut))

    async def _join(self, cuts: Iterable[Cut]) -> None:
        """Make the links as these cuts want them, and remember the cuts."""
        wanted = {(cut.node, cut.away): cut for cut in cuts}
        rules = any(cut.needs_nft for cut in (*wanted.values(), *self._cuts.values()))
        powered = [node for node in self._names() if self._down.get(node) != "power-off"]
        self._cuts = wanted
        standing = partial(outages.stand, self._rig.topology, powered, tuple(wanted.values()), rules=rules)
        await aside(standing, expect=self._reaper.expect)


def _kill_all_in(networks: set[int]) -> int:
    """Kill whoever is in one of these network namespaces; how many there were."""
    found = 0
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # it ended meanwhile, or is a zombie
            if (entry / "ns/net").stat().st_ino in networks:
                os.kill(int(entry.name), signal.SIGKILL)
                found += 1
    return found
