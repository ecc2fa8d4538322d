# SPDX-License-Identifier: Apache-2.0
"""How an agent leaves: in which order, and how long each step may take.

What another node can hold is handed over; what nobody takes in time gets a last renewal and is left in the kernel for its
lifetime, so that the next agent adopts it. Then the last report, the lease, the owner, our link, the Events. A step that
overruns is cut and the next one starts: a peer or an API server that does not answer costs its own step only.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from purelb.api import leases
from purelb.kube.queue import URGENT, WorkQueue
from purelb.kube.recorder import LAST_SECONDS
from purelb.lbnodeagent import keys

if TYPE_CHECKING:
    from purelb.kube.bell import Bell
    from purelb.kube.clock import Clock
    from purelb.lbnodeagent.state import State
    from purelb.lbnodeagent.wiring import Parts
    from purelb.process.shutdown import Shutdown

log: Final = logging.getLogger(__name__)

# Steps of a clean stop; together they share the budget of the process.
TURN_S: Final = 2.0
HAND_OVER_S: Final = 12.0
LAST_WORD_S: Final = 2.0
OWNER_S: Final = 1.0
LINK_S: Final = 1.0
EVENTS_S: Final = LAST_SECONDS + 0.5
SHOWN_MAX: Final = 64


class Leaving:
    """One clean stop. `moved` rings after each turn of the owner."""

    def __init__(
        self,
        parts: Parts,
        *,
        state: State,
        queue: WorkQueue[keys.Key],
        moved: Bell,
        shutdown: Shutdown,
        clock: Clock,
    ) -> None:
        self._parts = parts
        self._state = state
        self._queue = queue
        self._moved = moved
        self._shutdown = shutdown
        self._clock = clock

    async def run(self, *, owner: asyncio.Task[Any], lease: asyncio.Task[Any], recorder: asyncio.Task[Any]) -> None:
        """Hand over, say the last word, delete the lease; each step within its own limit."""
        leave, parts = self._shutdown, self._parts
        await leave.step("turn", self._leaving(), limit=TURN_S, left=self._whose_turn)
        await self._hand_over()
        # While the API server is away both of its steps are tried, but together no longer than one of them.
        limit = LAST_WORD_S / 2 if parts.leasing.trouble is not None else LAST_WORD_S
        await leave.step("report", self._last_word(limit), limit=limit, left=lambda: "the final report")
        lease.cancel()
        await leave.step(
            "lease",
            self._release(lease),
            limit=limit,
            left=lambda: f"lease {leases.node_lease(self._state.node)}, which runs out by itself",
        )
        self._queue.shut_down()
        await leave.step("owner", asyncio.wait({owner}), limit=OWNER_S, left=self._whose_turn)
        dummy = self._state.settings.dummy_interface
        await leave.step("link", parts.hosting.remove_link(dummy), limit=LINK_S, left=lambda: f"link {dummy}")
        recorder.cancel()
        told = asyncio.wait({recorder})
        await leave.step("events", told, limit=EVENTS_S, left=lambda: f"{parts.recorder.waiting} Events")

    async def _leaving(self) -> None:
        while not self._state.leaving:
            await self._moved.wait(None)

    async def _hand_over(self) -> None:
        """Offers go out, heirs take over; at the end of our patience the rest is left to its lifetime."""
        began = self._clock.now()
        patience = began + HAND_OVER_S
        while self._handing_over() and self._clock.now() < patience:
            if self._parts.leasing.trouble is not None:  # nobody can hear our offers
                patience = min(patience, began + LAST_WORD_S)
            await self._moved.wait(patience)
        if offered := self._handing_over():
            shown = ", ".join(offered[:SHOWN_MAX])
            self._shutdown.cut("hand-over", f"{len(offered)} addresses: {shown}", took=self._clock.now() - began)
        left = sorted(str(ip) for ip, vip in self._state.vips.items() if vip.in_kernel)
        if left:
            fields = {"code": "leftToLifetime", "ips": left[:SHOWN_MAX]}
            log.info("leaving %d addresses to their lifetime", len(left), extra=fields)
            self._queue.add(keys.Leave(), priority=URGENT)  # once more: their last renewal
            await self._moved.wait(self._clock.now() + LAST_WORD_S)

    async def _last_word(self, limit: float) -> None:
        ends = self._clock.now() + limit
        while not self._parts.reporting.settled and self._clock.now() < ends:
            await self._moved.wait(ends)
        self._parts.reporting.step(self._clock.now(), stale=False, last_word=True)
        await self._parts.writer.drain(limit)

    async def _release(self, lease: asyncio.Task[Any]) -> None:
        await asyncio.wait({lease})
        await self._parts.leasing.release()

    def _handing_over(self) -> list[str]:
        return sorted(str(ip) for ip, vip in self._state.vips.items() if vip.state in {"Offering", "Closing"})

    def _whose_turn(self) -> str:
        turn = self._parts.owner.turn
        return "nothing" if turn is None else f"the turn of {turn[0]}"
